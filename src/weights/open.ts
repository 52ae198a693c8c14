/** Finds the weights of a checkpoint, whatever format they are in. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { VentrisError } from "../errors.ts";
import { openGgufModel } from "./gguf-llama.ts";
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

/** The file that `openWeights` opens. */
export async function findWeights(folderOrFile: string): Promise<string> {
  const unavailable = (message: string, cause?: unknown) => new VentrisError("unavailable", message, { cause });
  const stats = await stat(folderOrFile).catch((error) => {
    throw unavailable(`no weights at ${folderOrFile}: ${error.message}`, error);
  });
  if (!stats.isDirectory()) {
    if (/\.(safetensors|gguf|safetensors\.index\.json)$/.test(folderOrFile)) return folderOrFile;
    throw unavailable(
      `${folderOrFile} is not a weight file: .safetensors, .safetensors.index.json and .gguf are known`,
    );
  }
  const names = await readdir(folderOrFile);
  const whole = ["model.safetensors", "model.safetensors.index.json"].find((name) => names.includes(name));
  if (whole) return join(folderOrFile, whole);
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length === 1) return join(folderOrFile, ggufs[0]);
  throw unavailable(
    ggufs.length > 1
      ? `${folderOrFile} holds several GGUF files (${ggufs.join(", ")}); name the one to open`
      : `no weights in ${folderOrFile}: looked for model.safetensors, model.safetensors.index.json and *.gguf`,
  );
}
