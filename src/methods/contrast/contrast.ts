/**
 * What all contrasts share: scores for the plausible tokens become the logits to go on with, everything else is out, and what was shifted
 * is told token by token as it is chosen.
 */
import { z } from "zod";
import { hasBit } from "../../constraints/index.ts";
import type { ForestNode } from "../../engine/forest.ts";
import type { Shaper, ShaperHost } from "../../engine/shapers/shaper.ts";
import { ensure } from "../../errors.ts";
import type { Beside } from "./beside.ts";
import { exitReadings } from "./exits.ts";
import { logProbability, plausibleTokens, type View, viewOf } from "./view.ts";

export const alphaOption = z
  .number()
  .min(0)
  .max(1)
  .default(0.1)
  .describe(
    "tokens whose probability is below this share of the best one's cannot be chosen, so that the contrast brings up no nonsense: higher is more careful; 0 lets all tokens in",
  );

export const weight = (fallback: number) => z.number().min(0).max(1000).default(fallback);

/** The contrast at one place: the score of a token, and the lower exits that went into it. */
export interface Scoring {
  readonly score: (token: number) => number;
  readonly exits?: readonly number[];
}

export interface ContrastParts {
  readonly name: string;
  readonly alpha: number;
  /** Lower exits of the model that `scoring` reads. */
  readonly exits?: readonly number[];
  /** Other readings of the text, which are computed beside it. */
  readonly beside?: readonly Beside[];
  /** `expert` is the law that the contrast starts from: the model's own, or what shapers before this one left of it. */
  scoring(node: ForestNode, expert: View): Scoring;
}

/** The plausible tokens; where a constraint allows none of them, those that are plausible among what it allows. */
function possible(expert: View, alpha: number, allowed: () => Uint32Array | undefined): number[] {
  const kept = plausibleTokens(expert, alpha);
  const bits = alpha > 0 ? allowed() : undefined;
  if (!bits || kept.some((token) => hasBit(bits, token))) return kept;
  const left = Float32Array.from(expert.logits, (logit, token) => (hasBit(bits, token) ? logit : -Infinity));
  return plausibleTokens({ logits: left, normaliser: expert.normaliser }, alpha);
}

interface Shift {
  readonly tokens: number[];
  readonly before: number[];
  readonly after: number[];
  readonly exits?: readonly number[];
}

export function contrastShaper(
  host: ShaperHost,
  { name, alpha, exits = [], beside = [], scoring }: ContrastParts,
): Shaper {
  const shifts = new WeakMap<ForestNode, Shift>();
  return {
    name,
    ...exitReadings(exits),
    ...(beside.length > 0 && {
      prepare: async (nodes: readonly ForestNode[]) => {
        await Promise.all(beside.map((other) => other.prepare(nodes)));
      },
      contextLength: Math.min(...beside.map(({ contextLength }) => contextLength)),
    }),
    logits(node, logits, allowed) {
      const expert = viewOf(logits, host.model.name);
      const { score, exits: taken } = scoring(node, expert);
      const kept = possible(expert, alpha, allowed);
      const scores = kept.map(score);
      const broken = scores.findIndex((value) => !Number.isFinite(value));
      ensure(broken < 0, "runtime_failed", () => `${name}: the score of token ${kept[broken]} is ${scores[broken]}`);
      const fused = new Float32Array(logits.length).fill(-Infinity);
      for (const [i, token] of kept.entries()) fused[token] = scores[i];
      shifts.set(node, { ...shiftOf(expert, kept, scores), ...(taken && { exits: taken }) });
      return fused;
    },
    chosen(node, token) {
      const shift = shifts.get(node);
      if (!shift) return;
      const { exits: taken, ...shown } = shift;
      host.emit({ type: "contrast", position: node.depth + 1, token, ...shown, ...(taken && { exits: [...taken] }) });
    },
    close() {
      for (const other of beside) other.close();
    },
  };
}

const mostShown = 8;

/** The likeliest of the plausible tokens under either law, with their probabilities before and after. */
function shiftOf(expert: View, kept: readonly number[], scores: readonly number[]): Shift {
  const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
  const before = kept.map((token) => Math.exp(logProbability(expert, token)));
  const after = scores.map((score) => Math.exp(score - highest) / total);
  const best = (values: readonly number[]) => bestOf(values, mostShown / 2);
  const shown = [...new Set([...best(before), ...best(after)])];
  return { tokens: shown.map((i) => kept[i]), before: shown.map((i) => before[i]), after: shown.map((i) => after[i]) };
}

/** Places of the largest values, largest first, the first of equals first. */
function bestOf(values: readonly number[], count: number): number[] {
  const top: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (top.length === count && values[i] <= values[top[count - 1]]) continue;
    let at = top.length < count ? top.length : count - 1;
    for (; at > 0 && values[top[at - 1]] < values[i]; at--) top[at] = top[at - 1];
    top[at] = i;
  }
  return top;
}
