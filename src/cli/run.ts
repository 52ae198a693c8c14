/** `ventris run`: decodes a prompt and streams the text. */
import { type Command, Option } from "commander";
import { z } from "zod";
import type { DecodeOptions, Prompt } from "../calls.ts";
import type { RunResult } from "../engine/run.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure, plural } from "../errors.ts";
import type { Model } from "../open.ts";
import { outlookOf } from "./comparison.ts";
import { hopeless } from "./comparison-report.ts";
import { parseValue } from "./flags.ts";
import { groups } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import {
  addMethodHints,
  type ChosenMethod,
  choiceOf,
  readMethod,
  requireDecodes,
  requireNoOptions,
} from "./method-choice.ts";
import { endProgress, print, printJson, say, showProgress, talks, write } from "./output.ts";
import { openShown } from "./progress.ts";
import {
  addInsideFlags,
  addOpenFlags,
  addOutputFlags,
  addPromptFlags,
  addSamplingFlags,
  inForm,
  openOptions,
  type RequestFlags,
  readPrompt,
  readRequest,
  requirePrompt,
} from "./request.ts";
import { styled, wordWriter } from "./terminal.ts";
import { writeTrace } from "./trace-file.ts";

interface RunFlags extends RequestFlags {
  method?: string;
  set?: string[];
  samples: number;
  trace?: string;
  fill?: string;
  image?: string[];
  fillLengths?: (number | "found")[];
}

const samples = z.int().min(1).max(1024);
const fillLengths = z.array(z.union([z.int().min(1), z.literal("found")]));

export function define(command: Command): void {
  command.argument("[prompt...]", "the text to continue; read from standard input when it is piped");
  addPromptFlags(command);
  command
    .option(
      "--image <file>",
      "ask about a picture (PNG, JPEG, WebP or GIF) in the model's chat form; for models that see. May be given several times.",
      (file, all: string[] = []) => [...all, file],
    )
    .option("--fill <text>", "fill the blanks ___ of this text instead of continuing a prompt (diffusion models only)")
    .addOption(
      new Option(
        "--fill-lengths <list>",
        "tokens of each blank, between commas; found stands for the length that the model is surest of",
      ).argParser((text) => parseValue(fillLengths, "--fill-lengths", text)),
    );
  addOpenFlags(command);
  addInsideFlags(command);
  command
    .optionsGroup(groups.method)
    .addOption(
      new Option(
        "--method <name>",
        'how to decode: a name from ventris methods, or a file with a method of your own such as ./my-method.ts; default: sample, or greedy at temperature 0. Or JSON with options: \'{"name": "dyspec", "budget": 16}\'',
      ),
    )
    .option(
      "--set <name=value>",
      "set an option of the method (ventris methods NAME lists them). May be given several times.",
      (pair, all: string[] = []) => [...all, pair],
    );
  addMethodHints(command);
  addSamplingFlags(command);
  command.addOption(
    new Option(
      "--samples <number>",
      "decode the prompt this many times at once, with request numbers from --request on",
    )
      .default(1)
      .argParser((text) => parseValue(samples, "--samples", text))
      .helpGroup(groups.sampling),
  );
  addOutputFlags(command);
  command.option("--trace <file>", "write every event of the run to a file as JSON lines, which the studio replays");
  command.addHelpText(
    "after",
    `
The text goes to stdout; progress and messages go to stderr. Ctrl-C ends the run
and keeps the text so far.

Examples:
  ventris run --temperature 0.8 --seed 3 "Once upon a time"
  ventris run --method dyspec --set budget=16 -n 100 "Once upon a time"
  ventris run --method greedy --json -n 32 "Once upon a time"
  echo "The king said" | ventris run --stop "." --stop '\\n' --samples 4
  ventris run --model mycenae --fill "The king was very ___." --fill-lengths 1`,
  );
  command.action(run);
}

