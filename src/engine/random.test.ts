import { describe, expect, test } from "vitest";
import { normal, type Purpose, philox, purposes, type Stream, uniform } from "./random.ts";

const stream = (seed = 1, request = 0): Stream => ({ seed, request });

/** Chi-square statistic of values in [0, 1) over equal bins, as standard deviations from its expectation. */
function chiSquareDeviation(values: readonly number[], bins: number): number {
  const counts = new Float64Array(bins);
  for (const value of values) counts[Math.floor(value * bins)]++;
  const expected = values.length / bins;
  const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  return (statistic - (bins - 1)) / Math.sqrt(2 * (bins - 1));
}

function correlation(a: readonly number[], b: readonly number[]): number {
  // Uniform on [0, 1): mean 1/2, variance 1/12.
  return (a.reduce((sum, value, i) => sum + (value - 0.5) * (b[i] - 0.5), 0) / a.length) * 12;
}

describe("philox", () => {
  // The published known answers of Philox 4x32-10 (Random123, tests/kat_vectors).
  test.each([
    [[0, 0, 0, 0, 0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[-1, -1, -1, -1, -1, -1], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ])("gives the known answer for %j", (input, expected) => {
    const out = new Int32Array(4);
    const [a, b, c, d, e, f] = input;
    philox(a, b, c, d, e, f, out);
    expect(Array.from(out, (word) => (word >>> 0).toString(16).padStart(8, "0")).join(" ")).toBe(expected);
  });
});

describe("uniform", () => {
  const size = 1 << 16;
  const names = Object.keys(purposes) as Purpose[];
  const along: Record<string, (i: number) => number> = {
    position: (i) => uniform(stream(), i, "sample"),
    index: (i) => uniform(stream(), 17, "sample", i),
    seed: (i) => uniform(stream(i), 17, "sample"),
    "high half of the seed": (i) => uniform(stream(i * 2 ** 32), 17, "sample"),
    request: (i) => uniform(stream(1, i), 17, "sample"),
    "high half of the request": (i) => uniform(stream(1, i * 2 ** 32), 17, "sample"),
    purpose: (i) => uniform(stream(1, i >> 3), 17, names[i & 7]),
    "position and index together": (i) => uniform(stream(), i & 255, "draft", i >> 8),
  };

  test.each(Object.entries(along))("is uniform and uncorrelated along the %s", (_, draw) => {
    const values = Array.from({ length: size }, (_, i) => draw(i));
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    expect(Math.abs(chiSquareDeviation(values, 256))).toBeLessThan(5);
    for (const lag of [1, 2, 8, 256]) {
      const shifted = values.map((_, i) => values[(i + lag) % size]);
      expect(Math.abs(correlation(values, shifted))).toBeLessThan(5 / Math.sqrt(size));
    }
    // Pairs of neighbours fill the square evenly.
    const pairs = values.map((value, i) => (Math.floor(value * 16) + values[(i + 1) % size]) / 16);
    expect(Math.abs(chiSquareDeviation(pairs, 256))).toBeLessThan(5);
    // Low bits as well as high ones.
    const low = values.map((value) => (value * 2 ** 40) % 1);
    expect(Math.abs(chiSquareDeviation(low, 256))).toBeLessThan(5);
  });

  test("flipping any bit of any coordinate changes about half of the bits", () => {
    const word = (value: number) => Math.floor(value * 2 ** 32);
    const bitsOf = (value: number) => value.toString(2).replaceAll("0", "").length;
    const flips: ((bit: number) => number)[] = [
      (bit) => uniform(stream(5, 6), 7 ^ (1 << bit), "accept", 8),
      (bit) => uniform(stream(5, 6), 7, "accept", 8 ^ (1 << bit)),
      (bit) => uniform(stream(5 ^ (1 << bit), 6), 7, "accept", 8),
      (bit) => uniform(stream(5, 6 ^ (1 << bit)), 7, "accept", 8),
    ];
    const base = word(uniform(stream(5, 6), 7, "accept", 8));
    for (const flip of flips) {
      let total = 0;
      for (let bit = 0; bit < 20; bit++) total += bitsOf((word(flip(bit)) ^ base) >>> 0);
      expect(total / 20).toBeGreaterThan(13);
      expect(total / 20).toBeLessThan(19);
    }
  });

  test("no two coordinates share a value", () => {
    const seen = new Set<number>();
    let draws = 0;
    const edges = [0, 1, 2, 3, 255, 256, 65535, 65536, 2 ** 20 - 1, 2 ** 24 - 1, 2 ** 31, 2 ** 32 - 1];
    for (const position of edges) {
      for (const index of edges) {
        for (const purpose of names) {
          for (const request of [0, 1, 2 ** 32, 2 ** 53 - 1]) {
            seen.add(uniform(stream(9, request), position, purpose, index));
            draws++;
          }
        }
      }
    }
    for (let position = 0; position < 300; position++) {
      for (let index = 0; index < 300; index++) {
        seen.add(uniform(stream(10), position, "search", index));
        draws++;
      }
    }
    expect(seen.size).toBe(draws); // 53 bits: a chance collision among 10^5 has probability below 10^-6
  });

  test("is a pure function", () => {
    const first = uniform(stream(3, 4), 5, "xtc", 6);
    uniform(stream(8, 8), 8, "sample", 8);
    expect(uniform(stream(3, 4), 5, "xtc", 6)).toBe(first);
  });
});

test("normal draws have the moments and the tails of a standard normal, and are functions of their place", () => {
  const draws = Array.from({ length: 40_000 }, (_, i) => normal({ seed: 5, request: 2 }, i, "initialise", i % 3));
  const moment = (k: number) => draws.reduce((sum, x) => sum + x ** k, 0) / draws.length;
  // Five standard errors of each mean.
  expect(Math.abs(moment(1))).toBeLessThan(5 / 200);
  expect(Math.abs(moment(2) - 1)).toBeLessThan((5 * Math.SQRT2) / 200);
  expect(Math.abs(moment(3))).toBeLessThan((5 * Math.sqrt(15)) / 200);
  expect(Math.abs(moment(4) - 3)).toBeLessThan((5 * Math.sqrt(96)) / 200);
  const beyond = draws.filter((x) => Math.abs(x) > 1.96).length / draws.length;
  expect(Math.abs(beyond - 0.05)).toBeLessThan(5 * Math.sqrt(0.0475 / 40_000));
  expect(normal({ seed: 5, request: 2 }, 7, "initialise", 1)).toBe(draws[7]);
});
