/**
 * The metric that a softmax head pulls back onto its inputs: g(h) = Wᵀ (diag q - q qᵀ) W with q = softmax(W h + b), so that KL(q_(h+δ) ‖ q_h) = ½ δᵀ g δ to second order.
 * Directions in which it vanishes are such as no prediction depends on.
 */
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole, requireWithin } from "../../../numbers.ts";
import { symmetricEigen } from "../../signals/matrix.ts";
import { requireFinite, requireLength, requireRows, requireShares, zeros } from "./checks.ts";
import { jensenShannon, lawOf } from "./entropy.ts";
import { type Rows, rowOf } from "./rows.ts";

/** Errors: `bad_option` for a head that is no matrix; `bad_shape` for a distribution that is none of its tokens. */
function requireLawOf(head: Rows, q: ArrayLike<number>): void {
  requireRows("head", head);
  ensure(q.length === head.count, "bad_shape", () => {
    return `a distribution of ${q.length} tokens is none of a head of ${head.count}`;
  });
  requireShares(q);
}

/** Errors: `bad_option` for a direction or state that is none of a head. */
function requireVector(name: string, x: ArrayLike<number>, length: number): void {
  requireLength(name, x, length, () => "the head");
  requireFinite(name, x);
}

/** Wᵀ (diag q - q qᵀ) W [width, width] of a head [vocabulary, width]. Errors: `bad_option` for a head that is no matrix; `bad_shape` for a distribution that is none of its tokens. */
export function fisherMetric(head: Rows, q: ArrayLike<number>): Float64Array {
  requireLawOf(head, q);
  const { count: vocabulary, width } = head;
  const g = zeros(width, width);
  const mean = new Float64Array(width);
  for (let v = 0; v < vocabulary; v++) {
    if (q[v] === 0) continue;
    const w = rowOf(head, v);
    for (let i = 0; i < width; i++) {
      const scaled = q[v] * w[i];
      mean[i] += scaled;
      for (let j = 0; j <= i; j++) g[i * width + j] += scaled * w[j];
    }
  }
  for (let i = 0; i < width; i++) for (let j = 0; j <= i; j++) g[j * width + i] = g[i * width + j] -= mean[i] * mean[j];
  return g;
}

/** g(h) x, without forming g. Errors: as `fisherMetric`; `bad_option` for an x that is no direction of the head. */
export function fisherProduct(head: Rows, q: ArrayLike<number>, x: ArrayLike<number>): Float64Array {
  requireLawOf(head, q);
  requireVector("x", x, head.width);
  const { count: vocabulary, width } = head;
  const logits = changeOf(head, x);
  let mean = 0;
  for (let v = 0; v < vocabulary; v++) mean += q[v] * logits[v];
  const out = new Float64Array(width);
  for (let v = 0; v < vocabulary; v++) {
    const w = rowOf(head, v);
    for (let i = 0; i < width; i++) out[i] += q[v] * (logits[v] - mean) * w[i];
  }
  return out;
}

/** W x: how logits change along a direction. */
function changeOf(head: Rows, x: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: head.count }, (_, v) => {
    const w = rowOf(head, v);
    let sum = 0;
    for (let i = 0; i < head.width; i++) sum += w[i] * x[i];
    return sum;
  });
}

/**
 * The mean metric over contexts, from their mean distribution and the mean output vectors Wᵀ q_c of each: mean g = Wᵀ diag(q̄) W - mean μ μᵀ.
 * Errors: as `fisherMetric`; `bad_option` for vectors that are no matrix or of another width.
 */
export function averageFisher(head: Rows, mean: ArrayLike<number>, vectors: Rows): Float64Array {
  requireRows("vectors", vectors);
  const { width } = head;
  ensure(vectors.width === width, "bad_option", `vectors.width is ${vectors.width}, and the head's is ${width}`);
  const g = fisherMetric(head, mean);
  const centre = new Float64Array(width);
  for (let v = 0; v < head.count; v++) {
    const w = rowOf(head, v);
    for (let i = 0; i < width; i++) centre[i] += mean[v] * w[i];
  }
  for (let i = 0; i < width; i++)
    for (let j = 0; j < width; j++) {
      let products = 0;
      for (let row = 0; row < vectors.count; row++)
        products += vectors.values[row * width + i] * vectors.values[row * width + j];
      g[i * width + j] += centre[i] * centre[j] - products / vectors.count;
    }
  return g;
}

