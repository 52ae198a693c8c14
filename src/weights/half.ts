/** IEEE half precision (F16) and bfloat16 (BF16) to and from float32. Arrays hold the bit patterns of the 16-bit types. */

/** The float32 bit pattern of every half, NaN payloads kept: one load per value beats any bit arithmetic. Built on first use. */
let float16Table: Uint32Array<ArrayBuffer> | undefined;
let float16Values: Float32Array | undefined;

function float16Bits(): Uint32Array<ArrayBuffer> {
  if (float16Table) return float16Table;
  const table = new Uint32Array(65536);
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const mantissa = half & 1023;
    if (exponent === 0) {
      value[0] = mantissa * 2 ** -24;
      table[half] = sign | bits[0];
    } else {
      table[half] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
    }
  }
  float16Table = table;
  return table;
}

/** Exact: every half is a float32. */
export function float16ToFloat32(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const table = float16Bits();
  const result = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) result[i] = table[halves[i]];
  return new Float32Array(result.buffer);
}

/** The value of one half. */
export function float16Value(half: number): number {
  float16Values ??= new Float32Array(float16Bits().buffer);
  return float16Values[half];
}

/** Rounds to nearest, ties to even; beyond 65520 becomes infinity, NaN stays NaN. */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rounded = new Float32Array(1);
  const roundedBits = new Uint32Array(rounded.buffer);
  const result = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const sign = (words[i] >>> 16) & 0x8000;
    const magnitude = words[i] & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      result[i] = sign | 0x7e00 | ((magnitude >>> 13) & 1023);
    } else if (magnitude >= 0x477ff000) {
      result[i] = sign | 0x7c00;
    } else if (magnitude >= 0x38800000) {
      result[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    } else {
      // Subnormal halves are multiples of 2^-24, the spacing of float32 in [0.5, 1): adding 0.5 does the rounding.
      rounded[0] = Math.abs(values[i]) + 0.5;
      result[i] = sign | (roundedBits[0] - 0x3f000000);
    }
  }
  return result;
}

/** Exact: a bfloat16 is the upper half of a float32. */
export function bfloat16ToFloat32(values: Uint16Array): Float32Array<ArrayBuffer> {
  const result = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = values[i] << 16;
  return new Float32Array(result.buffer);
}

/** Rounds to nearest, ties to even; NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const notANumber = (word & 0x7fffffff) > 0x7f800000;
    // A NaN is made quiet instead of rounded: rounding could carry its mantissa away and leave an infinity.
    result[i] = notANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return result;
}
