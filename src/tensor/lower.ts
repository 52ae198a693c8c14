/**
 * Lowers a graph of tensors to an ONNX model, choosing fused operators where ONNX Runtime has them: products with
 * transposition and scale, block-quantised products, norms together with the residual sum before them, rotary embedding.
 */
import { ensure, VentrisError } from "../errors.ts";
import {
  bind,
  isWeight,
  type LoweredProgram,
  type Lowering,
  type LoweringOptions,
  planInput,
  separateProducts,
  type ValueDescription,
  type WeightBinding,
  weightName,
} from "./lowering.ts";
import { createOnnxBuilder, dataTypes, microsoft, type OnnxBuilder } from "./onnx.ts";
import { product, type Shape, sameShape, shapeText } from "./shape.ts";
import { type Tensor, type TensorData, topologicalOrder } from "./tensor.ts";

/** ONNX Runtime's own operators are used throughout: programs run on ONNX Runtime 1.30 or later. */
export function lower(outputs: Record<string, Tensor>, options: LoweringOptions): LoweredProgram {
  const order = topologicalOrder(Object.values(outputs));
  const consumers = new Map<Tensor, Tensor[]>();
  for (const tensor of order) {
    for (const x of new Set(tensor.inputs)) consumers.set(x, [...(consumers.get(x) ?? []), tensor]);
  }
  const builder = createOnnxBuilder(Object.keys(outputs));
  const names = new Map<Tensor, string>();
  const weights = new Map<string, WeightBinding>();
  const inputs: ValueDescription[] = [];
  const lowering: Lowering = {
    builder,
    options,
    names,
    consumers,
    weights,
    sizeTensors: new Map(),
    nameOf: (tensor) => names.get(tensor) ?? weightName(lowering, tensor),
  };
  // Inputs first: sizes known only at run time are read off them.
  for (const tensor of order) {
    const isInput = tensor.operation === "input" || (tensor.operation === "parameter" && !isWeight(lowering, tensor));
    if (!isInput) continue;
    const description = { name: tensor.attributes.name as string, type: tensor.type, shape: tensor.shape };
    inputs.push(description);
    builder.input(description.name, tensor.type, tensor.shape);
    names.set(tensor, description.name);
  }
  const varies = inputs.some(({ shape }) => shape.some((dimension) => typeof dimension === "string"));
  if (varies) builder.input(planInput, "uint8", ["plan", "none"]);
  for (const tensor of order) {
    if (names.has(tensor)) continue; // an input, or emitted together with another node
    if (isWeight(lowering, tensor)) continue; // bound by the operation that uses it, which knows whether it is quantised
    const rule = rules[tensor.operation];
    if (!rule) throw new VentrisError("internal", `no lowering for the operation ${tensor.operation}`);
    const name = rule(lowering, tensor);
    if (name !== undefined) names.set(tensor, name);
  }
  const descriptions = Object.entries(outputs).map(([name, tensor]) => {
    builder.output(name, lowering.nameOf(tensor), tensor.type, tensor.shape);
    return { name, type: tensor.type, shape: tensor.shape };
  });
  return {
    model: builder.finish(),
    inputs,
    outputs: descriptions,
    weights: [...weights.values()],
    weightBytes: options.layout?.weightBytes ?? builder.externalBytes,
    varies,
  };
}

type Rule = (lowering: Lowering, tensor: Tensor) => string | undefined;

const direct =
  (operator: string): Rule =>
  ({ builder, nameOf }, { inputs }) =>
    builder.node(operator, inputs.map(nameOf))[0];

const reduce =
  (operator: string): Rule =>
  ({ builder, nameOf }, { inputs, attributes }) =>
    builder.node(operator, [nameOf(inputs[0]), int64s(builder, attributes.axes as number[])], {
      attributes: { keepdims: attributes.keep ? 1 : 0 },
    })[0];

