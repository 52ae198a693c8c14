/**
 * The one verifier of draft trees: whatever was proposed, the emitted tokens are distributed exactly as the target alone
 * would emit them. Leviathan et al. 2023 (chains), Miao et al. 2023 and Chen et al. 2024 (trees); the statement that covers
 * all of them: let the children y_1, y_2, … of a node be drawn in order, y_j from q_j, where q_j and the decision to draw at
 * all may depend on anything drawn before. Accept y_j with probability min(1, R[y_j] / q_j[y_j]), starting from R = p;
 * after a rejection R becomes norm(max(R - q_j, 0)); after the last one emit a draw from R. Then the token is distributed as p.
 */
import { ensure } from "../../errors.ts";
import type { Draws } from "./draws.ts";
import { createResidual } from "./residual.ts";
import { childrenOf, childWith, type DraftTree } from "./tree.ts";

export interface Target {
  /**
   * The token that plain decoding emits after this node: the argmax, or the draw with plain decoding's own random number
   * for that position. Called at most once per node.
   */
  sampleAt(node: number): number;
  /**
   * The shaped next-token distribution after this node, [V], summing to 1; only read. Absent when decoding is greedy,
   * where `sampleAt` says all there is to say.
   */
  probabilitiesAt?(node: number): Float64Array;
}

/** What verification kept of a tree, and why. */
export interface Verdict {
  /** The accepted nodes, from the root's child down. */
  path: number[];
  /** The token that the target adds: the correction, or the bonus after a fully accepted path. */
  token: number;
  /** One sentence per accepted node, and one for the token. */
  reasons: string[];
}

/** Nodes are visited from the root along the accepted path only, so `target` may compute its answers lazily. */
export function verify(tree: DraftTree, target: Target, draws: Draws): Verdict {
  const children = childrenOf(tree);
  const verdict: Verdict = { path: [], token: -1, reasons: [] };
  // A greedy target is one-hot: the p/q rule then accepts exactly the argmax, and so does following the target's token.
  const step = tree.kind === "chosen" || !target.probabilitiesAt ? follow : acceptOrCorrect;
  for (let node = 0; ; node = verdict.path[verdict.path.length - 1]) {
    const { child, token, reason } = step(tree, node, children[node], target, draws);
    verdict.reasons.push(reason);
    if (child === undefined) return { ...verdict, token };
    verdict.path.push(child);
  }
}

type Step = { child?: number; token: number; reason: string };

/** Draws once from the target: a child is accepted when it is the token drawn. Equals plain decoding draw by draw. */
function follow(tree: DraftTree, node: number, children: number[], target: Target): Step {
  const token = target.sampleAt(node);
  const child = childWith(tree, children, token);
  const choice = target.probabilitiesAt ? "the target's own draw" : "the target's most likely token";
  if (child !== undefined) return { child, token, reason: choice };
  return {
    token,
    reason: children.length === 0 ? `${choice}, for which nothing was drafted` : `${choice}, which was not drafted`,
  };
}

/** The p/q rule over the children of one node, in draw order. */
function acceptOrCorrect(tree: DraftTree, node: number, children: number[], target: Target, draws: Draws): Step {
  if (children.length === 0)
    return { token: target.sampleAt(node), reason: "the target's own draw, for which nothing was drafted" };
  const distribution = tree.distributions[node];
  ensure(
    distribution,
    "internal",
    () => `the distribution that draft node ${node}'s children were drawn from is missing`,
  );
  const residual = createResidual(target.probabilitiesAt!(node), distribution, tree.replacement);
  for (const child of children) {
    const token = tree.tokens[child - 1];
    const entry = distribution.tokens.indexOf(token);
    ensure(
      entry >= 0 && distribution.probabilities[entry] > 0,
      "internal",
      `draft token ${token} was proposed with probability 0`,
    );
    const ratio = residual.ratio(entry);
    if (draws.accept(ratio))
      return { child, token, reason: `accepted with probability ${Math.min(1, ratio).toFixed(3)}` };
    residual.reject(entry);
  }
  const { weights, mass } = residual.weights();
  const token = draws.choose("residual", weights, mass);
  return { token, reason: "drawn from what the rejected drafts left of the target's distribution" };
}
