/**
 * `tokenizer.json` (Hugging Face tokenizers), its BPE, Unigram, WordPiece and WordLevel models. What a token's bytes are is read off the decoder section, so
 * that decoding and streaming agree by construction.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import { warnOnce } from "../warnings.ts";
import { type AddedToken, plainToken } from "./added-tokens.ts";
import type { TokenizerParts } from "./assemble.ts";
import { type BpeVocabulary, characterSymbols, createWordEncoder, longestOf, mergeRules } from "./bpe.ts";
import { byteLevelWriting, bytesOfToken } from "./byte-level.ts";
import { requireAtMost } from "./most.ts";
import { createNormalizer, replaceAll } from "./normalizers.ts";
import { literalPattern } from "./pattern.ts";
import { createPreTokenizer, readPattern } from "./pre-tokenizers.ts";
import { createUnigramEncoder } from "./unigram.ts";
import { createWordPieceEncoder, wordPieceText } from "./wordpiece.ts";

type Json = Record<string, unknown>;
type FromJson = Pick<
  TokenizerParts,
  "pieces" | "added" | "normalize" | "encodeSection" | "prefix" | "dropsLeadingSpace" | "rules"
>;
type Fail = (message: string) => never;

/** An id beyond this is a corrupt file: the largest vocabularies have 300 000. Merge keys rely on it. */
const largestId = 2 ** 22 - 1;

/**
 * `named` are tokens that a configuration gives a role (begin, end …): they are special whatever this file says of them.
 * Errors: `bad_file` naming `origin` and the section that is missing, corrupt, or of a kind that is not supported.
 */
export function readTokenizerJson(json: Json, origin: string, named: readonly string[] = []): FromJson {
  const fail: Fail = (message) => {
    throw new VentrisError("bad_file", `${origin}: ${message}`);
  };
  const model = isObject(json.model) ? json.model : fail("there is no model section");
  const ids = readVocabulary(model, fail);
  const added = withNamed(readAddedTokens(json.added_tokens ?? [], ids, origin, fail), named, ids);
  const { bytesOf, dropsLeadingSpace, spaced } = readDecoder(json.decoder ?? null, model.type, origin, fail);

  const pieces: Uint8Array[] = [];
  for (const [token, id] of ids) pieces[id] = bytesOf(token);
  for (const { id, content } of added) pieces[id] = spaced ? bytesOf(content) : new TextEncoder().encode(content);
  const nothing = new Uint8Array(0);
  for (let id = 0; id < pieces.length; id++) pieces[id] ??= nothing;
  ensure(pieces.length > 0, "bad_file", `${origin}: the vocabulary is empty`);

  const prefix = readPrefix(json.post_processor ?? null, added, fail);
  const reserved = new Set(added.filter((token) => token.special).map((token) => token.id));
  const normalizers = flatten(json.normalizer ?? null, "normalizers", "normalizer", fail);
  const steps = flatten(json.pre_tokenizer ?? null, "pretokenizers", "pre_tokenizer", fail);
  const { cut, writesBytes } = createPreTokenizer(steps, origin, fail);
  const read = readers[model.type as ModelType];
  const encoder = read(model, { origin, ids, reserved }, writesBytes, fail);
  for (const id of prefix) if (id >= pieces.length) fail(`post_processor: the id ${id} is outside the vocabulary`);
  return {
    pieces,
    added,
    prefix,
    dropsLeadingSpace,
    normalize: normalizers.length === 0 ? undefined : createNormalizer(normalizers, origin, fail),
    encodeSection(text, first, out, most) {
      if (text === "") return;
      cut(text, first, (word) => {
        encoder.encode(word, out, most);
        requireAtMost(out.length, most);
      });
    },
    rules: [JSON.stringify([normalizers, steps].map((list) => list.map(canonical))), encoder.rules].join("\n"),
  };
}

