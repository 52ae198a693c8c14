/**
 * Builds a datastore: texts in windows through the model, states and next tokens into chunks. A chunk is whole or absent, so that an
 * interrupted build goes on after the last one; no more than a chunk and a pass is in memory.
 */
import type { ForwardResult } from "../../engine/forward/index.ts";
import type { ForwardSequence } from "../../engine/forward/input.ts";
import { ensure, VentrisError } from "../../errors.ts";
import { inMadeFolder, keeping, within } from "../../files.ts";
import { itemsOf, textItems } from "../../items.ts";
import type { ModelConfig } from "../../models/family.ts";
import { type Site, siteNamed } from "../../models/sites.ts";
import { requireCounts, requireWhole } from "../../numbers.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { documentTokens, keptOverlap, type Window, windowsOf } from "../../text/windows.ts";
import { withFileLock, writeFileAtomically } from "../../weights/cache.ts";
import { writeSafetensors } from "../../weights/safetensors.ts";
import {
  cardFile,
  chunkFile,
  type DatastoreBase,
  type DatastoreCard,
  datastoreFormat,
  digestOf,
  readCard,
  requireBase,
} from "./datastore.ts";

/** What memories ask of an open model. */
export interface StateModel {
  readonly name: string;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer | undefined;
  sites(): readonly Site[];
  fingerprint(): Promise<string>;
  forward(sequences: readonly ForwardSequence[], options: { taps?: readonly string[] }): Promise<ForwardResult[]>;
}

export const baseOf = async (
  model: Pick<StateModel, "name" | "tokenizer" | "sites" | "fingerprint">,
): Promise<DatastoreBase> => ({
  name: model.name,
  fingerprint: await model.fingerprint(),
  tokenizer: model.tokenizer?.fingerprint,
  sites: model.sites(),
});

/** The input of a layer's feed-forward block, after its norm: of the last layer, what nearest-neighbour keys are. */
export const feedForwardInput = (layer: number): string => `layers.${layer}.mlp.norm`;
export const keySiteOf = ({ layers }: ModelConfig): string => feedForwardInput(layers - 1);
/** The layer at seven tenths of the depth, where the paper finds memories read best. */
export const inputSiteOf = ({ layers }: ModelConfig): string =>
  feedForwardInput(Math.min(layers - 1, Math.round(0.7 * layers)));

export interface BuildOptions {
  /** Where the datastore is, or is to be. */
  readonly folder: string;
  /** Where keys are read. Default: the input of the last feed-forward block. */
  readonly keySite?: string;
  /** Where a memory's inputs are read. Default: the input of the feed-forward block at seven tenths of the depth. */
  readonly inputSite?: string;
  /** Longest text that a state is computed from. Default: the model's context, at most 512. */
  readonly window?: number;
  /** Tokens before a token at least, where the text is longer than a window. Default: half of it. */
  readonly overlap?: number;
  /** Entries of a chunk. Default 16384. */
  readonly chunkEntries?: number;
  /** Rows of a pass. Default 1024. */
  readonly rows?: number;
  /** Bytes that all chunks may take together. Default: no bound. */
  readonly maxBytes?: number;
  /** Ends the build with the error `aborted`; the same call goes on after its last chunk. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told after each pass: entries and documents so far, and whether they were there already. Default: nobody is told. */
  readonly onProgress?: (progress: { entries: number; documents: number; skipped: boolean }) => void;
}

/**
 * The card of the finished datastore. Called again after an interruption it goes on where it was; for a finished one it only checks that the texts
 * are the same. Errors: `bad_option` for no text, other texts or other settings than it was begun with; `disk_full`, also where `maxBytes` do not
 * suffice, with what is done kept; `aborted` likewise; `unavailable` where another process builds it.
 */
export async function buildDatastore(
  model: StateModel,
  texts: AsyncIterable<string> | Iterable<string>,
  options: BuildOptions,
): Promise<DatastoreCard> {
  const { folder } = options;
  return inMadeFolder(folder, () =>
    withFileLock(within(folder, "datastore"), () => build(model, texts, options), { timeout: 0 }),
  );
}

