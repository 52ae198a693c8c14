/** What the measurements refuse: rows that are no matrix, distributions that are none, and matrices that fit no memory. */
import { ensure, VentrisError } from "../../../errors.ts";
import { requireCounts } from "../../../numbers.ts";
import type { Rows } from "./rows.ts";

/** Errors: `bad_option` for a count or width that is none, and for as many values as do not fill the rows. */
export function requireRows(name: string, { count, width, values }: Rows): void {
  // Each row that is looked at asks for this: names are put together where something is wrong alone.
  const sound = Number.isSafeInteger(count) && count >= 1 && Number.isSafeInteger(width) && width >= 1;
  if (sound && values.length === count * width) return;
  requireCounts({ [`${name}.count`]: count, [`${name}.width`]: width });
  requireLength(`${name}.values`, values, count * width, () => `${count} rows of ${width}`);
}

/** Errors: `bad_option` for a list of another length, naming it. */
export function requireLength(name: string, list: ArrayLike<unknown>, length: number, what: () => string): void {
  ensure(list.length === length, "bad_option", () => {
    return `${name} has ${list.length} entries, and ${what()} has ${length}`;
  });
}

/** Errors: `bad_option` for entries that are not finite. */
export function requireFinite(name: string, list: ArrayLike<number>): void {
  for (let at = 0; at < list.length; at++)
    if (!Number.isFinite(list[at]))
      throw new VentrisError("bad_option", `${name}[${at}] is ${list[at]}, which is not finite`);
}

/** Errors: `bad_shape` for an entry that is no share. */
export function requireShares(q: ArrayLike<number>): void {
  for (let v = 0; v < q.length; v++)
    if (!(q[v] >= 0 && q[v] <= Number.MAX_VALUE))
      throw new VentrisError("bad_shape", `a distribution has ${q[v]} at token ${v}`);
}

/** Errors: `bad_shape` for two distributions that are not over the same tokens. */
export function requireSameTokens(p: ArrayLike<number>, q: ArrayLike<number>): void {
  ensure(p.length === q.length, "bad_shape", () => {
    return `distributions of ${p.length} and ${q.length} tokens cannot be compared`;
  });
}

/** A gibibyte in float64. */
const mostEntries = 2 ** 27;

/** Zeros [rows, columns]. Errors: `bad_option` for more than fit a memory. */
export function zeros(rows: number, columns: number): Float64Array {
  ensure(rows * columns <= mostEntries, "bad_option", () => {
    return `a matrix of ${rows} by ${columns} has more than ${mostEntries} numbers: give fewer or narrower rows`;
  });
  return new Float64Array(rows * columns);
}
