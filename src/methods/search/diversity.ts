/** How much a group loses for repeating what groups before it chose (Vijayakumar et al. 2016, section 4). */

import { alike, type Embeddings, type Meaning } from "./embeddings.ts";

export const diversities = ["hamming", "cumulative", "ngram", "embedding", "embedding-ngram"] as const;

export interface Diversity {
  readonly kind: (typeof diversities)[number];
  /** λ, per occurrence. */
  readonly strength: number;
  /** n of `ngram` and `embedding-ngram`. */
  readonly length: number;
  /** Γ of `cumulative`: the larger, the longer two texts that parted still count as alike. */
  readonly temperature: number;
  /** Whether ending may be penalised too. */
  readonly penalizeEnd: boolean;
  /** Of `embedding` and `embedding-ngram`. */
  readonly embeddings?: Embeddings;
}

export const needsEmbeddings = (kind: Diversity["kind"]): boolean => kind.startsWith("embedding");

/**
 * For a beam's text so far: what each next token loses, given the texts of earlier groups, which are one token longer. Undefined where
 * nothing does.
 */
export function penaltiesOf(
  { kind, strength, length, temperature, embeddings }: Diversity,
  earlier: readonly (readonly number[])[],
): (tokens: readonly number[]) => ((token: number) => number) | undefined {
  if (strength === 0 || earlier.length === 0) return () => undefined;
  if (kind === "hamming") {
    const counts = new Map<number, number>();
    for (const text of earlier) counts.set(text.at(-1)!, (counts.get(text.at(-1)!) ?? 0) + 1);
    return () => (token) => strength * (counts.get(token) ?? 0);
  }
  if (kind === "cumulative") {
    return (tokens) => {
      const weights = new Map<number, number>();
      for (const text of earlier) {
        let mismatches = 0;
        for (let i = 0; i < tokens.length; i++) if (text[i] !== tokens[i]) mismatches += 1;
        const last = text[tokens.length];
        if (last !== undefined) weights.set(last, (weights.get(last) ?? 0) + Math.exp(-mismatches / temperature));
      }
      return (token) => strength * (weights.get(token) ?? 0);
    };
  }
  if (needsEmbeddings(kind))
    return alikePenalties(embeddings!, kind === "embedding" ? undefined : length, strength, earlier);
  const seen = new Map<string, number>();
  for (const text of earlier) {
    for (let end = length; end <= text.length; end++) {
      const key = text.slice(end - length, end).join();
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
  }
  return (tokens) => {
    if (tokens.length < length - 1) return undefined;
    const start = length === 1 ? "" : `${tokens.slice(tokens.length - length + 1).join()},`;
    return (token) => strength * (seen.get(`${start}${token}`) ?? 0);
  };
}

/**
 * Hamming's count, or that of n-grams, with the cosine of embeddings (from 0 on) instead of equality; the vector of an n-gram is the sum of its
 * tokens'. `length` undefined: tokens at the same place.
 */
function alikePenalties(
  embeddings: Embeddings,
  length: number | undefined,
  strength: number,
  earlier: readonly (readonly number[])[],
): ReturnType<typeof penaltiesOf> {
  /** What was said, each but once, and how often. */
  const said = new Map<string, { meaning: Meaning; count: number }>();
  for (const text of earlier) {
    for (let end = length ?? text.length; end <= text.length; end++) {
      const tokens = text.slice(end - (length ?? 1), end);
      const known = said.get(`${tokens}`);
      if (known) known.count += 1;
      else said.set(`${tokens}`, { meaning: embeddings.of(tokens), count: 1 });
    }
  }
  return (tokens) => {
    const before = (length ?? 1) - 1;
    if (tokens.length < before) return undefined;
    const start = tokens.slice(tokens.length - before);
    return (token) => {
      const own = embeddings.of([...start, token]);
      let sum = 0;
      for (const { meaning, count } of said.values()) sum += count * alike(own, meaning);
      return strength * sum;
    };
  };
}
