/**
 * Texts that grow a step at a time: what searches over solutions share. A step ends with a delimiter, which stays part of it, or with the
 * text. All texts that grow at the same time share forward passes; every token drawn is counted, those of dropped steps too.
 */
import { z } from "zod";
import { unlessDeadEnd } from "../../engine/constraining.ts";
import type { Decoding } from "../../engine/decoding.ts";
import { extendTips } from "../../engine/extending.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { winnerOf } from "../../engine/race.ts";
import type { Stream } from "../../engine/random.ts";
import { isRemoteDecoding } from "../../engine/remote/decoding.ts";
import { ensure, VentrisError } from "../../errors.ts";
import { streamOf } from "../constrained/sampling.ts";
import {
  createRefusals,
  emptyAfter,
  emptyLedger,
  type Ledger,
  type State,
  type StepSettings,
  type Steps,
} from "./partial.ts";
import { createRemoteSteps } from "./remote-steps.ts";

export const stepOptions = {
  delimiters: z
    .array(z.string().min(1).max(100))
    .min(1)
    .max(16)
    .optional()
    .describe(
      "texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with",
    ),
  maxStepTokens: z
    .int()
    .min(1)
    .max(100_000)
    .default(128)
    .describe("a step is cut after so many tokens; raise it where steps are long"),
  answer: z
    .string()
    .min(1)
    .max(1000)
    .optional()
    .describe(
      "regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them",
    ),
};

/** Errors: `bad_option` for an expression that cannot be read. */
export function stepSettings(
  given: { delimiters?: readonly string[]; maxStepTokens: number; answer?: string },
  preferred: { delimiters?: readonly string[]; answer?: string } = {},
): StepSettings {
  const answer = given.answer ?? preferred.answer;
  try {
    return {
      delimiters: given.delimiters ?? preferred.delimiters ?? ["\n\n"],
      maxStepTokens: given.maxStepTokens,
      answer: answer === undefined ? undefined : new RegExp(answer, "m"),
    };
  } catch (cause) {
    throw new VentrisError("bad_option", `answer: ${(cause as Error).message}`, { cause });
  }
}

/** What separates the draws of a step that is drawn anew from all others. */
const anew = 2 ** 30;

export function createSteps(decoding: Decoding, settings: StepSettings): Steps {
  return isRemoteDecoding(decoding) ? createRemoteSteps(decoding, settings) : createTreeSteps(decoding, settings);
}

function createTreeSteps(decoding: Decoding, settings: StepSettings): Steps {
  const { lease, endTokens, stream } = decoding;
  const { tokenizer } = decoding.model;
  ensure(tokenizer, "bad_option", "steps are found in texts, and this model has no tokenizer");
  const ledger = emptyLedger();
  const refusals = createRefusals(ledger);
  const { stop } = decoding.settings;
  const keepsRows = decoding.settings.logprobs !== undefined || decoding.settings.taps !== undefined;
  const longest = decoding.remaining;
  let all: Int32Array | undefined;

  interface Growing {
    readonly state: State;
    readonly stream: Stream | undefined;
    readonly draws: number;
    readonly tokens: number[];
    readonly from: ForestNode[];
    tip: ForestNode;
    logprob: number;
    outcome: "step" | "end" | "full" | "lost" | undefined;
  }

  const textOf = (tokens: readonly number[]): string =>
    tokenizer!.decode(
      tokens.filter((token) => !endTokens.has(token)),
      { continued: true },
    );

  /** The next token and its law, or undefined where a constraint leaves none. */
  function draw({ tip, stream: own }: Growing, laws: Map<ForestNode, Float64Array>): number | undefined {
    const shape = () => decoding.shape(tip);
    const law = laws.get(tip) ?? unlessDeadEnd(shape, ({ message }) => refusals.add("constraint", message));
    if (!law) return undefined;
    laws.set(tip, law);
    all ??= Int32Array.from(law.keys());
    if (own) return winnerOf({ stream: own, position: tip.depth + 1 }, all, all.length, law);
    return law.indexOf(law.reduce((a, b) => Math.max(a, b), 0));
  }

  function take(one: Growing, laws: Map<ForestNode, Float64Array>, stepEnds: boolean): void {
    const token = draw(one, laws);
    if (token === undefined) {
      one.outcome = "lost";
      return;
    }
    ledger.tokens += 1;
    one.tokens.push(token);
    one.from.push(one.tip);
    one.logprob += Math.log(laws.get(one.tip)![token]);
    const text = textOf(one.tokens);
    if (endTokens.has(token) || stop.some((string) => (one.state.text + text).includes(string))) one.outcome = "end";
    else if (decoding.constraining?.mustEnd(one.tip, token)) one.outcome = "end";
    else if (one.state.length + one.tokens.length >= longest) one.outcome = "full";
    else if (stepEnds && settings.delimiters.some((delimiter) => text.includes(delimiter))) one.outcome = "step";
    else if (stepEnds && one.tokens.length >= settings.maxStepTokens) one.outcome = "step";
  }

  async function extendAll(grown: readonly Growing[]): Promise<void> {
    // The last token of a text that has ended needs no row.
    const rows = grown.filter(({ outcome }) => outcome === undefined || outcome === "step");
    const nodes = await extendTips(
      decoding,
      rows.map(({ tip, tokens }) => ({ parent: tip, token: tokens.at(-1)! })),
    );
    for (const [i, one] of rows.entries()) {
      const before = one.tip;
      one.tip = nodes[i];
      if (!keepsRows && one.tokens.length > 1) lease.release([before]);
    }
  }

  const begin = (state: State, draws: number, own: Stream | undefined): Growing => ({
    state,
    stream: own,
    draws,
    tokens: [],
    from: [],
    tip: state.tip,
    logprob: 0,
    outcome: undefined,
  });

  async function run(growing: readonly Growing[], until: number, stepEnds: boolean): Promise<void> {
    for (let left = growing; left.length > 0; left = left.filter(({ outcome }) => outcome === undefined)) {
      if (decoding.finished) throw new VentrisError("aborted", "the request was aborted");
      const laws = new Map<ForestNode, Float64Array>();
      for (const one of left) {
        if (ledger.tokens < until) take(one, laws, stepEnds);
        else one.outcome = stepEnds ? "lost" : "full";
      }
      await extendAll(left.filter(({ tokens }) => tokens.length > 0));
    }
  }

  function finish({ state, tokens, from, tip, logprob, outcome, draws }: Growing): State | undefined {
    if (outcome === "lost") return undefined;
    const step = textOf(tokens);
    const text = state.text + step;
    const answered = outcome === "step" && settings.answer?.test(text);
    return {
      parent: state,
      tokens,
      from,
      tip,
      depth: state.depth + 1,
      length: state.length + tokens.length,
      step,
      text,
      logprob: state.logprob + logprob,
      ended: answered || outcome === "end" ? "end" : outcome === "full" ? "full" : undefined,
      draws,
    };
  }

  return {
    settings,
    ledger,
    refusals,
    async grow(wanted, budget = Infinity) {
      const until = budget === Infinity ? Infinity : ledger.tokens + budget;
      const grown = wanted.map(({ state, draws }) => begin(state, draws, streamOf(stream, draws)));
      for (let round = 1; ; round++) {
        await run(
          grown.filter(({ outcome }) => outcome === undefined),
          until,
          true,
        );
        const empty = grown.flatMap(({ outcome, tokens }, i) =>
          outcome === "step" && textOf(tokens).trim() === "" ? [i] : [],
        );
        if (empty.length === 0 || round > 2) {
          for (const i of empty) {
            grown[i].outcome = "lost";
            refusals.add("empty", emptyAfter(grown[i].state.text));
          }
          return grown.map(finish);
        }
        for (const i of empty) {
          const { state, draws } = wanted[i];
          grown[i] = begin(state, draws, streamOf(stream, anew * round + draws));
        }
      }
    },
    async complete(state, tokens) {
      if (state.ended || tokens <= 0) return state;
      const one = begin(state, state.draws, undefined);
      await run([one], ledger.tokens + tokens, false);
      return one.tokens.length === 0 ? { ...state, ended: "full" } : finish(one)!;
    },
    forget({ tip, parent }) {
      if (tip !== parent?.tip) lease.release([tip]);
    },
  };
}

