/** Every help text of every command: sentences in groups that fit a terminal. */
import { readdirSync, readFileSync } from "node:fs";
import { Command, type Option } from "commander";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { requestStages } from "../engine/shapers/options.ts";
import { standardStages } from "../engine/shapers/stages.ts";
import { methods, shapers } from "../methods/index.ts";
import { filters } from "../methods/signals.ts";
import { commandHelp } from "./chat-commands.ts";
import { addCommonFlags, helpStyle } from "./help.ts";

const main = readFileSync(new URL("./main.ts", import.meta.url), "utf8");
const names = [...main.matchAll(/import\("\.\/([\w-]+)\.ts"\)/g)].map(([, name]) => name);

async function commandOf(name: string): Promise<Command> {
  const command = new Command(name)
    .configureOutput({ getOutHelpWidth: () => 80, getOutHasColors: () => false })
    .configureHelp(helpStyle)
    .description("what it does");
  (await import(`./${name}.ts`)).define(command);
  if (name !== "bench") addCommonFlags(command);
  return command;
}

const pathOf = (command: Command): string =>
  command.parent?.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

/** The command that the words of a line begin with. */
function deepest(command: Command, [word, ...others]: readonly string[]): Command {
  const below = command.commands.find((one) => one.name() === word);
  return below ? deepest(below, others) : command;
}

const withBelow = (command: Command): Command[] => [command, ...command.commands.flatMap(withBelow)];

