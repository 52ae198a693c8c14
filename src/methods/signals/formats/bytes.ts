/** Whole files within a bound, gzip undone. Nothing a header says makes us allocate: sizes are checked against the bytes that are there. */
import { readFile, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { ensure, VentrisError } from "../../../errors.ts";
import { whyUnreadable } from "../../../files.ts";

/** Most bytes of a recording, unpacked: as double precision it may take four times as much. */
export const maximumBytes = 2 ** 29;

/** Errors: `unavailable` when it cannot be read, `bad_file` when it is larger than `limit` or badly packed. */
export async function readBytes(path: string, limit = maximumBytes): Promise<Buffer> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    ensure(size <= limit, "bad_file", `${path} has ${size} bytes, more than ${limit}`);
    bytes = await readFile(path);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("unavailable", `${path} cannot be read: ${whyUnreadable(cause)}`, { cause });
  }
  if (!path.endsWith(".gz")) return bytes;
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: limit });
  } catch (cause) {
    throw new VentrisError("bad_file", `${path} cannot be unpacked: ${(cause as Error).message}`, { cause });
  }
}

/** The name's end in small letters, without a final .gz. */
export function extensionOf(path: string): string {
  return /\.([^./\\]+)$/.exec(path.toLowerCase().replace(/\.gz$/, ""))?.[1] ?? "";
}

/** Text in Latin 1, as the headers of these formats have it. */
export const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
