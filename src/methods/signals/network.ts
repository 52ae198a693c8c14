/**
 * A network with one hidden layer of tanh units and a linear output, trained by Levenberg and Marquardt's method with Bayesian
 * regularisation (MacKay 1992; Foresee and Hagan 1997): the objective is F = β E_D + α E_W with the sums of squares of errors and
 * weights, and after each step α = γ / 2E_W, β = (N - γ) / 2E_D, where γ = P - 2α tr(H⁻¹) counts the weights that the data determine
 * and H = 2β JᵀJ + 2α I.
 */
import { z } from "zod";
import { uniform } from "../../engine/random.ts";
import { ensure } from "../../errors.ts";
import { nextTurn } from "../../turn.ts";
import { cholesky, choleskyInverse, choleskySolve, columnMeans, type Matrix, matrix, trace } from "./matrix.ts";
import type { Regression } from "./regression.ts";

/** x [n] → W2 tanh(W1 x + b1) + b2 [d]. */
export interface Network {
  /** [hidden, n]. */
  readonly W1: Matrix;
  /** [1, hidden]. */
  readonly b1: Matrix;
  /** [d, hidden]. */
  readonly W2: Matrix;
  /** [1, d]. */
  readonly b2: Matrix;
}

/** Of filters that learn with one. */
export const networkOptions = {
  hidden: z
    .int()
    .min(1)
    .max(1000)
    .default(10)
    .describe(
      "hidden units of the network, where one is learnt: more fit finer relations, need more data and take longer",
    ),
  iterations: z
    .int()
    .min(1)
    .max(10_000)
    .default(100)
    .describe(
      "most training steps of the network, where one is learnt; training stops sooner where it no longer improves",
    ),
};

export interface NetworkOptions {
  readonly hidden: number;
  readonly iterations: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export function networkRegression({ W1, b1, W2, b2 }: Network): Regression {
  const [h, n, d] = [W1.rows, W1.columns, W2.rows];
  const activation = new Float64Array(h);
  return (x, out) => {
    for (let k = 0; k < h; k++) {
      let sum = b1.data[k];
      for (let i = 0; i < n; i++) sum += W1.data[k * n + i] * x[i];
      activation[k] = Math.tanh(sum);
    }
    for (let o = 0; o < d; o++) {
      let sum = b2.data[o];
      for (let k = 0; k < h; k++) sum += W2.data[o * h + k] * activation[k];
      out[o] = sum;
    }
    return true;
  };
}

/** out [d, n] = d output / d x at x. */
export function networkJacobian({ W1, b1, W2 }: Network): (x: ArrayLike<number>, out: Float64Array) => void {
  const [h, n, d] = [W1.rows, W1.columns, W2.rows];
  const slope = new Float64Array(h);
  return (x, out) => {
    for (let k = 0; k < h; k++) {
      let sum = b1.data[k];
      for (let i = 0; i < n; i++) sum += W1.data[k * n + i] * x[i];
      slope[k] = 1 - Math.tanh(sum) ** 2;
    }
    for (let o = 0; o < d; o++) {
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let k = 0; k < h; k++) sum += W2.data[o * h + k] * slope[k] * W1.data[k * n + i];
        out[o * n + i] = sum;
      }
    }
  };
}

/**
 * Fits y [m, d] to x [m, n]. Inputs and outputs are standardised while training and the scales folded into the weights at the end. A
 * step that does not lower F raises the damping tenfold; ten in a row, or a gradient near zero, end the training.
 */
