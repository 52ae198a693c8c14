import fc from "fast-check";
import { expect, test } from "vitest";
import { createNgramIndex, lookUp } from "./index.ts";

function indexOf(tokens: readonly number[], options?: Parameters<typeof createNgramIndex>[0]) {
  const index = createNgramIndex(options);
  for (const token of tokens) index.push(token);
  return index;
}

/** Occurrences by looking everywhere. */
function search(context: readonly number[], minimum: number, maximum: number): number[] {
  const found: number[] = [];
  for (let n = maximum; n >= minimum; n--) {
    const end = context.slice(context.length - n);
    for (let at = context.length - 1; at >= n && context.length >= n; at--) {
      if (end.every((token, i) => context[at - n + i] === token) && !found.includes(at)) found.push(at);
    }
  }
  return found;
}

test("finds what a search of the whole context finds, longest match and most recent first", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), (context, minimum) => {
      const index = indexOf(context, { minimum, maximum: minimum + 2 });
      expect(index.occurrences(100)).toEqual(search(context, minimum, minimum + 2));
    }),
  );
});

test("proposes what followed, and repeats a repetition beyond the end", () => {
  expect(lookUp(indexOf([1, 2, 3, 4, 5, 1, 2]), { length: 3 }).tokens).toEqual([3, 4, 5]);
  expect(lookUp(indexOf([7, 8, 7, 8, 7]), { length: 6 }).tokens).toEqual([8, 7, 8, 7, 8, 7]);
  expect(lookUp(indexOf([1, 2, 3]), { length: 3 }).tokens).toEqual([]);
  expect(lookUp(indexOf([]), { length: 3 }).tokens).toEqual([]);
});

test("pairs whose hashes collide are told apart", () => {
  // The hash of (a, b) is (a + 1) * base + b + 1 mod 2^32: the pairs (0, b) and (d, b') collide for b - b' = d * base.
  const step = (d: number) => Math.imul(d, 0x9e3779b1);
  const d = Array.from({ length: 100_000 }, (_, i) => i + 1).find((i) => step(i) > 0 && step(i) < 100_000)!;
  expect(indexOf([0, 5 + step(d), 7, d, 5], { minimum: 2, maximum: 2 }).occurrences(9)).toEqual([]);
  expect(indexOf([0, 5 + step(d), 7, 0, 5 + step(d)], { minimum: 2, maximum: 2 }).occurrences(9)).toEqual([2]);
});

test("merges several occurrences into a tree within the budget", () => {
  const index = indexOf([1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2]);
  const tree = lookUp(index, { length: 3, occurrences: 2 });
  expect([tree.tokens, tree.parents]).toEqual([
    [3, 5, 9, 4, 9],
    [0, 1, 2, 1, 4],
  ]);
  expect(lookUp(index, { length: 3, occurrences: 2, budget: 4 }).tokens).toEqual([3, 5, 9, 4]);
  expect(lookUp(index, { length: 3, endTokens: new Set([5]) }).tokens).toEqual([3, 5]);
});

test("a long text of repetitions stays cheap", () => {
  const index = createNgramIndex({ maximum: 5 });
  const started = process.cpuUsage();
  for (let i = 0; i < 200_000; i++) {
    index.push(i % 3 === 0 ? 1 : 2);
    if (i % 1000 === 0) index.occurrences(4);
  }
  expect(process.cpuUsage(started).user / 1e6).toBeLessThan(5); // seconds; quadratic growth would need minutes
  expect(() => createNgramIndex({ minimum: 0 })).toThrow(/n-gram sizes/);
});
