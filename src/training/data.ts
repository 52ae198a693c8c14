/**
 * Training data: text files to one stream of token ids, cached on disk, and batches that are a pure function of seed and
 * number, so that a resumed run sees the batches that it would have seen.
 */
import { uniform } from "../engine/random.ts";
import { ensure, requireObject, requireOptions, shown } from "../errors.ts";
import { storage, within } from "../files.ts";
import { parseJson } from "../json.ts";
import { requireCounts, requireWhole } from "../numbers.ts";
import { sha } from "../sha.ts";
import { documents, separatorPattern, type TextFile } from "../text/text-files.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { cacheKey, fileIdentity, openCached } from "../weights/cache.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import type { TokenBatch } from "./objective.ts";

/** Two bytes an id where the vocabulary allows it. */
export type TokenIds = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Documents as one stream of tokens. */
export interface TokenStream {
  /** Documents one after another, each between the tokenizer's begin and end tokens. */
  readonly tokens: TokenIds;
  readonly documents: number;
}

/** Token streams to train on and to hold out. */
export interface Corpus {
  readonly train: TokenStream;
  readonly heldOut: TokenStream;
  /** Of all tokens: tells a corpus from another that was made of files of the same names. */
  readonly digest: string;
}

/** A text file of a corpus. */
export interface CorpusFile extends TextFile {
  /** Whether the names of special tokens in the text mean those tokens: chats written as a template writes them. */
  readonly special?: boolean;
}

/** Which files, by which tokenizer, with which share held out. */
export interface CorpusOptions {
  /** Read in this order; a file that is listed twice counts twice. */
  readonly files: readonly CorpusFile[];
  /** Makes the ids; the corpus is kept for this tokenizer alone. */
  readonly tokenizer: Tokenizer;
  /** Expected share of documents that are held out; default 0.01. */
  readonly heldOut?: number;
  /** Told after each document how much has been encoded, and of which file. Default: nobody is told. */
  readonly onProgress?: (progress: { documents: number; tokens: number; path: string }) => void;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

const formatName = "ventris corpus 1";

/**
 * The files' documents as tokens, from the cache folder when they were encoded before. Whether a document is held out
 * depends on its text alone. Errors: as `documents`; `bad_option` for a tokenizer without begin and end token; `aborted`;
 * `disk_full` while caching.
 */
export async function loadCorpus(options: CorpusOptions): Promise<Corpus> {
  requireOptions(options, "corpus");
  requireObject(options.tokenizer, "corpus", "tokenizer");
  ensure(Array.isArray(options.files), "bad_option", () => `corpus: files must be a list, not ${shown(options.files)}`);
  const { files, tokenizer, heldOut = 0.01 } = options;
  ensure(heldOut >= 0 && heldOut < 1, "bad_option", `corpus: heldOut is ${heldOut} and must lie in [0, 1)`);
  ensure(files.length > 0, "bad_option", "corpus: no files are given");
  const parts: (string | number)[] = [formatName, tokenizer.fingerprint, heldOut];
  for (const { path, field = "", separator = "", special = false } of files) {
    parts.push(await fileIdentity(path), field, String(separatorPattern(separator)), ...(special ? ["special"] : []));
  }
  const name = within("corpora", `${await cacheKey(...parts)}.safetensors`);
  return openCached(name, async (path) => writeCorpus(path, await encodeCorpus(options, heldOut)), readCorpus);
}

async function encodeCorpus(options: CorpusOptions, heldOutShare: number): Promise<Corpus> {
  const { files, tokenizer, onProgress, signal } = options;
  const begin = tokenizer.beginToken === undefined ? [] : [tokenizer.beginToken];
  const end = tokenizer.endTokens.slice(0, 1);
  ensure(begin.length + end.length > 0, "bad_option", "corpus: the tokenizer has no token to put between documents");
  const train = growingStream(tokenizer.vocabularySize);
  const heldOut = growingStream(tokenizer.vocabularySize);
  for (const file of files) {
    const before = train.documents + heldOut.documents;
    for await (const text of documents(file)) {
      ensure(!signal?.aborted, "aborted", "aborted while encoding the training texts");
      ensure(!text.includes("\0"), "bad_file", `${file.path}: it has zero bytes, so it is not text`);
      const stream = position(text) < heldOutShare ? heldOut : train;
      const ids = tokenizer.encode(text, { special: false, allowSpecial: file.special ?? false });
      for (const part of [begin, ids, end]) stream.append(part);
      stream.documents++;
      onProgress?.({
        documents: train.documents + heldOut.documents,
        tokens: train.length + heldOut.length,
        path: file.path,
      });
    }
    ensure(train.documents + heldOut.documents > before, "bad_option", `${file.path}: there is no text in it`);
  }
  const [trained, held] = [train.finished(), heldOut.finished()];
  return { train: trained, heldOut: held, digest: await digestOf(trained.tokens, held.tokens) };
}

/**
 * Uniform in [0, 1), a function of the text's first letters and digits alone: copies that differ in case, spacing or
 * punctuation fall on the same side of a split.
 */
function position(text: string): number {
  const letters = text
    .slice(0, 1000)
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "");
  return Number.parseInt(sha("sha256").update(letters.slice(0, 200)).hex().slice(0, 8), 16) / 2 ** 32;
}

