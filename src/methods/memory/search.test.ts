/** Exact search against brute force in float64, with ties, duplicates and everything left out that is to be. */
import { expect, test } from "vitest";
import { normal, uniform } from "../../engine/random.ts";
import { indexPassages } from "./bm25.ts";
import { invertedSearch, recallOf } from "./inverted.ts";
import { recollection } from "./mlp-memory/index.ts";
import { neighbourLaw } from "./neighbours.ts";
import { bestLambda, natsOf } from "./reading.ts";
import { exactSearch, type KeyTable, kthSmallest } from "./search.ts";

function tableOf(entries: number, width: number, seed: number, levels?: number): KeyTable {
  const keys = Float32Array.from({ length: entries * width }, (_, i) =>
    levels ? Math.floor(uniform({ seed, request: 0 }, i, "data") * levels) : normal({ seed, request: 0 }, i, "data"),
  );
  const norms = new Float32Array(entries);
  for (let i = 0; i < entries; i++) for (let j = 0; j < width; j++) norms[i] += keys[i * width + j] ** 2;
  return { entries, width, keys, norms };
}

function brute({ entries, width, keys }: KeyTable, query: Float32Array, k: number, without = -1) {
  const all = Array.from({ length: entries }, (_, entry) => {
    let distance = 0;
    for (let j = 0; j < width; j++) distance += (query[j] - keys[entry * width + j]) ** 2;
    return { entry, distance };
  }).filter(({ entry }) => entry !== without);
  return all.sort((a, b) => a.distance - b.distance || a.entry - b.entry).slice(0, k);
}

test("the k-th smallest of numbers, many of them equal or infinite", () => {
  for (let round = 0; round < 200; round++) {
    const draw = (i: number): number => uniform({ seed: round, request: 1 }, i, "data");
    const count = 1 + Math.floor(draw(0) * 40);
    const levels = round % 2 === 0 ? 3 : 1e6;
    const values = Float64Array.from({ length: count }, (_, i) =>
      i % 11 === 5 ? Infinity : Math.floor(draw(i + 1) * levels),
    );
    const sorted = values.toSorted();
    for (let k = 1; k <= count; k++) expect(kthSmallest(values.slice(), k)).toBe(sorted[k - 1]);
  }
  // What is no number ends, whatever comes of it.
  kthSmallest(Float64Array.of(Number.NaN, 2, Number.NaN, 1), 2);
});

test.each([
  [3000, 16, undefined, 10],
  [70_000, 4, undefined, 50], // of many queries: products of some keys at a time, and of some queries
  [5000, 3, 2, 100], // eight different keys: ties by the hundred, the lowest index first
  [7, 5, undefined, 12], // fewer keys than neighbours
])("%i keys of width %i (%s levels), k = %i", async (entries, width, levels, k) => {
  const table = tableOf(entries, width, 1, levels);
  const { keys: queries } = tableOf(entries > 10_000 ? 300 : 20, width, 2, levels);
  const search = await exactSearch(table, { threads: 1 });
  const found = await search.find(queries, k);
  const alone = await search.find(queries.slice(width, 2 * width), k);
  await search.close();
  found.forEach(({ indices, distances }, q) => {
    if (entries > 10_000 && q % 99 > 0) return; // brute force takes its time
    const wanted = brute(table, queries.subarray(q * width, (q + 1) * width), k);
    expect([...indices]).toEqual(wanted.map(({ entry }) => entry));
    for (const [i, { distance }] of wanted.entries()) expect(distances[i]).toBeCloseTo(distance, 9);
  });
  expect(alone[0]).toEqual(found[1]); // whatever else is searched for
});

test("equal keys by the hundred thousand, and more neighbours wanted than any list could hold", async () => {
  const entries = 150_000;
  const keys = new Float32Array(entries).fill(0.5);
  const search = await exactSearch({ entries, width: 1, keys, norms: new Float32Array(entries).fill(0.25) });
  const [{ indices, distances }] = await search.find(Float32Array.of(0.5), 3, [1]);
  expect([[...indices], [...distances]]).toEqual([
    [0, 2, 3],
    [0, 0, 0],
  ]);
  await search.close();
  const table = tableOf(50, 2, 1);
  for (const few of [await exactSearch(table), await invertedSearch(table, { lists: 4, probes: 4 })]) {
    const [hits] = await few.find(table.keys.slice(0, 2), 2 ** 40);
    expect([...hits.indices]).toEqual(brute(table, table.keys.subarray(0, 2), 50).map(({ entry }) => entry));
    await few.close();
  }
});

