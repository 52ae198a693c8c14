/** `ventris compare`: several methods on one prompt with the same seed, side by side. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { type DecodeOptions, methodChoice, type NamedMethod } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import type { RunResult } from "../engine/run.ts";
import type { TraceEvent } from "../engine/trace.ts";
import { VentrisError } from "../errors.ts";
import { findMethod, methods } from "../methods/index.ts";
import { type OpenModel, open } from "../open.ts";
import { readConstraint } from "./constraint.ts";
import { parseValue, pickFlags } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { murmur, print, printJson, say } from "./output.ts";
import { addRequestFlags, loadOptions, type RequestFlags, readMethods, readPrompt } from "./request.ts";
import { readShapers } from "./shapers.ts";
import { formatTable } from "./table.ts";
import { drawRound, roundsOf } from "./tree.ts";

interface CompareFlags extends RequestFlags {
  methods?: string;
  tree?: true;
  rounds?: number;
}

interface Entry {
  readonly method: string;
  readonly choice: NamedMethod;
  readonly lossless: boolean;
  /** Whether it must give the very text of the other lossless methods. */
  readonly repeats: boolean;
  readonly result: RunResult;
  readonly events: readonly TraceEvent[];
}

interface Skipped {
  readonly method: string;
  readonly reason: string;
}

interface Difference {
  readonly method: string;
  readonly from: string;
  /** Index of the first token that differs. */
  readonly at: number;
}

/** A method's first run loads its draft and warms the runtime up: it is not the one that is shown. */
const warmUpTokens = 4;

const rounds = z.int().min(1);

export function define(command: Command): void {
  command
    .argument("[prompt...]", "the text to continue; from standard input when it is piped")
    .option(
      "--methods <list>",
      'names between commas, or a JSON list of names and {"name": …, options} (default: all that need no further input)',
    )
    .option("--tree", "show the drafted trees of the first rounds, what was accepted and why")
    .addOption(
      new Option("--rounds <number>", "how many rounds of each method --tree shows (default: 3)")
        .implies({ tree: true })
        .argParser((text) => parseValue(rounds, "--rounds", text)),
    );
  addRequestFlags(command);
  command.addHelpText(
    "after",
    `
The temperature is 0 unless given. At every temperature a seed gives one text: all lossless methods must write the same tokens, and
if they do not, the exit status is 1. (Methods with verification "published" draw by themselves above temperature 0.)
Speeds are of this one run; benchmarks take medians of many.`,
  );
  command.action(compare);
}

async function compare(words: string[], flags: CompareFlags): Promise<void> {
  const options = { temperature: 0, ...pickFlags(flags, requestOptions.shape) } as DecodeOptions;
  options.constraint = await readConstraint(flags);
  options.shapers = readShapers(flags);
  const chosen = flags.methods === undefined ? undefined : readMethods(flags.methods);
  const prompt = await readPrompt(words, flags);
  await using model = await open(flags.model, loadOptions(flags));

  await interruptible(async (signal) => {
    const entries: Entry[] = [];
    const skipped: Skipped[] = [];
    for (const choice of chosen ?? defaultMethods(options)) {
      const method = nameOf(choice);
      murmur(`${method} …`);
      try {
        const entry = await measure(model, prompt, choice, { ...options, signal });
        if (signal.aborted) break;
        entries.push(entry);
      } catch (error) {
        // What nobody asked for by name may be missing a draft model here.
        const optional = !chosen && error instanceof VentrisError && error.code === "unavailable";
        if (!optional) throw error;
        skipped.push({ method, reason: error.message });
      }
    }
    const differences = findDifferences(entries);
    const shownRounds = flags.tree ? (flags.rounds ?? 3) : 0;
    if (flags.json) printJson(toJson({ flags, entries, skipped, differences, rounds: shownRounds }));
    else show(model, entries, shownRounds);
    for (const { method, reason } of skipped) say(`${method} left out: ${reason}`);
    for (const { method, from, at } of differences) {
      say(`${method} is lossless and yet differs from ${from} at token ${at} of the output`);
    }
    if (differences.length > 0) process.exitCode = 1;
    if (signal.aborted) process.exitCode = 130;
  });
}

