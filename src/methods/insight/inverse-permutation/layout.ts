/** The task: where permutation, list and scratch rows stand in an input, and which rows are read as the list in its order. */
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";

/** Where things stand among the rows of an input: P from `order` on, P·Y from `values` on, and the rows that are read as Y from `read` on, `n` of each. */
export interface Layout {
  /** Length of the list, and width of a row. */
  readonly n: number;
  readonly rows: number;
  readonly order: number;
  readonly values: number;
  readonly read: number;
}

/** Rows that a program may have: its matrices grow with their square. */
export const mostRows = 1024;

/**
 * `[before scratch rows; P; P·Y; after scratch rows]`. Read are the first rows of P (`order`: what the paper reads where there is no mask), those of P·Y, or the last
 * n rows there are. The paper's theorems have 0 and n scratch rows behind; its experiments n before and n behind. Errors: `bad_option`.
 */
export function layoutOf(
  n: number,
  { before = 0, after = 0, read = after > 0 ? "last" : "order" }: LayoutOptions = {},
): Layout {
  requireCounts({ "inverse permutation: n": n });
  requireWhole({ "inverse permutation: before": before, "inverse permutation: after": after }, 0);
  const rows = before + 2 * n + after;
  ensure(rows <= mostRows, "bad_option", `inverse permutation: ${rows} rows are more than ${mostRows}`);
  const places = { order: before, values: before + n, last: rows - n };
  return { n, rows, order: places.order, values: places.values, read: places[read] };
}

/** What a layout has beside the list, and what is read of it. */
export interface LayoutOptions {
  /** Scratch rows before P. Default 0. */
  readonly before?: number;
  /** Scratch rows behind P·Y. Default 0. */
  readonly after?: number;
  /** Which rows are read as the list: those of P, of P·Y, or the last n. Default: the last where there are rows behind, otherwise those of P. */
  readonly read?: "order" | "values" | "last";
}

/** Errors: `bad_option` for a layout put together by hand whose rows do not lie in the input. */
export function requireLayout({ n, rows, order, values, read }: Layout): void {
  requireWhole({ n }, 1, mostRows);
  requireWhole({ rows }, 2 * n, mostRows);
  requireWhole({ order, values, read }, 0, rows - n);
}

/** Errors: `bad_option` naming the place that is no index, is repeated or is missing. */
export function checkPermutation(permutation: readonly number[]): void {
  const n = permutation.length;
  const seen = new Set<number>();
  for (const [i, to] of permutation.entries()) {
    const fits = Number.isInteger(to) && to >= 0 && to < n;
    ensure(fits, "bad_option", `no permutation: entry ${i} is ${to}, and must be a whole number from 0 to ${n - 1}`);
    ensure(!seen.has(to), "bad_option", `no permutation: ${to} is in it twice, at entry ${i} again`);
    seen.add(to);
  }
  ensure(n > 0, "bad_option", "no permutation: it is empty");
}

/** π of a matrix with one 1 in each row and column. Errors: `bad_option` naming the row or column that has not. */
export function permutationOf(matrix: readonly (readonly number[])[]): number[] {
  const result = matrix.map((row, i) => {
    const ones = row.flatMap((value, j) => (value === 1 ? [j] : []));
    const others = row.some((value) => value !== 0 && value !== 1);
    ensure(
      row.length === matrix.length && ones.length === 1 && !others,
      "bad_option",
      `no permutation matrix: row ${i} must have ${matrix.length} entries, a single 1 and zeros`,
    );
    return ones[0];
  });
  checkPermutation(result);
  return result;
}

/** X [rows, n] for a permutation and a list of n rows; `scratch` fills the rows before and behind, which hold zeros otherwise. Errors: `bad_option`. */
export function inputOf(
  layout: Layout,
  permutation: readonly number[],
  list: readonly (readonly number[])[],
  scratch?: (row: number, column: number) => number,
): Float32Array {
  requireLayout(layout);
  const { n, rows, order, values } = layout;
  checkPermutation(permutation);
  ensure(permutation.length === n, "bad_option", `the permutation has ${permutation.length} entries, the layout ${n}`);
  ensure(
    list.length === n && list.every((row) => row.length === n && row.every(Number.isFinite)),
    "bad_option",
    `the list must have ${n} rows of ${n} finite numbers`,
  );
  const x = new Float32Array(rows * n);
  if (scratch)
    for (let row = 0; row < rows; row++)
      if (row < order || row >= values + n)
        for (let column = 0; column < n; column++) x[row * n + column] = scratch(row, column);
  for (const [i, to] of permutation.entries()) {
    x[(order + i) * n + to] = 1;
    x.set(list[to], (values + i) * n);
  }
  return x;
}

/** Which read rows can hold their row of Y under a causal mask at all: those that do not stand before the row of P·Y that has it. Errors: `bad_option`. */
export function reachable(layout: Layout, permutation: readonly number[]): boolean[] {
  requireLayout(layout);
  checkPermutation(permutation);
  const { values, read } = layout;
  const result = new Array<boolean>(permutation.length).fill(false);
  for (const [i, to] of permutation.entries()) result[to] = values + i <= read + to;
  return result;
}
