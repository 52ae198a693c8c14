/** The operations models are written in. Each checks shapes and types at once and names itself and both shapes when they do not fit. */

import { ensure, VentrisError } from "../errors.ts";
import { requireWhole } from "../numbers.ts";
import {
  broadcast,
  type Dimension,
  normalizeAxis,
  product,
  reshaped,
  type Shape,
  sameShape,
  shapeError,
  shapeText,
  sum,
} from "./shape.ts";
import { constant, createTensor, type ElementType, scalar, type Tensor } from "./tensor.ts";

type Operand = Tensor | number;
const asTensor = (value: Operand): Tensor => (typeof value === "number" ? scalar(value) : value);

function requireType(operation: string, tensor: Tensor, ...types: ElementType[]): void {
  if (!types.includes(tensor.type)) {
    throw new VentrisError(
      "bad_shape",
      `${operation}: takes ${types.join(" or ")}, got ${tensor.type} ${shapeText(tensor.shape)}`,
    );
  }
}

function unary(operation: string): (x: Tensor) => Tensor {
  return (x) => {
    requireType(operation, x, "float32");
    return createTensor(operation, [x], x.shape, x.type);
  };
}

export const negate = unary("negate");
export const exp = unary("exp");
export const log = unary("log");
export const sqrt = unary("sqrt");
export const reciprocal = unary("reciprocal");
export const tanh = unary("tanh");
/** 1 / (1 + exp(-x)). */
export const sigmoid = unary("sigmoid");
export const relu = unary("relu");
export const abs = unary("abs");
export const erf = unary("erf");
export const sine = unary("sine");
export const cosine = unary("cosine");
/** x * sigmoid(x). */
export const silu = unary("silu");
/** x * Phi(x), with the exact error function. */
export const gelu = (x: Tensor): Tensor => multiply(multiply(x, 0.5), add(erf(multiply(x, Math.SQRT1_2)), 1));
/** GPT-2's tanh approximation of gelu. */
export const geluTanh = unary("geluTanh");
/** Derivative of `geluTanh`. */
export function geluTanhDerivative(x: Tensor): Tensor {
  const c = Math.sqrt(2 / Math.PI);
  const t = tanh(multiply(add(x, multiply(power(x, 3), 0.044715)), c));
  const slope = multiply(add(multiply(square(x), 3 * 0.044715), 1), c);
  return add(multiply(add(t, 1), 0.5), multiply(multiply(multiply(x, 0.5), subtract(1, square(t))), slope));
}
/** x * x. */
export const square = (x: Tensor): Tensor => multiply(x, x);
/** log(1 + exp(x)), without overflow for large |x|. */
export const softplus = (x: Tensor): Tensor => add(relu(x), log(add(exp(negate(abs(x))), 1)));

function binary(operation: string, result?: ElementType): (a: Operand, b: Operand) => Tensor {
  return (left, right) => {
    const [a, b] = [asTensor(left), asTensor(right)];
    if (a.type !== b.type) throw shapeError(operation, a.shape, b.shape, `have types ${a.type} and ${b.type}`);
    return createTensor(operation, [a, b], broadcast(operation, a.shape, b.shape), result ?? a.type);
  };
}

export const add = binary("add");
export const subtract = binary("subtract");
export const multiply = binary("multiply");
export const divide = binary("divide");
export const power = binary("power");
export const maximum = binary("maximum");
export const minimum = binary("minimum");
export const equal = binary("equal", "bool");
export const less = binary("less", "bool");
export const greater = binary("greater", "bool");

/** `yes` where the condition holds, `no` elsewhere, broadcast together. */
export function where(condition: Tensor, yes: Operand, no: Operand): Tensor {
  requireType("where", condition, "bool");
  const [a, b] = [asTensor(yes), asTensor(no)];
  const shape = broadcast("where", condition.shape, broadcast("where", a.shape, b.shape));
  return createTensor("where", [condition, a, b], shape, a.type);
}

/** The same values in another type. */
export function cast(x: Tensor, type: ElementType): Tensor {
  return x.type === type ? x : createTensor("cast", [x], x.shape, type);
}

/** The value without its gradient. */
export const stopGradient = (x: Tensor): Tensor => createTensor("stopGradient", [x], x.shape, x.type);

/** The gradients of a value's sources, given its own and, as they then are, the value, its sources and what was saved for this. */
export type GradientRule = (
  gradient: Tensor,
  known: { readonly value: Tensor; readonly sources: readonly Tensor[]; readonly saved: readonly Tensor[] },
) => (Tensor | undefined)[];

