/** Growing a draft tree with a draft model: the bookkeeping that all growth rules share. */
import type { SparseDistribution } from "../../engine/distribution.ts";
import { ensure } from "../../errors.ts";
import { ownProbability } from "./acceptance.ts";
import { type Draws, sum } from "./draws.ts";
import { addNode, createTree, type DraftTree } from "./tree.ts";

/** Below this share of a node's draft distribution, what its drawn children left over counts as nothing. */
const exhausted = 1e-12;

export interface Drafting {
  readonly tree: DraftTree;
  /** Draft passes so far. */
  readonly passes: number;
  /** One draft pass: afterwards these nodes have their distributions. */
  score(nodes: readonly number[]): Promise<void>;
  isScored(node: number): boolean;
  /**
   * Sampled trees: draws the next child of a scored node, from what its siblings left over unless the tree is drawn with
   * replacement. Returns the child's number, or undefined when nothing is left. The caller must decide to draw by what
   * was drawn before, and must keep what it gets: that is what makes verification exact.
   */
  draw(node: number): number | undefined;
  /** Chosen trees: adds the `rank`-th most likely child of a scored node; undefined when there is none. */
  add(node: number, rank: number): number | undefined;
  /** Chosen trees: the reach that the `rank`-th most likely child of a scored node would have. */
  promise(node: number, rank: number): number;
  /** Estimated probability that verification accepts the node and all above it. */
  reach(node: number): number;
  /** Estimated probability that it rejects all children the node has so far, once it came there; 0 where no other can be drawn. */
  remaining(node: number): number;
  /** Children that the node has so far. */
  childCount(node: number): number;
  /** False for nodes at the depth limit, end tokens and repeats, below which a draft is of no use. */
  canGrow(node: number): boolean;
}

export interface DraftingOptions {
  kind: "chosen" | "sampled";
  replacement?: boolean;
  /**
   * One pass of the draft model: what follows each of these nodes, as the law that children are really drawn from (after
   * temperature and top-k, summing to 1; or empty: nothing to propose), most likely first; or a function that works it out when it
   * is needed. A node's parent was always scored before the node.
   */
  score(tree: DraftTree, nodes: readonly number[]): Promise<(SparseDistribution | (() => SparseDistribution))[]>;
  draws: Draws;
  /** Levels below the root that can still be used: what the context and the wanted number of tokens leave. */
  depth: number;
  /** Tokens that end the text: always leaves. */
  endTokens?: ReadonlySet<number>;
  /**
   * How likely verification accepts a node's n-th child (from 0), once tried, that was proposed with this probability. Default: just
   * as likely as proposed, which makes `reach` the product of the draft's probabilities.
   */
  acceptance?: (probability: number, rank: number) => number;
}

export function createDrafting({
  kind,
  replacement = false,
  score,
  draws,
  depth,
  endTokens,
  acceptance = ownProbability,
}: DraftingOptions): Drafting {
  const tree = createTree(kind, { replacement });
  const depths = [0];
  const growing = [depth > 0];
  /** Per node, the draft distribution with its drawn children zeroed; and the mass of that. */
  const leftover: (Float64Array | undefined)[] = [];
  const leftoverMass: number[] = [1];
  const rejected: number[] = [1];
  const counts: number[] = [0];
  let passes = 0;

  /** What the last passes gave; most nodes that are scored ahead are never asked for theirs. */
  const scored: (SparseDistribution | (() => SparseDistribution) | undefined)[] = [];

  function distributionOf(node: number): SparseDistribution | undefined {
    const known = tree.distributions[node];
    const given = scored[node];
    if (known || !given) return known;
    const distribution = typeof given === "function" ? given() : given;
    leftoverMass[node] = checkedMass(distribution);
    if (kind === "sampled") leftover[node] = distribution.probabilities.slice();
    tree.distributions[node] = distribution;
    return distribution;
  }

  const reach = (node: number) => (node === 0 ? 1 : tree.values![node - 1]);

  function append(parent: number, entry: number, probability: number, repeat: boolean): number {
    const { tokens } = tree.distributions[parent]!;
    const accepted = repeat ? 0 : acceptance(probability, counts[parent]);
    // Drawn siblings are tried one after another; of chosen ones, at most one is the target's token.
    const tried = reach(parent) * (kind === "sampled" ? rejected[parent] : 1);
    const child = addNode(tree, parent, tokens[entry], tried * accepted, probability);
    counts[parent] += 1;
    rejected[parent] *= 1 - accepted;
    depths[child] = depths[parent] + 1;
    growing[child] = depths[child] < depth && !repeat && !endTokens?.has(tokens[entry]);
    [leftoverMass[child], rejected[child], counts[child]] = [1, 1, 0];
    return child;
  }

  return {
    tree,
    get passes() {
      return passes;
    },
    async score(nodes) {
      if (nodes.length === 0) return;
      passes++;
      const distributions = await score(tree, nodes);
      nodes.forEach((node, i) => {
        scored[node] = distributions[i];
      });
    },
    isScored: (node) => scored[node] !== undefined,
    draw(node) {
      const distribution = distributionOf(node);
      const weights = leftover[node];
      ensure(
        kind === "sampled" && distribution && weights,
        "internal",
        () => `draft node ${node} is not a scored node of a sampled tree`,
      );
      if (leftoverMass[node] < exhausted) return undefined;
      const entry = draws.choose("draft", replacement ? distribution.probabilities : weights, leftoverMass[node]);
      const repeat = weights[entry] === 0;
      const probability = distribution.probabilities[entry] / leftoverMass[node];
      weights[entry] = 0;
      if (!replacement) leftoverMass[node] = sum(weights);
      return append(node, entry, probability, repeat);
    },
    add(node, rank) {
      const distribution = distributionOf(node);
      ensure(
        kind === "chosen" && distribution,
        "internal",
        () => `draft node ${node} is not a scored node of a chosen tree`,
      );
      return rank < distribution.tokens.length && distribution.probabilities[rank] > 0
        ? append(node, rank, distribution.probabilities[rank], false)
        : undefined;
    },
    promise(node, rank) {
      const probability = distributionOf(node)?.probabilities[rank];
      return probability ? reach(node) * acceptance(probability, rank) : 0;
    },
    reach,
    remaining: (node) => (leftoverMass[node] < exhausted ? 0 : rejected[node]),
    childCount: (node) => counts[node],
    canGrow: (node) => growing[node],
  };
}

/** The sum of a distribution, which must be 1, or 0 where there is nothing to propose. */
function checkedMass({ tokens, probabilities }: SparseDistribution): number {
  let total = 0;
  let valid = tokens.length === probabilities.length;
  for (let i = 0; i < probabilities.length; i++) {
    total += probabilities[i];
    valid &&= probabilities[i] >= 0;
  }
  ensure(
    valid && (Math.abs(total - 1) < 1e-6 || tokens.length === 0),
    "runtime_failed",
    () =>
      `the draft model gave ${tokens.length} tokens with probabilities that are negative, NaN or sum to ${total} instead of 1`,
  );
  return total;
}
