/**
 * Values of GGUF's quantised blocks, as ggml's `dequantize_row_*` computes them (ggml/src/ggml-quants.c). Scales are half
 * precision, little-endian.
 */
import { float16Value } from "./half.ts";
import type { GgufBlockType } from "./source.ts";

/** Writes the values of one block, whose bytes start at `at`, to `out` from `to` on. */
type BlockReader = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

interface BlockFormat {
  readonly elements: number;
  readonly bytes: number;
  readonly read: BlockReader;
}

export const blockFormats: Readonly<Record<GgufBlockType, BlockFormat>> = {
  Q4_0: { elements: 32, bytes: 18, read: readQ4_0 },
  Q4_1: { elements: 32, bytes: 20, read: readQ4_1 },
  Q8_0: { elements: 32, bytes: 34, read: readQ8_0 },
  Q4_K: { elements: 256, bytes: 144, read: readQ4_K },
  Q6_K: { elements: 256, bytes: 210, read: readQ6_K },
};

/** Values of whole blocks, in order. */
export function dequantizeBlocks(type: GgufBlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const format = blockFormats[type];
  const count = bytes.byteLength / format.bytes;
  const result = new Float32Array(count * format.elements);
  for (let block = 0; block < count; block++) {
    format.read(bytes, block * format.bytes, result, block * format.elements);
  }
  return result;
}

/** The half-precision number at a byte position. */
const halfAt = (bytes: Uint8Array, at: number) => float16Value(bytes[at] | (bytes[at + 1] << 8));

/** 32 values: d, then byte i holds elements i (low nibble) and i + 16 (high nibble), both offset by 8. */
function readQ4_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i];
    out[to + i] = d * ((byte & 15) - 8);
    out[to + i + 16] = d * ((byte >> 4) - 8);
  }
}

/** As Q4_0, with a minimum m instead of the offset. */
function readQ4_1(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  const m = halfAt(bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 4 + i];
    out[to + i] = d * (byte & 15) + m;
    out[to + i + 16] = d * (byte >> 4) + m;
  }
}

/** 32 values: d, then signed bytes. */
function readQ8_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[at + 2 + i] << 24) >> 24);
}

/**
 * 256 values: d and dmin, 12 bytes with eight 6-bit scales and eight 6-bit minima, then nibbles: each run of 32 bytes
 * holds 32 elements in its low nibbles and the next 32 in its high ones.
 */
function readQ4_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  const dMin = halfAt(bytes, at + 2);
  const scales = at + 4;
  for (let group = 0; group < 8; group++) {
    // The first four scales and minima are the low 6 bits of a byte; the others are split over a nibble and two top bits.
    const low = group < 4;
    const shared = bytes[scales + group + 4];
    const scale = low ? bytes[scales + group] & 63 : (shared & 15) | ((bytes[scales + group - 4] >> 6) << 4);
    const minimum = low ? shared & 63 : (shared >> 4) | ((bytes[scales + group] >> 6) << 4);
    const codes = at + 16 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let i = 0; i < 32; i++) {
      out[to + group * 32 + i] =
        Math.fround(d * scale) * ((bytes[codes + i] >> shift) & 15) - Math.fround(dMin * minimum);
    }
  }
}

/**
 * 256 values in two halves of 128: 4 low bits in `ql` (64 bytes a half), 2 high bits in `qh` (32 bytes a half), one
 * signed 8-bit scale per 16 elements, and d at the end. Codes are offset by 32.
 */
function readQ6_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at + 208);
  for (let half = 0; half < 2; half++) {
    const low = at + half * 64;
    const high = at + 128 + half * 32;
    const scales = at + 192 + half * 8;
    for (let quarter = 0; quarter < 4; quarter++) {
      const lowBytes = low + (quarter & 1) * 32;
      const lowShift = (quarter >> 1) * 4;
      for (let i = 0; i < 32; i++) {
        const code = ((bytes[lowBytes + i] >> lowShift) & 15) | (((bytes[high + i] >> (quarter * 2)) & 3) << 4);
        const scale = (bytes[scales + quarter * 2 + (i >> 4)] << 24) >> 24;
        out[to + half * 128 + quarter * 32 + i] = Math.fround(d * scale) * (code - 32);
      }
    }
  }
}
