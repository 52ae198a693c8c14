import { add, concat, matmul, softmax, type Tensor } from "../tensor/index.ts";
import { groupQueries, joinHeads, scoresOf } from "./attention.ts";
import type { Attention } from "./family.ts";

export interface MaskedAttentionParts {
  /**
   * Additive [batch, 1, groups * length, past + length]: 0 where a row may look. The rows of a key head's queries stand below one another.
   * A function gives each layer its own.
   */
  readonly mask: Tensor | ((layer: number) => Tensor);
  /** Keys and values [batch, key-value heads, past, dimension] of a layer, which stand before those of the rows. */
  readonly past?: (layer: number) => { readonly keys: Tensor; readonly values: Tensor };
  /** Shown the keys and values of the rows themselves. */
  readonly keep?: (layer: number, keys: Tensor, values: Tensor) => void;
}

/** Attention of whole sequences under any mask: bidirectional, by blocks, to given keys and values. Inference and training alike. */
export function maskedAttention({ mask, past, keep }: MaskedAttentionParts): Attention {
  return (layer, queries, newKeys, newValues, style) => {
    keep?.(layer, newKeys, newValues);
    const before = past?.(layer);
    const keys = before ? concat([before.keys, newKeys], 2) : newKeys;
    const values = before ? concat([before.values, newValues], 2) : newValues;
    const keyValueHeads = newKeys.shape[1] as number;
    const grouped = groupQueries(queries, keyValueHeads);
    const scores = scoresOf(grouped, keys, style);
    const shown = typeof mask === "function" ? mask(layer) : mask;
    return joinHeads(matmul(softmax(add(scores, shown)), values), queries);
  };
}
