import { describe, expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { compile, valueMaker } from "../runtime/program.ts";
import * as t from "./index.ts";

/** Deterministic values away from kinks and ties. */
function values(size: number, seed: number, low = -1.5, high = 1.5): Float32Array {
  let state = seed * 2654435761 + 12345;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return low + ((high - low) * state) / 2 ** 32;
  });
}

interface Case {
  shapes: number[][];
  build: (...inputs: t.Tensor[]) => t.Tensor;
  range?: [number, number];
}

const indices = t.constant(BigInt64Array.of(2n, 0n, 2n, 1n), [4]);
const columns = t.constant(BigInt64Array.of(1n, 3n, 0n), [3, 1]);
const angles = Array.from({ length: 8 }, (_, i) => i * 0.3);
const tables = [Math.cos, Math.sin].map((f) => t.constant(Float32Array.from(angles, f), [4, 2]));

/** One case or more for each differentiable operation. */
const cases: Record<string, Case> = {
  negate: { shapes: [[2, 3]], build: (x) => t.negate(x) },
  exp: { shapes: [[2, 3]], build: t.exp },
  log: { shapes: [[2, 3]], build: t.log, range: [0.5, 2] },
  sqrt: { shapes: [[2, 3]], build: t.sqrt, range: [0.5, 2] },
  reciprocal: { shapes: [[2, 3]], build: t.reciprocal, range: [0.5, 2] },
  tanh: { shapes: [[2, 3]], build: t.tanh },
  sigmoid: { shapes: [[2, 3]], build: t.sigmoid },
  relu: { shapes: [[2, 5]], build: t.relu },
  abs: { shapes: [[2, 5]], build: t.abs },
  erf: { shapes: [[2, 3]], build: t.erf },
  sine: { shapes: [[2, 3]], build: t.sine },
  cosine: { shapes: [[2, 3]], build: t.cosine },
  silu: { shapes: [[2, 3]], build: t.silu },
  geluTanh: { shapes: [[2, 3]], build: t.geluTanh },
  gelu: { shapes: [[2, 3]], build: t.gelu },
  softplus: { shapes: [[2, 3]], build: t.softplus },
  "add, broadcast": { shapes: [[2, 3], [3]], build: t.add },
  subtract: {
    shapes: [
      [2, 3],
      [2, 1],
    ],
    build: t.subtract,
  },
  multiply: {
    shapes: [
      [2, 3],
      [1, 3],
    ],
    build: t.multiply,
  },
  divide: { shapes: [[2, 3], [3]], build: t.divide, range: [0.5, 2] },
  power: { shapes: [[2, 3], [3]], build: t.power, range: [0.5, 2] },
  maximum: { shapes: [[2, 3], [3]], build: t.maximum },
  minimum: { shapes: [[2, 3], [3]], build: t.minimum },
  where: { shapes: [[2, 3], [3]], build: (a, b) => t.where(t.greater(a, 0), a, b) },
  cast: { shapes: [[2, 3]], build: (x) => t.multiply(x, t.cast(t.greater(x, 0), "float32")) },
  matmul: {
    shapes: [
      [2, 3],
      [3, 4],
    ],
    build: (a, b) => t.matmul(a, b),
  },
  "matmul, batch": {
    shapes: [
      [2, 3, 4],
      [2, 4, 2],
    ],
    build: (a, b) => t.matmul(a, b, { scale: 0.5 }),
  },
  "matmul, broadcast batch": {
    shapes: [
      [2, 2, 3],
      [1, 3, 2],
    ],
    build: (a, b) => t.matmul(a, b),
  },
  "matmul, transposed right": {
    shapes: [
      [2, 3],
      [4, 3],
    ],
    build: (a, b) => t.matmul(a, b, { transposeB: true, scale: 2 }),
  },
  "matmul, transposed left": {
    shapes: [
      [3, 2],
      [3, 4],
    ],
    build: (a, b) => t.matmul(a, b, { transposeA: true }),
  },
  "matmul, both transposed": {
    shapes: [
      [3, 2],
      [4, 3],
    ],
    build: (a, b) => t.matmul(a, b, { transposeA: true, transposeB: true }),
  },
  "matmul, many rows by one matrix": {
    shapes: [
      [2, 2, 3],
      [4, 3],
    ],
    build: (a, b) => t.linear(a, b),
  },
  "parts of a joined product": {
    shapes: [
      [2, 3],
      [2, 3],
      [1, 3],
      [4, 3],
    ],
    build: (x, a, b, unused) => {
      const [p, q] = t.split(t.linear(x, t.concat([a, b, unused], 0)), [2, 1, 4], 1);
      return t.multiply(p, q);
    },
  },
  reshape: { shapes: [[2, 6]], build: (x) => t.reshape(x, [3, -1]) },
  transpose: { shapes: [[2, 3, 4]], build: (x) => t.transpose(x, [2, 0, 1]) },
  expand: { shapes: [[2, 1]], build: (x) => t.expand(x, [3, 2, 4]) },
  concat: {
    shapes: [
      [2, 3],
      [2, 1],
    ],
    build: (a, b) => t.concat([a, b], 1),
  },
  "split and part": {
    shapes: [[2, 5]],
    build: (x) => {
      const [a, , c] = t.split(x, [2, 1, 2], 1);
      return t.multiply(a, c);
    },
  },
  slice: { shapes: [[2, 5]], build: (x) => t.slice(x, 1, 1, 4) },
  gather: { shapes: [[3, 2]], build: (x) => t.gather(x, indices) },
  scatterAdd: { shapes: [[4, 2]], build: (x) => t.scatterAdd(x, indices, 3) },
  gatherLast: { shapes: [[3, 4]], build: (x) => t.gatherLast(x, columns) },
  scatterLast: {
    shapes: [
      [3, 4],
      [3, 1],
    ],
    build: (x, u) => t.scatterLast(x, columns, u),
  },
  reduceSum: { shapes: [[2, 3, 2]], build: (x) => t.reduceSum(x, [0, 2]) },
  reduceMean: { shapes: [[2, 3]], build: (x) => t.reduceMean(x, 1, true) },
  reduceL1: { shapes: [[3, 4]], build: (x) => t.reduceL1(x, -1) },
  reduceMax: { shapes: [[3, 4]], build: (x) => t.reduceMax(x, -1) },
  "topK, split and part": { shapes: [[3, 5]], build: (x) => t.topK(x, 2).values },
  cumulativeSum: { shapes: [[3, 4]], build: (x) => t.cumulativeSum(x, 1) },
  softmax: { shapes: [[2, 4]], build: t.softmax },
  logSoftmax: { shapes: [[2, 4]], build: t.logSoftmax },
  logSumExp: { shapes: [[2, 4]], build: (x) => t.logSumExp(x) },
  crossEntropy: { shapes: [[4, 3]], build: (x) => t.crossEntropy(x, indices) },
  "matmul, a mean's factor": {
    shapes: [
      [4, 2],
      [3, 2],
    ],
    build: (a, b) => t.reduceMean(t.crossEntropy(t.linear(a, b), indices), 0, true),
  },
  // Of a value that is not differentiated: the rule's word counts, here for x^3.
  withGradient: {
    shapes: [[2, 3]],
    build: (x) =>
      t.withGradient(t.multiply(t.abs(x), t.multiply(x, t.multiply(x, t.where(t.less(x, 0), -1, 1)))), [x], (g) => [
        t.multiply(g, t.multiply(t.square(x), 3)),
      ]),
  },
  rmsInverse: { shapes: [[2, 4]], build: (x) => t.rmsInverse(x, 1e-5) },
  rmsNorm: { shapes: [[2, 4], [4]], build: (x, w) => t.rmsNorm(x, w, 1e-5) },
  layerNorm: { shapes: [[2, 4], [4], [4]], build: (x, w, b) => t.layerNorm(x, w, b, 1e-5) },
  "lstm, two steps": {
    shapes: [[2, 3], [2, 3], [8, 3], [8, 2], [8], [2, 2]],
    build: (x, y, input, hidden, bias, start) => {
      const states = t.lstm([x, y], { hidden: start, cell: t.multiply(start, 0.5) }, { input, hidden, bias });
      return t.concat([states[1].hidden, states[1].cell], 1);
    },
  },
  "rotary of a part": {
    shapes: [[1, 2, 3, 6]],
    build: (x) => t.rotary(x, t.constant(BigInt64Array.of(0n, 2n, 3n), [1, 3]), tables[0], tables[1]),
  },
  rotary: {
    shapes: [[1, 2, 3, 4]],
    build: (x) => t.rotary(x, t.constant(BigInt64Array.of(0n, 2n, 3n), [1, 3]), tables[0], tables[1]),
  },
};

