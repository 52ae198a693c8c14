/** Folders of this machine, which are no client's business. */
import { homedir, tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

export const privateFolders: readonly string[] = [
  fileURLToPath(new URL("../../", import.meta.url)).slice(0, -1),
  process.cwd(),
  homedir(),
  tmpdir(),
].filter((folder) => folder.length > 1);
