/** Chain drafts (Leviathan et al. 2023; Chen et al. 2023): one draft model proposes one path. */

import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { draftModelDrafter, draftModelOptions } from "../draft-model.ts";
import type { Drafting } from "../drafting.ts";
import { speculate } from "../speculate.ts";

export interface ChainOptions {
  /** Tokens to draft, at most. */
  length: number;
  /**
   * Draft on only while the product of the draft's probabilities so far is at least this. The decision looks at the
   * tokens already drawn, never at the next one, so that drawing stays unbiased. 0: always draft `length` tokens.
   */
  minimumReach?: number;
}

export async function growChain(drafting: Drafting, { length, minimumReach = 0 }: ChainOptions): Promise<void> {
  ensure(
    minimumReach >= 0 && minimumReach <= 1,
    "bad_option",
    `minimumReach must be between 0 and 1, not ${minimumReach}`,
  );
  let node: number | undefined = 0;
  for (let i = 0; i < length && drafting.canGrow(node) && drafting.reach(node) >= minimumReach; i++) {
    await drafting.score([node]);
    node = drafting.draw(node);
    if (node === undefined) return;
  }
}

/** A chain length that follows what verification accepts, from one round to the next. */
export interface LengthController {
  readonly length: number;
  observe(accepted: number): void;
}

/**
 * Drafts one token more than the moving average of the accepted ones, so that the average can grow as well as shrink:
 * a_t = a_(t-1) + rate * (accepted - a_(t-1)), length = round(a_t) + 1 within [minimum, maximum].
 */
export function createLengthController({ minimum = 1, maximum = 16, rate = 0.2, start = 4 } = {}): LengthController {
  ensure(
    Number.isInteger(minimum) && Number.isInteger(maximum) && minimum >= 1 && minimum <= maximum,
    "bad_option",
    `draft lengths must be whole numbers with 1 <= minimum <= maximum, not ${minimum} and ${maximum}`,
  );
  ensure(rate > 0 && rate <= 1, "bad_option", `rate must be above 0 and at most 1, not ${rate}`);
  let average = start - 1;
  return {
    get length() {
      return Math.min(maximum, Math.max(minimum, Math.round(average) + 1));
    },
    observe(accepted) {
      average += rate * (accepted - average);
    },
  };
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

export const chain = defineMethod({
  name: "chain",
  family: "speculative",
  summary: "one draft model proposes a chain of tokens, the target checks it in one pass",
  source: "Leviathan et al. 2023, arXiv 2211.17192",
  lossless: true,
  options: z.strictObject({
    ...draftModelOptions,
    length: z.int().min(1).max(64).optional().describe("tokens to draft; default: one more than were accepted lately"),
    minimumReach: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe("draft on while the chain's probability so far is at least this"),
  }),
  async decode(decoding, options) {
    const controller = await decoding.model.state(`chain length with ${options.draft}`, () => createLengthController());
    const drafter = await draftModelDrafter(decoding, options, {
      kind: "sampled",
      grow: (drafting) => growChain(drafting, { ...options, length: options.length ?? controller.length }),
      observe: (_, { path }) => controller.observe(path.length),
    });
    await speculate(decoding, drafter);
  },
});