interface Placed extends Window {
  readonly document: number;
  /** Place of the first predicted token in its document. */
  readonly at: number;
}

async function build(
  model: StateModel,
  texts: AsyncIterable<string> | Iterable<string>,
  { folder, signal, onProgress, maxBytes, chunkEntries = 16384, rows: rowsTogether = 1024, ...settings }: BuildOptions,
): Promise<DatastoreCard> {
  const { tokenizer, config } = model;
  ensure(tokenizer, "bad_option", `a datastore needs a tokenizer, and ${model.name} has none`);
  requireCounts({ chunkEntries, rows: rowsTogether });
  const window = settings.window ?? Math.min(512, config.contextLength);
  requireWhole({ window }, 2, config.contextLength);
  const kept = keptOverlap(window, settings.overlap);
  const keySite = settings.keySite ?? keySiteOf(config);
  const inputSite = settings.inputSite ?? inputSiteOf(config);
  const [keyWidth, inputWidth] = [keySite, inputSite].map((site) => everyRow(model.sites(), site));
  const base = await baseOf(model);
  const fresh: DatastoreCard = {
    format: datastoreFormat,
    base: { name: base.name, fingerprint: base.fingerprint },
    tokenizer: tokenizer.fingerprint,
    vocabularySize: config.vocabularySize,
    ...{ keySite, keyWidth, inputSite, inputWidth, window },
    ...{ windows: 0, digest: await digestOf(new Int32Array(0)), entries: 0, chunks: [], documents: 0, complete: false },
  };
  const found = await readCard(folder);
  let card = found ?? fresh;
  if (found) {
    requireBase(folder, found, base);
    for (const name of ["keySite", "inputSite", "window"] as const) {
      ensure(found[name] === fresh[name], "bad_option", () => {
        return `the datastore ${folder} was begun with ${name} ${found[name]}, not ${fresh[name]}: give that, or another folder`;
      });
    }
  }

  const bytesAnEntry = 2 * keyWidth + (keySite === inputSite ? 0 : 2 * inputWidth) + 12;
  const taps = keySite === inputSite ? [keySite] : [keySite, inputSite];
  let pending: { windows: Placed[]; rows: number } = { windows: [], rows: 0 };
  let open: { keys: Float32Array[]; inputs: Float32Array[]; values: number[]; places: number[] } = emptyChunk();
  let [skipped, digest, documents, someText] = [0, fresh.digest, 0, false];

  const flush = async (): Promise<void> => {
    const { windows } = pending;
    pending = { windows: [], rows: 0 };
    if (windows.length === 0) return;
    const rows = windows.map(({ context, continuation }) => [...context, ...continuation].slice(0, -1));
    const results = await model.forward(
      rows.map((tokens) => ({ tokens, logits: "none" as const })),
      { taps },
    );
    for (const [i, { continuation, document, at }] of windows.entries()) {
      const first = rows[i].length - continuation.length;
      const part = (site: string, width: number) =>
        results[i].taps[site].values.slice(first * width, rows[i].length * width);
      open.keys.push(part(keySite, keyWidth));
      if (keySite !== inputSite) open.inputs.push(part(inputSite, inputWidth));
      continuation.forEach((token, k) => {
        open.values.push(token);
        open.places.push(document, at + k);
      });
    }
    onProgress?.({ entries: card.entries + open.values.length, documents, skipped: false });
  };
  /** Writes what is open as a chunk, then the card that has it. */
  const close = async (windows: number, complete: boolean): Promise<void> => {
    const entries = open.values.length;
    if (entries > 0) {
      const file = chunkFile(card.chunks.length);
      const bytes = (card.entries + entries) * bytesAnEntry;
      ensure(maxBytes === undefined || bytes <= maxBytes, "disk_full", () => {
        return `the datastore ${folder} would take ${bytes} bytes, more than the ${maxBytes} given; its ${card.entries} entries are kept: give more and repeat, or give fewer texts`;
      });
      await requireSpace(folder, entries * bytesAnEntry, card.entries);
      const values = Int32Array.from(open.values);
      await writeSafetensors(within(folder, file), chunkTensors(open, values, keyWidth, inputWidth), {
        format: datastoreFormat,
      });
      const chunk = { file, entries, digest: await digestOf(values) };
      card = { ...card, chunks: [...card.chunks, chunk], entries: card.entries + entries };
      open = emptyChunk();
    }
    card = { ...card, windows, digest, documents, complete };
    await writeFileAtomically(within(folder, cardFile), `${JSON.stringify(card)}\n`);
  };

  for await (const text of itemsOf(texts, "buildDatastore: texts", textItems)) {
    const document = documents++;
    someText ||= /\S/.test(text);
    const ends = tokenizer.endTokens.slice(0, 1);
    let at = 1;
    for (const one of windowsOf([...documentTokens(tokenizer, text), ...ends], window, kept)) {
      const { context, continuation } = one;
      if (skipped >= card.windows) {
        ensure(
          !card.complete,
          "bad_option",
          `the datastore ${folder} was finished with fewer texts: give those, or another folder`,
        );
        if (pending.rows + context.length + continuation.length > rowsTogether) await flush();
        if (signal?.aborted) {
          await flush();
          await close(skipped, false);
          throw new VentrisError(
            "aborted",
            `building ${folder} was interrupted at ${card.entries} entries, which are kept: the same call goes on`,
          );
        }
        if (open.values.length >= chunkEntries) await close(skipped, false);
        pending.windows.push({ ...one, document, at });
        pending.rows += context.length + continuation.length;
      }
      digest = await digestOf(Int32Array.from(continuation), digest);
      at += continuation.length;
      skipped++;
      if (skipped !== card.windows) continue;
      ensure(
        digest === card.digest,
        "bad_option",
        `the datastore ${folder} was begun with other texts: give those, or another folder`,
      );
      onProgress?.({ entries: card.entries, documents, skipped: true });
    }
  }
  // Of empty texts alone it would know that texts end, and nothing else.
  ensure(
    skipped > 0 && someText,
    "bad_option",
    "the texts hold nothing to build a datastore of: give texts of two tokens or more",
  );
  ensure(
    skipped >= card.windows,
    "bad_option",
    `the datastore ${folder} was begun with more texts: give those, or another folder`,
  );
  await flush();
  if (!card.complete) await close(skipped, true);
  return card;
}

