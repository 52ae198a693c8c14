import { describe, expect, test } from "vitest";
import { createDrafting } from "../drafting.ts";
import { createDraws } from "../draws.ts";
import { bestLength, expectedTokens, growChain } from "./index.ts";

const drafting = (depth: number, endTokens?: Set<number>) =>
  createDrafting({
    kind: "sampled",
    draws: createDraws({ seed: 1, request: 0 }, 0),
    depth,
    endTokens,
    score: async (_, nodes) => nodes.map(() => ({ tokens: Int32Array.of(4), probabilities: Float64Array.of(1) })),
  });

describe("length of a chain", () => {
  test.each([
    ["its length", 5, 9, undefined, 5],
    ["the depth that is left", 5, 2, undefined, 2],
    ["nothing, with length 0", 0, 9, undefined, 0],
    ["an end token", 5, 9, new Set([4]), 1],
  ])("ends at %s", async (_, length, depth, endTokens, expected) => {
    const run = drafting(depth, endTokens);
    await growChain(run, { length });
    expect([run.tree.tokens.length, run.passes]).toEqual([expected, expected]);
    expect(run.tree.parents).toEqual(run.tree.tokens.map((__, i) => i));
  });

  test("stops when the product of probabilities is low, one draw after it fell", async () => {
    const run = createDrafting({
      kind: "sampled",
      draws: createDraws({ seed: 1, request: 0 }, 0),
      depth: 20,
      score: async (_, nodes) =>
        nodes.map(() => ({ tokens: Int32Array.of(1, 2), probabilities: Float64Array.of(0.5, 0.5) })),
    });
    await growChain(run, { length: 10, minimumReach: 0.25 });
    expect(run.tree.values).toEqual([0.5, 0.25, 0.125]);
  });

  test("ends where the next token is not worth its cost", async () => {
    const run = drafting(20);
    const economy = {
      limit: 64,
      price: (drafted: number, passes = 0) => (drafted < 3 ? 0.1 * passes : 2),
      settle() {},
    };
    await growChain(run, { length: 10, economy });
    expect(run.tree.tokens).toHaveLength(3);
  });
});

test("expected speed-up has its maximum where it should", () => {
  expect(expectedTokens(1, 5)).toBe(6);
  // Values worked out from (1 - 0.6^(k+1)) / (0.4 (c k + 1)).
  const best = [0.01, 0.02, 0.05, 0.1].map((cost) => bestLength(0.6, cost));
  expect(best.map(({ length }) => length)).toEqual([7, 6, 4, 3]);
  expect(best.map(({ speedUp }) => Number(speedUp.toFixed(3)))).toEqual([2.297, 2.17, 1.921, 1.674]);
  expect(bestLength(0.05, 0.5).length).toBe(0);
});

test("a draft distribution that is none is refused", async () => {
  const broken = (probabilities: number[]) =>
    createDrafting({
      kind: "sampled",
      draws: createDraws({ seed: 1, request: 0 }, 0),
      depth: 3,
      score: async () => [{ tokens: Int32Array.of(1, 2), probabilities: Float64Array.from(probabilities) }],
    });
  for (const probabilities of [[0.5, Number.NaN], [0.5, 0.6], [1.5, -0.5], [1]]) {
    await expect(growChain(broken(probabilities), { length: 1 })).rejects.toThrow(/draft model gave/);
  }
});
