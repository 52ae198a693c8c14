/**
 * The citation blocker: after `matched` generated tokens that stand so in the fine-tuning set, the tokens that go on there are forbidden,
 * so that no span of more than `matched` tokens is quoted. A shaper: it works inside every decoding method.
 */

import type { ForestNode } from "../../../engine/forest.ts";
import type { MakeShaper } from "../../../engine/shapers/shaper.ts";
import { ensure } from "../../../errors.ts";
import { requireCounts } from "../../../numbers.ts";

export interface CitationOptions {
  /** Tokens in a row that may be quoted; default 5, the paper's window as its reviewers quote it. */
  readonly matched?: number;
  /** Whether the prompt's tokens count towards a quotation; default: only what is generated does. */
  readonly countPrompt?: boolean;
}

/** What follows each run of `matched` tokens of the sequences; runs do not cross from one sequence to the next. */
export function indexCitations(sequences: readonly ArrayLike<number>[], matched: number): Map<string, Set<number>> {
  requireCounts({ "citations: matched": matched });
  ensure(sequences.length > 0, "bad_option", "citations: there are no sequences to quote from");
  const index = new Map<string, Set<number>>();
  for (const sequence of sequences) {
    const tokens = Array.from(sequence);
    for (let at = 0; at + matched < tokens.length; at++) {
      const key = tokens.slice(at, at + matched).join();
      const next = index.get(key) ?? new Set();
      index.set(key, next.add(tokens[at + matched]));
    }
  }
  return index;
}

/** For `shapers` of a request. Errors: `bad_option`. */
export function citationBlocker(sequences: readonly ArrayLike<number>[], options: CitationOptions = {}): MakeShaper {
  const { matched = 5, countPrompt = false } = options;
  const index = indexCitations(sequences, matched);
  return ({ model, prompt }) => ({
    name: "citation-blocker",
    allowed(node) {
      const tail = lastTokens(node, matched, countPrompt ? 0 : prompt.length);
      const banned = tail && index.get(tail.join());
      if (!banned) return undefined;
      const { vocabularySize } = model.config;
      // A set that quotes every token would leave nothing to say.
      if (banned.size >= vocabularySize) return undefined;
      const words = new Uint32Array(Math.ceil(vocabularySize / 32)).fill(0xffffffff);
      for (const token of banned) words[token >> 5] &= ~(1 << (token & 31));
      return words;
    },
  });
}

/** The last tokens up to a node, that many and none before the position `from`; undefined when there are fewer. */
function lastTokens(node: ForestNode, count: number, from: number): number[] | undefined {
  const tokens: number[] = [];
  for (let at: ForestNode | undefined = node; at && tokens.length < count; at = at.parent) {
    if (at.depth < from) return undefined;
    tokens.unshift(at.token);
  }
  return tokens.length === count ? tokens : undefined;
}
