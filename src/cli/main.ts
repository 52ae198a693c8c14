#!/usr/bin/env node
/**
 * The `ventris` command. Only the module of the command that is asked for is loaded: the others would bring the engine or
 * the trainer with them, and starting must stay quick.
 *
 * Exit status: 0 done, 1 failed, 2 called wrongly, 130 interrupted.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ensure, reasonOf, VentrisError } from "../errors.ts";
import { listed } from "../forms.ts";
import { suggestion } from "../names.ts";
import { meantFlag, refuseEarlyFlags, refuseEmptyPaths } from "./flags.ts";
import { addCommonFlags, helpStyle, helpWidth, rewrapped } from "./help.ts";
import { complain, endProgress, fail, printJson, say, setJson, setQuiet } from "./output.ts";

interface CommandModule {
  /** Adds arguments, flags and the action. */
  define(command: Command): void;
}

const decoding = "Decode:";
const looking = "Look around:";
const measuring = "Measure:";
const beyond = "Train, and decode what is no text:";

const commands: Readonly<Record<string, { group: string; summary: string; load: () => Promise<CommandModule> }>> = {
  start: {
    group: decoding,
    summary: "a first look: a story, decoded twice, and what to try next",
    load: () => import("./start.ts"),
  },
  run: { group: decoding, summary: "continue a prompt and stream the text", load: () => import("./run.ts") },
  chat: { group: decoding, summary: "talk with a model", load: () => import("./chat.ts") },
  compare: {
    group: decoding,
    summary: "run several methods on the same prompts: speed, equality and drafts side by side",
    load: () => import("./compare.ts"),
  },
  studio: {
    group: decoding,
    summary: "serve a page on this machine: papers, playground, traces, models, measurements",
    load: () => import("./studio.ts"),
  },
  serve: {
    group: decoding,
    summary: "serve models to other programs through OpenAI's interface",
    load: () => import("./serve.ts"),
  },
  models: {
    group: looking,
    summary: "list the models on this machine, or remove one",
    load: () => import("./models.ts"),
  },
  pull: { group: looking, summary: "download a model of the Hugging Face hub", load: () => import("./pull.ts") },
  methods: {
    group: looking,
    summary: "list the decoding methods and their options",
    load: () => import("./methods.ts"),
  },
  papers: {
    group: looking,
    summary: "list the published systems and what they claim",
    load: () => import("./papers.ts"),
  },
  inspect: {
    group: looking,
    summary: "look inside a model: what its neurons and codes stand for, and measures of its training",
    load: () => import("./inspect.ts"),
  },
  doctor: {
    group: looking,
    summary: "check this installation, and what each method can gain with a model here",
    load: () => import("./doctor.ts"),
  },
  reproduce: {
    group: measuring,
    summary: "measure the claims of a paper on this machine",
    load: () => import("./reproduce.ts"),
  },
  eval: {
    group: measuring,
    summary: "measure a model: perplexity, multiple choice, tasks with checkable answers",
    load: () => import("./eval.ts"),
  },
  bench: {
    group: measuring,
    summary: "run a benchmark (in a checkout of the repository)",
    load: () => import("./bench.ts"),
  },
  train: {
    group: beyond,
    summary: "train or fine-tune a language model, or make a tokenizer",
    load: () => import("./train.ts"),
  },
  filter: {
    group: beyond,
    summary: "decode signals such as neural recordings: fit filters, run and compare them",
    load: () => import("./filter.ts"),
  },
  memory: {
    group: beyond,
    summary: "remember your own texts: build a datastore, train a memory, measure what it knows",
    load: () => import("./memory.ts"),
  },
  eeg: {
    group: beyond,
    summary: "decode the EEG of people who read, into the sentences that they read",
    load: () => import("./eeg.ts"),
  },
  point: {
    group: beyond,
    summary: "find hulls, triangulations and tours of points with pointer networks",
    load: () => import("./point.ts"),
  },
  choose: {
    group: beyond,
    summary: "show what the method auto has learnt, and play contextual bandits on a table",
    load: () => import("./choose.ts"),
  },
  diffusion: {
    group: beyond,
    summary: "collect labels and train filters for diffusion models",
    load: () => import("./diffusion.ts"),
  },
};

/** Below the list of commands. */
const closing = `
Try:
  ventris run "Once upon a time"
  ventris compare "Once upon a time"
  ventris run --help

Exit status: 0 done, 1 failed, 2 called wrongly, 130 interrupted (Ctrl-C).
With --json the result is on stdout as JSON, and so is what went wrong:
  {"error": {"code": "unavailable", "message": "no model …"}}`;

