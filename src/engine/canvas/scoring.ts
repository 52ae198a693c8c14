/** What a pass says of a position: the token that would go there, and how sure the model is of it. */
import { argmax, exponential } from "../distribution.ts";
import { logSoftmaxAt, logSumExp, topLogprobs } from "../shapers/logprobs.ts";
import type { BareLogprob } from "../trace.ts";

export interface Scores {
  readonly positions: readonly number[];
  token(position: number): number;
  confidence(position: number): number;
  margin(position: number): number;
  negentropy(position: number): number;
  /** Of any token there. */
  describe(position: number, token: number, alternatives: number): BareLogprob;
}

/** Chooses the token of a position from its logits [vocabulary]. */
export type ChooseToken = (logits: Float32Array, position: number) => number;

/**
 * Over logits [positions, vocabulary]. Tokens are chosen and sums made where they are asked for. Probabilities are those of the logits as they
 * are, in float64. Errors: `runtime_failed` on NaN.
 */
export function createScores(
  positions: readonly number[],
  logits: Float32Array,
  choose: ChooseToken,
  shapedLogprob: (logits: Float32Array, position: number, token: number) => number,
): Scores {
  const size = positions.length === 0 ? 0 : logits.length / positions.length;
  const at = new Map(positions.map((position, row) => [position, logits.subarray(row * size, (row + 1) * size)]));
  const tokens = new Map<number, number>();
  const sums = new Map<number, number>();
  const memo = (known: Map<number, number>, position: number, make: () => number): number => {
    let value = known.get(position);
    if (value === undefined) {
      value = make();
      known.set(position, value);
    }
    return value;
  };
  const rowOf = (position: number): Float32Array => at.get(position)!;
  const sumOf = (position: number): number => memo(sums, position, () => logSumExp(rowOf(position)));
  const token = (position: number): number => memo(tokens, position, () => choose(rowOf(position), position));
  const probability = (position: number, id: number): number =>
    Math.exp(logSoftmaxAt(rowOf(position), id, sumOf(position)));
  return {
    positions,
    token,
    confidence: (position) => probability(position, token(position)),
    margin(position) {
      const row = rowOf(position);
      const best = argmax(row);
      let second = -Infinity;
      for (let i = 0; i < row.length; i++) if (i !== best && row[i] > second) second = row[i];
      return probability(position, best) - Math.exp(second - sumOf(position));
    },
    negentropy(position) {
      const [row, sum] = [rowOf(position), sumOf(position)];
      let total = 0;
      for (let i = 0; i < row.length; i++) {
        const log = row[i] - sum;
        if (log > -700) total += exponential(log) * log;
      }
      return total;
    },
    describe(position, id, alternatives) {
      const [row, sum] = [rowOf(position), sumOf(position)];
      return {
        token: id,
        raw: logSoftmaxAt(row, id, sum),
        shaped: shapedLogprob(row, position, id),
        ...(alternatives > 0 && { top: topLogprobs(row, alternatives, sum) }),
      };
    },
  };
}
