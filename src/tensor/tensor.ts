/**
 * Lazy tensors: nodes of a graph that know their operation, inputs, shape and element type, and compute nothing. The same
 * graph is lowered to ONNX for inference or extended by `gradients` for training.
 */
import { ensure, leaveUnheard, shown, VentrisError } from "../errors.ts";
import { type Dimension, type Shape, shapeText } from "./shape.ts";

/** Types of a tensor's elements. */
export type ElementType = "float32" | "float16" | "int64" | "int32" | "uint8" | "bool";
/** Halves stand as their 16 bits. */
export type TensorData = Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array;
/** What an operation is told beside its inputs. */
export type Attributes = Readonly<Record<string, unknown>>;

/** A node of a lazy program: an operation on other tensors, with its shape and type. */
export interface Tensor {
  readonly operation: string;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly shape: Shape;
  readonly type: ElementType;
}

/** Errors: `bad_shape` naming the operation for a size that is no whole number from 0 on. */
export function createTensor(
  operation: string,
  inputs: readonly Tensor[],
  shape: readonly Dimension[],
  type: ElementType,
  attributes: Attributes = {},
): Tensor {
  for (const size of shape)
    ensure(typeof size === "string" || (Number.isSafeInteger(size) && size >= 0), "bad_shape", () => {
      return `${operation}: ${shapeText(shape)} has the size ${size}, which must be a whole number from 0 on`;
    });
  return { operation, inputs, attributes, shape, type };
}

/** Of what a caller's function gave back in place of a tensor. Errors: `bad_option`. */
export function requireTensor(value: unknown, what: string): asserts value is Tensor {
  const { operation, inputs, shape } = (value ?? {}) as Partial<Tensor>;
  if (typeof operation === "string" && Array.isArray(inputs) && Array.isArray(shape)) return;
  leaveUnheard(value);
  throw new VentrisError("bad_option", `${what} must be a tensor, not ${shown(value)}`);
}

/** A value given at every run. Errors: `bad_shape`. */
export function input(name: string, shape: Shape, type: ElementType = "float32"): Tensor {
  return createTensor("input", [], shape, type, { name });
}

/**
 * A named weight. Inference bakes its value into the program (perhaps quantised); training feeds it as an input and asks for
 * its gradient. Errors: `bad_shape`.
 */
export function parameter(name: string, shape: readonly number[]): Tensor {
  return createTensor("parameter", [], shape, "float32", { name });
}

/** A value baked into the program. `data` is row-major and has as many elements as the shape says. Errors: `bad_shape`. */
export function constant(data: TensorData, shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (data.length !== size) {
    throw new VentrisError("bad_shape", `constant: ${data.length} values do not fill ${shapeText(shape)}`);
  }
  return createTensor("constant", [], shape, elementTypeOf(data), { data });
}

/** A constant of shape []. */
export const scalar = (value: number): Tensor => constant(new Float32Array([value]), []);

const elementTypes = {
  Float32Array: "float32",
  Uint16Array: "float16",
  BigInt64Array: "int64",
  Int32Array: "int32",
  Uint8Array: "uint8",
} as const;

/** The element type that a typed array holds. */
export function elementTypeOf(data: TensorData): ElementType {
  return elementTypes[data[Symbol.toStringTag]];
}

/** Every tensor that the given ones depend on, each after its inputs. Iterative: graphs are deeper than the call stack. */
export function topologicalOrder(outputs: readonly Tensor[]): Tensor[] {
  const order: Tensor[] = [];
  const state = new Map<Tensor, "open" | "done">();
  const stack = [...outputs].reverse();
  while (stack.length > 0) {
    const tensor = stack[stack.length - 1];
    if (state.has(tensor)) {
      stack.pop();
      if (state.get(tensor) === "open") {
        state.set(tensor, "done");
        order.push(tensor);
      }
      continue;
    }
    state.set(tensor, "open");
    for (let i = tensor.inputs.length - 1; i >= 0; i--) if (!state.has(tensor.inputs[i])) stack.push(tensor.inputs[i]);
  }
  return order;
}

/** The parameters that the given tensors depend on, by name. A program uses one tensor for each parameter. */
export function parametersOf(...outputs: readonly Tensor[]): Map<string, Tensor> {
  const parameters = topologicalOrder(outputs).filter((tensor) => tensor.operation === "parameter");
  return new Map(parameters.map((tensor) => [tensor.attributes.name as string, tensor]));
}
