/**
 * The tri-gram matrix of ADED: for a pair of tokens, the tokens that may follow with their weights. A table is a layer of
 * changed rows over a fixed one below it: the counts of a text in flat arrays, or another table, of which a conversation can
 * so have its own private copy that costs nothing until it is written to.
 */

import { ensure } from "../../../errors.ts";
import { requireWhole } from "../../../numbers.ts";

/** Successors of a pair, heaviest first, equal weights by token: the order everywhere, so that runs are reproducible. */
export interface Row {
  readonly tokens: ArrayLike<number>;
  /** Positive float32 values; probabilities at first, up to the weight cap after updates. */
  readonly weights: ArrayLike<number>;
  /** Sum of the weights. */
  readonly total: number;
}

export interface TrigramTable {
  readonly vocabularySize: number;
  /** The tokenizer's, so that a table is never used with another one. */
  readonly fingerprint: string;
  /** Most successors of one pair. */
  readonly successors: number;
  /** Rows and successors that updates pushed out because of the limits. */
  readonly evicted: { rows: number; successors: number };
  find(first: number, second: number): Row | undefined;
  /**
   * Adds `amount` to the weight of `third` after (first, second), up to `most`; before that, the pair's weights are multiplied
   * by `keep`. Creates what is missing, and drops what has become nothing.
   */
  credit(first: number, second: number, third: number, amount: number, most: number, keep?: number): void;
  /** All pairs as first * vocabularySize + second, ascending. */
  keys(): Float64Array;
}

/** Rows one after the other: row i holds entries ends[i - 1] to ends[i]. */
export interface FlatRows {
  /** first * vocabularySize + second, ascending. */
  readonly keys: Float64Array;
  readonly ends: Uint32Array;
  readonly tokens: Uint32Array;
  readonly weights: Float32Array;
}

export const noRows: FlatRows = {
  keys: new Float64Array(0),
  ends: new Uint32Array(0),
  tokens: new Uint32Array(0),
  weights: new Float32Array(0),
};

export interface TableOptions {
  vocabularySize: number;
  fingerprint: string;
  successors?: number;
  /** Most changed rows kept; the one that was not updated for longest goes first, back to what lies below. */
  maximumRows?: number;
}

export function createTable(options: TableOptions, below: FlatRows | TrigramTable = noRows): TrigramTable {
  const { vocabularySize, fingerprint, successors = 12, maximumRows = 2 ** 18 } = options;
  requireWhole({ vocabularySize }, 1, 2 ** 26);
  requireWhole({ successors }, 1, 256);
  requireWhole({ maximumRows }, 1, 2 ** 23);
  ensure(!("find" in below) || below.successors <= successors, "bad_option", () => {
    return `a layer with ${successors} successors cannot lie over a table with ${(below as TrigramTable).successors}`;
  });
  /** Changed rows; a Map keeps insertion order, and each update inserts its row anew. */
  const changed = new Map<number, ChangedRow>();
  const evicted = { rows: 0, successors: 0 };
  const keyOf = (first: number, second: number) => first * vocabularySize + second;
  const findBelow = "find" in below ? below.find : finderOf(below, keyOf);

  return {
    vocabularySize,
    fingerprint,
    successors,
    evicted,
    find: (first, second) => changed.get(keyOf(first, second)) ?? findBelow(first, second),
    credit(first, second, third, amount, most, keep = 1) {
      const inside = (token: number) => Number.isInteger(token) && token >= 0 && token < vocabularySize;
      ensure(inside(first) && inside(second) && inside(third), "bad_option", () => {
        return `tri-gram ${first}, ${second}, ${third} is outside the vocabulary of ${vocabularySize}`;
      });
      const key = keyOf(first, second);
      const row = changed.get(key) ?? copyOf(findBelow(first, second));
      const { tokens, weights } = row;
      if (keep !== 1) for (let i = 0; i < weights.length; i++) weights[i] = Math.fround(weights[i] * keep);
      let at = tokens.indexOf(third);
      if (at < 0) {
        if (tokens.length >= successors) {
          tokens.length = weights.length = successors - 1;
          evicted.successors++;
        }
        at = tokens.push(third) - 1;
        weights.push(0);
      }
      // A weight that is already above the cap (of other options) is not taken down.
      weights[at] = Math.max(weights[at], Math.fround(Math.min(most, weights[at] + amount)));
      for (; at > 0 && before(row, at, at - 1); at--) swap(row, at, at - 1);
      // What was halved 150 times is 0 in 32 bits, and no longer known to follow: shares of nothing would be no numbers.
      while (weights.at(-1) === 0) tokens.length = weights.length -= 1;
      row.total = totalOf(weights);
      changed.delete(key);
      if (tokens.length === 0) return;
      changed.set(key, row);
      if (changed.size > maximumRows) {
        const [oldest] = changed.keys();
        changed.delete(oldest);
        evicted.rows++;
      }
    },
    keys() {
      const fixed = "find" in below ? below.keys() : below.keys;
      return Float64Array.from(new Set([...fixed, ...changed.keys()])).sort();
    },
  };
}

/** Entry i of a row belongs before entry j. */
function before({ tokens, weights }: ChangedRow, i: number, j: number): boolean {
  return weights[i] > weights[j] || (weights[i] === weights[j] && tokens[i] < tokens[j]);
}

function swap({ tokens, weights }: ChangedRow, i: number, j: number): void {
  [tokens[i], tokens[j]] = [tokens[j], tokens[i]];
  [weights[i], weights[j]] = [weights[j], weights[i]];
}

interface ChangedRow extends Row {
  tokens: number[];
  weights: number[];
  total: number;
}

function copyOf(row: Row | undefined): ChangedRow {
  const copy: ChangedRow = { tokens: [], weights: [], total: 0 };
  if (row) {
    for (let i = 0; i < row.tokens.length; i++) {
      copy.tokens.push(row.tokens[i]);
      copy.weights.push(row.weights[i]);
    }
  }
  return copy;
}

function totalOf(weights: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i];
  return total;
}

/** Rows found are remembered, as a text comes back to its pairs; all are forgotten when there are too many. */
const remembered = 2 ** 14;

function finderOf({ keys, ends, tokens, weights }: FlatRows, keyOf: (first: number, second: number) => number) {
  const known = new Map<number, Row | undefined>();
  return (first: number, second: number): Row | undefined => {
    const key = keyOf(first, second);
    if (known.has(key)) return known.get(key);
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle] < key) low = middle + 1;
      else high = middle;
    }
    let row: Row | undefined;
    if (keys[low] === key) {
      const start = low === 0 ? 0 : ends[low - 1];
      const ofRow = weights.subarray(start, ends[low]);
      row = { tokens: tokens.subarray(start, ends[low]), weights: ofRow, total: totalOf(ofRow) };
    }
    if (known.size >= remembered) known.clear();
    known.set(key, row);
    return row;
  };
}
