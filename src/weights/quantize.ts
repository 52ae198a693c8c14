/** Matrices in blocks of 4- or 8-bit codes with one scale each, as ONNX Runtime's MatMulNBits multiplies them. */

import { ensure } from "../errors.ts";
import { requireCounts } from "../numbers.ts";
import type { BlockFormat } from "../tensor/index.ts";
import { float16Value } from "./half.ts";
import { requireFinite } from "./layout.ts";
import type { QuantizedMatrix, WeightSource, WeightType } from "./source.ts";

/**
 * The blocks that matrices are quantised to. A product at one row is limited by the bytes it reads: codes, and for each block
 * a float32 scale and a float32 sum that the runtime adds, 5 bits a weight with 4-bit codes in blocks of 64 and 6 in blocks of
 * 32. The zero point wins back the precision that the larger block costs.
 */
export const ownFormats = {
  4: { bits: 4, blockSize: 64, zeroPoints: true },
  8: { bits: 8, blockSize: 64, zeroPoints: false },
} as const satisfies Record<4 | 8, BlockFormat>;

/** The blocks of GGUF types that are used as they are stored. */
export const ggufFormats = {
  Q4_0: { bits: 4, blockSize: 32, zeroPoints: false },
  Q8_0: { bits: 8, blockSize: 32, zeroPoints: false },
} as const satisfies Record<string, BlockFormat>;

/** The blocks that a stored type gives a tensor, if they can be used as they are. */
export const blocksOfType = (type: WeightType, shape: readonly number[]): BlockFormat | undefined =>
  shape.length === 2 ? (ggufFormats as Partial<Record<WeightType, BlockFormat>>)[type] : undefined;

/** Whether two block formats are one. */
export const sameFormat = (a: BlockFormat, b: BlockFormat): boolean =>
  a.bits === b.bits && a.blockSize === b.blockSize && a.zeroPoints === b.zeroPoints;

/** Blocks of a row; the last one may be partly filled, and is then padded with codes of zero. */
const blocksPerRow = (columns: number, { blockSize }: BlockFormat) => Math.ceil(columns / blockSize);

const blockBytes = ({ bits, blockSize }: BlockFormat) => (blockSize * bits) / 8;

/** Errors: `bad_option` for rows or columns that are no counts. */
const requireSize = (call: string, rows: number, columns: number): void =>
  requireCounts({ [`${call}: rows`]: rows, [`${call}: columns`]: columns });

/** Errors: `bad_option` for codes, scales or zero points that are not those of the matrix. */
function requireMatrix(call: string, matrix: QuantizedMatrix): void {
  const { rows, columns } = matrix;
  requireSize(call, rows, columns);
  const blocks = blocksPerRow(columns, matrix);
  const lengths = {
    packed: rows * blocks * blockBytes(matrix),
    scales: rows * blocks,
    zeros: matrix.zeroPoints ? rows * Math.ceil((blocks * matrix.bits) / 8) : 0,
  };
  for (const part of ["packed", "scales", "zeros"] as const)
    ensure(matrix[part].length === lengths[part], "bad_option", () => {
      return `${call}: ${part} has ${matrix[part].length} entries, and ${matrix.bits}-bit [${rows}, ${columns}] has ${lengths[part]}`;
    });
}

/**
 * Quantises a row-major matrix [rows, columns] to the nearest codes of `ownFormats`. Errors: `bad_option` for rows or columns that are no
 * counts, `bad_shape` for another number of values, `bad_file` for NaN and infinities.
 */
export function quantizeMatrix(values: Float32Array, rows: number, columns: number, bits: 4 | 8): QuantizedMatrix {
  requireSize("quantizeMatrix", rows, columns);
  ensure(
    values.length === rows * columns,
    "bad_shape",
    `quantizeMatrix: ${values.length} values are not [${rows}, ${columns}]`,
  );
  requireFinite(values, "quantizeMatrix");
  const result = emptyMatrix(rows, columns, ownFormats[bits]);
  const { blockSize, packed, scales, zeros } = result;
  const block = new Float32Array(blockSize);
  const blocks = blocksPerRow(columns, result);
  const zeroBytes = zeros.length / rows;
  for (let index = 0; index < rows * blocks; index++) {
    const row = Math.floor(index / blocks);
    const inRow = index % blocks;
    const from = inRow * blockSize;
    block.fill(0).set(values.subarray(row * columns + from, row * columns + Math.min(from + blockSize, columns)));
    const at = index * blockBytes(result);
    if (bits === 4) {
      const { scale, zero } = bestScale4(block);
      scales[index] = scale;
      zeros[row * zeroBytes + (inRow >> 1)] |= zero << ((inRow & 1) * 4);
      packCodes4(block, scales[index], zero, packed, at);
    } else {
      scales[index] = absoluteMaximum(block) / 127;
      packCodes8(block, scales[index], packed, at);
    }
  }
  return result;
}

