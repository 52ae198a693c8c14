/** The inverted file beside exact search; BM25 by its formula. */
import { expect, test } from "vitest";
import { normal } from "../../engine/random.ts";
import { indexPassages } from "./bm25.ts";
import { invertedSearch, measuredSearch, recallOf, recallWithin } from "./inverted.ts";
import { exactSearch, type Hits, type KeyTable } from "./search.ts";

/** Keys around a few centres. */
function clustered(entries: number, width: number): KeyTable {
  const draw = (request: number, i: number): number => normal({ seed: 4, request }, i, "data");
  const keys = Float32Array.from({ length: entries * width }, (_, i) => {
    const [entry, j] = [Math.floor(i / width), i % width];
    return 3 * draw(entry % 20, j) + draw(100, i);
  });
  const norms = Float32Array.from({ length: entries }, (_, e) =>
    keys.subarray(e * width, (e + 1) * width).reduce((sum, x) => sum + x * x, 0),
  );
  return { entries, width, keys, norms };
}

test("all lists are exact search; a few find nearly all; none but its own entry is left out", async () => {
  const table = clustered(4000, 8);
  const queries = table.keys.slice(0, 50 * 8);
  const own = Int32Array.from({ length: 50 }, (_, i) => i);
  const exact = await exactSearch(table, { threads: 1 });
  const wanted = await exact.find(queries, 20, own);
  const all = await invertedSearch(table, { lists: 32, probes: 32, threads: 1 });
  expect(await all.find(queries, 20, own)).toEqual(wanted);
  const few = await invertedSearch(table, { lists: 32, probes: 2, threads: 1 });
  const found = await few.find(queries, 20, own);
  const recall = recallOf(wanted, found);
  expect(recall).toBeGreaterThan(0.6);
  expect(recall).toBeLessThan(1);
  expect(recallOf(wanted, wanted)).toBe(1);
  // Measured on every eighth query, with its own entry left out.
  const measured = measuredSearch(few, exact, 8);
  expect(await measured.find(queries, 20, own)).toEqual(found);
  const eighths = (all: readonly Hits[]) => all.filter((_, q) => q % 8 === 0);
  expect(measured.measured()).toEqual({ recall: recallOf(eighths(wanted), eighths(found)), checked: 7 });
  expect(await recallWithin(table, all, 20, 1)).toBe(1);
  const within = await recallWithin(table, few, 20, 1);
  expect(within).toBeGreaterThan(0.6);
  expect(within).toBeLessThan(1);
  // Whatever else is searched for.
  expect((await few.find(queries.slice(80, 88), 20, [10]))[0]).toEqual(found[10]);
  await Promise.all([exact, all, few].map((search) => search.close()));
});

test("more neighbours than all queries have room for at once: in groups, each query without its own", async () => {
  const table = clustered(600, 8);
  const own = Int32Array.from({ length: 250 }, (_, i) => i);
  const queries = table.keys.slice(0, 250 * 8);
  const exact = await exactSearch(table, { threads: 1 });
  const all = await invertedSearch(table, { lists: 8, probes: 8, threads: 1 });
  const found = await all.find(queries, 12_000, own);
  expect(found).toEqual(await exact.find(queries, 12_000, own));
  expect(found.map(({ indices }) => indices.length)).toEqual(Array(250).fill(599));
  await Promise.all([exact, all].map((search) => search.close()));
});

test("lists and probes that cannot be", async () => {
  const table = clustered(30, 4);
  await expect(invertedSearch(table, { lists: 31, probes: 1 })).rejects.toThrow(/lists: 31/);
  await expect(invertedSearch(table, { lists: 4, probes: 5 })).rejects.toThrow(/probes: 5/);
  await expect(invertedSearch(table, { probes: 1.5 })).rejects.toThrow(/probes must be a whole number/);
  await expect(invertedSearch(table, { lists: 2.5, probes: 1 })).rejects.toThrow(/lists must be a whole number/);
});

test("BM25 by its formula, the best first", async () => {
  const texts = ["the king has a green dog", "the dog of the king", "a blue stone", "green green stone of the dog"];
  const { find, passages } = await indexPassages(texts);
  expect(passages).toBe(4);
  const found = find("Green dog?", 5);
  const lengths = texts.map((text) => text.split(" ").length);
  const mean = lengths.reduce((a, b) => a + b, 0) / 4;
  const score = (i: number): number =>
    ["green", "dog"].reduce((sum, word) => {
      const f = texts[i].split(" ").filter((w) => w === word).length;
      const n = texts.filter((text) => text.split(" ").includes(word)).length;
      const rarity = Math.log(1 + (4 - n + 0.5) / (n + 0.5));
      return sum + (rarity * f * 2.2) / (f + 1.2 * (0.25 + (0.75 * lengths[i]) / mean));
    }, 0);
  expect(found.map(({ text }) => text)).toEqual([texts[3], texts[0], texts[1]]);
  expect(found[0].score).toBeCloseTo(score(3), 12);
  expect(found[1].score).toBeCloseTo(score(0), 12);
  expect((await indexPassages(["one two three four five"], 2)).passages).toBe(3);
  await expect(indexPassages([" "])).rejects.toThrow(/no words/);
});
