/**
 * A datastore: of every position of a text that has a next token, the state that a model had there (the key) and that token. A folder with a
 * card, `datastore.json`, and chunks as safetensors files, in the order of the text, so that entry i + 1 comes after entry i. It says which
 * model and tokenizer it was built with, and is refused beside others.
 */
import { z } from "zod";
import { formatBytes } from "../../bytes.ts";
import { ensure, VentrisError } from "../../errors.ts";
import { exists, storage, within } from "../../files.ts";
import { memoryBytes } from "../../machine.ts";
import { cardBelow, readCardFile } from "../../models/parts.ts";
import type { Site } from "../../models/sites.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import type { WeightSource } from "../../weights/source.ts";

export const datastoreFormat = "ventris datastore 1";
export const cardFile = "datastore.json";
const mostCardBytes = 2 ** 24;
const hex = z.string().regex(/^[0-9a-f]{64}$/);

const cardSchema = z.object({
  format: z.literal(datastoreFormat),
  base: z.object({ name: z.string().max(1000), fingerprint: hex }),
  /** Fingerprint of the tokenizer. */
  tokenizer: z.string().max(200),
  vocabularySize: z.int().min(1),
  /** Where keys are read, and where a memory's inputs are; their widths. */
  keySite: z.string().max(200),
  keyWidth: z
    .int()
    .min(1)
    .max(2 ** 16),
  inputSite: z.string().max(200),
  inputWidth: z
    .int()
    .min(1)
    .max(2 ** 16),
  /** Longest text that a state was computed from. */
  window: z.int().min(2),
  /** Windows of the texts that the chunks hold, and a digest of their tokens. */
  windows: z.int().min(0),
  digest: hex,
  entries: z.int().min(0),
  chunks: z
    .array(
      z.object({
        file: z.string().regex(/^chunk-\d{5}\.safetensors$/),
        entries: z
          .int()
          .min(1)
          .max(2 ** 24),
        /** Of the values. */
        digest: hex,
      }),
    )
    .max(100_000),
  documents: z.int().min(0),
  /** Whether the texts ended. */
  complete: z.boolean(),
});
export type DatastoreCard = z.output<typeof cardSchema>;

/** Name of the chunk with this number. */
export const chunkFile = (number: number): string => `chunk-${String(number).padStart(5, "0")}.safetensors`;

/** What a datastore is checked against. */
export interface DatastoreBase {
  readonly name: string;
  readonly fingerprint: string;
  readonly tokenizer: string | undefined;
  readonly sites: readonly Site[];
}

/** Errors: `bad_file` for what is no card; undefined where there is none. */
export async function readCard(folder: string): Promise<DatastoreCard | undefined> {
  const path = within(folder, cardFile);
  if (!(await exists(path))) return undefined;
  const card = await readCardFile(path, cardSchema, mostCardBytes);
  const sum = card.chunks.reduce((total, { entries }) => total + entries, 0);
  ensure(sum === card.entries, "bad_file", `${path}: its chunks have ${sum} entries, not ${card.entries}`);
  const wrong = card.chunks.findIndex(({ file }, i) => file !== chunkFile(i));
  ensure(wrong < 0, "bad_file", () => `${path}: chunk ${wrong} is ${card.chunks[wrong].file}, not ${chunkFile(wrong)}`);
  return card;
}

/** Errors: `bad_option` for a datastore of another model or tokenizer, or of sites that the model has not. */
export function requireBase(folder: string, card: DatastoreCard, base: DatastoreBase): void {
  ensure(card.base.fingerprint === base.fingerprint, "bad_option", () => {
    return `the datastore ${folder} was built with another model (${card.base.name}), and its keys mean nothing to ${base.name}: the weights differ`;
  });
  ensure(
    card.tokenizer === (base.tokenizer ?? ""),
    "bad_option",
    `the datastore ${folder} was built with another tokenizer than that of ${base.name}`,
  );
  for (const [site, width] of [
    [card.keySite, card.keyWidth],
    [card.inputSite, card.inputWidth],
  ] as const) {
    const found = base.sites.find(({ name }) => name === site);
    ensure(
      found?.width === width,
      "bad_option",
      `the datastore ${folder} reads ${site}, ${width} wide, which ${base.name} has not`,
    );
  }
}

export interface Datastore {
  readonly folder: string;
  readonly card: DatastoreCard;
  readonly entries: number;
  readonly width: number;
  /** [entries, width]. */
  readonly keys: Float32Array;
  /** Squared length of each key. */
  readonly norms: Float32Array;
  /** The next token of each entry. */
  readonly values: Int32Array;
  /** [entries, 2]: document, and place of the value in it. */
  readonly places: Int32Array;
}

export interface DatastoreOptions {
  /** Bytes that keys, values and places may take. Default: half of the machine's memory. */
  readonly memoryLimit?: number;
}

export const bytesInMemory = ({ entries, keyWidth }: Pick<DatastoreCard, "entries" | "keyWidth">): number =>
  entries * (4 * keyWidth + 16);

/**
 * The card of a finished datastore. Errors: `unavailable` where there is none; `bad_option` for one of another model or tokenizer, or one that is empty or
 * not finished.
 */
export async function completeCard(folder: string, base: DatastoreBase): Promise<DatastoreCard> {
  const card = await readCard(folder);
  if (!card) {
    const below = await cardBelow(folder, cardFile);
    const advice = below ? `give the one in it, ${below}` : "ventris memory build makes one";
    throw new VentrisError("unavailable", `${folder} is no datastore: it has no ${cardFile} (${advice})`);
  }
  requireBase(folder, card, base);
  ensure(
    card.complete,
    "bad_option",
    `the datastore ${folder} is not finished: repeat ventris memory build, which goes on where it was`,
  );
  ensure(card.entries > 0, "bad_option", `the datastore ${folder} is empty`);
  return card;
}

