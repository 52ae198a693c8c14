/**
 * GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). The header is parsed by @huggingface/gguf; what
 * is here feeds it bytes within bounds and checks what it says against the file.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { fileWeightSource, readRange, type TensorLocation, type WeightFile, withOpenFile } from "./file-source.ts";
import { checkTensorName, tensorBytes } from "./layout.ts";
import { blocksOfType } from "./quantize.ts";
import type { WeightSource, WeightType } from "./source.ts";

export interface GgufSource extends WeightSource {
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Key-value pairs of the header; 64-bit integers are numbers where exact, else bigints. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** ggml's numbers of the types we read. */
const typeNumbers: ReadonlyMap<number, WeightType> = new Map([
  [0, "F32"],
  [1, "F16"],
  [2, "Q4_0"],
  [3, "Q4_1"],
  [6, "Q5_0"],
  [7, "Q5_1"],
  [8, "Q8_0"],
  [10, "Q2_K"],
  [11, "Q3_K"],
  [12, "Q4_K"],
  [13, "Q5_K"],
  [14, "Q6_K"],
  [20, "IQ4_NL"],
  [23, "IQ4_XS"],
  [24, "I8"],
  [26, "I32"],
  [27, "I64"],
  [28, "F64"],
  [30, "BF16"],
]);

