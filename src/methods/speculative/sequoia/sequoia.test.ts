import { describe, expect, test } from "vitest";
import { uniform } from "../../../engine/random.ts";
import { createAcceptanceEstimate } from "../acceptance.ts";
import { createDrafting } from "../drafting.ts";
import { createDraws, sum } from "../draws.ts";
import { addNode, createTree, depthsOf } from "../tree.ts";
import { acceptanceVector, bestShape, createShapes, growSequoia } from "./index.ts";

/** Expected tokens of a tree given by its parents (any order with parents first): 1 + sum of products of p[rank]. */
function expectedOf(parents: readonly number[], acceptance: readonly number[]): number {
  const reach = [1];
  const children: number[] = [0];
  for (const parent of parents) {
    reach.push(reach[parent] * (acceptance[children[parent]++] ?? 0));
    children.push(0);
  }
  return reach.reduce((a, b) => a + b, 0);
}

/** The best over all trees of at most this size and depth. */
function bruteForce(acceptance: readonly number[], size: number, depth: number): number {
  let best = 1;
  const extend = (parents: number[], depths: number[]) => {
    best = Math.max(best, expectedOf(parents, acceptance));
    if (parents.length === size) return;
    for (let parent = 0; parent <= parents.length; parent++) {
      if (depths[parent] < depth && parent >= (parents.at(-1) ?? 0)) {
        const used = parents.filter((other) => other === parent).length;
        if (used < acceptance.length) extend([...parents, parent], [...depths, depths[parent] + 1]);
      }
    }
  };
  extend([], [0]);
  return best;
}

describe("the dynamic programme", () => {
  test.each([1, 2, 3, 4, 5])("finds what trying all trees finds, case %i", (seed) => {
    const random = (i: number) => uniform({ seed, request: 0 }, i, "data");
    let rest = 1;
    const acceptance = [0, 1, 2].map((i) => {
      const p = rest * random(i);
      rest -= p;
      return p;
    });
    const shapes = createShapes(acceptance, 7, 4);
    for (let size = 0; size <= 7; size++) {
      for (let depth = 0; depth <= 4; depth++) {
        const { parents, expected } = shapes.shape(size, depth);
        expect(expected).toBeCloseTo(bruteForce(acceptance, size, depth), 12);
        expect(expectedOf(parents, acceptance)).toBeCloseTo(expected, 12);
        expect(parents.length).toBeLessThanOrEqual(size);
        const depths = depthsOf({ ...createTree("chosen"), tokens: parents, parents });
        expect(Math.max(...depths)).toBeLessThanOrEqual(depth);
        expect(depths).toEqual([...depths].sort((a, b) => a - b)); // level order
      }
    }
  });

  test("a sure first child makes a chain, equal chances a wide tree", () => {
    expect(createShapes([1, 0], 4, 8).shape(4, 8).parents).toEqual([0, 1, 2, 3]);
    expect(createShapes([0.25, 0.25, 0.25, 0.25], 4, 8).shape(4, 8).parents).toEqual([0, 0, 0, 0]);
  });

  test("the cost of passes decides the size, down to no draft at all", () => {
    const shapes = createShapes([0.6, 0.15, 0.05], 32, 8);
    expect(bestShape(shapes, 32, 8, 10, (rows) => rows).parents).toEqual([]);
    const free = bestShape(shapes, 32, 8, 0, () => 1);
    expect(free.parents).toHaveLength(32);
    const costly = bestShape(shapes, 32, 8, 0.1, (rows) => 1 + 0.05 * rows);
    expect(costly.parents.length).toBeGreaterThan(0);
    expect(costly.parents.length).toBeLessThan(32);
  });

  test("refuses what it cannot do", () => {
    expect(() => createShapes([0.5, Number.NaN], 4, 4)).toThrow(/probabilities/);
    expect(() => createShapes([0.5], 100_000, 4)).toThrow(/0 to 768/);
    expect(() => createShapes([0.5], 4, 100)).toThrow(/0 to 64 levels/);
  });
});

test("the acceptance vector is recovered from verifications of trees with few children", () => {
  const truth = [0.5, 0.2, 0.1, 0.05];
  const estimate = createAcceptanceEstimate("sampled");
  for (let round = 0; round < 40_000; round++) {
    const u = (i: number) => uniform({ seed: 1, request: 0 }, round, "data", i);
    const tree = createTree("sampled");
    for (let i = 0, count = 1 + Math.floor(u(0) * 4); i < count; i++) addNode(tree, 0, i);
    const accepted = truth.findIndex((_, b) => u(1) < sum(Float64Array.from(truth.slice(0, b + 1))));
    estimate.observe(tree, accepted >= 0 && accepted < tree.tokens.length ? [accepted + 1] : []);
  }
  acceptanceVector(estimate, "sampled", 4).forEach((p, b) => {
    expect(Math.abs(p - truth[b])).toBeLessThan(0.02);
  });
});

test("the tree has the shape, one pass per level, and lacks only what the draft cannot give", async () => {
  const { parents } = createShapes([0.5, 0.3, 0.1], 9, 4).shape(9, 4);
  const support = (size: number) => ({
    tokens: Int32Array.from({ length: size }, (_, i) => i),
    probabilities: new Float64Array(size).fill(1 / size),
  });
  const grow = async (size: number) => {
    const drafting = createDrafting({
      kind: "sampled",
      draws: createDraws({ seed: 2, request: 0 }, 0),
      depth: 10,
      score: async (_, nodes) => nodes.map(() => support(size)),
    });
    await growSequoia(drafting, { parents, expected: 0 });
    return drafting;
  };
  const full = await grow(8);
  expect(full.tree.parents).toEqual(parents);
  expect(full.passes).toBe(Math.max(...depthsOf(full.tree)));
  const thin = await grow(1);
  expect(thin.tree.parents).toEqual(thin.tree.tokens.map((_, i) => i)); // first children only
});
