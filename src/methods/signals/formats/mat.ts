/**
 * MATLAB's level-5 .mat files (versions 5 to 7): numbers, text, cells and structs, packed or not. Version 7.3 is HDF5 and read elsewhere.
 * What a header claims is checked against the bytes that are there before anything is made of it.
 */
import { inflateSync } from "node:zlib";
import { ensure, VentrisError } from "../../../errors.ts";
import { latin1, maximumBytes } from "./bytes.ts";
import { isHdf5 } from "./hdf5.ts";

export type MatValue = MatNumbers | MatText | MatCells | MatStructs;

export interface MatNumbers {
  readonly kind: "numbers";
  readonly shape: readonly number[];
  /** Column-major, as MATLAB keeps it. */
  readonly data: Float64Array;
}

export interface MatText {
  readonly kind: "text";
  readonly text: string;
}

export interface MatCells {
  readonly kind: "cells";
  readonly shape: readonly number[];
  readonly values: readonly MatValue[];
}

export interface MatStructs {
  readonly kind: "structs";
  readonly shape: readonly number[];
  readonly values: readonly Readonly<Record<string, MatValue>>[];
}

const maximumDepth = 32;
const maximumDimensions = 16;
/** Of a file: values, as double precision, and arrays, each of which takes some hundred bytes here and may take eight there. */
const mostValues = 2 ** 27;
const mostArrays = 2 ** 22;
const longestText = 2 ** 24;
const nothing: MatNumbers = { kind: "numbers", shape: [0, 0], data: new Float64Array(0) };

interface Reader {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly little: boolean;
  readonly origin: string;
  /** What the file may still become: bytes that packed parts grow to, values, arrays. */
  readonly budget: { bytes: number; values: number; arrays: number };
}

interface Element {
  readonly type: number;
  readonly from: number;
  readonly length: number;
  /** Where the next element begins. */
  readonly next: number;
}

/** The variables of a file by name. Errors: `bad_file`, for version 7.3 as well. */
export function readMat(bytes: Uint8Array, origin: string): Map<string, MatValue> {
  if (isHdf5(bytes)) {
    throw new VentrisError(
      "bad_file",
      `${origin} is a MATLAB file of version 7.3, which is HDF5: it is read through the package h5wasm, not here`,
    );
  }
  ensure(
    bytes.length >= 128 && latin1(bytes.subarray(0, 6)) === "MATLAB",
    "bad_file",
    `${origin} is not a MATLAB file of level 5`,
  );
  const mark = latin1(bytes.subarray(126, 128));
  ensure(mark === "IM" || mark === "MI", "bad_file", `${origin}: its byte order ${JSON.stringify(mark)} is not known`);
  const reader = readerOf(bytes, mark === "IM", origin, {
    bytes: maximumBytes,
    values: mostValues,
    arrays: mostArrays,
  });
  const variables = new Map<string, MatValue>();
  for (let at = 128; at < bytes.length; ) {
    const element = readElement(reader, at, bytes.length);
    if (element.type === 15) {
      const inner = unpack(reader, element);
      const { name, value } = readMatrix(inner, readElement(inner, 0, inner.bytes.length), 0);
      variables.set(name, value);
    } else if (element.type === 14) {
      const { name, value } = readMatrix(reader, element, 0);
      variables.set(name, value);
    }
    at = element.next;
  }
  return variables;
}

const readerOf = (bytes: Uint8Array, little: boolean, origin: string, budget: Reader["budget"]): Reader => ({
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  bytes,
  little,
  origin,
  budget,
});

function unpack(reader: Reader, { from, length }: Element): Reader {
  const { bytes, little, origin, budget } = reader;
  let inner: Uint8Array;
  try {
    inner = inflateSync(bytes.subarray(from, from + length), { maxOutputLength: Math.max(1, budget.bytes) });
  } catch (cause) {
    throw new VentrisError("bad_file", `${origin}: a packed variable cannot be unpacked: ${(cause as Error).message}`, {
      cause,
    });
  }
  budget.bytes -= inner.length;
  return readerOf(inner, little, origin, budget);
}

