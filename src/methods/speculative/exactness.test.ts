/** Every way of growing a tree, followed by verification, emits exactly the target's law; and wrong ways are caught. */
import { describe, expect, test, vi } from "vitest";
import { normalDeviate } from "../../../test/fixtures/chi-square.ts";
import { type SparseDistribution, softmax } from "../../engine/distribution.ts";
import { winnerOf } from "../../engine/race.ts";
import { type Stream, uniform } from "../../engine/random.ts";
import { verifyPublished } from "./aded/published.ts";
import { growChain } from "./chain/index.ts";
import { createDrafting, type Drafting } from "./drafting.ts";
import { createDraws, type Draws } from "./draws.ts";
import { growByHeap, growByThreshold } from "./dyspec/index.ts";
import { continuationLaw, enumerateOutcomes } from "./enumerate.ts";
import { expectedWinners } from "./expectation.ts";
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

interface Shaping {
  temperature: number;
  topP: number;
}
const shapings: Shaping[] = [0.6, 1].flatMap((temperature) => [1, 0.9].map((topP) => ({ temperature, topP })));

/** A target; with top-p, some tokens have no mass. */
function targetLaw(
  prefix: readonly number[],
  size: number,
  seed: number,
  { temperature, topP }: Shaping = { temperature: 0.7, topP: 0.9 },
): Float64Array {
  const law = softmax(logits(prefix, size, seed), 1 / temperature);
  const order = [...law.keys()].sort((a, b) => law[b] - law[a]);
  let mass = 0;
  for (const token of order) {
    if (mass >= topP) law[token] = 0;
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
  shaping?: Shaping;
  /** Resolves to the nodes to keep, where the growth prunes. */
  grow(drafting: Drafting): Promise<unknown>;
  /** What a faulty implementation would do to the tree before verification. */
  spoil?(tree: DraftTree): DraftTree;
  check?: typeof verify;
}

/** Largest difference between the law of what is emitted and plain sampling's, over all continuations of `length`. */
async function error(given: Case) {
  const { size, top, seed, length, kind = "sampled", replacement, shaping, grow, spoil, check = verify } = given;
  const target = (prefix: readonly number[]) => targetLaw(prefix, size, seed, shaping);
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

describe.each(shapings)("at temperature $temperature with top-p $topP", (shaping) => {
  const sizes = { size: 5, top: 3, length: 3, shaping };

  test.each(Object.entries(growths))("%s is exact", async (_, growth) => {
    expect(await error({ ...sizes, seed: 5, ...growth })).toBeLessThan(1e-12);
  });

  const sampled = Object.entries(growths).filter(([, { kind }]) => kind !== "chosen");
  test.each(sampled)(
    "%s is caught when it is verified with another q than its tokens were drawn from",
    async (_, growth) => {
      let worst = 0;
      for (let seed = 1; seed <= 6 && worst < 1e-3; seed++) {
        worst = Math.max(worst, await error({ ...sizes, seed, ...growth, spoil: flatten }));
      }
      expect(worst).toBeGreaterThan(1e-3);
    },
  );
});

/** As if children had been drawn from q^0.7. */
function flatten(tree: DraftTree): DraftTree {
  const distributions = tree.distributions.map((law) => {
    if (!law) return law;
    const flat = law.probabilities.map((q) => q ** 0.7);
    const mass = flat.reduce((a, b) => a + b, 0);
    return { tokens: law.tokens, probabilities: flat.map((q) => q / mass) };
  });
  return { ...tree, distributions };
}

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

const size = 6;

/** Tokens of a request, round by round, as `speculate` writes them, until there are `length`. */
async function write(
  stream: Stream,
  length: number,
  law: (prefix: readonly number[]) => Float64Array,
  { kind = "sampled", replacement, grow }: Pick<Case, "kind" | "replacement" | "grow">,
  spoil = (tree: DraftTree): DraftTree => tree,
): Promise<number[]> {
  const output: number[] = [];
  while (output.length < length) {
    const start = [...output];
    const draws = createDraws(stream, start.length);
    const drafting = createDrafting({
      kind,
      replacement,
      draws,
      depth: length - start.length,
      score: async (tree, nodes) => nodes.map((node) => draftLaw([...start, ...prefixOf(tree, node)], size, 7, 4)),
      expect: (q, depth) => expectedWinners(q, 1.5, { stream, position: start.length + depth - 1 }),
    });
    const kept = await grow(drafting);
    const tree = spoil(Array.isArray(kept) ? selectNodes(drafting.tree, kept) : drafting.tree);
    const lawAt = (node: number) => law([...start, ...prefixOf(tree, node)]);
    const target: Target = {
      probabilitiesAt: lawAt,
      sampleAt: (node) => winner(lawAt(node), stream, start.length + prefixOf(tree, node).length),
    };
    const { path, token } = verify(tree, target, draws);
    output.push(...path.map((node) => tree.tokens[node - 1]), token);
  }
  return output.slice(0, length);
}

const everyone = Int32Array.from({ length: size }, (_, token) => token);
const winner = (law: Float64Array, stream: Stream, position: number) =>
  winnerOf({ stream, position }, everyone, size, law);

describe.each(shapings)("with random numbers, at temperature $temperature with top-p $topP", (shaping) => {
  const law = (prefix: readonly number[]) => targetLaw(prefix, size, 7, shaping);
  const [length, samples] = [3, 2000];
  const exact = new Map<string, number>();
  const spread = (output: number[], probability: number): void => {
    if (output.length === length) exact.set(output.join(), probability);
    else law(output).forEach((p, token) => void (p > 0 && spread([...output, token], probability * p)));
  };
  spread([], 1);
  const deviate = async (run: (stream: Stream) => Promise<number[]>): Promise<number> => {
    const counts = new Map<string, number>();
    for (let request = 0; request < samples; request++) {
      const key = (await run({ seed: 3, request })).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    for (const key of counts.keys()) expect(exact.has(key), key).toBe(true);
    return normalDeviate(counts, exact, samples);
  };
  const plain = (stream: Stream): number[] => {
    const output: number[] = [];
    while (output.length < length) output.push(winner(law(output), stream, output.length));
    return output;
  };

  test("the race has the target's law", async () => {
    expect(await deviate(async (stream) => plain(stream))).toBeLessThan(4);
  });

  test.each(Object.entries(growths))("%s emits plain sampling's own tokens in the race", async (_, growth) => {
    for (let request = 0; request < 150; request++) {
      const stream = { seed: 3, request };
      expect(await write(stream, length, law, { ...growth, kind: "chosen" })).toEqual(plain(stream));
    }
  });

  const sampled = Object.entries(growths).filter(([, { kind }]) => kind !== "chosen");
  test.each(sampled)(
    "%s has the target's law by the published rule, and with a wrong q it has not",
    async (_, growth) => {
      expect(await deviate((stream) => write(stream, length, law, growth))).toBeLessThan(4);
      expect(await deviate((stream) => write(stream, length, law, growth, flatten))).toBeGreaterThan(4);
    },
  );
});

describe("with random numbers", () => {
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