async function run(outputs: Record<string, t.Tensor>, feeds: Float32Array[], shapes: number[][]) {
  const program = await compile(t.lower(outputs, { parameters: "inputs" }), { threads: 1 });
  const value = await valueMaker();
  const result = await program.run(
    Object.fromEntries(feeds.map((data, i) => [`x${i}`, value("float32", data, shapes[i])])),
  );
  return { program, value, result };
}

describe("gradients agree with finite differences", () => {
  test.each(Object.entries(cases))("%s", async (_, { shapes, build, range }) => {
    const inputs = shapes.map((shape, i) => t.input(`x${i}`, shape));
    const output = build(...inputs);
    const size = t.elementCount(output.shape);
    // A weighted sum, so that every output element has its own share in the loss.
    const loss = t.reduceSum(t.multiply(output, t.constant(values(size, 99, 0.5, 1.5), output.shape as number[])));
    const gradients = t.gradients(loss, inputs);
    const feeds = shapes.map((shape, i) =>
      values(
        shape.reduce((a, b) => a * b, 1),
        i + 1,
        ...(range ?? [-1.5, 1.5]),
      ),
    );
    const { program, value, result } = await run(
      { loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) },
      feeds,
      shapes,
    );
    const lossAt = async () => {
      const again = await program.run(
        Object.fromEntries(feeds.map((data, i) => [`x${i}`, value("float32", data, shapes[i])])),
      );
      return again.loss.data[0] as number;
    };
    const step = 5e-3;
    for (let i = 0; i < feeds.length; i++) {
      expect(result[`g${i}`].dims).toEqual(shapes[i]);
      const largest = Math.max(...(result[`g${i}`].data as Float32Array).map(Math.abs), 0.1);
      for (let k = 0; k < feeds[i].length; k++) {
        const at = feeds[i][k];
        feeds[i][k] = at + step;
        const above = await lossAt();
        feeds[i][k] = at - step;
        const below = await lossAt();
        feeds[i][k] = at;
        const numeric = (above - below) / (2 * step);
        // Relative to the largest gradient: float32 rounding in the loss limits the smallest ones.
        expect(
          Math.abs((result[`g${i}`].data[k] as number) - numeric) / largest,
          `input ${i}, element ${k}`,
        ).toBeLessThan(1e-3);
      }
    }
    await program.release();
  });

  test("every differentiable operation is among the cases", () => {
    const tested = Object.keys(cases).join(" ");
    for (const operation of t.differentiable) expect(tested).toContain(operation);
  });

  test("a tensor used twice adds both gradients, an unused one gets zeros, stopGradient cuts", async () => {
    const [x, y] = [t.input("x0", [2]), t.input("x1", [2])];
    const loss = t.reduceSum(t.add(t.multiply(x, x), t.stopGradient(t.multiply(x, y))));
    const [gx, gy] = t.gradients(loss, [x, y]);
    const { result } = await run({ gx, gy, loss }, [Float32Array.of(3, -2), Float32Array.of(1, 1)], [[2], [2]]);
    expect([...(result.gx.data as Float32Array)]).toEqual([6, -4]);
    expect([...(result.gy.data as Float32Array)]).toEqual([0, 0]);
  });

  test("an operation without gradient is named", () => {
    const x = t.input("x", [3]);
    expect(() => t.gradients(t.reduceSum(t.cast(t.argMax(t.reshape(x, [1, 3])), "float32")), [x])).not.toThrow();
    expect(() => t.gradients(t.softmax(x), [x])).toThrow(VentrisError);
  });
});
