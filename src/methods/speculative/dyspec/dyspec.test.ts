import { describe, expect, test } from "vitest";
import { drawFrom, type SparseDistribution } from "../../../engine/distribution.ts";
import { uniform } from "../../../engine/random.ts";
import { createDrafting, type Drafting } from "../drafting.ts";
import { type Draws, sum } from "../draws.ts";
import { childrenOf, type DraftTree } from "../tree.ts";
import { growByHeap, growByThreshold } from "./index.ts";

const pathOf = (tree: DraftTree, node: number): number[] =>
  node === 0 ? [] : [...pathOf(tree, tree.parents[node - 1]), tree.tokens[node - 1]];
const hash = (path: readonly number[]) => path.reduce((value, token) => (Math.imul(value, 31) + token + 1) | 0, 7);

/** Peaked or flat, depending on the prefix; 12 tokens. */
function draftAfter(path: readonly number[], seed: number): SparseDistribution {
  const weights = Float64Array.from({ length: 12 }, (_, token) =>
    Math.exp((1 + (Math.abs(hash(path)) % 5)) * uniform({ seed, request: 1 }, hash(path), "data", token)),
  );
  const tokens = Int32Array.from([...weights.keys()].sort((a, b) => weights[b] - weights[a]));
  const total = sum(weights);
  return { tokens, probabilities: Float64Array.from(tokens, (token) => weights[token] / total) };
}

/** Draws whose randomness belongs to the slot (path of the node, number of its children), whatever the order of drawing. */
function slotDrafting(seed: number, { depth = 30, distribution = draftAfter } = {}) {
  let slot = "";
  let at = 0;
  const log: { slot: string; value: number }[] = [];
  const draws: Draws = {
    choose: (_, weights, total) => drawFrom(weights, uniform({ seed, request: 2 }, at, "draft") * total),
    accept: () => true,
  };
  const inner = createDrafting({
    kind: "sampled",
    draws,
    depth,
    score: async (tree, nodes) => nodes.map((node) => distribution(pathOf(tree, node), seed)),
  });
  const drafting: Drafting = {
    ...inner,
    get passes() {
      return inner.passes;
    },
    grow(node) {
      const ordinal = childrenOf(inner.tree)[node].length;
      slot = `${pathOf(inner.tree, node).join(".")}/${ordinal}`;
      at = hash([...pathOf(inner.tree, node), 100 + ordinal]);
      log.push({ slot, value: inner.promise(node) });
      return inner.grow(node);
    },
  };
  return { drafting, log };
}

