/**
 * The tree of the draft's most likely continuations, after EAGLE-2 (Li et al. 2024): a node's score is the product of the
 * draft's probabilities down to it, and the tree holds the nodes with the best scores. Nothing is sampled, so that nodes may
 * be dropped again and verification draws from the target.
 */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { budgetController, budgetOption } from "../budget.ts";
import { draftModelDrafter, draftModelOptions } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { speculate } from "../speculate.ts";
import { selectNodes } from "../tree.ts";

export interface TopKOptions {
  /** Nodes to draft, at most. */
  budget: number;
  /** Nodes that go through one draft pass, at most: the best that are not scored yet, on whatever level. */
  width?: number;
  /** Draft passes, at most; nodes that would need another stay leaves. */
  maximumPasses?: number;
  /** Only continuations with a score above this are drafted. */
  minimumScore?: number;
}

/**
 * Returns the nodes to keep, best first, for `selectNodes`. Scores never rise along a path, so the best nodes are a tree, and a
 * node whose own score is below the best `budget` can be left unscored: with enough passes the result is exactly the most
 * probable nodes of all. EAGLE-2 takes its passes level by level, which misses some of them.
 */
export async function growTopK(drafting: Drafting, options: TopKOptions): Promise<number[]> {
  const { budget, width = 8, maximumPasses = Infinity, minimumScore = 0 } = options;
  ensure(
    minimumScore >= 0 && minimumScore <= 1,
    "bad_option",
    `minimumScore must be between 0 and 1, not ${minimumScore}`,
  );
  ensure(width >= 1, "bad_option", `width must be at least 1, not ${width}`);
  const { reach } = drafting;
  let best: number[] = [];
  /** A score must be above this to matter. */
  let floor = minimumScore;
  let frontier = budget > 0 ? [0].filter(drafting.canGrow) : [];
  while (frontier.length > 0 && drafting.passes < maximumPasses) {
    await drafting.score(frontier);
    for (const node of frontier) {
      const { probabilities } = drafting.tree.distributions[node]!;
      for (let rank = 0; reach(node) * probabilities[rank] > floor; rank++) best.push(drafting.add(node, rank)!);
    }
    best = best.sort((a, b) => reach(b) - reach(a) || a - b).slice(0, budget);
    if (best.length === budget) floor = reach(best[budget - 1]);
    const open = (node: number) => !drafting.isScored(node) && drafting.canGrow(node) && reach(node) > floor;
    frontier = best.filter(open).slice(0, width);
  }
  return best;
}

export const topK = defineMethod({
  name: "top-k",
  family: "speculative",
  summary: "the draft's most probable continuations as a tree; strong at low temperature",
  source: "Li et al. 2024, EAGLE-2, arXiv 2406.16858 (its tree, with any draft model)",
  lossless: true,
  options: z.strictObject({
    ...draftModelOptions,
    budget: budgetOption,
    width: z.int().min(1).max(64).default(4).describe("nodes scored in one draft pass"),
    maximumPasses: z.int().min(1).max(64).optional().describe("draft passes a round, at most"),
  }),
  async decode(decoding, options) {
    const controller = await budgetController(decoding, options.budget);
    let seconds = 0;
    const drafter = await draftModelDrafter(decoding, options, {
      kind: "chosen",
      async grow(drafting) {
        const started = performance.now();
        const kept = await growTopK(drafting, {
          budget: controller.budget,
          width: options.width,
          maximumPasses: options.maximumPasses,
        });
        seconds = (performance.now() - started) / 1000;
        return kept;
      },
      finish: (tree, kept) => selectNodes(tree, kept as number[]),
      observe: (tree, { path }) => controller.observe(tree, path.length, seconds),
    });
    await speculate(decoding, drafter);
  },
});
