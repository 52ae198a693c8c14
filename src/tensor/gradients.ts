/** Reverse-mode differentiation: given a scalar loss, builds the graph of its gradients. Rules are data, one for each operation. */
import { ensure, leaveUnheard, shown, VentrisError } from "../errors.ts";
import { joinedProduct } from "./joined.ts";
import { rmsInverse } from "./norms.ts";
import {
  add,
  cast,
  concat,
  cosine,
  cumulativeSum,
  divide,
  equal,
  exp,
  expand,
  type GradientRule,
  gather,
  gatherLast,
  geluTanhDerivative,
  greater,
  less,
  log,
  logSoftmax,
  matmul,
  multiply,
  negate,
  power,
  reduceMean,
  reduceSum,
  reshape,
  rotary,
  scatterAdd,
  scatterLast,
  sigmoid,
  sine,
  split,
  sqrt,
  square,
  subtract,
  sumTo,
  transpose,
  where,
  zerosLike,
} from "./operations.ts";
import { recomputation } from "./recomputation.ts";
import { elementCount, sameShape } from "./shape.ts";
import { createTensor, requireTensor, scalar, type Tensor, type TensorData, topologicalOrder } from "./tensor.ts";

/** Gradient of the loss for each input of `node`, given `g`, its gradient for the node's output. Undefined: no dependence. */
type Rule = (g: Tensor, node: Tensor) => (Tensor | undefined)[];

const elementwise =
  (derivative: (g: Tensor, x: Tensor, y: Tensor) => Tensor): Rule =>
  (g, node) => [derivative(g, node.inputs[0], node)];

const selecting =
  (chosen: (a: Tensor, b: Tensor) => Tensor): Rule =>
  (g, node) => {
    const [a, b] = node.inputs;
    const condition = chosen(a, b);
    return [sumTo(where(condition, g, 0), a.shape), sumTo(where(condition, 0, g), b.shape)];
  };

/** Undoes a reduction's removal of axes, so that its gradient broadcasts against its input. */
function restoreAxes(g: Tensor, node: Tensor): Tensor {
  const axes = node.attributes.axes as number[];
  return reshape(
    g,
    node.inputs[0].shape.map((d, i) => (axes.includes(i) ? 1 : d)),
  );
}

/** g with the sign of x. */
const signed = (g: Tensor, x: Tensor): Tensor => where(less(x, 0), negate(g), where(greater(x, 0), g, 0));

/** The one number that a tensor repeats, when the graph alone tells it. */
function uniformValue({ operation, inputs, attributes, shape }: Tensor): number | undefined {
  if (operation === "constant")
    return elementCount(shape) === 1 ? Number((attributes.data as TensorData)[0]) : undefined;
  if (operation === "expand" || operation === "reshape") return uniformValue(inputs[0]);
  if (operation !== "multiply") return undefined;
  const [a, b] = inputs.map(uniformValue);
  return a !== undefined && b !== undefined ? a * b : undefined;
}

/** A tensor as another times a number, which a product takes into its own scale. */
function withoutFactor(x: Tensor): { rest: Tensor; factor: number } {
  if (x.operation === "multiply") {
    for (const [i, other] of x.inputs.entries()) {
      const factor = uniformValue(other);
      const rest = x.inputs[1 - i];
      if (factor !== undefined && sameShape(rest.shape, x.shape)) return { rest, factor };
    }
  }
  return { rest: x, factor: 1 };
}

