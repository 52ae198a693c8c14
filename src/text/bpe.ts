/** Byte-pair encoding of words with given merges: byte-level (GPT-2, Llama 3, Qwen) and SentencePiece style (Llama 2). */
import { ensure } from "../errors.ts";
import { createHeap } from "../heap.ts";
import { requireAtMost } from "./most.ts";

/** Encodes one word (a pre-token, or a whole section where there is no pre-tokeniser) and appends its ids. Errors: `context_full` beyond `most` ids. */
export type WordEncoder = (word: string, ids: number[], most?: number) => void;

/** What two neighbours merge into: lower ranks go first. Undefined where they do not merge. */
export type MergeRule = (left: number, right: number) => { rank: number; id: number } | undefined;

/** Words repeat: nearly all of a text comes from here. Emptied when full, which bounds the memory to some 50 MB. */
const cachedWords = 1 << 18;
const longestCachedWord = 64;

/**
 * `symbolsOf` gives the ids of a word before merging, of which one token takes `longest` at most; a word that `wholeWord` knows is not
 * taken apart at all; `finish` makes ids of what merging left.
 */
export function createWordEncoder(options: {
  symbolsOf: (word: string) => number[];
  rule: MergeRule;
  longest: number;
  /** Whether neighbours may be one symbol: else every UTF-16 unit is half a symbol at least. */
  fuses?: boolean;
  wholeWord?: (word: string) => number | undefined;
  finish?: (symbols: number[]) => number[];
}): WordEncoder {
  const { symbolsOf, rule, longest, fuses = false, wholeWord, finish = (symbols) => symbols } = options;
  const cache = new Map<string, readonly number[]>();
  const taken = (word: string, before: number, most: number): readonly number[] => {
    // An endless word is neither taken apart nor merged first.
    if (!fuses) requireAtMost(before + word.length / 2 / longest, most);
    const symbols = symbolsOf(word);
    requireAtMost(before + symbols.length / longest, most);
    return finish(mergeSymbols(symbols, rule));
  };
  const encode = (word: string, before: number, most: number): readonly number[] => {
    const whole = wholeWord?.(word);
    const encoded = whole === undefined ? taken(word, before, most) : [whole];
    if (word.length <= longestCachedWord) {
      if (cache.size >= cachedWords) cache.clear();
      cache.set(ownCopy(word), encoded);
    }
    return encoded;
  };
  return (word, ids, most = Infinity) => {
    for (const id of cache.get(word) ?? encode(word, ids.length, most)) ids.push(id);
    requireAtMost(ids.length, most);
  };
}

/** Of tokens as they are written, each symbol with one character at least. */
export function longestOf(tokens: Iterable<string>): number {
  let longest = 1;
  for (const { length } of tokens) longest = Math.max(longest, length);
  return longest;
}

/** V8 keeps the whole text alive for a slice of it; a flattened concatenation, and a slice of that, stands on its own. */
export function ownCopy(word: string): string {
  return ` ${word}`.slice(1);
}

interface Candidate {
  rank: number;
  /** Index of the left symbol. */
  position: number;
  left: number;
  right: number;
  id: number;
}

/**
 * Merges neighbours until no rule applies: always the lowest rank, the leftmost among equals (Sennrich et al. 2016; with
 * rank = -score also SentencePiece's order). n symbols take O(n log n), so that a single endless word does no harm.
 */
export function mergeSymbols(initial: readonly number[], rule: MergeRule): number[] {
  const symbols = [...initial];
  const next = symbols.map((_, index) => index + 1);
  const previous = symbols.map((_, index) => index - 1);
  const heap = createHeap<Candidate>((a, b) => a.rank < b.rank || (a.rank === b.rank && a.position < b.position));
  const consider = (position: number) => {
    if (position < 0 || next[position] >= symbols.length) return;
    const [left, right] = [symbols[position], symbols[next[position]]];
    const merge = rule(left, right);
    if (merge) heap.push({ rank: merge.rank, id: merge.id, position, left, right });
  };
  for (let position = 0; position < symbols.length; position++) consider(position);
  for (let best = heap.pop(); best !== undefined; best = heap.pop()) {
    const { position, left, right, id } = best;
    const taken = next[position];
    // A neighbour may have changed since; whatever took its place has a candidate of its own.
    if (symbols[position] !== left || symbols[taken] !== right) continue;
    symbols[position] = id;
    symbols[taken] = -1;
    next[position] = next[taken];
    if (next[taken] < symbols.length) previous[next[taken]] = position;
    consider(previous[position]);
    consider(position);
  }
  return symbols.filter((symbol) => symbol >= 0);
}

export interface BpeVocabulary {
  /** For messages: the file. */
  origin: string;
  /** Token strings to ids. */
  ids: ReadonlyMap<string, number>;
  /** Ids that no text may become, whatever the merges say: special tokens. */
  reserved: ReadonlySet<number>;
  unknownToken: number | undefined;
}

/** Merge rules from pairs in order of rank. Errors: `bad_file` for a pair or result that the vocabulary lacks. */
export function mergeRules(vocabulary: BpeVocabulary, merges: readonly (readonly [string, string])[]): MergeRule {
  const { origin, ids, reserved } = vocabulary;
  const rules = new Map<number, { rank: number; id: number }>();
  for (const [rank, [left, right]] of merges.entries()) {
    const [leftId, rightId, id] = [ids.get(left), ids.get(right), ids.get(left + right)];
    ensure(
      leftId !== undefined && rightId !== undefined && id !== undefined,
      "bad_file",
      () => `${origin}: merge ${rank} ("${left}" and "${right}") involves a token that the vocabulary lacks`,
    );
    const key = pairKey(leftId, rightId);
    if (!reserved.has(id) && !rules.has(key)) rules.set(key, { rank, id });
  }
  return (left, right) => rules.get(pairKey(left, right));
}

const pairKey = (left: number, right: number) => left * 2 ** 22 + right;

const utf8 = new TextEncoder();

/** How SentencePiece vocabularies write single bytes. */
export function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/**
 * Symbols of SentencePiece-style BPE: characters, with bytes (`<0x0A>`) or else the unknown token where the vocabulary
 * lacks one. Errors (when called): `bad_file` for a character that cannot be written at all.
 */
export function characterSymbols(
  { origin, ids, reserved, unknownToken }: BpeVocabulary,
  options: { byteFallback: boolean; fuseUnknown: boolean },
): (word: string) => number[] {
  return (word) => {
    const symbols: number[] = [];
    for (const character of word) {
      const id = ids.get(character);
      if (id !== undefined && !reserved.has(id)) {
        symbols.push(id);
        continue;
      }
      const bytes = options.byteFallback ? Array.from(utf8.encode(character), (byte) => ids.get(byteName(byte))) : [];
      if (bytes.length > 0 && bytes.every((byte) => byte !== undefined)) {
        symbols.push(...bytes);
        continue;
      }
      ensure(unknownToken !== undefined, "bad_file", () => `${origin}: no token stands for "${character}" of the text`);
      if (!options.fuseUnknown || symbols.at(-1) !== unknownToken) symbols.push(unknownToken);
    }
    return symbols;
  };
}
