/** Lazy tensors: operations with shapes, gradients, and their lowering to ONNX programs. */
export * from "./gradients.ts";
export * from "./lower.ts";
export type {
  BlockFormat,
  LoweredProgram,
  LoweringOptions,
  ParameterPlace,
  ValueDescription,
  WeightBinding,
} from "./lowering.ts";
export { planInput } from "./lowering.ts";
export * from "./norms.ts";
export { weightFileName } from "./onnx.ts";
export * from "./operations.ts";
export { type LstmState, type LstmWeights, lstm, lstmCell } from "./recurrent.ts";
export { rewrite } from "./rewrite.ts";
export { type Dimension, elementCount, product, type Shape, sameShape, shapeText } from "./shape.ts";
export {
  type Attributes,
  constant,
  type ElementType,
  elementTypeOf,
  input,
  parameter,
  parametersOf,
  scalar,
  type Tensor,
  type TensorData,
} from "./tensor.ts";
