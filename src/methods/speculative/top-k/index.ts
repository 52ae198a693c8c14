/**
 * The tree of the draft's most likely continuations, after EAGLE-2 (Li et al. 2024): a node's score is the product of the
 * draft's probabilities down to it, and the tree holds the nodes with the best scores. Nothing is sampled, so that nodes may
 * be dropped again and verification draws from the target.
 */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { budgetOption, type Economy, most, nodesOf } from "../budget.ts";
import { draftModelDrafter, draftModelOptions } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { draftModelOutlook } from "../outlook.ts";
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
  /** Only what is worth its cost is drafted. */
  economy?: Economy;
}

/**
 * Returns the nodes to keep, best first, for `selectNodes`. Scores never rise along a path, so the best nodes are a tree, and a
 * node whose own score is below the best `budget` can be left unscored: with enough passes the result is exactly the most
 * probable nodes of all. EAGLE-2 takes its passes level by level, which misses some of them.
 */
export async function growTopK(drafting: Drafting, options: TopKOptions): Promise<number[]> {
  const { width = 8, maximumPasses = Infinity, minimumScore = 0, economy } = options;
  const budget = Math.min(options.budget, economy?.limit ?? Infinity);
  ensure(
    minimumScore >= 0 && minimumScore <= 1,
    "bad_option",
    `minimumScore must be between 0 and 1, not ${minimumScore}`,
  );
  ensure(width >= 1, "bad_option", `width must be at least 1, not ${width}`);
  const { reach, promise } = drafting;
  const price = (drafted: number, passes?: number): number => economy?.price(drafted, passes) ?? 0;
  let best: number[] = [];
  /** A score must be above this to matter. */
  let floor = Math.max(minimumScore, price(0));
  let frontier = budget > 0 ? [0].filter(drafting.canGrow) : [];
  while (frontier.length > 0 && drafting.passes < maximumPasses) {
    if (economy) {
      const gain = frontier.reduce((total, node) => total + promise(node), 0);
      // Where the tree is full, what comes takes the place of its last nodes.
      if (gain < price(Math.min(best.length, budget - 1), 1)) break;
    }
    await drafting.score(frontier);
    for (const node of frontier) {
      while (promise(node) > floor) best.push(drafting.grow(node)!);
    }
    best = best.sort((a, b) => reach(b) - reach(a) || a - b).slice(0, budget);
    // Cut, not thinned out: what follows a node in this order may hang below it.
    const dear = best.findIndex((node, i) => reach(node) < price(i));
    if (dear >= 0) best = best.slice(0, dear);
    floor = Math.max(floor, best.length === budget ? reach(best[budget - 1]) : price(best.length));
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
  outlook: draftModelOutlook({ siblings: 4 }),
  options: z.strictObject({
    ...draftModelOptions,
    budget: budgetOption,
    width: z
      .int()
      .min(1)
      .max(64)
      .default(4)
      .describe(
        "tokens that one pass of the draft scores; more grow the tree in fewer passes, with less choice in what is grown",
      ),
    maximumPasses: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe("most passes of the draft in a round, which bounds the depth of its tree; default: no such limit"),
  }),
  async decode(decoding, { width, maximumPasses, ...options }) {
    const budget = nodesOf(decoding, options.budget, most);
    const drafter = await draftModelDrafter(decoding, options, {
      verification: "race",
      budget: options.budget,
      grow: (drafting, { economy }) => growTopK(drafting, { budget, width, maximumPasses, economy }),
      finish: (tree, kept) => selectNodes(tree, kept as number[]),
    });
    await speculate(decoding, drafter);
  },
});
