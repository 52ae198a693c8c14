/**
 * The list of the files of a model, or of a folder of models, that a page reads them by: a folder of the web does not say what is in it. It
 * lies in that folder and has each file by its path, size and SHA-256.
 */
import { z } from "zod";
import { ensure } from "../errors.ts";
import { keeping, readPieces, storage, within } from "../files.ts";

export const listName = "ventris-files.json";
const [format, mostFiles, deepest] = ["ventris files 1", 100_000, 8] as const;

export const listSchema = z.object({
  format: z.literal(format),
  files: z
    .record(z.string().max(1000), z.object({ size: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) }))
    .refine((files) => Object.keys(files).length <= mostFiles, `more than ${mostFiles} files`),
});
export type FileList = z.output<typeof listSchema>["files"];

/** Hidden files, downloads under way, and the list itself are none of a model's. */
const passedOver = (name: string): boolean => name.startsWith(".") || name.endsWith(".part") || name === listName;
/** In the folder, or one below it: a page looks for the list of a model beside it and in the folder above. */
const ofModel = /^([^/]+\/)?([^/]+\.gguf|[^/]+\.safetensors)$/;

/**
 * Writes the list of a folder, over one that is there. Errors: `unavailable` for a folder that is not there or has no model in it;
 * `bad_option` for one with more files than a list may have, or folders that are deeper than a model's; `disk_full`, `aborted`.
 */
export async function writeFileList(
  folder: string,
  {
    signal,
    onFile,
  }: {
    /** Ends the work: `aborted`. Default: nothing does. */
    signal?: AbortSignal;
    /** Told of every file. Default: nobody is told. */
    onFile?: (name: string) => void;
  } = {},
): Promise<{ path: string; files: FileList }> {
  const disk = await storage();
  ensure((await disk.find(folder))?.kind === "folder", "unavailable", `${folder} is no folder`);
  const names: string[] = [];
  async function look(below: string, depth: number): Promise<void> {
    ensure(depth <= deepest, "bad_option", `${folder}: ${below} lies deeper than the files of models do`);
    for (const entry of [...(await disk.list(within(folder, ...(below ? [below] : []))))].sort()) {
      if (passedOver(entry)) continue;
      const name = below ? `${below}/${entry}` : entry;
      const found = await disk.find(within(folder, name));
      if (found?.kind === "folder") await look(name, depth + 1);
      else if (found) names.push(name);
      ensure(
        names.length <= mostFiles,
        "bad_option",
        `${folder} has more than ${mostFiles} files: name a model's folder`,
      );
    }
  }
  await look("", 0);
  ensure(
    names.some((name) => ofModel.test(name)),
    "unavailable",
    `no model lies in ${folder}, nor in a folder of it: name the folder with its config.json and model.safetensors, or the one that such folders lie in`,
  );
  const files: FileList = {};
  for (const name of names) {
    onFile?.(name);
    const hash = disk.hash("sha256");
    let size = 0;
    for await (const piece of readPieces(within(folder, name), 2 ** 22)) {
      ensure(!signal?.aborted, "aborted", `listing ${folder} was aborted`);
      hash.update(piece);
      size += piece.length;
    }
    files[name] = { size, sha256: hash.hex() };
  }
  const path = within(folder, listName);
  const text = `${JSON.stringify({ format, files }, null, 1)}\n`;
  await (await keeping()).replace(path, (write) => write(new TextEncoder().encode(text)));
  return { path, files };
}
