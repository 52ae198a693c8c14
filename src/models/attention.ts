import {
  add,
  concat,
  constant,
  expand,
  matmul,
  reshape,
  softmax,
  split,
  type Tensor,
  transpose,
} from "../tensor/index.ts";
import type { Attention } from "./family.ts";

/**
 * Grouped-query attention (Ainslie et al. 2023) in one shape: the queries that share a key head stand below one another as extra rows,
 * so that a plain batched product serves them all.
 */
const groupQueries = (queries: Tensor, keyValueHeads: number): Tensor => {
  const [batch, , , dimension] = queries.shape;
  return reshape(queries, [batch, keyValueHeads, -1, dimension]);
};

/** [batch, key-value heads, groups * length, dimension] back to [batch * length, heads * dimension]. */
function joinHeads(weighted: Tensor, queries: Tensor): Tensor {
  const [, heads, , dimension] = queries.shape as number[];
  const perHead = reshape(weighted, queries.shape);
  return reshape(transpose(perHead, [0, 2, 1, 3]), [-1, heads * dimension]);
}

/** Attention of whole texts to their own past: training. `window` limits how far back a position sees. */
export function causalAttention(length: number, groups: number, window = length): Attention {
  const mask = new Float32Array(groups * length * length);
  for (let row = 0; row < groups * length; row++) {
    const position = row % length;
    for (let key = 0; key < length; key++) {
      if (key > position || key <= position - window) mask[row * length + key] = -1e9;
    }
  }
  const small = constant(mask, [1, 1, groups * length, length]);
  // Adding equal shapes runs on all threads, a broadcast on one: the full mask is made once for all layers.
  let causal: Tensor | undefined;
  return (_, queries, keys, values) => {
    const [, keyValueHeads, , dimension] = keys.shape as number[];
    const grouped = groupQueries(queries, keyValueHeads);
    const scores = matmul(grouped, keys, { transposeB: true, scale: 1 / Math.sqrt(dimension) });
    causal ??= expand(small, scores.shape);
    return joinHeads(matmul(softmax(add(scores, causal)), values), queries);
  };
}

export interface KeysAndValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/**
 * Attention of new rows to the key-value arena and to each other, in two parts that share one softmax, so that the arena is never
 * concatenated with the new rows. `arena(layer)` gives keys and values [1, key-value heads, slots, dimension]; `mask` is additive,
 * [1, 1, groups * rows, slots + rows], 0 for ancestors and the row itself. `store` receives the new keys and values, and returns them
 * as a later pass will read them: rows of one pass must not see more of each other than rows of different passes do.
 */
export function arenaAttention(
  arena: (layer: number) => KeysAndValues,
  mask: Tensor,
  store: (layer: number, entries: KeysAndValues) => KeysAndValues,
): Attention {
  return (layer, queries, newKeys, newValues) => {
    const { keys, values } = store(layer, { keys: newKeys, values: newValues });
    const past = arena(layer);
    const [, keyValueHeads, rows, dimension] = keys.shape;
    const slots = past.keys.shape[2];
    const grouped = groupQueries(queries, keyValueHeads as number);
    const scaled = { transposeB: true, scale: 1 / Math.sqrt(dimension as number) };
    const scores = add(concat([matmul(grouped, past.keys, scaled), matmul(grouped, keys, scaled)], 3), mask);
    const [old, fresh] = split(softmax(scores), [slots, rows], 3);
    return joinHeads(add(matmul(old, past.values), matmul(fresh, values)), queries);
  };
}
