import { describe, expect, test } from "vitest";
import { bfloat16ToFloat32, float16ToFloat32, float16Value, float32ToBfloat16, float32ToFloat16 } from "./half.ts";

/** The definition, in exact float64 arithmetic. */
function halfByDefinition(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}

const everyHalf = Uint16Array.from({ length: 65536 }, (_, i) => i);
const isNaNHalf = (half: number) => (half & 0x7fff) > 0x7c00;

describe("half precision", () => {
  test("every half has the value of its definition", () => {
    const values = float16ToFloat32(everyHalf);
    for (const half of everyHalf) {
      expect(Object.is(values[half], halfByDefinition(half))).toBe(true);
      expect(Object.is(float16Value(half), halfByDefinition(half))).toBe(true);
    }
  });

  test("every half survives the way to float32 and back", () => {
    const back = float32ToFloat16(float16ToFloat32(everyHalf));
    for (const half of everyHalf) {
      if (isNaNHalf(half)) expect(isNaNHalf(back[half])).toBe(true);
      else expect(back[half]).toBe(half);
    }
  });

  test("rounds to nearest and ties to even, at every boundary between neighbours", () => {
    for (let half = 0; half < 0x7bff; half++) {
      const [low, high] = [halfByDefinition(half), halfByDefinition(half + 1)];
      const middle = (low + high) / 2; // a float32: one more bit of mantissa
      const step = 2 ** Math.max(-149, Math.floor(Math.log2(middle)) - 23);
      const even = half & 1 ? half + 1 : half;
      const [below, tie, above] = float32ToFloat16(Float32Array.of(middle - step, middle, middle + step));
      if (below !== half || tie !== even || above !== half + 1) {
        expect({ half, below, tie, above }).toEqual({ half, below: half, tie: even, above: half + 1 });
      }
    }
  });

  test("overflows to infinity from the middle of the last gap on", () => {
    const below = Math.fround(65520 - 2 ** -8);
    expect([...float32ToFloat16(Float32Array.of(65504, below, 65520, -65520, 1e30, -Infinity))]).toEqual([
      0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00, 0xfc00,
    ]);
    expect([...float32ToFloat16(Float32Array.of(-0, 2 ** -25, 2 ** -149, -(2 ** -24)))]).toEqual([
      0x8000, 0, 0, 0x8001,
    ]);
  });
});

describe("bfloat16", () => {
  test("every value survives the way to float32 and back", () => {
    const back = float32ToBfloat16(bfloat16ToFloat32(everyHalf));
    for (const value of everyHalf) {
      if ((value & 0x7fff) > 0x7f80) expect((back[value] & 0x7fff) > 0x7f80).toBe(true);
      else expect(back[value]).toBe(value);
    }
  });

  test("rounds to nearest, ties to even, and keeps a NaN whose payload lies in the lost bits", () => {
    const words = Uint32Array.of(0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0x7f7fffff, 0x7f800001, 0xff800001);
    const rounded = float32ToBfloat16(new Float32Array(words.buffer));
    expect([...rounded]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x3f81, 0x7f80, 0x7fc0, 0xffc0]);
  });
});