/** What other tools call commands. */
const otherCommands: Readonly<Record<string, string>> = {
  ...{ generate: "run", complete: "run", completion: "run", write: "run", ask: "run", infer: "run", sample: "run" },
  ...{ talk: "chat", list: "models", ls: "models", show: "models", rm: "models --remove", remove: "models --remove" },
  ...{ download: "pull", fetch: "pull", get: "pull", server: "serve", api: "serve", ui: "studio", web: "studio" },
  ...{
    finetune: "train finetune",
    "fine-tune": "train finetune",
    tokenizer: "train tokenizer",
    lora: "train finetune",
  },
  ...{ evaluate: "eval", perplexity: "eval perplexity", benchmark: "bench", info: "doctor", check: "doctor" },
  ...{ version: "--version", demo: "start", init: "train --init" },
};

// A reader that has seen enough (`ventris … | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

// Warnings of ours in our words; those of others as Node shows them.
const listeners = process.listeners("warning");
process.removeAllListeners("warning");
process.on("warning", (warning) => {
  if (warning.name === "VentrisWarning") say(`ventris: ${warning.message}`);
  else for (const listener of listeners) listener(warning);
});

const words = process.argv.slice(2);
const json = words.includes("--json") && !words.slice(0, words.indexOf("--json")).includes("--");
setJson(json);
let program: Command | undefined;
try {
  program = await createProgram(words);
  await program.parseAsync(asked(words, program), { from: "user" });
} catch (error) {
  process.exitCode = report(error);
}
endProgress();

async function createProgram(given: readonly string[]): Promise<Command> {
  const program = new Command("ventris")
    .description("A decoding engine: give it a model and a prompt, and choose how it decodes.")
    .version(packageVersion(), "-V, --version", "show the version")
    .helpOption("-h, --help", "show this help")
    .enablePositionalOptions() // a flag belongs to the command that it follows: `train` and `train tokenizer` share names
    .exitOverride()
    .configureOutput({
      outputError: (text) => complain(`ventris: ${inOurWords(text.trimEnd(), program)}`),
      getOutHelpWidth: helpWidth,
      writeOut: (text) => process.stdout.write(rewrapped(text, helpWidth())),
    })
    .configureHelp(helpStyle)
    .helpCommand("help [command]", "show the help of a command")
    .addHelpText("after", closing)
    .hook("preAction", (_, action) => {
      setQuiet(action.opts().quiet === true);
      refuseEarlyFlags(action);
      refuseEmptyPaths(action);
    })
    .showSuggestionAfterError(false) // ours know other tools' names, too
    .showHelpAfterError("(--help shows the usage)");
  const [first, second] = given.filter((word) => !word.startsWith("-"));
  const wanted = first === "help" ? second : first;
  for (const [name, { group, summary, load }] of Object.entries(commands)) {
    const command = program.command(name).description(summary).helpGroup(group);
    if (name === wanted) (await load()).define(command);
    if (name !== "bench") addCommonFlags(command); // which hands every flag on
  }
  return program;
}

/**
 * What is to be run. `help` before or among the names of commands asks for the help of the last one. The help of a command that there is not would
 * be that of all, or of the command above it: the word is told instead. Errors: `bad_option` for such a word.
 */
function asked(given: readonly string[], program: Command): string[] {
  const plain = given.filter((word) => !word.startsWith("-"));
  const [first, second] = plain;
  const group = program.commands.find((command) => command.name() === first && command.commands.length > 0);
  if (first === "help") return helpOf(plain.slice(1), program);
  if (group && second === "help") return helpOf([first, ...plain.slice(2)], program);
  if (first !== undefined && !Object.hasOwn(commands, first)) return [first];
  const end = given.indexOf("--");
  const isHelp = given.slice(0, end < 0 ? undefined : end).some((word) => /^(--help|-h)$/.test(word));
  let command = program;
  for (const [i, word] of isHelp ? given.entries() : []) {
    // What follows a flag may be its value, and what a command takes itself may be any word.
    if (word.startsWith("-") || command.commands.length === 0 || command.registeredArguments.length > 0) break;
    const next = command.commands.find((one) => one.name() === word);
    if (!next) return given.slice(0, i + 1);
    command = next;
  }
  return [...given];
}

function helpOf(path: readonly string[], program: Command): string[] {
  if (path[0] === "help") return ["--help"];
  let command = program;
  for (const word of path) {
    const next = command.commands.find((one) => one.name() === word);
    if (!next && command === program) return [word]; // refused with all that is meant by it
    const meant = command.commands.length > 0 ? meantCommand(word, command) : `: ${command.name()} has none of its own`;
    ensure(next, "bad_option", `there is no command ${word}${meant}`);
    command = next;
  }
  return [...path, "--help"];
}

/** What is wrong with a command line, as sentences that name the flag. */
function inOurWords(text: string, program: Command | undefined): string {
  const plain = text.replace(/^error: /, "");
  const command = program && commandOf(program, words);
  const [, kind, unknown] = /^unknown (option|command) '([^']*)'/.exec(plain) ?? [];
  if (kind === "option" && command)
    return plain.replace(/^.*/, `there is no option ${unknown}${meantFlag(unknown, command)}`);
  if (kind === "command" && command)
    return plain.replace(/^.*/, `there is no command ${unknown}${meantCommand(unknown, command)}`);
  // A misspelt flag says why another is missing.
  const slip = command && /^(?:missing )?required /.test(plain) ? unknownFlag(command) : undefined;
  if (slip !== undefined) return plain.replace(/^.*/, `there is no option ${slip}${meantFlag(slip, command!)}`);
  return ofValues(ofArguments(plain, program));
}

