/**
 * The browser's private file system (OPFS) as a store. A worker writes in place; a page's own thread writes a copy that counts when it is
 * closed, so that it closes and opens anew from time to time: what a killed page had downloaded is there when it comes back.
 */
import type { WritableFile } from "../files.ts";
import type { Store } from "./store.ts";

interface Handle {
  readonly kind: "file" | "directory";
  readonly name: string;
}

interface FileHandle extends Handle {
  getFile(): Promise<Blob & { readonly lastModified: number }>;
  createWritable?(options: { keepExistingData: boolean }): Promise<Writable>;
  createSyncAccessHandle?(): Promise<AccessHandle>;
  move?(folder: FolderHandle, name: string): Promise<void>;
}

interface FolderHandle extends Handle {
  getDirectoryHandle(name: string, options?: { create: boolean }): Promise<FolderHandle>;
  getFileHandle(name: string, options?: { create: boolean }): Promise<FileHandle>;
  removeEntry(name: string, options?: { recursive: boolean }): Promise<void>;
  keys(): AsyncIterable<string>;
}

interface Writable {
  write(data: { type: "write"; position: number; data: Uint8Array }): Promise<void>;
  close(): Promise<void>;
}

interface AccessHandle {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

interface StorageManager {
  getDirectory?(): Promise<FolderHandle>;
  estimate?(): Promise<{ quota?: number; usage?: number }>;
}

const top = "ventris";
const isMissing = (error: unknown): boolean =>
  ["NotFoundError", "TypeMismatchError"].includes((error as { name?: string }).name ?? "");

/** Undefined where the browser has none, or keeps pages that are not secure or not lasting from it. */
export async function opfsStore(): Promise<Store | undefined> {
  const { storage } = (globalThis as unknown as { navigator: { storage?: StorageManager } }).navigator;
  if (!storage?.getDirectory) return undefined;
  let root: FolderHandle;
  try {
    root = await (await storage.getDirectory()).getDirectoryHandle(top, { create: true });
  } catch {
    return undefined;
  }

  const namesOf = (path: string): string[] => path.split("/").filter(Boolean).map(encodeURIComponent);
  async function folder(names: readonly string[], create = false): Promise<FolderHandle> {
    let at = root;
    for (const name of names) at = await at.getDirectoryHandle(name, { create });
    return at;
  }
  async function file(path: string, create = false): Promise<FileHandle> {
    const names = namesOf(path);
    return (await folder(names.slice(0, -1), create)).getFileHandle(names.at(-1)!, { create });
  }
  const orMissing = <T>(error: unknown, otherwise: T): T => {
    if (isMissing(error)) return otherwise;
    throw error;
  };

  const store: Store = {
    lasting: true,
    async find(path) {
      const found = await file(path).catch((error) => orMissing(error, undefined));
      if (found) {
        const { size, lastModified } = await found.getFile();
        return { kind: "file", size, modified: lastModified };
      }
      const holds = await folder(namesOf(path)).catch((error) => orMissing(error, undefined));
      return holds && { kind: "folder", size: 0 };
    },
    async list(path) {
      const found = await folder(namesOf(path)).catch((error) => orMissing(error, undefined));
      const names: string[] = [];
      if (found) for await (const name of found.keys()) names.push(decodeURIComponent(name));
      return names;
    },
    blob: async (path) => (await file(path)).getFile(),
    async write(path, { keep }) {
      const handle = await file(path, true);
      return handle.createSyncAccessHandle ? inPlace(handle, keep) : byCopies(handle, keep);
    },
    async rename(from, to) {
      const [handle, names] = [await file(from), namesOf(to)];
      const target = await folder(names.slice(0, -1), true);
      if (handle.move) return handle.move(target, names.at(-1)!);
      const output = await store.write(to, { keep: false });
      const contents = await handle.getFile();
      const piece = 2 ** 22;
      for (let at = 0; at < contents.size; at += piece)
        await output.write(new Uint8Array(await contents.slice(at, at + piece).arrayBuffer()), at);
      await output.close();
      await store.remove(from);
    },
    async remove(path) {
      const names = namesOf(path);
      try {
        await (await folder(names.slice(0, -1))).removeEntry(names.at(-1)!, { recursive: true });
      } catch (error) {
        orMissing(error, undefined);
      }
    },
    async makeFolder(path) {
      await folder(namesOf(path), true);
    },
    async free() {
      const { quota, usage } = (await storage.estimate?.()) ?? {};
      return quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
    },
  };
  return store;
}

async function inPlace(handle: FileHandle, keep: boolean): Promise<WritableFile> {
  const access = await handle.createSyncAccessHandle!();
  if (!keep) access.truncate(0);
  return {
    async write(bytes, position) {
      for (let done = 0; done < bytes.length; ) {
        const written = access.write(bytes.subarray(done), { at: position + done });
        // A browser may write less instead of saying that its room is used up.
        if (written <= 0) throw Object.assign(new Error("the browser writes no more"), { name: "QuotaExceededError" });
        done += written;
      }
    },
    sync: async () => access.flush(),
    close: async () => access.close(),
  };
}

/** The first copy counts after so many bytes. Later ones take longer to begin, and come in larger distances. */
const leastUncounted = 8 * 2 ** 20;

async function byCopies(handle: FileHandle, keep: boolean): Promise<WritableFile> {
  let output: Writable | undefined = await handle.createWritable!({ keepExistingData: keep });
  let uncounted = 0;
  const file: WritableFile = {
    async write(bytes, position) {
      output ??= await handle.createWritable!({ keepExistingData: true });
      try {
        await output.write({ type: "write", position, data: bytes });
      } catch (error) {
        output = undefined; // closing it would fail by its own failure, and hide what happened
        throw error;
      }
      uncounted += bytes.length;
      if (uncounted < Math.max(leastUncounted, position / 4)) return;
      await file.sync();
    },
    async sync() {
      const counted = output;
      [output, uncounted] = [undefined, 0];
      await counted?.close();
    },
    close: () => (output ? output.close() : Promise.resolve()),
  };
  return file;
}
