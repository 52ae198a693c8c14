import { expect, test } from "vitest";
import { createDrafting } from "../drafting.ts";
import { createDraws } from "../draws.ts";
import { childrenOf, depthsOf, repeatsOf } from "../tree.ts";
import { defaultBranches, growBranches } from "./index.ts";

function draft(seed: number, replacement: boolean) {
  return createDrafting({
    kind: "sampled",
    replacement,
    draws: createDraws({ seed, request: 0 }, 0),
    depth: 12,
    score: async (_, nodes) =>
      nodes.map(() => ({ tokens: Int32Array.of(1, 2, 3, 4), probabilities: Float64Array.of(0.4, 0.3, 0.2, 0.1) })),
  });
}

test("levels have the listed branches, with one pass each; repeats stay as leaves", async () => {
  let repeats = 0;
  for (let seed = 0; seed < 20; seed++) {
    const drafting = draft(seed, true);
    await growBranches(drafting, defaultBranches);
    expect(drafting.passes).toBe(8);
    const repeated = repeatsOf(drafting.tree);
    const depths = depthsOf(drafting.tree);
    childrenOf(drafting.tree).forEach((children, node) => {
      expect(children).toHaveLength(repeated[node] ? 0 : (defaultBranches[depths[node]] ?? 0));
    });
    repeats += repeated.filter(Boolean).length;
  }
  expect(repeats).toBeGreaterThan(0);
});

test("without replacement siblings differ", async () => {
  const drafting = draft(1, false);
  await growBranches(drafting, [3, 2]);
  expect(drafting.tree.tokens).toHaveLength(9);
  expect(repeatsOf(drafting.tree)).not.toContain(true);
});

test("the budget holds and bad branches are refused", async () => {
  const drafting = draft(1, false);
  await growBranches(drafting, [3, 3, 3], 10);
  expect(drafting.tree.tokens).toHaveLength(9);
  await expect(growBranches(draft(1, true), [2, 0])).rejects.toThrow(/branches/);
});
