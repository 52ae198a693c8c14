/** What lowering works on, and the weights that a lowered program names: where they lie in its file, and in which form. */
import { ensure, shown } from "../errors.ts";
import { type JoinedProduct, joinedProduct } from "./joined.ts";
import type { OnnxBuilder } from "./onnx.ts";
import { type Shape, shapeText } from "./shape.ts";
import type { ElementType, Tensor } from "./tensor.ts";

/**
 * How MatMulNBits keeps a matrix: codes in blocks along its rows, a float32 scale for each block, and for each a zero point, packed
 * like the codes, or without them half of the codes' range.
 */
export interface BlockFormat {
  readonly bits: 4 | 8;
  readonly blockSize: 32 | 64 | 128;
  readonly zeroPoints: boolean;
}

/**
 * A weight the program needs when it is compiled: the named parameters, joined along their first axis, as float32 values or in
 * blocks. Offsets are those of its bytes in the program's weight file.
 */
export type WeightBinding = { readonly parameters: readonly string[]; readonly shape: readonly number[] } & (
  | { readonly bits: 32; readonly values: number }
  | (BlockFormat & { readonly packed: number; readonly scales: number; readonly zeros?: number })
);

/** Name, type and shape of an input or output. */
export interface ValueDescription {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: Shape;
}

/** A program as ONNX, with its inputs, outputs and the weights that it refers to. */
export interface LoweredProgram {
  readonly model: Uint8Array<ArrayBuffer>;
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
  readonly weights: readonly WeightBinding[];
  /** Length of the weight file. */
  readonly weightBytes: number;
  /** Some input's dimensions are known only when the program runs: it then has the input `planInput` besides. */
  readonly varies: boolean;
}

/** An input that no operator reads, bytes [any, 0]: it chooses the memory plan of a run, see `runtime/plans.ts`. */
export const planInput = "memory.plan";

/** Whether a parameter is part of the compiled program or an input of every run. */
export type ParameterPlace = "weights" | "inputs";

/** How a program is lowered. */
export interface LoweringOptions {
  /**
   * "weights" bakes parameters in when the program is compiled; "inputs" feeds them at every run (what is trained). A function says it of
   * each parameter: a frozen base with parts that are trained.
   */
  parameters: ParameterPlace | ((name: string) => ParameterPlace);
  /** Weights that lie in a file already: a second program over the same file takes them from there, and may use no others. Default: a file of its own. */
  layout?: Pick<LoweredProgram, "weights" | "weightBytes">;
  /** Blocks for a matrix that stands on the right of a product, or is a table to gather from; undefined keeps float32. Default: float32 everywhere. */
  blocks?: (parameters: readonly string[], shape: readonly number[]) => BlockFormat | undefined;
  /**
   * Which products with a transposed or scaled side there are: "fused" (default) takes the runtime's own, "plain" makes them of ONNX's
   * operators, for devices without the former, where each would go to the processor and back.
   */
  products?: "fused" | "plain";
}

export interface Lowering {
  readonly builder: OnnxBuilder;
  readonly options: LoweringOptions;
  readonly names: Map<Tensor, string>;
  readonly consumers: Map<Tensor, Tensor[]>;
  readonly weights: Map<string, WeightBinding>;
  /** Tensors of sizes known only when the program runs, by the sizes. */
  readonly sizeTensors: Map<string, string>;
  nameOf(tensor: Tensor): string;
}

/** Parameter names behind a tensor that is one parameter, or parameters joined along the first axis. */
function parameterNames(tensor: Tensor): string[] | undefined {
  if (tensor.operation === "parameter") return [tensor.attributes.name as string];
  if (tensor.operation !== "concat" || tensor.attributes.axis !== 0) return undefined;
  const names = tensor.inputs.map(parameterNames);
  return names.every((n) => n !== undefined) ? names.flat() : undefined;
}

export function isWeight({ options: { parameters } }: Lowering, tensor: Tensor): boolean {
  if (parameters === "inputs") return false;
  const names = parameterNames(tensor);
  return names?.every((name) => placeOf(parameters, name) === "weights") ?? false;
}

