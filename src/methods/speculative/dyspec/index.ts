/**
 * DySpec (Xiong et al. 2024): while drafting, put the next sample where it is worth most. A slot is "the next sample at this
 * node"; its value v estimates the probability that verification reaches it: all ancestors accepted, all earlier siblings
 * rejected. By the paper's appendix D, v = reach(node) * remaining(node): the product of the draft's probabilities down
 * to the node, times the mass that the siblings drawn so far have left. Decisions look at v alone, before the token is known.
 */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { createHeap } from "../../../heap.ts";
import { budgetOption, type Economy, most, nodesOf } from "../budget.ts";
import { draftModelDrafter, draftModelOptions, repeatsText, verificationOption } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { refuseOptions } from "../options.ts";
import { draftModelOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";

export interface HeapOptions {
  /** Nodes to draft, at most. */
  budget: number;
  /** Slots of smaller value are not drawn. */
  minimumValue?: number;
  /** Rows of a draft pass: the node that needs it, and the likeliest next ones. Changes the passes, never the tree. */
  width?: number;
  /** Draft passes, at most; slots that would need another are then left out. */
  maximumPasses?: number;
  /** Slots that are not worth their cost are not drawn. */
  economy?: Economy;
}

/** Algorithm 1: the best slot first. A node's draft pass is run when its first slot is taken, so that leaves cost none. */
export async function growByHeap(drafting: Drafting, options: HeapOptions): Promise<void> {
  const { budget, minimumValue = 0, width = 1, maximumPasses = Infinity, economy } = options;
  ensure(
    minimumValue >= 0 && minimumValue <= 1,
    "bad_option",
    `minimumValue must be between 0 and 1, not ${minimumValue}`,
  );
  type Slot = { node: number; value: number; age: number };
  // The older slot wins a tie, so that a run can be repeated.
  const slots = createHeap<Slot>((a, b) => a.value > b.value || (a.value === b.value && a.age < b.age));
  let age = 0;
  const push = (node: number) => {
    const value = drafting.promise(node);
    if (value > 0 && value >= minimumValue) slots.push({ node, value, age: age++ });
  };

  if (drafting.canGrow(0)) push(0);
  while (drafting.tree.tokens.length < budget) {
    const slot = slots.pop();
    if (!slot) break;
    const scored = drafting.isScored(slot.node);
    if (economy && slot.value < economy.price(drafting.tree.tokens.length, scored ? 0 : 1)) continue;
    if (!scored) {
      if (drafting.passes >= maximumPasses) continue;
      await scoreAhead(drafting, slot.node, width);
    }
    if (drafting.promise(slot.node) < slot.value) {
      push(slot.node); // where tokens are chosen, the pass may say that it is worth less
      continue;
    }
    const child = drafting.grow(slot.node);
    if (child === undefined) continue;
    push(slot.node); // the sibling's slot: this child is rejected
    if (drafting.canGrow(child)) push(child); // the child's own first slot: it is accepted
  }
}

/**
 * One draft pass for `first` and, as it costs little more, for the nodes most likely to be asked for next, up to `width`
 * in all. A node's distribution does not depend on when it is computed, so this changes the passes and never the tree.
 */
function scoreAhead(drafting: Drafting, first: number, width: number): Promise<void> {
  const waiting: number[] = [];
  for (let node = 1; node <= drafting.tree.tokens.length && width > 1; node++) {
    if (node !== first && !drafting.isScored(node) && drafting.canGrow(node)) waiting.push(node);
  }
  waiting.sort((a, b) => drafting.reach(b) - drafting.reach(a) || a - b);
  return drafting.score([first, ...waiting.slice(0, width - 1)]);
}

export interface ThresholdOptions {
  /** Slots of at least this value are drawn; about 1 / budget. */
  threshold: number;
  /** Nodes to draft, at most. */
  budget: number;
  /** As for the heap. */
  economy?: Economy;
}

/** Algorithm 2: all slots above a threshold, level by level, with one draft pass per level. */
export async function growByThreshold(
  drafting: Drafting,
  { threshold, budget, economy }: ThresholdOptions,
): Promise<void> {
  ensure(threshold > 0 && threshold <= 1, "bad_option", `threshold must be above 0 and at most 1, not ${threshold}`);
  const { tree, reach, promise } = drafting;
  const floor = (passes?: number) =>
    economy ? Math.max(threshold, economy.price(tree.tokens.length, passes)) : threshold;
  let frontier = [0].filter(drafting.canGrow);
  while (frontier.length > 0 && tree.tokens.length < budget) {
    // Nodes of the frontier draw at least once each, so more of them than the budget has left need no pass.
    frontier = frontier.slice(0, budget - tree.tokens.length);
    if (frontier.reduce((total, node) => total + promise(node), 0) < floor(1)) break;
    await drafting.score(frontier);
    const next: number[] = [];
    for (const node of frontier) {
      while (promise(node) >= floor() && tree.tokens.length < budget) {
        const child = drafting.grow(node)!;
        if (promise(child) >= threshold && drafting.canGrow(child)) next.push(child);
      }
    }
    // The order in which the budget is spent is fixed before the next level is drawn.
    frontier = next.sort((a, b) => reach(b) - reach(a) || a - b);
  }
}

export const dyspec = defineMethod({
  name: "dyspec",
  family: "speculative",
  summary: "a draft tree that grows where the draft's own confidence says a sample is worth most",
  source: "Xiong et al. 2024, DySpec, arXiv 2410.11744",
  lossless: true,
  repeats: repeatsText,
  outlook: draftModelOutlook({ siblings: 4 }),
  options: z.strictObject({
    ...draftModelOptions,
    budget: budgetOption,
    algorithm: z
      .enum(["heap", "threshold"])
      .default("heap")
      .describe(
        "heap grows the tree one token at a time, the most promising first (the paper's algorithm 1); threshold grows it level by level with fewer draft passes (algorithm 2)",
      ),
    estimate: z
      .enum(["measured", "draft"])
      .default("measured")
      .describe(
        "what the chance of a drafted token is taken to be: as measured for this pair of models, or the draft's own probability, as published",
      ),
    threshold: z
      .number()
      .gt(0)
      .max(1)
      .optional()
      .describe(
        "draft a token, under the algorithm threshold, only where the chance of reaching it is at least this: lower drafts more; default: 1 / budget",
      ),
    width: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe(
        "tokens that one draft pass of the algorithm heap scores ahead, default 8: more cost fewer passes and some wasted work; with a fixed budget the tree is the same",
      ),
    verification: verificationOption,
    maximumPasses: z
      .int()
      .min(1)
      .max(128)
      .optional()
      .describe(
        "most passes of the draft in a round of the algorithm heap: fewer end the tree early; default: no such limit",
      ),
  }),
  async decode(decoding, options) {
    const { algorithm, estimate, threshold, width = 8, maximumPasses } = options;
    refuseOptions(
      options,
      algorithm === "heap" ? ["threshold"] : ["width", "maximumPasses"],
      `algorithm "${algorithm}"`,
    );
    const budget = nodesOf(decoding, options.budget, most);
    const drafter = await draftModelDrafter(decoding, options, {
      verification: options.verification,
      budget: options.budget,
      measured: estimate === "measured",
      grow(drafting, { economy }) {
        if (budget === 0) return Promise.resolve();
        if (algorithm === "heap") return growByHeap(drafting, { budget, width, maximumPasses, economy });
        return growByThreshold(drafting, { budget, threshold: threshold ?? 1 / budget, economy });
      },
    });
    await speculate(decoding, drafter);
  },
});
