/**
 * The safetensors format (https://github.com/huggingface/safetensors#format): 8 bytes of header length, a JSON header
 * that gives every tensor's type, shape and byte range, then the bytes, without holes or overlaps.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { folderOf, within } from "../files.ts";
import { type ItemKind, itemsOf } from "../items.ts";
import { isObject, parseJsonObject } from "../json.ts";
import { isInstance } from "../values.ts";
import { writeFileAtomically } from "./cache.ts";
import {
  fileWeightSource,
  findTensor,
  readRange,
  type TensorLocation,
  type WeightFile,
  withOpenFile,
} from "./file-source.ts";
import { float32ToBfloat16, float32ToFloat16 } from "./half.ts";
import { checkTensorName, elementCount, tensorBytes } from "./layout.ts";
import type { WeightSource, WeightType } from "./source.ts";

/** The bound that the Hugging Face readers for JavaScript use; the headers of the largest checkpoints stay below 10 MB. */
const maximumHeaderBytes = 25_000_000;
const maximumIndexBytes = 50_000_000;
const maximumShards = 2_000;

/** What the format can store; every name is the same in the file. */
const storedTypes: readonly WeightType[] = ["F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL"];

export interface SafetensorsSource extends WeightSource {
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** The file's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Opens one file. Errors: `unavailable` when it cannot be opened, `bad_file` when its header is unsound. */
export function openSafetensors(path: string): Promise<SafetensorsSource> {
  return withOpenFile(path, async (file) => {
    const { tensors, metadata } = await readHeader(file);
    return { ...fileWeightSource(path, tensors, [file]), metadata };
  });
}

/**
 * What a safetensors file of ours, whatever its name ends in, says that it holds; undefined for every other file and folder. Errors: as
 * `openSafetensors`, for one whose name says that it is one.
 */
export async function fileFormat(path: string): Promise<string | undefined> {
  try {
    const { metadata, close } = await openSafetensors(path);
    await close();
    return metadata.format;
  } catch (error) {
    if (path.endsWith(".safetensors")) throw error;
    return undefined;
  }
}

/**
 * Opens the shards that a `model.safetensors.index.json` lists as one source. The index and the shards must agree on
 * every tensor. Errors: as `openSafetensors`.
 */
export async function openSharded(indexPath: string): Promise<WeightSource> {
  const shardOf = await readIndex(indexPath);
  const names = [...new Set(shardOf.values())];
  ensure(
    names.length <= maximumShards,
    "bad_file",
    `${indexPath} lists ${names.length} shards, more than ${maximumShards}`,
  );
  const shards = new Map<string, SafetensorsSource>();
  const closeAll = async () => void (await Promise.all([...shards.values()].map((shard) => shard.close())));
  try {
    for (const name of names) shards.set(name, await openSafetensors(within(folderOf(indexPath), name)));
    for (const [name, shard] of shards) {
      for (const tensor of shard.tensors.keys()) {
        ensure(
          shardOf.get(tensor) === name,
          "bad_file",
          `${shard.origin} holds tensor ${tensor}, which ${indexPath} does not place there`,
        );
      }
    }
    const tensors = new Map<string, TensorLocation>();
    for (const [name, shard] of shardOf) {
      const { origin, tensors: inShard } = shards.get(shard)!;
      tensors.set(name, findTensor(origin, inShard, name));
    }
    const files = [...new Set([...tensors.values()].map((tensor) => tensor.file))].sort((a, b) =>
      a.path < b.path ? -1 : 1,
    );
    return { ...fileWeightSource(indexPath, tensors, files), close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** Shard file name of every tensor, as `model.safetensors.index.json` gives it. Errors: `bad_file`. */
export async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const bytes = await readWhole(path, maximumIndexBytes);
  const index = parseJsonObject(bytes, path);
  ensure(isObject(index.weight_map), "bad_file", `${path} has no weight_map object`);
  const shardOf = new Map<string, string>();
  for (const [name, shard] of Object.entries(index.weight_map)) {
    // Shards lie beside their index: a path could point anywhere on the machine.
    const isPlainName = typeof shard === "string" && /^[^/\\\0]+\.safetensors$/.test(shard);
    ensure(
      isPlainName,
      "bad_file",
      `${path}: tensor ${name} lies in ${shown(shard)}, which is not a .safetensors file name`,
    );
    shardOf.set(name, shard);
  }
  ensure(shardOf.size > 0, "bad_file", `${path}: weight_map is empty`);
  return shardOf;
}

async function readWhole(path: string, limit: number): Promise<Uint8Array> {
  const file = await withOpenFile(path, async (file) => file);
  try {
    ensure(file.size <= limit, "bad_file", `${path} has ${file.size} bytes, more than ${limit}`);
    return await readRange(file, 0, file.size, "the index");
  } finally {
    await file.handle.close();
  }
}

/** Where one tensor's bytes lie, for use in place as ONNX external data. Errors: as `openSafetensors`, or no such tensor. */
export async function describeTensor(path: string, name: string): Promise<TensorLocation> {
  const source = await openSafetensors(path);
  await source.close();
  return findTensor(path, source.tensors, name);
}

async function readHeader(file: WeightFile) {
  const { path, size } = file;
  ensure(size >= 8, "bad_file", `${path} has ${size} bytes, too few for a safetensors file`);
  const prefix = await readRange(file, 0, 8, "the header length");
  const headerLength = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  ensure(
    headerLength <= size - 8,
    "bad_file",
    () =>
      `${path}: the header says it has ${headerLength} bytes, but the file has ${size}; truncated, or not safetensors`,
  );
  ensure(
    headerLength <= maximumHeaderBytes,
    "bad_file",
    `${path}: the header has ${headerLength} bytes, more than ${maximumHeaderBytes}`,
  );
  const bytes = await readRange(file, 8, headerLength, "the header");
  ensure(bytes[0] === 0x7b, "bad_file", `${path}: the header does not begin with {; not a safetensors file?`);
  const { members, depth } = measureJson(bytes);
  ensure(depth <= 3, "bad_file", `${path}: the header nests deeper than the format`);
  const header = parseJsonObject(bytes, `${path}: the header`);

  const { __metadata__: stated, ...entries } = header;
  const metadata = stated ?? {}; // null is none, as in the reference reader
  ensure(isStringRecord(metadata), "bad_file", `${path}: __metadata__ is not an object of strings`);
  ensure(members === countParsedMembers(header), "bad_file", `${path}: the header gives a name twice`);
  const dataStart = 8 + headerLength;
  const tensors = new Map(
    Object.entries(entries).map(([name, entry]) => [name, checkEntry(file, name, entry, dataStart)] as const),
  );
  checkCoverage(file, tensors, dataStart);
  return { tensors, metadata };
}

function isStringRecord(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every((item) => typeof item === "string");
}

/**
 * Members of all objects in JSON text (colons outside strings: `JSON.parse` hides repeated names, counting shows them), and how
 * deep it nests: known before parsing, so that a header of brackets alone costs nothing.
 */
function measureJson(json: Uint8Array): { members: number; depth: number } {
  const [quote, backslash, colon] = [0x22, 0x5c, 0x3a];
  let [members, depth, open] = [0, 0, 0];
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (byte === quote) inString = !inString;
    else if (inString) {
      if (byte === backslash) i++;
    } else if (byte === colon) members++;
    else if (byte === 0x7b || byte === 0x5b) depth = Math.max(depth, ++open);
    else if (byte === 0x7d || byte === 0x5d) open--;
  }
  return { members, depth };
}

/** A sound header has members in two levels of objects. */
function countParsedMembers(header: Record<string, unknown>): number {
  const values = Object.values(header);
  return values.reduce((sum: number, value) => sum + (isObject(value) ? Object.keys(value).length : 0), values.length);
}

function checkEntry(file: WeightFile, name: string, entry: unknown, dataStart: number): TensorLocation {
  checkTensorName(file.path, name);
  const where = `${file.path}: tensor ${name}`;
  ensure(isObject(entry), "bad_file", `${where}: its entry is not an object`);
  const { dtype, shape, data_offsets: offsets, ...unknown } = entry;
  const [extra] = Object.keys(unknown);
  ensure(extra === undefined, "bad_file", `${where}: unknown field ${extra}`);
  const type = storedTypes.find((known) => known === dtype);
  ensure(type, "bad_file", `${where}: type ${shown(dtype)} is not supported (${storedTypes.join(", ")} are)`);
  ensure(
    Array.isArray(shape) && elementCount(shape) !== undefined,
    "bad_file",
    `${where}: unsound shape ${shown(shape)}`,
  );
  const isRange =
    Array.isArray(offsets) && offsets.length === 2 && offsets.every((at) => Number.isSafeInteger(at) && at >= 0);
  ensure(isRange && offsets[0] <= offsets[1], "bad_file", `${where}: unsound data_offsets ${shown(offsets)}`);
  const [begin, end] = offsets;
  ensure(
    dataStart + end <= file.size,
    "bad_file",
    `${where} ends at byte ${dataStart + end}, but the file has ${file.size}; truncated?`,
  );
  const expected = tensorBytes(type, shape);
  ensure(
    end - begin === expected,
    "bad_file",
    `${where}: ${type} ${shown(shape)} needs ${expected} bytes, data_offsets span ${end - begin}`,
  );
  return { name, type, shape, file, offset: dataStart + begin, length: end - begin };
}

/** The tensors must tile the rest of the file: an overlap or a hole means that the header belongs to other bytes. */
function checkCoverage(file: WeightFile, tensors: ReadonlyMap<string, TensorLocation>, dataStart: number): void {
  const inOrder = [...tensors.values()].sort((a, b) => a.offset - b.offset || a.length - b.length);
  let position = dataStart;
  for (const { name, offset, length } of inOrder) {
    ensure(offset >= position, "bad_file", `${file.path}: tensor ${name} overlaps the one before it`);
    ensure(
      offset === position,
      "bad_file",
      `${file.path}: ${offset - position} bytes before tensor ${name} belong to no tensor`,
    );
    position = offset + length;
  }
  ensure(
    position === file.size,
    "bad_file",
    `${file.path}: the last ${file.size - position} bytes belong to no tensor`,
  );
}

type TensorData = Float64Array | Float32Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

/** A tensor to be written, or what gives its values. */
export interface TensorToWrite {
  readonly name: string;
  readonly type: WeightType;
  readonly shape: readonly number[];
  /** Values in the stored type (F16 and BF16 as bit patterns), or float32 to be rounded to F16 or BF16; or a function that
   * gives them when their turn comes, so that no two tensors need be in memory. */
  readonly data: TensorData | (() => TensorData | Promise<TensorData>);
}

/**
 * Writes a file atomically, tensor by tensor. Errors: `bad_option` for an unsound tensor or a value that F16 cannot hold;
 * `disk_full`; `unavailable` when the folder cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  ensure(typeof path === "string" && path !== "", "bad_option", () => {
    return `writeSafetensors takes the path of a file, not ${shown(path)}`;
  });
  const given: TensorToWrite[] = [];
  for await (const tensor of itemsOf(tensors, `${path}: tensors`, tensorItems)) given.push(tensor);
  // Widest types first keeps every tensor aligned to its element size, as the reference writer does.
  const inOrder = given.sort((a, b) => elementBytes(b.type) - elementBytes(a.type));
  const header = encodeHeader(path, inOrder, metadata);
  await writeFileAtomically(path, async (write) => {
    await write(header);
    for (const tensor of inOrder) await write(await storedBytes(path, tensor));
  });
}

const tensorItems: ItemKind<TensorToWrite> = {
  wanted: "{ name, type, shape, data }, with values or a function that gives them",
  holds(item): item is TensorToWrite {
    const { name, type, shape, data } = (item ?? {}) as Partial<Record<keyof TensorToWrite, unknown>>;
    const described = typeof name === "string" && typeof type === "string" && Array.isArray(shape);
    return described && (typeof data === "function" || ArrayBuffer.isView(data));
  },
};

const elementBytes = (type: WeightType) => (storedTypes.includes(type) ? tensorBytes(type, [1]) : undefined) ?? 0;

function encodeHeader(path: string, tensors: readonly TensorToWrite[], metadata?: Readonly<Record<string, string>>) {
  const entries = new Map<string, unknown>();
  if (metadata) entries.set("__metadata__", metadata);
  let position = 0;
  for (const { name, type, shape } of tensors) {
    const length = storedTypes.includes(type) ? tensorBytes(type, shape) : undefined;
    ensure(length !== undefined, "bad_option", `${path}: tensor ${name} cannot be stored as ${type} ${shown(shape)}`);
    ensure(name !== "__metadata__" && !entries.has(name), "bad_option", `${path}: tensor name ${name} is taken`);
    entries.set(name, { dtype: type, shape, data_offsets: [position, position + length] });
    position += length;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.length / 8) * 8; // so that the data starts aligned; spaces are JSON
  const bytes = new Uint8Array(8 + padded).fill(0x20, 8 + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  return bytes;
}

async function storedBytes(path: string, tensor: TensorToWrite): Promise<Uint8Array> {
  const { name, type, shape } = tensor;
  let data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
  const where = `${path}: tensor ${name}`;
  if (type === "BF16" && isInstance<Float32Array>("Float32Array", data)) data = float32ToBfloat16(data);
  if (type === "F16" && isInstance<Float32Array>("Float32Array", data)) data = toFloat16(data, where);
  ensure(ArrayBuffer.isView(data), "bad_option", () => `${where}: data gives ${shown(data)} in place of values`);
  ensure(
    data.BYTES_PER_ELEMENT === elementBytes(type),
    "bad_option",
    `${where}: ${data.constructor.name} does not hold ${type}`,
  );
  ensure(
    data.byteLength === tensorBytes(type, shape),
    "bad_option",
    `${where}: ${data.length} values do not fill ${shown(shape)}`,
  );
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function toFloat16(values: Float32Array, where: string): Uint16Array {
  const limit = 65520; // rounds to infinity from here on
  const index = values.findIndex((value) => Math.abs(value) >= limit && Number.isFinite(value));
  if (index >= 0)
    throw new VentrisError(
      "bad_option",
      `${where}: element ${index} is ${values[index]}, too large for F16; store BF16 or F32`,
    );
  return float32ToFloat16(values);
}
