/** `ventris models`: the models that ship with the package, those downloaded from the hub, and those in folders here. */

import { existsSync } from "node:fs";
import { readdir, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { formatBytes } from "../bytes.ts";
import { ensure, plural, VentrisError } from "../errors.ts";
import { nearestPath } from "../files.ts";
import { modelKinds } from "../methods/index.ts";
import { familyOf } from "../models/families.ts";
import { listParts } from "../models/parts.ts";
import { hint, meantBy, suggestion } from "../names.ts";
import { inRepositoryOnly, resolveModel, shippedModels } from "../references.ts";
import { noteOf } from "../weights/hub.ts";
import { cacheFolder, fileFormat, openCheckpoint, openSafetensors, writeFileList } from "../weights/index.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";

export interface ModelEntry {
  name: string;
  origin: "shipped" | "repository" | "cached" | "here";
  path: string;
  /** Of a downloaded one: what was asked for, and the commit that it was. */
  revision?: string;
  commit?: string;
  /** Of the weights and everything beside them. */
  bytes: number;
  architecture?: string;
  parameters?: number;
  /** Tokens that it has positions for. */
  contextLength?: number;
  /** Names of the trained parts beside it. */
  parts?: string[];
  /** Why it could not be read. */
  problem?: string;
}

export function define(command: Command): void {
  command
    .argument(
      "[folders...]",
      "where to look for models of your own, or names: only these are listed; default: the current folder, three levels deep",
    )
    .option("--remove <name>", "remove a downloaded model from the cache folder")
    .option("--yes", "remove without asking")
    .option(
      "--files <folder>",
      "write ventris-files.json into this folder, which pages in a browser need to open the model, or the models, in it",
    )
    .option("--json", "print a JSON list")
    .addHelpText(
      "after",
      `
What is listed can be given as --model: by its name, or by its path. So can the
name of a model on the Hugging Face hub, which is then downloaded:
  ventris run --model HuggingFaceTB/SmolLM2-135M "Once upon a time"

A page in a browser opens a model by the address of its folder. --files writes
ventris-files.json there: what lies in the folder, with sizes and hashes. Write
it anew when a file changes.
  ventris models --files public/models`,
    )
    .action(list);
}

interface ModelsFlags {
  remove?: string;
  yes?: true;
  files?: string;
  json?: true;
}

/** What others write as commands. */
const verbs: Readonly<Record<string, string>> = {
  ...{ remove: "models --remove NAME", rm: "models --remove NAME", delete: "models --remove NAME" },
  ...{ list: "models", ls: "models", pull: "pull NAME", download: "pull NAME", add: "pull NAME" },
};

async function list(folders: string[], { remove, yes, files, json }: ModelsFlags): Promise<void> {
  ensure(yes === undefined || remove !== undefined, "bad_option", "--yes belongs to --remove");
  if (files !== undefined) {
    ensure(remove === undefined, "bad_option", "--files and --remove are two tasks: name one");
    ensure(folders.length === 0, "bad_option", "--files takes one folder, and no others");
    return listFiles(files, json);
  }
  const [verb, name = "NAME"] = folders;
  const meant = verb !== undefined && Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  ensure(
    meant === undefined || existsSync(verb),
    "bad_option",
    () => `models takes folders, and no command ${verb}: ventris ${meant!.replace("NAME", name)}`,
  );
  const known = await listModels();
  if (remove !== undefined) {
    ensure(folders.length === 0, "bad_option", "--remove takes one model, and no folders");
    const removed = await removeModel(known, remove, yes ?? false);
    if (json) printJson(removed);
    return;
  }
  const names = folders.filter((name) => !existsSync(name) && known.some((entry) => entry.name === name));
  const asked = names.length > 0 ? known.filter(({ name }) => names.includes(name)) : known;
  const places = folders.length > 0 ? folders.filter((name) => !names.includes(name)) : ["."];
  const entries = [...asked, ...(await modelsHere(places, known))];
  if (json) {
    printJson(entries);
    return;
  }
  print(
    formatTable(
      ["model", "where", "architecture", "parameters", "context", "size", "parts"],
      entries
        .filter(({ problem }) => !problem)
        .map((entry) => [
          entry.name,
          whereOf(entry, entries),
          entry.architecture ?? "-",
          entry.parameters === undefined ? "-" : formatCount(entry.parameters),
          entry.contextLength === undefined ? "-" : String(entry.contextLength),
          formatBytes(entry.bytes),
          entry.parts?.join(", ") || "-",
        ]),
    ),
  );
  const broken = entries.filter(({ problem }) => problem);
  // Many folders hold files that are no models of ours: only who names a folder wants to know of each.
  const told = broken.filter(({ origin }) => origin !== "here" || folders.length > 0);
  for (const { name, problem } of told) say(`${name} cannot be used: ${problem}`);
  const others = broken.length - told.length;
  if (others > 0)
    say(
      `${plural(others, "file")} here cannot be used as ${others === 1 ? "a model" : "models"}; ventris models . says why`,
    );
}

/** Of a downloaded one the revision, too, where the name does not say which it is. */
function whereOf({ name, origin, revision, commit = "" }: ModelEntry, entries: readonly ModelEntry[]): string {
  const alone = entries.filter((other) => other.origin === "cached" && other.name === name).length === 1;
  if (origin !== "cached") return { shipped: "ships", repository: "in the repository", here: "here" }[origin];
  return alone && revision === "main" ? "downloaded" : `downloaded, ${revision ?? "partly"} ${commit.slice(0, 7)}`;
}

/** Errors: those of `writeFileList`. */
async function listFiles(folder: string, json?: true): Promise<void> {
  const { path, files } = await interruptible((signal) =>
    writeFileList(folder, { signal, onFile: (name) => showProgress(`reading ${name}`) }),
  );
  const bytes = Object.values(files).reduce((sum, { size }) => sum + size, 0);
  if (json) printJson({ path, files: Object.keys(files), bytes });
  else print(path);
  say(`${plural(Object.keys(files).length, "file")}, ${formatBytes(bytes)}`);
}

/** Errors: `unavailable`; `bad_option` for a model that was not downloaded, and where nobody can be asked. */
async function removeModel(
  known: readonly ModelEntry[],
  name: string,
  sure: boolean,
): Promise<{ name: string; removed: string[]; bytes: number }> {
  const found = known.filter((entry) => entry.name === name);
  const downloaded = found.filter(({ origin }) => origin === "cached");
  if (downloaded.length === 0) {
    const [other] = found;
    ensure(!other, "bad_option", () => {
      const where = other.origin === "repository" ? "is in the repository" : "ships with the package";
      return `${name} ${where}: only downloaded models can be removed`;
    });
    const names = [...new Set(known.filter(({ origin }) => origin === "cached").map((entry) => entry.name))];
    const there = names.length > 0 ? `downloaded are: ${names.join(", ")}` : "none was downloaded";
    throw new VentrisError("unavailable", `no downloaded model "${name}": ${there}${suggestion(name, names)}`);
  }
  const bytes = downloaded.reduce((sum, entry) => sum + entry.bytes, 0);
  const folder = dirname(downloaded[0].path); // of all its revisions
  if (!sure) {
    const asks = process.stdin.isTTY && process.stderr.isTTY;
    ensure(
      asks,
      "bad_option",
      `--remove ${name} would free ${formatBytes(bytes)}: nobody can be asked here, say --yes`,
    );
    const answer = await ask(`remove ${name}, ${formatBytes(bytes)} in ${folder}? [y/N] `);
    ensure(/^y(es)?$/i.test(answer.trim()), "aborted", "nothing was removed");
  }
  await rm(folder, { recursive: true });
  await rmdir(dirname(folder)).catch(() => {}); // the owner's, when it has no other model
  say(`removed ${name}: ${formatBytes(bytes)} are free`);
  return { name, removed: downloaded.map(({ path }) => path), bytes };
}

async function ask(question: string): Promise<string> {
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await reader.question(question);
  } finally {
    reader.close();
  }
}

