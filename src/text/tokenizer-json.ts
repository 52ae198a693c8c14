/**
 * `tokenizer.json` (Hugging Face tokenizers). BPE goes through our own encoder, which is several times faster than
 * @huggingface/tokenizers; that library serves for normalizers, pre-tokenizers other than GPT-2's, and Unigram models.
 * What a token's bytes are is read off the decoder section, so that decoding and streaming agree by construction.
 */
import { ensure, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import type { AddedToken } from "./added-tokens.ts";
import type { TokenizerParts } from "./assemble.ts";
import { type BpeVocabulary, byteSymbols, characterSymbols, createWordEncoder, mergeRules } from "./bpe.ts";
import { byteLevelWriting, bytesOfToken, forEachPreToken } from "./byte-level.ts";
import { createPreparation, createUnigramEncoder, type Preparation } from "./library.ts";

type Json = Record<string, unknown>;
type FromJson = Pick<TokenizerParts, "pieces" | "added" | "encodeSection" | "prefix" | "dropsLeadingSpace" | "rules">;
type Fail = (message: string) => never;

/** An id beyond this is a corrupt file: the largest vocabularies have 300 000. Merge keys rely on it. */
const largestId = 2 ** 22 - 1;

/**
 * `named` are tokens that a configuration gives a role (begin, end …): they are special whatever this file says of them.
 * Errors: `bad_file` naming `origin` and the section that is missing, corrupt, or of a kind that is not supported.
 */
export async function readTokenizerJson(json: Json, origin: string, named: readonly string[] = []): Promise<FromJson> {
  const fail: Fail = (message) => {
    throw new VentrisError("bad_file", `${origin}: ${message}`);
  };
  const model = isObject(json.model) ? json.model : fail("there is no model section");
  const ids = readVocabulary(model, fail);
  const added = withNamed(readAddedTokens(json.added_tokens ?? [], fail), named, ids);
  const { bytesOf, dropsLeadingSpace } = readDecoder(json.decoder ?? null, fail);

  const pieces: Uint8Array[] = [];
  for (const [token, id] of ids) pieces[id] = bytesOf(token);
  for (const { id, content } of added) pieces[id] = new TextEncoder().encode(content);
  const nothing = new Uint8Array(0);
  for (let id = 0; id < pieces.length; id++) pieces[id] ??= nothing;
  ensure(pieces.length > 0, "bad_file", `${origin}: the vocabulary is empty`);

  const prefix = readPrefix(json.post_processor ?? null, added, fail);
  const reserved = new Set(added.filter((token) => token.special).map((token) => token.id));
  const encoder =
    model.type === "BPE"
      ? await readBpe(json, model, { origin, ids, reserved }, fail)
      : { rules: JSON.stringify(model.vocab), encodeSection: await createUnigramEncoder({ json, reserved, origin }) };
  for (const id of prefix) if (id >= pieces.length) fail(`post_processor: the id ${id} is outside the vocabulary`);
  return { pieces, added, prefix, dropsLeadingSpace, ...encoder };
}

async function readBpe(
  json: Json,
  model: Json,
  tokens: Omit<BpeVocabulary, "unknownToken">,
  fail: Fail,
): Promise<Pick<FromJson, "encodeSection" | "rules">> {
  const unsupported = ["dropout", "continuing_subword_prefix", "end_of_word_suffix"].find((field) => model[field]);
  if (unsupported) fail(`model.${unsupported} is not supported`);
  const merges = readMerges(model.merges, fail);
  const { steps, byteLevel } = readPreTokenizer(json.pre_tokenizer ?? null, fail);
  const prepare: Preparation = await createPreparation({
    normalizer: json.normalizer ?? null,
    steps,
    origin: tokens.origin,
  });
  const { ids, reserved } = tokens;
  const unknownToken = typeof model.unk_token === "string" ? ids.get(model.unk_token) : undefined;
  const vocabulary: BpeVocabulary = { ...tokens, unknownToken };
  const whole = (written: string) => {
    const id = ids.get(written);
    return id === undefined || reserved.has(id) ? undefined : id;
  };
  const encodeWord = createWordEncoder({
    symbolsOf: byteLevel
      ? byteSymbols(vocabulary)
      : characterSymbols(vocabulary, {
          byteFallback: model.byte_fallback === true,
          fuseUnknown: model.fuse_unk === true,
        }),
    rule: mergeRules(vocabulary, merges),
    wholeWord: model.ignore_merges === true ? (word) => whole(byteLevel ? byteLevelWriting(word) : word) : undefined,
  });
  return {
    rules: merges.map((merge) => merge.join(" ")).join("\n"),
    encodeSection(text, section, out) {
      for (const part of prepare(text, section)) {
        const spaced = byteLevel?.addPrefixSpace && !part.startsWith(" ") ? ` ${part}` : part;
        if (byteLevel?.useRegex) forEachPreToken(spaced, (word) => encodeWord(word, out));
        else encodeWord(spaced, out);
      }
    },
  };
}

function readAddedTokens(list: unknown, fail: Fail): AddedToken[] {
  if (!Array.isArray(list)) return fail("added_tokens is not a list");
  return list.map((entry: unknown, index) => {
    const { id, content, special, lstrip, rstrip, single_word } = isObject(entry) ? entry : {};
    const valid = isId(id) && typeof content === "string" && content !== "";
    if (!valid) return fail(`added_tokens[${index}] has no valid id and content`);
    return {
      id,
      content,
      special: special === true,
      leftStrip: lstrip === true,
      rightStrip: rstrip === true,
      singleWord: single_word === true,
    };
  });
}

function withNamed(added: AddedToken[], named: readonly string[], ids: ReadonlyMap<string, number>): AddedToken[] {
  const names = new Set(named);
  const flagged = added.map((token) => (names.has(token.content) ? { ...token, special: true } : token));
  for (const { content } of added) names.delete(content);
  for (const content of names) {
    const id = ids.get(content);
    if (id !== undefined)
      flagged.push({ id, content, special: true, leftStrip: false, rightStrip: false, singleWord: false });
  }
  return flagged;
}

/** Token strings to ids: an object for BPE, a list of [token, score] for Unigram. */
function readVocabulary(model: Json, fail: Fail): Map<string, number> {
  const { type, vocab } = model;
  if (type === "Unigram") {
    if (model.byte_fallback === true) return fail("a Unigram model with byte_fallback is not supported");
    const valid = (entry: unknown) => Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1]);
    if (!Array.isArray(vocab) || vocab.length > largestId || !vocab.every(valid))
      return fail("model.vocab is not a list of [token, score]");
    return new Map(vocab.map(([token], id) => [token, id]));
  }
  if (type !== "BPE") return fail(`model type ${String(type)} is not supported; BPE and Unigram are`);
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

