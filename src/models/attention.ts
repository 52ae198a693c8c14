import {
  add,
  concat,
  constant,
  expand,
  matmul,
  multiply,
  negate,
  reduceSum,
  reshape,
  type Shape,
  scalar,
  slice,
  softmax,
  split,
  type Tensor,
  transpose,
  withGradient,
} from "../tensor/index.ts";
import type { Attention } from "./family.ts";

/**
 * Grouped-query attention (Ainslie et al. 2023) in one shape: the queries that share a key head stand below one another as extra rows,
 * so that a plain batched product serves them all.
 */
export const groupQueries = (queries: Tensor, keyValueHeads: number): Tensor => {
  const [batch, , , dimension] = queries.shape;
  return reshape(queries, [batch, keyValueHeads, -1, dimension]);
};

/** [batch, key-value heads, groups * length, dimension] back to [batch * length, heads * dimension]. */
export function joinHeads(weighted: Tensor, queries: Tensor): Tensor {
  const [, heads, , dimension] = queries.shape as number[];
  const perHead = reshape(weighted, queries.shape);
  return reshape(transpose(perHead, [0, 2, 1, 3]), [-1, heads * dimension]);
}

/** Queries of a text that are scored together, against the keys up to the last of them. */
interface CausalBlock {
  readonly start: number;
  readonly end: number;
  /** Additive, [1, 1, groups * (end - start), end]. */
  readonly mask: Tensor;
}

/** What is above the diagonal need not be computed: with four blocks three eighths of the work go; smaller products are slower. */
function causalBlocks(length: number, groups: number, window: number): CausalBlock[] {
  const size = Math.max(64, Math.ceil(length / 8));
  return Array.from({ length: Math.ceil(length / size) }, (_, block) => {
    const [start, end] = [block * size, Math.min(length, (block + 1) * size)];
    const rows = groups * (end - start);
    const mask = new Float32Array(rows * end);
    for (let row = 0; row < rows; row++) {
      const position = start + (row % (end - start));
      for (let key = 0; key < end; key++) {
        if (key > position || key <= position - window) mask[row * end + key] = -1e9;
      }
    }
    return { start, end, mask: constant(mask, [1, 1, rows, end]) };
  });
}

/**
 * Attention of whole texts to their own past: training. `window` limits how far back a position sees. The gradient is that of
 * FlashAttention (Dao et al. 2022, section 3.1 and appendix B): with P the softmax, O = P V and D the row sums of dO * O,
 * dS = P * (dO V^T - D); the subtraction rides in the product as one more column.
 */
export function causalAttention(length: number, groups: number, window = length): Attention {
  const blocks = causalBlocks(length, groups, window);
  const sizes = blocks.map(({ start, end }) => end - start);
  // Adding equal shapes runs on all threads, a broadcast on one: the full masks are made once for all layers.
  const full = new Map<CausalBlock, Tensor>();
  const maskOf = (block: CausalBlock, shape: Shape): Tensor => {
    if (!full.has(block)) full.set(block, expand(block.mask, shape));
    return full.get(block)!;
  };
  return (_, queries, keys, values) => {
    const [batch, heads, , dimension] = queries.shape as number[];
    const keyValueHeads = keys.shape[1] as number;
    const scale = 1 / Math.sqrt(dimension);
    const whole = [batch, keyValueHeads, groups, length];
    /** Each block's rows of a tensor of the queries' shape but for its last dimension. */
    const rowsOf = (x: Tensor): Tensor[] => {
      const width = x.shape[x.shape.length - 1];
      return split(reshape(x, [...whole, width]), sizes, 3).map((part, i) =>
        reshape(part, [batch, keyValueHeads, groups * sizes[i], width]),
      );
    };
    /** The inverse of `rowsOf`, as [batch, heads, length, width]. */
    const join = (parts: readonly Tensor[]): Tensor => {
      const pieces = parts.map((part, i) => reshape(part, [...whole.slice(0, 3), sizes[i], part.shape[3]]));
      return reshape(concat(pieces, 3), [batch, heads, length, parts[0].shape[3]]);
    };
    const past = (x: Tensor, { end }: CausalBlock): Tensor => slice(x, 2, 0, end);

    const rows = rowsOf(queries);
    const weights = blocks.map((block, i) => {
      const scores = matmul(rows[i], past(keys, block), { transposeB: true, scale });
      return softmax(add(scores, maskOf(block, scores.shape)));
    });
    const output = join(weights.map((p, i) => matmul(p, past(values, blocks[i]))));

    const rule = (g: Tensor): Tensor[] => {
      const shift = negate(reduceSum(multiply(g, output), -1, true));
      const shifted = rowsOf(concat([g, shift], 3));
      const extended = concat([values, expand(scalar(1), [batch, keyValueHeads, length, 1])], 3);
      const scores = blocks.map((block, i) =>
        multiply(weights[i], matmul(shifted[i], past(extended, block), { transposeB: true })),
      );
      const forQueries = join(scores.map((d, i) => matmul(d, past(keys, blocks[i]), { scale })));
      // Transposing a narrow result is cheaper than a product with the large factor transposed.
      const forKeys = scores.map((d, i) => matmul(rows[i], d, { transposeA: true, scale }));
      const forValues = rowsOf(g).map((part, i) => matmul(part, weights[i], { transposeA: true }));
      return [
        forQueries,
        transpose(sumOfPrefixes(forKeys), [0, 1, 3, 2]),
        transpose(sumOfPrefixes(forValues), [0, 1, 3, 2]),
      ];
    };
    return joinHeads(withGradient(output, [queries, keys, values], rule), queries);
  };
}

/** Sum of tensors of growing size along the last axis, the shorter ones followed by zeros. */
function sumOfPrefixes(parts: readonly Tensor[]): Tensor {
  return parts.reduce((sum, part) => {
    const missing = (part.shape[3] as number) - (sum.shape[3] as number);
    return add(concat([sum, expand(scalar(0), [...part.shape.slice(0, 3), missing])], 3), part);
  });
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
