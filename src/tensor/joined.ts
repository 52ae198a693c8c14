/** Products with matrices that are joined for one operator and whose result is taken apart again. */
import { type Shape, sameShape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** What a split takes apart: rows [rows, in] times each of the matrices [out, in], transposed. */
export interface JoinedProduct {
  readonly rows: Tensor;
  readonly matrices: readonly Tensor[];
}

/** The factors of x [a; b; …]^T where the split gives x a^T, x b^T, …; else undefined. */
export function joinedProduct(split: Tensor): JoinedProduct | undefined {
  const [product] = split.inputs;
  if (split.operation !== "split" || product.operation !== "matmul") return undefined;
  const [rows, { operation, inputs: matrices, attributes }] = product.inputs;
  const { transposeA, transposeB, scale } = product.attributes;
  const joined = operation === "concat" && attributes.axis === 0 && transposeB && !transposeA && scale === 1;
  if (!joined || rows.shape.length !== 2 || split.attributes.axis !== 1) return undefined;
  const heights = matrices.map(({ shape: [height] }) => height);
  return sameShape(split.attributes.sizes as Shape, heights) ? { rows, matrices } : undefined;
}
