/** Which nodes are worth drafting: what they may bring, against what they cost on this machine. */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { rising } from "../../engine/isotonic.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { type PassCurve, passCurve, passSeconds } from "../../engine/pass-curve.ts";
import { ensure } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";

/** A larger tree than any paper has. */
export const largestBudget = 768;
export const budgetOption = z
  .int()
  .min(0)
  .max(largestBudget)
  .optional()
  .describe(
    "tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while",
  );

/**
 * How many nodes a tree may have: those asked for, else `preferred` and no more than a pass takes beside their root. Errors: `bad_option`
 * when more are asked for than a pass takes, and for numbers that are not whole or below 0.
 */
export function nodesOf({ forest }: Decoding, asked: number | undefined, preferred: number, option = "budget"): number {
  requireWhole({ preferred, ...(asked !== undefined && { [option]: asked }) }, 0);
  const fit = forest.maxRows - 1;
  ensure(
    asked === undefined || asked <= fit,
    "bad_option",
    `${option}: ${asked} nodes and their root do not fit a pass of ${forest.maxRows} rows; ask for at most ${fit}, or open the model with a larger maxRows`,
  );
  return asked ?? Math.min(preferred, fit);
}

/** Nodes a round, at most, where the number is not fixed. */
export const most = 64;

export interface Economy {
  /** Nodes a round, at most; the price of more is infinite. */
  readonly limit: number;
  /**
   * What one more drafted node costs, in tokens, when `drafted` nodes are there already and it needs `passes` further draft
   * passes. A node that becomes output with a smaller probability is not worth drafting.
   */
  price(drafted: number, passes?: number): number;
  /** After every round: tokens that it made output, nodes drafted, draft passes. */
  settle(tokens: number, drafted: number, passes: number): void;
}

export interface EconomyOptions {
  /** A fixed number of nodes: free up to it, and no more. */
  budget: number | undefined;
  /** Whose passes the drafting takes; none for drafters without a model. */
  draft?: DecodingModel;
  /** Seconds of a pass of a draft that is no model. */
  draftPass?(): Promise<number>;
}

export async function economy(
  decoding: Decoding,
  { budget, draft, draftPass: ownPass }: EconomyOptions,
): Promise<Economy> {
  const limit = nodesOf(decoding, budget, most);
  if (budget !== undefined) {
    return { limit: budget, price: (drafted) => (drafted < budget ? 0 : Infinity), settle() {} };
  }
  const target = await passCurve(decoding.model, decoding.signal);
  const draftPass = draft ? passSeconds(await passCurve(draft, decoding.signal), 1) : ((await ownPass?.()) ?? 0);
  return measuredEconomy(target, draftPass, limit);
}

/** Rounds in which plain decoding's speed counts as seen before the first one. */
const priorRounds = 4;
/** How fast earlier rounds are forgotten. */
const memory = 0.95;
/** Where nothing is worth drafting, one round in so many drafts a little, to notice when that changes. */
const probeEvery = 24;
const probeNodes = 4;

/**
 * Slopes of the largest convex function below the values. Taking nodes one by one, best first, while they are worth their price finds
 * the best number of them only where the price does not fall again; and most of what a measured curve has of falls is chance.
 */
export function convexSlopes(values: readonly number[]): number[] {
  const slopes = values.slice(1).map((value, i) => value - values[i]);
  return rising(slopes);
}

/**
 * Tokens over seconds are maximised by taking every node whose gain exceeds (tokens a second at the optimum) * (its seconds): the
 * rule of fractional programmes (Dinkelbach 1967). The rate is that of the request's own rounds, in the seconds that the pass curves
 * give them, so that a repeated request decides the same; it is never below plain decoding's.
 */
export function measuredEconomy(target: PassCurve, draftPass: number, limit: number): Economy {
  const plain = 1 / passSeconds(target, 1);
  const rowSeconds = convexSlopes(Array.from({ length: limit + 1 }, (_, i) => passSeconds(target, i + 1)));
  let [tokens, seconds] = [priorRounds, priorRounds / plain];
  let idle = 0;
  return {
    limit,
    price(drafted, passes = 0) {
      if (drafted >= limit) return Infinity;
      if (idle > 0 && idle % probeEvery === 0 && drafted < probeNodes) return 0;
      return Math.max(plain, tokens / seconds) * (rowSeconds[drafted] + passes * draftPass);
    },
    settle(gained, drafted, passes) {
      idle = drafted > 0 ? 0 : idle + 1;
      tokens = memory * tokens + gained;
      seconds = memory * seconds + passSeconds(target, drafted + 1) + passes * draftPass;
    },
  };
}
