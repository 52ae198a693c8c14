/** Builds a tri-gram table by counting: weight = P(third | first, second), the likeliest successors of each pair. */
import { ensure } from "../../../errors.ts";
import { createTable, type TableOptions, type TrigramTable } from "./table.ts";

export interface TableBuilder {
  /** Counts one text; texts of fewer than 3 tokens have no tri-gram. */
  add(tokens: ArrayLike<number>): void;
  finish(): TrigramTable;
}

export interface BuildOptions extends TableOptions {
  /** Most pairs kept: the most frequent ones. */
  maximumPairs?: number;
  /** Most tokens taken in; `add` throws `out_of_memory` beyond. Building needs 12 bytes a token. */
  maximumTokens?: number;
}

export function createTableBuilder(options: BuildOptions): TableBuilder {
  const { vocabularySize, successors = 12, maximumPairs = 2 ** 20, maximumTokens = 2 ** 26 } = options;
  const texts: Uint32Array[] = [];
  let size = 0;

  return {
    add(tokens) {
      size += tokens.length;
      ensure(
        size <= maximumTokens,
        "out_of_memory",
        `the texts have more than ${maximumTokens} tokens; raise maximumTokens`,
      );
      for (let i = 0; i < tokens.length; i++) {
        const valid = Number.isInteger(tokens[i]) && tokens[i] >= 0 && tokens[i] < vocabularySize;
        ensure(valid, "bad_option", () => `token ${tokens[i]} is outside the vocabulary of ${vocabularySize}`);
      }
      if (tokens.length >= 3) texts.push(Uint32Array.from(tokens));
    },

    finish() {
      // Tri-grams as one sorted array of numbers. Tokens are replaced by their rank among those that occur, so that a
      // tri-gram stays below 2^53 for any real vocabulary.
      const occurs = new Uint8Array(vocabularySize);
      for (const text of texts) for (const token of text) occurs[token] = 1;
      const tokenOf: number[] = [];
      const rank = new Uint32Array(vocabularySize);
      occurs.forEach((yes, token) => {
        if (yes) rank[token] = tokenOf.push(token) - 1;
      });
      const base = tokenOf.length;
      ensure(
        base ** 3 <= 2 ** 53,
        "bad_option",
        `the texts use ${base} different tokens; at most 208063 can be counted`,
      );
      const trigrams = new Float64Array(texts.reduce((count, text) => count + text.length - 2, 0));
      let filled = 0;
      for (const text of texts) {
        for (let i = 0; i + 2 < text.length; i++) {
          trigrams[filled++] = (rank[text[i]] * base + rank[text[i + 1]]) * base + rank[text[i + 2]];
        }
      }
      trigrams.sort();

      const rows: { key: number; total: number; tokens: number[]; weights: number[] }[] = [];
      for (let start = 0; start < trigrams.length; ) {
        const pair = Math.floor(trigrams[start] / base);
        const counts: { token: number; count: number }[] = [];
        let end = start;
        while (end < trigrams.length && Math.floor(trigrams[end] / base) === pair) {
          const first = end;
          while (end < trigrams.length && trigrams[end] === trigrams[first]) end++;
          counts.push({ token: tokenOf[trigrams[first] - pair * base], count: end - first });
        }
        counts.sort((a, b) => b.count - a.count || a.token - b.token);
        counts.length = Math.min(counts.length, successors);
        const total = end - start;
        rows.push({
          key: tokenOf[Math.floor(pair / base)] * vocabularySize + tokenOf[pair % base],
          total,
          tokens: counts.map(({ token }) => token),
          weights: counts.map(({ count }) => count / total),
        });
        start = end;
      }
      if (rows.length > maximumPairs) {
        rows.sort((a, b) => b.total - a.total || a.key - b.key).length = maximumPairs;
        rows.sort((a, b) => a.key - b.key);
      }
      let entries = 0;
      return createTable(options, {
        keys: Float64Array.from(rows, (row) => row.key),
        ends: Uint32Array.from(rows, (row) => (entries += row.tokens.length)),
        tokens: Uint32Array.from(rows.flatMap((row) => row.tokens)),
        weights: Float32Array.from(rows.flatMap((row) => row.weights)),
      });
    },
  };
}
