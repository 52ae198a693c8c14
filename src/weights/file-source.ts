/** A weight source over tensors that lie as byte ranges in files: what every format becomes once its header is read. */

import { ensure, shown, VentrisError } from "../errors.ts";
import { type OpenFile, storage, whyUnreadable } from "../files.ts";
import { suggestion } from "../names.ts";
import { requireFinite, toFloat32 } from "./layout.ts";
import { readGgufBlocks } from "./quantize.ts";
import type { WeightInfo, WeightSource } from "./source.ts";

/** An open file of weights. */
export interface WeightFile {
  readonly path: string;
  readonly size: number;
  readonly identity: string;
  readonly handle: OpenFile;
}

/** Where a tensor's bytes are: also what ONNX external data needs to use them in place. */
export interface TensorLocation extends WeightInfo {
  readonly file: WeightFile;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** Opens a file for reading. Errors: `unavailable` when it is absent or unreadable, `bad_file` when it is no file. */
export async function openFile(path: string): Promise<WeightFile> {
  const files = await storage();
  try {
    const found = await files.find(path);
    ensure(found?.kind !== "folder", "bad_file", `${path} is not a file`);
    const handle = await files.open(path);
    return { path, size: handle.size, identity: handle.identity, handle };
  } catch (error) {
    if (error instanceof VentrisError) throw error;
    throw new VentrisError("unavailable", `cannot open ${path}: ${whyUnreadable(error)}`, { cause: error });
  }
}

/** Runs `use` on an open file; closes the file when `use` fails, else leaves it open for the result to read from. */
export async function withOpenFile<T>(path: string, use: (file: WeightFile) => Promise<T>): Promise<T> {
  const file = await openFile(path);
  try {
    return await use(file);
  } catch (error) {
    await file.handle.close();
    throw error;
  }
}

/** Exactly `length` bytes from `offset`, in a buffer of their own. `what` names the part in messages. */
export async function readRange(
  file: WeightFile,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  ensure(offset + length <= file.size, "bad_file", () => `${file.path}: ${what} ends beyond the end of the file`);
  const bytes = allocate(length, `${file.path}: ${what}`);
  for (let done = 0; done < length; ) {
    const bytesRead = await file.handle.read(bytes.subarray(done), offset + done).catch((error) => {
      throw new VentrisError("bad_file", `${file.path}: cannot read ${what}: ${error.message}`, { cause: error });
    });
    ensure(bytesRead > 0, "bad_file", () => `${file.path}: the file shrank while ${what} was being read`);
    done += bytesRead;
  }
  return bytes;
}

function allocate(length: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (error) {
    throw new VentrisError("out_of_memory", `${what} needs ${length} bytes in one piece, which this machine refuses`, {
      cause: error,
    });
  }
}

/** `files` are closed by the source. */
export function fileWeightSource(
  origin: string,
  tensors: ReadonlyMap<string, TensorLocation>,
  files: readonly WeightFile[],
): WeightSource & { readonly tensors: ReadonlyMap<string, TensorLocation> } {
  let closing: Promise<unknown> | undefined;
  const read = async (name: string) => {
    ensure(!closing, "bad_option", `${origin} is closed`);
    const { file, offset, length } = findTensor(origin, tensors, name);
    return readRange(file, offset, length, `tensor ${name}`);
  };
  return {
    origin,
    identity: files.map(({ identity }) => identity).join("\n"),
    tensors,
    readBytes: read,
    readBlocks: (name) => readGgufBlocks({ origin, tensors, readBytes: read }, name),
    async readFloat32(name, options) {
      const bytes = await read(name);
      const { type, file } = tensors.get(name)!;
      const values = toFloat32(type, bytes);
      if (!options?.allowNonFinite) requireFinite(values, `${file.path}: tensor ${name}`);
      return values;
    },
    async readRows(name, from, to) {
      ensure(!closing, "bad_option", `${origin} is closed`);
      const { file, offset, length, type, shape } = findTensor(origin, tensors, name);
      const [rows] = shape;
      const inside = shape.length === 2 && from >= 0 && to <= rows && from < to;
      ensure(inside, "bad_option", `${origin}: rows ${from} to ${to} of tensor ${name} [${shape}] do not exist`);
      const perRow = length / rows;
      const what = `rows ${from} to ${to} of tensor ${name}`;
      const values = toFloat32(type, await readRange(file, offset + from * perRow, (to - from) * perRow, what));
      requireFinite(values, `${file.path}: ${what}`);
      return values;
    },
    async close() {
      closing ??= Promise.all(files.map((file) => file.handle.close()));
      await closing;
    },
  };
}

/** The tensor, or `bad_file` that names the closest one there is. */
export function findTensor<T>(origin: string, tensors: ReadonlyMap<string, T>, name: string): T {
  ensure(typeof name === "string", "bad_option", () => `${origin}: a tensor's name is a text, not ${shown(name)}`);
  const found = tensors.get(name);
  if (found !== undefined) return found;
  throw new VentrisError("bad_file", `${origin} has no tensor ${name}${suggestion(name, [...tensors.keys()])}`);
}
