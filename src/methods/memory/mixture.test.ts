/** The mixture against its definition in float64, and at its ends. */
import { expect, test } from "vitest";
import { uniform } from "../../engine/random.ts";
import { logSumExp } from "../../engine/shapers/logprobs.ts";
import { mixed } from "./mixture.ts";
import type { Recollection } from "./recalling.ts";

const size = 2000;
const logitsOf = (request: number, spread: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => spread * (uniform({ seed: 1, request }, i, "data") - 0.5));
const tableOf = (logits: Float32Array): Recollection => {
  const normaliser = logSumExp(logits);
  return { tokens: [], table: { logits, normaliser }, probability: (token) => Math.exp(logits[token] - normaliser) };
};
const listed: Recollection = { tokens: [3, 7], probability: (token) => (token === 3 ? 0.75 : token === 7 ? 0.25 : 0) };

test.each([0.05, 0.5, 0.99, 1])("ln((1 - λ) p + λ m), λ = %f, summing to one", (lambda) => {
  for (const spread of [0.1, 8, 80]) {
    const [own, other] = [logitsOf(0, spread), logitsOf(1, spread)];
    const normaliser = logSumExp(own);
    for (const memory of [tableOf(other), listed]) {
      const found = mixed(own, lambda, memory);
      let total = 0;
      for (const [token, value] of found.entries()) {
        const p = (1 - lambda) * Math.exp(own[token] - normaliser) + lambda * memory.probability(token);
        if (p > 0) expect(Math.abs(value - Math.log(p))).toBeLessThan(1e-6 * Math.max(1, Math.abs(value)));
        else expect(value).toBe(-1e4);
        total += Math.exp(value);
      }
      expect(total).toBeCloseTo(1, 5);
    }
  }
});

test("λ = 0 is the very logits; what the model rules out the memory may bring back, and what both rule out stays out", () => {
  const own = logitsOf(0, 8);
  expect(mixed(own, 0, listed)).toBe(own);
  own[3] = own[5] = -Infinity;
  const other = logitsOf(1, 8);
  other[5] = -Infinity;
  for (const lambda of [0.3, 1]) {
    for (const memory of [listed, tableOf(other)]) {
      const found = mixed(own, lambda, memory);
      expect(found[3]).toBeCloseTo(Math.log(lambda * memory.probability(3)), 5);
      expect(found[5]).toBe(-Infinity);
      expect(found.some(Number.isNaN)).toBe(false);
    }
  }
});
