/** Folders of the disk. */
import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { errorCode } from "./files.ts";

/**
 * Makes a folder with those that it is in. Resolves with the first one made; undefined: it was there. Node's own `recursive` tries for ever
 * where the file system refuses a name as missing although the folder for it is there, as /proc does. Errors are the disk's own.
 */
export async function makeFolder(path: string): Promise<string | undefined> {
  const missing: string[] = [];
  for (let folder = resolve(path); !(await isThere(folder)); folder = dirname(folder)) {
    missing.unshift(folder);
    if (folder === dirname(folder)) break; // a drive that is not there
  }
  for (const folder of missing) {
    await mkdir(folder).catch((error) => {
      if (errorCode(error) !== "EEXIST") throw error; // another made it meanwhile
    });
  }
  return missing[0];
}

async function isThere(folder: string): Promise<boolean> {
  try {
    const stats = await stat(folder);
    if (!stats.isDirectory()) await mkdir(folder); // says of what is no folder that it is there already
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}
