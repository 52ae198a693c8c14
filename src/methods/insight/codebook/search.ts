/**
 * Searching codes: which ones fire where a regular expression matches, how precise they are, beside the best neuron at the same recall. A cache of the codes
 * of a corpus is made once; searches only read it.
 */

import type { ForwardResult } from "../../../engine/forward/index.ts";
import type { ForwardSequence } from "../../../engine/forward/input.ts";
import type { AppliedEdit } from "../../../engine/sites/rows.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { type Site, siteNamed } from "../../../models/sites.ts";
import { requireCounts, requireIndices, requireWithin } from "../../../numbers.ts";
import type { Tokenizer } from "../../../text/index.ts";
import { type Stretch, stretchesOf } from "../../../text/windows.ts";
import { idsReading } from "./bottleneck.ts";
import { codebookEdits, noCodebook } from "./interventions.ts";
import type { Codebook } from "./part.ts";

/** What of an open model this needs. */
export interface Reading {
  readonly tokenizer: Tokenizer | undefined;
  sites(): readonly Site[];
  forward(
    sequences: readonly ForwardSequence[],
    options?: { readonly taps?: readonly string[]; readonly edits?: AppliedEdit[] },
  ): Promise<ForwardResult[]>;
}

export interface CodeCache {
  readonly texts: readonly CachedText[];
  /** Tokens of all texts. */
  readonly tokens: number;
  /** Texts that go on behind the tokens that were read of them, or were not begun. */
  readonly cut: number;
  readonly sites: readonly CachedSite[];
  /** Further readings [tokens, width] by site, for the comparison with neurons. */
  readonly values: Readonly<Record<string, { readonly width: number; readonly values: Float32Array }>>;
}

export interface CachedText {
  readonly text: string;
  readonly ids: readonly number[];
  /** Characters of the text before and including each token. */
  readonly ends: readonly number[];
  /** The place of its first token among all. */
  readonly from: number;
}

export interface CachedSite {
  readonly site: string;
  readonly groups: number;
  readonly codes: number;
  readonly k: number;
  /** [tokens, groups * k]. */
  readonly ids: Uint32Array;
  /** [groups * codes]: tokens at which each fired. */
  readonly counts: Uint32Array;
}

/** Texts in one pass. */
const together = 8;

/** A cache of codes, and of neurons' values beside them, that takes more bytes is refused before anything is computed. */
const mostBytes = 2 ** 32;

/**
 * Runs the texts through the codebooks. `more`: sites whose values are kept too. Of each text its first `longest` tokens are read; where `most` is given,
 * texts to their ends, in stretches of `longest` tokens, until there are so many stretches. Errors: `bad_option` without codebooks, texts or tokenizer; `out_of_memory`
 * for more tokens than fit; `aborted`; those of `forward`.
 */
export async function cacheCodes(
  model: Reading,
  codebooks: readonly Codebook[],
  texts: readonly string[],
  {
    more = [],
    longest = 256,
    most,
    signal,
    onProgress,
  }: {
    /** Sites whose values are kept too. Default: none. */
    more?: readonly string[];
    /** Tokens of a text, or of a stretch. Default: 256. */
    longest?: number;
    /** Stretches at most, of texts read to their ends. Default: the first stretch of every text. */
    most?: number;
    /** Ends the work: `aborted`. Default: nothing does. */
    signal?: AbortSignal;
    /** Told of the stretches that are done. Default: nobody is told. */
    onProgress?: (done: number, total: number) => void;
  } = {},
): Promise<CodeCache> {
  const { tokenizer } = model;
  requireCounts({ longest, ...(most !== undefined && { most }) });
  ensure(codebooks.length > 0, "bad_option", "codes: no codebooks were given");
  ensure(tokenizer, "bad_option", "codes: the model has no tokenizer, so that no text can be searched");
  ensure(texts.length > 0, "bad_option", "codes: no texts were given");
  const cached: CachedText[] = [];
  const stretches: Stretch[] = [];
  let [from, cut] = [0, 0];
  for (const text of texts) {
    if (most !== undefined && stretches.length >= most) {
      cut++;
      continue;
    }
    const all = tokenizer.encode(text);
    let end = 0;
    for (const stretch of stretchesOf(all, longest, tokenizer.beginToken)) {
      stretches.push({ ...stretch, from: from + stretch.from });
      end = stretch.from + stretch.tokens.length - stretch.lead;
      if (most === undefined || stretches.length >= most) break;
    }
    if (end === 0) continue;
    const ids = all.slice(0, end);
    cached.push({ text, ids, ends: endsOf(tokenizer, ids), from });
    from += end;
    if (end < all.length) cut++;
  }
  ensure(cached.length > 0, "bad_option", "codes: the texts are empty");
  const numbers = codebooks.reduce((sum, { bottleneck: { groups, k } }) => sum + groups * k, 0);
  const beside = more.map((site) => siteNamed(model.sites(), site));
  const bytes = 4 * from * beside.reduce((sum, { width }) => sum + width, numbers);
  ensure(bytes <= mostBytes, "out_of_memory", () => {
    return `codes: those of ${from} tokens would take ${Math.round(bytes / 2 ** 30)} GiB of memory, more than ${mostBytes / 2 ** 30}: give fewer texts`;
  });
  const sites = codebooks.map(({ bottleneck: { site, groups, codes, k } }) => ({
    site,
    groups,
    codes,
    k,
    ids: new Uint32Array(from * groups * k),
    counts: new Uint32Array(groups * codes),
  }));
  const values: Record<string, { width: number; values: Float32Array }> = {};
  const edits = codebookEdits(codebooks);
  // Some sites exist in rows with logits alone.
  const read = [...codebooks.map(({ bottleneck }) => bottleneck.site), ...more];
  const late = model.sites().some(({ name, rows }) => rows === "selected" && read.includes(name));
  const logits = late ? ("all" as const) : ("none" as const);
  for (let at = 0; at < stretches.length; at += together) {
    ensure(!signal?.aborted, "aborted", "caching codes was aborted");
    const part = stretches.slice(at, at + together);
    const sequences = part.map(({ tokens }) => ({ tokens, logits }));
    const results = await model.forward(sequences, {
      taps: [...sites.map(({ site }) => idsReading(site)), ...more],
      edits,
    });
    for (const [i, { taps }] of results.entries()) {
      const { lead, from: at } = part[i];
      for (const { site, groups, k, ids } of sites)
        ids.set(taps[idsReading(site)].values.subarray(lead * groups * k), at * groups * k);
      for (const site of more) {
        const { width, values: read } = taps[site];
        values[site] ??= { width, values: new Float32Array(from * width) };
        values[site].values.set(read.subarray(lead * width), at * width);
      }
    }
    onProgress?.(Math.min(at + together, stretches.length), stretches.length);
  }
  for (const { groups, codes, k, ids, counts } of sites)
    for (let i = 0; i < ids.length; i++) counts[Math.floor((i % (groups * k)) / k) * codes + ids[i]]++;
  return { texts: cached, tokens: from, cut, sites, values };
}