const rules: Record<string, Rule> = {
  negate: elementwise((g) => negate(g)),
  exp: elementwise((g, _, y) => multiply(g, y)),
  log: elementwise((g, x) => divide(g, x)),
  sqrt: elementwise((g, _, y) => divide(multiply(g, 0.5), y)),
  reciprocal: elementwise((g, _, y) => negate(multiply(g, square(y)))),
  tanh: elementwise((g, _, y) => multiply(g, subtract(1, square(y)))),
  sigmoid: elementwise((g, _, y) => multiply(g, multiply(y, subtract(1, y)))),
  relu: elementwise((g, x) => where(greater(x, 0), g, 0)),
  abs: elementwise(signed),
  erf: elementwise((g, x) => multiply(g, multiply(exp(negate(square(x))), 2 / Math.sqrt(Math.PI)))),
  sine: elementwise((g, x) => multiply(g, cosine(x))),
  cosine: elementwise((g, x) => negate(multiply(g, sine(x)))),
  silu: elementwise((g, x, y) => {
    const s = sigmoid(x);
    return multiply(g, add(s, multiply(y, subtract(1, s))));
  }),
  geluTanh: elementwise((g, x) => multiply(g, geluTanhDerivative(x))),
  add: (g, { inputs: [a, b] }) => [sumTo(g, a.shape), sumTo(g, b.shape)],
  subtract: (g, { inputs: [a, b] }) => [sumTo(g, a.shape), sumTo(negate(g), b.shape)],
  multiply: (g, { inputs: [a, b] }) => [sumTo(multiply(g, b), a.shape), sumTo(multiply(g, a), b.shape)],
  divide: (g, node) => {
    const [a, b] = node.inputs;
    const quotient = divide(g, b);
    return [sumTo(quotient, a.shape), sumTo(negate(multiply(quotient, node)), b.shape)];
  },
  power: (g, node) => {
    const [a, b] = node.inputs;
    const base = multiply(multiply(g, b), power(a, subtract(b, 1)));
    // d/db is defined for a > 0 only; elsewhere the exponent must be a constant, whose gradient nobody asks for.
    const exponent = multiply(multiply(g, node), log(where(greater(a, 0), a, 1)));
    return [sumTo(base, a.shape), sumTo(exponent, b.shape)];
  },
  maximum: selecting((a, b) => less(b, a)),
  minimum: selecting((a, b) => less(a, b)),
  where: (g, { inputs: [condition, a, b] }) => [
    undefined,
    sumTo(where(condition, g, 0), a.shape),
    sumTo(where(condition, 0, g), b.shape),
  ],
  cast: (g, { inputs: [x] }) => [x.type === "float32" ? g : undefined],
  matmul: (gradient, node) => {
    const [a, b] = node.inputs;
    const {
      transposeA,
      transposeB,
      scale: own,
    } = node.attributes as {
      transposeA: boolean;
      transposeB: boolean;
      scale: number;
    };
    const { rest: g, factor } = withoutFactor(gradient);
    const scale = own * factor;
    const gradientA = transposeA
      ? matmul(b, g, { transposeA: transposeB, transposeB: true, scale })
      : matmul(g, b, { transposeB: !transposeB, scale });
    const gradientB = transposeB
      ? matmul(g, a, { transposeA: true, transposeB: transposeA, scale })
      : matmul(a, g, { transposeA: !transposeA, scale });
    return [sumTo(gradientA, a.shape), sumTo(gradientB, b.shape)];
  },
  reshape: (g, { inputs: [x] }) => [reshape(g, x.shape)],
  transpose: (g, node) => {
    const permutation = node.attributes.permutation as number[];
    return [
      transpose(
        g,
        permutation.map((_, i) => permutation.indexOf(i)),
      ),
    ];
  },
  expand: (g, { inputs: [x] }) => [sumTo(g, x.shape)],
  concat: (g, node) => {
    const axis = node.attributes.axis as number;
    return splitLike(g, node.inputs, axis);
  },
  gather: (g, { inputs: [table, indices] }) => [scatterAdd(g, indices, table.shape[0]), undefined],
  scatterAdd: (g, { inputs: [, indices] }) => [gather(g, indices), undefined],
  gatherLast: (g, { inputs: [x, indices] }) => [scatterLast(zerosLike(x), indices, g), undefined],
  scatterLast: (g, { inputs: [, indices] }) => [g, undefined, gatherLast(g, indices)],
  reduceSum: (g, node) => [expand(restoreAxes(g, node), node.inputs[0].shape)],
  reduceMean: (g, node) => {
    const count = elementCount((node.attributes.axes as number[]).map((axis) => node.inputs[0].shape[axis]));
    return [expand(multiply(restoreAxes(g, node), 1 / count), node.inputs[0].shape)];
  },
  reduceL1: (g, node) => [signed(restoreAxes(g, node), node.inputs[0])],
  reduceMax: (g, node) => {
    const [x] = node.inputs;
    const chosen = equal(x, restoreAxes(node, node));
    const ties = reduceSum(cast(chosen, "float32"), node.attributes.axes as number[], true);
    return [where(chosen, divide(restoreAxes(g, node), ties), 0)];
  },
  cumulativeSum: (g, node) => [cumulativeSum(g, node.attributes.axis as number, !node.attributes.reverse)],
  softmax: (g, node) => {
    const weighted = multiply(g, node);
    return [subtract(weighted, multiply(node, reduceSum(weighted, -1, true)))];
  },
  logSoftmax: (g, node) => [subtract(g, multiply(exp(node), reduceSum(g, -1, true)))],
  crossEntropy: (g, { inputs: [logits, targets] }) => {
    const columns = reshape(targets, [...targets.shape, 1]);
    const difference = scatterLast(exp(logSoftmax(logits)), columns, expand(scalar(-1), columns.shape));
    return [multiply(difference, uniformValue(g) ?? reshape(g, columns.shape)), undefined];
  },
  // Sums over rows and over columns are products with a vector, which take one reading of g · x.
  rmsNorm: (g, node) => {
    const [x, weight] = node.inputs;
    const size = weight.shape[0] as number;
    const inverse = rmsInverse(x, node.attributes.epsilon as number);
    const [along, ofRow] = [reshape(multiply(g, x), [-1, size]), reshape(inverse, [-1, 1])];
    const radial = multiply(
      multiply(square(ofRow), ofRow),
      matmul(along, reshape(weight, [size, 1]), { scale: 1 / size }),
    );
    const outward = multiply(x, reshape(radial, inverse.shape));
    return [
      subtract(multiply(multiply(g, weight), inverse), outward),
      reshape(matmul(along, ofRow, { transposeA: true }), [size]),
    ];
  },
  rmsInverse: (g, node) => {
    const [x] = node.inputs;
    const slope = multiply(multiply(square(node), node), -1 / (x.shape[x.shape.length - 1] as number));
    return [multiply(multiply(g, slope), x)];
  },
  layerNorm: (g, node) => {
    const [x, weight, bias] = node.inputs;
    const centred = subtract(x, reduceMean(x, -1, true));
    const inverse = divide(1, sqrt(add(reduceMean(square(centred), -1, true), node.attributes.epsilon as number)));
    const normal = multiply(centred, inverse);
    const scaled = multiply(g, weight);
    const radial = multiply(normal, reduceMean(multiply(scaled, normal), -1, true));
    const gradient = multiply(inverse, subtract(subtract(scaled, reduceMean(scaled, -1, true)), radial));
    return [gradient, sumTo(multiply(g, normal), weight.shape), sumTo(g, bias.shape)];
  },
  // A rotation's adjoint is the rotation by the opposite angle.
  rotary: (g, { inputs: [, positions, cosines, sines] }) => [
    rotary(g, positions, cosines, negate(sines)),
    undefined,
    undefined,
    undefined,
  ],
  withGradient: (g, { inputs: [value, ...others], attributes }) => {
    const count = attributes.sources as number;
    const known = { value, sources: others.slice(0, count), saved: others.slice(count) };
    const given: unknown = (attributes.rule as GradientRule)(g, known);
    leaveUnheard(given);
    ensure(Array.isArray(given) && given.length === count, "bad_option", () => {
      return `withGradient: rule must give a list of ${count} gradients, not ${shown(given)}`;
    });
    for (const [i, one] of given.entries())
      if (one !== undefined) requireTensor(one, `withGradient: gradient ${i} of what rule gives`);
    return [undefined, ...given];
  },
};

