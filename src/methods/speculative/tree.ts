/** The draft tree: what every drafter proposes, the target scores in one pass, and the verifier walks. */

import type { SparseDistribution } from "../../engine/distribution.ts";
import { ensure } from "../../errors.ts";
import { requireWhole, requireWithin } from "../../numbers.ts";

/**
 * Flat arrays. Node 0 is the root (the last committed token) and is not stored; node i + 1 carries `tokens[i]` and hangs
 * below `parents[i]`. Parents precede children, and siblings stand in the order in which they were drawn.
 */
export interface DraftTree {
  /**
   * "sampled": each child was drawn from its parent's entry in `distributions`, and the decision to draw it was made
   * before its token was known; verified by the p/q rule. "chosen": tokens were picked by any means; verified by drawing
   * from the target. A sampled tree must never be pruned by what was drawn; a chosen one may be cut freely.
   */
  readonly kind: "chosen" | "sampled";
  /** For sampled trees: whether siblings are independent draws (repeats possible) or draws without replacement. */
  readonly replacement: boolean;
  readonly tokens: number[];
  readonly parents: number[];
  /** The draft's distribution after each node, index 0 = root; undefined where it was not computed. */
  readonly distributions: (SparseDistribution | undefined)[];
  /** Estimated probability that verification accepts node i + 1 and all above it, where the drafter has one. */
  readonly values?: number[];
  /** What node i + 1 was proposed with, given that its parent was accepted and its earlier siblings were not. */
  readonly probabilities?: number[];
  /** Of a tree that was selected from a larger one: the number that node i + 1 has there, where its drafter knows it by. */
  readonly origins?: readonly number[];
  /** What is to be said of the draft: why it is empty, for instance. */
  readonly note?: string;
}

/** An empty draft tree, whose children are chosen or sampled (with replacement, or without). */
export function createTree(
  kind: "chosen" | "sampled",
  {
    replacement = false,
    valued = true,
  }: {
    /** Sampled siblings are independent draws, and may repeat. Default: false. */
    replacement?: boolean;
    /** The tree keeps `values` and `probabilities`. Default: true. */
    valued?: boolean;
  } = {},
): DraftTree {
  const estimates = valued && { values: [], probabilities: [] };
  return { kind, replacement, tokens: [], parents: [], distributions: [], ...estimates };
}

/** Appends a node and returns its number. Errors: `bad_option` for a parent that is not there, what is no token, and estimates below 0. */
export function addNode(tree: DraftTree, parent: number, token: number, value = 1, probability = 1): number {
  const known = Number.isInteger(parent) && parent >= 0 && parent <= tree.tokens.length;
  ensure(
    known,
    "bad_option",
    () => `addNode: there is no draft node ${parent}: 0 is the root, and ${tree.tokens.length} are below it`,
  );
  ensure(Number.isSafeInteger(token) && token >= 0, "bad_option", () => `addNode: ${token} is no token's number`);
  if (!(value >= 0 && probability >= 0)) requireWithin({ value, probability }, 0);
  tree.tokens.push(token);
  tree.parents.push(parent);
  tree.values?.push(value);
  tree.probabilities?.push(probability);
  return tree.tokens.length;
}

/** Children of every node (index 0 = root) in draw order. Errors: `bad_option` for parents that do not stand before their children, one for each token. */
export function childrenOf({ tokens, parents }: Pick<DraftTree, "tokens" | "parents">): number[][] {
  ensure(parents.length === tokens.length, "bad_option", () => {
    return `childrenOf: ${parents.length} parents for ${tokens.length} tokens`;
  });
  const children: number[][] = Array.from({ length: tokens.length + 1 }, () => []);
  for (const [i, parent] of parents.entries()) {
    ensure(Number.isInteger(parent) && parent >= 0 && parent <= i, "bad_option", () => {
      return `childrenOf: parents[${i}] is ${parent}, and must be a whole number from 0 to ${i}: parents stand before their children`;
    });
    children[parent].push(i + 1);
  }
  return children;
}

/** Depth of every node (index 0 = root, depth 0). */
export function depthsOf(tree: DraftTree): number[] {
  const depths = [0];
  for (const parent of tree.parents) depths.push(depths[parent] + 1);
  return depths;
}

/**
 * For every node (index 0 = root): whether an earlier sibling has the same token. Such a repeat, possible only with
 * replacement, is a draw that the verifier must count, but it can never be accepted: its sibling's rejection left its
 * token without mass. So it needs no row in the target's pass and no children.
 */
export function repeatsOf(tree: DraftTree): boolean[] {
  const repeats = [false];
  const seen = new Set<string>();
  for (let i = 0; i < tree.tokens.length; i++) {
    const draw = `${tree.parents[i]}:${tree.tokens[i]}`;
    repeats.push(seen.has(draw));
    seen.add(draw);
  }
  return repeats;
}

/** The child of `node` with this token, of those listed; undefined when there is none. */
export function childWith(tree: DraftTree, children: readonly number[], token: number): number | undefined {
  return children.find((child) => tree.tokens[child - 1] === token);
}

/**
 * Adds a path below the root, sharing what is already there, until the tree has `limit` nodes: how chosen continuations
 * become one tree. Errors: `bad_option` for a limit below 0, and as `addNode`.
 */
export function addPath(tree: DraftTree, path: readonly number[], limit = Infinity, value?: number): void {
  if (limit !== Infinity) requireWhole({ limit }, 0);
  let node = 0;
  for (const token of path) {
    const existing = tree.tokens.findIndex((other, i) => tree.parents[i] === node && other === token);
    if (existing < 0 && tree.tokens.length >= limit) return;
    node = existing >= 0 ? existing + 1 : addNode(tree, node, token, value);
  }
}

/** The chosen tree of these nodes in this order, which must list parents before children. */
export function selectNodes(tree: DraftTree, nodes: readonly number[]): DraftTree {
  ensure(
    tree.kind === "chosen",
    "internal",
    "a tree that was drawn must not be pruned: its verification would be biased",
  );
  const selected = { ...createTree("chosen", { valued: tree.values !== undefined }), origins: nodes };
  const numbers = new Map([[0, 0]]);
  for (const node of nodes) {
    const parent = numbers.get(tree.parents[node - 1]);
    ensure(parent !== undefined, "internal", () => `draft node ${node} was selected without its parent`);
    numbers.set(
      node,
      addNode(selected, parent, tree.tokens[node - 1], tree.values?.[node - 1], tree.probabilities?.[node - 1]),
    );
  }
  return selected;
}
