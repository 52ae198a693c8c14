import { expect, test } from "vitest";
import { createPlanChoice } from "./plans.ts";
import type { OnnxValue } from "./program.ts";

const shaped = (...shapes: number[][]): Record<string, OnnxValue> =>
  Object.fromEntries(shapes.map((dims, i) => [`x${i}`, { type: "float32", data: [], dims, dispose: () => {} }]));

/** What the runtime finds a plan by. */
const keyOf = (inputs: Record<string, OnnxValue>, [plan]: readonly [number, 0]): number =>
  Object.values(inputs).reduce((key, { dims }) => dims.reduce((a, b) => a ^ b, key), plan);

test("shapes that come back have plans of their own, up to a number, and all others share one", () => {
  const choose = createPlanChoice(
    [["rows", 3], ["double", "rows"], [7, "rows"], [7]].map((shape, i) => ({ name: `x${i}`, type: "float32", shape })),
  );
  const keyFor = (rows: number): number => {
    const inputs = shaped([rows, 3], [2 * rows, rows], [7, rows], [7]);
    return keyOf(inputs, choose(inputs)) ^ 3;
  };
  for (let rows = 1; rows <= 1000; rows++) expect(keyFor(rows)).toBe(0);
  const often = Array.from({ length: 40 }, (_, i) => 10 * i + 3);
  for (let time = 0; time < 3; time++) for (const rows of often) keyFor(rows);
  const keys = often.map(keyFor);
  expect(new Set(keys).size).toBe(often.length);
  expect(often.map(keyFor)).toEqual(keys);
  const all = new Set<number>();
  for (let time = 0; time < 5; time++) for (let rows = 1; rows <= 1000; rows++) all.add(keyFor(rows));
  expect(all.size).toBe(49);
  expect(often.map(keyFor)).toEqual(keys);
});
