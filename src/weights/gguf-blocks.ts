/**
 * Values of GGUF's quantised blocks, as ggml's `dequantize_row_*` computes them (ggml/src/ggml-quants.c). Scales are half
 * precision, little-endian.
 */
import { float16Value } from "./half.ts";
import type { GgufBlockType } from "./source.ts";

/** Writes the values of one block, whose bytes start at `at`, to `out` from `to` on. */
type BlockReader = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

/** How a type lays out its blocks. */
interface BlockLayout {
  readonly elements: number;
  readonly bytes: number;
  readonly read: BlockReader;
}

export const blockLayouts: Readonly<Record<GgufBlockType, BlockLayout>> = {
  Q4_0: { elements: 32, bytes: 18, read: readQ4_0 },
  Q4_1: { elements: 32, bytes: 20, read: readQ4_1 },
  Q5_0: { elements: 32, bytes: 22, read: readQ5_0 },
  Q5_1: { elements: 32, bytes: 24, read: readQ5_1 },
  Q8_0: { elements: 32, bytes: 34, read: readQ8_0 },
  Q2_K: { elements: 256, bytes: 84, read: readQ2_K },
  Q3_K: { elements: 256, bytes: 110, read: readQ3_K },
  Q4_K: { elements: 256, bytes: 144, read: readQ4_K },
  Q5_K: { elements: 256, bytes: 176, read: readQ5_K },
  Q6_K: { elements: 256, bytes: 210, read: readQ6_K },
  IQ4_NL: { elements: 32, bytes: 18, read: readIQ4_NL },
  IQ4_XS: { elements: 256, bytes: 136, read: readIQ4_XS },
};

/** Values of whole blocks, in order. */
export function dequantizeBlocks(type: GgufBlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const layout = blockLayouts[type];
  const count = bytes.byteLength / layout.bytes;
  const result = new Float32Array(count * layout.elements);
  for (let block = 0; block < count; block++) {
    layout.read(bytes, block * layout.bytes, result, block * layout.elements);
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

/** Five bits: four in the nibbles at `low`, as in Q4_0, and the fifth of element i is bit i of the 32 at `high`. */
function fiveBits(bytes: Uint8Array, low: number, high: number, i: number): number {
  const nibble = i < 16 ? bytes[low + i] & 15 : bytes[low + i - 16] >> 4;
  return nibble | (((bytes[high + (i >> 3)] >> (i & 7)) & 1) << 4);
}

/** 32 values: d, then the fifth bits (4 bytes) and the nibbles (16 bytes), offset by 16. */
function readQ5_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * (fiveBits(bytes, at + 6, at + 2, i) - 16);
}

/** As Q5_0, with a minimum m instead of the offset. */
function readQ5_1(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  const m = halfAt(bytes, at + 2);
  for (let i = 0; i < 32; i++) out[to + i] = d * fiveBits(bytes, at + 8, at + 4, i) + m;
}

/** 32 values: d, then signed bytes. */
function readQ8_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[at + 2 + i] << 24) >> 24);
}

/** Two bits of element i of 256: each run of 32 bytes holds four runs of 32 elements, from the low bits up. */
function twoBits(bytes: Uint8Array, at: number, i: number): number {
  return (bytes[at + (i >> 7) * 32 + (i & 31)] >> (((i >> 5) & 3) * 2)) & 3;
}

/** 256 values: for every 16 a byte with a scale and a minimum of 4 bits, then codes of 2 bits (64 bytes), d and dmin. */
function readQ2_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at + 80);
  const dMin = halfAt(bytes, at + 82);
  for (let i = 0; i < 256; i++) {
    const scales = bytes[at + (i >> 4)];
    out[to + i] = Math.fround(d * (scales & 15)) * twoBits(bytes, at + 16, i) - Math.fround(dMin * (scales >> 4));
  }
}

/**
 * 256 values: third bits (32 bytes, a bit for each run of 32), codes of 2 bits (64 bytes), 12 bytes with a 6-bit scale for every 16,
 * offset by 32 (low 4 bits in the first 8 bytes, two upper ones in the last 4), and d. A code without its third bit is 4 less.
 */
function readQ3_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at + 108);
  const scales = at + 96;
  for (let group = 0; group < 16; group++) {
    const low = (bytes[scales + (group & 7)] >> (group < 8 ? 0 : 4)) & 15;
    const high = (bytes[scales + 8 + (group & 3)] >> ((group >> 2) * 2)) & 3;
    const scale = Math.fround(d * ((low | (high << 4)) - 32));
    for (let i = group * 16; i < group * 16 + 16; i++) {
      const third = (bytes[at + (i & 31)] >> (i >> 5)) & 1;
      out[to + i] = scale * (twoBits(bytes, at + 32, i) - (third === 1 ? 0 : 4));
    }
  }
}

/** The 6-bit scale and minimum of a group of 32, of eight that are packed into 12 bytes. */
function sixBitScale(bytes: Uint8Array, scales: number, group: number): { scale: number; minimum: number } {
  // The first four scales and minima are the low 6 bits of a byte; the others are split over a nibble and two top bits.
  const low = group < 4;
  const shared = bytes[scales + group + 4];
  return {
    scale: low ? bytes[scales + group] & 63 : (shared & 15) | ((bytes[scales + group - 4] >> 6) << 4),
    minimum: low ? shared & 63 : (shared >> 4) | ((bytes[scales + group] >> 6) << 4),
  };
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
    const { scale, minimum } = sixBitScale(bytes, scales, group);
    const codes = at + 16 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let i = 0; i < 32; i++) {
      out[to + group * 32 + i] =
        Math.fround(d * scale) * ((bytes[codes + i] >> shift) & 15) - Math.fround(dMin * minimum);
    }
  }
}

/** As Q4_K, with a fifth bit for every element: bit `group` of 32 bytes before the nibbles. */
function readQ5_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  const dMin = halfAt(bytes, at + 2);
  for (let group = 0; group < 8; group++) {
    const { scale, minimum } = sixBitScale(bytes, at + 4, group);
    const codes = at + 48 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const code = ((bytes[codes + i] >> shift) & 15) | (((bytes[at + 16 + i] >> group) & 1) << 4);
      out[to + group * 32 + i] = Math.fround(d * scale) * code - Math.fround(dMin * minimum);
    }
  }
}

/** What the codes of IQ4 stand for: unevenly spaced, closer around zero. */
const unevenValues = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** 32 values: d, then nibbles as in Q4_0 that name uneven values. */
function readIQ4_NL(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  unevenBlock(bytes, at + 2, halfAt(bytes, at), out, to);
}

function unevenBlock(bytes: Uint8Array, codes: number, scale: number, out: Float32Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    out[to + i] = scale * unevenValues[bytes[codes + i] & 15];
    out[to + i + 16] = scale * unevenValues[bytes[codes + i] >> 4];
  }
}

/** 256 values: d, the upper two bits of eight scales (2 bytes), their lower four (4 bytes), offset by 32, then eight blocks of nibbles. */
function readIQ4_XS(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const d = halfAt(bytes, at);
  const high = bytes[at + 2] | (bytes[at + 3] << 8);
  for (let block = 0; block < 8; block++) {
    const low = (bytes[at + 4 + (block >> 1)] >> ((block & 1) * 4)) & 15;
    const scale = Math.fround(d * ((low | (((high >> (2 * block)) & 3) << 4)) - 32));
    unevenBlock(bytes, at + 8 + block * 16, scale, out, to + block * 32);
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
