/** Files that are derived, made and shared by several processes: written whole or not at all, and one at a time. */
import { ensure, requireAnswer, VentrisError } from "../errors.ts";
import { keeping, storage, type WriteBytes, whyUnreadable, within, writeError } from "../files.ts";
import { isInstance } from "../values.ts";

export { type WriteBytes, writeError } from "../files.ts";

/** The storage's folder for what is derived; under Node `VENTRIS_CACHE`, else the platform's folder for caches. Not created here. */
export const cacheFolder = async (): Promise<string> => (await keeping()).cacheFolder();

/**
 * Writes `path` so that readers see the old file or the whole new one, also after a crash; folders that are missing are made. On failure the
 * old file is untouched, and nothing else stays.
 * Errors: `disk_full`; `unavailable` when the folder cannot be written; `bad_option` where `content` writes what are no bytes, or gives what
 * it should write; what `content` throws passes through here, and is told with its name by `ventris/weights`.
 */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array | ((write: WriteBytes) => Promise<void>),
): Promise<void> {
  const files = await keeping();
  try {
    if (typeof content === "function") return await files.replace(path, (write) => writeInTurn(content, write));
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await files.replace(path, (write) => write(bytes));
  } catch (error) {
    throw writeError(error, path);
  }
}

/** Each write waits for the one before it, and the end for all of them: a caller that does not wait would have a file with its end missing. */
async function writeInTurn(content: (write: WriteBytes) => Promise<void>, write: WriteBytes): Promise<void> {
  let last: Promise<void> = Promise.resolve();
  let answer: unknown;
  try {
    answer = await content((bytes) => {
      const sound = isInstance<Uint8Array>("Uint8Array", bytes);
      requireAnswer(sound, bytes, "writeFileAtomically: content", "a Uint8Array to write");
      last = last.then(() => write(bytes));
      last.catch(() => {}); // heard below
      return last;
    });
  } finally {
    await last;
  }
  requireAnswer(
    answer === undefined,
    answer,
    "writeFileAtomically: content",
    "what it has to the function that writes",
  );
}

/**
 * Runs `action` while holding the lock of `path`, which one process (or worker) at a time can hold. Locks left by dead processes
 * are taken over. `timeout` (milliseconds, default 10 minutes) bounds the wait, not the action.
 * Errors: `unavailable` when the wait times out (names the holder), `aborted` by `signal`, `disk_full`, `bad_option` for a timeout below 0.
 */
export async function withFileLock<T>(
  path: string,
  action: () => Promise<T>,
  {
    timeout = 10 * 60_000,
    signal,
  }: {
    /** Longest wait, in milliseconds. Default: 10 minutes. */
    timeout?: number;
    /** Ends the wait: `aborted`. Default: nothing does. */
    signal?: AbortSignal;
  } = {},
): Promise<T> {
  ensure(timeout >= 0, "bad_option", `withFileLock: timeout is ${timeout}, and must be milliseconds from 0 on`);
  return (await keeping()).lock(path, action, { timeout, signal });
}

/**
 * Holds the lock of `path`, without waiting for it, until the returned function is called. Errors: `unavailable` where another holds it (names
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

/** What a derived file depends on, as a short name for the cache: equal parts give equal names. */
export async function cacheKey(...parts: (string | number)[]): Promise<string> {
  return (await storage()).hash("sha256").update(JSON.stringify(parts)).hex().slice(0, 32);
}

/** What a derived file depends on when its source is a local file: another one whenever the contents may be others. Errors: `unavailable`. */
export async function fileIdentity(path: string): Promise<string> {
  try {
    const file = await (await storage()).open(path);
    await file.close();
    return file.identity;
  } catch (cause) {
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
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
  {
    signal,
  }: {
    /** Ends the wait: `aborted`. Default: nothing does. */
    signal?: AbortSignal;
  } = {},
): Promise<T> {
  const path = within(await cacheFolder(), name);
  const files = await storage();
  const openExisting = async (): Promise<{ opened: T } | undefined> => {
    if (!(await files.find(path))) return undefined;
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
    ensure(await files.find(path), "bad_option", `openCached: write gave no file ${path}`);
    return { opened: await openFile(path) };
  };
  const { opened } = (await openExisting()) ?? (await withFileLock(path, make, { signal }));
  return opened;
}
