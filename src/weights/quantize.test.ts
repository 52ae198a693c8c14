import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { dequantizeBlocks } from "./gguf-blocks.ts";
import { float32ToFloat16 } from "./half.ts";
import { multiplyInOnnx } from "./onnx.fixture.ts";
import { concatenateRows, dequantizeMatrix, fromGgufBlocks, quantizeMatrix } from "./quantize.ts";
import type { QuantizedMatrix } from "./source.ts";

/** Repeatable values, roughly normal with deviation 1. */
function normals(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => uniform() + uniform() + uniform() + uniform() + uniform() + uniform() - 3,
  );
}

const relativeError = (a: Float32Array, b: Float32Array) => {
  const difference = a.map((x, i) => x - b[i]);
  return Math.hypot(...difference) / Math.hypot(...b);
};

/** Rows times the transposed matrix, in float64. */
function multiply(input: Float32Array, matrix: QuantizedMatrix): Float32Array {
  const { rows, columns } = matrix;
  const values = dequantizeMatrix(matrix);
  return Float32Array.from({ length: (input.length / columns) * rows }, (_, index) => {
    const [from, row] = [Math.floor(index / rows) * columns, index % rows];
    let sum = 0;
    for (let k = 0; k < columns; k++) sum += input[from + k] * values[row * columns + k];
    return sum;
  });
}

describe("ONNX Runtime multiplies by the same numbers", () => {
  for (const bits of [4, 8] as const) {
    for (const columns of [64, 192, 96, 40]) {
      test(`${bits} bits, ${columns} columns`, async () => {
        const rows = 24;
        const matrix = quantizeMatrix(normals(rows * columns, 7), rows, columns, bits);
        const input = normals(3 * columns, 9);
        const expected = multiply(input, matrix);
        expect(relativeError(await multiplyInOnnx(input, matrix, 0), expected)).toBeLessThan(1e-5);
        // Level 4 rounds the input rows to 8 bits first.
        expect(relativeError(await multiplyInOnnx(input, matrix, 4), expected)).toBeLessThan(0.01);
      });
    }
  }

  test.each(["Q4_0", "Q8_0"] as const)("%s as it is stored", async (type) => {
    const [rows, columns] = [24, 96];
    const matrix = fromGgufBlocks(randomBlocks(type, rows, columns), type, rows, columns);
    const input = normals(3 * columns, 9);
    expect(relativeError(await multiplyInOnnx(input, matrix, 0), multiply(input, matrix))).toBeLessThan(1e-5);
  });
});