/**
 * Where documents are so few that none of them is held out, the end of the last ones is: this share of the tokens, a batch at least; all
 * stays as it is where that were more than a tenth and more than the share.
 */
export function holdOutEnd(corpus: Corpus, { rows, length }: BatchShape, share = 0.01): Corpus {
  const { tokens, documents } = corpus.train;
  const count = Math.max(rows * length + 1, Math.floor(share * tokens.length));
  if (count > Math.max(share, 0.1) * tokens.length) return corpus;
  const cut = tokens.length - count;
  return {
    train: { tokens: tokens.subarray(0, cut), documents },
    heldOut: { tokens: tokens.subarray(cut), documents: 1 },
    digest: corpus.digest,
  };
}

/** Whether `loadCorpus` leaves this document out of training: what is measured on must not have been learned. */
export const isHeldOut = (text: string, share = 0.01): boolean => position(text) < share;

function growingStream(vocabularySize: number) {
  const allocate = (size: number): TokenIds =>
    vocabularySize <= 2 ** 16 ? new Uint16Array(size) : new Uint32Array(size);
  let tokens = allocate(2 ** 16);
  return {
    documents: 0,
    length: 0,
    append(ids: readonly number[]) {
      const length = this.length + ids.length;
      if (length > tokens.length) {
        const grown = allocate(Math.max(length, Math.ceil(1.5 * tokens.length)));
        grown.set(tokens.subarray(0, this.length));
        tokens = grown;
      }
      tokens.set(ids, this.length);
      this.length = length;
    },
    finished(): TokenStream {
      return { tokens: tokens.subarray(0, this.length), documents: this.documents };
    },
  };
}

async function writeCorpus(path: string, { train, heldOut, digest }: Corpus): Promise<void> {
  const tensor = (name: string, { tokens }: TokenStream) => {
    const data = bytesOf(tokens);
    return { name, type: "U8" as const, shape: [data.length], data };
  };
  await writeSafetensors(path, [tensor("train", train), tensor("heldOut", heldOut)], {
    format: formatName,
    bytesPerToken: String(train.tokens.BYTES_PER_ELEMENT),
    documents: JSON.stringify([train.documents, heldOut.documents]),
    digest,
  });
}

