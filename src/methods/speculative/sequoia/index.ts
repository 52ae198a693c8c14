/** Sequoia (Chen et al. 2024): a tree shape that is the best possible for measured acceptance, filled without replacement. */
import type { Chances } from "../acceptance.ts";
import type { Drafting } from "../drafting.ts";

export { bestShape, createShapes, type Shape } from "./shape.ts";

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { passCurve, passSeconds } from "../../../engine/pass-curve.ts";
import { largestBudget, nodesOf } from "../budget.ts";
import { draftModelDrafter, draftModelOptions, openDraft, repeatsText, verificationOption } from "../draft-model.ts";
import { draftModelOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";
import type { DraftTree } from "../tree.ts";
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
      drawn[i + 1] = parent !== undefined && drafting.canGrow(parent) ? drafting.grow(parent) : undefined;
    }
    start = end;
  }
}

/**
 * p[b], the probability that the b-th child of a node is the one accepted. Of drawn children: accepted once tried, after all before it
 * failed; of chosen ones the estimate says it as it is.
 */
export function acceptanceVector(estimate: Pick<Chances, "ofRank">, kind: DraftTree["kind"], width = 16): number[] {
  let left = 1;
  return Array.from({ length: width }, (_, rank) => {
    const probability = kind === "sampled" ? left * estimate.ofRank(rank, 1) : Math.min(left, estimate.ofRank(rank, 1));
    left -= probability;
    return probability;
  });
}

/** Rounds after which the shape is planned anew, with what the request has shown. */
const replanEvery = 64;
/** Nodes of the largest tree considered when no budget is given. */
const largestPlanned = 48;

export const sequoia = defineMethod({
  name: "sequoia",
  family: "speculative",
  summary: "a fixed tree shape, planned by dynamic programming from measured acceptance",
  source: "Chen et al. 2024, Sequoia, arXiv 2402.12374",
  lossless: true,
  repeats: repeatsText,
  outlook: draftModelOutlook({ siblings: 4 }),
  options: z.strictObject({
    ...draftModelOptions,
    budget: z
      .int()
      .min(1)
      .max(largestBudget)
      .optional()
      .describe(
        "tokens in the planned tree; default: the number that the measured pass times and acceptance make fastest on this machine",
      ),
    depth: z
      .int()
      .min(1)
      .max(32)
      .default(10)
      .describe("most levels of the planned tree, which is how many tokens can be accepted in one round"),
    verification: verificationOption,
  }),
  async decode(decoding, options) {
    const { model } = decoding;
    const size = nodesOf(decoding, options.budget, largestPlanned);
    const draft = await openDraft(model, options.draft);
    const [target, drafting] =
      options.budget === undefined
        ? [await passCurve(model, decoding.signal), await passCurve(draft, decoding.signal)]
        : [];
    const plan = (estimate: Chances, kind: DraftTree["kind"]): Shape => {
      const shapes = createShapes(acceptanceVector(estimate, kind), size, options.depth);
      if (!target || !drafting) return shapes.shape(size, options.depth);
      const draftTime = passSeconds(drafting, 4);
      return bestShape(shapes, size, options.depth, draftTime, (rows) => passSeconds(target, rows));
    };
    let rounds = 0;
    let shape: Shape | undefined;
    const drafter = await draftModelDrafter(decoding, options, {
      verification: options.verification,
      budget: options.budget,
      measured: true,
      async grow(drafting, { estimate }) {
        // The first plan follows from the measured curve alone, so that all requests share it.
        const { temperature } = decoding.settings;
        shape ??= await model.state(`sequoia ${temperature.toFixed(1)} ${JSON.stringify(options)}`, () =>
          plan(estimate, drafting.tree.kind),
        );
        if (++rounds % replanEvery === 0) shape = plan(estimate, drafting.tree.kind);
        return growSequoia(drafting, shape);
      },
    });
    await speculate(decoding, drafter);
  },
});
