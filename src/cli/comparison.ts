/** Methods measured side by side: the same prompts, the same seed, interleaved repetitions; what is equal, and what is faster. */
import type { DecodeOptions, Text } from "../calls.ts";
import { isLossless, type Method, methodOutlook, type Outlook, repeatsPlain } from "../engine/method.ts";
import type { RunResult } from "../engine/run.ts";
import type { TraceEvent } from "../engine/trace.ts";
import { findMethod } from "../methods/index.ts";
import { engineModel, type Model } from "../open.ts";
import { type Estimate, meanWithin } from "../papers/statistics.ts";
import { type Margin, marginOf } from "./margin.ts";
import { type ChosenMethod, choiceOf, labelsOf } from "./method-choice.ts";
import { misfitOf, otherModel } from "./misfit.ts";

/** One method, over all prompts and repetitions. */
export interface Entry {
  readonly label: string;
  readonly chosen: ChosenMethod;
  readonly lossless: boolean;
  /** Whether it must give the very text of the other lossless methods. */
  readonly repeats: boolean;
  /** Of the first repetition, by prompt. */
  readonly results: RunResult[];
  readonly events: (readonly TraceEvent[])[];
  /** Seconds a token of every run, in the order in which all methods ran. */
  readonly secondsPerToken: number[];
  readonly outlook?: Outlook;
}

export interface Skipped {
  readonly label: string;
  /** In words, with the flag that would help. */
  readonly reason: string;
  readonly flag: string;
}

export interface Difference {
  readonly method: string;
  readonly from: string;
  readonly prompt: number;
  /** Index of the first token that differs. */
  readonly at: number;
}

export interface Comparison {
  readonly prompts: readonly Text[];
  readonly entries: readonly Entry[];
  readonly skipped: readonly Skipped[];
  readonly differences: readonly Difference[];
  /** Where the same text is promised of several methods. */
  readonly margin?: Margin;
  readonly repetitions: number;
}

export interface CompareOptions {
  readonly model: Model;
  readonly prompts: readonly Text[];
  readonly methods: readonly ChosenMethod[];
  readonly request: DecodeOptions;
  readonly repetitions: number;
  readonly signal: AbortSignal;
  onProgress(text: string): void;
}

/** Prompts whose decisions are looked at. */
const mostWatched = 8;
/** A method's first run loads its draft, measures pass times and warms caches up: it is not counted. */
const warmUpTokens = 64;

/**
 * Repetitions are outermost, so that a disturbance of the machine hits all methods alike. A method that cannot work here is skipped with
 * the reason; options that no method would take are errors, and so is plain decoding that fails where nothing else works. Where none of the
 * methods is plain decoding, it is measured before them: speeds and texts are compared with its. Ends early with the signal, with what is done.
 */
export async function compareMethods(options: CompareOptions): Promise<Comparison> {
  const { model, prompts, methods, request, repetitions, signal, onProgress } = options;
  const labels = labelsOf(methods);
  /** An interrupt while something was measured ends the comparison with what is done. */
  const unlessAborted = (error: unknown): undefined => {
    if (!signal.aborted) throw error;
  };
  const skipped: Skipped[] = [];
  let plainFailed: unknown;
  /** Undefined for a method that is skipped, and after an interrupt. */
  async function enter(chosen: ChosenMethod, label: string): Promise<Entry | undefined> {
    if (signal.aborted) return undefined;
    onProgress(`${label}: warming up`);
    const settings = chosen.method.options.safeParse(chosen.options);
    try {
      const maxTokens = Math.min(warmUpTokens, request.maxTokens ?? warmUpTokens);
      const minTokens = Math.min(maxTokens, request.minTokens ?? 0);
      await run(model, prompts[0], chosen, { ...request, maxTokens, minTokens, signal });
    } catch (error) {
      if (signal.aborted) return undefined;
      const { method } = chosen;
      const misfit = misfitOf(error, { ...chosen, model, temperature: request.temperature });
      if (!misfit || !settings.success) throw error;
      if (method.family === "plain" && misfit.flag !== otherModel) plainFailed ??= error;
      const { reason, flag = `--methods '[{"name": "${method.name}", …}]'` } = misfit;
      skipped.push({ label, flag, reason: misfit.flag ? reason : `${reason}; pass ${flag} to give it options` });
      return undefined;
    }
    return {
      label,
      chosen,
      lossless: isLossless(chosen.method, settings.data as object),
      repeats: request.temperature === 0 || repeatsPlain(chosen.method, settings.data as object),
      outlook: await outlookOf(model, chosen, request, signal).catch(unlessAborted),
      results: [],
      events: [],
      secondsPerToken: [],
    };
  }
  const entries: Entry[] = [];
  for (const [i, chosen] of methods.entries()) {
    const entry = await enter(chosen, labels[i]);
    if (entry) entries.push(entry);
  }
  if (entries.length > 0 && !entries.some(isPlain)) {
    const plain = plainMethod(model, request);
    const entry = plain && (await enter({ method: plain, options: {} }, plain.name));
    if (entry) entries.unshift(entry);
  }
  // Where nothing works, plain decoding says best why.
  if (entries.length === 0 && plainFailed !== undefined) throw plainFailed;
  const total = repetitions * prompts.length;
  for (let unit = 0; unit < total && !signal.aborted; unit++) {
    for (const entry of entries) {
      onProgress(`run ${unit + 1} of ${total}: ${entry.label}`);
      const { result, events } = await run(model, prompts[unit % prompts.length], entry.chosen, { ...request, signal });
      if (signal.aborted) break;
      entry.secondsPerToken.push(result.seconds.decode / Math.max(1, result.counters.generated));
      if (unit >= prompts.length) continue;
      entry.results.push(result);
      entry.events.push(events);
    }
  }
  const measured = entries.filter(({ results }) => results.length > 0);
  const differences = differencesOf(measured);
  const agree = !signal.aborted && measured.filter(promised).length > 1 && model.capabilities.has("forest");
  if (agree) onProgress("margins of plain decoding");
  const watched = prompts.slice(0, mostWatched);
  const margin = agree ? await marginOf(model, watched, { ...request, signal }).catch(unlessAborted) : undefined;
  return { prompts, entries: measured, skipped, differences, margin, repetitions };
}