/** Where each token ends in the text, in characters: tokens that end within a character end where it begins. */
function endsOf(tokenizer: Tokenizer, ids: readonly number[]): number[] {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let [characters, first] = [0, true];
  return ids.map((id) => {
    const text = decoder.decode(tokenizer.tokenBytes(id), { stream: true });
    const dropped = first && tokenizer.dropsLeadingSpace && text.startsWith(" ") ? 1 : 0;
    if (text.length > 0) first = false;
    characters += text.length - dropped;
    return characters;
  });
}

/**
 * Places (among all tokens) of the tokens that an expression matches: of every match the token in which group 1, or the whole where there is none, ends. Errors:
 * `bad_option` for what is no regular expression.
 */
export const matchedTokens = (cache: CodeCache, expression: string): number[] =>
  placesOf(cache, expression, (ends, [, end]) => firstBeyond(ends, end - 1));

/** Places of the tokens before what an expression matches, of which it is the model's prediction. Errors: as `matchedTokens`. */
export const tokensBefore = (cache: CodeCache, expression: string): number[] =>
  placesOf(cache, expression, (ends, [start]) => firstBeyond(ends, start) - 1);

/** What an expression matches, with the places of its groups. Errors: `bad_option` for what is no regular expression. */
export function patternOf(expression: string): RegExp {
  try {
    return new RegExp(expression, "dgu");
  } catch (cause) {
    throw new VentrisError("bad_option", `the regular expression cannot be read: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function placesOf(
  cache: CodeCache,
  expression: string,
  tokenOf: (ends: readonly number[], match: readonly [number, number]) => number,
): number[] {
  const pattern = patternOf(expression);
  const found = new Set<number>();
  for (const { text, ends, from } of cache.texts) {
    for (const match of text.matchAll(pattern)) {
      const [start, end] = match.indices![1] ?? match.indices![0]!;
      if (start === end) continue;
      const token = tokenOf(ends, [start, end]);
      if (token >= 0 && token < ends.length) found.add(from + token);
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** The first token that ends behind a character. */
function firstBeyond(ends: readonly number[], character: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > character) high = middle;
    else low = middle + 1;
  }
  return low;
}

export interface FoundCode {
  readonly site: string;
  readonly group: number;
  readonly code: number;
  /** Share of the tokens at which it fires that were matched. */
  readonly precision: number;
  /** Share of the matched tokens at which it fires. */
  readonly recall: number;
  /** Tokens at which it fires. */
  readonly count: number;
}

export interface CodeSearchOptions {
  /** Share of a code's firings that are matched tokens: codes with less are left out. Default 0.5, the authors'. */
  readonly precision?: number;
  /** Share of the matched tokens that a code fires at: codes with less are left out. Default 0.01, the authors'. */
  readonly recall?: number;
  /** Of each site. Default 5. */
  readonly limit?: number;
}

/** Codes that fire at these tokens, of each site the most precise ones; of equals the one with more recall. Errors: `bad_option` for tokens that the cache has not, shares outside [0, 1] and a limit below 1. */
export function searchCodes(
  { sites }: Pick<CodeCache, "sites">,
  tokens: readonly number[],
  { precision: leastPrecision = 0.5, recall: leastRecall = 0.01, limit = 5 }: CodeSearchOptions = {},
): FoundCode[] {
  requireWithin({ precision: leastPrecision, recall: leastRecall }, 0, 1);
  requireCounts({ limit });
  return sites.flatMap(({ site, groups, codes, k, ids, counts }) => {
    const hits = new Map<number, number>();
    requireIndices("tokens", tokens, ids.length / (groups * k));
    for (const token of tokens)
      for (let slot = 0; slot < groups * k; slot++) {
        const index = Math.floor(slot / k) * codes + ids[token * groups * k + slot];
        hits.set(index, (hits.get(index) ?? 0) + 1);
      }
    return [...hits]
      .map(([index, fired]) => ({
        site,
        group: Math.floor(index / codes),
        code: index % codes,
        precision: fired / counts[index],
        recall: fired / tokens.length,
        count: counts[index],
      }))
      .filter(({ precision, recall }) => precision > leastPrecision && recall > leastRecall)
      .sort((a, b) => b.precision - a.precision || b.recall - a.recall)
      .slice(0, limit);
  });
}

/** Codes of all sites that fire where an expression matches, the most precise first, and the matched tokens. Errors: as `matchedTokens`. */
export function findCodes(
  cache: CodeCache,
  expression: string,
  options: CodeSearchOptions = {},
): { readonly matched: number[]; readonly codes: FoundCode[] } {
  const matched = matchedTokens(cache, expression);
  const codes = matched.length > 0 ? searchCodes(cache, matched, options) : [];
  return { matched, codes: codes.sort((a, b) => b.precision - a.precision || b.recall - a.recall) };
}

/** Tokens at which a code fires. */
export function firedAt({ sites }: Pick<CodeCache, "sites">, site: string, group: number, code: number): number[] {
  const { groups, k, ids } = placeAmong(sites, site, group, code);
  const result: number[] = [];
  for (let token = 0; token < ids.length / (groups * k); token++)
    for (let slot = group * k; slot < (group + 1) * k; slot++)
      if (ids[token * groups * k + slot] === code) {
        result.push(token);
        break;
      }
  return result;
}

/** A site of the cache, whose codebook `group` is there. Errors: `bad_option`, with the nearest site. */
export const cachedSite = ({ sites }: Pick<CodeCache, "sites">, site: string, group: number): CachedSite =>
  placeAmong(sites, site, group);

/** The one of some sites that is named, whose codebook `group` is there, with this code where one is given. Errors: `bad_option`, with the nearest site. */
export function placeAmong<Place extends Pick<CachedSite, "site" | "groups" | "codes">>(
  sites: readonly Place[],
  site: string,
  group: number,
  code?: number,
): Place {
  const found = sites.find((one) => one.site === site);
  const names = sites.map((one) => one.site);
  ensure(found, "bad_option", () => noCodebook(site, names));
  const { groups, codes } = found;
  const isAmong = (number: number, count: number): boolean => Number.isInteger(number) && number >= 0 && number < count;
  ensure(isAmong(group, groups), "bad_option", () => {
    return `${site} has ${groups} ${groups === 1 ? "codebook" : "codebooks"}: there is no codebook ${group}`;
  });
  ensure(code === undefined || isAmong(code, codes), "bad_option", () => {
    return `${site}: there is no code ${code}: ${codes === 1 ? "it has one, 0" : `codes are 0 to ${codes - 1}`}`;
  });
  return found;
}

export interface BestNeuron {
  readonly neuron: number;
  readonly precision: number;
}

/**
 * The neuron of a site that is most precise at a recall: for each, the threshold that fires at as many of the matched tokens as the recall says, by large
 * values or by small ones. Errors: `bad_option` without tokens, for such as the values have not, values that are no rows of the width, or a recall beyond 0 to 1.
 */
export function bestNeuron(
  { width, values }: { readonly width: number; readonly values: Float32Array },
  tokens: readonly number[],
  recall: number,
): BestNeuron {
  requireWithin({ recall }, 0, 1);
  ensure(tokens.length > 0, "bad_option", "the best neuron is that of some tokens: none were given");
  requireCounts({ width });
  const rows = values.length / width;
  ensure(Number.isInteger(rows), "bad_option", `${values.length} values are no rows of a width of ${width}`);
  requireIndices("tokens", tokens, rows);
  const wanted = Math.max(1, Math.round(recall * tokens.length));
  let best: BestNeuron = { neuron: 0, precision: 0 };
  const own = new Float32Array(tokens.length);
  for (let neuron = 0; neuron < width; neuron++) {
    for (const sign of [1, -1]) {
      for (const [i, token] of tokens.entries()) own[i] = sign * values[token * width + neuron];
      own.sort();
      const threshold = own[tokens.length - wanted];
      let fired = 0;
      for (let row = 0; row < rows; row++) if (sign * values[row * width + neuron] >= threshold) fired++;
      const hits = own.reduce((sum, value) => sum + (value >= threshold ? 1 : 0), 0);
      if (hits / fired > best.precision) best = { neuron, precision: hits / fired };
    }
  }
  return best;
}
