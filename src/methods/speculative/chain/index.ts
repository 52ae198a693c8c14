/** Chain drafts (Leviathan et al. 2023; Chen et al. 2023): one draft model proposes one path. */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { type Economy, nodesOf } from "../budget.ts";
import { draftModelDrafter, draftModelOptions, repeatsText, verificationOption } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { draftModelOutlook } from "../outlook.ts";
import { speculate } from "../speculate.ts";

export interface ChainOptions {
  /** Tokens to draft, at most. */
  length: number;
  /**
   * Draft on only while the estimated probability that all so far is accepted is at least this. The decision looks at the
   * tokens already drawn, never at the next one, so that drawing stays unbiased. 0: always draft `length` tokens.
   */
  minimumReach?: number;
  /** Draft on only while the next token is worth its cost. */
  economy?: Economy;
}

export async function growChain(
  drafting: Drafting,
  { length, minimumReach = 0, economy }: ChainOptions,
): Promise<void> {
  ensure(
    minimumReach >= 0 && minimumReach <= 1,
    "bad_option",
    `minimumReach must be between 0 and 1, not ${minimumReach}`,
  );
  const pays = (node: number, drafted: number, passes: number): boolean =>
    !economy || drafting.promise(node) >= economy.price(drafted, passes);
  let node: number | undefined = 0;
  for (let i = 0; i < length && drafting.canGrow(node) && drafting.reach(node) >= minimumReach; i++) {
    if (!pays(node, i, 1)) return;
    await drafting.score([node]);
    if (!pays(node, i, 0)) return; // where tokens are chosen, the pass says more
    node = drafting.grow(node);
    if (node === undefined) return;
  }
}

/** Expected tokens per target pass of a chain of `length` when each token is accepted with probability `acceptance`. */
export function expectedTokens(acceptance: number, length: number): number {
  return acceptance === 1 ? length + 1 : (1 - acceptance ** (length + 1)) / (1 - acceptance);
}

/** The length with the largest expected speed-up, when a draft pass takes `cost` times as long as a target pass. */
export function bestLength(acceptance: number, cost: number, maximum = 64): { length: number; speedUp: number } {
  let best = { length: 0, speedUp: 1 };
  for (let length = 1; length <= maximum; length++) {
    const speedUp = expectedTokens(acceptance, length) / (cost * length + 1);
    if (speedUp > best.speedUp) best = { length, speedUp };
  }
  return best;
}

const longest = 64;

export const chain = defineMethod({
  name: "chain",
  family: "speculative",
  summary: "one draft model proposes a chain of tokens, the target checks it in one pass",
  source: "Leviathan et al. 2023, arXiv 2211.17192",
  lossless: true,
  repeats: repeatsText,
  outlook: draftModelOutlook({ levels: ({ length }) => (length === undefined ? undefined : Array(length).fill(1)) }),
  options: z.strictObject({
    ...draftModelOptions,
    length: z
      .int()
      .min(1)
      .max(longest)
      .optional()
      .describe(
        "tokens to draft in each round; more pay off where the draft is often right; default: as many as the measured pass times and its confidence make worth while",
      ),
    minimumReach: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe(
        "stop drafting when the probability that the whole chain is kept, by the draft's own estimate, falls below this; 0 never stops for that",
      ),
    verification: verificationOption,
  }),
  async decode(decoding, options) {
    const length = nodesOf(decoding, options.length, longest, "length");
    const drafter = await draftModelDrafter(decoding, options, {
      verification: options.verification,
      budget: options.length,
      grow: (drafting, { economy }) => growChain(drafting, { ...options, length, economy }),
    });
    await speculate(decoding, drafter);
  },
});
