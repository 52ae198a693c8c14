/** Files of the disk, by Node. */
import { open, readdir, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Files } from "./files.ts";

/**
 * What a derived file depends on when its source is a local file: path, size and times. The time of the last change of the file itself counts
 * beside that of its contents, which copying keeps.
 */
export function identityOf(
  path: string,
  { size, mtimeMs, ctimeMs, ino }: Readonly<Record<"size" | "mtimeMs" | "ctimeMs" | "ino", number>>,
): string {
  return `${resolve(path)} ${size} ${mtimeMs} ${ctimeMs} ${ino}`;
}

/** Linux reads at most 2 GiB a call. */
const mostAtOnce = 2 ** 30;

export const nodeFiles: Files = {
  async find(path) {
    try {
      const stats = await stat(path);
      return { kind: stats.isDirectory() ? "folder" : "file", size: stats.size };
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw error;
    }
  },
  list: (folder) => readdir(folder),
  async open(path) {
    const handle = await open(path, "r");
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
};
