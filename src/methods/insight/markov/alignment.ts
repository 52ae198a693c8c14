/**
 * The predictive kernel K(c, c') over contexts, which says how alike their next-token distributions are, and how far states span it. Under a quadratic bound of the loss (a linear head,
 * whitened states) the best states of a given width span K's leading eigenvectors:
 *
 *     C = E[h φᵀ],   gain = tr(Cᵀ Σ⁻¹ C),   captured = gain / (sum of the d largest eigenvalues of K),   K = Φ Φᵀ / N
 *
 * With distributions of the model's own head, K is a function of its states and alignment says little: give true ones, those of an independent model, or the tokens that came.
 */
import { normal } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireCounts, requireIndices, requireWhole, requireWithin } from "../../../numbers.ts";
import { cholesky, solveLower, symmetricEigen } from "../../signals/matrix.ts";
import { requireFinite, requireLength, requireRows, requireShares, zeros } from "./checks.ts";
import { jensenShannon } from "./entropy.ts";
import { centred, columnMeans, crossMoment, openProducts, type Products, type Rows, rowOf } from "./rows.ts";

/** Kernels that are inner products of features: <p, p'>, <p, p'> with columns over √p̄, Bhattacharyya's Σ √(p p'), and mean output vectors. */
export const featureKernels = ["linear", "chi-square", "bhattacharyya", "output-embedding"] as const;
/** Name of a kernel that is a product of features. */
export type FeatureKernel = (typeof featureKernels)[number];
/** And exp(-β d²) with Hellinger's d² = 2 (1 - BC), and exp(-β JS). */
export const kernels = [...featureKernels, "hellinger", "jensen-shannon"] as const;
/** Name of a kernel. */
export type Kernel = (typeof kernels)[number];

/** Which kernel, and its width. */
export interface KernelOptions {
  /** What of two predictions is compared. Default "linear". */
  readonly kernel?: Kernel;
  /** Of the two exponential kernels. Default 1. */
  readonly beta?: number;
  /** The head's output vectors [vocabulary, width], scaled to length 1: of `output-embedding`. Needed by that kernel; no default. */
  readonly head?: Rows;
  /** Features less their mean: Φ - 1 φ̄ᵀ. Default true; the paper's own kernels are not centred. */
  readonly centre?: boolean;
}

/** Φ [contexts, …] of distributions [contexts, vocabulary], so that K = Φ Φᵀ. Errors: `bad_option` for rows that are no matrix, and for a head that is none of the vocabulary; `bad_shape` for what is no distribution. */
export function predictiveFeatures(
  q: Rows,
  { kernel = "linear", head, centre = true }: KernelOptions & { readonly kernel?: FeatureKernel } = {},
): Rows {
  const mean = columnMeans(q);
  requireShares(q.values);
  const { width } = q;
  const features = (): Rows => {
    if (kernel === "linear") return q;
    if (kernel === "bhattacharyya") return { ...q, values: q.values.map((x) => Math.sqrt(x)) as Float32Array };
    if (kernel === "chi-square") {
      const scaled = Float32Array.from(q.values, (x, i) => (x === 0 ? 0 : x / Math.sqrt(mean[i % width])));
      return { ...q, values: scaled };
    }
    ensure(head && head.count === width, "bad_option", "the kernel output-embedding needs the head's output vectors");
    requireRows("head", head);
    const values = new Float32Array(q.count * head.width);
    const lengths = Array.from({ length: width }, (_, v) => Math.hypot(...rowOf(head, v)) || 1);
    for (let row = 0; row < q.count; row++)
      for (let v = 0; v < width; v++) {
        const share = q.values[row * width + v] / lengths[v];
        if (share !== 0)
          for (let i = 0; i < head.width; i++) values[row * head.width + i] += share * head.values[v * head.width + i];
      }
    return { count: q.count, width: head.width, values };
  };
  const found = features();
  return centre ? centred(found) : found;
}