it("FEATURES.md names every command, and none as missing", () => {
  const features = readFileSync(new URL("../../FEATURES.md", import.meta.url), "utf8");
  const row = /^\| command line +\|.*$/m.exec(features)![0];
  expect([...row.matchAll(/`([^`]+)`/g)].flatMap(([, listed]) => listed.split(" ")).sort()).toEqual([...names].sort());
  expect(row).not.toContain("✗");
});

describe.each(names)("ventris %s", (name) => {
  it("explains itself in sentences", async () => {
    for (const command of withBelow(await commandOf(name))) {
      const help = command.createHelp();
      const texts = [
        ...help.visibleOptions(command).map((option) => [option.flags, help.optionDescription(option)]),
        ...command.registeredArguments.map((argument) => [argument.name(), help.argumentDescription(argument)]),
      ];
      for (const [what, text] of texts) {
        const words = `${command.name()} ${what}: ${text}`;
        expect(text.trim().split(/\s+/).length, words).toBeGreaterThan(2);
        expect(text, words).toMatch(/^["“\p{Lu}✓\d]/u);
        // What is said of one kind names the kind within the sentence.
        expect(text, words).not.toMatch(/^Of an? |^Of the /);
        expect(text, words).toMatch(/[.'”]$/);
        expect(text, words).not.toMatch(/; default: |\bDefault /); // written one way: Default: all.
        expect(text, words).not.toMatch(/undefined|\(default: |repeatable|;\.|\.\.|"" /);
      }
    }
  });

  it("has examples, of flags that there are", async () => {
    const root = new Command("ventris");
    root.addCommand(await commandOf(name));
    for (const command of root.commands.flatMap(withBelow)) {
      let text = "";
      command.configureOutput({ writeOut: (piece) => (text += piece) });
      command.outputHelp();
      const path = pathOf(command);
      const lines = [...text.matchAll(/^ {2}(?:.* [|] )?ventris (.*)$/gm)].map(([, line]) => line);
      expect(lines.filter((line) => line.startsWith(path)).length, `ventris ${path} --help`).toBeGreaterThan(0);
      for (const line of lines.filter((one) => one.startsWith(name) && name !== "bench")) {
        const shown = deepest(root, line.split(" "));
        const flags: readonly string[] = line.match(/(?<= )--?[a-z][\w-]*/g) ?? [];
        const names = ({ long, short }: Option): string[] => [long, short].flatMap((one) => one ?? []);
        const known = shown.options.flatMap(names);
        expect(
          flags.filter((flag) => !known.includes(flag)),
          line,
        ).toEqual([]);
        const needed = shown.options.filter(({ mandatory }) => mandatory);
        expect(
          needed.filter((one) => !names(one).some((each) => flags.includes(each))),
          line,
        ).toEqual([]);
      }
    }
  });

  it.each([80, 60])("fits %i columns, no word broken", async (width) => {
    for (const command of withBelow(await commandOf(name))) {
      let text = "";
      command.configureOutput({ writeOut: (piece) => (text += piece), getOutHelpWidth: () => width });
      if (width < 80)
        text = command.helpInformation(); // what is written below it has line breaks of its own
      else command.outputHelp();
      for (const line of text.split("\n")) {
        // What has no spaces to break at, such as an example in JSON, may stand out.
        const [last] = line.trimStart().split(/ {2,}/).slice(-1);
        if (last.includes(" ")) expect(line.length, line).toBeLessThanOrEqual(width);
      }
      const described = command.options.flatMap(({ description }) => description.split(/\s+/));
      const shown = new Set(text.split(/\s+/).map((word) => word.toLowerCase().replace(/[.;]$/, "")));
      const hidden = new Set(command.options.filter(({ hidden }) => hidden).flatMap((o) => o.description.split(/\s+/)));
      for (const word of described)
        if (!hidden.has(word)) expect(shown, word).toContain(word.toLowerCase().replace(/[.;]$/, ""));
    }
  });
});

it("explains the options of methods and filters, and the commands of a chat, in sentences, too", () => {
  const schemas = [...methods, ...shapers, ...filters].map(({ name, options }) => [name, options.shape] as const);
  for (const [name, shape] of schemas)
    for (const [option, schema] of Object.entries(shape as Record<string, z.ZodType>))
      expect(schema.description, `${name} ${option}`).not.toMatch(/^of (an?|the) /);
  for (const entry of commandHelp.trimEnd().split(/\n(?= {2}\/)/))
    expect(entry).toMatch(/^ *\/\w+.*? {2,}\p{Lu}.*\.$/su);
});

it("the page of the command line names every command", () => {
  const page = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");
  expect(names.filter((name) => !page.includes(`ventris ${name}`))).toEqual([]);
});

it("groups the options of run and compare, with short names for the common ones", async () => {
  for (const name of ["run", "compare"]) {
    const text = (await commandOf(name)).helpInformation();
    const titles = text.match(/^[A-Z]\w+:$/gm);
    expect(titles).toEqual(["Arguments:", "Prompt:", "Model:", "Method:", "Sampling:", "Output:", "Other:"]);
    expect(text).toMatch(/^ {2}-m, --model <name>/m);
    expect(text).toMatch(/^ {2}-n, --max-tokens <number>/m);
    expect(text).toMatch(/^ {2}-q, --quiet /m);
    expect(text.replace(/\s+/g, " ")).toContain("HuggingFaceTB/SmolLM2-135M");
  }
});

it("explains the flags of every command in the same words, in the same group", async () => {
  const common = new Command();
  addCommonFlags(common);
  for (const name of names.filter((one) => one !== "bench")) {
    for (const command of withBelow(await commandOf(name))) {
      for (const { long, description, helpGroupHeading } of common.options) {
        const there = command.options.find((option) => option.long === long);
        const said = { long, description: there?.description, group: there?.helpGroupHeading };
        expect(said, pathOf(command)).toEqual({ long, description, group: helpGroupHeading });
      }
    }
  }
});

it("names nothing by a letter of formulas where filters are explained", () => {
  for (const { name, summary, options } of filters)
    for (const [what, text] of [
      ["", summary],
      ...Object.entries(options.shape as Record<string, z.ZodType>).map(([option, { description }]) => [
        option,
        description,
      ]),
    ])
      expect(text, `${name} ${what}`).not.toMatch(/(?<![\w'])[b-zA-HJ-Z](?![\w'])/);
});

it("says what stands between text and sample where samples are shown", async () => {
  const train = await commandOf("train");
  const sample = train.commands.find((command) => command.name() === "sample")!;
  const [of, about] = [train, sample].map((command) => command.helpInformation().replace(/\s+/g, " "));
  expect(of).toMatch(/--sample-every[^-]*sign \|/);
  expect(about).toContain("sign |");
});

it("gives the same letters to the same flags in every command", async () => {
  const letters: Readonly<Record<string, string>> = { "--model": "-m", "--max-tokens": "-n", "--quiet": "-q" };
  for (const name of names) {
    for (const command of withBelow(await commandOf(name))) {
      for (const { long, short, hidden } of command.options) {
        if (hidden) continue;
        expect([pathOf(command), long, short]).toEqual([pathOf(command), long, letters[long ?? ""]]);
      }
    }
  }
});

it("names the stages of --order, and the fields of JSON options with an example", async () => {
  const text = (await commandOf("run")).helpInformation().replace(/\s+/g, " ");
  for (const stage of [...Object.keys(standardStages), ...requestStages])
    expect(text).toMatch(new RegExp(`Stages: [^.]*\\b${stage}\\b`));
  const jsonFlags = [...text.matchAll(/(--[\w-]+) <json>(.*?)(?= --)/g)];
  expect(jsonFlags.length).toBeGreaterThan(4);
  for (const [, flag, description] of jsonFlags) expect(description, flag).toMatch(/Example: '\{.*\}'/);
  expect(text).toContain("multiplier: strength of the penalty; 0 turns it off (from 0 to 1000, needed)");
});

it("says which options a command cannot do without", async () => {
  const [tokenizer] = (await commandOf("train")).commands.filter((command) => command.name() === "tokenizer");
  const text = tokenizer.helpInformation().replace(/\s+/g, " ");
  expect(text).toMatch(/--out <folder> .*? Needed\. --json/);
  expect(text.match(/Needed\./g)).toHaveLength(1);
});

it("states the defaults of the command, once", async () => {
  const wordsOf = async (name: string) => (await commandOf(name)).helpInformation().replace(/\s+/g, " ");
  const defaultOf = (text: string, flag: string) =>
    new RegExp(`${flag} <number> .*?Default: ([^.]*)\\.`).exec(text)?.[1];
  const given = async (name: string) => {
    const text = await wordsOf(name);
    return ["--temperature", "--max-tokens", "--top-k"].map((flag) => defaultOf(text, flag));
  };
  expect(await given("run")).toEqual(["1", "256", "0"]);
  expect(await given("compare")).toEqual(["0", "200", "0"]);
  expect(await given("chat")).toEqual([
    "1",
    "as many as the context has room for; of a diffusion model at most 256",
    "0",
  ]);
  for (const name of names) {
    for (const command of withBelow(await commandOf(name))) {
      const help = command.createHelp();
      for (const option of help.visibleOptions(command)) {
        const text = help.optionDescription(option);
        expect(text.match(/\bDefault\b/g)?.length ?? 0, `${name} ${option.flags}: ${text}`).toBeLessThan(2);
      }
    }
  }
});

it("has every module of a command in the list", () => {
  const files = readdirSync(new URL(".", import.meta.url)).filter((name) => name.endsWith(".ts"));
  const defining = files.filter((name) =>
    /^export function define\(/m.test(readFileSync(new URL(`./${name}`, import.meta.url), "utf8")),
  );
  expect(defining.map((name) => name.replace(/\.ts$/, "")).sort()).toEqual([...names].sort());
});
