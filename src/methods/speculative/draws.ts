/** Where randomness enters a speculative round, as two kinds of decision, so that a proof can enumerate their outcomes. */
import { drawFrom } from "../../engine/distribution.ts";
import { type Purpose, type Stream, uniform } from "../../engine/random.ts";

/** What a draft's random number is drawn for. */
export type DrawPurpose = Extract<Purpose, "draft" | "residual" | "search">;

/** A drafter's draws, in the race or by the published rule. */
export interface Draws {
  /** An index drawn with probability weights[i] / total; `total` is the sum of the weights, above 0. */
  choose(purpose: DrawPurpose, weights: Float64Array, total: number): number;
  /** True with the given probability (1 and more: always). */
  accept(probability: number): boolean;
}

/**
 * The draws of one round. Every round has another root position, since a round commits at least one token, so counting
 * from 0 in each round never uses a number twice. Plain decoding's own draws have the purpose "sample" and stay apart.
 */
export function createDraws(stream: Stream, rootPosition: number): Draws {
  const used = { draft: 0, residual: 0, search: 0, accept: 0 };
  const next = (purpose: keyof typeof used) => uniform(stream, rootPosition, purpose, used[purpose]++);
  return {
    choose: (purpose, weights, total) => drawFrom(weights, next(purpose) * total),
    accept: (probability) => next("accept") < probability,
  };
}

/** Of one array type only, as it runs over whole vocabularies and so must stay monomorphic. */
export function sum(values: Float64Array): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}
