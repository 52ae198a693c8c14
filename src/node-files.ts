/** Files of the disk, by Node. */
import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { VentrisError } from "./errors.ts";
import type { Files, Hash, Keeping } from "./files.ts";
import { makeFolder } from "./node-folders.ts";
import { ageOf, isMissing, lockFile } from "./node-locks.ts";

/**
 * What a derived file depends on when its source is a local file: path, size and times. The time of the last change of the file itself counts
 * beside that of its contents, which copying keeps.
 */
function identityOf(
  path: string,
  { size, mtimeMs, ctimeMs, ino }: Readonly<Record<"size" | "mtimeMs" | "ctimeMs" | "ino", number>>,
): string {
  return `${resolve(path)} ${size} ${mtimeMs} ${ctimeMs} ${ino}`;
}

/** Linux reads and writes at most 2 GiB a call. */
const mostAtOnce = 2 ** 30;

/** Writes all bytes, at `position` or where the file stands. */
async function writeFully(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const wanted = Math.min(bytes.byteLength - done, mostAtOnce);
    const at = position === undefined ? null : position + done;
    done += (await file.write(bytes, done, wanted, at)).bytesWritten;
  }
}

/** Writers touch their temporary file all the time; one this old belongs to a process that was killed. */
const abandonedAfterMilliseconds = 60 * 60 * 1000;

async function removeAbandoned(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix) || !name.endsWith(".partial")) continue;
    const age = await ageOf(join(folder, name));
    if (age !== undefined && age > abandonedAfterMilliseconds) await rm(join(folder, name), { force: true });
  }
}

/** A renaming would take a device or pipe away, whatever is meant to go through it. */
async function requireReplaceable(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats || stats.isFile()) return;
  const what = stats.isDirectory() ? "a folder" : "a device or pipe";
  throw new VentrisError("unavailable", `cannot write ${path}: it is ${what}, not a file`);
}

const keeping: Keeping = {
  onDisk: true,
  cacheFolder() {
    const { VENTRIS_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
    if (VENTRIS_CACHE) return VENTRIS_CACHE;
    if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, "ventris");
    if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "ventris");
    if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "ventris");
    return join(homedir(), ".cache", "ventris");
  },
  async free(folder) {
    const disk = await statfs(folder).catch(() => undefined); // some file systems do not tell
    return disk && disk.bavail * disk.bsize;
  },
  async makeFolder(path) {
    await makeFolder(path);
  },
  /** A temporary file in the same folder, fsync, rename. */
  async replace(path, content) {
    const folder = dirname(path);
    const prefix = `.${basename(path)}.`;
    const temporary = join(folder, `${prefix}${randomUUID()}.partial`);
    try {
      await makeFolder(folder);
      await requireReplaceable(path);
      await removeAbandoned(folder, prefix);
      const file = await open(temporary, "wx");
      try {
        await content((bytes) => writeFully(file, bytes));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to report
      throw error;
    }
  },
  async write(path, { keep }) {
    const file = await open(path, keep ? "r+" : "w");
    return {
      write: (bytes, position) => writeFully(file, bytes, position),
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  lock: lockFile,
};

export const nodeFiles: Files = {
  async find(path) {
    try {
      const stats = await stat(path);
      return { kind: stats.isDirectory() ? "folder" : "file", size: stats.size };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },
  list: (folder) => readdir(folder),
  async open(path) {
    // Without waiting: a pipe would be opened when somebody writes into it, perhaps never.
    const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error("it is not a file");
      return {
        size: stats.size,
        identity: identityOf(path, stats),
        async read(into, offset) {
          return (await handle.read(into, 0, Math.min(into.length, mostAtOnce), offset)).bytesRead;
        },
        close: () => handle.close(),
      };
    } catch (error) {
      await handle.close();
      throw error;
    }
  },
  absolute: (path, from = "") => resolve(from, path),
  hash(algorithm) {
    const hash = createHash(algorithm);
    const self: Hash = {
      update(data) {
        hash.update(data);
        return self;
      },
      hex: () => hash.digest("hex"),
    };
    return self;
  },
  keeping,
};
