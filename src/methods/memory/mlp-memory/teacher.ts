/**
 * What the memory learns to imitate: at every entry of a datastore, the distribution that a search for its own key returns from all other entries.
 * Computed once, chunk by chunk; a chunk is whole or absent, so that an interrupted run goes on.
 */
import { ensure } from "../../../errors.ts";
import { exists, within } from "../../../files.ts";
import { openSafetensors, writeSafetensors } from "../../../weights/safetensors.ts";
import type { Datastore } from "../datastore.ts";
import { neighbourLaw } from "../neighbours.ts";
import type { Search } from "../search.ts";

export interface TeacherSettings {
  /** Neighbours, and what divides their squared distances. */
  readonly k: number;
  readonly temperature: number;
}

/** The distributions of all entries, one after another. */
export interface Teacher {
  /** [entries + 1]: where the tokens of an entry begin. */
  readonly offsets: Float64Array;
  readonly tokens: Int32Array;
  readonly probabilities: Float32Array;
}

export interface TeachOptions extends TeacherSettings {
  readonly folder: string;
  /** Entries of a chunk, searched for at once: the more of them look at a list, the more of its product is one. Default 4096. */
  readonly chunkEntries?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (entries: number) => void;
}

const format = "ventris teacher 1";
/** Neighbours that are found at once: fifty megabytes. */
const mostFound = 2 ** 22;

/** Errors: `aborted`, with the chunks done kept; `bad_file` for chunks that are damaged or of other settings; `disk_full`. */
export async function teach(datastore: Datastore, search: Search, options: TeachOptions): Promise<Teacher> {
  const { folder, k, temperature, chunkEntries = 4096, signal, onProgress } = options;
  const { entries, width, keys, values, card } = datastore;
  const about = { format, settings: JSON.stringify({ k, temperature, digest: card.digest }) };
  const parts: { counts: Int32Array; tokens: Int32Array; probabilities: Float32Array }[] = [];
  for (let from = 0; from < entries; from += chunkEntries) {
    const until = Math.min(entries, from + chunkEntries);
    const path = within(folder, `teacher-${String(from / chunkEntries).padStart(5, "0")}.safetensors`);
    if (!(await exists(path))) {
      ensure(
        !signal?.aborted,
        "aborted",
        `the search was interrupted at entry ${from} of ${entries}, which are kept: the same call goes on`,
      );
      const counts = new Int32Array(until - from);
      const [tokens, probabilities]: number[][] = [[], []];
      const together = Math.max(1, Math.floor(mostFound / Math.min(k, entries)));
      for (let at = from; at < until; at += together) {
        const own = Int32Array.from({ length: Math.min(until - at, together) }, (_, i) => at + i);
        const found = await search.find(keys.subarray(at * width, (at + own.length) * width), k, own);
        for (const [i, hits] of found.entries()) {
          const law = neighbourLaw(hits, values, temperature);
          counts[at - from + i] = law.tokens.length;
          for (const token of law.tokens) tokens.push(token);
          for (const probability of law.probabilities) probabilities.push(probability);
        }
      }
      const labels = values.slice(from, until);
      const length = tokens.length;
      await writeSafetensors(
        path,
        [
          { name: "labels", type: "I32", shape: [labels.length], data: labels },
          { name: "counts", type: "I32", shape: [counts.length], data: counts },
          { name: "tokens", type: "I32", shape: [length], data: Int32Array.from(tokens) },
          { name: "probabilities", type: "F32", shape: [length], data: Float32Array.from(probabilities) },
        ],
        about,
      );
    }
    parts.push(await readChunk(path, about.settings, values.subarray(from, until), card.vocabularySize));
    onProgress?.(until);
  }
  return joinParts(parts, entries);
}

async function readChunk(path: string, settings: string, values: Int32Array, vocabularySize: number) {
  const source = await openSafetensors(path);
  try {
    ensure(source.metadata.format === format, "bad_file", `${path}: no chunk of a teacher`);
    ensure(source.metadata.settings === settings, "bad_option", () => {
      return `${path} was made with other settings or texts (${source.metadata.settings}): give those, or remove the folder`;
    });
    const integers = async (name: string): Promise<Int32Array> => {
      ensure(source.tensors.get(name)?.type === "I32", "bad_file", `${path}: ${name} is missing or not I32`);
      const { buffer, byteOffset, byteLength } = await source.readBytes(name);
      return new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
    };
    const [labels, counts, tokens] = [await integers("labels"), await integers("counts"), await integers("tokens")];
    const probabilities = await source.readFloat32("probabilities");
    // Rows are aligned by their number alone: the labels show that they are.
    ensure(labels.join() === values.join(), "bad_file", `${path}: its labels are not the values of the datastore`);
    const total = counts.reduce((a, b) => a + b, 0);
    const sound =
      counts.length === values.length &&
      counts.every((count) => count >= 0) &&
      total === tokens.length &&
      total === probabilities.length &&
      tokens.every((token) => token >= 0 && token < vocabularySize) &&
      probabilities.every((p) => p >= 0 && p <= 1);
    ensure(sound, "bad_file", `${path}: its tensors do not fit each other, or hold no distributions`);
    return { counts, tokens, probabilities };
  } finally {
    await source.close();
  }
}

function joinParts(
  parts: readonly { counts: Int32Array; tokens: Int32Array; probabilities: Float32Array }[],
  entries: number,
): Teacher {
  const total = parts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const offsets = new Float64Array(entries + 1);
  const [tokens, probabilities] = [new Int32Array(total), new Float32Array(total)];
  let [entry, at] = [0, 0];
  for (const part of parts) {
    tokens.set(part.tokens, at);
    probabilities.set(part.probabilities, at);
    for (const count of part.counts) {
      at += count;
      offsets[++entry] = at;
    }
  }
  return { offsets, tokens, probabilities };
}
