/**
 * Kernel regression (Nadaraya 1964, Watson 1964): f(x) = Σ wᵢ yᵢ / Σ wᵢ with wᵢ = exp(-|x - xᵢ|² / 2h). The bandwidth h is a VARIANCE.
 * Weights are taken relative to the nearest point's, so that they cannot all vanish.
 */
import { ensure } from "../../errors.ts";
import { nextTurn } from "../../turn.ts";
import type { Matrix } from "./matrix.ts";
import { minimisePositive, type Regression } from "./regression.ts";

/** Weights below e^-40 of the largest are below the rounding of their sum. */
const negligible = 40;
/** From here on all the plain weights would be zero in double precision: the nearest neighbour has answered. */
const underflow = 745;

/** f with the points x [m, n], values y [m, d]. */
export function kernelRegression(x: Matrix, y: Matrix, bandwidth: number): Regression {
  const [m, n, d] = [x.rows, x.columns, y.columns];
  const [points, values] = [x.data, y.data];
  const distances = new Float64Array(m);
  const scale = 1 / (2 * bandwidth);
  return (query, out) => {
    let nearest = Infinity;
    for (let i = 0, at = 0; i < m; i++, at += n) {
      let sum = 0;
      for (let k = 0; k < n; k++) {
        const difference = query[k] - points[at + k];
        sum += difference * difference;
      }
      sum *= scale;
      distances[i] = sum;
      if (sum < nearest) nearest = sum;
    }
    out.fill(0);
    let total = 0;
    const limit = nearest + negligible;
    for (let i = 0; i < m; i++) {
      if (distances[i] > limit) continue;
      const weight = Math.exp(nearest - distances[i]);
      total += weight;
      for (let k = 0; k < d; k++) out[k] += weight * values[i * d + k];
    }
    for (let k = 0; k < d; k++) out[k] /= total;
    return nearest < underflow;
  };
}

/** Squared distances from some points, the folds, to all: [folds, points], a fold's to itself infinite; and from each to the nearest. */
export interface FoldDistances {
  readonly folds: readonly number[];
  readonly distances: Float64Array;
  readonly nearest: Float64Array;
}

/** Distances held at most: 256 MiB. */
const mostDistances = 2 ** 25;

async function lookUp(signal: AbortSignal | undefined): Promise<void> {
  await nextTurn();
  ensure(!signal?.aborted, "aborted", "fitting was interrupted");
}

/** All points are folds, or where those would be too many, as many as can be, evenly spaced. Errors: `aborted`. */
export async function foldDistances(
  { rows: m, columns: n, data }: Matrix,
  most = mostDistances,
  signal?: AbortSignal,
): Promise<FoldDistances> {
  const count = Math.max(1, Math.min(m, Math.floor(most / m)));
  const folds = Array.from({ length: count }, (_, i) => Math.floor((i * m) / count));
  const distances = new Float64Array(count * m);
  const nearest = new Float64Array(count).fill(Infinity);
  for (const [f, i] of folds.entries()) {
    if (f % 16 === 0) await lookUp(signal);
    for (let j = 0; j < m; j++) {
      let sum = i === j ? Infinity : 0;
      for (let k = 0; k < n; k++) {
        const difference = data[i * n + k] - data[j * n + k];
        sum += difference * difference;
      }
      distances[f * m + j] = sum;
      if (sum < nearest[f]) nearest[f] = sum;
    }
  }
  return { folds, distances, nearest };
}

/**
 * Sum of squared errors when each fold is predicted from all other points, the point itself removed from numerator and denominator.
 * Weights are relative to the nearest other point's, so that no fold is lost to underflow.
 */
export function leaveOneOutError({ folds, distances, nearest }: FoldDistances, y: Matrix, bandwidth: number): number {
  const [m, d] = [y.rows, y.columns];
  const scale = 1 / (2 * bandwidth);
  const reach = negligible / scale;
  const sums = new Float64Array(d);
  let error = 0;
  for (const [f, i] of folds.entries()) {
    const limit = nearest[f] + reach;
    let total = 0;
    sums.fill(0);
    for (let j = 0; j < m; j++) {
      const distance = distances[f * m + j];
      if (!(distance <= limit) || j === i) continue;
      const weight = Math.exp((nearest[f] - distance) * scale);
      total += weight;
      for (let k = 0; k < d; k++) sums[k] += weight * y.data[j * d + k];
    }
    for (let k = 0; k < d; k++) error += (sums[k] / total - y.data[i * d + k]) ** 2;
  }
  return error;
}

/** Evaluations that a search from a good start takes; one from a bad start takes more. */
const usualEvaluations = 16;

/** The bandwidth near `start` with the least leave-one-out error. Errors: `aborted`. */
export async function leaveOneOutBandwidth(
  x: Matrix,
  y: Matrix,
  start: number,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<number> {
  const distances = await foldDistances(x, mostDistances, signal);
  let done = 0;
  return minimisePositive(async (bandwidth) => {
    await lookUp(signal);
    const error = leaveOneOutError(distances, y, bandwidth);
    onProgress?.(++done, Math.max(done, usualEvaluations));
    return error;
  }, start);
}
