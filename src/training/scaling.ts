/** How held-out loss falls with size and tokens, fitted to short runs: what says which size a machine's time makes best. */
import { ensure } from "../errors.ts";

export interface ScalingPoint {
  readonly parameters: number;
  readonly tokens: number;
  /** Held out, nats a token. */
  readonly loss: number;
}

/** loss = floor + a / parameters^alpha + b / tokens^beta (Hoffmann et al. 2022, equation 2). */
export interface ScalingFit {
  readonly floor: number;
  readonly a: number;
  readonly alpha: number;
  readonly b: number;
  readonly beta: number;
  /** Root of the mean squared difference of the logarithms of loss and fit. */
  readonly error: number;
}

export const predictedLoss = (
  { floor, a, alpha, b, beta }: ScalingFit,
  { parameters, tokens }: Pick<ScalingPoint, "parameters" | "tokens">,
): number => floor + a / parameters ** alpha + b / tokens ** beta;

const grid = (low: number, high: number, step: number): number[] =>
  Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);

/**
 * The exponents of a grid whose least squares, weighted to compare logarithms, leave least; floor, a and b are not negative. Few points
 * say little of the exponents by themselves: what is near the points is what can be read off. Errors: `bad_option` for fewer than five
 * points, or all of one size or one number of tokens.
 */
export function fitScaling(points: readonly ScalingPoint[]): ScalingFit {
  ensure(points.length >= 5, "bad_option", `scaling: ${points.length} runs are too few for five unknowns`);
  for (const of of ["parameters", "tokens"] as const)
    ensure(
      new Set(points.map((point) => point[of])).size > 1,
      "bad_option",
      `scaling: all runs have the same number of ${of}`,
    );
  const smallest = (of: "parameters" | "tokens") => Math.min(...points.map((point) => point[of]));
  const [size, length] = [smallest("parameters"), smallest("tokens")];
  let best: ScalingFit | undefined;
  for (const alpha of grid(0.1, 1, 0.02))
    for (const beta of grid(0.1, 1, 0.02)) {
      const rows = points.map(({ parameters, tokens, loss }) =>
        [1, (size / parameters) ** alpha, (length / tokens) ** beta].map((x) => x / loss),
      );
      const [floor, a, b] = nonNegativeLeastSquares(rows);
      const fit = { floor, a: a * size ** alpha, alpha, b: b * length ** beta, beta };
      const squares = points.map((point) => Math.log(predictedLoss({ ...fit, error: 0 }, point) / point.loss) ** 2);
      const error = Math.sqrt(squares.reduce((x, y) => x + y) / points.length);
      if (!best || error < best.error) best = { ...fit, error };
    }
  return best!;
}

/** x ≥ 0 with least |rows · x - 1|: the best of the solutions that leave some of the three at 0. */
function nonNegativeLeastSquares(rows: readonly (readonly number[])[]): number[] {
  let best = { left: Number.POSITIVE_INFINITY, x: [0, 0, 0] };
  for (let used = 1; used < 8; used++) {
    const columns = [0, 1, 2].filter((k) => used & (1 << k));
    const solution = solve(
      columns.map((i) => columns.map((j) => rows.reduce((sum, row) => sum + row[i] * row[j], 0))),
      columns.map((i) => rows.reduce((sum, row) => sum + row[i], 0)),
    );
    if (!solution?.every((value) => value >= 0)) continue;
    const x = [0, 0, 0];
    for (const [i, column] of columns.entries()) x[column] = solution[i];
    const left = rows.reduce((sum, row) => sum + (row.reduce((s, r, k) => s + r * x[k], 0) - 1) ** 2, 0);
    if (left < best.left) best = { left, x };
  }
  return best.x;
}

/** Gauss with pivots; undefined where the matrix is singular to rounding. */
function solve(matrix: number[][], right: number[]): number[] | undefined {
  const n = right.length;
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(matrix[i][k]) > Math.abs(matrix[pivot][k])) pivot = i;
    [matrix[k], matrix[pivot]] = [matrix[pivot], matrix[k]];
    [right[k], right[pivot]] = [right[pivot], right[k]];
    if (Math.abs(matrix[k][k]) < 1e-14) return undefined;
    for (let i = k + 1; i < n; i++) {
      const factor = matrix[i][k] / matrix[k][k];
      for (let j = k; j < n; j++) matrix[i][j] -= factor * matrix[k][j];
      right[i] -= factor * right[k];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let j = k + 1; j < n; j++) right[k] -= matrix[k][j] * right[j];
    right[k] /= matrix[k][k];
  }
  return right;
}
