/** `ventris run`: decodes a prompt and streams the text. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { type DecodeOptions, methodChoice, type Prompt } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import type { RunResult } from "../engine/run.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure } from "../errors.ts";
import { open } from "../open.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { readConstraint } from "./constraint.ts";
import { parseValue, pickFlags } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say } from "./output.ts";
import { addRequestFlags, loadOptions, type RequestFlags, readMethod, readPrompt, showPrompt } from "./request.ts";
import { readShapers } from "./shapers.ts";

interface RunFlags extends RequestFlags {
  method?: string;
  set?: string[];
  samples: number;
  trace?: string;
  fill?: string;
  fillLengths?: (number | "found")[];
}

const samples = z.int().min(1).max(1024);
const fillLengths = z.array(z.union([z.int().min(1), z.literal("found")]));

export function define(command: Command): void {
  command
    .argument("[prompt...]", "the text to continue; from standard input when it is piped")
    .option("--method <name>", 'a method, or JSON: {"name": …, options} (default: sample; greedy at temperature 0)')
    .option("--set <name=value>", "an option of the method; repeatable", (pair, all: string[] = []) => [...all, pair])
    .addOption(
      new Option("--samples <number>", "decode this many times at once, with request numbers from --request on")
        .default(1)
        .argParser((text) => parseValue(samples, "--samples", text)),
    )
    .option("--trace <file>", "write the events of the run as JSON lines")
    .option("--fill <text>", "of a diffusion model: fill the blanks ___ of a text instead of continuing a prompt")
    .addOption(
      new Option(
        "--fill-lengths <list>",
        "tokens of each blank; found: the length that the model is surest of",
      ).argParser((text) => parseValue(fillLengths, "--fill-lengths", text)),
    );
  addRequestFlags(command);
  command.addHelpText(
    "after",
    `
Text goes to stdout, everything else to stderr. Options left out have the library's defaults: plain sampling at temperature 1.

Examples:
  ventris run --temperature 0.8 --seed 3 "Once upon a time"
  ventris run --method greedy --json --max-tokens 32 "Once upon a time"
  echo "The king said" | ventris run --stop "." --samples 4
  ventris run --model mycenae --fill "The old king ___ and then ___."`,
  );
  command.action(run);
}

async function run(words: string[], flags: RunFlags): Promise<void> {
  ensure(flags.logprobs === undefined || flags.json || flags.trace, "bad_option", "--logprobs needs --json or --trace");
  const method = readMethod(flags.method, flags.set);
  const options = pickFlags(flags, requestOptions.shape) as DecodeOptions;
  options.constraint = await readConstraint(flags);
  options.shapers = readShapers(flags);
  const prompt = await promptOf(words, flags);
  await using model = await open(flags.model, loadOptions(flags));

  await interruptible(async (signal) => {
    const first = options.request ?? 0;
    const runs = Array.from({ length: flags.samples }, (_, i) =>
      model.decode(prompt, {
        ...options,
        ...(method !== undefined && { method: methodChoice(method) }),
        request: first + i,
        signal,
      }),
    );
    if (!flags.json && !isTemplate(prompt)) showPrompt(prompt);
    const events: TimedEvent[] = [];
    const started = performance.now();
    const results: RunResult[] = [];
    try {
      for (const [i, run] of runs.entries()) {
        if (!flags.json && runs.length > 1) say(`sample ${first + i}:`);
        for await (const event of run) {
          events.push({ ...event, at: (performance.now() - started) / 1000 });
          if (!flags.json && event.type === "tokens") process.stdout.write(event.text);
        }
        if (!flags.json) print("");
        results.push(await run.final);
      }
    } finally {
      for (const run of runs) run.abort(); // after a failure the others need not go on
      if (flags.trace !== undefined) await writeTrace(flags.trace, events);
    }
    if (flags.json) printJson({ model: flags.model, method: methodOf(events), ...describe(results, first) });
    else say(summarise(results));
    if (signal.aborted) process.exitCode = 130;
  });
}

type Template = Extract<Prompt, { readonly fill: string }>;

const isTemplate = (prompt: string | number[] | Template): prompt is Template =>
  typeof prompt === "object" && "fill" in prompt;

/** A prompt to continue, or a text with blanks. Errors: `bad_option` for both at once. */
async function promptOf(words: string[], flags: RunFlags): Promise<string | number[] | Template> {
  const { fill, fillLengths: lengths, promptFile, promptIds } = flags;
  ensure(
    lengths === undefined || fill !== undefined,
    "bad_option",
    "--fill-lengths: says how long the blanks of --fill are",
  );
  if (fill === undefined) return readPrompt(words, flags);
  const other = words.length > 0 || promptFile !== undefined || promptIds !== undefined;
  ensure(!other, "bad_option", "--fill: the text to fill stands in the place of a prompt: give one of them");
  return { fill, ...(lengths && { lengths }) };
}

const writeTrace = (path: string, events: readonly TimedEvent[]): Promise<void> =>
  writeFileAtomically(path, events.map((event) => `${JSON.stringify(event)}\n`).join(""));

const methodOf = (events: readonly TimedEvent[]): string | undefined =>
  events.find((event) => event.type === "start")?.method;

/** One run's result as it is; of several, a list, each with its request number. */
const describe = (results: readonly RunResult[], first: number): object =>
  results.length === 1 ? results[0] : { samples: results.map((result, i) => ({ request: first + i, ...result })) };

/** `200 tokens · 200 passes · 1.00 tokens per pass · 312.4 tokens/s`, for several samples the sum of all. */
function summarise(results: readonly RunResult[]): string {
  const total = (value: (result: RunResult) => number): number => results.reduce((sum, r) => sum + value(r), 0);
  const generated = total(({ counters }) => counters.generated);
  const perPass = total(({ counters }) => counters.tokensPerPass) / results.length;
  const seconds = Math.max(...results.map((result) => result.seconds.decode));
  const finish = [...new Set(results.map((result) => result.finish))].join(", ");
  return [
    `${generated} tokens`,
    `${total(({ counters }) => counters.passes)} passes`,
    `${perPass.toFixed(2)} tokens per pass`,
    ...(seconds > 0 ? [`${(generated / seconds).toFixed(1)} tokens/s`] : []),
    `finish: ${finish}`,
  ].join(" · ");
}
