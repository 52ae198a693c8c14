/**
 * Where weights and tokenizers are read from: the disk under Node; elsewhere, in a page for instance, whatever was given to `useFiles` before
 * the first model was opened. Paths are names with "/" between folders.
 */
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
}

let chosen: Files | undefined;

/** From now on files are read from there. */
export function useFiles(files: Files): void {
  chosen = files;
}

/** The storage in use. */
export async function storage(): Promise<Files> {
  chosen ??= (await import("./node-files.ts")).nodeFiles;
  return chosen;
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

const windows = typeof process !== "undefined" && process.platform === "win32";
const lastBorder = (path: string): number => Math.max(path.lastIndexOf("/"), windows ? path.lastIndexOf("\\") : -1);

/** A name within a folder. */
export const within = (folder: string, name: string): string =>
  folder === "" || lastBorder(folder) === folder.length - 1 ? folder + name : `${folder}/${name}`;

/** The folder that a path lies in. */
export function folderOf(path: string): string {
  const border = lastBorder(path);
  return border < 0 ? "." : path.slice(0, Math.max(1, border));
}
