import fc from "fast-check";
import { expect, test } from "vitest";
import { uniform } from "../../../engine/random.ts";
import { type Chances, ownChances } from "../acceptance.ts";
import { createDrafting } from "../drafting.ts";
import { createDraws, sum } from "../draws.ts";
import { type DraftTree, selectNodes } from "../tree.ts";
import { growTopK } from "./index.ts";

const pathOf = (tree: DraftTree, node: number): number[] =>
  node === 0 ? [] : [...pathOf(tree, tree.parents[node - 1]), tree.tokens[node - 1]];

function draftAfter(path: readonly number[]) {
  const position = path.reduce((value, token) => value * 7 + token + 1, 3);
  const weights = [0, 1, 2, 3].map((token) => Math.exp(3 * uniform({ seed: 4, request: 0 }, position, "data", token)));
  const tokens = [0, 1, 2, 3].sort((a, b) => weights[b] - weights[a]);
  return {
    tokens: Int32Array.from(tokens),
    probabilities: Float64Array.from(tokens, (token) => weights[token] / sum(Float64Array.from(weights))),
  };
}

async function grow(options: Parameters<typeof growTopK>[1], depth = 4, chances: Chances = ownChances) {
  const drafting = createDrafting({
    kind: "chosen",
    draws: createDraws({ seed: 1, request: 0 }, 0),
    depth,
    chances,
    score: async (tree, nodes) => nodes.map((node) => draftAfter(pathOf(tree, node))),
  });
  const kept = await growTopK(drafting, options);
  return { tree: selectNodes(drafting.tree, kept), passes: drafting.passes };
}

test("the tree is the set of the most probable continuations", async () => {
  const all: { path: number[]; score: number }[] = [];
  const visit = (path: number[], score: number) => {
    if (path.length > 0) all.push({ path, score });
    if (path.length === 4) return;
    const { tokens, probabilities } = draftAfter(path);
    tokens.forEach((token, i) => {
      visit([...path, token], score * probabilities[i]);
    });
  };
  visit([], 1);
  all.sort((a, b) => b.score - a.score);
  for (const width of [1, 6]) {
    const { tree, passes } = await grow({ budget: 30, width });
    const best = all.slice(0, 30);
    expect(tree.tokens.map((_, i) => pathOf(tree, i + 1))).toEqual(best.map(({ path }) => path));
    tree.values!.forEach((value, i) => {
      expect(value).toBeCloseTo(best[i].score, 12);
    });
    if (width === 6) expect(passes).toBeLessThan((await grow({ budget: 30, width: 1 })).passes);
  }
});

test("whatever nodes cost, what is kept is a tree of nodes that are worth it", async () => {
  const prices = fc.array(fc.double({ min: 0, max: 0.4, noNaN: true }), { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(prices, fc.double({ min: 0, max: 0.2, noNaN: true }), fc.integer(), async (nodes, pass, seed) => {
      const price = (drafted: number, passes = 0) => (nodes[drafted] ?? Infinity) + passes * pass;
      // Chances that the draft's own order says nothing of.
      const chances: Chances = {
        ofProbability: (probability, rank) =>
          probability * uniform({ seed, request: 0 }, Math.round(probability * 1e6), "data", rank),
        ofRank: (rank) => 0.6 / (rank + 1),
      };
      const economy = { limit: 40, price, settle() {} };
      const { tree } = await grow({ budget: 40, economy }, 4, chances);
      tree.values!.forEach((value, i) => {
        expect(value).toBeGreaterThanOrEqual(nodes[i]);
      });
    }),
  );
});

test("limits: passes, score, budget", async () => {
  expect((await grow({ budget: 30, maximumPasses: 3 })).passes).toBe(3);
  expect(Math.min(...(await grow({ budget: 30, minimumScore: 0.1 })).tree.values!)).toBeGreaterThanOrEqual(0.1);
  expect((await grow({ budget: 0 })).passes).toBe(0);
  expect((await grow({ budget: 30 }, 0)).tree.tokens).toEqual([]);
});
