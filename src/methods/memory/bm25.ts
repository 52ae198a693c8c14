/**
 * Passages by the words of a question: BM25 (Robertson and Zaragoza 2009, equation 3.15), the usual retriever beside which memories are measured.
 * score(q, d) = Σ ln(1 + (N - n + 0.5) / (n + 0.5)) · f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|)) over the words of q.
 */
import { ensure } from "../../errors.ts";
import { itemsOf, textItems } from "../../items.ts";
import { requireCounts } from "../../numbers.ts";

export interface Passage {
  readonly text: string;
  readonly score: number;
}

export interface PassageIndex {
  readonly passages: number;
  /** The best passages, best first, the first of equals first; none that shares no word. */
  find(question: string, count: number): Passage[];
}

const [k1, b] = [1.2, 0.75];

export const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** Texts in passages of at most so many words. Errors: `bad_option` for texts without words, and for numbers of words or passages below 1. */
export async function indexPassages(
  texts: AsyncIterable<string> | Iterable<string>,
  words = 64,
): Promise<PassageIndex> {
  requireCounts({ words });
  const passages: string[] = [];
  for await (const text of itemsOf(texts, "indexPassages: texts", textItems)) {
    const parts = text.split(/\s+/).filter((part) => part !== "");
    for (let at = 0; at < parts.length; at += words) passages.push(parts.slice(at, at + words).join(" "));
  }
  ensure(passages.length > 0, "bad_option", "the texts hold no words to look up");
  const postings = new Map<string, Map<number, number>>();
  const lengths = passages.map((passage, i) => {
    const all = wordsOf(passage);
    for (const word of all) {
      const counts = postings.get(word) ?? new Map<number, number>();
      counts.set(i, (counts.get(i) ?? 0) + 1);
      postings.set(word, counts);
    }
    return all.length;
  });
  const mean = lengths.reduce((x, y) => x + y, 0) / passages.length;
  return {
    passages: passages.length,
    find(question, count) {
      requireCounts({ count });
      const scores = new Map<number, number>();
      for (const word of new Set(wordsOf(question))) {
        const found = postings.get(word);
        if (!found) continue;
        const rarity = Math.log(1 + (passages.length - found.size + 0.5) / (found.size + 0.5));
        for (const [i, f] of found) {
          const score = (rarity * f * (k1 + 1)) / (f + k1 * (1 - b + (b * lengths[i]) / mean));
          scores.set(i, (scores.get(i) ?? 0) + score);
        }
      }
      const best = [...scores].sort(([i, x], [j, y]) => y - x || i - j).slice(0, count);
      return best.map(([i, score]) => ({ text: passages[i], score }));
    },
  };
}
