/** Sequoia (Chen et al. 2024): a tree shape that is the best possible for measured acceptance, filled without replacement. */
import type { Drafting } from "../drafting.ts";
import { childrenOf, type DraftTree } from "../tree.ts";

export { bestShape, createShapes, type Shape } from "./shape.ts";

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { passCurve, passSeconds } from "../../../engine/pass-curve.ts";
import { draftModelDrafter, draftModelOptions, openDraft } from "../draft-model.ts";
import { speculate } from "../speculate.ts";
import type { Shape } from "./shape.ts";
import { bestShape, createShapes } from "./shape.ts";

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

/** Rounds after which the shape is planned anew from the acceptance measured so far. */
const replanEvery = 64;
/** Nodes of the largest tree considered when no budget is given. */
const largestPlanned = 48;

export const sequoia = defineMethod({
  name: "sequoia",
  family: "speculative",
  summary: "a fixed tree shape, planned by dynamic programming from measured acceptance",
  source: "Chen et al. 2024, Sequoia, arXiv 2402.12374",
  lossless: true,
  options: z.strictObject({
    ...draftModelOptions,
    budget: z
      .int()
      .min(1)
      .max(127)
      .optional()
      .describe("nodes to draft; default: what the measured pass times and acceptance make fastest"),
    depth: z.int().min(1).max(32).default(10).describe("levels of the tree, at most"),
  }),
  async decode(decoding, options) {
    const { model } = decoding;
    const draft = await openDraft(model, options.draft);
    const curves =
      options.budget === undefined ? { target: await passCurve(model), draft: await passCurve(draft) } : undefined;
    const plan = (): Shape => {
      const acceptance = state.estimator.estimate();
      if (!curves)
        return createShapes(acceptance, options.budget!, options.depth).shape(options.budget!, options.depth);
      const shapes = createShapes(acceptance, largestPlanned, options.depth);
      const { draft: drafting, target } = curves;
      return bestShape(shapes, largestPlanned, options.depth, passSeconds(drafting, 4), (rows) =>
        passSeconds(target, rows),
      );
    };
    const state = await model.state(`sequoia ${JSON.stringify(options)}`, () => ({
      estimator: createAcceptanceEstimator(),
      rounds: 0,
      shape: undefined as Shape | undefined,
    }));
    const drafter = await draftModelDrafter(decoding, options, {
      kind: "sampled",
      grow(drafting) {
        if (!state.shape || state.rounds++ % replanEvery === 0) state.shape = plan();
        return growSequoia(drafting, state.shape);
      },
      observe: (tree, { path }) => state.estimator.observe(tree, path),
    });
    await speculate(decoding, drafter);
  },
});
