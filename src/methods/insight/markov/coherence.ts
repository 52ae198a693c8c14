/** I(H_t; H_(t+1)): how much a state tells of the one that follows, by two estimates, neither of which is exact. */
import { ensure } from "../../../errors.ts";
import { requireCounts } from "../../../numbers.ts";
import { cholesky, solveLower, symmetricEigen } from "../../signals/matrix.ts";
import { requireRows } from "./checks.ts";
import { spectrumOf } from "./fisher.ts";
import { centred, crossMoment, type Rows, rowOf } from "./rows.ts";

/** Information that states share, by two estimates. */
export interface Coherence {
  /** -½ Σ ln(1 - ρ²) over canonical correlations: the information of Gaussian states. */
  readonly gaussian: number;
  /** InfoNCE on contexts that the correlations were not taken from, by their critic: a lower bound, ln(batch) at most. */
  readonly contrastive: number;
  readonly correlations: readonly number[];
}

/** Directions of states that are looked at. */
const usualComponents = 16;

/** States that a coherence needs at least, of this width. Errors: `bad_option` for numbers that are no counts. */
export function leastStates(width: number, components = usualComponents): number {
  requireCounts({ width, components });
  return 4 * Math.min(components, width) + 2;
}

/** Pairs of states [contexts, width], row by row, in their `components` leading principal directions. Errors: `bad_shape` for too few of them; `bad_option` for rows that are no matrix, and numbers that are no counts. */
export function temporalCoherence(
  now: Rows,
  next: Rows,
  {
    components = usualComponents,
    batch = 64,
  }: {
    /** Leading principal directions. Default: 16. */
    readonly components?: number;
    /** Contexts that the contrastive bound tells apart. Default: 64. */
    readonly batch?: number;
  } = {},
): Coherence {
  requireRows("now", now);
  requireRows("next", next);
  requireCounts({ components, batch });
  const half = Math.floor(now.count / 2);
  const size = Math.min(components, now.width, next.width);
  ensure(
    now.count === next.count && now.count >= leastStates(Math.min(now.width, next.width), components),
    "bad_shape",
    () => {
      return `coherence: ${now.count} and ${next.count} states are too few for ${size} components, or no pairs`;
    },
  );
  const fitted = [now, next].map((states) => principal(states, size, half));
  const [x, y] = fitted.map(({ width, values }) => ({ count: half, width, values: values.subarray(0, half * width) }));
  const [xx, yy, xy] = [crossMoment(x, x), crossMoment(y, y), crossMoment(x, y)];
  for (const matrix of [xx, yy]) {
    for (let i = 0; i < size; i++) matrix[i * size + i] += 1e-8;
    ensure(cholesky(matrix, matrix, size), "bad_shape", "coherence: the states do not vary");
  }
  // Lx⁻¹ Sxy Ly⁻ᵀ, whose singular values are the correlations.
  const middle = new Float64Array(size * size);
  for (let j = 0; j < size; j++) {
    const column = Float64Array.from({ length: size }, (_, i) => xy[i * size + j]);
    solveLower(xx, column, size);
    for (let i = 0; i < size; i++) middle[i * size + j] = column[i];
  }
  for (let i = 0; i < size; i++) {
    const row = middle.slice(i * size, (i + 1) * size);
    solveLower(yy, row, size);
    middle.set(row, i * size);
  }
  const gram = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      for (let k = 0; k < size; k++) gram[i * size + j] += middle[k * size + i] * middle[k * size + j];
  const [values, right] = [new Float64Array(size), new Float64Array(size * size)];
  symmetricEigen(values, right, gram, size);
  const correlations = Array.from(values, (value) => Math.min(0.9999, Math.sqrt(Math.max(0, value))));
  // Canonical variates of the other half: u = Vᵀ Lx⁻¹ x with V = M R / ρ, v = Rᵀ Ly⁻¹ y.
  const variates = fitted.map(({ values: all }, side) =>
    Array.from({ length: now.count - half }, (_, i) => {
      const row = Float64Array.from(all.subarray((half + i) * size, (half + i + 1) * size));
      solveLower(side === 0 ? xx : yy, row, size);
      const turned =
        side === 0
          ? Float64Array.from({ length: size }, (_, j) => sumOf(size, (k) => middle[k * size + j] * row[k]))
          : row;
      return correlations.map((rho, c) => {
        const along = sumOf(size, (j) => right[j * size + c] * turned[j]);
        return side === 0 ? along / Math.max(rho, 1e-6) : along;
      });
    }),
  );
  const critic = (u: readonly number[], v: readonly number[]): number =>
    correlations.reduce(
      (sum, rho, c) => sum + (rho * u[c] * v[c] - 0.5 * rho * rho * (u[c] ** 2 + v[c] ** 2)) / (1 - rho * rho),
      0,
    );
  let [contrastive, batches] = [0, 0];
  for (let from = 0; from + batch <= variates[0].length; from += batch) {
    for (let i = 0; i < batch; i++) {
      const scores = Array.from({ length: batch }, (_, j) => critic(variates[0][from + i], variates[1][from + j]));
      const most = Math.max(...scores);
      const total = Math.log(scores.reduce((sum, s) => sum + Math.exp(s - most), 0)) + most;
      contrastive += (scores[i] - total + Math.log(batch)) / batch;
    }
    batches++;
  }
  return {
    gaussian: correlations.reduce((sum, rho) => sum - 0.5 * Math.log(1 - rho * rho), 0),
    contrastive: batches > 0 ? contrastive / batches : Number.NaN,
    correlations: [...correlations].sort((a, b) => b - a),
  };
}

const sumOf = (count: number, term: (i: number) => number): number => {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += term(i);
  return sum;
};

/** States in the leading principal directions of their first `fit` rows. */
function principal(states: Rows, size: number, fit: number): { count: number; width: number; values: Float64Array } {
  const own = centred(states);
  const { width, count } = own;
  const first = { count: fit, width, values: own.values.subarray(0, fit * width) };
  const { vectors } = spectrumOf(crossMoment(first, first), width);
  const values = new Float64Array(count * size);
  for (let row = 0; row < count; row++) {
    const h = rowOf(own, row);
    for (let c = 0; c < size; c++) values[row * size + c] = sumOf(width, (i) => h[i] * vectors[i * width + c]);
  }
  return { count, width: size, values };
}
