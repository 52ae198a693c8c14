/** Guesses of the tokens after the next: where they come from, and what they say of the target. */
import { type SparseDistribution, topKSoftmax } from "../../engine/distribution.ts";
import type { ForestNode, LookAhead } from "../../engine/forest.ts";
import type { Race } from "../../engine/race.ts";
import { expectedWinners, logitError } from "./expectation.ts";

/** By how much the logits of guesses are off, as the scale of a logistic error: far more than a draft model's, as they know less. */
const guessError = 2 * logitError;

/** Where the guesses of a method come from. */
export interface Foresight {
  /** Names it among others of the same model: what is measured depends on it. */
  readonly identity: string;
  /** Guesses that a node can have: of the tokens 2, 3, … places after it. */
  readonly levels: number;
  /** What has to be read in every row. */
  readonly taps?: readonly string[];
  /** Look-ahead rows below a node for its first so many guesses, as chains; absent where guesses are read off the node itself. */
  rows?(levels: number): readonly (readonly LookAhead[])[];
  /** What the look-ahead row of a level costs, as a share of a whole row; default 1. */
  cost?(level: number): number;
  /** Logits [vocabulary] of the guesses of a node, nearest first; undefined where a row failed. */
  guess(
    node: ForestNode,
    chains: readonly (readonly ForestNode[])[],
  ): Promise<readonly (Float32Array | undefined)[]> | readonly (Float32Array | undefined)[];
}

/** Whether all of these logits are numbers; quicker than asking each, as it is asked of every guess. */
export function areFinite(logits: Float32Array | undefined): logits is Float32Array {
  if (!logits) return false;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += logits[i] * 0;
  return sum === 0;
}

/** What a guess says, as a law, and what it then expects of the target at a level. */
export function guessLaws(temperature: number, topK: number) {
  return {
    law: (logits: Float32Array): SparseDistribution => topKSoftmax(logits, temperature || logitError, topK),
    expect: (law: SparseDistribution, race: Race): SparseDistribution =>
      temperature === 0 ? law : expectedWinners(law, temperature / guessError, race),
    sharpness: temperature / guessError,
  };
}