const int64s = (builder: OnnxBuilder, values: readonly number[]): string =>
  builder.constant(BigInt64Array.from(values, BigInt), [values.length]);

const rules: Record<string, Rule> = {
  constant: ({ builder }, { attributes, shape }) => builder.constant(attributes.data as TensorData, shape as number[]),
  stopGradient: ({ nameOf }, { inputs }) => nameOf(inputs[0]),
  withGradient: ({ nameOf }, { inputs }) => nameOf(inputs[0]),
  negate: direct("Neg"),
  exp: direct("Exp"),
  log: direct("Log"),
  sqrt: direct("Sqrt"),
  reciprocal: direct("Reciprocal"),
  tanh: direct("Tanh"),
  sigmoid: direct("Sigmoid"),
  relu: direct("Relu"),
  abs: direct("Abs"),
  erf: direct("Erf"),
  sine: direct("Sin"),
  cosine: direct("Cos"),
  silu: ({ builder, nameOf }, { inputs }) =>
    builder.node("QuickGelu", [nameOf(inputs[0])], { domain: microsoft, attributes: { alpha: { float: 1 } } })[0],
  geluTanh: ({ builder, nameOf }, { inputs }) =>
    builder.node("Gelu", [nameOf(inputs[0])], { attributes: { approximate: "tanh" } })[0],
  add: (lowering, tensor) => fusedResidualNorm(lowering, tensor) ?? direct("Add")(lowering, tensor),
  subtract: direct("Sub"),
  multiply: direct("Mul"),
  divide: direct("Div"),
  power: direct("Pow"),
  maximum: direct("Max"),
  minimum: direct("Min"),
  equal: direct("Equal"),
  less: direct("Less"),
  greater: direct("Greater"),
  where: direct("Where"),
  softmax: direct("Softmax"),
  logSoftmax: direct("LogSoftmax"),
  cast: ({ builder, nameOf }, { inputs, type }) =>
    builder.node("Cast", [nameOf(inputs[0])], { attributes: { to: dataTypes[type] } })[0],
  reduceSum: reduce("ReduceSum"),
  reduceMean: reduce("ReduceMean"),
  reduceMax: reduce("ReduceMax"),
  reduceL1: reduce("ReduceL1"),
  argMax: ({ builder, nameOf }, { inputs }) =>
    builder.node("ArgMax", [nameOf(inputs[0])], { attributes: { axis: -1, keepdims: 0 } })[0],
  cumulativeSum: ({ builder, nameOf }, { inputs, attributes }) =>
    builder.node(
      "CumSum",
      [nameOf(inputs[0]), builder.constant(BigInt64Array.of(BigInt(attributes.axis as number)), [])],
      {
        attributes: { reverse: attributes.reverse ? 1 : 0 },
      },
    )[0],
  matmul: lowerMatmul,
  reshape: (lowering, { inputs: [x], shape }) =>
    lowering.builder.node("Reshape", [lowering.nameOf(x), reshapeTarget(lowering, x.shape, shape)])[0],
  transpose: ({ builder, nameOf }, { inputs, attributes }) =>
    builder.node("Transpose", [nameOf(inputs[0])], { attributes: { perm: attributes.permutation as number[] } })[0],
  expand: ({ builder, nameOf }, { inputs, shape }) => {
    const named = shape.some((d) => typeof d !== "number");
    ensure(!named, "bad_shape", () => `expand: ${shapeText(shape)} is not known before the program runs`);
    return builder.node("Expand", [nameOf(inputs[0]), int64s(builder, shape as number[])])[0];
  },
  concat: ({ builder, nameOf }, { inputs, attributes }) =>
    builder.node("Concat", inputs.map(nameOf), { attributes: { axis: attributes.axis as number } })[0],
  split: lowerSplit,
  topK: ({ builder, nameOf, consumers, names }, tensor) => {
    const k = tensor.attributes.k as number;
    const [values, indices] = builder.node("TopK", [nameOf(tensor.inputs[0]), int64s(builder, [k])], { outputs: 2 });
    for (const part of consumers.get(tensor)!) names.set(part, part.attributes.index === 0 ? values : indices);
    return undefined;
  },
  gather: lowerGather,
  scatterNd: direct("ScatterND"),
  scatterAdd: ({ builder, nameOf }, { inputs: [updates, indices], shape }) => {
    const zeros = builder.node("Expand", [
      builder.constant(Float32Array.of(0), []),
      int64s(builder, shape as number[]),
    ])[0];
    const places = builder.node("Unsqueeze", [nameOf(indices), int64s(builder, [-1])])[0];
    return builder.node("ScatterND", [zeros, places, nameOf(updates)], { attributes: { reduction: "add" } })[0];
  },
  gatherLast: ({ builder, nameOf }, { inputs: [x, indices] }) =>
    builder.node("GatherElements", [nameOf(x), nameOf(indices)], { attributes: { axis: -1 } })[0],
  scatterLast: ({ builder, nameOf }, { inputs: [base, indices, updates] }) =>
    builder.node("ScatterElements", [base, indices, updates].map(nameOf), {
      attributes: { axis: -1, reduction: "add" },
    })[0],
  crossEntropy: ({ builder, nameOf }, { inputs: [logits, targets] }) => {
    const logs = builder.node("LogSoftmax", [nameOf(logits)])[0];
    const columns = builder.node("Unsqueeze", [nameOf(targets), int64s(builder, [-1])])[0];
    const chosen = builder.node("GatherElements", [logs, columns], { attributes: { axis: -1 } })[0];
    return builder.node("Neg", [builder.node("Squeeze", [chosen, int64s(builder, [-1])])[0]])[0];
  },
  rmsNorm: (lowering, norm) => {
    const inverse = inverseOf(lowering, norm);
    const [name, factor] = normalise(lowering, norm, lowering.nameOf(norm.inputs[1]), inverse !== undefined);
    if (inverse) lowering.names.set(inverse, factor);
    return name;
  },
  // Of its norm, if that is computed; by itself where it comes first, or alone.
  rmsInverse: (lowering, inverse) => {
    const [x] = inverse.inputs;
    const size = x.shape[x.shape.length - 1] as number;
    return normalise(lowering, inverse, lowering.builder.constant(new Float32Array(size).fill(1), [size]), true)[1];
  },
  layerNorm: ({ builder, nameOf }, { inputs: [x, weight, bias], attributes }) =>
    builder.node("LayerNormalization", [x, weight, bias].map(nameOf), {
      attributes: { axis: -1, epsilon: { float: attributes.epsilon as number } },
    })[0],
  rotary: ({ builder, nameOf }, { inputs, shape }) => {
    const [heads, turned, dimension] = [shape[1] as number, 2 * (inputs[2].shape[1] as number), shape[3]];
    const part = turned === dimension ? undefined : { rotary_embedding_dim: turned, num_heads: heads };
    return builder.node("RotaryEmbedding", inputs.map(nameOf), { domain: microsoft, attributes: part })[0];
  },
};

