import { ensure, VentrisError } from "../errors.ts";

/**
 * A dimension is a number, or a name for a size known only when the program runs ("rows"). Names combine into products
 * ("3*rows") and sums ("rows+slots") in one canonical spelling, so that equal sizes compare equal as strings.
 */
export type Dimension = number | string;
/** Sizes of the axes; a name stands for a size that is only known at run time. */
export type Shape = readonly Dimension[];

/** A shape for messages. */
export const shapeText = (shape: Shape): string => `[${shape.join(", ")}]`;

export function shapeError(operation: string, a: Shape, b: Shape, why: string): VentrisError {
  return new VentrisError("bad_shape", `${operation}: ${shapeText(a)} and ${shapeText(b)} ${why}`);
}

/** Product of dimensions, split into its numeric factor and its sorted names. */
function factors(shape: Shape): { factor: number; names: string[] } {
  let factor = 1;
  const names: string[] = [];
  for (const dimension of shape) {
    if (typeof dimension === "number") factor *= dimension;
    else if (dimension.includes("+")) names.push(dimension);
    else {
      for (const part of dimension.split("*")) {
        if (/^\d+$/.test(part)) factor *= Number(part);
        else names.push(part);
      }
    }
  }
  return { factor, names: names.sort() };
}

/** Number of elements as one dimension. */
export function product(shape: Shape): Dimension {
  const { factor, names } = factors(shape);
  if (names.length === 0 || factor === 0) return factor;
  return (factor === 1 ? names : [String(factor), ...names]).join("*");
}

/** Number of elements as a tensor-free dimension; refuses named ones. Errors: `bad_shape`, for sizes that are none as well. */
export function elementCount(shape: Shape): number {
  const size = product(shape);
  ensure(
    typeof size === "number",
    "bad_shape",
    () => `the number of elements of ${shapeText(shape)} is not known before the program runs`,
  );
  const sound = shape.every((size) => typeof size === "string" || (Number.isInteger(size) && size >= 0));
  ensure(sound, "bad_shape", () => `${shapeText(shape)} is no shape: sizes are whole numbers from 0 on`);
  return size;
}

export function sum(dimensions: Shape): Dimension {
  const terms = dimensions.flatMap((d) => String(d).split("+"));
  const numeric = terms.filter((term) => /^\d+$/.test(term)).reduce((total, term) => total + Number(term), 0);
  const names = terms.filter((term) => !/^\d+$/.test(term)).sort();
  if (names.length === 0) return numeric;
  return (numeric === 0 ? names : [...names, String(numeric)]).join("+");
}

/** Whether two shapes have the same sizes, names included. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
}

/** NumPy broadcasting. */
export function broadcast(operation: string, a: Shape, b: Shape): Dimension[] {
  const rank = Math.max(a.length, b.length);
  const result: Dimension[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw shapeError(operation, a, b, "cannot be broadcast together");
    result.push(x === 1 ? y : x);
  }
  return result;
}

/** Fills in at most one -1 and checks that the number of elements stays the same. */
export function reshaped(from: Shape, to: Shape): Dimension[] {
  const unknown = to.indexOf(-1);
  const sound = to.every((d, i) => typeof d === "string" || (Number.isInteger(d) && d >= 0) || i === unknown);
  if (!sound)
    throw shapeError("reshape", from, to, "do not fit: one dimension may be -1, the others are whole and not negative");
  if (unknown >= 0) {
    const rest = factors(to.filter((_, i) => i !== unknown));
    const all = factors(from);
    const names = [...all.names];
    for (const name of rest.names) {
      const at = names.indexOf(name);
      if (at < 0) throw shapeError("reshape", from, to, "hold different numbers of elements");
      names.splice(at, 1);
    }
    const factor = all.factor / rest.factor;
    if (!Number.isInteger(factor)) throw shapeError("reshape", from, to, "hold different numbers of elements");
    return to.map((dimension, i) => (i === unknown ? product([factor, ...names]) : dimension));
  }
  if (product(from) !== product(to)) throw shapeError("reshape", from, to, "hold different numbers of elements");
  return [...to];
}

export function normalizeAxis(operation: string, axis: number, shape: Shape): number {
  const result = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || result < 0 || result >= shape.length) {
    throw new VentrisError("bad_shape", `${operation}: axis ${axis} is outside ${shapeText(shape)}`);
  }
  return result;
}