/** K [contexts, contexts] by its definition, in float64: for contexts by the hundred. Errors: as `predictiveFeatures`; `bad_option` for more contexts than fit a memory, and for a `beta` below 0. */
export function kernelMatrix(q: Rows, options: KernelOptions = {}): Float64Array {
  const { kernel = "linear", beta = 1 } = options;
  const { count } = q;
  requireRows("q", q);
  requireWithin({ beta }, 0);
  requireShares(q.values);
  const out = zeros(count, count);
  const alike = (a: number, b: number): number => {
    const [p, r] = [rowOf(q, a), rowOf(q, b)];
    if (kernel === "jensen-shannon") return Math.exp(-beta * jensenShannon(p, r));
    let sum = 0;
    for (let v = 0; v < p.length; v++) sum += Math.sqrt(p[v] * r[v]);
    return Math.exp(-beta * 2 * (1 - sum));
  };
  if (kernel === "hellinger" || kernel === "jensen-shannon") {
    for (let a = 0; a < count; a++) for (let b = 0; b <= a; b++) out[a * count + b] = out[b * count + a] = alike(a, b);
    return out;
  }
  const features = predictiveFeatures(q, { ...options, kernel });
  for (let a = 0; a < count; a++)
    for (let b = 0; b <= a; b++) {
      const [x, y] = [rowOf(features, a), rowOf(features, b)];
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
      out[a * count + b] = out[b * count + a] = sum;
    }
  return out;
}

/** States whitened by a ridge of `ridge` times their mean variance: centred, and L⁻¹ h of their covariance L Lᵀ. Errors: `bad_option` for rows that are no matrix and a ridge below 0; `bad_shape` for states that do not vary at all. */
export function whitened(states: Rows, ridge = 1e-4): Rows {
  const own = centred(states);
  const factor = factorOf(own, ridge);
  const values = new Float64Array(own.count * own.width);
  for (let row = 0; row < own.count; row++) {
    const h = Float64Array.from(rowOf(own, row));
    solveLower(factor, h, own.width);
    values.set(h, row * own.width);
  }
  return { ...own, values };
}

/** Cholesky factor of a covariance with its ridge. Errors: `bad_shape` for states that do not vary at all. */
function factorOf(own: Rows, ridge: number, of = crossMoment(own, own)): Float64Array {
  requireWithin({ ridge }, 0);
  const { width } = own;
  const covariance = of.slice();
  let trace = 0;
  for (let i = 0; i < width; i++) trace += covariance[i * width + i];
  ensure(trace > 0 && Number.isFinite(trace), "bad_shape", "alignment: the states are all the same, or not finite");
  for (let i = 0; i < width; i++) covariance[i * width + i] += (ridge * trace) / width;
  ensure(cholesky(covariance, covariance, width), "bad_shape", "alignment: the states' covariance is not positive");
  return covariance;
}

/** tr(Cᵀ Σ⁻¹ D) for C, D [width, features], both as E[h φᵀ]. */
function whitenedProduct(factor: Float64Array, width: number, c: Rows, d: Rows): number {
  const [x, y] = [new Float64Array(width), new Float64Array(width)];
  let sum = 0;
  for (let j = 0; j < c.width; j++) {
    for (let i = 0; i < width; i++) {
      x[i] = c.values[i * c.width + j];
      y[i] = d.values[i * c.width + j];
    }
    solveLower(factor, x, width);
    if (c !== d) solveLower(factor, y, width);
    const other = c === d ? x : y;
    for (let i = 0; i < width; i++) sum += x[i] * other[i];
  }
  return sum;
}

/** A kernel's leading eigenvalues, and what states are compared with: made once for all layers. */
export interface PredictiveOperator {
  readonly features: Rows;
  /** The largest eigenvalues of K = Φ Φᵀ / N, falling, as many as were asked for. */
  readonly eigenvalues: Float64Array;
  /** [contexts, eigenvalues], orthonormal columns. */
  readonly eigenvectors: Rows;
  /** Root of the sum of all eigenvalues' squares. */
  readonly norm: number;
}