export async function fitNetwork(x: Matrix, y: Matrix, options: NetworkOptions): Promise<Network> {
  const { hidden: h, iterations, seed, signal, onProgress } = options;
  const [m, n, d] = [x.rows, x.columns, y.columns];
  const [input, output] = [standardise(x), standardise(y)];
  const inner = h * (n + 1); // per hidden unit: n weights and a bias
  const size = inner + d * (h + 1);
  let weights = initialWeights(h, n, d, seed);
  const gram = new Float64Array(size * size);
  const gradient = new Float64Array(size);
  const [system, factor, scratch] = [gram.slice(), gram.slice(), gram.slice()];
  const step = new Float64Array(size);

  let errors = accumulate(input.values, output.values, weights, h, gram, gradient);
  let [alpha, beta] = [0.01, 1];
  let damping = 0.005;
  const squares = (w: Float64Array) => w.reduce((sum, v) => sum + v * v, 0);
  for (let iteration = 0; iteration < iterations; iteration++) {
    ensure(!signal?.aborted, "aborted", "fitting was interrupted");
    const before = beta * errors + alpha * squares(weights);
    let improved = false;
    for (let attempt = 0; attempt < 10 && !improved; attempt++) {
      for (let i = 0; i < size * size; i++) system[i] = beta * gram[i];
      for (let i = 0; i < size; i++) {
        system[i * size + i] += alpha + damping;
        step[i] = -(beta * gradient[i] + alpha * weights[i]);
      }
      if (cholesky(factor, system, size)) {
        choleskySolve(factor, step, size);
        const trial = weights.map((w, i) => w + step[i]);
        const after = beta * squaredErrors(input.values, output.values, trial, h) + alpha * squares(trial);
        if (after < before) {
          weights = trial;
          improved = true;
          damping = Math.max(damping / 10, 1e-20);
          break;
        }
      }
      damping *= 10;
    }
    if (!improved) break;
    errors = accumulate(input.values, output.values, weights, h, gram, gradient);
    // α and β by the evidence; H / 2 = β JᵀJ + α I.
    for (let i = 0; i < size * size; i++) system[i] = beta * gram[i];
    for (let i = 0; i < size; i++) system[i * size + i] += alpha;
    if (cholesky(factor, system, size)) {
      choleskyInverse(system, factor, scratch, size);
      const determined = size - alpha * trace(system, size);
      alpha = determined / (2 * squares(weights));
      beta = Math.max(m * d - determined, 1) / (2 * errors);
    }
    onProgress?.(iteration + 1, iterations);
    if (iteration % 8 === 7) await nextTurn();
    const largest = step.reduce((most, s) => Math.max(most, Math.abs(s)), 0);
    if (largest < 1e-7) break;
  }
  return unfold(weights, input, output, h, n, d);
}

interface Standardised {
  readonly values: Matrix;
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
}

function standardise(a: Matrix): Standardised {
  const mean = columnMeans(a);
  const deviation = new Float64Array(a.columns);
  for (let i = 0; i < a.data.length; i++) deviation[i % a.columns] += (a.data[i] - mean[i % a.columns]) ** 2 / a.rows;
  for (let k = 0; k < a.columns; k++) deviation[k] = Math.sqrt(deviation[k]) || 1;
  const values = matrix(a.rows, a.columns);
  for (let i = 0; i < a.data.length; i++) values.data[i] = (a.data[i] - mean[i % a.columns]) / deviation[i % a.columns];
  return { values, mean, deviation };
}

function initialWeights(h: number, n: number, d: number, seed: number): Float64Array {
  let draws = 0;
  const normal = () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform({ seed, request: 0 }, draws, "initialise")));
    return radius * Math.cos(2 * Math.PI * uniform({ seed, request: 1 }, draws++, "initialise"));
  };
  const inner = h * (n + 1);
  return Float64Array.from({ length: inner + d * (h + 1) }, (_, i) =>
    i < inner ? normal() / Math.sqrt(n + 1) : normal() / Math.sqrt(h + 1),
  );
}

function forward(row: Float64Array, weights: Float64Array, h: number, activation: Float64Array): void {
  const n = row.length;
  for (let k = 0; k < h; k++) {
    let sum = weights[k * (n + 1) + n];
    for (let i = 0; i < n; i++) sum += weights[k * (n + 1) + i] * row[i];
    activation[k] = Math.tanh(sum);
  }
}

function squaredErrors(x: Matrix, y: Matrix, weights: Float64Array, h: number): number {
  const [n, d] = [x.columns, y.columns];
  const activation = new Float64Array(h);
  const inner = h * (n + 1);
  let total = 0;
  for (let t = 0; t < x.rows; t++) {
    forward(x.data.subarray(t * n, (t + 1) * n), weights, h, activation);
    for (let o = 0; o < d; o++) {
      const at = inner + o * (h + 1);
      let error = weights[at + h] - y.data[t * d + o];
      for (let k = 0; k < h; k++) error += weights[at + k] * activation[k];
      total += error * error;
    }
  }
  return total;
}

