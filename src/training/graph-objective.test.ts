import { expect, test } from "vitest";
import { input, multiply, parameter, reduceSum } from "../tensor/index.ts";
import { graphObjective } from "./graph-objective.ts";

/** Σ x · w for one row, whose input comes of `feeds`. */
const objectiveOf = (feeds: () => unknown) =>
  graphObjective<number>({
    loss: reduceSum(multiply(input("x", [2]), parameter("w", [2]))),
    trained: [{ name: "w", shape: [2], values: Float32Array.of(1, 2), decay: true }],
    fixed: new Map(),
    threads: 1,
    feeds: feeds as never,
  });

test("what feeds gives must be values of the inputs, and is named where it is none", async () => {
  const data = Float32Array.of(3, 4);
  const sound = await objectiveOf(() => ({ x: { data, dims: [2] } }));
  expect((await sound.gradients(0)).loss).toBe(11);
  await sound.release();
  const wrong: [answer: unknown, message: RegExp][] = [
    [undefined, /training: feeds gave undefined, and must give values/],
    [5, /training: feeds gave 5/],
    [{}, /feeds gives nothing for the graph's input x/],
    [{ x: data }, /feeds, for the graph's input x, gave a Float32Array of 2/],
    [{ x: { data: [3, 4], dims: [2] } }, /input x, gave .*, and must give { data, dims } that fit/],
    [{ x: { data, dims: [3] } }, /input x, gave/],
    [{ x: { data } }, /input x, gave/],
    [{ x: null }, /input x, gave null/],
  ];
  for (const [answer, message] of wrong) {
    const objective = await objectiveOf(() => answer);
    const told = expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) });
    await expect(objective.gradients(0), String(message)).rejects.toEqual(told);
    await objective.release();
  }
});
