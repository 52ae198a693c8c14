import { describe, expect, test } from "vitest";
import { argmax, drawFrom, exponential, softmax, topKSoftmax } from "./distribution.ts";

describe("exponential", () => {
  test("is within 1e-15 of Math.exp down to where numbers end", () => {
    let worst = 0;
    for (let x = 0; x > -708; x -= 0.00713) worst = Math.max(worst, Math.abs(exponential(x) / Math.exp(x) - 1));
    expect(worst).toBeLessThan(1e-15);
  });

  test("knows the edges", () => {
    expect(exponential(0)).toBe(1);
    expect(exponential(-0)).toBe(1);
    expect(exponential(-1e-300)).toBe(1);
    expect(exponential(-709)).toBe(0);
    expect(exponential(-1e300)).toBe(0);
    expect(exponential(-Infinity)).toBe(0);
    expect(exponential(Number.NaN)).toBeNaN();
  });
});

describe("softmax", () => {
  test("gives probabilities in proportion to exp(logit / temperature)", () => {
    const logits = [1.5, -2, 0, 1.5, 30, -Infinity];
    const weights = logits.map((logit) => Math.exp(logit * 0.5));
    const total = weights.reduce((a, b) => a + b);
    const result = softmax(logits, 0.5);
    for (const [i, weight] of weights.entries()) expect(result[i]).toBeCloseTo(weight / total, 14);
    expect(result[5]).toBe(0);
    expect(result.reduce((a, b) => a + b)).toBeCloseTo(1, 14);
  });

  test("writes into a given array and survives huge logits", () => {
    const out = new Float64Array(2);
    expect(softmax([1e38, -1e38], 1, out)).toBe(out);
    expect([...out]).toEqual([1, 0]);
  });

  test.each([[[1, Number.NaN]], [[Number.NaN, 1]], [[Infinity, 1]], [[-Infinity, -Infinity]]])(
    "refuses %j",
    (logits) => {
      expect(() => softmax(logits)).toThrow(expect.objectContaining({ code: "runtime_failed" }));
    },
  );
});

test("argmax: the lowest index wins ties", () => {
  expect(argmax([1, 3, 2, 3])).toBe(1);
  expect(argmax([-Infinity, -Infinity])).toBe(0);
});

describe("drawFrom", () => {
  test("draws the token at which the cumulative mass passes u", () => {
    const probabilities = [0, 0.25, 0, 0.5, 0.25, 0];
    expect([0, 0.2499, 0.25, 0.7499, 0.75, 0.9999].map((u) => drawFrom(probabilities, u))).toEqual([1, 1, 3, 3, 4, 4]);
  });

  test("rounding at the end falls on the last possible token", () => {
    expect(drawFrom([0.1, 0.2, 0.3, 0], 1 - 2 ** -53)).toBe(2);
  });

  test("refuses a distribution without mass", () => {
    expect(() => drawFrom([0, 0], 0.5)).toThrow(expect.objectContaining({ code: "constraint_dead_end" }));
  });
});

describe("the likeliest tokens", () => {
  test.each([1, 3, 64, 500])("%i of them, most likely first, renormalised", (k) => {
    for (const scale of [0.01, 3, 40]) {
      const logits = Float32Array.from({ length: 500 }, (_, i) => scale * Math.sin(i * i));
      const { tokens, probabilities } = topKSoftmax(logits, 0.7, k);
      const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b).slice(0, k);
      expect([...tokens]).toEqual(order);
      const wanted = softmax(
        Float64Array.from(order, (token) => logits[token]),
        1 / 0.7,
      );
      probabilities.forEach((p, i) => {
        expect(p).toBeCloseTo(wanted[i], 12);
      });
    }
  });

  test.each(["far apart", "with many ties", "sorted", "with few likely ones"])("of a large vocabulary %s", (kind) => {
    const sized = (i: number) => ((i * 7919) % 5000) / 100;
    const logits = Float32Array.from({ length: 5000 }, (_, i) => {
      if (kind === "with many ties") return (i * 7919) % 7;
      if (kind === "sorted") return -i / 10;
      if (kind === "with few likely ones") return i % 1000 === 3 ? 9 : i % 2 === 0 ? -0 : 0;
      return sized(i) - 25;
    });
    for (const k of [1, 8, 64, 1024]) {
      const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b).slice(0, k);
      expect([...topKSoftmax(logits, 1, k).tokens]).toEqual(order);
    }
  });

  test("with ties the lowest ids; without a finite entry an error", () => {
    expect([...topKSoftmax(new Float32Array(10), 1, 4).tokens]).toEqual([0, 1, 2, 3]);
    expect([...topKSoftmax(Float32Array.of(-Infinity, 1, -Infinity), 1, 2).tokens]).toEqual([1, 0]);
    expect(() => topKSoftmax(new Float32Array(4).fill(Number.NaN), 1, 2)).toThrow(/NaN/);
    expect(() => topKSoftmax(Float32Array.of(1, 2, Number.NaN, 3), 1, 2)).toThrow(/NaN/);
    expect(() => topKSoftmax(new Float32Array(4).fill(-Infinity), 1, 2)).toThrow(/finite/);
  });
});
