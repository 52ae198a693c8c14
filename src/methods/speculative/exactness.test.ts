/** Every way of growing a tree, followed by verification, emits exactly the target's law; and wrong ways are caught. */
import { describe, expect, test, vi } from "vitest";
import { drawFrom, type SparseDistribution, softmax } from "../../engine/distribution.ts";
import { uniform } from "../../engine/random.ts";
import { verifyPublished } from "./aded/published.ts";
import { growChain } from "./chain/index.ts";
import { createDrafting, type Drafting } from "./drafting.ts";
import { createDraws, type Draws } from "./draws.ts";
import { growByHeap, growByThreshold } from "./dyspec/index.ts";
import { continuationLaw, enumerateOutcomes } from "./enumerate.ts";
import { createShapes, growSequoia } from "./sequoia/index.ts";
import { growBranches } from "./spec-infer/index.ts";
import { growTopK } from "./top-k/index.ts";
import { addNode, childrenOf, childWith, createTree, type DraftTree, selectNodes } from "./tree.ts";
import { type Target, verify } from "./verify.ts";

vi.setConfig({ testTimeout: 120_000 }); // seconds of work at most, but the machine may be busy

/** Random logits that depend on the whole prefix. */
function logits(prefix: readonly number[], size: number, seed: number): number[] {
  const position = prefix.reduce((hash, token) => hash * 31 + token + 1, 7);
  return Array.from({ length: size }, (_, token) => 4 * uniform({ seed, request: 0 }, position, "data", token) - 2);
}

/** A target with temperature 0.7 and top-p 0.9: some tokens have no mass. */
function targetLaw(prefix: readonly number[], size: number, seed: number): Float64Array {
  const law = softmax(logits(prefix, size, seed), 1 / 0.7);
  const order = [...law.keys()].sort((a, b) => law[b] - law[a]);
  let mass = 0;
  for (const token of order) {
    if (mass >= 0.9) law[token] = 0;
    else mass += law[token];
  }
  return law.map((p) => p / mass);
}

/** The draft's `top` likeliest tokens under the same logits with noise: it misses some of the target's and has others. */
function draftLaw(prefix: readonly number[], size: number, seed: number, top: number): SparseDistribution {
  const mixed = logits(prefix, size, seed).map((x, i) => 0.6 * x + 0.8 * logits(prefix, size, seed + 1)[i]);
  const law = softmax(mixed);
  const tokens = [...law.keys()].sort((a, b) => law[b] - law[a]).slice(0, top);
  const mass = tokens.reduce((total, token) => total + law[token], 0);
  return { tokens: Int32Array.from(tokens), probabilities: Float64Array.from(tokens, (token) => law[token] / mass) };
}

function prefixOf(tree: DraftTree, node: number): number[] {
  return node === 0 ? [] : [...prefixOf(tree, tree.parents[node - 1]), tree.tokens[node - 1]];
}

interface Case {
  size: number;
  top: number;
  seed: number;
  /** Longest continuation compared; at least one more than the tree's depth, so that the bonus token is seen. */
  length: number;
  kind?: "chosen" | "sampled";
  replacement?: boolean;
  /** Resolves to the nodes to keep, where the growth prunes. */
  grow(drafting: Drafting): Promise<unknown>;
  /** What a faulty implementation would do to the tree before verification. */
  spoil?(tree: DraftTree): DraftTree;
  check?: typeof verify;
}

/** Largest difference between the law of what is emitted and plain sampling's, over all continuations of `length`. */
async function error({ size, top, seed, length, kind = "sampled", replacement, grow, spoil, check = verify }: Case) {
  const target = (prefix: readonly number[]) => targetLaw(prefix, size, seed);
  const outcomes = enumerateOutcomes(async (draws) => {
    const drafting = createDrafting({
      kind,
      replacement,
      draws,
      depth: length - 1,
      score: async (tree, nodes) => nodes.map((node) => draftLaw(prefixOf(tree, node), size, seed, top)),
    });
    const kept = await grow(drafting);
    const drafted = Array.isArray(kept) ? selectNodes(drafting.tree, kept) : drafting.tree;
    const tree = spoil ? spoil(drafted) : drafted;
    const { path, token } = check(tree, samplingTarget(tree, target, draws), draws);
    return [...path.map((node) => tree.tokens[node - 1]), token];
  });
  const law = await continuationLaw(outcomes, target, length);
  let worst = 0;
  let total = 0;
  for (const [key, mass] of law) {
    const tokens = key.split(",").map(Number);
    const wanted = tokens.reduce((p, token, i) => p * target(tokens.slice(0, i))[token], 1);
    worst = Math.max(worst, Math.abs(mass - wanted));
    total += mass;
  }
  expect(total).toBeCloseTo(1, 10);
  return worst;
}

function samplingTarget(tree: DraftTree, law: (prefix: number[]) => Float64Array, draws: Draws): Target {
  const probabilitiesAt = (node: number) => law(prefixOf(tree, node));
  return { probabilitiesAt, sampleAt: (node) => draws.choose("residual", probabilitiesAt(node), 1) };
}