/**
 * ONNX's reshape target: numbers as they are, 0 for a named dimension kept in place, -1 for the one that is derived. Where more are
 * derived, their sizes are read when the program runs.
 */
function reshapeTarget(lowering: Lowering, from: Shape, to: Shape): string {
  const { builder } = lowering;
  const target = to.map((dimension, i) => (typeof dimension === "number" ? dimension : dimension === from[i] ? 0 : -1));
  if (target.filter((d) => d === -1).length <= 1) return int64s(builder, target);
  return runTimeSizes(lowering, to);
}

function lowerMatmul(lowering: Lowering, tensor: Tensor): string | undefined {
  const { builder, nameOf, consumers } = lowering;
  const [user] = consumers.get(tensor) ?? [];
  if (user && separateProducts(lowering, user)) return undefined; // lowered with the split that takes it apart
  const [a, b] = tensor.inputs;
  const { transposeA, transposeB, scale } = tensor.attributes as {
    transposeA: boolean;
    transposeB: boolean;
    scale: number;
  };
  if (isWeight(lowering, b) && transposeB && !transposeA && scale === 1) {
    const { blocks } = bind(lowering, b, () => true);
    if (blocks) {
      const [rows, columns] = b.shape as number[];
      const { bits, blockSize, packed, factors } = blocks;
      return builder.node("MatMulNBits", [nameOf(a), packed, ...factors], {
        domain: microsoft,
        // Level 4 computes on 8-bit activations: eight times faster than level 1, and the same bits for any number of rows, except
        // that with 4 bits in blocks of 64 the last of an odd number of rows is summed in another order: see `Pass.evenRows`.
        attributes: { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: 4 },
      })[0];
    }
  }
  return matrixProduct(lowering, a, b, { transposeA, transposeB, scale });
}

