/** Writes small GGUF files (version 3, little-endian) with anything in them, sound or not. */
import type { WeightType } from "./source.ts";

export interface GgufTensor {
  name: string;
  /** ggml's number of the type. */
  type: number;
  /** Outermost first, as everywhere but in the file. */
  shape: readonly number[];
  bytes: Uint8Array;
  /** From the start of the data; default: after the tensor before, aligned to 32. */
  offset?: number;
}

export const ggmlTypes: Partial<Record<WeightType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8 };

type Value =
  | number
  | string
  | boolean
  | readonly string[]
  | { uint64: bigint }
  | { float32s: readonly number[] }
  | { int32s: readonly number[] };

export type GgufMetadata = Readonly<Record<string, Value>>;

export function ggufBytes(metadata: GgufMetadata, tensors: readonly GgufTensor[]): Buffer {
  const parts: Buffer[] = [];
  const u32 = (value: number) => parts.push(Buffer.from(Uint32Array.of(value).buffer));
  const u64 = (value: number | bigint) => parts.push(Buffer.from(BigUint64Array.of(BigInt(value)).buffer));
  const text = (value: string) => {
    u64(Buffer.byteLength(value));
    parts.push(Buffer.from(value));
  };
  parts.push(Buffer.from("GGUF"));
  u32(3);
  u64(tensors.length);
  u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    text(key);
    if (typeof value === "string") {
      u32(8);
      text(value);
    } else if (typeof value === "boolean") {
      u32(7);
      parts.push(Buffer.of(value ? 1 : 0));
    } else if (typeof value === "number" && Number.isInteger(value)) {
      u32(4);
      u32(value);
    } else if (typeof value === "number") {
      u32(6);
      parts.push(Buffer.from(Float32Array.of(value).buffer));
    } else if ("uint64" in value) {
      u32(10);
      u64(value.uint64);
    } else if ("float32s" in value || "int32s" in value) {
      const data = "float32s" in value ? Float32Array.from(value.float32s) : Int32Array.from(value.int32s);
      u32(9);
      u32("float32s" in value ? 6 : 5);
      u64(data.length);
      parts.push(Buffer.from(data.buffer));
    } else {
      u32(9);
      u32(8);
      u64(value.length);
      value.forEach(text);
    }
  }
  let end = 0;
  const placed = tensors.map((tensor) => {
    const offset = tensor.offset ?? Math.ceil(end / 32) * 32;
    end = offset + tensor.bytes.length;
    return { ...tensor, offset };
  });
  for (const { name, type, shape, offset } of placed) {
    text(name);
    u32(shape.length);
    for (const size of [...shape].reverse()) u64(size);
    u32(type);
    u64(offset);
  }
  const header = Buffer.concat(parts);
  const dataStart = Math.ceil(header.length / 32) * 32;
  const result = Buffer.alloc(dataStart + Math.max(0, ...placed.map(({ offset, bytes }) => offset + bytes.length)));
  header.copy(result);
  for (const { offset, bytes } of placed) result.set(bytes, dataStart + offset);
  return result;
}
