/**
 * Small dense matrices, row-major in Float64Array, computed in place into arrays that the caller owns: a filter's step allocates
 * nothing. Sizes are passed along, and nobody checks them here but `matrix` and `selectRows`, which callers of the library have.
 */
import { ensure, VentrisError } from "../../errors.ts";
import { requireIndices, requireWhole } from "../../numbers.ts";

/** A matrix in float64, row by row. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns]. */
  readonly data: Float64Array;
}

/** Two gibibytes in float64. */
const mostNumbers = 2 ** 28;

/**
 * A matrix of these values; of zeros where none are given. Errors: `bad_option` for rows or columns that are no count, values of another number, and
 * more zeros than two gibibytes hold.
 */
export function matrix(rows: number, columns: number, data?: Float64Array): Matrix {
  requireWhole({ rows, columns }, 0);
  if (data === undefined) {
    ensure(rows * columns <= mostNumbers, "bad_option", () => {
      return `matrix: rows and columns of ${rows} and ${columns} are more than ${mostNumbers} numbers`;
    });
    return { rows, columns, data: new Float64Array(rows * columns) };
  }
  ensure(data.length === rows * columns, "bad_option", () => {
    return `matrix: data has ${data.length} numbers, and ${rows} rows of ${columns} have ${rows * columns}`;
  });
  return { rows, columns, data };
}

/** out [m, n] = a [m, k] · b [k, n]. */
export function multiply(out: Float64Array, a: Float64Array, b: Float64Array, m: number, k: number, n: number): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[i * k + p] * b[p * n + j];
      out[i * n + j] = sum;
    }
  }
}

/** out [m, n] = a [m, k] · bᵀ, b [n, k]. */
export function multiplyTransposed(
  out: Float64Array,
  a: Float64Array,
  b: Float64Array,
  m: number,
  k: number,
  n: number,
): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[i * k + p] * b[j * k + p];
      out[i * n + j] = sum;
    }
  }
}

/** out [m] = a [m, n] · x [n]. */
export function apply(out: Float64Array, a: Float64Array, x: ArrayLike<number>, m: number, n: number): void {
  for (let i = 0; i < m; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += a[i * n + j] * x[j];
    out[i] = sum;
  }
}

/** out [m, m] = a [m, n] · p [n, n] · aᵀ + q, symmetric; scratch [m, n]; q undefined is zero. */
export function sandwich(
  out: Float64Array,
  a: Float64Array,
  p: Float64Array,
  q: Float64Array | undefined,
  scratch: Float64Array,
  m: number,
  n: number,
): void {
  multiply(scratch, a, p, m, n, n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += scratch[i * n + k] * a[j * n + k];
      if (q) sum += 0.5 * (q[i * m + j] + q[j * m + i]);
      out[i * m + j] = sum;
      out[j * m + i] = sum;
    }
  }
}

/** The mean of a and its transpose. */
export function symmetrise(a: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const mean = 0.5 * (a[i * n + j] + a[j * n + i]);
      a[i * n + j] = mean;
      a[j * n + i] = mean;
    }
  }
}

export function trace(a: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[i * n + i];
  return sum;
}

/**
 * Cholesky factor of a symmetric matrix: out · outᵀ = a, lower; the upper part of `out` becomes zero. False, with `out` spoilt, when
 * a pivot is not above `tolerance`: a is not positive definite. `out` may be a itself.
 */
export function cholesky(out: Float64Array, a: Float64Array, n: number, tolerance = 0): boolean {
  for (let j = 0; j < n; j++) {
    let pivot = a[j * n + j];
    for (let k = 0; k < j; k++) pivot -= out[j * n + k] * out[j * n + k];
    if (!(pivot > tolerance)) return false;
    const root = Math.sqrt(pivot);
    out[j * n + j] = root;
    const inverse = 1 / root;
    for (let i = j + 1; i < n; i++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= out[i * n + k] * out[j * n + k];
      out[i * n + j] = sum * inverse;
    }
  }
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) out[i * n + j] = 0;
  return true;
}

/**
 * `cholesky`, adding jitter to the diagonal where needed: 1e-9 · trace / n, then ten times as much, and so on. Returns the jitter.
 * Errors: `bad_option` when even a jitter as large as the matrix does not help; `what` names the matrix.
 */
export function choleskyWithJitter(out: Float64Array, a: Float64Array, n: number, what: string): number {
  if (cholesky(out, a, n)) return 0;
  const scale = Math.abs(trace(a, n)) / n || 1;
  const lifted = Float64Array.from(a);
  // Counted: of a scale too small for a share of it, ten times as much is no more.
  const most = Number.isFinite(scale) ? 10 : 0;
  for (let [tries, jitter] = [0, 1e-9 * scale]; tries < most; tries++, jitter *= 10) {
    for (let i = 0; i < n; i++) lifted[i * n + i] = a[i * n + i] + jitter;
    if (cholesky(out, lifted, n)) return jitter;
  }
  throw new VentrisError(
    "bad_option",
    `${what} is no covariance: it is not finite or far from positive semi-definite; look for non-finite or contradicting values in the data`,
  );
}

/** b [n] ← L⁻¹ b. */
export function solveLower(l: Float64Array, b: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    let sum = b[i];
    for (let k = 0; k < i; k++) sum -= l[i * n + k] * b[k];
    b[i] = sum / l[i * n + i];
  }
}