const shape = createShapes([0.5, 0.25, 0.1], 5, 3).shape(5, 3);
const growths: Record<string, Pick<Case, "grow" | "kind" | "replacement">> = {
  chain: { grow: (drafting) => growChain(drafting, { length: 3 }) },
  "chain of adaptive length": { grow: (drafting) => growChain(drafting, { length: 3, minimumReach: 0.4 }) },
  "spec-infer": { grow: (drafting) => growBranches(drafting, [2, 1, 1]), replacement: true },
  "spec-infer, three branches": { grow: (drafting) => growBranches(drafting, [3, 1]), replacement: true },
  "k-ary tree": { grow: (drafting) => growBranches(drafting, [2, 1, 1]) },
  "k-ary tree, three branches": { grow: (drafting) => growBranches(drafting, [3, 1]) },
  sequoia: { grow: (drafting) => growSequoia(drafting, shape) },
  "dyspec, heap": { grow: (drafting) => growByHeap(drafting, { budget: 5 }) },
  "dyspec, heap with prefetch and limits": {
    grow: (drafting) => growByHeap(drafting, { budget: 6, width: 3, maximumPasses: 3, minimumValue: 0.1 }),
  },
  "dyspec, threshold": { grow: (drafting) => growByThreshold(drafting, { threshold: 0.25, budget: 5 }) },
  "top-k": { grow: (drafting) => growTopK(drafting, { budget: 8 }), kind: "chosen" },
};

describe.each(Object.entries(growths))("%s is exact", (_name, growth) => {
  test.each([
    { size: 3, top: 3, seed: 1, length: 4 },
    { size: 6, top: 3, seed: 2, length: 4 },
    { size: 8, top: 3, seed: 3, length: 4 },
    { size: 6, top: 1, seed: 4, length: 4 },
  ])("$size tokens, $top drafted", async (sizes) => {
    expect(await error({ ...sizes, ...growth })).toBeLessThan(1e-12);
  });
});

describe("one level, full support, more children than tokens with mass", () => {
  test.each([true, false])("replacement %s", async (replacement) => {
    for (let seed = 10; seed < 14; seed++) {
      const grow = (drafting: Drafting) => growBranches(drafting, [4]);
      expect(await error({ size: 6, top: 6, seed, length: 2, replacement, grow })).toBeLessThan(1e-12);
    }
  });
});

describe("what must fail", () => {
  const sizes = { size: 6, top: 4 };
  /** A wrong rule may look exact where the residual shrinks to one token; it must be caught on one of ten random cases. */
  async function caught(wrong: Omit<Case, "seed">): Promise<void> {
    const errors = [];
    for (let seed = 1; seed <= 10; seed++) errors.push(await error({ ...wrong, seed }));
    expect(Math.max(...errors)).toBeGreaterThan(1e-3);
  }
  /** The tree without the nodes that `drop` names, and without what hangs below them. */
  function without(tree: DraftTree, drop: (node: number) => boolean): DraftTree {
    const kept = createTree(tree.kind, tree);
    const renumbered: (number | undefined)[] = [0];
    kept.distributions[0] = tree.distributions[0];
    tree.tokens.forEach((token, i) => {
      const parent = renumbered[tree.parents[i]];
      if (parent === undefined || drop(i + 1)) return;
      const node = addNode(kept, parent, token, tree.values?.[i]);
      renumbered[i + 1] = node;
      kept.distributions[node] = tree.distributions[i + 1];
    });
    return kept;
  }

  test("pruning drawn nodes by their value", async () => {
    const spoil = (tree: DraftTree) => without(tree, (node) => tree.values![node - 1] < 0.2);
    const grow = (drafting: Drafting) => growByHeap(drafting, { budget: 4 });
    await caught({ ...sizes, length: 3, grow, spoil });
  });

  test("p/q for a tree that was chosen, not drawn", async () => {
    const spoil = (tree: DraftTree): DraftTree => ({
      ...tree,
      kind: "sampled",
      distributions: [0, ...tree.tokens].map((_, node) => draftLaw(prefixOf(tree, node), 6, 2, 4)),
    });
    const grow = (drafting: Drafting) => growTopK(drafting, { budget: 4 });
    expect(await error({ ...sizes, seed: 2, length: 3, kind: "chosen", grow, spoil })).toBeGreaterThan(1e-3);
  });

  test("leaving repeated draws out of the verification", async () => {
    const spoil = (tree: DraftTree) =>
      without(
        tree,
        (node) => childWith(tree, childrenOf(tree)[tree.parents[node - 1]], tree.tokens[node - 1]) !== node,
      );
    const grow = (drafting: Drafting) => growBranches(drafting, [3]);
    await caught({ size: 8, top: 6, length: 2, replacement: true, grow, spoil });
  });

  test("verifying siblings in another order than they were drawn", async () => {
    const spoil = (tree: DraftTree): DraftTree => {
      const order = tree.tokens.map((_, i) => i).sort((a, b) => tree.values![b] - tree.values![a]);
      return { ...tree, tokens: order.map((i) => tree.tokens[i]) };
    };
    const grow = (drafting: Drafting) => growBranches(drafting, [2]);
    await caught({ ...sizes, length: 2, grow, spoil });
  });

  test("drawing again from the target after a mismatch or a rejection", async () => {
    const check: typeof verify = (tree, target, draws) => {
      const verdict = verify(tree, target, draws);
      const node = verdict.path.at(-1) ?? 0;
      return childrenOf(tree)[node].length > 0 ? { ...verdict, token: target.sampleAt(node) } : verdict;
    };
    const chain = (drafting: Drafting) => growChain(drafting, { length: 2 });
    await caught({ ...sizes, length: 3, grow: chain, check });
    const chosen = (drafting: Drafting) => growTopK(drafting, { budget: 4 });
    await caught({ ...sizes, length: 3, kind: "chosen", grow: chosen, check });
  });

  test("the sampling that was published with ADED", async () => {
    const check: typeof verify = (tree, target) => verifyPublished(tree, target.sampleAt);
    const grow = (drafting: Drafting) => growTopK(drafting, { budget: 3 });
    await caught({ size: 6, top: 3, length: 2, kind: "chosen", grow, check });
  });

  test("a residual that forgets to drop drawn siblings from the proposal", async () => {
    const spoil = (tree: DraftTree): DraftTree => ({ ...tree, replacement: true });
    const grow = (drafting: Drafting) => growBranches(drafting, [3]);
    await caught({ size: 8, top: 6, length: 2, grow, spoil });
  });
});