/** A step without what changes no ids, its fields in a fixed order: what differs only in writing has one fingerprint. */
function canonical(step: Json): Json {
  const defaults: Json =
    step.type === "ByteLevel"
      ? { add_prefix_space: false, use_regex: true }
      : step.type === "Metaspace"
        ? { split: true }
        : {};
  const { trim_offsets, str_rep, ...fields } = { ...defaults, ...step };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface ModelEncoder {
  encode: (word: string, ids: number[], most: number) => void;
  /** What it depends on beside the vocabulary. */
  rules: string;
}

type ModelTokens = Omit<BpeVocabulary, "unknownToken">;

function readBpe(model: Json, tokens: ModelTokens, writesBytes: boolean, fail: Fail): ModelEncoder {
  const unsupported = ["dropout", "continuing_subword_prefix", "end_of_word_suffix"].find((field) => model[field]);
  if (unsupported) fail(`model.${unsupported} is not supported`);
  const merges = readMerges(model.merges, fail);
  const { ids, reserved } = tokens;
  const unknownToken = typeof model.unk_token === "string" ? ids.get(model.unk_token) : undefined;
  const vocabulary: BpeVocabulary = { ...tokens, unknownToken };
  const whole = (written: string) => {
    const id = ids.get(written);
    return id === undefined || reserved.has(id) ? undefined : id;
  };
  const byteFallback = model.byte_fallback === true;
  const fuseUnknown = model.fuse_unk === true;
  const written = writesBytes ? byteLevelWriting : (word: string) => word;
  const symbolsOf = characterSymbols(vocabulary, { byteFallback, fuseUnknown });
  return {
    encode: createWordEncoder({
      symbolsOf: (word) => symbolsOf(written(word)),
      rule: mergeRules(vocabulary, merges),
      longest: longestOf(ids.keys()),
      fuses: fuseUnknown && !writesBytes,
      wholeWord: model.ignore_merges === true ? (word) => whole(written(word)) : undefined,
    }),
    rules: [
      JSON.stringify([unknownToken ?? null, byteFallback, fuseUnknown, model.ignore_merges === true]),
      ...merges.map((merge) => merge.join(" ")),
    ].join("\n"),
  };
}

function readUnigram(model: Json, { origin, reserved }: ModelTokens, writesBytes: boolean, fail: Fail): ModelEncoder {
  const vocab = model.vocab as [string, number][];
  const { unk_id, byte_fallback } = model;
  const unknownToken =
    unk_id === undefined || unk_id === null ? undefined : isId(unk_id) ? unk_id : fail("model.unk_id is no id");
  const byteFallback = byte_fallback === true;
  const encode = createUnigramEncoder({ origin, vocab, unknownToken, byteFallback, reserved });
  return {
    encode: writesBytes ? (word, ids) => encode(byteLevelWriting(word), ids) : encode,
    rules: JSON.stringify([unknownToken ?? null, byteFallback, vocab.map(([, score]) => score)]),
  };
}

function readWordPiece(
  model: Json,
  { origin, ids, reserved }: ModelTokens,
  writesBytes: boolean,
  fail: Fail,
): ModelEncoder {
  const { unk_token = "[UNK]", continuing_subword_prefix: prefix = "##", max_input_chars_per_word: most = 100 } = model;
  if (typeof prefix !== "string") fail("model.continuing_subword_prefix is not a string");
  if (!Number.isInteger(most) || (most as number) < 1)
    fail("model.max_input_chars_per_word is not a number of characters");
  const unknownToken = typeof unk_token === "string" ? ids.get(unk_token) : undefined;
  const pieces = { prefix: prefix as string, longestWord: most as number };
  const encode = createWordPieceEncoder({ origin, ids, unknownToken, reserved, ...pieces });
  return {
    encode: writesBytes ? (word, out) => encode(byteLevelWriting(word), out) : encode,
    rules: JSON.stringify(["WordPiece", unknownToken ?? null, pieces]),
  };
}

/** A word is a token as a whole, or unknown. */
function readWordLevel(
  model: Json,
  { origin, ids, reserved }: ModelTokens,
  writesBytes: boolean,
  fail: Fail,
): ModelEncoder {
  const { unk_token = "<unk>" } = model;
  if (typeof unk_token !== "string") fail("model.unk_token is not a string");
  const unknownToken = ids.get(unk_token as string);
  return {
    encode(word, out) {
      const written = writesBytes ? byteLevelWriting(word) : word;
      const known = ids.get(written);
      const id = known === undefined || reserved.has(known) ? unknownToken : known;
      ensure(id !== undefined, "bad_file", () => `${origin}: no token stands for "${word}" of the text`);
      out.push(id);
    },
    rules: JSON.stringify(["WordLevel", unknownToken ?? null]),
  };
}

/** Ids as the reference gives them: a token that the vocabulary has too keeps the id it has there, the others follow one another. */
function readAddedTokens(list: unknown, ids: ReadonlyMap<string, number>, origin: string, fail: Fail): AddedToken[] {
  if (!Array.isArray(list)) return fail("added_tokens is not a list");
  const given = new Map<string, number>();
  let next = ids.size;
  return list.map((entry: unknown, index) => {
    const { id: stated, content, special, lstrip, rstrip, single_word, normalized } = isObject(entry) ? entry : {};
    const valid = isId(stated) && typeof content === "string" && content !== "";
    if (!valid) return fail(`added_tokens[${index}] has no valid id and content`);
    const id = given.get(content) ?? ids.get(content) ?? next;
    if (id !== stated) {
      warnOnce(
        `${origin}: added_tokens gives ${shown(content)} the id ${stated}; it is ${id}, as in the reference reader`,
      );
    }
    given.set(content, id);
    next = Math.max(next, id + 1);
    return {
      id,
      content,
      special: special === true,
      leftStrip: lstrip === true,
      rightStrip: rstrip === true,
      singleWord: single_word === true,
      normalized: typeof normalized === "boolean" ? normalized : special !== true,
    };
  });
}

function withNamed(added: AddedToken[], named: readonly string[], ids: ReadonlyMap<string, number>): AddedToken[] {
  const names = new Set(named);
  const flagged = added.map((token) => (names.has(token.content) ? { ...token, special: true } : token));
  for (const { content } of added) names.delete(content);
  for (const content of names) {
    const id = ids.get(content);
    if (id !== undefined) flagged.push({ ...plainToken, id, content });
  }
  return flagged;
}

const readers = { BPE: readBpe, Unigram: readUnigram, WordPiece: readWordPiece, WordLevel: readWordLevel };
type ModelType = keyof typeof readers;

/** Token strings to ids: an object, or for Unigram a list of [token, score]. */
function readVocabulary(model: Json, fail: Fail): Map<string, number> {
  const { type, vocab } = model;
  if (type === "Unigram") {
    const valid = (entry: unknown) => Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1]);
    if (!Array.isArray(vocab) || vocab.length > largestId || !vocab.every(valid))
      return fail("model.vocab is not a list of [token, score]");
    return new Map(vocab.map(([token], id) => [token, id]));
  }
  if (!Object.hasOwn(readers, String(type)))
    return fail(`model type ${String(type)} is not supported; ${Object.keys(readers).join(", ")} are`);
  const entries = isObject(vocab) ? Object.entries(vocab) : fail("model.vocab is not an object");
  const seen = new Uint8Array(largestId + 1);
  for (const [token, id] of entries) {
    if (!isId(id)) return fail(`model.vocab: "${token}" has the id ${String(id)}`);
    if (seen[id]++ > 0) return fail(`model.vocab: the id ${id} occurs twice, the second time for "${token}"`);
  }
  return new Map(entries as [string, number][]);
}