/** One product, of the operators that the device has. */
function matrixProduct(
  { builder, nameOf, options }: Lowering,
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false, scale = 1 },
): string {
  if (!transposeA && !transposeB && scale === 1) return builder.node("MatMul", [nameOf(a), nameOf(b)])[0];
  const flags = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0, alpha: { float: scale } };
  if (options.products !== "plain") {
    return builder.node("FusedMatMul", [nameOf(a), nameOf(b)], { domain: microsoft, attributes: flags })[0];
  }
  if (a.shape.length === 2 && b.shape.length === 2) {
    return builder.node("Gemm", [nameOf(a), nameOf(b)], { attributes: flags })[0];
  }
  const turned = (x: Tensor, transpose: boolean): string => {
    if (!transpose) return nameOf(x);
    const axes = x.shape.map((_, axis) => axis);
    return builder.node("Transpose", [nameOf(x)], {
      attributes: { perm: [...axes.slice(0, -2), ...axes.slice(-2).reverse()] },
    })[0];
  };
  const plain = builder.node("MatMul", [turned(a, transposeA), turned(b, transposeB)])[0];
  return scale === 1 ? plain : builder.node("Mul", [plain, builder.constant(Float32Array.of(scale), [])])[0];
}

function lowerGather(lowering: Lowering, { inputs: [table, indices] }: Tensor): string {
  const { builder, nameOf } = lowering;
  if (isWeight(lowering, table)) {
    // A last block that is partly filled would be gathered with its padding.
    const { blocks } = bind(lowering, table, ({ blockSize }) => (table.shape[1] as number) % blockSize === 0);
    if (blocks) {
      const [rows, columns] = table.shape as number[];
      const { bits, blockSize, packed, factors } = blocks;
      // The same bytes as the product's, seen as [rows, columns * bits / 8].
      const flat = builder.node("Reshape", [packed, int64s(builder, [rows, (columns * bits) / 8])])[0];
      return builder.node("GatherBlockQuantized", [flat, nameOf(indices), ...factors], {
        domain: microsoft,
        attributes: { bits, block_size: blockSize, gather_axis: 0, quantize_axis: 1 },
      })[0];
    }
  }
  return builder.node("Gather", [nameOf(table), nameOf(indices)])[0];
}

