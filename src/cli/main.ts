#!/usr/bin/env node
/**
 * The `ventris` command. Only the module of the command that is asked for is loaded: the others would bring the engine or
 * the trainer with them, and starting must stay quick.
 *
 * Exit status: 0 done, 1 failed, 2 misused, 130 interrupted.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { VentrisError } from "../errors.ts";
import { say } from "./output.ts";

interface CommandModule {
  /** Adds arguments, flags and the action. */
  define(command: Command): void;
}

const commands: Readonly<Record<string, { summary: string; load: () => Promise<CommandModule> }>> = {
  run: { summary: "decode a prompt and stream the text", load: () => import("./run.ts") },
  compare: { summary: "run several methods on one prompt, side by side", load: () => import("./compare.ts") },
  methods: { summary: "list the decoding methods and their options", load: () => import("./methods.ts") },
  papers: { summary: "list the published systems and their claims", load: () => import("./papers.ts") },
  reproduce: { summary: "measure what a paper claims", load: () => import("./reproduce.ts") },
  studio: { summary: "open the studio in a browser on this machine", load: () => import("./studio.ts") },
  models: { summary: "list the models that are here", load: () => import("./models.ts") },
  doctor: { summary: "say what this machine can do and what is missing", load: () => import("./doctor.ts") },
  train: { summary: "train a model from a recipe, or a tokenizer", load: () => import("./train.ts") },
  point: { summary: "point at hulls, triangulations and tours", load: () => import("./point.ts") },
  eval: { summary: "perplexity, multiple choice and checkable tasks", load: () => import("./eval.ts") },
  choose: { summary: "what the method auto learnt; bandits on a table", load: () => import("./choose.ts") },
  filter: { summary: "fit filters of signals, decode with them, compare them", load: () => import("./filter.ts") },
  eeg: { summary: "EEG of read sentences to text: prepare, train, decode, evaluate", load: () => import("./eeg.ts") },
  bench: { summary: "run a benchmark (in a checkout of the repository)", load: () => import("./bench.ts") },
};

// A reader that has seen enough (`ventris … | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

const words = process.argv.slice(2);
try {
  const program = await createProgram(words);
  await program.parseAsync(words, { from: "user" });
} catch (error) {
  process.exitCode = report(error);
}

async function createProgram(given: readonly string[]): Promise<Command> {
  const program = new Command("ventris")
    .description("A decoding engine: give it a model and a prompt, and choose how it decodes.")
    .version(packageVersion())
    .enablePositionalOptions() // a flag belongs to the command that it follows: `train` and `train tokenizer` share names
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "ventris: ")) })
    .showHelpAfterError("(--help shows the usage)");
  const [first, second] = given.filter((word) => !word.startsWith("-"));
  const wanted = first === "help" ? second : first;
  for (const [name, { summary, load }] of Object.entries(commands)) {
    const command = program.command(name).description(summary).option("--debug", "show where an error comes from");
    if (name === wanted) (await load()).define(command);
  }
  return program;
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}

/** Tells what went wrong, and returns the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has spoken already
  const known = error instanceof VentrisError;
  say(`ventris: ${known ? error.message : `unexpected failure: ${error instanceof Error ? error.message : error}`}`);
  if (words.includes("--debug")) say(explain(error));
  else if (!known) say("(--debug shows where; please report it)");
  if (!known) return 1;
  return error.code === "bad_option" ? 2 : error.code === "aborted" ? 130 : 1;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return [error.stack ?? error.message, ...(error.cause ? [`caused by ${explain(error.cause)}`] : [])].join("\n");
}
