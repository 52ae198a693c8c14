import { expect, test } from "vitest";
import { uniform } from "../engine/random.ts";
import { trainNgrams } from "./kneser-ney.ts";

const exp = (logs: Float64Array): number[] => [...logs].map(Math.exp);

test("two short documents by hand", async () => {
  // 0 begins; documents a b, a b, a c, d b with a = 1, b = 2, c = 3, d = 4. Bigrams, five tokens in all.
  const documents = [
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 3],
    [0, 4, 2],
  ];
  const { logProbabilities, discounts, distinct } = await trainNgrams(documents, {
    order: 2,
    vocabularySize: 5,
    beginToken: 0,
  });
  // Bigrams: 0a 3, 0d 1, ab 2, ac 1, db 1. Unigrams by left neighbours: a 1 (0), d 1 (0), b 2 (a, d), c 1 (a).
  expect(distinct).toEqual([4, 5]);
  // Unigrams: t1 = 3, t2 = 1, t3 = 0, no D3; bigrams: t1 = 3, t2 = 1, t3 = 1, t4 = 0: D1 = 1 - 2 (3/5)(1/3) = 0.6, D2 = 2 - 3 (3/5) = 0.2, D3 = 3.
  expect(discounts[0]).toEqual([0.5, 1, 1.5]);
  [0.6, 0.2, 3].forEach((d, i) => {
    expect(discounts[1][i]).toBeCloseTo(d, 12);
  });
  // p(b) = (2 - 1)/5 + (0.5 + 0.5 + 0.5 + 1)/5 · 1/4 = 0.325; p(c) = 0.5/5 + 0.5 · 1/4 = 0.225 = p(a) = p(d).
  // After a: p(b|a) = (2 - 0.2)/3 + (0.2 + 0.6)/3 · 0.325; p(c|a) = (1 - 0.6)/3 + 0.8/3 · 0.225; p(d|a) = 0.8/3 · 0.225.
  // After 0: p(a|0) = (3 - 3)/4 + (3 + 0.6)/4 · 0.225. After b nothing was seen: p(a|b) = p(a).
  const [aAfterBegin, bAfterA] = exp(logProbabilities([0, 1, 2]));
  expect(aAfterBegin).toBeCloseTo(0.9 * 0.225, 12);
  expect(bAfterA).toBeCloseTo(0.6 + (0.8 / 3) * 0.325, 12);
  expect(exp(logProbabilities([0, 1, 3]))[1]).toBeCloseTo(0.4 / 3 + (0.8 / 3) * 0.225, 12);
  expect(exp(logProbabilities([0, 1, 4]))[1]).toBeCloseTo((0.8 / 3) * 0.225, 12);
  expect(exp(logProbabilities([0, 2, 1]))[1]).toBeCloseTo(0.225, 12);
});

const noise = (request: number, count: number, size: number): number[] =>
  Array.from({ length: count }, (_, i) => 1 + Math.floor(uniform({ seed: 6, request }, i, "data") ** 2 * (size - 1)));

test("probabilities sum to one in every context, seen or not, and repeat those of the definition", async () => {
  const size = 7;
  const documents = Array.from({ length: 60 }, (_, i) => [0, ...noise(i, 3 + (i % 9), size)]);
  const order = 4;
  const model = await trainNgrams(documents, { order, vocabularySize: size, beginToken: 0 });

  // The definition, with lists of strings.
  const grams = (n: number): string[] =>
    documents.flatMap((d) => d.slice(0, Math.max(0, d.length - n + 1)).map((_, i) => d.slice(i, i + n).join(" ")));
  const tally = (keys: readonly string[]): Map<string, number> => {
    const found = new Map<string, number>();
    for (const key of keys) found.set(key, (found.get(key) ?? 0) + 1);
    return found;
  };
  const adjusted = (n: number): Map<string, number> => {
    const raw = tally(grams(n));
    if (n === order) return raw;
    const sides = tally([...new Set(grams(n + 1))].map((gram) => gram.slice(gram.indexOf(" ") + 1)));
    const all = new Map([...raw].map(([gram, count]) => [gram, gram.startsWith("0") ? count : (sides.get(gram) ?? 0)]));
    if (n === 1) all.delete("0");
    return all;
  };
  const tables = [0, 1, 2, 3, 4].map((n) => (n === 0 ? new Map<string, number>() : adjusted(n)));
  const discount = (n: number, count: number): number => model.discounts[n - 1][Math.min(3, count) - 1];
  const probability = (context: readonly number[], token: number): number => {
    const n = context.length + 1;
    const shorter = n === 1 ? 1 / (size - 1) : probability(context.slice(1), token);
    const followers = [...tables[n]].filter(
      ([gram]) => gram.split(" ").length === n && gram.split(" ").slice(0, -1).join(" ") === context.join(" "),
    );
    const total = followers.reduce((sum, [, count]) => sum + count, 0);
    if (total === 0) return shorter;
    const own = tables[n].get([...context, token].join(" ")) ?? 0;
    const left = followers.reduce((sum, [, count]) => sum + discount(n, count), 0);
    return (own > 0 ? own - discount(n, own) : 0) / total + (left / total) * shorter;
  };
  for (let i = 0; i < 40; i++) {
    const before = [0, ...noise(1000 + i, i % 6, size)];
    const next = Array.from({ length: size - 1 }, (_, k) => k + 1).map((token) => {
      const found = Math.exp(model.logProbabilities([...before, token]).at(-1)!);
      expect(found).toBeCloseTo(probability(before.slice(-(order - 1)), token), 10);
      return found;
    });
    expect(next.reduce((a, b) => a + b)).toBeCloseTo(1, 10);
  }
});

test("growing changes nothing; texts without tokens are refused", async () => {
  const documents = Array.from({ length: 300 }, (_, i) => [0, ...noise(i, 40, 90)]);
  const options = { order: 5, vocabularySize: 90, beginToken: 0 };
  const { distinct, logProbabilities } = await trainNgrams(documents, options);
  const wanted = [1, 2, 3, 4, 5].map(
    (n) =>
      new Set(
        documents
          .flatMap((d) => d.map((_, i) => d.slice(i, i + n)).filter((g) => g.length === n && g.at(-1) !== 0))
          .map((g) => g.join()),
      ).size,
  );
  expect(distinct).toEqual(wanted);
  expect(distinct[4]).toBeGreaterThan(5000);
  expect(logProbabilities(documents[0])).toHaveLength(40);
  await expect(trainNgrams([[0]], options)).rejects.toThrow("no texts");
  await expect(trainNgrams([[3, 4]], options)).rejects.toThrow("begin token");
  await expect(trainNgrams(documents, { ...options, order: 0 })).rejects.toThrow("order");
});
