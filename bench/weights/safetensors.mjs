/** Safetensors, just enough for benchmarks: single file, F32 / F16 / BF16, written and read a piece at a time. */
import { closeSync, openSync, readSync, renameSync, writeSync } from "node:fs";
import { halves } from "./blocks.mjs";

const width = { F32: 4, F16: 2, BF16: 2 };

/** @typedef {keyof typeof width} StoredType */
/** @typedef {{ dtype: StoredType, shape: number[], data_offsets: [number, number] }} Entry */

/**
 * @param {string} path
 * @param {readonly { name: string, shape: number[] }[]} tensors
 * @param {StoredType | ((tensor: { name: string, shape: number[] }) => StoredType)} dtype of all of them, or of each
 * @param {(tensor: { name: string, shape: number[] }) => Iterable<Uint8Array>} pieces the tensor's bytes in order
 */
export function writeSafetensors(path, tensors, dtype, pieces) {
  let offset = 0;
  const typeOf = typeof dtype === "function" ? dtype : () => dtype;
  const entries = tensors.map(({ name, shape }) => {
    const start = offset;
    const type = typeOf({ name, shape });
    offset += shape.reduce((a, b) => a * b, 1) * width[type];
    return [name, { dtype: type, shape, data_offsets: [start, offset] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8)); // data begins on a multiple of 8 bytes
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFile(path, function* () {
    yield length;
    yield header;
    for (const tensor of tensors) yield* pieces(tensor);
  });
}

/** Writes to a temporary name first, so that an interrupted run leaves no half a file behind. @param {string} path @param {() => Iterable<Uint8Array>} pieces */
export function writeFile(path, pieces) {
  const file = openSync(`${path}.part`, "w");
  try {
    for (const piece of pieces()) {
      for (let done = 0; done < piece.length; ) done += writeSync(file, piece, done, piece.length - done);
    }
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.part`, path);
}

/** @param {string} path */
export function openSafetensors(path) {
  const file = openSync(path, "r");
  const headerLength = Number(read(file, 0, 8).readBigUInt64LE());
  /** @type {Record<string, Entry>} */
  const tensors = JSON.parse(read(file, 8, headerLength).toString());
  return {
    tensors,
    /**
     * Rows first … first + count of a matrix (or of a vector, with rows of one value) as float32.
     * @param {string} name @param {number} first @param {number} count
     */
    readRows(name, first, count) {
      const { dtype, shape, data_offsets: offsets } = tensors[name];
      const columns = shape.slice(1).reduce((a, b) => a * b, 1);
      const bytes = read(
        file,
        8 + headerLength + offsets[0] + first * columns * width[dtype],
        count * columns * width[dtype],
      );
      return toFloat32(bytes, dtype);
    },
    close: () => closeSync(file),
  };
}

/** @param {number} file @param {number} position @param {number} length */
function read(file, position, length) {
  const bytes = Buffer.from(new ArrayBuffer(length)); // its own buffer, so that typed arrays over it are aligned
  for (let done = 0; done < length; ) {
    const count = readSync(file, bytes, done, length - done, position + done);
    if (count === 0) throw new Error("the safetensors file ends early");
    done += count;
  }
  return bytes;
}

/** @param {Buffer} bytes @param {StoredType} dtype */
function toFloat32(bytes, dtype) {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  const stored = new Uint16Array(bytes.buffer);
  const values = new Float32Array(stored.length);
  if (dtype === "F16") {
    for (let i = 0; i < stored.length; i++) values[i] = halves[stored[i]];
  } else if (dtype === "BF16") {
    const pattern = new Uint32Array(values.buffer);
    for (let i = 0; i < stored.length; i++) pattern[i] = stored[i] << 16;
  } else {
    throw new Error(`the benchmarks' reader does not know ${dtype}`);
  }
  return values;
}
