/** What a page can keep files in: the browser's own storage (OPFS), or memory where there is none. */
import type { WritableFile } from "../files.ts";

export interface Stored {
  readonly kind: "file" | "folder";
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modified?: number;
}

/** Paths are names with "/" between folders. Folders are made by what is written into them. */
export interface Store {
  /** Whether the files outlast the page. */
  readonly lasting: boolean;
  find(path: string): Promise<Stored | undefined>;
  list(folder: string): Promise<string[]>;
  /** A file as it is now. */
  blob(path: string): Promise<Blob>;
  write(path: string, options: { readonly keep: boolean }): Promise<WritableFile>;
  /** Over a file that is there. */
  rename(from: string, to: string): Promise<void>;
  /** A file, or a folder with all that is in it; nothing where there is none. */
  remove(path: string): Promise<void>;
  makeFolder(path: string): Promise<void>;
  /** Bytes; undefined: nobody knows. */
  free(): Promise<number | undefined>;
}

export function memoryStore(): Store {
  const files = new Map<string, { bytes: Uint8Array<ArrayBuffer>; size: number; modified: number }>();
  const folders = new Set<string>();
  const below = (path: string) => [...files.keys()].filter((name) => name.startsWith(`${path}/`));
  const known = (path: string) => {
    const file = files.get(path);
    if (!file) throw new Error(`there is no file ${path}`);
    return file;
  };
  let changes = 0;
  return {
    lasting: false,
    async find(path) {
      const file = files.get(path);
      if (file) return { kind: "file", size: file.size, modified: file.modified };
      return folders.has(path) || below(path).length > 0 ? { kind: "folder", size: 0 } : undefined;
    },
    async list(folder) {
      return [...new Set(below(folder).map((name) => name.slice(folder.length + 1).split("/")[0]))];
    },
    async blob(path) {
      const { bytes, size } = known(path);
      return new Blob([bytes.subarray(0, size)]);
    },
    async write(path, { keep }) {
      const file = (keep && files.get(path)) || { bytes: new Uint8Array(0), size: 0, modified: 0 };
      files.set(path, file);
      return {
        async write(bytes, position) {
          const end = position + bytes.length;
          if (end > file.bytes.length) {
            const grown = new Uint8Array(Math.max(end, Math.ceil(1.5 * file.bytes.length)));
            grown.set(file.bytes.subarray(0, file.size));
            file.bytes = grown;
          }
          file.bytes.set(bytes, position);
          file.size = Math.max(file.size, end);
          file.modified = ++changes;
        },
        sync: async () => {},
        close: async () => {},
      };
    },
    async rename(from, to) {
      files.set(to, known(from));
      files.delete(from);
    },
    async remove(path) {
      for (const name of [path, ...below(path)]) files.delete(name);
      folders.delete(path);
    },
    async makeFolder(path) {
      folders.add(path);
    },
    free: async () => undefined,
  };
}