/** b [n] ← L⁻ᵀ b. */
export function solveLowerTransposed(l: Float64Array, b: Float64Array, n: number): void {
  for (let i = n - 1; i >= 0; i--) {
    let sum = b[i];
    for (let k = i + 1; k < n; k++) sum -= l[k * n + i] * b[k];
    b[i] = sum / l[i * n + i];
  }
}

/** b [n] ← (L Lᵀ)⁻¹ b. */
export function choleskySolve(l: Float64Array, b: Float64Array, n: number): void {
  solveLower(l, b, n);
  solveLowerTransposed(l, b, n);
}

/** out = (L Lᵀ)⁻¹, symmetric; scratch [n, n] gets L⁻¹. */
export function choleskyInverse(out: Float64Array, l: Float64Array, scratch: Float64Array, n: number): void {
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < j; i++) scratch[i * n + j] = 0;
    scratch[j * n + j] = 1 / l[j * n + j];
    for (let i = j + 1; i < n; i++) {
      let sum = 0;
      for (let k = j; k < i; k++) sum -= l[i * n + k] * scratch[k * n + j];
      scratch[i * n + j] = sum / l[i * n + i];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = i; k < n; k++) sum += scratch[k * n + i] * scratch[k * n + j];
      out[i * n + j] = sum;
      out[j * n + i] = sum;
    }
  }
}

/**
 * Eigen-decomposition of a symmetric matrix by Jacobi's rotations: a = V diag(values) Vᵀ, eigenvectors in V's columns. `a` is spoilt.
 */
export function symmetricEigen(values: Float64Array, vectors: Float64Array, a: Float64Array, n: number): void {
  vectors.fill(0);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    let diagonal = 0;
    for (let i = 0; i < n; i++) {
      diagonal += a[i * n + i] * a[i * n + i];
      for (let j = 0; j < i; j++) off += a[i * n + j] * a[i * n + j];
    }
    if (off <= 1e-30 * diagonal || off === 0) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(vectors, a, n, p, q);
  }
  for (let i = 0; i < n; i++) values[i] = a[i * n + i];
}

function rotate(vectors: Float64Array, a: Float64Array, n: number, p: number, q: number): void {
  const apq = a[p * n + q];
  if (apq === 0) return;
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < n; k++) {
    const [x, y] = [a[k * n + p], a[k * n + q]];
    a[k * n + p] = c * x - s * y;
    a[k * n + q] = s * x + c * y;
  }
  for (let k = 0; k < n; k++) {
    const [x, y] = [a[p * n + k], a[q * n + k]];
    a[p * n + k] = c * x - s * y;
    a[q * n + k] = s * x + c * y;
    const [v, w] = [vectors[k * n + p], vectors[k * n + q]];
    vectors[k * n + p] = c * v - s * w;
    vectors[k * n + q] = s * v + c * w;
  }
}

/**
 * Least squares of y [rows, d] on x [rows, n]: W [d, n] = Yᵀ X (Xᵀ X + ridge I)⁻¹, without an intercept. A singular XᵀX is lifted
 * by jitter, which amounts to a vanishing ridge.
 */
export function leastSquares(x: Matrix, y: Matrix, ridge = 0): Matrix {
  const [n, d] = [x.columns, y.columns];
  const gram = new Float64Array(n * n);
  const cross = matrix(d, n);
  for (let row = 0; row < x.rows; row++) {
    for (let i = 0; i < n; i++) {
      const xi = x.data[row * n + i];
      for (let j = 0; j <= i; j++) gram[i * n + j] += xi * x.data[row * n + j];
      for (let k = 0; k < d; k++) cross.data[k * n + i] += y.data[row * d + k] * xi;
    }
  }
  for (let i = 0; i < n; i++) {
    gram[i * n + i] += ridge;
    for (let j = 0; j < i; j++) gram[j * n + i] = gram[i * n + j];
  }
  const factor = new Float64Array(n * n);
  choleskyWithJitter(factor, gram, n, "the Gram matrix of the regressors");
  for (let k = 0; k < d; k++) choleskySolve(factor, cross.data.subarray(k * n, (k + 1) * n), n);
  return cross;
}

/** Σ (a - mean)(a - mean)ᵀ / rows over the rows, [columns, columns]; mean undefined is zero. */
export function covariance(a: Matrix, mean?: Float64Array): Matrix {
  const n = a.columns;
  const out = matrix(n, n);
  for (let row = 0; row < a.rows; row++) {
    for (let i = 0; i < n; i++) {
      const x = a.data[row * n + i] - (mean?.[i] ?? 0);
      for (let j = 0; j <= i; j++) out.data[i * n + j] += x * (a.data[row * n + j] - (mean?.[j] ?? 0));
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      out.data[i * n + j] /= a.rows;
      out.data[j * n + i] = out.data[i * n + j];
    }
  }
  return out;
}

export function columnMeans(a: Matrix): Float64Array {
  const means = new Float64Array(a.columns);
  for (let i = 0; i < a.data.length; i++) means[i % a.columns] += a.data[i];
  for (let j = 0; j < a.columns; j++) means[j] /= a.rows;
  return means;
}

/** The given rows, in their order, as a matrix of its own. Errors: `bad_option` for what is no matrix, and for rows that it has not. */
export function selectRows(a: Matrix, rows: ArrayLike<number>): Matrix {
  matrix(a.rows, a.columns, a.data);
  requireIndices("rows", rows, a.rows);
  const out = matrix(rows.length, a.columns);
  for (let i = 0; i < rows.length; i++) {
    out.data.set(a.data.subarray(rows[i] * a.columns, (rows[i] + 1) * a.columns), i * a.columns);
  }
  return out;
}