/** Root first. */
export const pathOf = (state: State): State[] => (state.parent ? [...pathOf(state.parent), state] : [state]);

/** Texts of the steps of a solution. */
export const stepsOf = (state: State): string[] =>
  pathOf(state)
    .slice(1)
    .map(({ step }) => step);

/** What a finished text answers: the first group of `answer`, or the whole text. */
export function answerOf({ text }: State, { answer }: StepSettings): string {
  const found = answer?.exec(text);
  return (found?.[1] ?? found?.[0] ?? text).trim();
}

/** The answer with the largest sum of weights, and the heaviest text that gives it; among equals the first. */
export function voted<T extends { readonly state: State; readonly weight: number }>(
  all: readonly T[],
  settings: StepSettings,
): T | undefined {
  const sums = new Map<string, number>();
  for (const { state, weight } of all) {
    const answer = answerOf(state, settings);
    sums.set(answer, (sums.get(answer) ?? 0) + weight);
  }
  let best: { answer: string; sum: number } | undefined;
  for (const [answer, sum] of sums) if (!best || sum > best.sum) best = { answer, sum };
  return all
    .filter(({ state }) => answerOf(state, settings) === best?.answer)
    .reduce<T | undefined>((a, b) => (a && a.weight >= b.weight ? a : b), undefined);
}

/** Makes a solution the output, offers the others, and tells what was spent. */
export function conclude(
  decoding: Decoding,
  chosen: State,
  others: readonly { readonly state: State; readonly score: number }[],
  { tokens, rewardCalls, expansions, duplicates, rejected, peakOpen }: Ledger,
): void {
  decoding.counters.search = { tokens, rewardCalls, expansions, duplicates, rejected, peakOpen };
  decoding.offer(
    others.map(({ state, score }) => ({
      tokens: pathOf(state)
        .flatMap((one) => one.tokens)
        .filter((token) => !decoding.endTokens.has(token)),
      text: state.text,
      score,
      logprob: state.logprob,
      finished: state.ended === "end",
    })),
  );
  const path = pathOf(chosen);
  decoding.commit(path.flatMap(({ tokens: taken, from }) => taken.map((token, i) => ({ token, from: from[i] }))));
  if (!decoding.finished) decoding.finish(chosen.ended === "end" ? "end" : "length");
}

/**
 * Tells of partial solutions as they are drawn, each once and after the one that it goes on from; the empty one is number 0. What they are
 * ordered by is their reward, or their log-probability where there is none.
 */
export function createTeller(decoding: Decoding): (state: State, reward?: number) => void {
  const numbers = new WeakMap<State, number>();
  let made = 1;
  decoding.emit({ type: "explore", node: 0, parent: -1, score: 0 });
  return (state, reward) => {
    const solution = state.ended === "end";
    decoding.emit({
      type: "explore",
      node: made,
      parent: (state.parent && numbers.get(state.parent)) ?? 0,
      score: reward ?? state.logprob,
      tokens: [...state.tokens],
      ...(reward !== undefined && { reward }),
      ...(solution && { solution }),
    });
    numbers.set(state, made++);
  };
}
