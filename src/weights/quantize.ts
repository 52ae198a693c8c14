/** Matrices in blocks of 4- or 8-bit codes with one scale each, as ONNX Runtime's MatMulNBits multiplies them. */
import { ensure } from "../errors.ts";
import { float16Value } from "./half.ts";
import { requireFinite } from "./layout.ts";
import type { QuantizedMatrix } from "./source.ts";

const blockSize = 32;

/** Blocks of a row; the last one may be partly filled, and is then padded with codes of zero. */
const blocksPerRow = (columns: number) => Math.ceil(columns / blockSize);

/** Quantises a row-major matrix [rows, columns], symmetrically, to the nearest codes. Refuses NaN and infinities. */
export function quantizeMatrix(values: Float32Array, rows: number, columns: number, bits: 4 | 8): QuantizedMatrix {
  ensure(
    values.length === rows * columns,
    "bad_shape",
    `quantizeMatrix: ${values.length} values are not [${rows}, ${columns}]`,
  );
  requireFinite(values, "quantizeMatrix");
  const result = emptyMatrix(rows, columns, bits);
  const block = new Float32Array(blockSize);
  const blocks = blocksPerRow(columns);
  for (let index = 0; index < rows * blocks; index++) {
    const row = Math.floor(index / blocks);
    const from = (index % blocks) * blockSize;
    block.fill(0).set(values.subarray(row * columns + from, row * columns + Math.min(from + blockSize, columns)));
    const scale = Math.fround(bits === 4 ? bestScale4(block) : absoluteMaximum(block) / 127);
    result.scales[index] = scale;
    if (bits === 4) packCodes4(block, scale, result.packed, index * 16);
    else packCodes8(block, scale, result.packed, index * 32);
  }
  return result;
}

function emptyMatrix(rows: number, columns: number, bits: 4 | 8): QuantizedMatrix {
  const blocks = rows * blocksPerRow(columns);
  return { bits, rows, columns, packed: new Uint8Array(blocks * 4 * bits), scales: new Float32Array(blocks) };
}

/** Codes are value / scale + zero, rounded and kept in range; a scale of 0 (all values 0) gives codes of zero. */
function packCodes4(block: Float32Array, scale: number, packed: Uint8Array, at: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = 0; i < 16; i++) {
    packed[at + i] = code4(block[2 * i] * inverse) | (code4(block[2 * i + 1] * inverse) << 4);
  }
}

/** |x| stays near 8, so that `| 0` is exact rounding down for all that is not clamped anyway. */
function code4(x: number): number {
  const code = (x + 8.5) | 0;
  return Math.max(0, Math.min(15, code));
}

function packCodes8(block: Float32Array, scale: number, packed: Uint8Array, at: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale;
  for (let i = 0; i < 32; i++) packed[at + i] = Math.min(255, Math.max(0, Math.floor(block[i] * inverse + 128.5)));
}

function absoluteMaximum(block: Float32Array): number {
  let maximum = 0;
  for (let i = 0; i < blockSize; i++) maximum = Math.max(maximum, Math.abs(block[i]));
  return maximum;
}

/**
 * Codes tried for the value of largest magnitude. On normal weights these five leave 5.4% less error than -8 alone, and
 * forty candidates would leave only another 0.5% less.
 */
const extremeCodes = [-8, -7.5, -7, -8.5, -9];

/**
 * The scale with the least squared error among a few candidates. The codes reach from -8 to 7, so the value of largest
 * magnitude is put near -8, whatever its sign (the rule of ggml's Q4_0). For given codes q the best scale is
 * sum(x q) / sum(q q), and the error it leaves is sum(x x) - sum(x q)^2 / sum(q q): as in ggml's make_qx_quants.
 */