describe("quantizeMatrix", () => {
  test("error on normal weights: that of Q4_0 in its smaller blocks for 4 bits, half a step for 8", () => {
    const [rows, columns] = [64, 1024];
    const values = normals(rows * columns, 3);
    const plain = quantizeAsQ4_0(values);
    const four = relativeError(dequantizeMatrix(quantizeMatrix(values, rows, columns, 4)), values);
    expect((four / relativeError(dequantizeBlocks("Q4_0", plain), values)) ** 2).toBeLessThan(1.05);
    const eight = quantizeMatrix(values, rows, columns, 8);
    const steps = dequantizeMatrix(eight).map(
      (value, i) => Math.abs(value - values[i]) / eight.scales[Math.floor(i / eight.blockSize)],
    );
    expect(Math.max(...steps)).toBeLessThan(0.501);
  });

  test("values that are codes times a scale come back exactly, wherever zero lies among them", () => {
    for (const zero of [0, 5, 8, 15]) {
      const four = Float32Array.from({ length: 128 }, (_, i) => ((i % 16) - zero) * 0.25);
      const { zeros, ...matrix } = quantizeMatrix(four, 2, 64, 4);
      expect([...zeros]).toEqual([zero, zero]);
      expect(dequantizeMatrix({ zeros, ...matrix })).toEqual(four);
    }
    const eight = Float32Array.from({ length: 192 }, (_, i) => (i % 2 ? -127 + (i % 64) : 127 - (i % 64)) * 0.5);
    expect(dequantizeMatrix(quantizeMatrix(eight, 3, 64, 8))).toEqual(eight);
  });

  test("padding is codes of zero", () => {
    for (const bits of [4, 8] as const) {
      const values = Float32Array.from({ length: 2 * 66 }, (_, i) => (i % 2 ? 0.25 : -1));
      const { packed, scales, zeros } = quantizeMatrix(values, 2, 66, bits);
      expect([packed.length, scales.length, zeros.length]).toEqual([2 * 2 * 8 * bits, 4, bits === 4 ? 2 : 0]);
      if (bits === 4) expect([...zeros]).toEqual([0xcc, 0xcc]);
      const padding = [...packed.subarray(24 * bits + (2 * bits) / 8)];
      expect(padding).toEqual(padding.map(() => (bits === 4 ? 0xcc : 0x80)));
    }
  });

  test("the zero points of a row start at a byte, also after an odd number of blocks", () => {
    const values = Float32Array.from({ length: 2 * 192 }, (_, i) => (i < 192 ? (i % 16) / 4 : -(i % 16) / 4));
    const matrix = quantizeMatrix(values, 2, 192, 4);
    expect([...matrix.zeros]).toEqual([0, 0, 0xff, 0x0f]);
    expect(relativeError(dequantizeMatrix(matrix), values)).toBeLessThan(1e-6);
  });

  test("rows of zeros stay zero", () => {
    for (const bits of [4, 8] as const)
      expect(dequantizeMatrix(quantizeMatrix(new Float32Array(80), 2, 40, bits))).toEqual(new Float32Array(80));
  });

  test("any finite values: no error beyond a step, however small or large", () => {
    const values = fc.float32Array({ noNaN: true, min: -(2 ** 126), max: 2 ** 126, minLength: 72, maxLength: 72 });
    fc.assert(
      fc.property(values, fc.constantFrom(4 as const, 8 as const), (drawn, bits) => {
        const back = dequantizeMatrix(quantizeMatrix(drawn, 1, 72, bits));
        for (const from of [0, 64]) {
          const block = drawn.subarray(from, from + 64);
          const extreme = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          // Scales are float32 themselves: the smallest positive ones are coarse.
          const allowed = extreme * (bits === 4 ? 0.3 : 0.005) + 127 * 2 ** -149;
          for (let i = 0; i < block.length; i++)
            expect(Math.abs(back[from + i] - block[i])).toBeLessThanOrEqual(allowed);
        }
      }),
    );
  });

  test("refuses a wrong size and NaN", () => {
    expect(() => quantizeMatrix(new Float32Array(5), 2, 3, 4)).toThrow(VentrisError);
    expect(() => quantizeMatrix(Float32Array.of(1, NaN), 1, 2, 8)).toThrow(/element 1 is NaN/);
  });
});

/** The rule of ggml's quantize_row_q4_0_ref. */
function quantizeAsQ4_0(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / 32) * 18);
  for (let block = 0; block < values.length / 32; block++) {
    const x = values.subarray(block * 32, block * 32 + 32);
    const extreme = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const d = extreme / -8;
    new DataView(bytes.buffer).setUint16(block * 18, float32ToFloat16(Float32Array.of(d))[0], true);
    const code = (value: number) => Math.min(15, Math.trunc(value / d + 8.5));
    for (let i = 0; i < 16; i++) bytes[block * 18 + 2 + i] = code(x[i]) | (code(x[i + 16]) << 4);
  }
  return bytes;
}

/** Any codes, and positive scales up to 2. */
function randomBlocks(type: "Q4_0" | "Q8_0", rows: number, columns: number): Uint8Array {
  const blockBytes = type === "Q4_0" ? 18 : 34;
  const bytes = Uint8Array.from(normals((rows * columns * blockBytes) / 32, 11), (x) => Math.abs(x) * 1e4);
  for (let at = 0; at < bytes.length; at += blockBytes) bytes[at + 1] &= 0x3f;
  return bytes;
}

