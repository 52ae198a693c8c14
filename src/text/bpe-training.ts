/**
 * Byte-level BPE training (Sennrich et al. 2016 on bytes, as in GPT-2): count pre-tokens, then merge the most frequent
 * pair of neighbours again and again. Pair counts are kept up to date word by word and a heap yields the next pair, so
 * that a merge costs only the words it occurs in.
 */
import { ensure, requireOptions, VentrisError } from "../errors.ts";
import { exists, within } from "../files.ts";
import { createHeap } from "../heap.ts";
import { itemsOf, textItems } from "../items.ts";
import { requireWhole } from "../numbers.ts";
import { nextTurn } from "../turn.ts";
import { writeFileAtomically } from "../weights/cache.ts";
import { ownCopy } from "./bpe.ts";
import { byteCharacters, forEachPreToken } from "./byte-level.ts";

export interface TokenizerTraining {
  /** What is learnt from; read once. */
  texts: AsyncIterable<string> | Iterable<string>;
  /** Ids in all: special tokens, 256 bytes, and the merges that fill the rest. */
  size: number;
  /** Whether texts that give fewer are no error: the vocabulary is then as large as they make it. Default false. */
  atMost?: boolean;
  /** Take the first ids in this order. The first begins a text, the second ends it. Default: `defaultSpecialTokens`. */
  specialTokens?: readonly string[];
  /** Told what is done of counting and merging. Default: nobody is told. */
  onProgress?: (progress: TrainingProgress) => void;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** `done` of `total` characters (total unknown while reading) or merges. */
export type TrainingProgress =
  | {
      stage: "counting";
      /** Characters that have been read. */
      done: number;
    }
  | {
      stage: "merging";
      /** Merges that have been made. */
      done: number;
      /** Merges that there will be. */
      total: number;
    };

export interface TrainedBpe {
  specialTokens: readonly string[];
  /** Token strings in byte-level writing, in the order of their ids, special tokens first. */
  tokens: readonly string[];
  /** Pairs of token strings in the order learnt. */
  merges: readonly (readonly [string, string])[];
}

/** Begin and end of a text, the mask of diffusion models, a place for an image, and ids kept free for later uses. */
export const defaultSpecialTokens: readonly string[] = [
  "<|begin|>",
  "<|end|>",
  "<|mask|>",
  "<|image|>",
  "<|reserved_4|>",
  "<|reserved_5|>",
  "<|reserved_6|>",
  "<|reserved_7|>",
];

/** Rarer pairs say nothing about other texts. */
const smallestPairCount = 2;
/** Distinct pre-tokens held in memory; beyond it the rarest are dropped, which cannot change the frequent pairs much. */
const maximumWords = 2_000_000;

/**
 * Trains a tokenizer and writes `tokenizer.json` and `tokenizer_config.json` (Hugging Face format) into the folder `out`.
 * Errors: `bad_option` for a size that leaves no room or that the texts cannot fill, `aborted`.
 */
export async function trainTokenizer(options: TokenizerTraining & { out: string }): Promise<TrainedBpe> {
  requireOptions(options, "trainTokenizer");
  const trained = await trainBpe(options);
  ensure(await exists(options.out), "unavailable", `cannot write into ${options.out}: there is no such folder`);
  const write = (name: string, value: object, indent: number): Promise<void> =>
    writeFileAtomically(within(options.out, name), `${JSON.stringify(value, null, indent)}\n`);
  await write("tokenizer.json", tokenizerJson(trained), 1);
  await write("tokenizer_config.json", tokenizerConfig(trained), 2);
  return trained;
}

/** Learns the vocabulary and merges without writing anything. Errors as `trainTokenizer`. */
export async function trainBpe(options: TokenizerTraining): Promise<TrainedBpe> {
  requireOptions(options, "trainBpe");
  const { size, atMost = false, specialTokens = defaultSpecialTokens, signal, onProgress } = options;
  const smallest = specialTokens.length + 256;
  requireWhole({ [`size (${specialTokens.length} special tokens, 256 bytes and merges)`]: size }, smallest, 2 ** 20);
  ensure(specialTokens.length >= 2, "bad_option", "specialTokens needs at least a begin and an end token");
  ensure(
    new Set(specialTokens).size === specialTokens.length && !specialTokens.includes(""),
    "bad_option",
    "specialTokens must be distinct and not empty",
  );
  const words = await countWords(options);
  // Bytes in the order of their characters, as the `tokenizers` library numbers its byte-level alphabet.
  const alphabet = Array.from(byteCharacters.keys()).sort((a, b) => (byteCharacters[a] < byteCharacters[b] ? -1 : 1));
  const idOfByte = new Uint32Array(256);
  for (const [index, byte] of alphabet.entries()) idOfByte[byte] = specialTokens.length + index;

  const merges = await learnMerges({ words, idOfByte, first: smallest, size, atMost, signal, onProgress });
  const tokens = [...specialTokens, ...alphabet.map((byte) => byteCharacters[byte])];
  const named = merges.map(([left, right]) => {
    tokens.push(tokens[left] + tokens[right]);
    return [tokens[left], tokens[right]] as const;
  });
  return { specialTokens, tokens, merges: named };
}

async function countWords({ texts, signal, onProgress }: TokenizerTraining): Promise<Map<string, number>> {
  let counts = new Map<string, number>();
  let done = 0;
  for await (const text of itemsOf(texts, "texts", textItems)) {
    throwIfAborted(signal);
    forEachPreToken(text, (word) => {
      const count = counts.get(word);
      if (count === undefined) counts.set(ownCopy(word), 1);
      else counts.set(word, count + 1);
    });
    if (counts.size > maximumWords) counts = dropRarest(counts, maximumWords / 2);
    done += text.length;
    onProgress?.({ stage: "counting", done });
  }
  return counts;
}

function dropRarest(counts: Map<string, number>, keep: number): Map<string, number> {
  return new Map([...counts].sort((a, b) => b[1] - a[1]).slice(0, keep));
}

interface Pair {
  left: number;
  right: number;
  /** As it was when the pair entered the heap; outdated entries are put back with the present count. */
  count: number;
}

/** What is known of a pair now: how often it occurs, and in which words it has occurred since it exists. */
interface PairState {
  count: number;
  words: number[];
}

async function learnMerges(options: {
  words: Map<string, number>;
  idOfByte: Uint32Array;
  first: number;
  size: number;
  atMost: boolean;
  signal?: AbortSignal;
  onProgress?: TokenizerTraining["onProgress"];
}): Promise<[left: number, right: number][]> {
  const { idOfByte, first, size, atMost, signal, onProgress } = options;
  const encoder = new TextEncoder();
  const counts = [...options.words.values()];
  const words: Uint32Array[] = [...options.words.keys()].map((word) =>
    Uint32Array.from(encoder.encode(word), (byte) => idOfByte[byte]),
  );
  const states = new Map<number, PairState>();
  const keyOf = (left: number, right: number) => left * size + right;
  const count = (left: number, right: number, change: number, word: number) => {
    const key = keyOf(left, right);
    const state = states.get(key) ?? { count: 0, words: [] };
    if (state.words.length === 0) states.set(key, state);
    state.count += change;
    // Occurrences arrive word by word, so a repetition within one word is always the last entry.
    if (change > 0 && state.words.at(-1) !== word) state.words.push(word);
  };
  for (const [index, symbols] of words.entries()) {
    for (let i = 1; i < symbols.length; i++) count(symbols[i - 1], symbols[i], counts[index], index);
  }

  // Equal counts go by the smaller ids, so that training is deterministic.
  const heap = createHeap<Pair>(
    (a, b) => a.count > b.count || (a.count === b.count && keyOf(a.left, a.right) < keyOf(b.left, b.right)),
    [...states].map(([key, state]) => ({ left: Math.floor(key / size), right: key % size, count: state.count })),
  );
  const merges: [number, number][] = [];
  const total = size - first;
  while (merges.length < total) {
    const pair = heap.pop();
    const left = pair !== undefined && pair.count >= smallestPairCount;
    if (!left && atMost) break;
    ensure(
      left,
      "bad_option",
      `the texts only give ${first + merges.length} tokens, not ${size}: give more text or a smaller size`,
    );
    const key = keyOf(pair.left, pair.right);
    const state = states.get(key);
    if (state === undefined) continue;
    if (state.count !== pair.count) {
      if (state.count > 0) heap.push({ ...pair, count: state.count });
      continue;
    }
    const merged = first + merges.length;
    merges.push([pair.left, pair.right]);
    const touched = new Set<number>();
    const change = (left: number, right: number, by: number, word: number) => {
      count(left, right, by, word);
      if (by > 0) touched.add(keyOf(left, right));
    };
    for (const word of state.words) {
      words[word] = mergeWord(words[word], pair, merged, (left, right, by) =>
        change(left, right, by * counts[word], word),
      );
    }
    states.delete(key);
    for (const near of touched) {
      const grown = states.get(near);
      if (grown) heap.push({ left: Math.floor(near / size), right: near % size, count: grown.count });
    }
    if (merges.length % 64 === 0 || merges.length === total) {
      onProgress?.({ stage: "merging", done: merges.length, total });
      await nextTurn();
      throwIfAborted(signal);
    }
  }
  return merges;
}

/** Replaces each `pair` of a word from the left, and reports the neighbouring pairs that vanish (-1) and arise (+1). */
function mergeWord(
  symbols: Uint32Array,
  pair: Pair,
  merged: number,
  change: (left: number, right: number, by: 1 | -1) => void,
): Uint32Array {
  const result = new Uint32Array(symbols.length);
  let length = 0;
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] !== pair.left || i + 1 === symbols.length || symbols[i + 1] !== pair.right) {
      result[length++] = symbols[i];
      continue;
    }
    if (length > 0) {
      change(result[length - 1], pair.left, -1);
      change(result[length - 1], merged, 1);
    }
    if (i + 2 < symbols.length) {
      change(pair.right, symbols[i + 2], -1);
      change(merged, symbols[i + 2], 1);
    }
    result[length++] = merged;
    i++;
  }
  return result.slice(0, length);
}

/** The `tokenizer.json` of a trained vocabulary: encoding begins a text with the first special token. */
export function tokenizerJson({ specialTokens, tokens, merges }: TrainedBpe): object {
  const begin = specialTokens[0];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const piece = (id: string, type_id: number) => [
    { SpecialToken: { id: begin, type_id } },
    { Sequence: { id, type_id } },
  ];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: piece("A", 0),
      pair: [...piece("A", 0), ...piece("B", 1)],
      special_tokens: { [begin]: { id: begin, ids: [0], tokens: [begin] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
}

function tokenizerConfig({ specialTokens }: TrainedBpe): object {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: specialTokens[0],
    eos_token: specialTokens[1],
    add_bos_token: true,
    add_eos_token: false,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
  };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new VentrisError("aborted", "tokenizer training was aborted", { cause: signal.reason });
}