async function readCorpus(path: string): Promise<Corpus> {
  const file = await openSafetensors(path);
  try {
    const { format, bytesPerToken, documents, digest } = file.metadata;
    ensure(format === formatName, "bad_file", `${path}: not a cached corpus`);
    const read = async (name: string): Promise<TokenIds> => {
      const bytes = await file.readBytes(name);
      const Ids = bytesPerToken === "2" ? Uint16Array : Uint32Array;
      return new Ids(bytes.buffer, bytes.byteOffset, bytes.length / Ids.BYTES_PER_ELEMENT);
    };
    const [train, heldOut] = [await read("train"), await read("heldOut")];
    ensure(digest === (await digestOf(train, heldOut)), "bad_file", `${path}: its contents do not match its digest`);
    const counts = parseJson(documents, path);
    ensure(Array.isArray(counts), "bad_file", `${path}: it does not count its documents`);
    return {
      train: { tokens: train, documents: counts[0] },
      heldOut: { tokens: heldOut, documents: counts[1] },
      digest,
    };
  } finally {
    await file.close();
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: TokenIds) => new Uint8Array(buffer, byteOffset, byteLength);

async function digestOf(...arrays: TokenIds[]): Promise<string> {
  const hash = (await storage()).hash("sha256");
  for (const array of arrays) hash.update(bytesOf(array));
  return hash.hex();
}

/** How many rows a batch has, and how long they are. */
export interface BatchShape {
  readonly rows: number;
  /** Positions trained a row; a row holds one token more. */
  readonly length: number;
}

/** Batch number `index`: windows drawn uniformly, with replacement, as a function of (seed, index). Errors: `bad_option`. */
export function drawBatch(tokens: TokenIds, shape: BatchShape, seed: number, index: number): TokenBatch {
  requireShape(shape);
  requireWhole({ "batches: seed": seed, "batches: index": index }, 0);
  requireTokens(tokens, shape.length + 1);
  const starts = tokens.length - shape.length;
  return windows(tokens, shape, (row) => Math.floor(uniform({ seed, request: 0 }, index, "data", row) * starts));
}

/**
 * Batch number `index` of several streams: each row's stream is drawn by weight, then its window uniformly, as a function of (seed,
 * index). Errors: `bad_option` for weights that sum to 0, or a stream shorter than a window.
 */
export function drawMixedBatch(
  streams: readonly { readonly tokens: TokenIds; readonly weight: number }[],
  shape: BatchShape,
  seed: number,
  index: number,
): TokenBatch {
  requireShape(shape);
  requireWhole({ "batches: seed": seed, "batches: index": index }, 0);
  const total = streams.reduce((sum, { weight }) => sum + weight, 0);
  ensure(total > 0, "bad_option", "batches: the weights of the texts sum to 0");
  const rows = Array.from({ length: shape.rows }, (_, row) => {
    const place = uniform({ seed, request: 1 }, index, "data", row) * total;
    let end = 0;
    const ends = streams.map(({ weight }) => {
      end += weight;
      return end;
    });
    // Rounding may leave the last end below the place; a stream of weight 0 is never drawn.
    const found = ends.findIndex((e) => place < e);
    const chosen = found < 0 ? streams.findLast(({ weight }) => weight > 0)! : streams[found];
    requireTokens(chosen.tokens, shape.length + 1);
    const starts = chosen.tokens.length - shape.length;
    const start = Math.floor(uniform({ seed, request: 0 }, index, "data", row) * starts);
    return windows(chosen.tokens, { rows: 1, length: shape.length }, () => start).tokens;
  });
  const tokens = new Int32Array(shape.rows * (shape.length + 1));
  rows.forEach((row, i) => {
    tokens.set(row, i * (shape.length + 1));
  });
  return { tokens, ...shape };
}

/** Batches that do not overlap, spread evenly over the stream: the same ones every time. Errors: `bad_option`. */
export function evaluationBatches(tokens: TokenIds, shape: BatchShape, count: number): TokenBatch[] {
  requireShape(shape);
  requireCounts({ "batches: count": count });
  const total = count * shape.rows;
  requireTokens(tokens, total * shape.length + 1);
  const spacing = (tokens.length - 1) / total;
  return Array.from({ length: count }, (_, batch) =>
    windows(tokens, shape, (row) => Math.floor((batch * shape.rows + row) * spacing)),
  );
}

function windows(tokens: TokenIds, { rows, length }: BatchShape, start: (row: number) => number): TokenBatch {
  const result = new Int32Array(rows * (length + 1));
  for (let row = 0; row < rows; row++) {
    const from = start(row);
    result.set(tokens.subarray(from, from + length + 1), row * (length + 1));
  }
  return { tokens: result, rows, length };
}

const requireShape = ({ rows, length }: BatchShape): void =>
  requireCounts({ "batches: shape.rows": rows, "batches: shape.length": length });

function requireTokens(tokens: TokenIds, needed: number): void {
  ensure(
    tokens.length >= needed,
    "bad_option",
    `batches: ${needed} tokens are needed but the text has ${tokens.length}; give more text, or fewer or shorter rows`,
  );
}
