import { expect, test } from "vitest";
import { compile, valueMaker } from "../runtime/program.ts";
import * as t from "./index.ts";

const wave = (size: number, seed: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(seed + 1.7 * i));
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

test("an LSTM over three steps gives what its definition gives in double precision", async () => {
  const [rows, width, size] = [2, 3, 4];
  const xs = [0, 1, 2].map((i) => wave(rows * width, i));
  const [input, hidden, bias] = [wave(4 * size * width, 5), wave(4 * size * size, 6), wave(4 * size, 7)];
  const zero = t.constant(new Float32Array(rows * size), [rows, size]);
  const states = t.lstm(
    xs.map((_, i) => t.input(`x${i}`, [rows, width])),
    { hidden: zero, cell: zero },
    {
      input: t.constant(input, [4 * size, width]),
      hidden: t.constant(hidden, [4 * size, size]),
      bias: t.constant(bias, [4 * size]),
    },
  );
  const outputs = { h: states[2].hidden, c: states[2].cell, h0: states[0].hidden };
  const program = await compile(t.lower(outputs, { parameters: "inputs" }), { threads: 1 });
  const value = await valueMaker();
  const result = await program.run(Object.fromEntries(xs.map((x, i) => [`x${i}`, value("float32", x, [rows, width])])));
  await program.release();

  for (let row = 0; row < rows; row++) {
    let h = new Float64Array(size);
    const c = new Float64Array(size);
    for (const [step, x] of xs.entries()) {
      const gate = (k: number) => {
        let sum = bias[k];
        for (let i = 0; i < width; i++) sum += input[k * width + i] * x[row * width + i];
        for (let i = 0; i < size; i++) sum += hidden[k * size + i] * h[i];
        return sum;
      };
      const next = new Float64Array(size);
      for (let k = 0; k < size; k++) {
        c[k] = sigmoid(gate(size + k)) * c[k] + sigmoid(gate(k)) * Math.tanh(gate(2 * size + k));
        next[k] = sigmoid(gate(3 * size + k)) * Math.tanh(c[k]);
      }
      h = next;
      for (const [k, v] of step === 0 ? h.entries() : []) expect(result.h0.data[row * size + k]).toBeCloseTo(v, 5);
    }
    for (let k = 0; k < size; k++) {
      expect(result.h.data[row * size + k]).toBeCloseTo(h[k], 5);
      expect(result.c.data[row * size + k]).toBeCloseTo(c[k], 5);
    }
  }
});

test("hidden weights of the wrong shape are named", () => {
  const state = { hidden: t.input("h", [2, 4]), cell: t.input("c", [2, 4]) };
  const weights = { input: t.input("w", [16, 3]), hidden: t.input("u", [16, 3]), bias: t.input("b", [16]) };
  expect(() => t.lstmCell(t.input("x", [2, 3]), state, weights)).toThrow(/\[16, 3\].*\[2, 4\]/);
});
