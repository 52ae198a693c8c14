/**
 * Next-token distributions as plain arrays. Dense ones are Float64Array[V] that sum to 1. Sparse ones list their support,
 * most likely first, and sum to 1 over it: what drafters use, so that residuals touch a few entries instead of V.
 */
import { ensure } from "../errors.ts";

export interface SparseDistribution {
  readonly tokens: Int32Array;
  readonly probabilities: Float64Array;
}

/**
 * exp(x) for x <= 0, within 1e-15 relative and three times as fast as Math.exp, which a softmax spends most of its time in.
 * 2^(m / 2048) comes from two tables, and the remainder, below 2^-12, from three terms of the series (after Tang 1989).
 */
export function exponential(x: number): number {
  if (x < -708) return 0; // below the normal range
  const steps = (x * STEPS_PER_UNIT - 0.5) | 0;
  const rest = x - steps * STEP_HIGH - steps * STEP_LOW;
  return ROOTS[steps & 2047] * POWERS[-(steps >> 11)] * (1 + rest * (1 + rest * (0.5 + rest * (1 / 6))));
}

const STEPS_PER_UNIT = 2048 / Math.LN2;
// ln 2 in two parts, the first with trailing zeros so that its product with a step count is exact.
const STEP_HIGH = 0.6931471803691238 / 2048;
const STEP_LOW = 1.9082149292705877e-10 / 2048;
const ROOTS = Float64Array.from({ length: 2048 }, (_, step) => 2 ** (step / 2048));
const POWERS = Float64Array.from({ length: 1024 }, (_, power) => 2 ** -power);

/**
 * softmax(logits * inverseTemperature) in float64; the inverse temperature is >= 0. Entries of -Infinity get 0. Throws
 * `runtime_failed` on NaN, on +Infinity and when no entry is finite.
 */
export function softmax(logits: ArrayLike<number>, inverseTemperature = 1, out?: Float64Array): Float64Array {
  const size = logits.length;
  const result = out ?? new Float64Array(size);
  let max = -Infinity;
  for (let i = 0; i < size; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < size; i++) sum += result[i] = exponential((logits[i] - max) * inverseTemperature);
  ensure(
    sum >= 1 && sum < Infinity,
    "runtime_failed",
    "the model produced logits that are NaN or have no finite entry",
  );
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

/** Resolution and reach of the count that finds the likeliest tokens: sixteenths of a nat, down to 16 nats. */
const STEPS_BELOW = 256;
const stepsBelow = (most: number, logit: number): number => {
  const steps = (most - logit) * 16;
  return steps < STEPS_BELOW ? steps | 0 : STEPS_BELOW;
};

/**
 * The k most likely tokens at a temperature above 0, renormalised, most likely first; the lowest id first among equals. Errors:
 * `runtime_failed` on NaN and when no entry is finite.
 */
export function topKSoftmax(logits: Float32Array, temperature: number, k: number): SparseDistribution {
  const size = Math.min(k, logits.length);
  let most = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > most) most = logits[i];
  // Counting by distance from the maximum leaves little more than k entries to sort.
  const counts = new Int32Array(STEPS_BELOW + 1);
  for (let i = 0; i < logits.length; i++) counts[stepsBelow(most, logits[i])] += 1;
  let deepest = 0;
  for (let within = counts[0]; within < size && deepest < STEPS_BELOW; ) within += counts[++deepest];
  const candidates: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (stepsBelow(most, logits[token]) <= deepest) candidates.push(token);
  }
  candidates.sort((a, b) => logits[b] - logits[a] || a - b);
  const tokens = Int32Array.from(candidates.slice(0, size));
  const probabilities = new Float64Array(tokens.length);
  let total = 0;
  for (let i = 0; i < tokens.length; i++) {
    total += probabilities[i] = exponential((logits[tokens[i]] - logits[tokens[0]]) / temperature);
  }
  ensure(
    total >= 1 && total < Infinity,
    "runtime_failed",
    "the draft model produced logits that are NaN or have no finite entry",
  );
  for (let i = 0; i < tokens.length; i++) probabilities[i] /= total;
  return { tokens, probabilities };
}
