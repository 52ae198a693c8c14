import { describe, expect, test } from "vitest";
import { arrival, type Race, winnerOf } from "./race.ts";
import { uniform } from "./random.ts";

const at = (position: number, seed = 1, request = 0): Race => ({ stream: { seed, request }, position });
const all = (size: number): Int32Array => Int32Array.from({ length: size }, (_, token) => token);

/** Pearson's statistic as standard deviations from its expectation. */
function deviation(counts: ArrayLike<number>, expected: (cell: number) => number): number {
  let statistic = 0;
  for (let i = 0; i < counts.length; i++) statistic += (counts[i] - expected(i)) ** 2 / expected(i);
  return (statistic - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1));
}

describe("arrivals", () => {
  // 1 - exp(-E) is uniform; tokens of one group and of several, neighbours in position, request and seed.
  const part = (token: number, race: Race) => -Math.expm1(-arrival(race, token));
  const series: Record<string, (i: number) => number> = {
    "tokens of one position": (i) => part(i, at(7)),
    "one token, position by position": (i) => part(19, at(i)),
    "one token, request by request": (i) => part(19, at(7, 1, i)),
    "one token, seed by seed": (i) => part(19, at(7, i)),
    "the last token of a large vocabulary": (i) => part(262_143, at(i)),
  };
  const size = 1 << 15;

  test.each(Object.entries(series))("%s are exponential", (_, draw) => {
    const counts = new Float64Array(128);
    let mean = 0;
    for (let i = 0; i < size; i++) {
      const value = draw(i);
      counts[Math.floor(value * 128)] += 1;
      mean += -Math.log1p(-value) / size;
    }
    expect(Math.abs(deviation(counts, () => size / 128))).toBeLessThan(4);
    expect(Math.abs(mean - 1)).toBeLessThan(4 / Math.sqrt(size));
  });

  test.each([1, 2, 8, 15, 16, 17, 64])("those %d tokens apart are independent", (apart) => {
    // Pairs over a grid that is finer where both are small, which is where races are won.
    const edges = [0.01, 0.05, 0.2, 0.5, 1];
    const cellOf = (value: number) => edges.findIndex((edge) => value < edge);
    const widths = edges.map((edge, i) => edge - (edges[i - 1] ?? 0));
    const counts = new Float64Array(edges.length ** 2);
    const pairs = 40_000;
    for (let i = 0; i < pairs; i++) {
      const token = (i * 7) % 1000;
      counts[cellOf(part(token, at(i))) * edges.length + cellOf(part(token + apart, at(i)))] += 1;
    }
    const expected = (cell: number) => pairs * widths[Math.floor(cell / edges.length)] * widths[cell % edges.length];
    expect(Math.abs(deviation(counts, expected))).toBeLessThan(4);
  });
});

describe("the winner", () => {
  test("is the token with the smallest arrival over weight, in any vocabulary and any part of one", () => {
    for (let trial = 0; trial < 400; trial++) {
      const random = (index: number) => uniform({ seed: 9, request: trial }, 0, "data", index);
      const size = 1 + Math.floor(random(0) * 300);
      const weights = Float64Array.from({ length: size }, (_, i) =>
        random(3 * i + 1) < 0.2 ? 0 : Math.exp(12 * (random(3 * i + 2) - 0.5)),
      );
      const tokens = all(size).filter((i) => trial % 2 === 0 || random(3 * i + 3) < 0.3);
      const race = at(trial, 3);
      let expected = -1;
      for (const token of tokens) {
        const time = arrival(race, token) / weights[token];
        if (weights[token] > 0 && (expected < 0 || time < arrival(race, expected) / weights[expected]))
          expected = token;
      }
      expect(winnerOf(race, tokens, tokens.length, weights)).toBe(expected);
      expect(
        winnerOf(
          race,
          tokens,
          tokens.length,
          weights.map((w) => w * 1024),
        ),
      ).toBe(expected);
    }
    expect(winnerOf(at(0), all(3), 3, new Float64Array(3))).toBe(-1);
  });

  const laws: Record<string, Float64Array> = {
    "six tokens": Float64Array.of(0.5, 0.25, 0.15, 0.07, 0.02, 0.01),
    "two tokens of one group": Float64Array.of(0.3, 0.7),
    "a hundred tokens": Float64Array.from({ length: 100 }, (_, i) => 1 / (i + 1)),
    "mass in single tokens of many groups": Float64Array.from({ length: 160 }, (_, i) => (i % 16 === 3 ? 1 + i : 0)),
  };
  test.each(Object.entries(laws))("is distributed as its weights: %s", (_, weights) => {
    const samples = 60_000;
    const total = weights.reduce((a, b) => a + b);
    const counts = new Float64Array(weights.length);
    for (let i = 0; i < samples; i++)
      counts[winnerOf(at(i & 255, 2, i >> 8), all(weights.length), weights.length, weights)] += 1;
    const cells = [...weights.keys()].filter((token) => weights[token] > 0);
    expect(counts.reduce((a, b) => a + b)).toBe(samples);
    const found = cells.map((token) => counts[token]);
    expect(Math.abs(deviation(found, (cell) => (samples * weights[cells[cell]]) / total))).toBeLessThan(4);
    // The same counts against a slightly other law are found out.
    const other = cells.map((token) => weights[token] ** 0.7);
    const norm = other.reduce((a, b) => a + b);
    expect(deviation(found, (cell) => (samples * other[cell]) / norm)).toBeGreaterThan(6);
  });
});
