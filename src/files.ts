/**
 * Where models, tokenizers and parts are read from and derived files are kept: the disk under Node; elsewhere, in a page for instance,
 * whatever was given to `useFiles` before the first model was opened. Paths are names with "/" between folders.
 */
import { ensure, requireFunction, requireObject, shown, VentrisError } from "./errors.ts";
import { meantBy } from "./names.ts";
import { addressHint } from "./values.ts";

export interface OpenFile {
  readonly size: number;
  /** Another one whenever the contents may be others. */
  readonly identity: string;
  /** Fills the beginning of `into` with bytes from `offset` on, as many as come at once. Returns their number, 0 at the end of the file. */
  read(into: Uint8Array, offset: number): Promise<number>;
  close(): Promise<void>;
}

/** Errors are the storage's own; readers say which file and what it was for. */
export interface Files {
  /** What is there; undefined: nothing. */
  find(path: string): Promise<{ readonly kind: "file" | "folder"; readonly size: number } | undefined>;
  /** Names in a folder. */
  list(folder: string): Promise<readonly string[]>;
  open(path: string): Promise<OpenFile>;
  hash(algorithm: "sha1" | "sha256"): Hash;
  /** The whole path of one that is relative to the folder `from`; default: to where paths begin here. */
  absolute(path: string, from?: string): string;
  /** Left out, nothing is kept: what is derived is derived at every start, and what has to be written is refused. */
  readonly keeping?: Keeping;
}

export interface Hash {
  /** Takes more bytes, or a text as UTF-8. */
  update(data: Uint8Array | string): Hash;
  /** Of everything so far, once. */
  hex(): string;
}

/** Appends bytes to the file being written. */
export type WriteBytes = (bytes: Uint8Array) => Promise<void>;