describe("with random numbers", () => {
  test("a chosen tree emits plain sampling's own tokens", async () => {
    const stream = { seed: 5, request: 1 };
    const law = (prefix: readonly number[]) => targetLaw(prefix, 6, 7);
    const plain: number[] = [];
    for (let position = 0; position < 60; position++)
      plain.push(drawFrom(law(plain), uniform(stream, position, "sample")));
    const output: number[] = [];
    while (output.length < 60) {
      const drafting = createDrafting({
        kind: "chosen",
        depth: 4,
        draws: createDraws(stream, output.length),
        score: async (tree, nodes) => nodes.map((node) => draftLaw([...output, ...prefixOf(tree, node)], 6, 7, 3)),
      });
      const tree = selectNodes(drafting.tree, await growTopK(drafting, { budget: 8 }));
      const at = (node: number) => [...output, ...prefixOf(tree, node)];
      const target: Target = {
        probabilitiesAt: (node) => law(at(node)),
        sampleAt: (node) => drawFrom(law(at(node)), uniform(stream, at(node).length, "sample")),
      };
      const { path, token } = verify(tree, target, createDraws(stream, output.length));
      output.push(...path.map((node) => tree.tokens[node - 1]), token);
    }
    expect(output.slice(0, 60)).toEqual(plain);
  });

  test("greedy verification follows the argmax through a sampled tree", async () => {
    const argmaxOf = (prefix: readonly number[]) =>
      targetLaw(prefix, 6, 7).reduce((best, p, i, all) => (p > all[best] ? i : best), 0);
    for (let seed = 0; seed < 50; seed++) {
      const draws = createDraws({ seed, request: 0 }, 3);
      const score: Parameters<typeof createDrafting>[0]["score"] = async (tree, nodes) =>
        nodes.map((node) => draftLaw(prefixOf(tree, node), 6, 7, 4));
      const drafting = createDrafting({ kind: "sampled", depth: 5, draws, score });
      await growByHeap(drafting, { budget: 12 });
      const { tree } = drafting;
      const { path, token } = verify(tree, { sampleAt: (node) => argmaxOf(prefixOf(tree, node)) }, draws);
      const output = [...path.map((node) => tree.tokens[node - 1]), token];
      expect(output).toEqual(output.map((_, i) => argmaxOf(output.slice(0, i))));
    }
  });

  test("acceptance is 1 - TV(p, q)", () => {
    // q = a p + (1 - a) noise with the noise where p = 0: accepted with probability a at every position.
    const p = Float64Array.of(0.5, 0.3, 0.2, 0, 0, 0);
    const a = 0.6;
    const probabilities = Float64Array.of(0.5 * a, 0.3 * a, 0.2 * a, (1 - a) / 2, (1 - a) / 2);
    let accepted = 0;
    const rounds = 40_000;
    for (let round = 0; round < rounds; round++) {
      const draws = createDraws({ seed: 1, request: 0 }, round);
      const tree = createTree("sampled");
      tree.distributions[0] = { tokens: Int32Array.of(0, 1, 2, 3, 4), probabilities };
      addNode(tree, 0, draws.choose("draft", probabilities, 1));
      accepted += verify(tree, { probabilitiesAt: () => p, sampleAt: () => 0 }, draws).path.length;
    }
    expect(Math.abs(accepted / rounds - a)).toBeLessThan(0.01);
  });
});