const formatCount = (count: number): string =>
  count >= 1e9 ? `${(count / 1e9).toFixed(2)} B` : count >= 1e4 ? `${(count / 1e6).toFixed(2)} M` : String(count);

/** Folders below which are looked into, and entries that are read, at most: somebody may call this in the root of a disk. */
const [deepest, mostFolders] = [3, 2000];
const passedOver = /^(node_modules|\.git|dist)$/;

/** Checkpoint folders and weight files in these folders and below, but for those that are known already. */
async function modelsHere(folders: readonly string[], known: readonly ModelEntry[]): Promise<ModelEntry[]> {
  const found: ModelEntry[] = [];
  const seen = new Set(known.map(({ path }) => path));
  let left = mostFolders;
  const look = async (folder: string, depth: number): Promise<void> => {
    if (left-- <= 0 || seen.has(folder)) return;
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    const add = async (path: string): Promise<void> => {
      found.push(await describeModel(nameHere(path), "here", path));
    };
    /** A filter, a pointer network: what says so itself. Other weights without a config are no model. */
    const addFile = async (path: string): Promise<void> => {
      const format = await fileFormat(path).catch(() => undefined);
      const kind = modelKinds.find((one) => one.fileFormat !== undefined && one.fileFormat === format);
      if (kind) found.push({ ...(await describeFile(path)), architecture: kind.name });
    };
    if (names.includes("config.json") && names.some((name) => /^model.*\.safetensors(\.index\.json)?$/.test(name))) {
      await add(folder);
      return;
    }
    for (const name of names) if (/\.(safetensors|filter)$/.test(name)) await addFile(join(folder, name));
    // Of a split file the first part stands for all.
    for (const name of names)
      if (/\.gguf$/.test(name) && !/-0*([2-9]|\d{2,})-of-\d+\.gguf$/.test(name)) await add(join(folder, name));
    if (depth === deepest) return;
    for (const entry of entries)
      if (entry.isDirectory() && !passedOver.test(entry.name)) await look(join(folder, entry.name), depth + 1);
  };
  for (const folder of folders) {
    const path = resolve(folder);
    const there = await stat(path).catch(() => undefined);
    const names = known.map(({ name }) => name);
    const meant = there ? undefined : (meantBy(folder, names) ?? (await nearestPath(folder)));
    ensure(there?.isDirectory(), "unavailable", () =>
      there ? `${folder} is a file: name the folder that it lies in` : `there is no folder ${folder}${hint(meant)}`,
    );
    await look(path, 0);
  }
  return found;
}