const sweeps = 6;

/** By subspace iteration, in float32 where products are large; `rank` eigenvalues. Errors: `bad_option` for features that are no matrix or not finite, and for a rank or seed that is none. */
export async function predictiveOperator(
  features: Rows,
  rank: number,
  products: Products,
  seed = 0,
): Promise<PredictiveOperator> {
  requireRows("features", features);
  requireFinite("features.values", features.values);
  requireCounts({ rank });
  requireWhole({ seed }, 0);
  const { count, width } = features;
  const size = Math.min(count, width, rank + 16);
  const k = Math.min(rank, size);
  let basis: Rows = {
    count,
    width: size,
    values: Float64Array.from({ length: count * size }, (_, i) => normal({ seed, request: 2 }, i, "data")),
  };
  let projected: Rows = basis;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    basis = orthonormal(basis);
    projected = await products.transposedTimes(features, basis); // Φᵀ Y
    if (sweep + 1 < sweeps) basis = await products.times(features, projected);
  }
  const small = crossMoment(projected, projected).map((x) => (x * projected.count) / count);
  const [values, vectors] = [new Float64Array(size), new Float64Array(size * size)];
  symmetricEigen(values, vectors, small, size);
  const order = Array.from(values, (_, i) => i)
    .sort((a, b) => values[b] - values[a])
    .slice(0, k);
  const eigenvectors = new Float64Array(count * k);
  for (let row = 0; row < count; row++)
    for (const [j, at] of order.entries()) {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += basis.values[row * size + i] * vectors[i * size + at];
      eigenvectors[row * k + j] = sum;
    }
  // ‖Φ Φᵀ‖ by the smaller of both products.
  const gram =
    width <= count
      ? await products.transposedTimes(features, features)
      : await products.times(features, transposedRows(features));
  let squares = 0;
  for (const x of gram.values) squares += x * x;
  return {
    features,
    eigenvalues: Float64Array.from(order, (at) => Math.max(0, values[at])),
    eigenvectors: { count, width: k, values: eigenvectors },
    norm: Math.sqrt(squares) / count,
  };
}

const transposedRows = ({ count, width, values }: Rows): Rows => ({
  count: width,
  width: count,
  values: Float32Array.from({ length: count * width }, (_, i) => values[(i % count) * width + Math.floor(i / count)]),
});

