/** Locks between processes of this machine, and of others that see the same folder: files that name their holder. */
import { randomUUID } from "node:crypto";
import { type FileHandle, open, readFile, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { VentrisError } from "./errors.ts";
import { errorCode, type Keeping, writeError } from "./files.ts";
import { makeFolder } from "./node-folders.ts";

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

/** The lock of a path is the file `path`.lock. Locks left by dead processes are taken over. */
export const lockFile: Keeping["lock"] = async (path, action, { timeout, signal }) => {
  const lock = `${path}.lock`;
  const token = await acquire(lock, timeout, signal);
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
};

async function acquire(lock: string, timeout: number, signal?: AbortSignal): Promise<string> {
  const { pid } = process;
  const self: LockHolder = { token: randomUUID(), pid, host: hostname(), started: processStart() };
  self.birth = await birthOf(pid);
  const deadline = Date.now() + timeout;
  await makeFolder(dirname(lock)).catch((error) => {
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
        `${who} holds ${lock}${timeout > 0 ? " for too long" : ""}; if it no longer runs, delete that file`,
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

/** Milliseconds since the last change; undefined when the file is gone. */
export async function ageOf(path: string): Promise<number | undefined> {
  try {
    return Date.now() - (await stat(path)).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Not there, nor the folder that it would be in. */
export const isMissing = (error: unknown): boolean => ["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "");
