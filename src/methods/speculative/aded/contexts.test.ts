import fc from "fast-check";
import { expect, test } from "vitest";
import { uniform } from "../../../engine/random.ts";
import { sum } from "../draws.ts";
import { createContexts } from "./contexts.ts";
import type { Row } from "./table.ts";

const nothing = () => undefined;
const chances = (row: Row | undefined): Map<number, number> =>
  new Map(Array.from(row?.tokens ?? [], (token, i) => [token, row!.weights[i]]));

function read(
  lengths: readonly number[],
  text: readonly number[],
  pair: Parameters<typeof createContexts>[1] = nothing,
) {
  const contexts = createContexts(lengths, pair);
  for (const token of text) contexts.append(token, false);
  return contexts;
}

test("the longest known context speaks first, and leaves to the others what it may be wrong about", () => {
  const table = (first: number, second: number): Row | undefined =>
    first === 1 && second === 2 ? { tokens: [4, 9], weights: [0.75, 0.25], total: 1 } : undefined;
  const { after } = read([1, 3], [7, 1, 2, 3, 7, 1, 2, 3, 5, 2, 4, 7, 1, 2], table);
  const found = chances(after([]));
  // (7,1,2) was followed by 3 twice; (2) by 3, 3 and 4, of which 4 is new; the table adds 9.
  expect([...found.keys()].sort()).toEqual([3, 4, 9]);
  expect(found.get(3)).toBeGreaterThan(0.75);
  // The table's share of 4 is not asked any more, as the text has spoken of it.
  const left = 1 - found.get(3)! - found.get(4)!;
  expect(found.get(9)).toBeCloseTo(left * 0.6, 10); // of the table's rows, 4 in 10 are wrong at first
});

test("drafted tokens are part of the context, beyond the text's end too", () => {
  const { after } = read([2], [1, 2, 3, 4, 5, 1, 2]);
  expect([...chances(after([])).keys()]).toEqual([3]);
  expect([...chances(after([3])).keys()]).toEqual([4]);
  expect([...chances(after([3, 4, 5, 1, 2, 3])).keys()]).toEqual([4]);
  expect(after([4])).toBeUndefined();
});

test("probabilities are at most 1 in all, fall, and name each token once", () => {
  const tokens = fc.array(fc.nat(4), { maxLength: 60 });
  const table = (first: number, second: number): Row => {
    const weights = [3, 1, 0.5];
    return { tokens: [first, (second + 1) % 5, 4].filter((t, i, all) => all.indexOf(t) === i), weights, total: 4.5 };
  };
  fc.assert(
    fc.property(tokens, fc.array(fc.nat(4), { maxLength: 8 }), fc.boolean(), (text, path, learn) => {
      const contexts = createContexts([1, 2, 5], table);
      for (const token of text) contexts.append(token, learn);
      const found = contexts.after(path);
      if (!found) return;
      const weights = Float64Array.from(found.weights);
      expect(sum(weights)).toBeLessThanOrEqual(1 + 1e-12);
      expect([...weights]).toEqual([...weights].sort((a, b) => b - a));
      expect(new Set(Array.from(found.tokens)).size).toBe(found.tokens.length);
    }),
  );
});

test.each([0.95, 0.6])(
  "what is foretold with some probability happens about as often, in a text that repeats with %f",
  (fidelity) => {
    const contexts = createContexts([12, 6, 3], nothing);
    const loop = Array.from({ length: 40 }, (_, i) => (i * i + 3 * i) % 23);
    let [foretold, happened, count] = [0, 0, 0];
    for (let i = 0; i < 6000; i++) {
      const chance = (index: number) => uniform({ seed: 5, request: 0 }, i, "data", index);
      const token = chance(0) < fidelity ? loop[i % 40] : 23 + Math.floor(chance(1) * 40);
      const [best] = chances(contexts.after([]));
      if (i > 1000 && best && best[1] > 0.3) {
        foretold += best[1];
        happened += best[0] === token ? 1 : 0;
        count += 1;
      }
      contexts.append(token, true);
    }
    expect(count).toBeGreaterThan(500);
    expect(Math.abs(foretold - happened) / count).toBeLessThan(0.1);
  },
);

test("what only was read teaches nothing about how often contexts are right", () => {
  const text = Array.from({ length: 600 }, (_, i) => (uniform({ seed: 8, request: 0 }, i, "data") < 0.5 ? 1 : 2));
  const [read, told] = [false, true].map((learn) => {
    const contexts = createContexts([1], nothing);
    contexts.append(3, false);
    for (const token of text) contexts.append(token, learn);
    return sum(Float64Array.from(contexts.after([])!.weights));
  });
  expect(told).toBeGreaterThan(read);
});
