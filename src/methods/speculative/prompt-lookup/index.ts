/** Prompt lookup: proposes what followed the last tokens when they occurred before. No draft model; the draft costs nothing. */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { largestBudget, nodesOf } from "../budget.ts";
import { freeDraftOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";
import { addPath, createTree, type DraftTree } from "../tree.ts";

/** All n-grams of a growing context by their last position; O(maximum - minimum + 1) time and memory a token. */
export interface NgramIndex {
  push(token: number): void;
  /**
   * Where earlier occurrences of the context's last n tokens end (the positions after them), n from the maximum down to
   * the minimum, and for one n the most recent first; at most `count`, all distinct.
   */
  occurrences(count: number): number[];
  /** The token at this position. Beyond the end it repeats what follows `start`, as if the proposal had been appended. */
  continuation(start: number, offset: number): number;
}

/** Chains of equal hashes are followed this far, so that a context of one repeated token stays cheap. */
const maximumSteps = 64;

export function createNgramIndex({ minimum = 1, maximum = 4 } = {}): NgramIndex {
  ensure(
    Number.isInteger(minimum) && Number.isInteger(maximum) && minimum >= 1 && minimum <= maximum && maximum <= 32,
    "bad_option",
    `n-gram sizes must be whole numbers with 1 <= minimum <= maximum <= 32, not ${minimum} and ${maximum}`,
  );
  const context: number[] = [];
  // Per size: a rolling hash sum_i token_i * base^(n-1-i) mod 2^32, the last position with each hash, and for each position
  // the previous one with the same hash. Hashes may collide, so a hit is compared token by token.
  const base = 0x9e3779b1;
  const sizes = Array.from({ length: maximum - minimum + 1 }, (_, i) => {
    let dropped = 1;
    for (let n = 0; n < minimum + i; n++) dropped = Math.imul(dropped, base);
    return { n: minimum + i, dropped, hash: 0, last: new Map<number, number>(), previous: [] as number[] };
  });

  const sameEnd = (a: number, b: number, n: number) => {
    for (let i = 0; i < n; i++) if (context[a - i] !== context[b - i]) return false;
    return true;
  };

  return {
    push(token) {
      const position = context.push(token) - 1;
      for (const size of sizes) {
        const gone = position >= size.n ? context[position - size.n] + 1 : 0;
        size.hash = (Math.imul(size.hash, base) + token + 1 - Math.imul(gone, size.dropped)) | 0;
        size.previous.push(-1);
        if (position + 1 < size.n) continue;
        size.previous[position] = size.last.get(size.hash) ?? -1;
        size.last.set(size.hash, position);
      }
    },
    occurrences(count) {
      const found: number[] = [];
      const end = context.length - 1;
      for (const { n, previous } of sizes.toReversed()) {
        let at = previous[end] ?? -1;
        for (let step = 0; at >= 0 && found.length < count && step < maximumSteps; step++, at = previous[at]) {
          if (sameEnd(at, end, n) && !found.includes(at + 1)) found.push(at + 1);
        }
      }
      return found;
    },
    continuation: (start, offset) => context[start + (offset % (context.length - start))],
  };
}

export interface PromptLookupOptions {
  /** Tokens to propose from each occurrence. */
  length: number;
  /** Occurrences to merge into one tree; 1 proposes a chain. */
  occurrences?: number;
  /** Nodes in all, at most. */
  budget?: number;
  /** Tokens that end the text: nothing is proposed after them. */
  endTokens?: ReadonlySet<number>;
}

export function lookUp(index: NgramIndex, options: PromptLookupOptions): DraftTree {
  const { length, occurrences = 1, budget = Infinity, endTokens } = options;
  const tree = createTree("chosen", { valued: false });
  for (const start of index.occurrences(occurrences)) {
    const path: number[] = [];
    while (path.length < length && !endTokens?.has(path[path.length - 1]))
      path.push(index.continuation(start, path.length));
    addPath(tree, path, budget);
  }
  return tree;
}

export const promptLookup = defineMethod({
  name: "prompt-lookup",
  family: "speculative",
  summary: "proposes what followed the last tokens when they occurred before; needs no draft model",
  source: "Saxena 2023, prompt lookup decoding; Yang et al. 2023, arXiv 2304.04487",
  lossless: true,
  outlook: freeDraftOutlook(({ length = 5 }) => length),
  options: z.strictObject({
    length: z
      .int()
      .min(1)
      .max(64)
      .default(5)
      .describe(
        "how many of the tokens that followed an earlier occurrence are proposed; more pay off in texts that repeat long passages",
      ),
    occurrences: z
      .int()
      .min(1)
      .max(16)
      .default(1)
      .describe(
        "how many earlier occurrences are looked at, latest first; their continuations are proposed together as a tree",
      ),
    budget: z
      .int()
      .min(1)
      .max(largestBudget)
      .optional()
      .describe("most tokens that are proposed in one round, over all occurrences; default: 32"),
    minimum: z
      .int()
      .min(1)
      .max(32)
      .default(1)
      .describe(
        "the last tokens are looked up in the text, this many at least; a larger number proposes more rarely and is right more often",
      ),
    maximum: z
      .int()
      .min(1)
      .max(32)
      .default(4)
      .describe("the last tokens are looked up in the text, this many at first and fewer where they never occurred"),
  }),
  async decode(decoding, options) {
    const index = createNgramIndex(options);
    const budget = nodesOf(decoding, options.budget, 32);
    const { endTokens } = decoding;
    let indexed = 0;
    await speculate(decoding, {
      propose({ text, depth }) {
        while (indexed < text.length) index.push(text[indexed++]);
        return lookUp(index, { ...options, budget, length: Math.min(options.length, depth), endTokens });
      },
    });
  },
});