/** A file that is written where its bytes belong. */
export interface WritableFile {
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** What was written survives a crash from now on. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Errors are the storage's own, but for locks. A storage that is full throws with the code ENOSPC or the name QuotaExceededError. */
export interface Keeping {
  /** Paths are the disk's, so that native code may open and map files itself. */
  readonly onDisk: boolean;
  /** The folder of what is derived and downloaded; it need not be there. */
  cacheFolder(): string;
  /** Bytes that can still be written below a folder; undefined: nobody knows. */
  free(folder: string): Promise<number | undefined>;
  /** Makes a folder with those that it is in. */
  makeFolder(path: string): Promise<void>;
  /** Writes a file as a whole: others see the old one or the new one, and after a failure the old one. Folders are made. */
  replace(path: string, content: (write: WriteBytes) => Promise<void>): Promise<void>;
  /** Opens a file to write; what it holds stays where `keep` is true. */
  write(path: string, options: { readonly keep: boolean }): Promise<WritableFile>;
  rename(from: string, to: string): Promise<void>;
  /** Takes a file away, or a folder with all that is in it; nothing where there is none. */
  remove(path: string): Promise<void>;
  /**
   * Runs `action` while nobody else holds `path`, waiting for it `timeout` milliseconds at most. Errors: `unavailable` when that is over
   * (names the holder), `aborted` by `signal`, `disk_full`.
   */
  lock<T>(
    path: string,
    action: () => Promise<T>,
    options: { readonly timeout: number; readonly signal?: AbortSignal },
  ): Promise<T>;
}

let chosen: Files | undefined;

/** From now on files are read and kept there. */
export function useFiles(files: Files): void {
  requireObject(files, "useFiles", "what keeps files");
  requireFunction(files.open, "useFiles", "open");
  chosen = withPaths(files);
}

/** The storage in use. Errors of its calls, beside its own: `bad_option` for what is no path anywhere. */
export async function storage(): Promise<Files> {
  chosen ??= withPaths((await import("./node-files.ts")).nodeFiles);
  return chosen;
}

/** The same storage, which is asked for nothing but paths: a zero character ends one for the system, whatever is shown behind it. */
function withPaths(files: Files): Files {
  const { keeping } = files;
  return {
    ...checkingPaths(files, ["find", "list", "open"]),
    hash: (algorithm) => files.hash(algorithm),
    absolute: (path, from) => files.absolute(path, from),
    ...(keeping && {
      keeping: Object.assign(
        Object.create(keeping),
        checkingPaths(keeping, ["free", "makeFolder", "replace", "write", "rename", "remove", "lock"]),
      ),
    }),
  };
}

function checkingPaths<T extends object, Name extends keyof T>(object: T, names: readonly Name[]): Pick<T, Name> {
  const calls = names.map((name) => {
    const call = object[name] as (...all: unknown[]) => Promise<unknown>;
    const checked = async (...all: unknown[]): Promise<unknown> => {
      const path = all.find((one) => typeof one === "string" && one.includes("\0"));
      ensure(path === undefined, "bad_option", () => `${shown(path)} is no path: it has a zero character`);
      return call.apply(object, all);
    };
    return [name, checked];
  });
  return Object.fromEntries(calls) as Pick<T, Name>;
}

/** What the storage in use keeps files by. Errors: `unavailable` where it keeps none. */
export async function keeping(): Promise<Keeping> {
  const files = await storage();
  ensure(files.keeping, "unavailable", "the storage in use keeps no files");
  return files.keeping;
}

export async function exists(path: string): Promise<boolean> {
  return (await (await storage()).find(path)) !== undefined;
}

/** The whole of a file that is at most so long; undefined: it is longer. */
export async function readWhole(path: string, mostBytes: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const file = await (await storage()).open(path);
  try {
    if (file.size > mostBytes) return undefined;
    const bytes = new Uint8Array(file.size);
    let done = 0;
    while (done < bytes.length) {
      const read = await file.read(bytes.subarray(done), done);
      if (read === 0) return bytes.slice(0, done); // it shrank meanwhile: what is missing shows when it is parsed
      done += read;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** A text file, at most as long as a string can be. */
export const readText = async (path: string): Promise<string> =>
  new TextDecoder().decode((await readWhole(path, Number.MAX_SAFE_INTEGER))!);

/** Copies a file as a whole, over one that is there. */
export async function copy(from: string, to: string): Promise<void> {
  await (await keeping()).replace(to, async (write) => {
    for await (const piece of readPieces(from)) await write(piece);
  });
}

/** Writes a text behind what a file holds, which must be there. Errors: `disk_full`, `unavailable`. */
export async function append(path: string, text: string): Promise<void> {
  const files = await keeping();
  try {
    const size = (await (await storage()).find(path))?.size ?? 0;
    const file = await files.write(path, { keep: true });
    await file.write(new TextEncoder().encode(text), size).finally(() => file.close());
  } catch (error) {
    throw writeError(error, path);
  }
}

/** A file piece by piece, in buffers of their own. */
export async function* readPieces(path: string, pieceBytes = 2 ** 18): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = await (await storage()).open(path);
  try {
    for (let offset = 0; ; ) {
      const piece = new Uint8Array(pieceBytes);
      const read = await file.read(piece, offset);
      if (read === 0) return;
      yield piece.subarray(0, read);
      offset += read;
    }
  } finally {
    await file.close();
  }
}

export const errorCode = (error: unknown): string | undefined =>
  error instanceof Error ? (error as Error & { code?: string }).code : undefined;

/** Why a file cannot be read, in words for people where the storage's own are for programs. */
export const whyUnreadable = (error: unknown): string => reasons[errorCode(error) ?? ""] ?? (error as Error).message;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EISDIR: "it is a folder",
  EACCES: "it may not be read",
};

/** Turns a storage's error met while writing `path` into ours; errors of other kinds are returned as they are. */
export function writeError(error: unknown, path: string): unknown {
  if (error instanceof VentrisError) return error;
  const code = errorCode(error);
  if ((error as Error | undefined)?.name === "QuotaExceededError") {
    return new VentrisError(
      "disk_full",
      `the browser gives this site no more room, while writing ${path}; remove models that are no longer needed (the site's data in the browser's settings), or free space on the disk, and repeat`,
      { cause: error },
    );
  }
  const lacking =
    code === "ENOSPC" ? "no space is left on the disk" : code === "EDQUOT" ? "your quota on this disk is used up" : "";
  if (lacking)
    return new VentrisError("disk_full", `${lacking}, while writing ${path}; free some and repeat`, { cause: error });
  if (code && (error as { syscall?: string }).syscall) {
    return new VentrisError("unavailable", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  return error;
}

const windows = typeof process !== "undefined" && process.platform === "win32";
/** Every path that a caller gives comes by here. Errors: `bad_option` for what is no text. */
function lastBorder(path: string): number {
  ensure(typeof path === "string", "bad_option", () => `a path must be a text, not ${shown(path)}${addressHint(path)}`);
  ensure(addressHint(path) === "", "bad_option", () => `${shown(path)} is an address and no path${addressHint(path)}`);
  return Math.max(path.lastIndexOf("/"), windows ? path.lastIndexOf("\\") : -1);
}

/** A name within a folder, or a path of names. */
export const within = (folder: string, ...names: string[]): string =>
  names.reduce(
    (path, name) => (path === "" || lastBorder(path) === path.length - 1 ? path + name : `${path}/${name}`),
    folder,
  );

/** The folder that a path lies in. */
export function folderOf(path: string): string {
  const border = lastBorder(path);
  return border < 0 ? "." : path.slice(0, Math.max(1, border));
}

/**
 * Runs an action in a folder that is made for it. Where the action fails and has left nothing there, what was made is taken away again. Errors:
 * `unavailable`; the action's.
 */
export async function inMadeFolder<T>(folder: string, action: () => Promise<T>): Promise<T> {
  const [files, kept] = [await storage(), await keeping()];
  const missing: string[] = [];
  for (let path = files.absolute(folder); !(await files.find(path)); path = folderOf(path)) {
    missing.push(path);
    if (path === folderOf(path)) break;
  }
  await kept.makeFolder(folder).catch((cause) => {
    throw new VentrisError("unavailable", `cannot write ${folder}: ${cause.message}`, { cause });
  });
  try {
    return await action();
  } catch (error) {
    for (const path of missing) {
      if ((await files.list(path)).length > 0) break;
      await kept.remove(path);
    }
    throw error;
  }
}

/** A folder itself; of a file, or of nothing, the folder that the path lies in. */
export async function folderAt(path: string): Promise<string> {
  const found = await (await storage()).find(path).catch(() => undefined);
  return found?.kind === "folder" ? path : folderOf(path);
}

/** The last name of a path. */
export const nameOf = (path: string): string => path.slice(lastBorder(path) + 1);

/** What lies where a path leads under nearly the same name; undefined where nothing does. */
export async function nearestPath(path: string): Promise<string | undefined> {
  const folder = folderOf(path);
  const names = await (await storage()).list(folder).catch(() => []);
  const meant = meantBy(nameOf(path), names);
  return meant && within(folder, meant);
}
