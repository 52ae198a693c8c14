import { expect, test } from "vitest";
import { sgdUpdate } from "./sgd.ts";

const parameter = () => ({ name: "x", shape: [3], values: Float32Array.of(1, 2, 3), decay: true });

test("a step goes down the gradient, by rate and scale, and decays nothing", () => {
  const x = parameter();
  sgdUpdate([x], [Float32Array.of(1, 0, -4)], 0.5, 0.5);
  expect([...x.values]).toEqual([0.75, 2, 4]);
});

test("gradients that do not fit are refused", () => {
  expect(() => sgdUpdate([parameter()], [new Float32Array(2)], 1)).toThrow(
    expect.objectContaining({ code: "bad_shape" }),
  );
  expect(() => sgdUpdate([parameter()], [new Float32Array(3)], Number.NaN)).toThrow(/sgd: learningRate/);
});
