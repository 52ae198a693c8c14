/** Finds the weights of a checkpoint, whatever format they are in. */

import { ensure, VentrisError } from "../errors.ts";
import { exists, folderOf, readWhole, storage, within } from "../files.ts";
import { parseJsonObject } from "../json.ts";
import { hint } from "../names.ts";
import { partEnding } from "./gguf.ts";
import { openGgufModel } from "./gguf-llama.ts";
import { dequantizing } from "./packed-integers.ts";
import { openSafetensors, openSharded } from "./safetensors.ts";
import type { WeightSource } from "./source.ts";

/**
 * Opens a weight file, or the weights in a folder: `model.safetensors`, else the shards of
 * `model.safetensors.index.json`, else the one `*.gguf` (under Hugging Face's names; its `config` comes with it).
 * Errors: `unavailable` when there are none, or several GGUF files; else as the format's own reader.
 */
export async function openWeights(folderOrFile: string): Promise<WeightSource> {
  const path = await findWeights(folderOrFile);
  if (path.endsWith(".gguf")) return openGgufModel(path);
  return path.endsWith(".json") ? openSharded(path) : openSafetensors(path);
}

export interface Checkpoint extends WeightSource {
  /** The config of its model, in Hugging Face's fields; fields that only say how the tensors are stored are gone. */
  readonly config: Readonly<Record<string, unknown>>;
  /** A GGUF file's header. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/**
 * Opens weights with the config of their model: a GGUF file's own, else the `config.json` beside them. Quantised safetensors are seen as
 * the matrices that they stand for. Errors: as `openWeights` and `readConfig`, and `bad_config` for a quantisation that is not known.
 */
export async function openCheckpoint(folderOrFile: string): Promise<Checkpoint> {
  const path = await findWeights(folderOrFile);
  if (path.endsWith(".gguf")) return openGgufModel(path);
  const { quantization_config: quantization, ...config } = await readConfig(folderOf(path));
  const source = await openWeights(path);
  if (quantization === undefined || quantization === null) return { ...source, config, metadata: undefined };
  try {
    return { ...(await dequantizing(source, quantization)), config };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A folder's `config.json`. Errors: `unavailable` when there is none, `bad_config` when it is not sound. */
export async function readConfig(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const path = within(folder, "config.json");
  const bytes = await readWhole(path, largestConfig).catch((cause) => {
    throw new VentrisError("unavailable", `${path}: ${cause.message}`, { cause });
  });
  ensure(bytes, "bad_config", `${path} has more than ${largestConfig} bytes`);
  try {
    return parseJsonObject(bytes, path);
  } catch (cause) {
    throw new VentrisError("bad_config", (cause as Error).message, { cause });
  }
}

/** A page of JSON, with room for lists by layer and label. */
const largestConfig = 16 * 2 ** 20;

/** By its name: a file of weights, or the list of several. */
export const isWeightFile = (path: string): boolean => /\.(safetensors|gguf|safetensors\.index\.json)$/.test(path);

/** The file that `openWeights` opens. */
export async function findWeights(folderOrFile: string): Promise<string> {
  const unavailable = (message: string, cause?: unknown) => new VentrisError("unavailable", message, { cause });
  const files = await storage();
  const found = await files.find(folderOrFile).catch((error) => {
    throw unavailable(`no weights at ${folderOrFile}: ${error.message}`, error);
  });
  if (!found) throw unavailable(`no weights at ${folderOrFile}: there is no such file or folder`);
  if (found.kind === "file") {
    if (isWeightFile(folderOrFile)) return folderOrFile;
    throw unavailable(
      `${folderOrFile} is not a weight file: .safetensors, .safetensors.index.json and .gguf are known`,
    );
  }
  const names = await files.list(folderOrFile);
  const whole = wholeFiles.find((name) => names.includes(name));
  if (whole) return within(folderOrFile, whole);
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length === 1) return within(folderOrFile, ggufs[0]);
  const wholes = new Set(ggufs.map((name) => name.replace(partEnding, "-of-$2.gguf")));
  // All are parts of one file: the first names them.
  if (wholes.size === 1 && ggufs.every((name) => partEnding.test(name))) return within(folderOrFile, ggufs.sort()[0]);
  // The folder of a training or of several models is taken for that of a model.
  const inner = ggufs.length > 1 ? undefined : await folderWithWeights(folderOrFile, names);
  throw unavailable(
    ggufs.length > 1
      ? `${folderOrFile} holds several GGUF files (${ggufs.join(", ")}); name the one to open`
      : `no weights in ${folderOrFile}: looked for model.safetensors, model.safetensors.index.json and *.gguf${hint(inner)}`,
  );
}

const wholeFiles = ["model.safetensors", "model.safetensors.index.json"];
/** Entries of a folder that are looked into. */
const mostLookedInto = 100;

async function folderWithWeights(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names.slice(0, mostLookedInto)) {
    const inner = within(folder, name);
    for (const file of wholeFiles) if (await exists(within(inner, file)).catch(() => false)) return inner;
  }
  return undefined;
}
