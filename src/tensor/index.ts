export * from "./gradients.ts";
export * from "./lower.ts";
export * from "./operations.ts";
export { type Dimension, type Shape, sameShape, shapeText } from "./shape.ts";
export {
  constant,
  type ElementType,
  elementTypeOf,
  input,
  parameter,
  scalar,
  type Tensor,
  type TensorData,
} from "./tensor.ts";