/** Eigenvalues of an information matrix, largest first. */
export interface Spectrum {
  /** Falling. */
  readonly values: Float64Array;
  /** Columns, in that order. */
  readonly vectors: Float64Array;
  readonly trace: number;
  /** exp of the entropy of the values' shares of the trace. */
  readonly effectiveRank: number;
}

/** Of a symmetric matrix, which stays as it is. Errors: `bad_option` for a width that is none; `bad_shape` for one of another size, or with an entry that is not finite. */
export function spectrumOf(matrix: Float64Array, width: number): Spectrum {
  requireCounts({ width });
  ensure(
    matrix.length === width * width,
    "bad_shape",
    `a matrix of ${matrix.length} numbers is none of ${width} by ${width}`,
  );
  ensure(matrix.every(Number.isFinite), "bad_shape", "a matrix with entries that are not finite has no spectrum");
  const [values, vectors] = [new Float64Array(width), new Float64Array(width * width)];
  symmetricEigen(values, vectors, Float64Array.from(matrix), width);
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[b] - values[a]);
  const trace = values.reduce((a, b) => a + b, 0);
  let entropy = 0;
  for (const value of values) if (value > 0 && trace > 0) entropy -= (value / trace) * Math.log(value / trace);
  return {
    values: Float64Array.from(order, (i) => values[i]),
    vectors: Float64Array.from(vectors, (_, at) => vectors[Math.floor(at / width) * width + order[at % width]]),
    trace,
    effectiveRank: Math.exp(entropy),
  };
}

/** Share of the variance of states (covariance [width, width]) in directions whose eigenvalue of the metric is below `below` times the largest. Errors: `bad_option` for a covariance or spectrum of another size or not finite, and for a `below` that is no share. */
export function blindShare({ values, vectors }: Spectrum, covariance: Float64Array, below = 0.01): number {
  const width = values.length;
  const square = (): string => `a square of ${width}, as the spectrum's values are,`;
  requireLength("vectors", vectors, width * width, square);
  requireLength("covariance", covariance, width * width, square);
  for (const [name, list] of Object.entries({ values, vectors, covariance })) requireFinite(name, list);
  requireWithin({ below }, 0, 1);
  let [blind, all] = [0, 0];
  for (let k = 0; k < width; k++) {
    let along = 0;
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++)
        along += vectors[i * width + k] * covariance[i * width + j] * vectors[j * width + k];
    all += along;
    if (values[k] < below * values[0]) blind += along;
  }
  return all > 0 ? blind / all : 0;
}

/**
 * The separation corollary as numbers: for two states the integral over their segment of g(h_t)(h - h', h - h'), and the Jensen–Shannon divergence of their predictions, which the
 * integral bounds from above up to a constant. Simpson's rule over `steps` (even) parts. Errors: `bad_option` for a head that is no matrix, states or a bias that are none of its, and steps
 * that are not even, or more than a million.
 */
export function separation(
  head: Rows,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  {
    bias,
    steps = 32,
  }: {
    /** The head's. Default: none. */
    readonly bias?: ArrayLike<number>;
    /** Parts of the integral, an even number. Default: 32. */
    readonly steps?: number;
  } = {},
): { readonly integral: number; readonly divergence: number } {
  ensure(
    steps >= 2 && steps % 2 === 0,
    "bad_option",
    `separation: ${steps} steps: Simpson's rule takes an even number`,
  );
  requireWhole({ steps }, 2, 1_000_000);
  requireRows("head", head);
  requireVector("a", a, head.width);
  requireVector("b", b, head.width);
  if (bias) requireVector("bias", bias, head.count);
  const start = changeOf(head, b).map((x, v) => x + (bias?.[v] ?? 0));
  const change = changeOf(
    head,
    Float64Array.from({ length: head.width }, (_, i) => a[i] - b[i]),
  );
  const at = (t: number): Float64Array => lawOf(start.map((x, v) => x + t * change[v]));
  let integral = 0;
  for (let step = 0; step <= steps; step++) {
    const q = at(step / steps);
    let [mean, squares] = [0, 0];
    for (let v = 0; v < q.length; v++) {
      mean += q[v] * change[v];
      squares += q[v] * change[v] ** 2;
    }
    const weight = step === 0 || step === steps ? 1 : step % 2 === 1 ? 4 : 2;
    integral += (weight * (squares - mean * mean)) / (3 * steps);
  }
  return { integral, divergence: jensenShannon(at(1), at(0)) };
}
