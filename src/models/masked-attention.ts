import { add, concat, matmul, softmax, type Tensor } from "../tensor/index.ts";
import { groupQueries, joinHeads } from "./attention.ts";
import type { Attention } from "./family.ts";

export interface MaskedAttentionParts {
  /** Additive [batch, 1, groups * length, past + length]: 0 where a row may look. The rows of a key head's queries stand below one another. */
  readonly mask: Tensor;
  /** Keys and values [batch, key-value heads, past, dimension] of a layer, which stand before those of the rows. */
  readonly past?: (layer: number) => { readonly keys: Tensor; readonly values: Tensor };
  /** Shown the keys and values of the rows themselves. */
  readonly keep?: (layer: number, keys: Tensor, values: Tensor) => void;
}

/** Attention of whole sequences under any mask: bidirectional, by blocks, to given keys and values. Inference and training alike. */
export function maskedAttention({ mask, past, keep }: MaskedAttentionParts): Attention {
  return (layer, queries, newKeys, newValues) => {
    keep?.(layer, newKeys, newValues);
    const before = past?.(layer);
    const keys = before ? concat([before.keys, newKeys], 2) : newKeys;
    const values = before ? concat([before.values, newValues], 2) : newValues;
    const [, keyValueHeads, , dimension] = newKeys.shape as number[];
    const grouped = groupQueries(queries, keyValueHeads);
    const scores = matmul(grouped, keys, { transposeB: true, scale: 1 / Math.sqrt(dimension) });
    return joinHeads(matmul(softmax(add(scores, mask)), values), queries);
  };
}