/**
 * The value with a gradient of its own: where a known derivative of the whole is cheaper than the chain of its parts. `rule` gives
 * one gradient for each source, and nothing else that `value` was made of gets any. Graphs are rewritten: the rule must take all
 * tensors from its arguments.
 */
export function withGradient(
  value: Tensor,
  sources: readonly Tensor[],
  rule: GradientRule,
  saved: readonly Tensor[] = [],
): Tensor {
  const attributes = { rule, sources: sources.length };
  return createTensor("withGradient", [value, ...sources, ...saved], value.shape, value.type, attributes);
}

/** Which sides of a product are transposed, and a factor on it. */
export interface MatmulOptions {
  /** Takes the last two dimensions of the left side the other way round. Default false. */
  transposeA?: boolean;
  /** The same of the right side. Default false. */
  transposeB?: boolean;
  /** Factor on the result. Default 1. */
  scale?: number;
}

/** Matrix product over the last two dimensions [..., m, k] x [..., k, n], broadcasting those before them. Errors: `bad_shape`; `bad_option` for a scale that is not finite. */
export function matmul(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false, scale = 1 }: MatmulOptions = {},
): Tensor {
  ensure(Number.isFinite(scale), "bad_option", () => `matmul: scale is ${scale} and must be a finite number`);
  if (a.shape.length < 2 || b.shape.length < 2)
    throw shapeError("matmul", a.shape, b.shape, "must both have two dimensions or more");
  if (b.shape.length === 2 && a.shape.length > 2 && !transposeA) {
    const flat = reshape(a, [product(a.shape.slice(0, -1)), a.shape[a.shape.length - 1]]);
    const rows = matmul(flat, b, { transposeB, scale });
    return reshape(rows, [...a.shape.slice(0, -1), rows.shape[1]]);
  }
  const [m, innerA] = lastTwo(a.shape, transposeA);
  const [innerB, n] = lastTwo(b.shape, transposeB);
  if (innerA !== innerB)
    throw shapeError("matmul", a.shape, b.shape, `disagree on the inner dimension (${innerA} and ${innerB})`);
  const batch = broadcast("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  return createTensor("matmul", [a, b], [...batch, m, n], a.type, { transposeA, transposeB, scale });
}

function lastTwo(shape: Shape, swapped: boolean): [Dimension, Dimension] {
  const [x, y] = [shape[shape.length - 2], shape[shape.length - 1]];
  return swapped ? [y, x] : [x, y];
}

/** x [rows, in] times a weight kept as [out, in], as checkpoints store it. */
export const linear = (x: Tensor, weight: Tensor, bias?: Tensor): Tensor => {
  const result = matmul(x, weight, { transposeB: true });
  return bias ? add(result, bias) : result;
};

/** One dimension may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const target = reshaped(x.shape, shape);
  return sameShape(x.shape, target) ? x : createTensor("reshape", [x], target, x.type);
}

/** Axes in another order: axis i of the result is axis `permutation[i]`. Errors: `bad_shape`. */
export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  const valid =
    permutation.length === x.shape.length && [...permutation].sort((a, b) => a - b).every((axis, i) => axis === i);
  if (!valid) throw shapeError("transpose", x.shape, permutation, "do not match: every axis must be named once");
  return createTensor(
    "transpose",
    [x],
    permutation.map((axis) => x.shape[axis]),
    x.type,
    { permutation },
  );
}

/** Broadcast to a shape. */
export function expand(x: Tensor, shape: Shape): Tensor {
  const result = broadcast("expand", x.shape, shape);
  if (!sameShape(result, shape))
    throw shapeError("expand", x.shape, shape, "do not fit: only dimensions of size 1 expand");
  return sameShape(x.shape, shape) ? x : createTensor("expand", [x], shape, x.type);
}

