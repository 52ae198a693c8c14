/** Principal components of observations: eigenvectors of their covariance, or, of fewer bins than channels, of the products between bins. */
import { ensure } from "../../errors.ts";
import { nextTurn } from "../../turn.ts";
import type { FitContext } from "./filter.ts";
import { covariance, type Matrix, matrix } from "./matrix.ts";

/** Of channels or bins, whichever are fewer: the work grows with the cube. */
const largestSide = 4096;
/** Steps of the decomposition between two looks at the signal. */
const stepsAtOnce = 16;

/**
 * [count, n]: the first components of observations [rows, n] about their mean [n], each divided by its deviation, its largest weight positive.
 * Errors: `bad_option` for more components than have variance, and for more channels and bins than can be decomposed; `aborted`.
 */
export async function principalComponents(
  observations: Matrix,
  mean: Float64Array,
  count: number,
  context: Omit<FitContext, "seed"> = {},
): Promise<Matrix> {
  const { rows, columns: n } = observations;
  ensure(
    Number.isInteger(count) && count >= 1 && count <= n,
    "bad_option",
    `features: ${count} principal components of ${n} channels`,
  );
  const side = Math.min(rows, n);
  ensure(
    side <= largestSide,
    "bad_option",
    `features: principal components of ${n} channels in ${rows} bins are too many to compute; choose at most ${largestSide} channels`,
  );
  const between = rows < n; // bins
  const centred = between ? matrix(n, rows) : observations; // a channel a row
  if (between)
    for (let t = 0; t < rows; t++)
      for (let k = 0; k < n; k++) centred.data[k * rows + t] = observations.data[t * n + k] - mean[k];
  const products = between ? covariance(centred) : covariance(observations, mean);
  // The covariance of channels has the eigenvalues of the products between bins, which are averaged over as many channels here.
  const scale = between ? n / rows : 1;
  const { values, vectors } = await decompose(products.data, side, context);
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
  const least = order.length < count ? 0 : values[order[count - 1]];
  ensure(
    least > 1e-12 * values[order[0]],
    "bad_option",
    `the observations have fewer than ${count} principal components with any variance`,
  );
  const map = matrix(count, n);
  for (const [i, at] of order.entries()) {
    const row = map.data.subarray(i * n, (i + 1) * n);
    const vector = vectors.subarray(at * side, (at + 1) * side);
    if (!between) row.set(vector);
    else for (let k = 0; k < n; k++) for (let t = 0; t < rows; t++) row[k] += vector[t] * centred.data[k * rows + t];
    let [squared, largest] = [0, 0];
    for (const v of row) {
      squared += v * v;
      if (Math.abs(v) > Math.abs(largest)) largest = v;
    }
    const length = Math.sign(largest) * Math.sqrt(squared * scale * values[at]);
    for (let k = 0; k < n; k++) row[k] /= length;
  }
  return map;
}

/**
 * Eigenvalues of a symmetric matrix [n, n], in no order, and unit eigenvectors as rows: Householder's reflections to three diagonals, and the
 * implicit QL algorithm (Bowdler, Martin, Reinsch and Wilkinson 1968). `a` is spoilt. Errors: `bad_option` for values that are not finite,
 * `aborted`.
 */
async function decompose(
  a: Float64Array,
  n: number,
  { signal, onProgress }: Omit<FitContext, "seed">,
): Promise<{ values: Float64Array; vectors: Float64Array }> {
  ensure(a.every(Number.isFinite), "bad_option", "the observations are so large that their variance has no end");
  const [values, beside] = [new Float64Array(n), new Float64Array(n)];
  const betas = new Float64Array(n);
  const [v, w] = [new Float64Array(n), new Float64Array(n)];
  let done = 0;
  async function rest(): Promise<void> {
    if (++done % stepsAtOnce !== 0) return;
    onProgress?.("components", done, 3 * n);
    await nextTurn();
    ensure(!signal?.aborted, "aborted", "fitting was interrupted");
  }
  for (let k = 0; k < n - 2; k++) {
    await rest();
    const from = k + 1;
    let squared = 0;
    for (let j = from; j < n; j++) {
      v[j] = a[k * n + j];
      if (j > from) squared += v[j] * v[j];
    }
    values[k] = a[k * n + k];
    beside[k] = v[from];
    if (squared === 0) continue; // nothing to take away, and a beta of zero
    const norm = Math.sqrt(squared + v[from] * v[from]);
    beside[k] = v[from] > 0 ? -norm : norm;
    v[from] -= beside[k];
    const beta = 2 / (squared + v[from] * v[from]);
    betas[k] = beta;
    let along = 0;
    for (let i = from; i < n; i++) {
      let sum = 0;
      for (let j = from, at = i * n; j < n; j++) sum += a[at + j] * v[j];
      w[i] = beta * sum;
      along += w[i] * v[i];
    }
    for (let i = from; i < n; i++) w[i] -= 0.5 * beta * along * v[i];
    for (let i = from; i < n; i++) for (let j = from, at = i * n; j < n; j++) a[at + j] -= v[i] * w[j] + w[i] * v[j];
    for (let j = from; j < n; j++) a[k * n + j] = v[j]; // the reflection is kept where it made zeros
  }
  for (let k = Math.max(0, n - 2); k < n; k++) values[k] = a[k * n + k];
  if (n > 1) beside[n - 2] = a[(n - 2) * n + n - 1];

  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  for (let k = n - 3; k >= 0; k--) {
    await rest();
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += vectors[i * n + j] * a[k * n + j];
      sum *= betas[k];
      for (let j = k + 1; j < n; j++) vectors[i * n + j] -= sum * a[k * n + j];
    }
  }
  for (let l = 0; l < n; l++) {
    await rest();
    for (let sweep = 0; sweep < 60; sweep++) {
      let m = l;
      while (m < n - 1 && Math.abs(beside[m]) > Number.EPSILON * (Math.abs(values[m]) + Math.abs(values[m + 1]))) m++;
      if (m === l) break;
      chase(values, beside, vectors, n, l, m);
    }
  }
  return { values, vectors };
}

/** One implicit QL step on the rows l to m, with the shift of Wilkinson. */
function chase(
  values: Float64Array,
  beside: Float64Array,
  vectors: Float64Array,
  n: number,
  l: number,
  m: number,
): void {
  const half = (values[l + 1] - values[l]) / (2 * beside[l]);
  const root = Math.hypot(half, 1);
  let g = values[m] - values[l] + beside[l] / (half + (half >= 0 ? root : -root));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const [f, b] = [s * beside[i], c * beside[i]];
    const r = Math.hypot(f, g);
    beside[i + 1] = r;
    if (r === 0) {
      values[i + 1] -= p;
      beside[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = values[i + 1] - p;
    const t = (values[i] - g) * s + 2 * c * b;
    p = s * t;
    values[i + 1] = g + p;
    g = c * t - b;
    for (let k = 0, low = i * n, high = low + n; k < n; k++) {
      const [x, y] = [vectors[low + k], vectors[high + k]];
      vectors[high + k] = s * x + c * y;
      vectors[low + k] = c * x - s * y;
    }
  }
  values[l] -= p;
  beside[l] = g;
  beside[m] = 0;
}
