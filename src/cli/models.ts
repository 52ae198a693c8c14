/** `ventris models`: the models that ship with the package and those in the cache folder. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { VentrisError } from "../errors.ts";
import { listParts } from "../models/parts.ts";
import { resolveModel, shippedModels } from "../open.ts";
import { cacheFolder, openCheckpoint } from "../weights/index.ts";
import { print, printJson, say } from "./output.ts";
import { formatBytes, formatTable } from "./table.ts";

export interface ModelEntry {
  name: string;
  origin: "shipped" | "cached";
  path: string;
  /** Of the weights and everything beside them. */
  bytes: number;
  architecture?: string;
  parameters?: number;
  /** Names of the trained parts beside it. */
  parts?: string[];
  /** Why it could not be read. */
  problem?: string;
}

export function define(command: Command): void {
  command.option("--json", "print a JSON list").action(async ({ json }: { json?: true }) => {
    const entries = await listModels();
    if (json) {
      printJson(entries);
      return;
    }
    for (const { name, path, problem } of entries) if (problem) say(`${name} (${path}): ${problem}`);
    print(
      formatTable(
        ["model", "origin", "architecture", "parameters", "size", "parts", "path"],
        entries.map((entry) => [
          entry.name,
          entry.origin,
          entry.architecture ?? "-",
          entry.parameters === undefined ? "-" : `${(entry.parameters / 1e6).toFixed(2)} M`,
          formatBytes(entry.bytes),
          entry.parts?.join(", ") || "-",
          entry.path,
        ]),
      ),
    );
  });
}

/** Models that ship with the package and those in the cache folder. */
export async function listModels(): Promise<ModelEntry[]> {
  const shipped = await Promise.all(
    (await shippedModels()).map(async (name) => describeModel(name, "shipped", await resolveModel(name))),
  );
  return [...shipped, ...(await cachedModels())];
}

/** Downloads lie in the cache folder as hub/OWNER/NAME/COMMIT. */
async function cachedModels(): Promise<ModelEntry[]> {
  const hub = join(cacheFolder(), "hub");
  const entries: ModelEntry[] = [];
  for (const owner of await foldersIn(hub)) {
    for (const name of await foldersIn(join(hub, owner))) {
      for (const commit of await foldersIn(join(hub, owner, name))) {
        if (!/^[0-9a-f]{40}$/.test(commit)) continue;
        entries.push(await describeModel(`${owner}/${name}`, "cached", join(hub, owner, name, commit)));
      }
    }
  }
  return entries;
}

async function foldersIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Reads headers only. A model that cannot be read is listed with the reason. */
async function describeModel(name: string, origin: ModelEntry["origin"], path: string): Promise<ModelEntry> {
  const bytes = await folderSize(path);
  try {
    const source = await openCheckpoint(path);
    try {
      const { architectures } = source.config;
      const shapes = [...source.tensors.values()].map((tensor) => tensor.shape);
      const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
      const parts = (await listParts(path)).map(({ card }) => card.name);
      return {
        name,
        origin,
        path,
        bytes,
        architecture: String(Array.isArray(architectures) ? architectures[0] : architectures),
        parameters,
        parts,
      };
    } finally {
      await source.close();
    }
  } catch (error) {
    if (!(error instanceof VentrisError || "syscall" in (error as object))) throw error;
    return { name, origin, path, bytes, problem: (error as Error).message };
  }
}

/** Bytes of the files in a folder and below; 0 when there is none. */
export async function folderSize(path: string): Promise<number> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(
    files.map((file) =>
      stat(join(file.parentPath, file.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ), // gone meanwhile
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