/** Merges are pairs, or strings with one space in older files. */
function readMerges(merges: unknown, fail: Fail): [string, string][] {
  if (!Array.isArray(merges)) return fail("model.merges is not a list");
  return merges.map((entry: unknown, rank) => {
    const pair: unknown = typeof entry === "string" ? entry.split(" ") : entry;
    const valid = Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === "string");
    return valid ? (pair as [string, string]) : fail(`model.merges[${rank}] is not a pair of tokens`);
  });
}

interface Decoder {
  bytesOf: (token: string) => Uint8Array;
  dropsLeadingSpace: boolean;
  /** Tokens are words with spaces between them: added ones, too. */
  spaced?: boolean;
}

function readDecoder(section: unknown, modelType: unknown, origin: string, fail: Fail): Decoder {
  const steps = flatten(section, "decoders", "decoder", fail);
  const utf8 = new TextEncoder();
  if (steps.length === 0) {
    if (modelType !== "WordLevel") fail("there is no decoder section");
    return { bytesOf: (token) => utf8.encode(` ${token}`), dropsLeadingSpace: true, spaced: true };
  }
  if (steps.some((step) => step.type === "ByteLevel")) {
    return { bytesOf: (token) => bytesOfToken(token) ?? utf8.encode(token), dropsLeadingSpace: false };
  }
  let dropsLeadingSpace = false;
  let byteFallback = false;
  const rewrites: ((token: string) => string)[] = [];
  const replacing = (pattern: RegExp, content: string) => rewrites.push((token) => replaceAll(token, pattern, content));
  const refused = (step: Json): never => fail(`decoder: a step like ${shown(step)} is not supported`);
  for (const step of steps) {
    if (step.type === "Replace" && typeof step.content === "string") {
      replacing(
        readPattern(step.pattern, origin, () => refused(step)),
        step.content,
      );
    } else if (step.type === "WordPiece" && typeof (step.prefix ?? "##") === "string") {
      const { prefix = "##", cleanup } = step;
      rewrites.push((token) => wordPieceText(token, prefix as string, cleanup !== false));
      dropsLeadingSpace = true;
    } else if (step.type === "Metaspace" && typeof step.replacement === "string" && step.replacement !== "") {
      replacing(literalPattern(step.replacement), " ");
      dropsLeadingSpace = step.prepend_scheme !== "never" && step.add_prefix_space !== false;
    } else if (step.type === "Strip" && step.content === " " && step.start === 1 && step.stop === 0)
      dropsLeadingSpace = true;
    else if (step.type === "ByteFallback") byteFallback = true;
    else if (step.type !== "Fuse") refused(step);
  }
  const bytesOf = (token: string) => {
    const byte = byteFallback && /^<0x([0-9A-F]{2})>$/.exec(token);
    if (byte) return Uint8Array.of(Number.parseInt(byte[1], 16));
    return utf8.encode(rewrites.reduce((text, rewrite) => rewrite(text), token));
  };
  return { bytesOf, dropsLeadingSpace, spaced: steps.some((step) => step.type === "WordPiece") };
}