function placeOf(parameters: LoweringOptions["parameters"], name: string): ParameterPlace {
  const place = typeof parameters === "function" ? parameters(name) : parameters;
  ensure(place === "weights" || place === "inputs", "bad_option", () => {
    return `lower: parameters("${name}") gives ${shown(place)}, and must give "weights" or "inputs"`;
  });
  return place;
}

/**
 * Declares a weight the first time it is used. Its initializer is `name`, or what `blocks` names: codes, scales and, where
 * the format has them, zero points.
 */
export function bind(
  { weights, builder, options }: Lowering,
  tensor: Tensor,
  quantizable: (format: BlockFormat) => boolean,
): { name: string; blocks?: BlockFormat & { packed: string; factors: readonly string[] } } {
  const parameters = parameterNames(tensor)!;
  const shape = tensor.shape as readonly number[];
  const wanted = shape.length === 2 ? options.blocks?.(parameters, shape) : undefined;
  ensure(wanted === undefined || isFormat(wanted), "bad_option", () => {
    return `lower: blocks gives ${shown(wanted)} for ${parameters.join("|")}, and must give 4 or 8 bits in blocks of 32, 64 or 128, or nothing`;
  });
  const format = wanted && quantizable(wanted) ? wanted : undefined;
  const name = `${parameters.join("|")}#${format?.bits ?? 32}`;
  const names = { packed: `${name}.packed`, scales: `${name}.scales`, zeros: `${name}.zeros` };
  const blocks = format && {
    ...format,
    packed: names.packed,
    factors: format.zeroPoints ? [names.scales, names.zeros] : [names.scales],
  };
  if (weights.has(name)) return { name, blocks };
  const known = options.layout?.weights.find(
    (w) => w.parameters.join("|") === parameters.join("|") && w.bits === (format?.bits ?? 32),
  );
  ensure(known || !options.layout, "internal", () => `${name} is not among the weights that were laid out`);
  if (!format) {
    const bytes = shape.reduce((a, b) => a * b, 4);
    const values = builder.external(name, "float32", shape, bytes, known?.bits === 32 ? known.values : undefined);
    weights.set(name, { parameters, shape, bits: 32, values });
  } else {
    const [rows, columns] = shape;
    const count = Math.ceil(columns / format.blockSize);
    const blob = (format.blockSize * format.bits) / 8;
    const zeroBytes = Math.ceil((count * format.bits) / 8);
    const at = known?.bits === 32 ? undefined : known;
    const packed = builder.external(names.packed, "uint8", [rows, count, blob], rows * count * blob, at?.packed);
    const scales = builder.external(names.scales, "float32", [rows, count], rows * count * 4, at?.scales);
    const zeros = format.zeroPoints
      ? builder.external(names.zeros, "uint8", [rows, zeroBytes], rows * zeroBytes, at?.zeros)
      : undefined;
    weights.set(name, { parameters, shape, ...format, packed, scales, zeros });
  }
  return { name, blocks };
}

function isFormat(value: unknown): boolean {
  const { bits, blockSize, zeroPoints } = (value ?? {}) as Partial<Record<keyof BlockFormat, unknown>>;
  return (
    [4, 8].some((one) => one === bits) &&
    [32, 64, 128].some((one) => one === blockSize) &&
    typeof zeroPoints === "boolean"
  );
}

export function weightName(lowering: Lowering, tensor: Tensor): string {
  ensure(
    isWeight(lowering, tensor),
    "internal",
    () => `${tensor.operation} ${shapeText(tensor.shape)} was used before it was lowered`,
  );
  return bind(lowering, tensor, () => false).name;
}

/** From so many rows on, taking a product apart costs more than making each part by itself. */
const manyRows = 64;

/**
 * What is computed in place of a joined product that is only taken apart. Where weights are baked in and rows are few, the joined product
 * is one operator and fast; else separate products save joining and splitting.
 */
export function separateProducts(lowering: Lowering, split: Tensor): JoinedProduct | undefined {
  const { consumers, options } = lowering;
  const joined = joinedProduct(split);
  const [product] = split.inputs;
  if (!joined || consumers.get(product)!.length !== 1) return undefined;
  const [rows] = joined.rows.shape;
  const few = options.blocks || options.layout || typeof rows === "string" || rows < manyRows;
  return few && isWeight(lowering, product.inputs[1]) ? undefined : joined;
}