/**
 * JᵀJ and Jᵀe, and the sum of squared errors. The Jacobian is never written down: an output weight of unit k sees the activation aₖ in
 * its own output only, an inner weight (k, i) sees w2(o, k) sₖ xᵢ in output o.
 */
function accumulate(
  x: Matrix,
  y: Matrix,
  weights: Float64Array,
  h: number,
  gram: Float64Array,
  gradient: Float64Array,
): number {
  const [n, d] = [x.columns, y.columns];
  const inner = h * (n + 1);
  const size = inner + d * (h + 1);
  gram.fill(0);
  gradient.fill(0);
  const activation = new Float64Array(h + 1);
  activation[h] = 1;
  const extended = new Float64Array(n + 1);
  extended[n] = 1;
  const slope = new Float64Array(h);
  const errors = new Float64Array(d);
  const between = new Float64Array(h * h); // Σ over outputs of w2(o, k) w2(o, l)
  for (let k = 0; k < h; k++)
    for (let l = 0; l < h; l++)
      for (let o = 0; o < d; o++)
        between[k * h + l] += weights[inner + o * (h + 1) + k] * weights[inner + o * (h + 1) + l];
  let total = 0;
  for (let t = 0; t < x.rows; t++) {
    const row = x.data.subarray(t * n, (t + 1) * n);
    extended.set(row);
    forward(row, weights, h, activation);
    for (let k = 0; k < h; k++) slope[k] = 1 - activation[k] * activation[k];
    for (let o = 0; o < d; o++) {
      const at = inner + o * (h + 1);
      let error = -y.data[t * d + o];
      for (let k = 0; k <= h; k++) error += weights[at + k] * activation[k];
      errors[o] = error;
      total += error * error;
      for (let k = 0; k <= h; k++) {
        gradient[at + k] += error * activation[k];
        const line = (at + k) * size;
        for (let l = 0; l <= k; l++) gram[line + at + l] += activation[k] * activation[l];
        for (let l = 0; l < h; l++) {
          const factor = activation[k] * weights[at + l] * slope[l];
          for (let i = 0; i <= n; i++) gram[line + l * (n + 1) + i] += factor * extended[i];
        }
      }
    }
    for (let k = 0; k < h; k++) {
      let back = 0;
      for (let o = 0; o < d; o++) back += errors[o] * weights[inner + o * (h + 1) + k];
      back *= slope[k];
      for (let i = 0; i <= n; i++) gradient[k * (n + 1) + i] += back * extended[i];
      for (let l = 0; l <= k; l++) {
        const factor = between[k * h + l] * slope[k] * slope[l];
        for (let i = 0; i <= n; i++) {
          const line = (k * (n + 1) + i) * size + l * (n + 1);
          const scaled = factor * extended[i];
          for (let j = 0; j <= n; j++) gram[line + j] += scaled * extended[j];
        }
      }
    }
  }
  for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) gram[j * size + i] = gram[i * size + j];
  return total;
}

function unfold(
  weights: Float64Array,
  input: Standardised,
  output: Standardised,
  h: number,
  n: number,
  d: number,
): Network {
  const inner = h * (n + 1);
  const [W1, b1, W2, b2] = [matrix(h, n), matrix(1, h), matrix(d, h), matrix(1, d)];
  for (let k = 0; k < h; k++) {
    b1.data[k] = weights[k * (n + 1) + n];
    for (let i = 0; i < n; i++) {
      W1.data[k * n + i] = weights[k * (n + 1) + i] / input.deviation[i];
      b1.data[k] -= W1.data[k * n + i] * input.mean[i];
    }
  }
  for (let o = 0; o < d; o++) {
    b2.data[o] = output.mean[o] + output.deviation[o] * weights[inner + o * (h + 1) + h];
    for (let k = 0; k < h; k++) W2.data[o * h + k] = output.deviation[o] * weights[inner + o * (h + 1) + k];
  }
  return { W1, b1, W2, b2 };
}