function lowerSplit(lowering: Lowering, tensor: Tensor): undefined {
  const { builder, nameOf, consumers, names } = lowering;
  const separate = separateProducts(lowering, tensor);
  if (separate) {
    for (const part of consumers.get(tensor)!) {
      const matrix = separate.matrices[part.attributes.index as number];
      names.set(part, matrixProduct(lowering, separate.rows, matrix, { transposeB: true }));
    }
    return;
  }
  const { axis, sizes } = tensor.attributes as { axis: number; sizes: Shape };
  const known = sizes.every((size) => typeof size === "number");
  const [only, another] = consumers.get(tensor)!;
  if (known && !another) {
    const index = only.attributes.index as number;
    const start = (sizes as number[]).slice(0, index).reduce((a, b) => a + b, 0);
    const bounds = [start, start + (sizes[index] as number), axis].map((n) => int64s(builder, [n]));
    names.set(only, builder.node("Slice", [nameOf(tensor.inputs[0]), ...bounds])[0]);
    return;
  }
  const lengths = known ? int64s(builder, sizes as number[]) : runTimeSizes(lowering, sizes);
  const outputs = builder.node("Split", [nameOf(tensor.inputs[0]), lengths], {
    attributes: { axis },
    outputs: sizes.length,
  });
  for (const part of consumers.get(tensor)!) names.set(part, outputs[part.attributes.index as number]);
}

/** Sizes as one tensor; equal ones are made once. */
function runTimeSizes(lowering: Lowering, sizes: Shape): string {
  const { builder, sizeTensors } = lowering;
  const key = sizes.join();
  let name = sizeTensors.get(key);
  if (name === undefined) {
    const parts = sizes.map((size) =>
      typeof size === "number" ? int64s(builder, [size]) : runTimeSize(lowering, size),
    );
    [name] = builder.node("Concat", parts, { attributes: { axis: 0 } });
    sizeTensors.set(key, name);
  }
  return name;
}

/** A one-element tensor with the run-time value of a named dimension, read off some tensor that has it. */
function runTimeSize({ builder, names }: Lowering, size: string): string {
  for (const [tensor, name] of names) {
    const axis = tensor.shape.indexOf(size);
    if (axis >= 0) return builder.node("Shape", [name], { attributes: { start: axis, end: axis + 1 } })[0];
  }
  throw new VentrisError("bad_shape", `no input has the dimension ${size}`);
}

/** The inverse that gradients of a norm ask for, if it has no name yet. */
const inverseOf = (
  { consumers, names }: Lowering,
  { inputs: [x], attributes: { epsilon } }: Tensor,
): Tensor | undefined =>
  consumers
    .get(x)
    ?.find((other) => other.operation === "rmsInverse" && other.attributes.epsilon === epsilon && !names.has(other));

/** The names of x · inverse · weight and, where it is wanted, of the inverse. */
function normalise(
  { builder, nameOf }: Lowering,
  { inputs: [x], attributes }: Tensor,
  weight: string,
  inverse: boolean,
): string[] {
  return builder.node("SimplifiedLayerNormalization", [nameOf(x), weight], {
    attributes: { axis: -1, epsilon: { float: attributes.epsilon as number }, stash_type: 1 },
    outputs: inverse ? 2 : 1,
  });
}

/**
 * A residual sum followed by rmsNorm is one operator, which also gives the sum. Returns the name of the sum, and names the norm's
 * output, when this addition feeds such a norm. In training the norm also has to give what it multiplied by, which that operation does not.
 */
function fusedResidualNorm(lowering: Lowering, sum: Tensor): string | undefined {
  const [a, b] = sum.inputs;
  const norm = lowering.consumers.get(sum)?.find((t) => t.operation === "rmsNorm" && t.inputs[0] === sum);
  const weight = norm?.inputs[1];
  const fits = norm && sameShape(a.shape, b.shape) && a.type === "float32" && [2, 3].includes(sum.shape.length);
  if (
    !fits ||
    !weight ||
    inverseOf(lowering, norm) ||
    product(sum.shape) === 0 ||
    !(lowering.names.has(weight) || isWeight(lowering, weight))
  )
    return undefined;
  const [normal, , , total] = lowering.builder.node(
    "SkipSimplifiedLayerNormalization",
    [a, b, weight].map(lowering.nameOf),
    {
      domain: microsoft,
      attributes: { epsilon: { float: norm.attributes.epsilon as number } },
      outputs: [true, false, false, true],
    },
  );
  lowering.names.set(norm, normal);
  return total;
}
