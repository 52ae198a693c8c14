/**
 * Gaussian-process regression (Rasmussen and Williams 2006, algorithm 2.1) with two kernels:
 *
 *     product    k(x, y) = σf² exp(-|x - y|² / 2σl²)                       one broken channel can make any two points strangers
 *     multiple   k(x, y) = (σf² / n) Σₖ N(xₖ - yₖ; 0, σl²)                 one broken channel takes at most 1/n of the similarity
 *
 * (the multi-kernel of Brandman et al. 2018). Hyper-parameters by marginal likelihood: a grid first, then conjugate gradients from
 * its best point with a bounded number of evaluations.
 */
import { ensure } from "../../errors.ts";
import { nextTurn } from "../../turn.ts";
import { cholesky, choleskySolve, type Matrix, matrix } from "./matrix.ts";
import type { Regression } from "./regression.ts";

export type KernelKind = "product" | "multiple";

/** Natural logarithms of length scale σl, amplitude σf and noise deviation σn. */
export type Hyperparameters = readonly [length: number, amplitude: number, noise: number];

/** The published grid (for states of deviation near 0.06): lengths, amplitudes and noises. */
export const publishedGrid: readonly (readonly number[])[] = [
  [1, 1.5, 2],
  [-3, -2.5, -2],
  [-4, -3.5, -3],
];

/** Prediction of each output k: Σᵢ k(x, xᵢ) weights(i, k), with that output's hyper-parameters [d, 3]. */
export function gaussianProcessRegression(
  kind: KernelKind,
  points: Matrix,
  weights: Matrix,
  hyperparameters: Matrix,
): Regression {
  const [m, n, d] = [points.rows, points.columns, weights.columns];
  const kernels = Array.from({ length: d }, (_, k) => kernelOf(kind, n, rowOf(hyperparameters, k)));
  return (x, out) => {
    out.fill(0);
    let largest = 0;
    for (let i = 0; i < m; i++) {
      for (let k = 0; k < d; k++) {
        const similarity = kernels[k](x, 0, points.data, i * n);
        if (similarity > largest) largest = similarity;
        out[k] += similarity * weights.data[i * d + k];
      }
    }
    return largest > 0;
  };
}

const rowOf = ({ columns, data }: Matrix, row: number): Hyperparameters =>
  [...data.subarray(row * columns, (row + 1) * columns)] as unknown as Hyperparameters;

type Kernel = (x: ArrayLike<number>, xAt: number, y: ArrayLike<number>, yAt: number) => number;

function kernelOf(kind: KernelKind, n: number, [length, amplitude]: Hyperparameters): Kernel {
  const scale = 0.5 * Math.exp(-2 * length);
  const height = Math.exp(2 * amplitude);
  if (kind === "product") {
    return (x, xAt, y, yAt) => {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += (x[xAt + k] - y[yAt + k]) ** 2;
      return height * Math.exp(-scale * sum);
    };
  }
  const density = height / (n * Math.sqrt(2 * Math.PI) * Math.exp(length));
  return (x, xAt, y, yAt) => {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += Math.exp(-scale * (x[xAt + k] - y[yAt + k]) ** 2);
    return density * sum;
  };
}

