/** Files that several processes share: where they live, how they are written whole or not at all, and one at a time. */
import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { VentrisError } from "../errors.ts";
import { identityOf } from "../node-files.ts";

/** `VENTRIS_CACHE`, else the platform's folder for caches. Not created here. */
export function cacheFolder(): string {
  const { VENTRIS_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (VENTRIS_CACHE) return VENTRIS_CACHE;
  if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, "ventris");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "ventris");
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "ventris");
  return join(homedir(), ".cache", "ventris");
}

/** Appends bytes to the file being written. */
export type WriteBytes = (bytes: Uint8Array) => Promise<void>;

/** Writers touch their temporary file all the time; one this old belongs to a process that was killed. */
const abandonedAfterMilliseconds = 60 * 60 * 1000;

/**
 * Writes `path` so that readers see the old file or the whole new one, also after a crash: a temporary file in the same
 * folder (created when missing), fsync, rename. On failure the temporary file is removed and the old file is untouched.
 * Errors: `disk_full`; `unavailable` when the folder cannot be written; what `content` throws passes through.
 */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array | ((write: WriteBytes) => Promise<void>),
): Promise<void> {
  const folder = dirname(path);
  const prefix = `.${basename(path)}.`;
  const temporary = join(folder, `${prefix}${randomUUID()}.partial`);
  try {
    await mkdir(folder, { recursive: true });
    await removeAbandoned(folder, prefix);
    const file = await open(temporary, "wx");
    try {
      const write: WriteBytes = (bytes) => writeFully(file, bytes);
      if (typeof content === "function") await content(write);
      else await write(typeof content === "string" ? new TextEncoder().encode(content) : content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to report
    throw writeError(error, path);
  }
}

/** An open file of Node's. Declared here, so that our types need none of Node's. */
interface WritableFile {
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number | null,
  ): Promise<{ readonly bytesWritten: number }>;
}

/** Writes all bytes, at `position` or where the file stands. */
export async function writeFully(file: WritableFile, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const wanted = Math.min(bytes.byteLength - done, 2 ** 30); // Linux writes at most 2 GiB a call
    const at = position === undefined ? null : position + done;
    done += (await file.write(bytes, done, wanted, at)).bytesWritten;
  }
}

async function removeAbandoned(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix) || !name.endsWith(".partial")) continue;
    const age = await ageOf(join(folder, name));
    if (age !== undefined && age > abandonedAfterMilliseconds) await rm(join(folder, name), { force: true });
  }
}

/** Milliseconds since the last change; undefined when the file is gone. */
async function ageOf(path: string): Promise<number | undefined> {
  try {
    return Date.now() - (await stat(path)).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Not there, nor the folder that it would be in. */
const isMissing = (error: unknown): boolean => ["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "");

function errorCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** Turns an operating-system error met while writing `path` into ours; errors of other kinds are returned as they are. */
export function writeError(error: unknown, path: string): unknown {
  if (error instanceof VentrisError) return error;
  const code = errorCode(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new VentrisError("disk_full", `no space left on the disk while writing ${path}; free some and repeat`, {
      cause: error,
    });
  }
  if (code && (error as NodeJS.ErrnoException).syscall) {
    return new VentrisError("unavailable", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  return error;
}

interface LockHolder {
  token: string;
  pid: number;
  host: string;
  /** Start of the process in milliseconds since 1970: tells a process from an earlier one with the same number. */
  started: number;
  /** The same as `birthOf` tells it, which no change of the clock moves. */
  birth?: number;
}

const heartbeatMilliseconds = 5_000;
/** A holder on another host, of which nothing else is known, counts as dead after this long without a heartbeat. */
const silentAfterMilliseconds = 5 * 60_000;

/**
 * Runs `action` while holding `path`.lock, which one process (or worker) at a time can hold. Locks left by dead processes
 * are taken over. `timeout` (milliseconds, default 10 minutes) bounds the wait, not the action.
 * Errors: `unavailable` when the wait times out (names the holder), `aborted` by `signal`, `disk_full`.
 */
export async function withFileLock<T>(
  path: string,
  action: () => Promise<T>,
  options: { timeout?: number; signal?: AbortSignal } = {},
): Promise<T> {
  const lock = `${path}.lock`;
  const token = await acquire(lock, options.timeout ?? 10 * 60_000, options.signal);
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => {}); // a missed beat costs nothing; the next one follows
  }, heartbeatMilliseconds);
  heartbeat.unref();
  try {
    return await action();
  } finally {
    clearInterval(heartbeat);
    if ((await readHolder(lock))?.token === token) await rm(lock, { force: true });
  }
}

/**
 * Holds `path`.lock, without waiting for it, until the returned function is called. Errors: `unavailable` where another holds it (names
 * the holder) or the folder cannot be written.
 */
export function holdLock(path: string): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    let release = (): void => {};
    const action = () =>
      new Promise<void>((done) => {
        release = done;
        resolve(() => {
          release();
          return held;
        });
      });
    const held = withFileLock(path, action, { timeout: 0 });
    held.catch(reject);
  });
}

