/** The texts that speculation is measured on, as prompts of token ids. Read from VENTRIS_DATA or ../shared/data. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const folder = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../shared/data", import.meta.url));

/** @param {string} file @returns {any[]} the values of a .jsonl or .jsonl.gz file */
export function records(file) {
  const bytes = readFileSync(join(folder, file));
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/**
 * Whether training left a document out: the rule of src/training/data.ts, a function of the document's first letters.
 * @param {string} text
 */
function isHeldOut(text) {
  const letters = text
    .slice(0, 1000)
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "");
  return createHash("sha256").update(letters.slice(0, 200)).digest().readUInt32BE() / 2 ** 32 < 0.01;
}

/** @template T @param {readonly T[]} values @param {number} count @returns {T[]} spread evenly */
const spread = (values, count) =>
  Array.from({ length: Math.min(count, values.length) }, (_, i) => values[Math.floor((i * values.length) / count)]);

const questions = () => records("spec-bench/question.jsonl.gz");

/** Spec-Bench's six tasks by the names of their categories; the conversations of MT-bench have eight. */
const conversations = ["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"];
/** @type {Readonly<Record<string, readonly string[]>>} */
export const specBench = {
  conversation: conversations,
  translation: ["translation"],
  summarization: ["summarization"],
  "question answering": ["qa"],
  "mathematical reasoning": ["math_reasoning"],
  "retrieval-augmented generation": ["rag"],
};
/** @param {readonly string[]} categories */
const ofCategories = (categories) => () =>
  questions()
    .filter(({ category }) => categories.includes(category))
    .map(({ turns }) => turns[0]);

const sources = {
  stories: () =>
    ["tales", "classic", "misc-1", "misc-2", "misc-3"]
      .flatMap((name) => records(`gutenberg-stories/${name}.jsonl.gz`))
      .map(({ text }) => text)
      .filter(isHeldOut),
  questions: () => questions().map(({ turns }) => turns[0]),
  code: () => [
    ...spread(records("humaneval/HumanEval.jsonl"), 12).map(
      ({ prompt, canonical_solution: solution }) => prompt + solution,
    ),
    ...spread(
      groupsOf(
        records("spider/dev.jsonl").map(({ query }) => query),
        12,
      ),
      12,
    ),
    ...spread(records("json-schema-bench/github_medium.jsonl.gz"), 12).map(({ schema }) =>
      JSON.stringify(schema, null, 1),
    ),
  ],
};

/** @typedef {keyof typeof sources} Kind held-out stories; Spec-Bench's questions; Python, SQL and JSON */
export const kinds = /** @type {Kind[]} */ (Object.keys(sources));

/** @param {readonly string[]} lines @param {number} size */
const groupsOf = (lines, size) =>
  Array.from({ length: Math.floor(lines.length / size) }, (_, i) => lines.slice(i * size, (i + 1) * size).join("\n"));

/** Why there are no texts, or undefined. */
/** Why a folder of data cannot be read, or undefined. @param {string} name */
export const dataMissing = (name) =>
  existsSync(join(folder, name)) ? undefined : `no data at ${join(folder, name)} (set VENTRIS_DATA)`;

/** Path of a data file. @param {string} name */
export const dataFile = (name) => join(folder, name);

/** Files of json-schema-bench. */
export const schemaGroups = () =>
  readdirSync(join(folder, "json-schema-bench")).filter((name) => name.endsWith(".jsonl.gz"));

/** Tokens of GPT-2 as bytes, by number; undefined where they are not there. @returns {Uint8Array[] | undefined} */
export function gpt2Tokens() {
  const path = join(folder, "gpt2-tokenizer", "encoder.json.gz");
  if (!existsSync(path)) return undefined;
  /** @type {Record<string, number>} */
  const numbers = JSON.parse(gunzipSync(readFileSync(path)).toString());
  // Bytes that do not print stand for themselves 256 and more higher (GPT-2's bytes_to_unicode).
  const printable = (/** @type {number} */ byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  const hidden = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
  const byteOf = (/** @type {string} */ character) => {
    const point = /** @type {number} */ (character.codePointAt(0));
    return point < 256 ? point : hidden[point - 256];
  };
  /** @type {Uint8Array[]} */
  const tokens = [];
  for (const [text, number] of Object.entries(numbers)) {
    tokens[number] = text === "<|endoftext|>" ? new Uint8Array() : Uint8Array.from([...text], byteOf);
  }
  return tokens;
}

export const textsMissing = () => (existsSync(folder) ? undefined : `no texts at ${folder} (set VENTRIS_DATA)`);

/**
 * Prompts of at most `length` tokens, the beginnings of texts spread over the kind; the same ones every time.
 * @param {Kind | string} kind or a task of Spec-Bench @param {number} count @param {number} length @param {(text: string) => readonly number[]} encode
 */
export const promptsOf = (kind, count, length, encode) =>
  spread(
    Object.hasOwn(specBench, kind) ? ofCategories(specBench[kind])() : sources[/** @type {Kind} */ (kind)](),
    count,
  ).map((text) => encode(text.slice(0, 8 * length)).slice(0, length));
