import { expect, test } from "vitest";
import { compile, valueMaker } from "../runtime/program.ts";
import { gradients, input, logSoftmax, lower, parameter, reduceSum } from "../tensor/index.ts";
import { divergenceOf, divergences } from "./divergence.ts";

const softmax = (logits: readonly number[]): number[] => {
  const e = logits.map(Math.exp);
  const sum = e.reduce((a, b) => a + b);
  return e.map((x) => x / sum);
};
const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const kl = (p: readonly number[], q: readonly number[]): number => sum(p.map((x, i) => x * Math.log(x / q[i])));

const definitions = {
  "forward-kl": (p: number[], q: number[]) => kl(p, q),
  "reverse-kl": (p: number[], q: number[]) => kl(q, p),
  jsd: (p: number[], q: number[]) => {
    const m = p.map((x, i) => (x + q[i]) / 2);
    return (kl(p, m) + kl(q, m)) / 2;
  },
  "total-variation": (p: number[], q: number[]) => 1 - sum(p.map((x, i) => Math.min(x, q[i]))),
};

test.each(divergences)(
  "%s and its gradient in the student's logits are those of the definition",
  async (divergence) => {
    const teacher = [
      [1.2, -0.3, 0.4, 0],
      [2, 1, -1, 0.5],
    ];
    const student = [
      [0.2, 0.3, -1.4, 0.9],
      [-1, 1.5, 0, 0.1],
    ];
    const z = parameter("z", [2, 4]);
    const each = divergenceOf(divergence, logSoftmax(input("t", [2, 4])), logSoftmax(z));
    const [slope] = gradients(reduceSum(each), [z]);
    const program = await compile(lower({ each, slope }, { parameters: "inputs" }), { threads: 1 });
    const make = await valueMaker();
    const value = (rows: number[][]) => make("float32", Float32Array.from(rows.flat()), [2, 4]);
    const found = await program.run({ t: value(teacher), z: value(student) });
    const loss = (row: number, logits: number[]) => definitions[divergence](softmax(teacher[row]), softmax(logits));
    for (const row of [0, 1]) {
      expect(found.each.data[row]).toBeCloseTo(loss(row, student[row]), 5);
      for (const k of [0, 1, 2, 3]) {
        const moved = (by: number) => student[row].map((x, i) => (i === k ? x + by : x));
        const expected = (loss(row, moved(1e-5)) - loss(row, moved(-1e-5))) / 2e-5;
        expect(found.slope.data[row * 4 + k]).toBeCloseTo(expected, 4);
      }
    }
    await program.release();
  },
);
