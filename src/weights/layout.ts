/** How many bytes each weight type takes, and how stored bytes become float32. Hosts are taken to be little-endian, as the files are. */
import { ensure, VentrisError } from "../errors.ts";
import { blockLayouts, dequantizeBlocks } from "./gguf-blocks.ts";
import { bfloat16ToFloat32, float16ToFloat32 } from "./half.ts";
import type { WeightType } from "./source.ts";

/** Elements that are stored together, and the bytes they take. */
export const blockLayout: Readonly<Record<WeightType, { elements: number; bytes: number }>> = {
  F64: { elements: 1, bytes: 8 },
  F32: { elements: 1, bytes: 4 },
  F16: { elements: 1, bytes: 2 },
  BF16: { elements: 1, bytes: 2 },
  I64: { elements: 1, bytes: 8 },
  I32: { elements: 1, bytes: 4 },
  I8: { elements: 1, bytes: 1 },
  U8: { elements: 1, bytes: 1 },
  BOOL: { elements: 1, bytes: 1 },
  ...blockLayouts,
};

/** Real names have some fifty characters. Names are compared, sorted and shown: a file must not choose how long that takes. */
const longestTensorName = 1024;

/** Errors: `bad_file` for a name that no checkpoint would have. */
export function checkTensorName(path: string, name: string): void {
  ensure(
    name.length <= longestTensorName,
    "bad_file",
    () => `${path}: a tensor name of ${name.length} characters, more than ${longestTensorName}`,
  );
}

/** Product of the dimensions; undefined when one is not a count or the product is beyond exact integers. */
export function elementCount(shape: readonly unknown[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
    count *= size;
  }
  return Number.isSafeInteger(count) ? count : undefined;
}

/** Bytes of a tensor, or undefined when the shape is unsound or its rows are not whole blocks. */
export function tensorBytes(type: WeightType, shape: readonly number[]): number | undefined {
  const { elements, bytes } = blockLayout[type];
  const count = elementCount(shape);
  if (count === undefined || (elements > 1 && (shape.at(-1) ?? 1) % elements !== 0)) return undefined;
  const total = (count / elements) * bytes;
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Values of stored bytes (whole blocks, in a buffer of their own or aligned in it). Integers beyond 2^24 round as float32 does. */
export function toFloat32(type: WeightType, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { buffer, byteOffset } = bytes;
  const count = bytes.byteLength / blockLayout[type].bytes;
  switch (type) {
    case "F32":
      return new Float32Array(buffer, byteOffset, count);
    case "F16":
      return float16ToFloat32(new Uint16Array(buffer, byteOffset, count));
    case "BF16":
      return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, count));
    case "F64":
      return Float32Array.from(new Float64Array(buffer, byteOffset, count));
    case "I64":
      return Float32Array.from(new BigInt64Array(buffer, byteOffset, count), Number);
    case "I32":
      return Float32Array.from(new Int32Array(buffer, byteOffset, count));
    case "I8":
      return Float32Array.from(new Int8Array(buffer, byteOffset, count));
    case "U8":
    case "BOOL":
      return Float32Array.from(bytes);
    default:
      return dequantizeBlocks(type, bytes);
  }
}

/** Refuses NaN and infinities; `where` names file and tensor. */
export function requireFinite(values: Float32Array, where: string): void {
  // 0 * x is NaN exactly for NaN and the infinities, so one sum without branches tells whether any is there.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += 0 * values[i];
  if (sum === 0) return;
  const index = values.findIndex((value) => !Number.isFinite(value));
  throw new VentrisError("bad_file", `${where}: element ${index} is ${values[index]}; weights must be finite`);
}