async function run(words: string[], flags: RunFlags): Promise<void> {
  for (const name of ["logprobs", "taps"] as const)
    ensure(flags[name] === undefined || flags.json || flags.trace, "bad_option", `--${name} needs --json or --trace`);
  const method = await readMethod(flags.method, flags.set);
  requireNoOptions(words, method ? [method] : [], "--set");
  const options = await readRequest(flags);
  const prompt = await promptOf(words, flags);
  await using model = await openShown(flags.model, openOptions(flags));
  endProgress();
  requireDecodes(model);
  requirePrompt(prompt, model, "run");

  await interruptible(async (signal) => {
    const first = options.request ?? 0;
    const runs = Array.from({ length: flags.samples }, (_, i) =>
      model.decode(prompt, { ...options, ...(method && { method: choiceOf(method) }), request: first + i, signal }),
    );
    const { stdout, stderr } = process;
    // In front of a terminal the text would otherwise begin in the middle.
    if (!flags.json && stdout.isTTY && stderr.isTTY && typeof prompt === "string") say(styled(stderr, "dim", prompt));
    const events: TimedEvent[] = [];
    const started = performance.now();
    const results: RunResult[] = [];
    try {
      for (const [i, run] of runs.entries()) {
        if (!flags.json && runs.length > 1) say(`sample ${first + i}:`);
        const text = stdout.isTTY ? wordWriter(stdout) : { write, end: () => print("") };
        for await (const event of run) {
          events.push({ ...event, at: (performance.now() - started) / 1000 });
          if (!flags.json && event.type === "tokens") text.write(event.text);
        }
        if (!flags.json) text.end();
        results.push(await run.final);
      }
    } finally {
      for (const run of runs) run.abort(); // after a failure the others need not go on
      if (flags.trace !== undefined) await writeTrace(flags.trace, events);
    }
    if (flags.json) printJson({ model: flags.model, method: methodOf(events), prompt, ...describe(results, first) });
    else {
      say(figuresOf(results));
      const silent = typeof prompt === "string" && results.every(({ text }) => text.trim() === "");
      if (silent && model.tokenizer?.encodeChat)
        say("the model ended at once; it has a chat form, in which it may have more to say: --chat");
      if (method && talks() && !signal.aborted) await explainSpeed(model, method, options, signal);
    }
    if (signal.aborted) process.exitCode = 130;
  });
}

/** A prompt to continue, a question about pictures, or a text with blanks. Errors: `bad_option` for several at once. */
async function promptOf(words: string[], flags: RunFlags): Promise<Prompt> {
  const { fill, fillLengths: lengths, promptFile, promptIds, image } = flags;
  ensure(
    lengths === undefined || fill !== undefined,
    "bad_option",
    "--fill-lengths says how long the blanks of --fill are: give both",
  );
  ensure(image === undefined || fill === undefined, "bad_option", "--image and --fill: give one of them");
  ensure(!flags.chat || fill === undefined, "bad_option", "--chat and --fill: give one of them");
  if (image) {
    ensure(promptIds === undefined, "bad_option", "--image: beside pictures the prompt is a text, not --prompt-ids");
    return [...image.map((file) => ({ image: file })), (await readPrompt(words, flags, "run")) as string];
  }
  if (fill === undefined) return inForm(await readPrompt(words, flags, "run"), flags);
  const other = words.length > 0 || promptFile !== undefined || promptIds !== undefined;
  ensure(!other, "bad_option", "--fill: the text to fill stands in the place of a prompt: give one of them");
  return { fill, ...(lengths && { lengths }) };
}

/** Says once, with figures, that a method does not gain with this model on this machine. */
async function explainSpeed(
  model: Model,
  method: ChosenMethod,
  options: DecodeOptions,
  signal: AbortSignal,
): Promise<void> {
  showProgress(`measuring what ${method.method.name} can gain here`);
  const note = hopeless(method.method.name, await outlookOf(model, method, options, signal));
  endProgress();
  if (note) say(note);
}

const methodOf = (events: readonly TimedEvent[]): string | undefined =>
  events.find((event) => event.type === "start")?.method;

/** One run's result as it is; of several, a list, each with its request number. */
const describe = (results: readonly RunResult[], first: number): object =>
  results.length === 1 ? results[0] : { samples: results.map((result, i) => ({ request: first + i, ...result })) };

/** Why an output ended, for people. */
const endings: Readonly<Record<RunResult["finish"], string>> = {
  stop: "ended by a stop token or by the method",
  length: "ended by --max-tokens",
  context: "ended by the model's context",
  aborted: "interrupted",
  end: "ended by the model",
  incomplete: "cut off before it had the form that was asked for",
};

/**
 * `200 tokens · 200 passes · 1.00 tokens per pass after the prompt's · 312.4 tokens/s · ended by the model`, for several samples the sum of all. The
 * prompt's pass gives one token, whatever the method.
 */
export function figuresOf(results: readonly RunResult[]): string {
  const total = (value: (result: RunResult) => number): number => results.reduce((sum, r) => sum + value(r), 0);
  const generated = total(({ counters }) => counters.generated);
  const perPass = total(({ counters }) => counters.tokensPerPass) / results.length;
  const seconds = Math.max(...results.map((result) => result.seconds.decode));
  return [
    plural(generated, "token"),
    plural(
      total(({ counters }) => counters.passes),
      "pass",
      "passes",
    ),
    `${perPass.toFixed(2)} tokens per pass after the prompt's`,
    ...(seconds > 0 ? [`${(generated / seconds).toFixed(1)} tokens/s`] : []),
    [
      ...new Set(results.map(({ finish, stop }) => (stop === undefined ? endings[finish] : "ended by a stop text"))),
    ].join(", "),
  ].join(" · ");
}