const nameOf = (choice: NamedMethod): string => (typeof choice === "string" ? choice : choice.name);

/** Plain decoding first, as the measure of all others, which need no options. */
function defaultMethods({ temperature }: DecodeOptions): NamedMethod[] {
  const others = methods.filter(({ family, options }) => family !== "plain" && options.safeParse({}).success);
  return [temperature === 0 ? "greedy" : "sample", ...others.map(({ name }) => name)];
}

async function measure(
  model: OpenModel,
  prompt: string | number[],
  choice: NamedMethod,
  options: DecodeOptions,
): Promise<Entry> {
  const { name, ...given } = typeof choice === "string" ? { name: choice } : choice;
  const { lossless, repeats, options: schema } = findMethod(name);
  const settings = schema.parse(given);
  const maxTokens = Math.min(warmUpTokens, options.maxTokens ?? warmUpTokens);
  await model.decode(prompt, { ...options, method: methodChoice(choice), maxTokens }).final;
  const run = model.decode(prompt, { ...options, method: methodChoice(choice) });
  const events: TraceEvent[] = [];
  for await (const event of run) events.push(event);
  return {
    method: name,
    choice,
    lossless: typeof lossless === "function" ? lossless(settings) : lossless,
    repeats: options.temperature === 0 || (repeats?.(settings) ?? true),
    result: await run.final,
    events,
  };
}

/** Lossless methods against the first of them. */
function findDifferences(entries: readonly Entry[]): Difference[] {
  const [first, ...others] = entries.filter(({ lossless, repeats }) => lossless && repeats);
  return others.flatMap(({ method, result: { tokens } }) => {
    const expected = first.result.tokens;
    const length = Math.max(tokens.length, expected.length);
    const at = Array.from({ length }, (_, i) => i).find((i) => tokens[i] !== expected[i]);
    return at === undefined ? [] : [{ method, from: first.method, at }];
  });
}

const speedOf = ({ counters, seconds }: RunResult): number => counters.generated / Math.max(seconds.decode, 1e-9);

interface Outcome {
  flags: CompareFlags;
  entries: readonly Entry[];
  skipped: readonly Skipped[];
  differences: readonly Difference[];
  rounds: number;
}

const toJson = ({ flags, entries, skipped, differences, rounds }: Outcome): object => ({
  model: flags.model,
  methods: entries.map(({ method, choice, lossless, result, events }) => ({
    method,
    options: typeof choice === "string" ? {} : Object.fromEntries(Object.entries(choice).filter(([k]) => k !== "name")),
    lossless,
    ...result,
    tokensPerSecond: speedOf(result),
    speedUp: speedOf(result) / speedOf(entries[0].result),
    ...(rounds > 0 && { rounds: roundsOf(events).slice(0, rounds) }),
  })),
  skipped,
  differences,
});

function show(model: OpenModel, entries: readonly Entry[], rounds: number): void {
  const rows = entries.map(({ method, lossless, result }) => {
    const { generated, passes, tokensPerPass, drafted, accepted } = result.counters;
    return [
      method,
      lossless ? "yes" : "no",
      String(generated),
      String(passes),
      tokensPerPass.toFixed(2),
      drafted > 0 ? String(drafted) : "-",
      drafted > 0 ? String(accepted) : "-",
      speedOf(result).toFixed(1),
      `${(speedOf(result) / speedOf(entries[0].result)).toFixed(2)}×`,
    ];
  });
  const header = ["method", "lossless", "tokens", "passes", "per pass", "drafted", "accepted", "tokens/s", "speed-up"];
  print(formatTable(header, rows));
  const textOf = (token: number): string =>
    model.tokenizer
      ? JSON.stringify(model.tokenizer.decode([token], { continued: true, special: true }))
      : String(token);
  for (const { method, events } of entries) {
    for (const [i, round] of roundsOf(events).slice(0, rounds).entries()) {
      print(`\n${method}, round ${i + 1}: ${drawRound(round, textOf)}`);
    }
  }
}