interface ByteLevelOptions {
  addPrefixSpace: boolean;
  useRegex: boolean;
}

/** The byte-level step, if there is one, is ours; the `steps` before it are the library's. */
function readPreTokenizer(section: unknown, fail: Fail): { steps: Json[]; byteLevel: ByteLevelOptions | undefined } {
  const steps = flatten(section, "pretokenizers", "pre_tokenizer", fail);
  for (const { type, behavior, invert } of steps) {
    const split = `${String(behavior)}${invert === true ? " inverted" : ""}`;
    if (type === "Split" && !["Isolated", "Removed", "Removed inverted"].includes(split)) {
      fail(`pre_tokenizer: a Split with behaviour ${split} is not supported`);
    }
  }
  const index = steps.findIndex((step) => step.type === "ByteLevel");
  if (index < 0) return { steps, byteLevel: undefined };
  if (index !== steps.length - 1) fail("pre_tokenizer: ByteLevel must be the last step");
  const { add_prefix_space, use_regex } = steps[index];
  return {
    steps: steps.slice(0, index),
    byteLevel: { addPrefixSpace: add_prefix_space === true, useRegex: use_regex !== false },
  };
}

function readDecoder(
  section: unknown,
  fail: Fail,
): { bytesOf: (token: string) => Uint8Array; dropsLeadingSpace: boolean } {
  const steps = flatten(section, "decoders", "decoder", fail);
  if (steps.length === 0) fail("there is no decoder section");
  const utf8 = new TextEncoder();
  if (steps.some((step) => step.type === "ByteLevel")) {
    return { bytesOf: (token) => bytesOfToken(token) ?? utf8.encode(token), dropsLeadingSpace: false };
  }
  let dropsLeadingSpace = false;
  let byteFallback = false;
  const replacements: [string, string][] = [];
  for (const step of steps) {
    const pattern = isObject(step.pattern) ? step.pattern.String : undefined;
    if (step.type === "Replace" && typeof pattern === "string" && pattern !== "" && typeof step.content === "string") {
      replacements.push([pattern, step.content]);
    } else if (step.type === "Metaspace" && typeof step.replacement === "string" && step.replacement !== "") {
      replacements.push([step.replacement, " "]);
      dropsLeadingSpace = step.prepend_scheme !== "never" && step.add_prefix_space !== false;
    } else if (step.type === "Strip" && step.content === " " && step.start === 1 && step.stop === 0)
      dropsLeadingSpace = true;
    else if (step.type === "ByteFallback") byteFallback = true;
    else if (step.type !== "Fuse") fail(`decoder: a step like ${JSON.stringify(step).slice(0, 100)} is not supported`);
  }
  const bytesOf = (token: string) => {
    const byte = byteFallback && /^<0x([0-9A-F]{2})>$/.exec(token);
    if (byte) return Uint8Array.of(Number.parseInt(byte[1], 16));
    return utf8.encode(replacements.reduce((text, [pattern, content]) => text.replaceAll(pattern, content), token));
  };
  return { bytesOf, dropsLeadingSpace };
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
          : fail(`post_processor: no id for ${JSON.stringify(item)}`);
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