/** As `--model` takes it: relative where that is not longer. */
function nameHere(path: string): string {
  const near = relative(process.cwd(), path) || ".";
  return near.length < path.length ? (near.includes(sep) || near === "." ? near : `.${sep}${near}`) : path;
}

/** Models that ship with the package, those that only its repository has, and those in the cache folder. */
export async function listModels(): Promise<ModelEntry[]> {
  const shipped = await Promise.all(
    (await shippedModels()).map(async (name) =>
      describeModel(name, inRepositoryOnly.includes(name) ? "repository" : "shipped", await resolveModel(name)),
    ),
  );
  return [...shipped, ...(await cachedModels())];
}

/** Downloads lie in the cache folder as hub/OWNER/NAME/COMMIT. */
async function cachedModels(): Promise<ModelEntry[]> {
  const hub = join(await cacheFolder(), "hub");
  const entries: ModelEntry[] = [];
  for (const owner of await foldersIn(hub)) {
    for (const name of await foldersIn(join(hub, owner))) {
      for (const commit of await foldersIn(join(hub, owner, name))) {
        if (!/^[0-9a-f]{40}$/.test(commit)) continue;
        const found = await cachedModel(`${owner}/${name}`, join(hub, owner, name, commit), commit);
        if (found.bytes > 0) entries.push(found); // a refused download leaves an empty folder
      }
    }
  }
  return entries;
}

async function cachedModel(name: string, path: string, commit: string): Promise<ModelEntry> {
  const entry = await describeModel(name, "cached", path);
  const note = await noteOf(path);
  if (note) return { ...entry, revision: note.revision, commit };
  const weights = (await readdir(path).catch(() => [])).some((file) => /\.(safetensors|gguf)$/.test(file));
  const problem = weights ? entry.problem : `its download was cut off: ventris pull ${name} goes on with it`;
  return { ...entry, commit, ...(problem && { problem }) };
}

async function foldersIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function describeFile(path: string): Promise<ModelEntry> {
  const { tensors, close } = await openSafetensors(path);
  await close();
  const parameters = [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { name: nameHere(path), origin: "here", path, bytes: await folderSize(path), parameters };
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
        contextLength: contextOf(source.config),
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

/** Undefined of what is listed and cannot be opened. */
function contextOf(config: Record<string, unknown>): number | undefined {
  try {
    const { longer, contextLength } = familyOf(config).config;
    return longer?.contextLength ?? contextLength;
  } catch {
    return undefined;
  }
}

/** Bytes of a file, or of the files in a folder and below; 0 when there is none. */
export async function folderSize(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) return found.size;
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