describe.each([1, 2, 3, 4, 5, 6, 7, 8])("case %i", (seed) => {
  test("slots are taken in falling order of value, and the budget is used up", async () => {
    const { drafting, log } = slotDrafting(seed);
    await growByHeap(drafting, { budget: 48 });
    expect(drafting.tree.tokens).toHaveLength(48);
    for (let i = 1; i < log.length; i++) expect(log[i].value).toBeLessThanOrEqual(log[i - 1].value);
  });

  test("values are those of the published recursion v0 = v R[y], v1 = v (1 - R[y])", async () => {
    const { drafting, log } = slotDrafting(seed);
    await growByHeap(drafting, { budget: 48 });
    const { tree } = drafting;
    const values = new Map<string, number>([["/0", 1]]);
    const children = childrenOf(tree);
    const visit = (node: number): void => {
      const { tokens, probabilities } = tree.distributions[node] ?? { tokens: new Int32Array(0), probabilities: [] };
      const path = pathOf(tree, node).join(".");
      const residual = Float64Array.from(probabilities);
      children[node].forEach((child, ordinal) => {
        const v = values.get(`${path}/${ordinal}`)!;
        const drawn = tokens.indexOf(tree.tokens[child - 1]);
        const share = residual[drawn];
        values.set(`${pathOf(tree, child).join(".")}/0`, v * share);
        values.set(`${path}/${ordinal + 1}`, v * (1 - share));
        expect(tree.values![child - 1]).toBeCloseTo(v * share, 12);
        residual[drawn] = 0;
        const rest = sum(residual);
        for (let i = 0; i < residual.length; i++) residual[i] /= rest;
        visit(child);
      });
    };
    visit(0);
    for (const { slot, value } of log) expect(value).toBeCloseTo(values.get(slot)!, 10);
  });

  test("the threshold form takes the same slots, with a pass per level", async () => {
    const heap = slotDrafting(seed);
    await growByHeap(heap.drafting, { budget: 48 });
    const threshold = slotDrafting(seed);
    await growByThreshold(threshold.drafting, { threshold: heap.log.at(-1)!.value, budget: 1000 });
    const slots = ({ log }: typeof heap) => log.map(({ slot }) => slot).sort();
    expect(slots(threshold)).toEqual(slots(heap));
    const levels = Math.max(...threshold.log.map(({ slot }) => slot.split("/")[0].split(".").filter(Boolean).length));
    expect(threshold.drafting.passes).toBe(levels + 1);
  });

  test("scoring ahead saves passes and changes nothing else", async () => {
    const one = slotDrafting(seed);
    const eight = slotDrafting(seed);
    await growByHeap(one.drafting, { budget: 48 });
    await growByHeap(eight.drafting, { budget: 48, width: 8 });
    expect(eight.drafting.tree.tokens).toEqual(one.drafting.tree.tokens);
    expect(eight.drafting.tree.parents).toEqual(one.drafting.tree.parents);
    expect(eight.drafting.passes).toBeLessThan(one.drafting.passes);
    // Lazily, a pass is run for nodes with children only.
    expect(one.drafting.passes).toBe(childrenOf(one.drafting.tree).filter((children) => children.length > 0).length);
  });
});

const oneHot = (path: readonly number[]): SparseDistribution => ({
  tokens: Int32Array.of(path.length),
  probabilities: Float64Array.of(1),
});

test.each([
  { budget: 0, depth: 9, size: 0 },
  { budget: 1, depth: 9, size: 1 },
  { budget: 9, depth: 4, size: 4 },
])("a certain draft is a chain: budget $budget, depth $depth", async ({ budget, depth, size }) => {
  for (const grow of [growByHeap, growByThreshold]) {
    const { drafting } = slotDrafting(1, { depth, distribution: oneHot });
    await grow(drafting, { budget, threshold: 0.1 });
    expect(drafting.tree.tokens).toEqual(Array.from({ length: size }, (_, i) => i));
  }
});

test("limits: passes, the least value, the context's end", async () => {
  const few = slotDrafting(3);
  await growByHeap(few.drafting, { budget: 48, maximumPasses: 2 });
  expect(few.drafting.passes).toBe(2);
  const valued = slotDrafting(3);
  await growByHeap(valued.drafting, { budget: 48, minimumValue: 0.1 });
  expect(Math.min(...valued.log.map(({ value }) => value))).toBeGreaterThanOrEqual(0.1);
  const none = slotDrafting(3, { depth: 0 });
  await growByHeap(none.drafting, { budget: 48 });
  await growByThreshold(none.drafting, { budget: 48, threshold: 0.1 });
  expect(none.drafting.tree.tokens).toEqual([]);
  await expect(growByThreshold(none.drafting, { budget: 4, threshold: 0 })).rejects.toThrow(/threshold/);
  await expect(growByThreshold(none.drafting, { budget: 4, threshold: 1.1 })).rejects.toThrow(/threshold/);
});

test("the threshold form's budget is spent in an order fixed before drawing, and no row is scored in vain", async () => {
  let rows = 0;
  const counted = (path: readonly number[], seed: number) => {
    rows++;
    return draftAfter(path, seed);
  };
  const { drafting } = slotDrafting(5, { distribution: counted });
  await growByThreshold(drafting, { threshold: 0.001, budget: 20 });
  expect(drafting.tree.tokens).toHaveLength(20);
  expect(rows).toBeLessThanOrEqual(20);
});
