import {
  add,
  concat,
  constant,
  divide,
  equal,
  exp,
  expand,
  type GradientRule,
  matmul,
  multiply,
  negate,
  reduceMax,
  reduceSum,
  reshape,
  type Shape,
  scalar,
  scatterNd,
  slice,
  softmax,
  split,
  square,
  subtract,
  type Tensor,
  tanh,
  transpose,
  where,
  withGradient,
} from "../tensor/index.ts";
import type { Attention, AttentionStyle } from "./family.ts";

/**
 * Added to the score of what a row may not look at. Far below every score that edits can bring about (see `largestValue`): what is hidden would
 * else be looked at, and its values reach other texts. Finite, as a row of -Infinity alone would give NaN.
 */
export const hidden = -1e38;

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

/** Products of queries [..., rows, dimension] and keys [..., columns, dimension], scaled and, where the model does so, capped. */
export function scoresOf(queries: Tensor, keys: Tensor, { scale, cap }: AttentionStyle = {}): Tensor {
  const factor = scale ?? 1 / Math.sqrt(keys.shape.at(-1) as number);
  if (cap === undefined) return matmul(queries, keys, { transposeB: true, scale: factor });
  return multiply(tanh(matmul(queries, keys, { transposeB: true, scale: factor / cap })), cap);
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
        if (key > position || key <= position - window) mask[row * end + key] = hidden;
      }
    }
    return { start, end, mask: constant(mask, [1, 1, rows, end]) };
  });
}

/**
 * Attention of whole texts to their own past: training. `window` limits how far back a position sees. The gradient is that of
 * FlashAttention (Dao et al. 2022, section 3.1 and appendix B): with P the softmax, O = P V and D the row sums of dO * O,
 * dS = P * (dO V^T - D); the subtraction rides in the product as one more column. Scores that are capped, c tanh(s / c), pass on
 * 1 - tanh^2 of their gradient.
 * `documents` [batch, length], if given, numbers the document of each token, which then sees only its own.
 */
