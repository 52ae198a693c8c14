/** The files of a page: what it keeps, and the web's by their address. */
import { whenAborted } from "../aborts.ts";
import { ensure, VentrisError } from "../errors.ts";
import { type Files, folderOf, type Keeping, nameOf, type OpenFile } from "../files.ts";
import { sha } from "../sha.ts";
import { warnOnce } from "../warnings.ts";
import { opfsStore } from "./opfs.ts";
import { memoryStore, type Store } from "./store.ts";
import { isAddress, type Web, webFiles } from "./web.ts";

interface LockManager {
  request<T>(name: string, options: { signal?: AbortSignal }, action: () => Promise<T>): Promise<T>;
}

/** The page's store: lasting where the browser lets it. */
let opened: Promise<{ store: Store; web: Web }> | undefined;
export const pageStore = (): Promise<{ store: Store; web: Web }> => {
  opened ??= (async () => {
    const lasting = await opfsStore();
    if (!lasting)
      warnOnce(
        "this browser keeps no files for this page (OPFS wants https or localhost, and no private window): models stay in memory, and are downloaded anew at every visit",
      );
    const store = lasting ?? memoryStore();
    return { store, web: webFiles(store) };
  })();
  return opened;
};

/** Written files lie under their path, also below an address, where what the web has comes second. */
const own = (path: string): string => `files/${path.replace("://", "/")}`;
const fresh = (): string => Math.random().toString(36).slice(2);

const keeping: Keeping = {
  onDisk: false,
  cacheFolder: () => "cache",
  free: async () => (await pageStore()).store.free(),
  makeFolder: async (path) => (await pageStore()).store.makeFolder(own(path)),
  async replace(path, content) {
    const { store } = await pageStore();
    const temporary = own(`${folderOf(path)}/.${nameOf(path)}.${fresh()}.partial`);
    try {
      const output = await store.write(temporary, { keep: false });
      try {
        let position = 0;
        await content(async (bytes) => {
          await output.write(bytes, position);
          position += bytes.length;
        });
        await output.sync();
      } finally {
        await output.close();
      }
      await store.rename(temporary, own(path));
    } catch (error) {
      await store.remove(temporary).catch(() => {}); // the first error is the one to report
      throw error;
    }
  },
  write: async (path, options) => (await pageStore()).store.write(placeOf(path), options),
  rename: async (from, to) => (await pageStore()).store.rename(placeOf(from), placeOf(to)),
  remove: async (path) => (await pageStore()).store.remove(placeOf(path)),
  lock,
};

/** Copies of the web's files are written by the download itself, where they belong. */
const placeOf = (path: string): string => (path.startsWith("web/") ? path : own(path));

const running = new Map<string, Promise<unknown>>();

/** By the browser between all pages and workers of the site; where it has no locks, in this thread. */
async function lock<T>(
  path: string,
  action: () => Promise<T>,
  { timeout, signal }: { readonly timeout: number; readonly signal?: AbortSignal },
): Promise<T> {
  const { locks } = (globalThis as unknown as { navigator: { locks?: LockManager } }).navigator;
  if (!locks) {
    const result = (running.get(path) ?? Promise.resolve()).then(action);
    const settled = result.catch(() => {});
    running.set(path, settled);
    settled.then(() => running.get(path) === settled && running.delete(path));
    return result;
  }
  const waiting = new AbortController();
  const end = () => waiting.abort();
  const timer = timeout === Infinity ? undefined : setTimeout(end, Math.min(timeout, 2 ** 31 - 1));
  const heard = whenAborted(signal, end);
  const done = () => {
    clearTimeout(timer);
    heard();
  };
  let got = false;
  try {
    return await locks.request(`ventris ${path}`, { signal: waiting.signal }, () => {
      got = true;
      done();
      return action();
    });
  } catch (error) {
    if (got || !waiting.signal.aborted) throw error;
    ensure(!signal?.aborted, "aborted", `waiting for ${path} was aborted`);
    throw new VentrisError("unavailable", `another page or worker of this site holds ${path}; close it and repeat`, {
      cause: error,
    });
  } finally {
    done();
  }
}

export const pageFiles: Files = {
  async find(path) {
    const { store, web } = await pageStore();
    const kept = await store.find(placeOf(path));
    if (!isAddress(path) || kept?.kind === "file") return kept;
    return (await web.find(path)) ?? kept;
  },
  async list(folder) {
    const { store, web } = await pageStore();
    const kept = await store.list(placeOf(folder));
    return isAddress(folder) ? [...new Set([...kept, ...(await web.list(folder))])] : kept;
  },
  async open(path) {
    const { store, web } = await pageStore();
    const kept = isAddress(path) ? await store.find(placeOf(path)) : undefined;
    const place = !isAddress(path) || kept?.kind === "file" ? placeOf(path) : await web.fetch(path);
    return opening(place, await store.blob(place), (await store.find(place))?.modified);
  },
  hash: sha,
  absolute: (path, from = "") => (isAddress(path) || from === "" ? path : `${from}/${path.replace(/^(\.\/)+/, "")}`),
  keeping,
};

function opening(path: string, blob: Blob, modified: number | undefined): OpenFile {
  return {
    size: blob.size,
    identity: `${path} ${blob.size} ${modified ?? ""}`,
    async read(into, offset) {
      const bytes = new Uint8Array(await blob.slice(offset, offset + into.length).arrayBuffer());
      into.set(bytes);
      return bytes.length;
    },
    async close() {},
  };
}
