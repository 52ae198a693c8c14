/** How help reads: options in groups, descriptions as sentences, values and defaults named. */
import { type Command, type HelpConfiguration, Option } from "commander";
import { sentence } from "../papers/option-types.ts";
import { displayWidth, styled, widthOf, wrap } from "./terminal.ts";

/** Groups of options, in the order in which help shows them. */
export const groups = {
  prompt: "Prompt:",
  model: "Model:",
  engine: "Model behind a network:",
  method: "Method:",
  sampling: "Sampling:",
  output: "Output:",
  other: "Other:",
} as const;

export const helpStyle: HelpConfiguration = {
  // Narrow terminals, too: an unwrapped line would be broken in the middle of its words.
  minWidthToWrap: 16,
  styleTitle: (title) => styled(process.stdout, "bold", title),
  optionDescription({ description, argChoices, defaultValue, defaultValueDescription }) {
    const choices = argChoices && `One of ${argChoices.join(", ")}.`;
    const value = /\bdefault: /.test(description) ? "" : (defaultValueDescription ?? shownDefault(defaultValue));
    return [described(description), choices, value && `Default ${value}.`].filter(Boolean).join(" ");
  },
  argumentDescription: ({ description, argChoices, defaultValue }) =>
    [
      description && sentence(description),
      argChoices && `One of ${argChoices.join(", ")}.`,
      defaultValue !== undefined && `Default ${defaultValue}.`,
    ]
      .filter(Boolean)
      .join(" "),
  commandDescription: (command) => command.description() && sentence(command.description()),
  subcommandDescription: (command) => sentence(command.description()),
  // The usage says that there are options; a list of commands need not.
  subcommandTerm: (command) => command.name(),
};

/** Wide terminals leave room, but lines of a hundred columns are long enough to read; 80 where nobody says. */
export function helpWidth(): number {
  const width = widthOf(process.stdout);
  return width === Infinity ? 80 : Math.min(100, width);
}

/** What is written for 80 columns: its paragraphs wrapped anew where there are fewer. What is indented stays as it is. */
export function rewrapped(text: string, width: number): string {
  if (width >= 80 || text.split("\n").every((line) => displayWidth(line) <= width || line.startsWith(" "))) return text;
  // A line that was wrapped is long, and the next one goes on with it.
  return text
    .replace(/(?<=^\S.{55,})\n(?=[^\s✓✗·])/gmu, " ")
    .split("\n")
    .flatMap((line) => (line.startsWith(" ") ? line : wrap(line, width)))
    .join("\n");
}

/** An example at the end must not get a full stop, which might be copied with it. */
const described = (text: string): string =>
  text.endsWith("'") ? `${text[0].toUpperCase()}${text.slice(1)}` : sentence(text);

function shownDefault(value: unknown): string | undefined {
  if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return undefined;
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** Flags that every command has, added to it and to the commands below it where they are not there. */
export function addCommonFlags(command: Command): void {
  const flags = {
    "-q, --quiet": "print the result and errors, and nothing else",
    "--debug": "show where in the program an error comes from",
  };
  for (const [flag, description] of Object.entries(flags)) {
    const option = new Option(flag, description).helpGroup(groups.other);
    if (!command.options.some(({ long }) => long === option.long)) command.addOption(option);
  }
  command.addHelpOption(new Option("-h, --help", "show this help").helpGroup(groups.other));
  command.commands.forEach(addCommonFlags);
}