test("an entry's own key is left out by its index, not by its rank", async () => {
  const table = tableOf(500, 6, 3);
  table.keys.copyWithin(6 * 77, 6 * 10, 6 * 11); // a duplicate
  table.norms[77] = table.norms[10];
  const search = await exactSearch(table, { threads: 1 });
  const queries = table.keys.slice(60, 66);
  expect([...(await search.find(queries, 3))[0].indices].slice(0, 2)).toEqual([10, 77]);
  const [{ indices, distances }] = await search.find(queries, 3, [10]);
  expect([...indices]).toEqual(brute(table, queries, 3, 10).map(({ entry }) => entry));
  expect([indices[0], distances[0]]).toEqual([77, 0]);
  await search.close();
});

test("queries that are not finite, of another width, or no neighbours wanted", async () => {
  const search = await exactSearch(tableOf(10, 4, 1), { threads: 1 });
  expect(() => search.find(Float32Array.of(1, 2, Number.NaN, 4), 2)).toThrow(/query 0 has values that are not finite/);
  expect(() => search.find(new Float32Array(6), 2)).toThrow(/rows of 4/);
  expect(() => search.find(new Float32Array(4), 0)).toThrow(/k must be .* not 0/);
  expect(() => search.find(new Float32Array(8), 2, [3])).toThrow(/2 queries, but 1 entries that they must not find/);
  await search.close();
});

test("tables that are none, and numbers out of their range", async () => {
  const table = tableOf(10, 4, 1);
  const norms = table.norms.with(3, Number.NaN);
  await expect(exactSearch({ ...table, entries: 0, keys: new Float32Array(0) })).rejects.toThrow(/0 entries/);
  for (const search of [exactSearch, (one: KeyTable) => invertedSearch(one, { probes: 1 })]) {
    await expect(search({ ...table, entries: 20 })).rejects.toThrow(/20 entries .* keys has 40 numbers and norms 10/);
    await expect(search({ ...table, norms })).rejects.toThrow(/key 3 has a length that is not finite/);
  }
  const hits = { indices: Int32Array.of(0), distances: Float64Array.of(1) };
  expect(() => neighbourLaw(hits, Int32Array.of(7), 0)).toThrow(/temperature must be above 0/);
  expect(() => recollection(new Float32Array(3), -1)).toThrow(/temperature must be above 0/);
  expect(() => recallOf([hits], [])).toThrow(/hits of 1 queries, the other of 0/);
  const read = { own: Float64Array.of(0.5), memories: [Float64Array.of(0.2)] };
  expect(() => natsOf(read, 0, 1.5)).toThrow(/lambda must lie in \[0, 1\]/);
  expect(() => natsOf(read, 1, 0.5)).toThrow(/no reader 1/);
  expect(() => natsOf({ ...read, own: Float64Array.of(Number.NaN) }, 0, 0.5)).toThrow(/token 0 .* probability NaN/);
  const silent = { own: Float64Array.of(0.5, 0.5), memories: [Float64Array.of(1, 0)] };
  expect([0, 0.5, 1].map((lambda) => natsOf(silent, 0, lambda))).toEqual([
    expect.closeTo(-2 * Math.log(0.5)),
    expect.closeTo(-Math.log(0.75) - Math.log(0.25)),
    Number.POSITIVE_INFINITY,
  ]);
  expect(bestLambda([silent], 0, [1, 0.9, 0.2])).toBe(0.2);
  expect(() => bestLambda([], 0)).toThrow(/give one of each/);
  expect(() => bestLambda([read], 0, [])).toThrow(/give one of each/);
  await expect(indexPassages(["a", null] as never)).rejects.toThrow(
    /indexPassages: texts\[1\] must be a text, not null/,
  );
  await expect(indexPassages(["a b"], 0)).rejects.toThrow(/words must be a whole number from 1 on, not 0/);
  const { find } = await indexPassages(["a b"]);
  expect(() => find("a", -1)).toThrow(/count must be a whole number/);
});

test("the law of neighbours: softmax of distances, summed by token, at every temperature", () => {
  const hits = { indices: Int32Array.of(4, 0, 2, 3), distances: Float64Array.of(1000, 1001, 1003, 1003) };
  const values = Int32Array.of(7, 9, 7, 5, 5);
  const weights = [0, 1, 3, 3].map((d) => Math.exp(-d / 2));
  const total = weights.reduce((a, b) => a + b, 0);
  const { tokens, probabilities } = neighbourLaw(hits, values, 2);
  expect([...tokens]).toEqual([5, 7]);
  expect(probabilities[0]).toBeCloseTo((weights[0] + weights[3]) / total, 12);
  expect(probabilities[0] + probabilities[1]).toBeCloseTo(1, 12);
  const least = recollection(Float32Array.of(-2, -0.5, -1), Number.MIN_VALUE);
  expect([0, 1, 2].map((token) => least.probability(token))).toEqual([0, 1, 0]);
  expect([...neighbourLaw(hits, values, 1e-6).tokens]).toEqual([5]); // the nearest alone
  expect([...neighbourLaw(hits, values, 1e9).probabilities].map((p) => p.toFixed(6))).toEqual(["0.500000", "0.500000"]);
});
