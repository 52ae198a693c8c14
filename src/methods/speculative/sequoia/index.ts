/** Sequoia (Chen et al. 2024): a tree shape that is the best possible for measured acceptance, filled without replacement. */
import type { Drafting } from "../drafting.ts";
import { childrenOf, type DraftTree } from "../tree.ts";

export { bestShape, createShapes, type Shape } from "./shape.ts";

import type { Shape } from "./shape.ts";

/**
 * Draws the fixed shape level by level, one draft pass each. Where a node's distribution is exhausted, its remaining
 * children and what would hang below them are left out.
 */
export async function growSequoia(drafting: Drafting, shape: Shape): Promise<void> {
  const drawn: (number | undefined)[] = [0];
  for (let start = 0; start < shape.parents.length; ) {
    // Shapes are in level order, so the children of one level's nodes are one stretch of the array.
    const first = start + 1; // the first node of the level to be drawn
    let end = start;
    while (end < shape.parents.length && shape.parents[end] < first) end++;
    const parents = [...new Set(shape.parents.slice(start, end))];
    const ready = parents.map((node) => drawn[node]).filter((node) => node !== undefined && drafting.canGrow(node));
    await drafting.score(ready as number[]);
    for (let i = start; i < end; i++) {
      const parent = drawn[shape.parents[i]];
      drawn[i + 1] = parent !== undefined && drafting.canGrow(parent) ? drafting.draw(parent) : undefined;
    }
    start = end;
  }
}

/** Estimates p[b], the probability that the b-th child drawn at a node is the one accepted, from observed verifications. */
export interface AcceptanceEstimator {
  observe(tree: DraftTree, path: readonly number[]): void;
  /** p[1..width] as an array from index 0; a probability each, together at most 1. */
  estimate(): number[];
}

/**
 * The b-th child is only ever tried after the earlier ones failed, and few nodes have many children. So what is counted is
 * the chance of acceptance once tried, h[b], and p[b] = h[b] * prod_{i<b} (1 - h[i]): nodes with fewer children then do
 * not bias the later entries. `prior` tries with falling success keep entries sensible before anything was seen.
 */
export function createAcceptanceEstimator(width = 16, prior = 4): AcceptanceEstimator {
  const tried = new Float64Array(width).fill(prior);
  const accepted = Float64Array.from({ length: width }, (_, b) => (prior * 0.6) / (b + 1));
  return {
    observe(tree, path) {
      const children = childrenOf(tree);
      for (let node = 0, step = 0; children[node].length > 0; step++) {
        const hit = step < path.length ? children[node].indexOf(path[step]) : -1;
        const last = hit >= 0 ? hit : children[node].length - 1;
        for (let b = 0; b <= Math.min(last, width - 1); b++) tried[b]++;
        if (hit < 0) return;
        if (hit < width) accepted[hit]++;
        node = path[step];
      }
    },
    estimate() {
      let reached = 1;
      return Array.from(tried, (count, b) => {
        const probability = reached * (accepted[b] / count);
        reached -= probability;
        return probability;
      });
    },
  };
}
