/** Static trees (SpecInfer, Miao et al. 2023): every node of a level gets the same number of sampled children. */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { largestBudget, nodesOf } from "../budget.ts";
import { draftModelDrafter, draftModelOptions, repeatsText, verificationOption } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { draftModelOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";

/** Children per node, level by level: the expansion list that SpecInfer publishes. */
export const defaultBranches = [1, 1, 3, 1, 1, 1, 1, 1];

/**
 * Draws `branches[level]` children below every node of a level, with one draft pass per level. How siblings are drawn is
 * the drafting's choice: with replacement it is SpecInfer (a repeated draw stays in the tree as a leaf, since the verifier
 * must count it), without replacement the plain k-ary tree.
 */
export async function growBranches(drafting: Drafting, branches: readonly number[], budget = Infinity): Promise<void> {
  ensure(
    branches.every((count) => Number.isInteger(count) && count >= 1 && count <= 64),
    "bad_option",
    `branches must be whole numbers from 1 to 64, not ${branches.join(",")}`,
  );
  let level = [0];
  for (const count of branches) {
    // Whole nodes only, in an order fixed before drawing: a node cut short by the budget would still be exact, but would
    // make the shape depend on how many of a level's nodes could be grown.
    level = level.filter(drafting.canGrow).slice(0, Math.floor((budget - drafting.tree.tokens.length) / count));
    await drafting.score(level);
    const next: number[] = [];
    for (const node of level) {
      for (let i = 0; i < count; i++) {
        const child = drafting.grow(node);
        if (child !== undefined) next.push(child);
      }
    }
    level = next;
  }
}

export const specInfer = defineMethod({
  name: "spec-infer",
  family: "speculative",
  summary: "a draft tree of fixed branching, children drawn independently",
  source: "Miao et al. 2023, SpecInfer, arXiv 2305.09781",
  lossless: true,
  repeats: repeatsText,
  outlook: draftModelOutlook({ levels: ({ branches }) => branches }),
  options: z.strictObject({
    ...draftModelOptions,
    branches: z
      .array(z.int().min(1).max(64))
      .min(1)
      .max(64)
      .default(defaultBranches)
      .describe(
        "how many continuations every drafted token gets, a number for each level of the tree; the numbers' count is its depth",
      ),
    budget: z
      .int()
      .min(1)
      .max(largestBudget)
      .optional()
      .describe(
        "most tokens that are drafted in a round; the tree ends where they are used up; default: as many as one pass takes",
      ),
    verification: verificationOption,
    replacement: z
      .boolean()
      .optional()
      .describe(
        "of published verification: draw siblings independently (default, as published); false: without replacement",
      ),
  }),
  async decode(decoding, options) {
    const { verification, replacement } = options;
    const budget = nodesOf(decoding, options.budget, largestBudget);
    ensure(
      replacement === undefined || verification === "published",
      "bad_option",
      'replacement: the winners of a race never repeat; it belongs to verification "published"',
    );
    const drafter = await draftModelDrafter(decoding, options, {
      verification,
      replacement: replacement ?? true,
      budget,
      grow: (drafting) => growBranches(drafting, options.branches, budget),
    });
    await speculate(decoding, drafter);
  },
});
