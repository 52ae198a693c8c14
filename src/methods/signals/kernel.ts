/**
 * Kernel regression (Nadaraya 1964, Watson 1964): f(x) = Σ wᵢ yᵢ / Σ wᵢ with wᵢ = exp(-|x - xᵢ|² / 2h). The bandwidth h is a VARIANCE.
 * Weights are taken relative to the nearest point's, so that they cannot all vanish.
 */
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

/** Squared distances of all pairs, row i holding those to j < i, and each point's to the nearest other one. */
export interface PairDistances {
  readonly pairs: Float64Array;
  readonly nearest: Float64Array;
}

export function pairDistances({ rows: m, columns: n, data }: Matrix): PairDistances {
  const pairs = new Float64Array((m * (m - 1)) / 2);
  const nearest = new Float64Array(m).fill(Infinity);
  for (let i = 0, at = 0; i < m; i++) {
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) {
        const difference = data[i * n + k] - data[j * n + k];
        sum += difference * difference;
      }
      pairs[at++] = sum;
      if (sum < nearest[i]) nearest[i] = sum;
      if (sum < nearest[j]) nearest[j] = sum;
    }
  }
  return { pairs, nearest };
}

/**
 * Sum of squared errors when each point is predicted from all others, the point itself removed from numerator and denominator. Weights
 * are relative to the nearest other point's, so that no fold is lost to underflow.
 */
export function leaveOneOutError({ pairs, nearest }: PairDistances, y: Matrix, bandwidth: number): number {
  const [m, d] = [y.rows, y.columns];
  const scale = 1 / (2 * bandwidth);
  const sums = new Float64Array(m * d);
  const totals = new Float64Array(m);
  const reach = negligible / scale;
  const add = (i: number, j: number, weight: number) => {
    totals[i] += weight;
    for (let k = 0; k < d; k++) sums[i * d + k] += weight * y.data[j * d + k];
  };
  for (let i = 0, at = 0; i < m; i++) {
    const limit = nearest[i] + reach;
    for (let j = 0; j < i; j++, at++) {
      const distance = pairs[at];
      if (distance <= limit) add(i, j, Math.exp((nearest[i] - distance) * scale));
      if (distance <= nearest[j] + reach) add(j, i, Math.exp((nearest[j] - distance) * scale));
    }
  }
  let error = 0;
  for (let i = 0; i < m; i++)
    for (let k = 0; k < d; k++) error += (sums[i * d + k] / totals[i] - y.data[i * d + k]) ** 2;
  return error;
}

/** The bandwidth near `start` with the least leave-one-out error. */
export function leaveOneOutBandwidth(x: Matrix, y: Matrix, start: number): number {
  const distances = pairDistances(x);
  return minimisePositive((bandwidth) => leaveOneOutError(distances, y, bandwidth), start);
}