export function emptyMatrix(rows: number, columns: number, format: BlockFormat): QuantizedMatrix {
  const { bits, blockSize, zeroPoints } = format;
  const blocks = blocksPerRow(columns, format);
  return {
    bits,
    blockSize,
    zeroPoints,
    rows,
    columns,
    packed: new Uint8Array(rows * blocks * blockBytes(format)),
    scales: new Float32Array(rows * blocks),
    zeros: new Uint8Array(zeroPoints ? rows * Math.ceil((blocks * bits) / 8) : 0),
  };
}

/** Codes are value / scale + zero, rounded and kept in range; a scale of 0 (all values 0) gives codes of zero. */
function packCodes4(block: Float32Array, scale: number, zero: number, packed: Uint8Array, at: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = 0; i < block.length; i += 2) {
    packed[at + (i >> 1)] = code4(block[i] * inverse + zero) | (code4(block[i + 1] * inverse + zero) << 4);
  }
}

/** x stays near 0 to 15, so that `| 0` is exact rounding down for all that is not clamped anyway. */
function code4(x: number): number {
  const code = (x + 0.5) | 0;
  return Math.max(0, Math.min(15, code));
}

function packCodes8(block: Float32Array, scale: number, packed: Uint8Array, at: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = 0; i < block.length; i++) {
    packed[at + i] = Math.min(255, Math.max(0, Math.floor(block[i] * inverse + 128.5)));
  }
}

function absoluteMaximum(block: Float32Array): number {
  let maximum = 0;
  for (let i = 0; i < block.length; i++) maximum = Math.max(maximum, Math.abs(block[i]));
  return maximum;
}

/**
 * Shares of a block's range that the codes are tried to cover; what lies beyond gets the outermost code. Thirteen shares from
 * 1.03 to 0.77 would leave another 1% less squared error, and more zero points another half.
 */
const rangeShares = [1, 0.95, 0.9, 0.85];

/**
 * The scale with the least squared error among a few candidates, and the zero point that puts the 16 codes over the block's
 * range, 0 included. For given codes c the best scale is sum(x q) / sum(q q) with q = c - zero, and the error it leaves is
 * sum(x x) - sum(x q)^2 / sum(q q).
 */
function bestScale4(block: Float32Array): { scale: number; zero: number } {
  let [lowest, highest] = [0, 0];
  for (let i = 0; i < block.length; i++) {
    lowest = Math.min(lowest, block[i]);
    highest = Math.max(highest, block[i]);
  }
  const range = highest - lowest;
  if (range === 0) return { scale: 0, zero: 8 };
  const zero = Math.round((-lowest * 15) / range);
  let scale = 0;
  let bestGain = -1;
  for (const share of rangeShares) {
    const inverse = 15 / (range * share);
    let products = 0;
    let squares = 0;
    for (let i = 0; i < block.length; i++) {
      const q = code4(block[i] * inverse + zero) - zero;
      products += block[i] * q;
      squares += q * q;
    }
    const gain = (products * products) / squares;
    if (gain > bestGain) [bestGain, scale] = [gain, products / squares];
  }
  return { scale, zero };
}

/** The values [rows, columns] that the codes stand for. Errors: `bad_option` for codes, scales or zero points of another size. */
export function dequantizeMatrix(matrix: QuantizedMatrix): Float32Array<ArrayBuffer> {
  requireMatrix("dequantizeMatrix", matrix);
  const { bits, blockSize, zeroPoints, rows, columns, packed, scales, zeros } = matrix;
  const result = new Float32Array(rows * columns);
  const blocks = blocksPerRow(columns, matrix);
  const zeroBytes = zeros.length / rows;
  const codeOf = (bytes: Uint8Array, from: number, i: number) =>
    bits === 8 ? bytes[from + i] : (bytes[from + (i >> 1)] >> ((i & 1) * 4)) & 15;
  for (let row = 0; row < rows; row++) {
    for (let inRow = 0; inRow < blocks; inRow++) {
      const block = row * blocks + inRow;
      const zero = zeroPoints ? codeOf(zeros, row * zeroBytes, inRow) : 2 ** (bits - 1);
      const from = inRow * blockSize;
      for (let i = 0; i < blockSize && from + i < columns; i++) {
        const code = codeOf(packed, block * blockBytes(matrix), i);
        result[row * columns + from + i] = (code - zero) * scales[block];
      }
    }
  }
  return result;
}