/** Tag and bounds of the element at an offset, which must end before `end`. */
function readElement({ view, little, origin }: Reader, at: number, end: number): Element {
  ensure(at + 8 <= end, "bad_file", `${origin}: an element at byte ${at} is cut off`);
  const first = view.getUint32(at, little);
  if (first >>> 16 !== 0) {
    const length = first >>> 16;
    ensure(length <= 4, "bad_file", `${origin}: a small element at byte ${at} claims ${length} bytes`);
    return { type: first & 0xffff, from: at + 4, length, next: at + 8 };
  }
  const length = view.getUint32(at + 4, little);
  const from = at + 8;
  ensure(
    from + length <= end,
    "bad_file",
    `${origin}: an element at byte ${at} claims ${length} bytes, but ${end - from} are left; truncated?`,
  );
  // Packed variables are not padded.
  return {
    type: first,
    from,
    length,
    next: Math.min(end, first === 15 ? from + length : from + Math.ceil(length / 8) * 8),
  };
}

const widths: Record<number, number> = {
  1: 1,
  2: 1,
  3: 2,
  4: 2,
  5: 4,
  6: 4,
  7: 4,
  9: 8,
  12: 8,
  13: 8,
  16: 1,
  17: 2,
  18: 4,
};

function readNumbers({ view, little, origin, budget }: Reader, { type, from, length }: Element): Float64Array {
  const width = widths[type];
  ensure(
    width !== undefined && length % width === 0,
    "bad_file",
    `${origin}: numbers of type ${type} in ${length} bytes are not known`,
  );
  const count = length / width;
  ensure(count <= budget.values, "bad_file", `${origin} has more than ${mostValues} values`);
  budget.values -= count;
  const readers: Record<number, (at: number) => number> = {
    1: (at) => view.getInt8(at),
    2: (at) => view.getUint8(at),
    3: (at) => view.getInt16(at, little),
    4: (at) => view.getUint16(at, little),
    5: (at) => view.getInt32(at, little),
    6: (at) => view.getUint32(at, little),
    7: (at) => view.getFloat32(at, little),
    9: (at) => view.getFloat64(at, little),
    12: (at) => Number(view.getBigInt64(at, little)),
    13: (at) => Number(view.getBigUint64(at, little)),
    16: (at) => view.getUint8(at),
    17: (at) => view.getUint16(at, little),
    18: (at) => view.getUint32(at, little),
  };
  const read = readers[type];
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = read(from + i * width);
  return values;
}