describe("fromGgufBlocks", () => {
  test.each(["Q4_0", "Q8_0"] as const)("%s keeps every value exactly", (type) => {
    const [rows, columns] = [6, 96];
    const bytes = randomBlocks(type, rows, columns);
    const matrix = fromGgufBlocks(bytes, type, rows, columns);
    expect(matrix).toMatchObject({ blockSize: 32, zeroPoints: false, zeros: new Uint8Array() });
    expect(dequantizeMatrix(matrix)).toEqual(dequantizeBlocks(type, bytes));
  });

  test("refuses sizes that do not fit", () => {
    expect(() => fromGgufBlocks(new Uint8Array(18), "Q4_0", 1, 31)).toThrow(VentrisError);
    expect(() => fromGgufBlocks(new Uint8Array(18), "Q8_0", 1, 32)).toThrow(/18 bytes are not Q8_0 \[1, 32\]/);
  });
});

describe("concatenateRows", () => {
  test("stacks the rows", () => {
    for (const bits of [4, 8] as const) {
      const parts = [2, 1, 3].map((rows, i) => quantizeMatrix(normals(rows * 140, i + 1), rows, 140, bits));
      const whole = concatenateRows(parts);
      expect(whole.rows).toBe(6);
      expect([...dequantizeMatrix(whole)]).toEqual(parts.flatMap((part) => [...dequantizeMatrix(part)]));
    }
  });

  test("refuses matrices that differ", () => {
    const [a, b] = [32, 64].map((columns) => quantizeMatrix(new Float32Array(columns), 1, columns, 4));
    expect(() => concatenateRows([a, b])).toThrow(/4-bit \[1, 32\] in blocks of 64, 4-bit \[1, 64\]/);
    expect(() => concatenateRows([a, fromGgufBlocks(new Uint8Array(18), "Q4_0", 1, 32)])).toThrow(/in blocks of 32/);
    expect(() => concatenateRows([a, quantizeMatrix(new Float32Array(32), 1, 32, 8)])).toThrow(VentrisError);
    expect(() => concatenateRows([])).toThrow(VentrisError);
  });
});

describe("sizes and parts that are none", () => {
  const matrix = quantizeMatrix(new Float32Array(64).fill(1), 2, 32, 4);
  const { NaN: notANumber, POSITIVE_INFINITY: endless } = Number;
  test.each<[name: string, call: () => unknown, message: RegExp]>([
    ["quantizeMatrix", () => quantizeMatrix(new Float32Array(2), -1, -2, 4), /rows must be .* from 1 on, not -1/],
    ["quantizeMatrix", () => quantizeMatrix(new Float32Array(3), 1.5, 2, 4), /rows must be .* not 1\.5/],
    ["quantizeMatrix", () => quantizeMatrix(new Float32Array(2), 1, notANumber, 8), /columns must be .* not NaN/],
    ["fromGgufBlocks", () => fromGgufBlocks(new Uint8Array(18), "Q4_0", -1, -32), /rows must be .* not -1/],
    ["dequantizeMatrix", () => dequantizeMatrix({ ...matrix, rows: -1 }), /dequantizeMatrix: rows must be .* not -1/],
    ["dequantizeMatrix", () => dequantizeMatrix({ ...matrix, columns: endless }), /columns must be .* not Infinity/],
    [
      "dequantizeMatrix",
      () => dequantizeMatrix({ ...matrix, rows: 3 }),
      /packed has 64 entries, and 4-bit \[3, 32\] has 96/,
    ],
    ["dequantizeMatrix", () => dequantizeMatrix({ ...matrix, scales: new Float32Array(1) }), /scales has 1 entries/],
    ["dequantizeMatrix", () => dequantizeMatrix({ ...matrix, zeros: new Uint8Array() }), /zeros has 0 entries/],
    ["concatenateRows", () => concatenateRows([matrix, { ...matrix, rows: -2 }]), /rows must be .* not -2/],
    [
      "concatenateRows",
      () => concatenateRows([matrix, { ...matrix, packed: new Uint8Array(1) }]),
      /packed has 1 entries/,
    ],
  ])("%s refuses them by name (%#)", (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
  });
});