/** The first flag that a command has not. */
function unknownFlag(command: Command): string | undefined {
  const end = words.indexOf("--");
  return words
    .slice(0, end < 0 ? undefined : end)
    .flatMap((word) => /^--[a-z][\w-]*/i.exec(word)?.[0] ?? [])
    .find((flag) => flag !== "--help" && !command.options.some(({ long }) => long === flag));
}

/** The command that the words lead to. */
function commandOf(command: Command, given: readonly string[]): Command {
  for (const [i, word] of given.entries()) {
    const next = command.commands.find((one) => one.name() === word);
    if (next) return commandOf(next, given.slice(i + 1));
  }
  return command;
}

function meantCommand(unknown: string, command: Command): string {
  const known = [...command.commands.map((one) => one.name()), ...(command.parent ? [] : ["help"])];
  const other = !command.parent && Object.hasOwn(otherCommands, unknown) ? otherCommands[unknown] : undefined;
  if (other) return `; did you mean ${other}?`;
  return (
    suggestion(unknown, known).replace(/"(.*)"/, "$1") || (command.parent ? `: ${known.join(", ")} are there` : "")
  );
}

/** Of flags: their values, and those that are needed. */
function ofValues(text: string): string {
  return text
    .replace(/^option '(?:-\w, )?(--[\w-]+) ([^']*)' argument missing/, "$1 needs a value: $1 $2")
    .replace(
      /^(?:option '(?:-\w, )?(--[\w-]+) [^']*' argument|command-argument value) '([\s\S]*)' is invalid(?: for argument '([^']*)')?\. Allowed choices are (.*)\./,
      (_, flag: string | undefined, given: string, argument: string, choices: string) =>
        notAmong(flag ?? `<${argument}>`, given, choices.split(", ")),
    )
    .replace(/^required option '(?:-\w, )?(--[^']*)' not specified/, "$1 is needed")
    .replace(/^missing required argument '([^']*)'/, "<$1> is needed");
}

function notAmong(place: string, given: string, choices: readonly string[]): string {
  return `${place} must be ${listed(choices)}, not ${given}${suggestion(given, choices).replace(/"(.*)"/, "$1")}`;
}

/** Of words that are too many, which they are. */
function ofArguments(plain: string, program: Command | undefined): string {
  const [, name] = /^too many arguments for '([\w-]+)'/.exec(plain) ?? [];
  const command = name && program?.commands.find((one) => one.name() === name);
  if (!command) return plain;
  const extra = command.args.slice(command.registeredArguments.length).map((word) => JSON.stringify(word));
  const model = command.options.some(({ long }) => long === "--model") ? "; --model names a model" : "";
  return plain.replace(/^.*/, `${name} does not know what to do with ${extra.join(" ")}${model}`);
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}

/** Tells what went wrong, and returns the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    // In words it has spoken already.
    if (json) printJson({ error: { code: "bad_option", message: inOurWords(error.message, program) } });
    return 2;
  }
  const known = error instanceof VentrisError;
  if (!known && isOfSystem(error)) {
    fail({ code: "unavailable", message: `the system refused it: ${error.message}` });
    if (words.includes("--debug")) complain(explain(error));
    return 1;
  }
  const message = known ? withFlag(error.message) : reasonOf(error);
  fail(known ? { code: error.code, message } : { code: "internal", message: `unexpected failure: ${message}` });
  if (words.includes("--debug")) complain(explain(error));
  // What a method of one's own threw is its author's to mend; any other such failure is ours.
  else if (!known || error.code === "internal")
    complain(known && error.cause !== undefined ? "(--debug shows where)" : "(--debug shows where; please report it)");
  if (!known) return 1;
  return error.code === "bad_option" ? 2 : error.code === "aborted" ? 130 : 1;
}

/** A folder that cannot be made, for instance: not the program's fault. */
function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && "path" in error;
}

/** An error about an option that a flag gave, which begins with the option's name, begins with the flag. */
function withFlag(message: string): string {
  return nameFlag(message).replace(/, or give field: (".*") in a recipe, or for documents$/, (all, field) => {
    const takes = program && commandOf(program, words).options.some(({ long }) => long === "--field");
    return takes ? `, or give --field ${field}` : all;
  });
}

function nameFlag(message: string): string {
  const [, name] = /^([a-z]\w*): /i.exec(message) ?? [];
  if (name === undefined || !program) return message;
  const command = commandOf(program, words);
  const flag = command.options.find((option) => option.attributeName() === name)?.long;
  return flag && command.getOptionValueSource(name) === "cli" ? message.replace(name, flag) : message;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return [error.stack ?? error.message, ...(error.cause ? [`caused by ${explain(error.cause)}`] : [])].join("\n");
}
