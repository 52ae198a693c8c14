import { expect, test } from "vitest";
import { compile, valueMaker } from "../runtime/program.ts";
import * as t from "../tensor/index.ts";
import { causalAttention } from "./attention.ts";

/** One product over the whole text, a mask, and the chain rule through every part. */
function plainAttention(queries: t.Tensor, keys: t.Tensor, values: t.Tensor, window: number): t.Tensor {
  const [batch, heads, length, dimension] = queries.shape as number[];
  const groups = heads / (keys.shape[1] as number);
  const mask = Float32Array.from({ length: length * length }, (_, i) => {
    const [row, key] = [Math.floor(i / length), i % length];
    return key > row || key <= row - window ? -1e9 : 0;
  });
  const outputs = Array.from({ length: heads }, (_, head) => {
    const of = (x: t.Tensor, at: number) => t.slice(x, 1, at, at + 1);
    const shared = Math.floor(head / groups);
    const scores = t.matmul(of(queries, head), of(keys, shared), { transposeB: true, scale: dimension ** -0.5 });
    return t.matmul(t.softmax(t.add(scores, t.constant(mask, [length, length]))), of(values, shared));
  });
  return t.reshape(t.transpose(t.concat(outputs, 1), [0, 2, 1, 3]), [batch * length, heads * dimension]);
}

test.each([
  { length: 5, window: undefined, what: "a short text: one block" },
  { length: 150, window: undefined, what: "blocks, the last one shorter" },
  { length: 150, window: 40, what: "blocks and a window" },
])("values and gradients are those of the plain formula: $what", async ({ length, window }) => {
  const [batch, heads, shared, dimension] = [2, 4, 2, 4];
  const shapes = [heads, shared, shared].map((count) => [batch, count, length, dimension]);
  const inputs = shapes.map((shape, i) => t.input(`x${i}`, shape));
  const random = (size: number, seed: number) =>
    Float32Array.from({ length: size }, (_, i) => Math.sin(12.9898 * (i + 1) * (seed + 1)) * 1.5);
  const size = batch * length * heads * dimension;
  const results = (output: t.Tensor, name: string): Record<string, t.Tensor> => {
    const weights = t.constant(random(size, 7), output.shape as number[]);
    const gradients = t.gradients(t.reduceSum(t.multiply(output, weights)), inputs);
    return { [name]: output, ...Object.fromEntries(gradients.map((g, i) => [`${name}${i}`, g])) };
  };
  const fast = causalAttention(length, heads / shared, window)(0, inputs[0], inputs[1], inputs[2]);
  const plain = plainAttention(inputs[0], inputs[1], inputs[2], window ?? length);
  const program = await compile(
    t.lower({ ...results(fast, "fast"), ...results(plain, "plain") }, { parameters: "inputs" }),
    {
      threads: 1,
    },
  );
  const value = await valueMaker();
  const found = await program.run(
    Object.fromEntries(
      shapes.map((shape, i) => [
        `x${i}`,
        value(
          "float32",
          random(
            shape.reduce((a, b) => a * b),
            i,
          ),
          shape,
        ),
      ]),
    ),
  );
  for (const part of ["", "0", "1", "2"]) {
    const [ours, wanted] = [found[`fast${part}`], found[`plain${part}`]];
    expect(ours.dims).toEqual(wanted.dims);
    ours.data.forEach((x, i) => {
      expect(Math.abs(Number(x) - Number(wanted.data[i])), `output ${part}, element ${i}`).toBeLessThan(2e-5);
    });
  }
  await program.release();
});