/** Those we do not read, by the names that files of them bear. */
const otherTypes: ReadonlyMap<number, string> = new Map([
  [9, "Q8_1"],
  [15, "Q8_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [25, "I16"],
  [29, "IQ1_M"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [39, "MXFP4"],
]);

/**
 * Opens a file, or all parts of one that was split: any of them names them all. Errors: `unavailable` when a part cannot be opened,
 * `bad_file` when a header is unsound or parts do not belong together.
 */
export async function openGguf(path: string): Promise<GgufSource> {
  const first = await openPart(path);
  const count = first.metadata["split.count"] ?? 1;
  if (count === 0 || count === 1) return sourceOf(path, [first]);
  await first.file.handle.close();
  const parts: GgufPart[] = [];
  try {
    for (const name of partNames(path, count)) {
      const part = await openPart(name);
      parts.push(part);
      const { "split.count": counted, "split.no": number } = part.metadata;
      ensure(
        counted === count && number === parts.length - 1,
        "bad_file",
        `${name} says it is part ${shown(number)} of ${shown(counted)}, counted from 0; its name says part ${parts.length - 1} of ${count}`,
      );
    }
    return sourceOf(parts[0].file.path, parts);
  } catch (error) {
    await Promise.all(parts.map(({ file }) => file.handle.close()));
    throw error;
  }
}

interface GgufPart {
  file: WeightFile;
  tensors: ReadonlyMap<string, TensorLocation>;
  metadata: Readonly<Record<string, unknown>>;
}

function openPart(path: string): Promise<GgufPart> {
  return withOpenFile(path, async (file) => {
    await checkPreamble(file);
    const header = await parseHeader(file);
    const metadata = plainMetadata(file.path, header.metadata);
    return { file, tensors: locateTensors(file, header, alignmentOf(path, metadata)), metadata };
  });
}

/** The end of a part's name: its number, from 1, and how many there are. */
export const partEnding = /-(\d{5})-of-(\d{5})\.gguf$/;
const mostParts = 2000;

function partNames(path: string, count: unknown): string[] {
  const [ending, , total] = partEnding.exec(path) ?? [];
  ensure(
    ending !== undefined && Number(total) === count && Number(total) <= mostParts,
    "bad_file",
    `${path} is one part of ${shown(count)}, and its name does not end as those of parts do (-00001-of-${String(count).slice(0, 9).padStart(5, "0")}.gguf)`,
  );
  const stem = path.slice(0, -ending.length);
  return Array.from({ length: Number(total) }, (_, i) => `${stem}-${String(i + 1).padStart(5, "0")}-of-${total}.gguf`);
}

/** The header of the first part is that of all. */
function sourceOf(origin: string, parts: readonly GgufPart[]): GgufSource {
  const tensors = new Map<string, TensorLocation>();
  for (const part of parts) {
    for (const [name, tensor] of part.tensors) {
      ensure(!tensors.has(name), "bad_file", `${part.file.path}: tensor ${name} is in an earlier part, too`);
      tensors.set(name, tensor);
    }
  }
  const [{ metadata }] = parts;
  const stated = metadata["split.tensors.count"];
  ensure(
    stated === undefined || parts.length === 1 || stated === tensors.size,
    "bad_file",
    `${origin}: the parts hold ${tensors.size} tensors, and should hold ${shown(stated)}`,
  );
  const files = parts.map(({ file }) => file);
  return { ...fileWeightSource(origin, tensors, files), metadata };
}

/** Large models have a few thousand; the parser itself would go up to ten million. */
const maximumTensors = 100_000;

/** Smallest encodings: a key with a one-byte value, and a tensor without name or dimensions. */
const [leastPairBytes, leastTensorBytes] = [8 + 4 + 1, 8 + 4 + 4 + 8];

/** Refuses foreign files and counts that the file cannot hold, before the parser loops over them. */
async function checkPreamble(file: WeightFile): Promise<void> {
  const { path, size } = file;
  ensure(size >= 24, "bad_file", `${path} has ${size} bytes, too few for a GGUF file`);
  const view = new DataView((await readRange(file, 0, 24, "the header")).buffer);
  ensure(
    view.getUint32(0, false) === 0x47475546,
    "bad_file",
    `${path} is not a GGUF file: it does not start with "GGUF"`,
  );
  const version = view.getUint32(4, true);
  // Version 1 had 32-bit sizes and lived for weeks; a big-endian file shows its version in the upper bytes.
  ensure(
    version === 2 || version === 3,
    "bad_file",
    `${path}: GGUF version ${version} is not supported (2 and 3, little-endian, are)`,
  );
  const [tensors, pairs] = [Number(view.getBigUint64(8, true)), Number(view.getBigUint64(16, true))];
  ensure(
    tensors <= maximumTensors,
    "bad_file",
    `${path}: the header counts ${tensors} tensors, more than ${maximumTensors}`,
  );
  const leastBytes = tensors * leastTensorBytes + pairs * leastPairBytes;
  ensure(
    leastBytes <= size,
    "bad_file",
    `${path}: the header counts more tensors and keys than the file can hold; truncated?`,
  );
}

/** The parser asks for the next piece when fewer bytes than this are left in front of it. */
const parserLeeway = 500_000;

async function parseHeader(file: WeightFile) {
  // Loaded when needed: it is large, and most checkpoints are safetensors.
  const { gguf } = await import("@huggingface/gguf");
  const fetchRange = async (_: unknown, init: { headers: Record<string, string> }): Promise<Response> => {
    const range = /bytes=(\d+)-(\d+)/.exec(init.headers.Range)!;
    const [begin, end] = [Number(range[1]), Number(range[2]) + 1];
    // Beyond the end the parser would go on over zeros.
    ensure(
      begin < file.size + parserLeeway,
      "bad_file",
      `${file.path}: the header goes on beyond the end of the file; truncated?`,
    );
    const from = Math.min(begin, file.size);
    return new Response(await readRange(file, from, Math.min(end, file.size) - from, "the header"));
  };
  try {
    // Its local-file mode neither stops at the end nor accepts an open file; a remote file with our fetch does both.
    const header = await gguf("http://file.invalid/", { fetch: fetchRange as unknown as typeof fetch });
    ensure(
      header.tensorInfoByteRange[1] <= file.size,
      "bad_file",
      `${file.path}: the header ends beyond the end of the file; truncated?`,
    );
    return header;
  } catch (error) {
    if (error instanceof VentrisError) throw error;
    throw new VentrisError("bad_file", `${file.path}: unsound GGUF header: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

type Header = Awaited<ReturnType<typeof parseHeader>>;

/** What the parser adds to the file's own keys. */
const parserKeys = ["version", "tensor_count", "kv_count"];

function plainMetadata(path: string, parsed: Header["metadata"]): Record<string, unknown> {
  const pairs = Object.entries(parsed).filter(([key]) => !parserKeys.includes(key));
  ensure(
    pairs.length === Number(parsed.kv_count),
    "bad_file",
    `${path}: the header gives a key twice, or one that is reserved`,
  );
  return Object.fromEntries(pairs.map(([key, value]) => [key, plainValue(value)]));
}

function plainValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainValue);
  return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function alignmentOf(path: string, metadata: Record<string, unknown>): number {
  const alignment = metadata["general.alignment"] ?? 32;
  const isPowerOfTwo =
    typeof alignment === "number" && alignment >= 1 && alignment <= 2 ** 20 && Number.isInteger(Math.log2(alignment));
  ensure(isPowerOfTwo, "bad_file", `${path}: general.alignment must be a power of two, not ${alignment}`);
  return alignment;
}

/** Places of all tensors; they must tile the file after the header, apart from padding to the alignment. */
function locateTensors(file: WeightFile, header: Header, alignment: number): Map<string, TensorLocation> {
  const tensors = new Map<string, TensorLocation>();
  const dataStart = Number(header.tensorDataOffset);
  for (const { name, dtype, shape: reversed, offset: relative } of header.tensorInfos) {
    checkTensorName(file.path, name);
    const where = `${file.path}: tensor ${name}`;
    const type = typeNumbers.get(dtype);
    ensure(
      type,
      "bad_file",
      `${where}: ggml type ${otherTypes.get(dtype) ?? dtype} is not supported (${[...typeNumbers.values()].join(", ")} are)`,
    );
    const shape = reversed.map(Number).reverse();
    const length = tensorBytes(type, shape);
    ensure(length !== undefined, "bad_file", `${where}: unsound shape [${shape}] for ${type}`);
    const offset = dataStart + Number(relative);
    ensure(
      offset + length <= file.size,
      "bad_file",
      `${where} ends at byte ${offset + length}, but the file has ${file.size}; truncated?`,
    );
    ensure(offset % alignment === 0, "bad_file", `${where}: offset ${relative} is not a multiple of ${alignment}`);
    ensure(!tensors.has(name), "bad_file", `${where} is there twice`);
    tensors.set(name, { name, type, shape, blocks: blocksOfType(type, shape), file, offset, length });
  }
  let end = dataStart;
  for (const { name, offset, length } of [...tensors.values()].sort(
    (a, b) => a.offset - b.offset || a.length - b.length,
  )) {
    ensure(offset >= end, "bad_file", `${file.path}: tensor ${name} overlaps the one before it`);
    ensure(
      offset - end < alignment,
      "bad_file",
      `${file.path}: ${offset - end} bytes before tensor ${name} belong to no tensor`,
    );
    end = offset + length;
  }
  ensure(
    file.size - end < alignment,
    "bad_file",
    `${file.path}: the last ${file.size - end} bytes belong to no tensor`,
  );
  return tensors;
}