export function causalAttention(length: number, groups: number, window = length, documents?: Tensor): Attention {
  const blocks = causalBlocks(length, groups, window);
  const sizes = blocks.map(({ start, end }) => end - start);
  // Adding equal shapes runs on all threads, a broadcast on one: the full masks are made once for all layers.
  const full = new Map<CausalBlock, Tensor>();
  const maskOf = (block: CausalBlock, shape: Shape): Tensor => {
    if (!full.has(block))
      full.set(block, documents ? withinDocuments(block, groups, documents) : expand(block.mask, shape));
    return full.get(block)!;
  };
  return (_, queries, keys, values, style = {}) => {
    const [batch, heads, , dimension] = queries.shape as number[];
    const keyValueHeads = keys.shape[1] as number;
    const { scale = 1 / Math.sqrt(dimension), cap } = style;
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
    const allScores = blocks.map((block, i) => scoresOf(rows[i], past(keys, block), style));
    const weights = blocks.map((block, i) => softmax(add(allScores[i], maskOf(block, allScores[i].shape))));
    const output = join(weights.map((p, i) => matmul(p, past(values, blocks[i]))));

    const rule: GradientRule = (g, { value, sources: [queries, keys, values], saved }) => {
      const [weights, capped] = [saved.slice(0, blocks.length), saved.slice(blocks.length)];
      const rows = rowsOf(queries);
      const shift = negate(reduceSum(multiply(g, value), -1, true));
      const shifted = rowsOf(concat([g, shift], 3));
      const extended = concat([values, expand(scalar(1), [batch, keyValueHeads, length, 1])], 3);
      const scores = blocks.map((block, i) => {
        const given = multiply(weights[i], matmul(shifted[i], past(extended, block), { transposeB: true }));
        return cap === undefined ? given : multiply(given, subtract(1, square(multiply(capped[i], 1 / cap))));
      });
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
    const saved = cap === undefined ? weights : [...weights, ...allScores];
    return joinHeads(withGradient(output, [queries, keys, values], rule, saved), queries);
  };
}

/** A block's mask with the documents kept apart, [batch, 1, groups * rows, end]. */
function withinDocuments({ start, end, mask }: CausalBlock, groups: number, documents: Tensor): Tensor {
  const [batch] = documents.shape as number[];
  const rows = end - start;
  const own = slice(documents, 1, start, end);
  const ofRows = reshape(
    concat(
      Array.from({ length: groups }, () => own),
      1,
    ),
    [batch, 1, groups * rows, 1],
  );
  return where(equal(ofRows, reshape(slice(documents, 1, 0, end), [batch, 1, 1, end])), mask, hidden);
}

/** Sum of tensors of growing size along the last axis, the shorter ones followed by zeros. */
function sumOfPrefixes(parts: readonly Tensor[]): Tensor {
  return parts.reduce((sum, part) => {
    const missing = (part.shape[3] as number) - (sum.shape[3] as number);
    return add(concat([sum, expand(scalar(0), [...part.shape.slice(0, 3), missing])], 3), part);
  });
}

/** A layer's earlier keys and values: [pages, lanes, key-value heads, page, dimension], and values with one column more, of ones. */
export interface Past {
  readonly keys: Tensor;
  readonly values: Tensor;
  /** Pages that are not full, with room for the new rows. */
  readonly lastKeys: Tensor;
  readonly lastValues: Tensor;
}

/** What the rows of a layer look at. */
export interface PagedRows {
  /** Where new rows go in the last pages, [lanes, key-value heads, rows, 4]: page, lane, head, column. */
  readonly places: Tensor;
  /** Additive, [pages + last pages, lanes, 1, groups * rows, page]: 0 where a row may look. */
  readonly mask: Tensor;
  /** Ones, [lanes, key-value heads, rows, 1]. */
  readonly ones: Tensor;
}

export interface PagedInputs {
  past(layer: number): Past;
  rows(layer: number): PagedRows;
  /**
   * Receives the new keys, and the new values with ones, and returns them as they are kept: rows of one pass must not see more of
   * each other than rows of different passes do.
   */
  store(layer: number, kind: "keys" | "values", value: Tensor): Tensor;
}

/**
 * Attention of new rows to their texts, whose bits depend on nothing else in the pass. A text's positions are cut into pages; a page's
 * weighted values are summed in order of position, and pages are added in order: full pages as they lie in memory, the last ones put
 * together here from earlier rows and new ones. That holds because ONNX Runtime's products add one column after another
 * to an element, whatever the number of rows, so that columns of weight zero change nothing, up to 128 columns at least. Its product for
 * a single row does not, and is taken only where the factor of the result is one: hence the factor of two, which the division takes
 * out again, exactly. The column of ones gives the sum of the weights by the same products.
 */
export function pagedAttention({ past, rows, store }: PagedInputs): Attention {
  return (layer, queries, newKeys, newValues, style) => {
    const { places, mask, ones } = rows(layer);
    const [, keyValueHeads, , dimension] = newKeys.shape as number[];
    const { keys, values, lastKeys, lastValues } = past(layer);
    const freshKeys = scatterNd(lastKeys, places, store(layer, "keys", newKeys));
    const freshValues = scatterNd(lastValues, places, store(layer, "values", concat([newValues, ones], 3)));
    const grouped = groupQueries(queries, keyValueHeads);
    const scores = add(concat([scoresOf(grouped, keys, style), scoresOf(grouped, freshKeys, style)], 0), mask);
    const largest = reduceMax(scores, [0, -1], true);
    const weights = exp(subtract(scores, largest));
    const [old, fresh] = split(weights, [keys.shape[0], lastKeys.shape[0]], 0);
    const parts = [matmul(old, values, { scale: 2 }), matmul(fresh, freshValues, { scale: 2 })];
    const [sums, total] = split(reduceSum(concat(parts, 0), 0), [dimension, 1], 3);
    return joinHeads(divide(sums, total), queries);
  };
}