/** Tensors behind one another along an axis; their other sizes agree. Errors: `bad_shape`. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first, ...rest] = tensors;
  ensure(first, "bad_shape", "concat: no tensors");
  if (rest.length === 0) return first;
  const at = normalizeAxis("concat", axis, first.shape);
  for (const other of rest) {
    const fits =
      other.shape.length === first.shape.length && other.shape.every((d, i) => i === at || d === first.shape[i]);
    if (!fits) throw shapeError("concat", first.shape, other.shape, `differ outside axis ${at}`);
  }
  const shape = first.shape.map((d, i) => (i === at ? sum(tensors.map((t) => t.shape[at])) : d));
  return createTensor("concat", tensors, shape, first.type, { axis: at });
}

/** Parts of the given sizes along an axis. One size may stand in for a named dimension. */
export function split(x: Tensor, sizes: readonly Dimension[], axis: number): Tensor[] {
  const at = normalizeAxis("split", axis, x.shape);
  if (sum(sizes) !== x.shape[at]) throw shapeError("split", x.shape, sizes, `do not add up along axis ${at}`);
  const whole = createTensor("split", [x], x.shape, x.type, { axis: at, sizes });
  return sizes.map((size, index) =>
    createTensor(
      "part",
      [whole],
      x.shape.map((d, i) => (i === at ? size : d)),
      x.type,
      { index, axis: at },
    ),
  );
}

/** Elements start (inclusive) to end (exclusive) along an axis of known size. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = normalizeAxis("slice", axis, x.shape);
  const size = x.shape[at];
  const whole = Number.isInteger(start) && Number.isInteger(end);
  if (typeof size !== "number" || !whole || start < 0 || end > size || start >= end) {
    throw new VentrisError(
      "bad_shape",
      `slice: ${start} to ${end} does not lie in axis ${at} of ${shapeText(x.shape)}`,
    );
  }
  const sizes = [start, end - start, size - end].filter((n) => n > 0);
  return sizes.length === 1 ? x : split(x, sizes, at)[start > 0 ? 1 : 0];
}

/** Rows `indices` (int64, any shape) of a table along its first axis: shape of indices, then the rest of the table's. */
export function gather(table: Tensor, indices: Tensor): Tensor {
  requireType("gather", indices, "int64");
  return createTensor("gather", [table, indices], [...indices.shape, ...table.shape.slice(1)], table.type);
}

/** x with slices replaced at tuples of indices along its first axes: indices int64 [..., k], updates [..., then what x has after k axes]. */
export function scatterNd(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  requireType("scatterNd", indices, "int64");
  const depth = indices.shape[indices.shape.length - 1];
  if (typeof depth !== "number" || depth > x.shape.length)
    throw shapeError(
      "scatterNd",
      x.shape,
      indices.shape,
      "do not fit: the last dimension is how many axes are indexed",
    );
  const wanted = [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
  if (!sameShape(updates.shape, wanted))
    throw shapeError("scatterNd", updates.shape, wanted, "must be the same: one slice for each tuple");
  return createTensor("scatterNd", [x, indices, updates], x.shape, x.type);
}

/** Adjoint of `gather`: a zero table [size, ...] with each update added at its index. */
export function scatterAdd(updates: Tensor, indices: Tensor, size: Dimension): Tensor {
  requireType("scatterAdd", indices, "int64");
  const tail = updates.shape.slice(indices.shape.length);
  if (!sameShape(updates.shape.slice(0, indices.shape.length), indices.shape)) {
    throw shapeError("scatterAdd", updates.shape, indices.shape, "differ in their leading dimensions");
  }
  return createTensor("scatterAdd", [updates, indices], [size, ...tail], updates.type);
}

/** x[..., indices[...]] along the last axis: one element for each index (indices have x's rank, last dimension n). */
export function gatherLast(x: Tensor, indices: Tensor): Tensor {
  requireType("gatherLast", indices, "int64");
  if (!sameShape(x.shape.slice(0, -1), indices.shape.slice(0, -1))) {
    throw shapeError("gatherLast", x.shape, indices.shape, "differ before the last axis");
  }
  return createTensor("gatherLast", [x, indices], indices.shape, x.type);
}

/** `base` with each update added along the last axis at its index: the adjoint of `gatherLast` when the base is zero. */
export function scatterLast(base: Tensor, indices: Tensor, updates: Tensor): Tensor {
  requireType("scatterLast", indices, "int64");
  if (!sameShape(indices.shape, updates.shape))
    throw shapeError("scatterLast", indices.shape, updates.shape, "must be the same");
  return createTensor("scatterLast", [base, indices, updates], base.shape, base.type);
}

function reduction(operation: string): (x: Tensor, axes?: number | readonly number[], keep?: boolean) => Tensor {
  return (x, axes = x.shape.map((_, i) => i), keep = false) => {
    const at = (typeof axes === "number" ? [axes] : axes).map((axis) => normalizeAxis(operation, axis, x.shape));
    if (at.length === 0) return x;
    const kept = x.shape.map((d, i) => (at.includes(i) ? 1 : d));
    const shape = keep ? kept : kept.filter((_, i) => !at.includes(i));
    return createTensor(operation, [x], shape, x.type, { axes: at.sort((a, b) => a - b), keep });
  };
}

export const reduceSum = reduction("reduceSum");
export const reduceMean = reduction("reduceMean");
export const reduceMax = reduction("reduceMax");
/** The sum of absolute values. */
export const reduceL1 = reduction("reduceL1");

/** Index (int64) of the largest entry along the last axis; the first of equals. */
export const argMax = (x: Tensor): Tensor => createTensor("argMax", [x], x.shape.slice(0, -1), "int64");

/** The k largest entries along the last axis, in falling order, and their indices (int64). Errors: `bad_shape`. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const size = x.shape[x.shape.length - 1];
  const there = size !== undefined && Number.isInteger(k) && k >= 1 && (typeof size !== "number" || k <= size);
  ensure(there, "bad_shape", () => `topK: ${k} of ${shapeText(x.shape)}`);
  const shape = [...x.shape.slice(0, -1), k];
  const whole = createTensor("topK", [x], shape, x.type, { k });
  const indices = createTensor("part", [whole], shape, "int64", { index: 1 });
  return { values: createTensor("part", [whole], shape, x.type, { index: 0 }), indices };
}

/** Cumulative sum along an axis. */
export function cumulativeSum(x: Tensor, axis: number, reverse = false): Tensor {
  return createTensor("cumulativeSum", [x], x.shape, x.type, {
    axis: normalizeAxis("cumulativeSum", axis, x.shape),
    reverse,
  });
}

/** Along the last axis. */
export const softmax = unary("softmax");
/** Logarithm of the softmax along the last axis. */
export const logSoftmax = unary("logSoftmax");
/** log of the sum of exp along the last axis, without overflow; `keep` keeps that axis with size 1. */
export const logSumExp = (x: Tensor, keep = false): Tensor => {
  const max = stopGradient(reduceMax(x, -1, true));
  const result = add(log(reduceSum(exp(subtract(x, max)), -1, true)), max);
  return keep ? result : reshape(result, x.shape.slice(0, -1));
};

/** -log softmax(logits)[target] for each row: logits [rows, classes], targets int64 [rows]; result [rows]. */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  if (logits.shape.length !== 2 || !sameShape(logits.shape.slice(0, 1), targets.shape)) {
    throw shapeError("crossEntropy", logits.shape, targets.shape, "must be [rows, classes] and [rows]");
  }
  requireType("crossEntropy", targets, "int64");
  return createTensor("crossEntropy", [logits, targets], targets.shape, logits.type);
}

