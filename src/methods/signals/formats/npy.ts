/** NumPy's arrays: .npy (versions 1 to 3) and .npz, a zip archive of them, stored or deflated. */
import { inflateRawSync } from "node:zlib";
import { ensure, VentrisError } from "../../../errors.ts";
import { latin1, maximumBytes } from "./bytes.ts";

export interface NumericArray {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float64Array;
}

const readers: Record<string, [bytes: number, read: (view: DataView, at: number, little: boolean) => number]> = {
  f4: [4, (view, at, little) => view.getFloat32(at, little)],
  f8: [8, (view, at, little) => view.getFloat64(at, little)],
  i1: [1, (view, at) => view.getInt8(at)],
  i2: [2, (view, at, little) => view.getInt16(at, little)],
  i4: [4, (view, at, little) => view.getInt32(at, little)],
  i8: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  u1: [1, (view, at) => view.getUint8(at)],
  u2: [2, (view, at, little) => view.getUint16(at, little)],
  u4: [4, (view, at, little) => view.getUint32(at, little)],
  u8: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
  b1: [1, (view, at) => view.getUint8(at)],
};

/** Errors: `bad_file` for unsound headers, and for types that are not numbers. */
export function readNpy(bytes: Uint8Array, origin: string): NumericArray {
  ensure(
    bytes.length >= 10 && latin1(bytes.subarray(0, 6)) === "\x93NUMPY",
    "bad_file",
    `${origin} is not a NumPy array`,
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6];
  ensure(version >= 1 && version <= 3, "bad_file", `${origin}: version ${version} of the NumPy format is not known`);
  const start = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  ensure(
    start + length <= bytes.length && length < 1e6,
    "bad_file",
    `${origin}: its header of ${length} bytes does not fit; truncated?`,
  );
  const header = latin1(bytes.subarray(start, start + length));
  const type = /'descr'\s*:\s*'([<>|=])([fiub]\d)'/.exec(header);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header);
  const shapeText = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(header);
  ensure(
    type && Object.hasOwn(readers, type[2]) && order && shapeText,
    "bad_file",
    `${origin}: its header ${JSON.stringify(header.trim().slice(0, 120))} is not that of an array of a type that is read (${Object.keys(readers).join(" ")})`,
  );
  const shape = shapeText[1]
    .split(",")
    .map((d) => d.trim())
    .filter((d) => d !== "")
    .map(Number);
  const size = shape.reduce((a, b) => a * b, 1);
  const [width, read] = readers[type[2]];
  const offset = start + length;
  ensure(
    Number.isSafeInteger(size) && size * width === bytes.length - offset,
    "bad_file",
    `${origin}: an array [${shape}] of ${type[2]} needs ${size * width} bytes, but there are ${bytes.length - offset}`,
  );
  const little = type[1] !== ">";
  const data = new Float64Array(size);
  if (order[1] === "False") {
    for (let i = 0; i < size; i++) data[i] = read(view, offset + i * width, little);
  } else {
    ensure(
      shape.length <= 2,
      "bad_file",
      `${origin}: arrays of ${shape.length} dimensions in Fortran order are not read`,
    );
    const [rows, columns = 1] = shape;
    for (let c = 0, i = 0; c < columns; c++)
      for (let r = 0; r < rows; r++, i++) data[r * columns + c] = read(view, offset + i * width, little);
  }
  return { shape, data };
}

/** The arrays of an archive by name, unpacked when asked for. Errors: `bad_file`. */
export function openNpz(bytes: Uint8Array, origin: string): ReadonlyMap<string, () => NumericArray> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  const earliest = Math.max(0, end - 65_535);
  while (end >= earliest && view.getUint32(end, true) !== 0x06054b50) end--;
  ensure(end >= earliest && end >= 0, "bad_file", `${origin} is not a zip archive, or its end is missing`);
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const arrays = new Map<string, () => NumericArray>();
  for (let i = 0; i < count; i++) {
    ensure(
      at + 46 <= bytes.length && view.getUint32(at, true) === 0x02014b50,
      "bad_file",
      `${origin}: the directory of the archive is damaged at entry ${i + 1}`,
    );
    const [method, packed, unpacked] = [
      view.getUint16(at + 10, true),
      view.getUint32(at + 20, true),
      view.getUint32(at + 24, true),
    ];
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((k) => view.getUint16(at + k, true));
    const local = view.getUint32(at + 42, true);
    const name = latin1(bytes.subarray(at + 46, at + 46 + nameLength));
    ensure(packed !== 0xffffffff && unpacked !== 0xffffffff, "bad_file", `${origin}: ${name} is larger than 4 GB`);
    arrays.set(name.replace(/\.npy$/, ""), () =>
      readNpy(unpack(local, method, packed, unpacked, name), `${origin}#${name}`),
    );
    at += 46 + nameLength + extraLength + commentLength;
  }
  function unpack(local: number, method: number, packed: number, unpacked: number, name: string): Uint8Array {
    ensure(
      local + 30 <= bytes.length && view.getUint32(local, true) === 0x04034b50,
      "bad_file",
      `${origin}: ${name} is not where the directory says`,
    );
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    ensure(from + packed <= bytes.length, "bad_file", `${origin}: ${name} is cut off`);
    const part = bytes.subarray(from, from + packed);
    ensure(
      method === 0 || method === 8,
      "bad_file",
      `${origin}: ${name} is packed by method ${method}; stored and deflated entries are read`,
    );
    ensure(
      unpacked <= maximumBytes,
      "bad_file",
      `${origin}: ${name} unpacks to ${unpacked} bytes, more than ${maximumBytes}`,
    );
    if (method === 0) return part;
    try {
      return inflateRawSync(part, { maxOutputLength: Math.max(1, unpacked) });
    } catch (cause) {
      throw new VentrisError("bad_file", `${origin}: ${name} cannot be unpacked: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
  return arrays;
}

/** Writes a matrix as .npy, version 1, float64. */
export function writeNpy({ shape, data }: NumericArray): Uint8Array {
  const text = `{'descr': '<f8', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const length = Math.ceil((text.length + 11) / 64) * 64 - 10;
  const out = new Uint8Array(10 + length + data.byteLength);
  out.set(Buffer.from("\x93NUMPY\x01\x00", "latin1"));
  new DataView(out.buffer).setUint16(8, length, true);
  out.set(Buffer.from(`${text.padEnd(length - 1)}\n`, "latin1"), 10);
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + length);
  return out;
}
