/** Norms along the last axis: operations of their own, since the runtime has them as one. */
import { requireWithin } from "../numbers.ts";
import { sameShape, shapeError } from "./shape.ts";
import { createTensor, type Tensor } from "./tensor.ts";

const requireEpsilon = (operation: string, epsilon: number): void =>
  requireWithin({ [`${operation}: epsilon`]: epsilon }, 0);

/** x / sqrt(mean(x^2) + epsilon) * weight along the last axis (Zhang and Sennrich 2019). Errors: `bad_shape`; `bad_option` for an epsilon below 0. */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  requireEpsilon("rmsNorm", epsilon);
  if (!sameShape(weight.shape, x.shape.slice(-1)))
    throw shapeError("rmsNorm", x.shape, weight.shape, "need a weight of the last dimension");
  return createTensor("rmsNorm", [x, weight], x.shape, x.type, { epsilon });
}

/** 1 / sqrt(mean(x^2) + epsilon) along the last axis, which is kept with size 1: what `rmsNorm` multiplies by, and computes with it. Errors: `bad_option` for an epsilon below 0. */
export function rmsInverse(x: Tensor, epsilon: number): Tensor {
  requireEpsilon("rmsInverse", epsilon);
  return createTensor("rmsInverse", [x], [...x.shape.slice(0, -1), 1], x.type, { epsilon });
}

/** (x - mean) / sqrt(variance + epsilon) * weight + bias along the last axis (Ba et al. 2016). Errors: `bad_shape`; `bad_option` for an epsilon below 0. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: number): Tensor {
  requireEpsilon("layerNorm", epsilon);
  if (!sameShape(weight.shape, x.shape.slice(-1)) || !sameShape(bias.shape, weight.shape)) {
    throw shapeError("layerNorm", x.shape, weight.shape, "need weight and bias of the last dimension");
  }
  return createTensor("layerNorm", [x, weight, bias], x.shape, x.type, { epsilon });
}
