/**
 * Next-token distributions as plain arrays. Dense ones are Float64Array[V] that sum to 1. Sparse ones list their support,
 * most likely first, and sum to 1 over it: what drafters use, so that residuals touch a few entries instead of V.
 */
import { ensure } from "../errors.ts";

/** Tokens with probabilities above 0; all others have none. */
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

/**
 * Entries as numbers that sort like them, equal ones by falling index: the engine's own sort is several times as fast as one that
 * calls back for every comparison. The buffer is reused, as drafts ask for every node.
 */
let keys = new Float64Array(0);
const indexLimit = 2 ** 21;

/** Collects the entries from `least` on; returns how many. Errors: `runtime_failed` on NaN. */
function collect(logits: Float32Array, least: number): number {
  if (keys.length < logits.length) keys = new Float64Array(logits.length);
  const bits = new Int32Array(logits.buffer, logits.byteOffset, logits.length);
  let count = 0;
  for (let token = 0; token < logits.length; token++) {
    if (logits[token] < least) continue;
    // Below 0, floats rise as their bits fall; both zeros are one number.
    const rank = bits[token] >= 0 ? bits[token] : -(bits[token] & 0x7fffffff);
    keys[count++] = rank * indexLimit - token;
    ensure(!Number.isNaN(logits[token]), "runtime_failed", "the draft model produced logits that are NaN");
  }
  return count;
}

const sampleSize = 256;
const best = new Float32Array(sampleSize);

/** An entry that, by a sample, about 3k entries reach; -Infinity where a sample says too little. */
function likelyFloor(logits: Float32Array, k: number): number {
  const step = Math.floor(logits.length / sampleSize);
  const rank = step > 0 ? Math.ceil((3 * k) / step) : sampleSize;
  if (rank > sampleSize / 4) return -Infinity;
  best.fill(-Infinity, 0, rank);
  for (let i = 0; i < logits.length; i += step) {
    if (!(logits[i] > best[rank - 1])) continue;
    let at = rank - 1;
    for (; at > 0 && best[at - 1] < logits[i]; at--) best[at] = best[at - 1];
    best[at] = logits[i];
  }
  return best[rank - 1];
}

/**
 * The k most likely tokens at a temperature above 0, renormalised, most likely first; the lowest id first among equals. Errors:
 * `runtime_failed` on NaN and when no entry is finite.
 */
export function topKSoftmax(logits: Float32Array, temperature: number, k: number): SparseDistribution {
  const size = Math.min(k, logits.length);
  let count = collect(logits, likelyFloor(logits, size));
  if (count < size) count = collect(logits, -Infinity);
  const sorted = keys.subarray(0, count).sort();
  const tokens = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const key = sorted[count - 1 - i];
    tokens[i] = Math.ceil(key / indexLimit) * indexLimit - key;
  }
  const probabilities = new Float64Array(tokens.length);
  let total = 0;
  for (let i = 0; i < tokens.length; i++) {
    total += probabilities[i] = exponential((logits[tokens[i]] - logits[tokens[0]]) / temperature);
  }
  ensure(total >= 1 && total < Infinity, "runtime_failed", "the draft model produced logits without a finite entry");
  for (let i = 0; i < tokens.length; i++) probabilities[i] /= total;
  return { tokens, probabilities };
}
