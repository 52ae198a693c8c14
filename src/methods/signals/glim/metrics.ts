/** Overlap of texts, retrieval and classification, with intervals over recordings. */
import { uniform } from "../../../engine/random.ts";

export const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];

function counts(items: readonly string[]): Map<string, number> {
  const tally = new Map<string, number>();
  for (const item of items) tally.set(item, (tally.get(item) ?? 0) + 1);
  return tally;
}

const grams = (list: readonly string[], n: number): string[] =>
  Array.from({ length: Math.max(0, list.length - n + 1) }, (_, i) => list.slice(i, i + n).join(" "));

/**
 * BLEU-1 … BLEU-4 of one text against several references (Papineni et al. 2002), without smoothing: clipped n-gram precisions, their
 * geometric mean, the brevity penalty of the reference nearest in length.
 */
export function bleu(text: string, references: readonly string[], most = 4): number[] {
  const own = words(text);
  const others = references.map(words);
  if (own.length === 0) return new Array(most).fill(0);
  const nearest = others
    .map(({ length }) => length)
    .reduce((best, length) =>
      Math.abs(length - own.length) < Math.abs(best - own.length) ||
      (Math.abs(length - own.length) === Math.abs(best - own.length) && length < best)
        ? length
        : best,
    );
  const penalty = own.length >= nearest ? 1 : Math.exp(1 - nearest / own.length);
  let logs = 0;
  return Array.from({ length: most }, (_, i) => {
    const n = i + 1;
    const mine = counts(grams(own, n));
    const theirs = others.map((reference) => counts(grams(reference, n)));
    let [hits, total] = [0, 0];
    for (const [gram, count] of mine) {
      total += count;
      hits += Math.min(count, Math.max(...theirs.map((tally) => tally.get(gram) ?? 0)));
    }
    logs += hits > 0 ? Math.log(hits / total) : -Infinity;
    return penalty * Math.exp(logs / n);
  });
}

export interface Rouge {
  readonly recall: number;
  readonly precision: number;
  readonly f: number;
}

/** ROUGE-1 (Lin 2004) against the reference with the best F. */
export function rouge1(text: string, references: readonly string[]): Rouge {
  const mine = counts(words(text));
  const size = (tally: ReadonlyMap<string, number>) => [...tally.values()].reduce((a, b) => a + b, 0);
  let best: Rouge = { recall: 0, precision: 0, f: 0 };
  for (const reference of references) {
    const theirs = counts(words(reference));
    let hits = 0;
    for (const [word, count] of mine) hits += Math.min(count, theirs.get(word) ?? 0);
    const [recall, precision] = [hits / Math.max(1, size(theirs)), hits / Math.max(1, size(mine))];
    const f = hits === 0 ? 0 : (2 * recall * precision) / (recall + precision);
    if (f > best.f) best = { recall, precision, f };
  }
  return best;
}

/** Cosines of two lists of vectors [count, width], as [a, b]. */
export function cosines(a: Float32Array, b: Float32Array, width: number): Float64Array {
  const [m, n] = [a.length / width, b.length / width];
  const norms = (x: Float32Array, count: number) =>
    Float64Array.from(
      { length: count },
      (_, i) => Math.sqrt(x.subarray(i * width, (i + 1) * width).reduce((sum, v) => sum + v * v, 0)) || 1,
    );
  const [normA, normB] = [norms(a, m), norms(b, n)];
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += a[i * width + k] * b[j * width + k];
      out[i * n + j] = sum / (normA[i] * normB[j]);
    }
  }
  return out;
}

/**
 * Ranks (0 best) of the true text of each recording among `pool` texts: its own and others of different sentences, drawn by the seed.
 * Equal cosines share the worst place. `texts` [sentences] by sentence index; undefined when there are too few sentences.
 */
export function retrievalRanks(
  similarity: (recording: number, sentence: number) => number,
  sentenceOf: readonly number[],
  pool: number,
  seed: number,
): number[] | undefined {
  const candidates = [...new Set(sentenceOf)];
  if (candidates.length < pool) return undefined;
  return sentenceOf.map((own, r) => {
    const others = candidates.filter((sentence) => sentence !== own);
    // A partial shuffle: the first pool - 1 places are a sample without replacement.
    for (let i = 0; i < pool - 1; i++) {
      const j = i + Math.floor(uniform({ seed, request: pool }, r, "sample", i) * (others.length - i));
      [others[i], others[j]] = [others[j], others[i]];
    }
    const mine = similarity(r, own);
    return others.slice(0, pool - 1).filter((sentence) => similarity(r, sentence) >= mine).length;
  });
}
