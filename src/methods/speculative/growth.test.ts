/** Growth rules by price, on machines of every kind: whatever passes cost and drafts say, the tree is one that can be verified. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { uniform } from "../../engine/random.ts";
import { createAcceptanceEstimate } from "./acceptance.ts";
import { measuredEconomy } from "./budget.ts";
import { growChain } from "./chain/index.ts";
import type { Guidance } from "./draft-model.ts";
import { createDrafting, type Drafting } from "./drafting.ts";
import { createDraws, sum } from "./draws.ts";
import { growByHeap, growByThreshold } from "./dyspec/index.ts";
import { acceptanceVector, bestShape, createShapes, growSequoia } from "./sequoia/index.ts";
import { growTopK } from "./top-k/index.ts";
import { type DraftTree, depthsOf, selectNodes } from "./tree.ts";

const budget = 24;
const depth = 6;

const rules: Record<string, (drafting: Drafting, guidance: Guidance) => Promise<unknown>> = {
  chain: (drafting, { economy }) => growChain(drafting, { length: 64, economy }),
  heap: (drafting, { economy }) => growByHeap(drafting, { budget, width: 4, economy }),
  threshold: (drafting, { economy }) => growByThreshold(drafting, { budget, threshold: 1 / (4 * budget), economy }),
  sequoia(drafting, { estimate }) {
    const shapes = createShapes(acceptanceVector(estimate, drafting.tree.kind), budget, depth);
    return growSequoia(
      drafting,
      bestShape(shapes, budget, depth, 0.2, (rows) => 1 + 0.1 * rows),
    );
  },
  topK: (drafting, { economy }) => growTopK(drafting, { budget, width: 3, economy }),
};

/** Pass times that rise, in steps of any height: flat stretches and jumps, as caches and kernels make them. */
const curves = fc
  .array(fc.oneof(fc.constant(0), fc.double({ min: 0, max: 3, noNaN: true })), { minLength: 9, maxLength: 9 })
  .map((steps) => {
    let total = 1;
    const seconds = steps.map((step) => {
      total += step;
      return total;
    });
    return { model: "any", rows: [1, 2, 4, 8, 12, 16, 20, 24, 32], seconds };
  });

const cases = Object.entries(rules).flatMap(([name, grow]) =>
  (["chosen", "sampled"] as const)
    .filter((kind) => kind === "chosen" || name !== "topK")
    .map((kind) => [name, kind, grow] as const),
);
test.each(cases)("%s, %s", async (_, kind, grow) => {
  await fc.assert(
    fc.asyncProperty(
      curves,
      fc.double({ min: 0, max: 2, noNaN: true }),
      fc.nat(1e6),
      async (curve, draftPass, seed) => {
        const economy = measuredEconomy(curve, draftPass, budget);
        const estimate = createAcceptanceEstimate(kind);
        for (let round = 0; round < 30; round++) {
          const random = (position: number, index = 0) => uniform({ seed, request: round }, position, "data", index);
          const drafting = createDrafting({
            kind,
            draws: createDraws({ seed, request: round }, 0),
            depth,
            endTokens: new Set([5]),
            chances: estimate,
            score: async (_, nodes) =>
              nodes.map((node) => {
                const weights = Float64Array.from({ length: 6 }, (_, token) => Math.exp(4 * random(node, token)));
                const tokens = Int32Array.from([0, 1, 2, 3, 4, 5]).sort((a, b) => weights[b] - weights[a]);
                const total = sum(weights);
                return { tokens, probabilities: Float64Array.from(tokens, (token) => weights[token] / total) };
              }),
          });
          const kept = await grow(drafting, { economy, estimate });
          const tree: DraftTree = Array.isArray(kept) ? selectNodes(drafting.tree, kept) : drafting.tree;
          expect(tree.tokens.length).toBeLessThanOrEqual(budget);
          tree.parents.forEach((parent, i) => {
            expect(parent).toBeLessThanOrEqual(i);
            if (parent > 0) expect(tree.tokens[parent - 1]).not.toBe(5);
          });
          expect(Math.max(...depthsOf(tree))).toBeLessThanOrEqual(depth);
          const path: number[] = [];
          for (let node = 0; ; ) {
            const children = tree.parents.flatMap((parent, i) => (parent === node ? [i + 1] : []));
            const chosen = children[Math.floor(2 * children.length * random(node, 9))];
            if (!chosen) break;
            path.push(chosen);
            node = chosen;
          }
          estimate.observe(tree, path);
          economy.settle(path.length + 1, tree.tokens.length, drafting.passes);
        }
      },
    ),
    { numRuns: 40 },
  );
});