async function run(model: Model, prompt: Text, chosen: ChosenMethod, request: DecodeOptions) {
  const started = model.decode(prompt, { ...request, method: choiceOf(chosen) });
  const events: TraceEvent[] = [];
  for await (const event of started) events.push(event);
  return { result: await started.final, events };
}

/** What the method can gain at all; undefined where it does not know, or where its options fix how much it drafts. */
export async function outlookOf(
  model: Model,
  { method, options }: ChosenMethod,
  { temperature = 1 }: DecodeOptions,
  signal?: AbortSignal,
): Promise<Outlook | undefined> {
  if (!method.outlook) return undefined;
  const given = method.options.parse(options) as never;
  return methodOutlook(method, engineModel(model), given, { temperature, signal });
}

/** The plain decoding of a temperature; undefined for a model of another kind, which has none. */
export function plainMethod({ capabilities }: Pick<Model, "capabilities">, request: DecodeOptions): Method | undefined {
  const method = findMethod(request.temperature === 0 ? "greedy" : "sample");
  return fits(method, capabilities) ? method : undefined;
}

/** Whether a model is of the kind that a method decodes with. */
export const fits = ({ needs = ["forest"] }: Method, capabilities: Model["capabilities"]): boolean =>
  needs.every((need) => capabilities.has(need));

/** Lossless methods against plain decoding, or the first of them where it has none, prompt by prompt. */
function differencesOf(entries: readonly Entry[]): Difference[] {
  const lossless = entries.filter(promised);
  if (lossless.length === 0) return [];
  const first = measureOf(lossless);
  return lossless
    .filter((entry) => entry !== first)
    .flatMap(({ label, results }) =>
      results.flatMap(({ tokens }, prompt) => {
        const expected = first.results[prompt].tokens;
        const length = Math.max(tokens.length, expected.length);
        const at = Array.from({ length }, (_, i) => i).find((i) => tokens[i] !== expected[i]);
        return at === undefined ? [] : [{ method: label, from: first.label, prompt, at }];
      }),
    );
}

/** Whether this very text is promised of a method. */
export const promised = ({ lossless, repeats }: Pick<Entry, "lossless" | "repeats">): boolean => lossless && repeats;

/** With fewer measurements an interval is a hundred times as wide as what it is about, and says nothing. */
const fewest = 3;

/** How many times as fast as plain decoding: the geometric mean over runs of the same prompt and repetition; of few runs without interval. */
export function speedUp(entry: Entry, plain: Entry): Estimate {
  const count = Math.min(entry.secondsPerToken.length, plain.secondsPerToken.length);
  const logs = Array.from({ length: count }, (_, i) => Math.log(plain.secondsPerToken[i] / entry.secondsPerToken[i]));
  const { value, interval } = meanWithin(logs);
  return {
    value: Math.exp(value),
    interval: count < fewest ? undefined : interval && [Math.exp(interval[0]), Math.exp(interval[1])],
    count,
  };
}

export const tokensPerSecond = ({ secondsPerToken }: Entry): number =>
  secondsPerToken.length / secondsPerToken.reduce((a, b) => a + b, 0);

export type Verdict = "plain" | "faster" | "slower" | "no clear difference" | "too few runs";

/** What the interval allows to say. */
export function verdictOf(entry: Entry, plain: Entry): Verdict {
  if (entry === plain) return "plain";
  const { interval } = speedUp(entry, plain);
  if (!interval) return "too few runs";
  return interval[0] > 1 ? "faster" : interval[1] < 1 ? "slower" : "no clear difference";
}

const isPlain = ({ chosen }: Pick<Entry, "chosen">): boolean => chosen.method.family === "plain";

/** Plain decoding, or the first method where the model has none. */
export const measureOf = (entries: readonly Entry[]): Entry => entries.find(isPlain) ?? entries[0];