/** Ids that the post-processor puts before a single text. */
function readPrefix(section: unknown, added: readonly AddedToken[], fail: Fail): number[] {
  return flatten(section, "processors", "post_processor", fail).flatMap((step) => {
    if (step.type === "ByteLevel") return [];
    if (step.type === "TemplateProcessing" && Array.isArray(step.single)) {
      const end = step.single.findIndex((item) => isObject(item) && isObject(item.Sequence));
      return step.single.slice(0, Math.max(0, end)).flatMap((item) => {
        const name = isObject(item) && isObject(item.SpecialToken) ? item.SpecialToken.id : undefined;
        const special =
          isObject(step.special_tokens) && typeof name === "string" ? step.special_tokens[name] : undefined;
        const listed = isObject(special)
          ? special.ids
          : added.filter((token) => token.content === name).map((token) => token.id);
        return Array.isArray(listed) && listed.length > 0 && listed.every(isId)
          ? listed
          : fail(`post_processor: no id for ${shown(item)}`);
      });
    }
    if ((step.type === "RobertaProcessing" || step.type === "BertProcessing") && Array.isArray(step.cls)) {
      return isId(step.cls[1]) ? [step.cls[1]] : fail("post_processor: cls has no id");
    }
    return fail(`post_processor: type ${String(step.type)} is not supported`);
  });
}

/** The steps of a section: one object, a (nested) Sequence with its steps in `field`, or null for none. */
function flatten(section: unknown, field: string, name: string, fail: Fail, depth = 0): Json[] {
  if (section === null) return [];
  if (!isObject(section) || depth > 8) return fail(`${name} is not an object`);
  if (section.type !== "Sequence") return [section];
  const steps = section[field];
  if (!Array.isArray(steps)) return fail(`${name}: a Sequence without ${field}`);
  return steps.flatMap((step) => flatten(step, field, name, fail, depth + 1));
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= largestId;
}