/**
 * Reads a datastore for a model. Errors: `unavailable` where there is none; `bad_option` for one of another model or tokenizer, or one that is empty or
 * not finished; `out_of_memory` for one larger than the limit; `bad_file` for chunks that do not fit the card, or have values that are not finite.
 */
export async function openDatastore(
  folder: string,
  base: DatastoreBase,
  { memoryLimit = memoryBytes() / 2 }: DatastoreOptions = {},
): Promise<Datastore> {
  const card = await completeCard(folder, base);
  const bytes = bytesInMemory(card);
  ensure(bytes <= memoryLimit, "out_of_memory", () => {
    return `the datastore ${folder} takes ${formatBytes(bytes)} in memory, more than the ${formatBytes(memoryLimit)} given; give more, or build one of fewer texts`;
  });
  const { entries, keyWidth: width } = card;
  const keys = new Float32Array(entries * width);
  const norms = new Float32Array(entries);
  const values = new Int32Array(entries);
  const places = new Int32Array(2 * entries);
  let at = 0;
  for await (const chunk of readChunks(folder, card, ["keys"])) {
    keys.set(chunk.tensors.keys, at * width);
    values.set(chunk.values, at);
    places.set(chunk.places, 2 * at);
    at += chunk.entries;
  }
  for (let i = 0; i < entries; i++) {
    let sum = 0;
    for (let j = i * width; j < (i + 1) * width; j++) sum += keys[j] * keys[j];
    norms[i] = sum;
  }
  return { folder, card, entries, width, keys, norms, values, places };
}

export interface Chunk<Name extends string> {
  readonly file: string;
  readonly entries: number;
  readonly values: Int32Array;
  readonly places: Int32Array;
  /** [entries, width] each. */
  readonly tensors: Readonly<Record<Name, Float32Array>>;
}

/** The tensor that holds a memory's inputs: the keys themselves where both are read at one site. */
export const inputTensor = ({ keySite, inputSite }: DatastoreCard): "keys" | "inputs" =>
  keySite === inputSite ? "keys" : "inputs";

/** The chunks one after another, with some of their tensors. Errors: `bad_file`, naming chunk and tensor. */
export async function* readChunks<Name extends "keys" | "inputs">(
  folder: string,
  card: DatastoreCard,
  names: readonly Name[],
): AsyncGenerator<Chunk<Name>> {
  for (const { file, entries, digest } of card.chunks) {
    const path = within(folder, file);
    const source = await openSafetensors(path);
    try {
      const values = await integers(source, "values", [entries]);
      const places = await integers(source, "places", [entries, 2]);
      ensure(
        (await digestOf(values)) === digest,
        "bad_file",
        `${path}: its values are not those that the card was written for`,
      );
      const outside = values.findIndex((token) => token < 0 || token >= card.vocabularySize);
      ensure(
        outside < 0,
        "bad_file",
        () => `${path}: entry ${outside} has the token ${values[outside]}, which the model has not`,
      );
      const lost = places.findIndex((place, i) => place < i % 2 || (i % 2 === 0 && place >= card.documents));
      ensure(lost < 0, "bad_file", () => `${path}: entry ${lost >> 1} has no place in the ${card.documents} documents`);
      const tensors: Partial<Record<Name, Float32Array>> = {};
      for (const name of names) {
        const width = name === "keys" ? card.keyWidth : card.inputWidth;
        requireShape(source, name, [entries, width]);
        tensors[name] = await source.readFloat32(name);
      }
      yield { file, entries, values, places, tensors: tensors as Record<Name, Float32Array> };
    } finally {
      await source.close();
    }
  }
}

/**
 * The documents that a datastore was built of, word for word but for a first token that no begin token stands before: of it there is no entry.
 * Errors: those of chunks.
 */
export async function* textsOf(
  folder: string,
  card: DatastoreCard,
  { decode }: Pick<Tokenizer, "decode">,
): AsyncGenerator<string> {
  let [tokens, document]: [number[], number] = [[], 0];
  for await (const { values, places } of readChunks(folder, card, [])) {
    for (const [i, token] of values.entries()) {
      if (places[2 * i] !== document && tokens.length > 0) {
        yield decode(tokens);
        tokens = [];
      }
      document = places[2 * i];
      tokens.push(token);
    }
  }
  if (tokens.length > 0) yield decode(tokens);
}

export const digestOf = async ({ buffer, byteOffset, byteLength }: Int32Array, before = ""): Promise<string> =>
  (await storage())
    .hash("sha256")
    .update(before)
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .hex();

function requireShape(source: WeightSource, name: string, shape: readonly number[]): void {
  const found = source.tensors.get(name)?.shape;
  ensure(found?.join() === shape.join(), "bad_file", () => {
    return `${source.origin}: ${name} ${found ? `is [${found}], but the card says` : "is missing: the card has it as"} [${shape}]`;
  });
}

async function integers(source: WeightSource, name: string, shape: readonly number[]): Promise<Int32Array> {
  requireShape(source, name, shape);
  ensure(source.tensors.get(name)?.type === "I32", "bad_file", `${source.origin}: ${name} is not I32`);
  const { buffer, byteOffset, byteLength } = await source.readBytes(name);
  return new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
}