export interface GaussianProcessOptions {
  readonly kind: KernelKind;
  /** Points that the hyper-parameters are chosen on, evenly spaced among all. */
  readonly hyperparameterPoints: number;
  /** Evaluations of the conjugate gradients, per output. */
  readonly evaluations: number;
  readonly grid?: readonly (readonly number[])[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface GaussianProcess {
  /** [m, d]. */
  readonly weights: Matrix;
  /** [d, 3]. */
  readonly hyperparameters: Matrix;
  readonly logLikelihood: number;
}

/** One process for each output of y [m, d] on x [m, n]. Errors: `bad_option` when no grid point gives a positive definite matrix. */
export async function fitGaussianProcess(
  x: Matrix,
  y: Matrix,
  options: GaussianProcessOptions,
): Promise<GaussianProcess> {
  const { kind, hyperparameterPoints, evaluations, grid = publishedGrid, signal, onProgress } = options;
  const d = y.columns;
  const stride = Math.max(1, x.rows / hyperparameterPoints);
  const chosen = Array.from({ length: Math.min(x.rows, hyperparameterPoints) }, (_, i) => Math.floor(i * stride));
  const [xs, ys] = [pick(x, chosen), pick(y, chosen)];
  const outputs = Array.from({ length: d }, (_, k) => columnOf(ys, k));
  const corners = grid[0].flatMap((l) => grid[1].flatMap((a) => grid[2].map((s): Hyperparameters => [l, a, s])));

  const best = outputs.map(() => ({ at: corners[0], value: Infinity }));
  let done = 0;
  const total = corners.length + evaluations * d;
  for (const corner of corners) {
    ensure(!signal?.aborted, "aborted", "fitting was interrupted");
    const gram = gramMatrix(kind, xs, corner);
    const positive = cholesky(gram, gram, xs.rows);
    for (let k = 0; positive && k < d; k++) {
      const value = negativeLogLikelihood(gram, outputs[k]);
      if (value < best[k].value) best[k] = { at: corner, value };
    }
    onProgress?.(++done, total);
    await nextTurn();
  }
  const hyperparameters = matrix(d, 3);
  for (let k = 0; k < d; k++) {
    ensure(Number.isFinite(best[k].value), "bad_option", "no point of the hyper-parameter grid fits the data");
    const found = await conjugateGradients(
      (at) => likelihoodAndGradient(kind, xs, outputs[k], at),
      best[k].at,
      evaluations,
      async () => {
        ensure(!signal?.aborted, "aborted", "fitting was interrupted");
        onProgress?.(++done, total);
        await nextTurn();
      },
    );
    best[k] = found;
    hyperparameters.data.set(found.at, 3 * k);
  }
  const weights = matrix(x.rows, d);
  for (let k = 0; k < d; k++) {
    const gram = gramMatrix(kind, x, best[k].at);
    ensure(cholesky(gram, gram, x.rows), "bad_option", "the kernel matrix of all points is not positive definite");
    const column = columnOf(y, k);
    choleskySolve(gram, column, x.rows);
    for (let i = 0; i < x.rows; i++) weights.data[i * d + k] = column[i];
    await nextTurn();
  }
  return { weights, hyperparameters, logLikelihood: -best.reduce((sum, { value }) => sum + value, 0) };
}

function pick(a: Matrix, rows: readonly number[]): Matrix {
  const out = matrix(rows.length, a.columns);
  for (const [i, row] of rows.entries())
    out.data.set(a.data.subarray(row * a.columns, (row + 1) * a.columns), i * a.columns);
  return out;
}

const columnOf = (a: Matrix, k: number) => Float64Array.from({ length: a.rows }, (_, i) => a.data[i * a.columns + k]);

function gramMatrix(kind: KernelKind, x: Matrix, at: Hyperparameters): Float64Array {
  const [m, n] = [x.rows, x.columns];
  const kernel = kernelOf(kind, n, at);
  const noise = Math.exp(2 * at[2]);
  const out = new Float64Array(m * m);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j <= i; j++) {
      const value = kernel(x.data, i * n, x.data, j * n);
      out[i * m + j] = value;
      out[j * m + i] = value;
    }
    out[i * m + i] += noise;
  }
  return out;
}

/** -log N(y; 0, L Lᵀ). */
function negativeLogLikelihood(factor: Float64Array, y: Float64Array): number {
  const m = y.length;
  const solved = Float64Array.from(y);
  choleskySolve(factor, solved, m);
  let value = 0.5 * m * Math.log(2 * Math.PI);
  for (let i = 0; i < m; i++) value += 0.5 * y[i] * solved[i] + Math.log(factor[i * m + i]);
  return value;
}

interface Evaluated {
  readonly value: number;
  readonly gradient: readonly number[];
}

