/** Estimates of what speculation gains, against a simulation of the rounds that they are about. */
import { expect, test } from "vitest";
import { methodOutlook } from "../../engine/method.ts";
import { uniform } from "../../engine/random.ts";
import { engineModel, open } from "../../open.ts";
import { findMethod } from "../index.ts";
import { expectedSpeedUp, fixedSpeedUp, idealSpeedUp } from "./outlook.ts";

/** A pass over more rows costs a little more: 10 ms for one, 0.5 ms for each further. */
const rows = [1, 2, 4, 8, 16, 32, 64, 128];
const target = { model: "target", rows, seconds: rows.map((count) => 0.01 + 0.0005 * (count - 1)) };
const pass = (count: number): number => 0.01 + 0.0005 * (count - 1);

test("of a fixed chain: tokens of simulated rounds over their time", () => {
  const [right, length, draft, rounds] = [0.7, 4, 0.002, 200_000];
  let tokens = 0;
  for (let round = 0; round < rounds; round++) {
    let kept = 0;
    while (kept < length && uniform({ seed: 1, request: round }, kept, "data") < right) kept++;
    tokens += kept + 1;
  }
  const simulated = (tokens * pass(1)) / (rounds * (length * draft + pass(length + 1)));
  expect(fixedSpeedUp(target, draft, [right], Array(length).fill(1))).toBeCloseTo(simulated, 2);
});

test("of a fixed tree: width costs rows, and its level is right more often", () => {
  // Levels of 1, 3 and 1 children: 1 + 3 + 3 nodes; 1, 0.6, 0.6·0.8, 0.6·0.8·0.6 tokens.
  const tokens = 1 + 0.6 + 0.6 * 0.8 + 0.6 * 0.8 * 0.6;
  const expected = (tokens * pass(1)) / (3 * 0.001 + pass(8));
  expect(fixedSpeedUp(target, 0.001, [0.6, 0.7, 0.8], [1, 3, 1])).toBeCloseTo(expected, 9);
});

test("of drafting while it is worth it: a simulation that stops where the draft is unsure", () => {
  const classes = [
    { share: 0.5, hit: 0.95 },
    { share: 0.5, hit: 0.1 },
  ];
  const draft = 0.001;
  const simulate = (deepest: number): number => {
    let [tokens, seconds] = [0, 0];
    for (let round = 0; round < 100_000; round++) {
      let [drafted, passes, kept, alive] = [0, 0, 0, true];
      while (drafted < deepest) {
        passes++;
        if (uniform({ seed: 2, request: round }, drafted, "data") >= 0.5) break; // unsure: nothing is drafted
        alive &&= uniform({ seed: 3, request: round }, drafted, "data") < 0.95;
        drafted++;
        if (alive) kept++;
      }
      tokens += kept + 1;
      seconds += passes * draft + pass(drafted + 1);
    }
    return (tokens * pass(1)) / seconds;
  };
  const best = Math.max(...Array.from({ length: 8 }, (_, i) => simulate(i + 1)));
  expect(expectedSpeedUp(target, draft, [classes])).toBeCloseTo(best, 2);
});

test("a draft as slow as its target gains nothing, whatever it knows", () => {
  const perfect = [[{ share: 1, hit: 1 }]];
  expect(idealSpeedUp(target, 0.01)).toBe(1);
  expect(expectedSpeedUp(target, 0.01, perfect)).toBe(1);
  expect(fixedSpeedUp(target, 0.01, [0.7], [1, 1, 1, 1, 1])).toBeLessThan(0.6);
});

test("a perfect draft that costs nothing is bounded by the pass alone", () => {
  const expected = Math.max(...Array.from({ length: 64 }, (_, i) => ((i + 2) * pass(1)) / pass(i + 2)));
  expect(idealSpeedUp(target, 0, 64)).toBeCloseTo(expected, 9);
  expect(idealSpeedUp(target, 0, 5)).toBeCloseTo((6 * pass(1)) / pass(6), 9);
});

test("a model that would draft for itself gains nothing by it, and nothing is measured", async () => {
  await using model = await open("pylos", { threads: 1 });
  const { chain, sequoia } = Object.fromEntries(["chain", "sequoia"].map((name) => [name, findMethod(name)]));
  for (const method of [chain, sequoia]) {
    const outlook = await methodOutlook(method, engineModel(model), method.options.parse({}) as never, {
      temperature: 0,
    });
    expect(outlook).toMatchObject({ most: 1, because: expect.stringMatching(/^the draft pylos is the model itself/) });
  }
});
