/** Growing a draft tree with a draft model: the bookkeeping that all growth rules share. */
import type { SparseDistribution } from "../../engine/distribution.ts";
import { ensure } from "../../errors.ts";
import { type Chances, ownChances } from "./acceptance.ts";
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
   * Adds the next child of a scored node and returns its number; undefined when there is none. Chosen trees: the likeliest that the
   * node does not have. Sampled trees: a draw, from what its siblings left over unless the tree is drawn with replacement; the caller
   * must decide to draw by what was drawn before, and must keep what it gets: that is what makes verification exact.
   */
  grow(node: number): number | undefined;
  /** Estimated probability that verification accepts the node and all above it. */
  reach(node: number): number;
  /**
   * The same for the child that `grow` would add next; 0 where there is none. Where its token is not known yet, that is of a node
   * that is not scored and in sampled trees, it is the chance before it is.
   */
  promise(node: number): number;
  /** False for nodes at the depth limit, end tokens and repeats, below which a draft is of no use. */
  canGrow(node: number): boolean;
}

export interface DraftingOptions {
  kind: "chosen" | "sampled";
  replacement?: boolean;
  /**
   * One pass of the draft model: what follows each of these nodes, as the law of the draft (after temperature and top-k, summing to 1;
   * or empty: nothing to propose), most likely first; or a function that works it out when it is needed. A node's parent was always
   * scored before the node.
   */
  score(tree: DraftTree, nodes: readonly number[]): Promise<(SparseDistribution | (() => SparseDistribution))[]>;
  /**
   * Chosen trees: the chances that tokens are the target's at so many levels below the root, likeliest first, by what the draft says
   * and what else is known. Default: just what the draft says.
   */
  expect?: (distribution: SparseDistribution, depth: number) => SparseDistribution;
  draws: Draws;
  /** Levels below the root that can still be used: what the context and the wanted number of tokens leave. */
  depth: number;
  /** Tokens that end the text: always leaves. */
  endTokens?: ReadonlySet<number>;
  /** How likely verification accepts a child. Default: just as likely as it was proposed. */
  chances?: Chances;
}

export function createDrafting({
  kind,
  replacement = false,
  score,
  expect = (distribution) => distribution,
  draws,
  depth,
  endTokens,
  chances = ownChances,
}: DraftingOptions): Drafting {
  const tree = createTree(kind, { replacement });
  const depths = [0];
  const growing = [depth > 0];
  /** Per node, what its next children are taken from: of sampled trees with drawn ones zeroed; and the mass of that. */
  const offers: (SparseDistribution | undefined)[] = [];
  const leftoverMass: number[] = [1];
  const rejected: number[] = [1];
  const counts: number[] = [0];
  let passes = 0;

  /** What the last passes gave; most nodes that are scored ahead are never asked for theirs. */
  const scored: (SparseDistribution | (() => SparseDistribution) | undefined)[] = [];

  function offerOf(node: number): SparseDistribution | undefined {
    const given = scored[node];
    if (offers[node] || !given) return offers[node];
    const distribution = typeof given === "function" ? given() : given;
    leftoverMass[node] = checkedMass(distribution);
    tree.distributions[node] = distribution;
    offers[node] =
      kind === "chosen"
        ? expect(distribution, depths[node] + 1)
        : { tokens: distribution.tokens, probabilities: distribution.probabilities.slice() };
    return offers[node];
  }

  const reach = (node: number) => (node === 0 ? 1 : tree.values![node - 1]);

  function append(parent: number, token: number, probability: number, repeat: boolean): number {
    const accepted = repeat ? 0 : chances.ofProbability(probability, counts[parent], depths[parent] + 1);
    // Drawn siblings are tried one after another; of chosen ones, at most one is the target's token.
    const tried = reach(parent) * (kind === "sampled" ? rejected[parent] : 1);
    const child = addNode(tree, parent, token, tried * accepted, probability);
    counts[parent] += 1;
    rejected[parent] *= 1 - accepted;
    depths[child] = depths[parent] + 1;
    growing[child] = depths[child] < depth && !repeat && !endTokens?.has(token);
    [leftoverMass[child], rejected[child], counts[child]] = [1, 1, 0];
    return child;
  }

  function growSampled(node: number, { tokens, probabilities: weights }: SparseDistribution): number | undefined {
    if (leftoverMass[node] < exhausted) return undefined;
    const { probabilities } = tree.distributions[node]!;
    const entry = draws.choose("draft", replacement ? probabilities : weights, leftoverMass[node]);
    const repeat = weights[entry] === 0;
    const probability = probabilities[entry] / leftoverMass[node];
    weights[entry] = 0;
    if (!replacement) leftoverMass[node] = sum(weights);
    return append(node, tokens[entry], probability, repeat);
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
    grow(node) {
      const offer = offerOf(node);
      ensure(offer, "internal", () => `draft node ${node} was grown before it was scored`);
      if (kind === "sampled") return growSampled(node, offer);
      const rank = counts[node];
      return offer.probabilities[rank] > 0
        ? append(node, offer.tokens[rank], offer.probabilities[rank], false)
        : undefined;
    },
    reach,
    promise(node) {
      const rank = counts[node];
      if (kind === "sampled") {
        return leftoverMass[node] < exhausted
          ? 0
          : reach(node) * rejected[node] * chances.ofRank(rank, depths[node] + 1);
      }
      const offer = offerOf(node);
      if (!offer) return reach(node) * chances.ofRank(rank, depths[node] + 1);
      const probability = offer.probabilities[rank];
      return probability > 0 ? reach(node) * chances.ofProbability(probability, rank, depths[node] + 1) : 0;
    },
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
