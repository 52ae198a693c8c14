/**
 * Number formats of weight files, written independently of src/weights, so that the peer's weights do not depend on the
 * code under comparison. Block formats follow ggml's reference quantisers (ggml-quants.c): 32 consecutive values of a row.
 */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The half-precision bits of a float32, rounded to nearest, ties to even. @param {number} value */
export function toHalf(value) {
  float[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const magnitude = bits[0] & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // not a number
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds beyond the largest half
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 lets the processor round to a multiple of 2^-24, which is the last place of 0.5.
    float[0] = Math.abs(value) + 0.5;
    return sign | (bits[0] - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** Every half-precision number by its bits. */
export const halves = Float32Array.from({ length: 65536 }, (_, half) => {
  const exponent = (half >>> 10) & 31;
  const fraction = half & 1023;
  const magnitude =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? fraction === 0
          ? Number.POSITIVE_INFINITY
          : Number.NaN
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return half & 0x8000 ? -magnitude : magnitude;
});

/** @typedef {"F32" | "F16" | "Q8_0" | "Q4_0"} GgufType */

/** GGUF's number for a tensor type, values per block, bytes per block, and the encoder. */
export const formats = {
  F32: { id: 0, values: 1, bytes: 4, encode: encodeFloat32 },
  F16: { id: 1, values: 1, bytes: 2, encode: encodeFloat16 },
  Q4_0: { id: 2, values: 32, bytes: 18, encode: encodeQ4 },
  Q8_0: { id: 8, values: 32, bytes: 34, encode: encodeQ8 },
};

/** @param {Float32Array} values */
function encodeFloat32(values) {
  return new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength));
}

/** @param {Float32Array} values */
function encodeFloat16(values) {
  return new Uint8Array(Uint16Array.from(values, toHalf).buffer);
}

/**
 * Half scale d, then 16 bytes: value j in the low nibble of byte j, value j + 16 in the high one; value = (code − 8) · d.
 * d is the value of largest magnitude over −8, so that this value is met exactly by code 0.
 * @param {Float32Array} values
 */
function encodeQ4(values) {
  const encoded = new Uint8Array((values.length / 32) * 18);
  for (let start = 0, out = 0; start < values.length; start += 32, out += 18) {
    let largest = 0;
    for (let j = 0; j < 32; j++) if (Math.abs(values[start + j]) > Math.abs(largest)) largest = values[start + j];
    const scale = Math.fround(largest / -8);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const half = toHalf(scale);
    encoded[out] = half & 255;
    encoded[out + 1] = half >>> 8;
    for (let j = 0; j < 16; j++) {
      encoded[out + 2 + j] = q4Code(values[start + j], inverse) | (q4Code(values[start + 16 + j], inverse) << 4);
    }
  }
  return encoded;
}

/** @param {number} value @param {number} inverse of the block's scale */
function q4Code(value, inverse) {
  return Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)));
}

/**
 * Half scale d = largest magnitude / 127, then 32 signed bytes, rounded half away from zero.
 * @param {Float32Array} values
 */
function encodeQ8(values) {
  const encoded = new Uint8Array((values.length / 32) * 34);
  for (let start = 0, out = 0; start < values.length; start += 32, out += 34) {
    let largest = 0;
    for (let j = 0; j < 32; j++) largest = Math.max(largest, Math.abs(values[start + j]));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const half = toHalf(scale);
    encoded[out] = half & 255;
    encoded[out + 1] = half >>> 8;
    for (let j = 0; j < 32; j++) {
      const scaled = Math.fround(values[start + j] * inverse);
      encoded[out + 2 + j] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5); // wraps to a signed byte
    }
  }
  return encoded;
}
