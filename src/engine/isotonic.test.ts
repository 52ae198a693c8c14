import fc from "fast-check";
import { expect, test } from "vitest";
import { rising } from "./isotonic.ts";

test("what rises stays, what falls is averaged by weight", () => {
  expect(rising([1, 2, 2, 5])).toEqual([1, 2, 2, 5]);
  expect(rising([3, 1])).toEqual([2, 2]);
  expect(rising([3, 1], [1, 3])).toEqual([1.5, 1.5]);
  expect(rising([1, 4, 3, 2, 5])).toEqual([1, 3, 3, 3, 5]);
  expect(rising([])).toEqual([]);
});

test("no rising sequence is closer", () => {
  const points = fc.array(
    fc.record({ value: fc.integer({ min: 0, max: 4 }), weight: fc.integer({ min: 1, max: 3 }) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  );
  fc.assert(
    fc.property(points, (list) => {
      const [values, weights] = [list.map(({ value }) => value), list.map(({ weight }) => weight)];
      const error = (to: readonly number[]) => to.reduce((sum, x, i) => sum + weights[i] * (x - values[i]) ** 2, 0);
      const best = rising(values, weights);
      for (let i = 1; i < best.length; i++) expect(best[i]).toBeGreaterThanOrEqual(best[i - 1] - 1e-12);
      // All rising sequences on a grid.
      const grid = Array.from({ length: 17 }, (_, i) => i / 4);
      const visit = (start: number, sequence: number[]): void => {
        if (sequence.length === values.length) {
          expect(error(best)).toBeLessThanOrEqual(error(sequence) + 1e-9);
          return;
        }
        for (let i = start; i < grid.length; i++) visit(i, [...sequence, grid[i]]);
      };
      visit(0, []);
    }),
    { numRuns: 30 },
  );
});
