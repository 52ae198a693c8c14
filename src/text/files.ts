/** Bounded reading of the small text files that belong to a tokenizer. */
import { ensure, VentrisError } from "../errors.ts";
import { readWhole, storage, whyUnreadable } from "../files.ts";
import { parseJsonObject } from "../json.ts";

/** The largest published tokenizer.json has 35 MB. */
const largestFile = 256 * 2 ** 20;

/** Bytes of a file; undefined when there is none. Errors: `bad_file` beyond 256 MB, `unavailable` when unreadable. */
export async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    if (!(await (await storage()).find(path))) return undefined;
    const bytes = await readWhole(path, largestFile);
    ensure(bytes, "bad_file", `${path}: more than ${largestFile} bytes are more than a tokenizer can have`);
    return bytes;
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
}

/** A JSON object from a file; undefined when there is no such file. Errors: `bad_file` naming the file. */
export async function readJsonIfPresent(path: string): Promise<Record<string, unknown> | undefined> {
  const bytes = await readIfPresent(path);
  return bytes && parseJsonObject(bytes, path);
}
