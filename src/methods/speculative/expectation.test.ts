import { expect, test } from "vitest";
import { arrival, winnerOf } from "../../engine/race.ts";
import { uniform } from "../../engine/random.ts";
import { expectedWinners } from "./expectation.ts";

const tokens = Int32Array.of(2, 5, 9, 11);
const probabilities = Float64Array.of(0.4, 0.3, 0.2, 0.1);
const at = (position: number) => ({ stream: { seed: 8, request: 0 }, position });

test("tokens stand in the order in which the race is won, with chances that sum to 1", () => {
  for (let position = 0; position < 200; position++) {
    const race = at(position);
    const expected = expectedWinners({ tokens, probabilities }, 1.3, race);
    const times = Array.from(tokens, (token, i) => ({ token, time: arrival(race, token) / probabilities[i] }));
    times.sort((a, b) => a.time - b.time);
    expect([...expected.tokens]).toEqual(times.map(({ token }) => token));
    expect(expected.probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    expect([...expected.probabilities]).toEqual([...expected.probabilities].sort((a, b) => b - a));
    const weights = new Float64Array(12);
    tokens.forEach((token, i) => {
      weights[token] = probabilities[i];
    });
    expect(expected.tokens[0]).toBe(winnerOf(race, tokens, 4, weights));
  }
});

test("chances hold for a target whose logits are off by a logistic error, and what is not listed takes its part", () => {
  // The largest of sums with Gumbel errors of scale s is i with the softmax of sums / s (Luce): the assumed error, exactly.
  const [scale, trials] = [0.7, 20_000];
  const found = { expected: 0, hits: 0 };
  for (let position = 0; position < trials; position++) {
    const race = at(position);
    const { tokens: order, probabilities: chances } = expectedWinners({ tokens, probabilities }, 1 / scale, race);
    const error = (i: number) =>
      -scale * Math.log(-Math.log(uniform({ seed: 9, request: 0 }, position, "data", i) || 0.5));
    const sums = Array.from(tokens, (token, i) => Math.log(probabilities[i] / arrival(race, token)) + error(i));
    const winner = tokens[sums.indexOf(Math.max(...sums))];
    found.expected += chances[0] / trials;
    found.hits += (winner === order[0] ? 1 : 0) / trials;
  }
  expect(Math.abs(found.hits - found.expected)).toBeLessThan(0.01);

  const half = { tokens, probabilities: probabilities.map((p) => p / 2) };
  let listed = 0;
  for (let position = 0; position < 2000; position++)
    listed += expectedWinners(half, 1, at(position)).probabilities.reduce((a, b) => a + b) / 2000;
  expect(Math.abs(listed - 0.5)).toBeLessThan(0.15);
});
