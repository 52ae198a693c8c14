/** How help reads: options in groups, descriptions as sentences, values and defaults named. */
import { type Command, Help, type HelpConfiguration, Option } from "commander";
import { sentence } from "../papers/option-types.ts";
import { displayWidth, styled, widthOf, wrap, wrapCommand, wrapLines } from "./terminal.ts";

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
  optionDescription({ description, argChoices, defaultValue, defaultValueDescription, mandatory }) {
    const choices = argChoices && `One of ${argChoices.join(", ")}.`;
    const says = withDefault(description);
    if (mandatory) return [described(says), choices, "Needed."].filter(Boolean).join(" ");
    const value = /\bDefault: /.test(says) ? "" : (defaultValueDescription ?? shownDefault(defaultValue));
    return [described(says), choices, value && `Default: ${value}.`].filter(Boolean).join(" ");
  },
  argumentDescription: ({ description, argChoices, defaultValue }) =>
    [
      description && sentence(withDefault(description)),
      argChoices && `One of ${argChoices.join(", ")}.`,
      defaultValue !== undefined && `Default: ${defaultValue}.`,
    ]
      .filter(Boolean)
      .join(" "),
  commandDescription: (command) => command.description() && sentence(command.description()),
  subcommandDescription: (command) => sentence(command.description()),
  // The usage says that there are options; a list of commands need not.
  subcommandTerm: (command) => command.name(),
  boxWrap: (text, width) => wrap(text, width).join("\n"),
  formatItem(term, termWidth, description, helper) {
    const width = helper.helpWidth ?? 80;
    if (width - termWidth - 4 >= leastBeside || !description)
      return Help.prototype.formatItem.call(helper, term, termWidth, description, helper);
    return `  ${term}\n${helper.boxWrap(description, width - 6).replace(/^/gm, "      ")}`;
  },
};

/** Columns that an explanation needs beside its flag: where there are fewer, it stands below. */
const leastBeside = 36;

/** Wide terminals leave room, but lines of a hundred columns are long enough to read; 80 where nobody says. */
export function helpWidth(): number {
  const width = widthOf(process.stdout);
  return width === Infinity ? 80 : Math.min(100, width);
}

/** A line of a list: what it is about, two spaces or more, and what is said of it, which later lines go on with below. */
const listed = /^ +\S{1,12}(?: \S{1,12})? {2,}(?=\S)/;

/** A line to be typed. */
const command = /^ +(ventris|npm|npx|node|echo|curl) /;

/** What is written for 80 columns: its paragraphs, lists and commands wrapped anew where there are fewer. What is indented else stays as it is. */
export function rewrapped(text: string, width: number): string {
  const given = text.split("\n");
  if (width >= 80 || given.every((line) => displayWidth(line) <= width)) return text;
  const lines: string[] = [];
  for (const [i, line] of given.entries()) {
    const last = lines.at(-1) ?? "";
    const label = listed.exec(last)?.[0].length;
    const goesOn = last.startsWith(" ")
      ? label !== undefined && /\S/.exec(line)?.index === label
      : // A line that was wrapped is long.
        (given[i - 1]?.length ?? 0) > 55 && /^[^\s✓✗·]/.test(line);
    if (goesOn) lines[lines.length - 1] = `${last} ${line.trimStart()}`;
    else lines.push(line);
  }
  return lines
    .map((line) => {
      if (command.test(line)) return wrapCommand(line, width);
      return line.startsWith(" ") && !listed.test(line) ? line : wrapLines(line, width);
    })
    .join("\n");
}

/** A default that a description tells, as all defaults are told: a sentence of its own, `Default: all cores, at most 8.` */
const withDefault = (description: string): string => description.replaceAll("; default: ", ". Default: ");

/** An example at the end must not get a full stop, which might be copied with it. */
const described = (text: string): string =>
  text.endsWith("'") ? `${text[0].toUpperCase()}${text.slice(1)}` : sentence(text);

function shownDefault(value: unknown): string | undefined {
  if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return undefined;
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** Lines to be typed, for the end of a command's help. */
export const examples = (...lines: readonly string[]): string =>
  `\n${lines.length === 1 ? "Example" : "Examples"}:\n  ${lines.join("\n  ")}`;

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