/** -log likelihood and its gradient: ½ tr((K⁻¹ - α αᵀ) dK/dθ), α = K⁻¹ y. */
function likelihoodAndGradient(kind: KernelKind, x: Matrix, y: Float64Array, at: Hyperparameters): Evaluated {
  const [m, n] = [x.rows, x.columns];
  const kernelMatrix = gramMatrix(kind, x, at);
  const factor = new Float64Array(m * m);
  if (!cholesky(factor, kernelMatrix, m)) return { value: Infinity, gradient: [0, 0, 0] };
  const alpha = Float64Array.from(y);
  choleskySolve(factor, alpha, m);
  // Row j holds column j of L⁻¹, so that all inner loops walk along rows.
  const inverse = new Float64Array(m * m);
  for (let j = 0; j < m; j++) {
    inverse[j * m + j] = 1 / factor[j * m + j];
    for (let i = j + 1; i < m; i++) {
      let sum = 0;
      for (let k = j; k < i; k++) sum -= factor[i * m + k] * inverse[j * m + k];
      inverse[j * m + i] = sum / factor[i * m + i];
    }
  }
  const slope = lengthDerivative(kind, n, at);
  const noise = Math.exp(2 * at[2]);
  const gradient = [0, 0, 0];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j <= i; j++) {
      let entry = 0;
      for (let k = i; k < m; k++) entry += inverse[i * m + k] * inverse[j * m + k];
      const weight = (entry - alpha[i] * alpha[j]) * (i === j ? 0.5 : 1);
      const value = kernelMatrix[i * m + j] - (i === j ? noise : 0);
      gradient[0] += weight * slope(x.data, i * n, x.data, j * n);
      gradient[1] += weight * 2 * value;
      if (i === j) gradient[2] += weight * 2 * noise;
    }
  }
  return { value: negativeLogLikelihood(factor, y), gradient };
}

/** d k / d log σl. */
function lengthDerivative(kind: KernelKind, n: number, at: Hyperparameters): Kernel {
  const kernel = kernelOf(kind, n, at);
  const inverse = Math.exp(-2 * at[0]);
  if (kind === "product") {
    return (x, xAt, y, yAt) => {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += (x[xAt + k] - y[yAt + k]) ** 2;
      return kernel(x, xAt, y, yAt) * sum * inverse;
    };
  }
  const density = Math.exp(2 * at[1]) / (n * Math.sqrt(2 * Math.PI) * Math.exp(at[0]));
  return (x, xAt, y, yAt) => {
    let sum = 0;
    for (let k = 0; k < n; k++) {
      const squared = (x[xAt + k] - y[yAt + k]) ** 2 * inverse;
      sum += Math.exp(-0.5 * squared) * (squared - 1);
    }
    return density * sum;
  };
}

/** Polak and Ribière's conjugate gradients with a halving line search, within a number of evaluations. */
async function conjugateGradients(
  evaluate: (at: Hyperparameters) => Evaluated,
  start: Hyperparameters,
  evaluations: number,
  between: () => Promise<void>,
): Promise<{ at: Hyperparameters; value: number }> {
  let at = start;
  let left = evaluations;
  const next = async (point: Hyperparameters) => {
    left--;
    await between();
    return evaluate(point);
  };
  let current = await next(at);
  let direction = current.gradient.map((g) => -g);
  let reach = 0.3;
  while (left > 0) {
    const norm = Math.hypot(...direction);
    if (norm < 1e-4) break;
    const moved = at.map((v, i) => v + (reach * direction[i]) / norm) as unknown as Hyperparameters;
    const trial = await next(moved);
    if (!(trial.value < current.value)) {
      reach /= 2;
      if (reach < 1e-4) break;
      continue;
    }
    const change = trial.gradient.map((g, i) => g - current.gradient[i]);
    const squared = current.gradient.reduce((sum, g) => sum + g * g, 0);
    const mix = Math.max(0, trial.gradient.reduce((sum, g, i) => sum + g * change[i], 0) / squared);
    direction = direction.map((v, i) => mix * v - trial.gradient[i]);
    if (direction.reduce((sum, v, i) => sum + v * trial.gradient[i], 0) >= 0) direction = trial.gradient.map((g) => -g);
    [at, current] = [moved, trial];
    reach *= 1.5;
  }
  return { at, value: current.value };
}