async function acquire(lock: string, timeout: number, signal?: AbortSignal): Promise<string> {
  const { pid } = process;
  const self: LockHolder = { token: randomUUID(), pid, host: hostname(), started: processStart() };
  self.birth = await birthOf(pid);
  const deadline = Date.now() + timeout;
  await mkdir(dirname(lock), { recursive: true }).catch((error) => {
    throw writeError(error, lock);
  });
  for (let wait = 5; ; wait = Math.min(wait * 1.5, 250)) {
    if (await createLock(lock, JSON.stringify(self))) return self.token;
    if (await isStale(lock)) {
      await breakStale(lock);
      continue;
    }
    if (Date.now() >= deadline) {
      const holder = await readHolder(lock);
      const who = holder ? `process ${holder.pid} on ${holder.host}` : "another process";
      throw new VentrisError(
        "unavailable",
        `${who} holds ${lock} for too long; if it no longer runs, delete that file`,
      );
    }
    await delay(wait * (0.5 + Math.random()), undefined, { signal }).catch((error) => {
      throw new VentrisError("aborted", `aborted while waiting for ${lock}`, { cause: error });
    });
  }
}

const processStart = () => Date.now() - process.uptime() * 1000;

/** False when the lock exists. */
async function createLock(lock: string, content: string): Promise<boolean> {
  let file: FileHandle;
  try {
    file = await open(lock, "wx");
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw writeError(error, lock);
  }
  try {
    await file.writeFile(content);
    return true;
  } catch (error) {
    await rm(lock, { force: true });
    throw writeError(error, lock);
  } finally {
    await file.close();
  }
}

async function isStale(lock: string): Promise<boolean> {
  const age = await ageOf(lock);
  if (age === undefined) return false; // released: the next attempt decides
  const holder = await readHolder(lock);
  // Between its creation and its first write a lock is empty; its maker may have died just there.
  if (!holder) return age > heartbeatMilliseconds;
  if (holder.host !== hostname()) return age > silentAfterMilliseconds;
  const birth = await birthOf(holder.pid);
  if (holder.birth !== undefined && birth !== undefined) return holder.birth !== birth;
  if (holder.pid === process.pid) return Math.abs(holder.started - processStart()) > 2_000;
  // Its number may be another process's by now, which only the heartbeat tells.
  return !isRunning(holder.pid) || age > silentAfterMilliseconds;
}

/** When a process of this host started, in ticks since boot, where the system tells (Linux); undefined also when there is none. */
async function birthOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The name, in parentheses, may hold anything; the start is the 20th field behind it.
  const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? Number.NaN);
  return Number.isFinite(ticks) ? ticks : undefined;
}

/** Removes a stale lock. A guard file makes sure that two who saw it stale do not remove each other's fresh lock. */
async function breakStale(lock: string): Promise<void> {
  const guard = `${lock}.breaking`;
  if (await createLock(guard, "")) {
    try {
      if (await isStale(lock)) await rm(lock, { force: true });
    } finally {
      await rm(guard, { force: true });
    }
  } else {
    if (((await ageOf(guard)) ?? 0) > heartbeatMilliseconds) await rm(guard, { force: true });
    await delay(5);
  }
}

async function readHolder(lock: string): Promise<LockHolder | undefined> {
  try {
    return JSON.parse(await readFile(lock, "utf8"));
  } catch (error) {
    if (isMissing(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch (error) {
    return errorCode(error) === "EPERM";
  }
}

/** What a derived file depends on, as a short name for the cache: equal parts give equal names. */
export function cacheKey(...parts: (string | number)[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** What a derived file depends on when its source is a local file: see `identityOf`. */
export async function fileIdentity(path: string): Promise<string> {
  return identityOf(path, await stat(path));
}

/**
 * Opens a derived file in the cache folder, writing it first when it is missing or no longer readable. Two processes that
 * need the same file make it once. `name` is relative to the cache folder and holds the key; `write` gets the whole path
 * and must write it atomically; `open` fails with `bad_file` on a damaged file, which is then made anew, once. `signal` ends the wait
 * for another process.
 */
export async function openCached<T>(
  name: string,
  write: (path: string) => Promise<void>,
  openFile: (path: string) => Promise<T>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<T> {
  const path = join(cacheFolder(), name);
  const openExisting = async (): Promise<{ opened: T } | undefined> => {
    if ((await ageOf(path)) === undefined) return undefined;
    try {
      return { opened: await openFile(path) };
    } catch (error) {
      if (error instanceof VentrisError && error.code === "bad_file") return undefined;
      throw error;
    }
  };
  const make = async () => {
    const made = await openExisting(); // by another process while this one waited for the lock
    if (made) return made;
    await write(path);
    return { opened: await openFile(path) };
  };
  const { opened } = (await openExisting()) ?? (await withFileLock(path, make, { signal }));
  return opened;
}
