/** Files that a command is given: read as a whole up to a limit, from a pipe as well, and every failure as a sentence that names the file. */
import { open } from "node:fs/promises";
import { ensure, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";

interface Wanted {
  /** What it is to the command, and what gave its name: "--json-schema". */
  readonly what: string;
  readonly mostBytes: number;
  /** Default: an empty one is refused. */
  readonly mayBeEmpty?: boolean;
}

/** Errors: `unavailable` for what cannot be read, `bad_option` for what is empty or longer. */
export async function readGiven(path: string, { what, mostBytes, mayBeEmpty = false }: Wanted): Promise<Uint8Array> {
  try {
    await using file = await open(path);
    const bytes = await readBounded(file.createReadStream(), path, mostBytes, what);
    ensure(bytes.length > 0 || mayBeEmpty, "bad_option", `${what}: ${path} is empty`);
    return bytes;
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("unavailable", `${what}: cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
}

/** All bytes of a stream. Errors: `bad_option` for more than `mostBytes`. */
export async function readBounded(
  stream: AsyncIterable<Uint8Array>,
  origin: string,
  mostBytes: number,
  what: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    ensure(size <= mostBytes, "bad_option", `${what}: ${origin} has more than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
