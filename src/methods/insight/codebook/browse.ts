/** A codebook as readers leaf through it: its codes by how often they fire and on which tokens, and a text with the codes of every token. */
import { requireCounts } from "../../../numbers.ts";
import type { Codebook } from "./part.ts";
import { type CodeCache, cacheCodes, cachedSite, type Reading } from "./search.ts";

export interface CommonCode {
  readonly code: number;
  /** Tokens at which it fires. */
  readonly count: number;
  /** What it fires on most, as text, with how often. */
  readonly tokens: readonly { readonly text: string; readonly count: number }[];
}

/** Codes of a codebook that fire, the most frequent first, and how many do at all. Errors: as `cachedSite`. */
export function commonCodes(
  cache: CodeCache,
  site: string,
  group: number,
  {
    limit = 100,
    words = 4,
  }: {
    /** Codes that are listed. Default: 100. */
    readonly limit?: number;
    /** Tokens that are named of each. Default: 4. */
    readonly words?: number;
  } = {},
): { readonly alive: number; readonly codes: CommonCode[] } {
  requireCounts({ limit, words });
  const { groups, codes, k, ids, counts } = cachedSite(cache, site, group);
  const own = Array.from(counts.subarray(group * codes, (group + 1) * codes), (count, code) => ({ code, count }));
  const alive = own.filter(({ count }) => count > 0);
  const listed = alive.sort((a, b) => b.count - a.count || a.code - b.code).slice(0, limit);
  const firedOn = new Map(listed.map(({ code }) => [code, new Map<string, number>()]));
  for (const text of cache.texts)
    for (let at = 0; at < text.ids.length; at++) {
      const first = (text.from + at) * groups * k + group * k;
      const piece = text.text.slice(at === 0 ? 0 : text.ends[at - 1], text.ends[at]);
      for (let slot = first; slot < first + k; slot++) {
        const fired = firedOn.get(ids[slot]);
        fired?.set(piece, (fired.get(piece) ?? 0) + 1);
      }
    }
  return {
    alive: alive.length,
    codes: listed.map(({ code, count }) => ({
      code,
      count,
      tokens: [...firedOn.get(code)!]
        .map(([text, count]) => ({ text, count }))
        .sort((a, b) => b.count - a.count)
        .slice(0, words),
    })),
  };
}

export interface CodedPiece {
  readonly text: string;
  /** The codes of the codebook that fire at it, best first. */
  readonly codes: readonly number[];
}

/** A text token by token, with the codes of one codebook; its first `longest` tokens. Errors: those of `cacheCodes` and `cachedSite`. */
export async function codedText(
  model: Reading,
  codebooks: readonly Codebook[],
  text: string,
  { site, group }: { readonly site: string; readonly group: number },
  {
    longest = 256,
    signal,
  }: {
    /** Tokens that are read. Default: 256. */
    readonly longest?: number;
    /** Ends the work: `aborted`. Default: nothing does. */
    readonly signal?: AbortSignal;
  } = {},
): Promise<CodedPiece[]> {
  const cache = await cacheCodes(model, codebooks, [text], { longest, signal });
  const { groups, k, ids } = cachedSite(cache, site, group);
  const [{ text: whole, ends }] = cache.texts;
  return ends.map((end, at) => {
    const first = at * groups * k + group * k;
    return { text: whole.slice(at === 0 ? 0 : ends[at - 1], end), codes: [...ids.subarray(first, first + k)] };
  });
}