function readMatrix(reader: Reader, element: Element, depth: number): { name: string; value: MatValue } {
  const { origin, bytes, budget } = reader;
  ensure(budget.arrays-- > 0, "bad_file", `${origin} has more than ${mostArrays} arrays`);
  ensure(element.type === 14, "bad_file", `${origin}: an element of type ${element.type} stands where a matrix should`);
  ensure(depth <= maximumDepth, "bad_file", `${origin}: structs and cells nest deeper than ${maximumDepth}`);
  if (element.length === 0) return { name: "", value: nothing };
  const end = element.from + element.length;
  let at = element.from;
  const take = (): Element => {
    const part = readElement(reader, at, end);
    at = part.next;
    return part;
  };
  const flags = readNumbers(reader, take());
  const kind = flags[0] & 0xff;
  const complex = (flags[0] & 0x0800) !== 0;
  const shape = [...readNumbers(reader, take())];
  const count = shape.reduce((a, b) => a * b, 1);
  ensure(
    shape.length <= maximumDimensions &&
      shape.every((n) => Number.isInteger(n) && n >= 0) &&
      Number.isSafeInteger(count),
    "bad_file",
    `${origin}: a matrix has the dimensions [${shape.slice(0, 20)}]`,
  );
  const nameElement = take();
  const name = latin1(bytes.subarray(nameElement.from, nameElement.from + nameElement.length));
  // Every cell and every field takes eight bytes at least.
  const fits = (parts: number) =>
    ensure(
      parts * 8 <= end - at,
      "bad_file",
      `${origin}: ${name || "a variable"} claims ${parts} parts in ${end - at} bytes`,
    );
  if (kind === 1) {
    fits(count);
    return {
      name,
      value: {
        kind: "cells",
        shape,
        values: Array.from({ length: count }, () => readMatrix(reader, take(), depth + 1).value),
      },
    };
  }
  if (kind === 2) {
    const [width] = readNumbers(reader, take());
    const fields = take();
    ensure(
      width >= 1 && width <= 256 && fields.length % width === 0,
      "bad_file",
      `${origin}: the field names of ${name || "a struct"} are unsound`,
    );
    const names = Array.from({ length: fields.length / width }, (_, i) =>
      latin1(bytes.subarray(fields.from + i * width, fields.from + (i + 1) * width)).replace(/\0.*$/s, ""),
    );
    fits(count * names.length);
    const values = Array.from({ length: names.length === 0 ? 0 : count }, () =>
      Object.fromEntries(names.map((field) => [field, readMatrix(reader, take(), depth + 1).value])),
    );
    return { name, value: { kind: "structs", shape, values } };
  }
  if (kind === 4) {
    const part = take();
    ensure(
      part.length <= longestText,
      "bad_file",
      `${origin}: ${name || "a text"} has ${part.length} bytes of text, more than ${longestText}`,
    );
    const utf8 = part.type === 16;
    const text = utf8
      ? Buffer.from(bytes.subarray(part.from, part.from + part.length)).toString("utf8")
      : Array.from(readNumbers(reader, part), (code) => String.fromCharCode(code)).join("");
    return { name, value: { kind: "text", text } };
  }
  ensure(
    kind >= 6 && kind <= 15,
    "bad_file",
    `${origin}: ${name || "a variable"} is of class ${kind}; numbers, text, cells and structs are read`,
  );
  ensure(!complex, "bad_file", `${origin}: ${name || "a variable"} holds complex numbers`);
  const data = readNumbers(reader, take());
  ensure(data.length === count, "bad_file", `${origin}: ${name || "a matrix"} [${shape}] holds ${data.length} numbers`);
  return { name, value: { kind: "numbers", shape, data } };
}

/** Writes variables as level 5, not packed. For tests and exchange. */
export function writeMat(variables: Readonly<Record<string, MatValue>>): Uint8Array {
  const header = Buffer.alloc(128, " ");
  header.write("MATLAB 5.0 MAT-file, written by ventris");
  header.writeUInt16LE(0x0100, 124);
  header.write("IM", 126);
  return Buffer.concat([header, ...Object.entries(variables).map(([name, value]) => matrixBytes(name, value))]);
}

function elementBytes(type: number, content: Uint8Array): Buffer {
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(type, 0);
  tag.writeUInt32LE(content.length, 4);
  return Buffer.concat([tag, content, Buffer.alloc((8 - (content.length % 8)) % 8)]);
}

function matrixBytes(name: string, value: MatValue): Buffer {
  const ints = (...values: number[]) => elementBytes(5, new Uint8Array(Int32Array.from(values).buffer));
  const shape = value.kind === "text" ? [1, value.text.length] : value.shape;
  const kind = { numbers: 6, text: 4, cells: 1, structs: 2 }[value.kind];
  const head = [
    elementBytes(6, new Uint8Array(Uint32Array.of(kind, 0).buffer)),
    ints(...shape),
    elementBytes(1, Buffer.from(name, "latin1")),
  ];
  const body: Buffer[] = [];
  if (value.kind === "numbers") body.push(elementBytes(9, new Uint8Array(Float64Array.from(value.data).buffer)));
  else if (value.kind === "text")
    body.push(elementBytes(4, new Uint8Array(Uint16Array.from(value.text, (c) => c.charCodeAt(0)).buffer)));
  else if (value.kind === "cells") body.push(...value.values.map((cell) => matrixBytes("", cell)));
  else {
    const names = Object.keys(value.values[0] ?? {});
    body.push(
      ints(32),
      elementBytes(1, Buffer.concat(names.map((field) => Buffer.from(field.padEnd(32, "\0"), "latin1")))),
    );
    for (const record of value.values) for (const field of names) body.push(matrixBytes("", record[field]));
  }
  return elementBytes(14, Buffer.concat([...head, ...body]));
}