/**
 * Rotary position embedding, rotate-half form (Su et al. 2021): x [batch, heads, length, dimension], positions int64 [batch, length],
 * tables [positions, turned / 2] of cosines and sines. Where fewer dimensions turn than a head has, those after them stay.
 */
export function rotary(x: Tensor, positions: Tensor, cosines: Tensor, sines: Tensor): Tensor {
  const [batch, , length, dimension] = x.shape;
  if (x.shape.length !== 4 || !sameShape(positions.shape, [batch, length])) {
    throw shapeError(
      "rotary",
      x.shape,
      positions.shape,
      "must be [batch, heads, length, dimension] and [batch, length]",
    );
  }
  const half = cosines.shape[1];
  const fits = typeof dimension === "number" && typeof half === "number" && half >= 1 && 2 * half <= dimension;
  if (!fits || !sameShape(cosines.shape, sines.shape)) {
    throw shapeError("rotary", x.shape, cosines.shape, "need tables of half the head dimension, or less");
  }
  return createTensor("rotary", [x, positions, cosines, sines], x.shape, x.type);
}

/** Zeros in the shape of x. */
export const zerosLike = (x: Tensor): Tensor => expand(scalar(0), x.shape);
/** A gibibyte of int64. */
const longestRange = 2 ** 27;

/** 0 .. size - 1 as int64. Errors: `bad_option` for a size that is not whole, below 0 or beyond a gibibyte. */
export function range(size: number): Tensor {
  requireWhole({ "range: size": size }, 0, longestRange);
  return constant(
    BigInt64Array.from({ length: size }, (_, i) => BigInt(i)),
    [size],
  );
}

/** Sums away what broadcasting from `shape` to x's shape had repeated: the gradient of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape.map((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? i : -1)).filter((i) => i >= 0);
  return reshape(reduceSum(x, axes, true), shape);
}