/**
 * The same numbers as GGUF's blocks of a matrix [rows, columns], in the other packing: no code changes. Columns must be
 * whole blocks, as GGUF itself demands. Errors: `bad_option` for rows or columns that are no counts; `bad_shape` where the bytes are not those of such a matrix.
 */
export function fromGgufBlocks(
  bytes: Uint8Array,
  type: "Q4_0" | "Q8_0",
  rows: number,
  columns: number,
): QuantizedMatrix {
  requireSize("fromGgufBlocks", rows, columns);
  const format = ggufFormats[type];
  const codeBytes = blockBytes(format);
  const storedBytes = 2 + codeBytes;
  const count = (rows * columns) / format.blockSize;
  const fits = columns % format.blockSize === 0 && bytes.length === count * storedBytes;
  ensure(fits, "bad_shape", `fromGgufBlocks: ${bytes.length} bytes are not ${type} [${rows}, ${columns}]`);
  const result = emptyMatrix(rows, columns, format);
  for (let block = 0; block < count; block++) {
    const from = block * storedBytes;
    result.scales[block] = float16Value(bytes[from] | (bytes[from + 1] << 8));
    const codes = bytes.subarray(from + 2, from + storedBytes);
    const to = result.packed.subarray(block * codeBytes, (block + 1) * codeBytes);
    if (type === "Q4_0") repackQ4(codes, to);
    else for (let i = 0; i < codeBytes; i++) to[i] = codes[i] ^ 0x80; // signed byte + 128
  }
  return result;
}

/** `readBlocks` of a source whose tensors are stored as GGUF stores them. */
export async function readGgufBlocks(
  { origin, tensors, readBytes }: Pick<WeightSource, "origin" | "tensors" | "readBytes">,
  name: string,
): Promise<QuantizedMatrix> {
  const info = tensors.get(name);
  ensure(info?.blocks, "bad_option", () => `${origin}: tensor ${name} has no blocks that could be used as they are`);
  const [rows, columns] = info.shape;
  return fromGgufBlocks(await readBytes(name), info.type as keyof typeof ggufFormats, rows, columns);
}

/** GGUF pairs elements i and i + 16 in a byte, MatMulNBits elements 2i and 2i + 1. */
function repackQ4(codes: Uint8Array, to: Uint8Array): void {
  for (let i = 0; i < 8; i++) {
    const [even, odd] = [codes[2 * i], codes[2 * i + 1]];
    to[i] = (even & 15) | ((odd & 15) << 4);
    to[i + 8] = (even >> 4) | (odd & 0xf0);
  }
}

/** One matrix with the rows of all, in order: for products that share their input. Errors: `bad_shape` where formats or columns differ; `bad_option` for codes, scales or zero points of another size. */
export function concatenateRows(matrices: readonly QuantizedMatrix[]): QuantizedMatrix {
  const [first] = matrices;
  ensure(first, "bad_shape", "concatenateRows: no matrices");
  const fit = matrices.every((matrix) => sameFormat(matrix, first) && matrix.columns === first.columns);
  const shapes = () =>
    matrices
      .map(({ bits, blockSize, rows, columns }) => `${bits}-bit [${rows}, ${columns}] in blocks of ${blockSize}`)
      .join(", ");
  ensure(fit, "bad_shape", () => `concatenateRows: matrices differ in format or columns: ${shapes()}`);
  for (const matrix of matrices) requireMatrix("concatenateRows", matrix);
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const result = emptyMatrix(rows, first.columns, first);
  let row = 0;
  for (const matrix of matrices) {
    for (const part of ["packed", "scales", "zeros"] as const) {
      result[part].set(matrix[part], (row * matrix[part].length) / matrix.rows);
    }
    row += matrix.rows;
  }
  return result;
}