function splitLike(g: Tensor, parts: readonly Tensor[], axis: number): Tensor[] {
  return split(
    g,
    parts.map((part) => part.shape[axis]),
    axis,
  );
}

const withoutGradient = new Set([
  "input",
  "parameter",
  "constant",
  "stopGradient",
  "equal",
  "less",
  "greater",
  "argMax",
]);

/** Operations that have a gradient rule; tests go through this list. */
export const differentiable: readonly string[] = [...Object.keys(rules), "split", "part"];

/** What gradients keep in memory, and what they compute again. */
export interface GradientOptions {
  /**
   * Tensors to keep, in the order of the program; what lies between two of them is computed again when its gradient is due (Chen et
   * al. 2016): less memory for up to a third more work. Default: everything is kept.
   */
  keep?: readonly Tensor[];
}

/**
 * d loss / d target for each target, as tensors of the targets' shapes. `loss` has one element. Targets the loss does not
 * depend on get zeros. Errors: `bad_shape` naming an operation without a gradient on the way; `bad_option` for a rule of `withGradient` that
 * gives anything else than a gradient for each source.
 */
export function gradients(loss: Tensor, targets: readonly Tensor[], { keep = [] }: GradientOptions = {}): Tensor[] {
  ensure(
    elementCount(loss.shape) === 1,
    "bad_shape",
    () => `gradients: the loss must be a single number, not of shape [${loss.shape}]`,
  );
  const order = topologicalOrder([loss]);
  const relevant = new Set<Tensor>(targets);
  for (const node of order)
    if (node.inputs.some((x) => relevant.has(x)) && node.operation !== "stopGradient") relevant.add(node);

  const found = new Map<Tensor, Tensor>([[loss, reshape(scalar(1), loss.shape)]]);
  const again = recomputation(order, keep, found);
  const parts = new Map<Tensor, Map<number, Tensor>>();
  const contribute = (x: Tensor, contribution: Tensor | undefined): void => {
    if (!contribution || !relevant.has(x)) return;
    const before = found.get(x);
    found.set(x, before ? add(before, contribution) : contribution);
  };
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i];
    if (!relevant.has(node) || withoutGradient.has(node.operation)) continue;
    const joined = joinedProduct(node);
    if (joined) {
      const known = joinedProduct(again(node))!;
      for (const [index, g] of parts.get(node) ?? []) {
        contribute(joined.rows, matmul(g, known.matrices[index]));
        contribute(joined.matrices[index], matmul(g, known.rows, { transposeA: true }));
      }
      continue;
    }
    const g =
      node.operation === "split" || node.operation === "topK"
        ? joinParts(again(node), parts.get(node))
        : found.get(node);
    if (!g) continue;
    if (node.operation === "part") {
      const whole = node.inputs[0];
      if (!parts.has(whole)) parts.set(whole, new Map());
      parts.get(whole)!.set(node.attributes.index as number, g);
      continue;
    }
    const inputGradients = node.operation === "split" || node.operation === "topK" ? [g] : applyRule(g, again(node));
    node.inputs.forEach((x, k) => {
      contribute(x, inputGradients[k]);
    });
  }
  return targets.map((target) => found.get(target) ?? zerosLike(target));
}

function applyRule(g: Tensor, node: Tensor): (Tensor | undefined)[] {
  const rule = rules[node.operation];
  if (!rule)
    throw new VentrisError("bad_shape", `gradients: ${node.operation} has no gradient; use stopGradient before it`);
  return rule(g, node);
}

function joinParts(whole: Tensor, parts: Map<number, Tensor> | undefined): Tensor | undefined {
  if (!parts) return undefined;
  const [x] = whole.inputs;
  if (whole.operation === "topK") {
    const values = parts.get(0);
    const shape = [...x.shape.slice(0, -1), whole.attributes.k as number];
    return values && scatterLast(zerosLike(x), createTensor("part", [whole], shape, "int64", { index: 1 }), values);
  }
  const axis = whole.attributes.axis as number;
  const sizes = whole.attributes.sizes as number[];
  const pieces = sizes.map(
    (size, i) =>
      parts.get(i) ??
      expand(
        scalar(0),
        x.shape.map((d, k) => (k === axis ? size : d)),
      ),
  );
  return concat(pieces, axis);
}