/** Columns made orthonormal, by Gram and Schmidt twice; those that vanish become zero. */
function orthonormal({ count, width, values }: Rows): Rows {
  const columns = Array.from({ length: width }, (_, j) =>
    Float64Array.from({ length: count }, (_, row) => values[row * width + j]),
  );
  for (const [j, column] of columns.entries()) {
    const before = Math.sqrt(dot(column, column));
    for (let pass = 0; pass < 2; pass++)
      for (let i = 0; i < j; i++) {
        const along = dot(columns[i], column);
        for (let row = 0; row < count; row++) column[row] -= along * columns[i][row];
      }
    const length = Math.sqrt(dot(column, column));
    const scale = length > 1e-9 * before ? 1 / length : 0;
    for (let row = 0; row < count; row++) column[row] *= scale;
  }
  return {
    count,
    width,
    values: Float64Array.from({ length: count * width }, (_, i) => columns[i % width][Math.floor(i / width)]),
  };
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** How far states agree with a kernel over contexts. */
export interface Alignment {
  /** tr(Cᵀ Σ⁻¹ C): how much of the bound whitened states can gain. */
  readonly gain: number;
  /** The gain over the most that so many numbers can gain; 1 just where whitened states span the leading eigenvectors. */
  readonly captured: number;
  /** ‖Qᵀ U_m‖² / m for the states' orthonormal basis Q and the m leading eigenvectors, by m. */
  readonly overlap: Readonly<Record<number, number>>;
  /** Centred kernel alignment of H Hᵀ and K. */
  readonly similarity: number;
}

/** States centred, with their covariance and its factor: what measurements of the same states share. */
export interface PreparedStates {
  readonly own: Rows;
  readonly covariance: Float64Array;
  readonly factor: Float64Array;
}

/** Errors: `bad_option` for rows that are no matrix and a ridge below 0; `bad_shape` for states that do not vary at all. */
export function prepareStates(states: Rows, ridge = 1e-4): PreparedStates {
  const own = centred(states);
  const covariance = crossMoment(own, own);
  return { own, covariance, factor: factorOf(own, ridge, covariance) };
}

/** Errors: `bad_option` for what was prepared of other states. */
function preparedFor(states: Rows, prepared: PreparedStates): PreparedStates {
  const { own, covariance, factor } = prepared;
  requireRows("prepared.own", own);
  ensure(own.count === states.count && own.width === states.width, "bad_option", () => {
    return `prepared.own is [${own.count}, ${own.width}], and the states are [${states.count}, ${states.width}]`;
  });
  const square = (): string => `a square of ${own.width}`;
  requireLength("prepared.covariance", covariance, own.width ** 2, square);
  requireLength("prepared.factor", factor, own.width ** 2, square);
  return prepared;
}

/** Of states [contexts, width] with an operator over the same contexts. Errors: `bad_shape`; `bad_option` for rows that are no matrix, leading eigenvectors that are no number of them, a ridge below 0, and what is prepared of other states. */
export async function alignmentOf(
  states: Rows,
  operator: PredictiveOperator,
  products: Products,
  {
    leading = [8, 16, 32],
    ridge = 1e-4,
    prepared,
  }: {
    /** Numbers of leading eigenvectors to compare with. Default: 8, 16 and 32. */
    readonly leading?: readonly number[];
    /** Added to the diagonal of the covariance, as a share. Default: 1e-4. */
    readonly ridge?: number;
    /** What `prepareStates` made of these states. Default: it is made here. */
    readonly prepared?: PreparedStates;
  } = {},
): Promise<Alignment> {
  const { features, eigenvalues, eigenvectors, norm } = operator;
  ensure(states.count === features.count, "bad_shape", () => {
    return `alignment: ${states.count} states and ${features.count} distributions are of different contexts`;
  });
  requireRows("states", states);
  requireRows("features", features);
  requireRows("eigenvectors", eigenvectors);
  ensure(eigenvectors.count === features.count && eigenvectors.width === eigenvalues.length, "bad_option", () => {
    return `eigenvectors are [${eigenvectors.count}, ${eigenvectors.width}], and there are ${eigenvalues.length} eigenvalues of ${features.count} contexts`;
  });
  for (const m of leading) requireCounts({ "a number of leading eigenvectors": m });
  const { own, covariance, factor } = preparedFor(states, prepared ?? prepareStates(states, ridge));
  const { width, count } = own;
  const moment = await products.transposedTimes(own, features);
  const c = { ...moment, values: Float64Array.from(moment.values, (x) => x / count) };
  const gain = whitenedProduct(factor, width, c, c);
  const most = eigenvalues.subarray(0, width).reduce((a, b) => a + b, 0);
  const overlap = Object.fromEntries(
    leading
      .filter((m) => m <= eigenvalues.length)
      .map((m) => {
        const u = { count, width: m, values: new Float64Array(count * m) };
        for (let row = 0; row < count; row++) u.values.set(rowOf(eigenvectors, row).subarray(0, m), row * m);
        const along = { count: width, width: m, values: crossMoment(own, u).map((x) => x * Math.sqrt(count)) };
        return [m, whitenedProduct(factor, width, along, along) / m];
      }),
  );
  let [both, ofStates] = [0, 0];
  for (const x of c.values) both += x * x;
  for (const x of covariance) ofStates += x * x;
  return { gain, captured: most > 0 ? gain / most : 0, overlap, similarity: both / (Math.sqrt(ofStates) * norm) };
}

/**
 * Share of the next token's variance that a linear reading of whitened states explains, with the tokens that came for C: nothing of the model's own head is in it. Two halves of
 * the contexts give a C each, so that what they share is no noise. Around 0 for states that tell nothing. Errors: as `prepareStates`; `bad_option` for tokens that are not one of the vocabulary for each
 * state, and for what is prepared of other states.
 */
export function explainedShare(
  states: Rows,
  tokens: ArrayLike<number>,
  vocabulary: number,
  prepared: PreparedStates = prepareStates(states),
): number {
  requireRows("states", states);
  requireCounts({ vocabulary });
  requireLength("tokens", tokens, states.count, () => "one for each state");
  requireIndices("tokens", tokens, vocabulary);
  const { own, factor } = preparedFor(states, prepared);
  const { width, count } = own;
  const halves = [0, 1].map((half) => {
    const values = zeros(width, vocabulary);
    const rows = Array.from({ length: count }, (_, row) => row).filter((row) => row % 2 === half);
    const mean = new Float64Array(width);
    for (const row of rows) for (let i = 0; i < width; i++) mean[i] += own.values[row * width + i] / rows.length;
    for (const row of rows)
      for (let i = 0; i < width; i++)
        values[i * vocabulary + tokens[row]] += (own.values[row * width + i] - mean[i]) / rows.length;
    return { count: width, width: vocabulary, values };
  });
  const counts = new Float64Array(vocabulary);
  for (let row = 0; row < count; row++) counts[tokens[row]] += 1 / count;
  const variance = 1 - counts.reduce((sum, p) => sum + p * p, 0);
  return variance > 0 ? whitenedProduct(factor, width, halves[0], halves[1]) / variance : 0;
}

/** ½ mean K(c, c') ‖h̃_c - h̃_c'‖² of whitened states: low where states are alike as predictions are. Negative entries of K count as 0. Errors: as `whitened`; `bad_option` for a kernel of other contexts. */
export function dirichletEnergy(states: Rows, kernel: Float64Array, ridge = 1e-4): number {
  const { count, values, width } = whitened(states, ridge);
  requireLength("kernel", kernel, count * count, () => `a square of ${count} contexts`);
  requireFinite("kernel", kernel);
  let sum = 0;
  for (let a = 0; a < count; a++)
    for (let b = 0; b < a; b++) {
      let squares = 0;
      for (let i = 0; i < width; i++) squares += (values[a * width + i] - values[b * width + i]) ** 2;
      sum += Math.max(0, kernel[a * count + b]) * squares;
    }
  return sum / (count * count);
}

/** E <h̃_c, h̃_c'> K(c, c') of whitened states: what the paper's spectral statement says that training raises. Errors: as `whitened`; `bad_option` for a kernel of other contexts. */
export function rayleighQuotient(states: Rows, kernel: Float64Array, ridge = 1e-4): number {
  const { count, values, width } = whitened(states, ridge);
  requireLength("kernel", kernel, count * count, () => `a square of ${count} contexts`);
  requireFinite("kernel", kernel);
  let sum = 0;
  for (let a = 0; a < count; a++)
    for (let b = 0; b < count; b++) {
      let product = 0;
      for (let i = 0; i < width; i++) product += values[a * width + i] * values[b * width + i];
      sum += product * kernel[a * count + b];
    }
  return sum / (count * count);
}

/** Products for one measurement. */
export async function withProducts<T>(work: (products: Products) => Promise<T>, threads?: number): Promise<T> {
  const products = await openProducts(threads);
  try {
    return await work(products);
  } finally {
    await products.release();
  }
}