function bestScale4(block: Float32Array): number {
  let extreme = 0;
  for (let i = 0; i < blockSize; i++) if (Math.abs(block[i]) > Math.abs(extreme)) extreme = block[i];
  if (extreme === 0) return 0;
  let best = 0;
  let bestGain = -1;
  for (const code of extremeCodes) {
    const inverse = code / extreme;
    let products = 0;
    let squares = 0;
    for (let i = 0; i < blockSize; i++) {
      const q = code4(block[i] * inverse) - 8;
      products += block[i] * q;
      squares += q * q;
    }
    const gain = (products * products) / squares;
    if (gain > bestGain) [bestGain, best] = [gain, products / squares];
  }
  return best;
}

/** The values [rows, columns] that the codes stand for. */
export function dequantizeMatrix({ bits, rows, columns, packed, scales }: QuantizedMatrix): Float32Array<ArrayBuffer> {
  const result = new Float32Array(rows * columns);
  const blocks = blocksPerRow(columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = row * blocks + Math.floor(column / blockSize);
      const i = column % blockSize;
      const code =
        bits === 8 ? packed[block * 32 + i] - 128 : ((packed[block * 16 + (i >> 1)] >> ((i & 1) * 4)) & 15) - 8;
      result[row * columns + column] = code * scales[block];
    }
  }
  return result;
}

/**
 * The same numbers as GGUF's blocks of a matrix [rows, columns], in the other packing: no code changes. Columns must be
 * whole blocks, as GGUF itself demands.
 */
export function fromGgufBlocks(
  bytes: Uint8Array,
  type: "Q4_0" | "Q8_0",
  rows: number,
  columns: number,
): QuantizedMatrix {
  const bits = type === "Q4_0" ? 4 : 8;
  const blockBytes = 2 + 4 * bits;
  const count = (rows * columns) / blockSize;
  const fits = columns % blockSize === 0 && bytes.length === count * blockBytes;
  ensure(fits, "bad_shape", `fromGgufBlocks: ${bytes.length} bytes are not ${type} [${rows}, ${columns}]`);
  const result = emptyMatrix(rows, columns, bits);
  for (let block = 0; block < count; block++) {
    const from = block * blockBytes;
    result.scales[block] = float16Value(bytes[from] | (bytes[from + 1] << 8));
    const codes = bytes.subarray(from + 2, from + blockBytes);
    const to = result.packed.subarray(block * 4 * bits, (block + 1) * 4 * bits);
    if (type === "Q4_0") repackQ4(codes, to);
    else for (let i = 0; i < 32; i++) to[i] = codes[i] ^ 0x80; // signed byte + 128
  }
  return result;
}

/** GGUF pairs elements i and i + 16 in a byte, MatMulNBits elements 2i and 2i + 1. */
function repackQ4(codes: Uint8Array, to: Uint8Array): void {
  for (let i = 0; i < 8; i++) {
    const [even, odd] = [codes[2 * i], codes[2 * i + 1]];
    to[i] = (even & 15) | ((odd & 15) << 4);
    to[i + 8] = (even >> 4) | (odd & 0xf0);
  }
}

/** One matrix with the rows of all, in order: for products that share their input. */
export function concatenateRows(matrices: readonly QuantizedMatrix[]): QuantizedMatrix {
  const [first] = matrices;
  ensure(first, "bad_shape", "concatenateRows: no matrices");
  const fit = matrices.every(({ bits, columns }) => bits === first.bits && columns === first.columns);
  const shapes = () => matrices.map(({ bits, rows, columns }) => `${bits}-bit [${rows}, ${columns}]`).join(", ");
  ensure(fit, "bad_shape", () => `concatenateRows: matrices differ in bits or columns: ${shapes()}`);
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const result = emptyMatrix(rows, first.columns, first.bits);
  let row = 0;
  const blocks = blocksPerRow(first.columns);
  for (const matrix of matrices) {
    result.packed.set(matrix.packed, row * blocks * 4 * first.bits);
    result.scales.set(matrix.scales, row * blocks);
    row += matrix.rows;
  }
  return result;
}
