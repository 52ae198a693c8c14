/**
 * Next-token distributions as plain arrays. Dense ones are Float64Array[V] that sum to 1. Sparse ones list their support,
 * most likely first, and sum to 1 over it: what drafters use, so that residuals touch a few entries instead of V.
 */
import { ensure } from "../errors.ts";

export interface SparseDistribution {
  readonly tokens: Int32Array;
  readonly probabilities: Float64Array;
}

/** softmax(logits * inverseTemperature) in float64. Entries of -Infinity get 0. Throws `runtime_failed` on NaN. */
export function softmax(logits: ArrayLike<number>, inverseTemperature = 1, out?: Float64Array): Float64Array {
  const size = logits.length;
  const result = out ?? new Float64Array(size);
  let max = -Infinity;
  for (let i = 0; i < size; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < size; i++) sum += result[i] = Math.exp((logits[i] - max) * inverseTemperature);
  ensure(sum >= 1 && sum < Infinity, "runtime_failed", "the model produced logits that are NaN or have no finite entry");
  const scale = 1 / sum;
  for (let i = 0; i < size; i++) result[i] *= scale;
  return result;
}

/** Index of the largest entry; the lowest index wins ties, everywhere in the engine. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** The token at which the cumulative mass passes `u` (in [0, 1)); rounding at the end falls on the last positive entry. */
export function drawFrom(probabilities: ArrayLike<number>, u: number): number {
  let rest = u;
  let last = -1;
  for (let i = 0; i < probabilities.length; i++) {
    const p = probabilities[i];
    if (p <= 0) continue;
    last = i;
    rest -= p;
    if (rest < 0) return i;
  }
  ensure(last >= 0, "constraint_dead_end", "no token has positive probability here");
  return last;
}