const emptyChunk = () => ({
  keys: [] as Float32Array[],
  inputs: [] as Float32Array[],
  values: [] as number[],
  places: [] as number[],
});

function chunkTensors(
  { keys, inputs, places }: ReturnType<typeof emptyChunk>,
  values: Int32Array,
  keyWidth: number,
  inputWidth: number,
) {
  const entries = values.length;
  const states = (name: string, parts: Float32Array[], width: number) => ({
    name,
    type: "F16" as const,
    shape: [entries, width],
    data: joined(parts, entries * width),
  });
  return [
    states("keys", keys, keyWidth),
    ...(inputs.length > 0 ? [states("inputs", inputs, inputWidth)] : []),
    { name: "values", type: "I32" as const, shape: [entries], data: values },
    { name: "places", type: "I32" as const, shape: [entries, 2], data: Int32Array.from(places) },
  ];
}

function joined(parts: readonly Float32Array[], length: number): Float32Array {
  const result = new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Width of a site with a row for every token. Errors: `bad_option`. */
export function everyRow(sites: readonly Site[], name: string): number {
  const site = siteNamed(sites, name);
  ensure(site.rows === "all", "bad_option", `${name} has no row for every token, and so no keys`);
  return site.width;
}

async function requireSpace(folder: string, bytes: number, entries: number): Promise<void> {
  const free = await (await keeping()).free(folder);
  ensure(
    free === undefined || free >= bytes,
    "disk_full",
    `${folder}: a chunk takes ${bytes} bytes, and the disk has ${free} left; the ${entries} entries so far are kept: free some and repeat`,
  );
}
