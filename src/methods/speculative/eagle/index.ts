/**
 * EAGLE (Li et al. 2024) with EAGLE-2's trees: a draft of one layer foretells the model's own next state from its last states and the tokens
 * that followed, and the model's output matrix reads tokens off it. The pass that verifies a draft gives the true states for the next one. The
 * tree holds the likeliest continuations by the draft's own word.
 */
import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { notAToken } from "../../../engine/node.ts";
import { ensure } from "../../../errors.ts";
import { budgetOption, most, nodesOf } from "../budget.ts";
import { networkDrafter, networkOptions } from "../network-drafter.ts";
import { networkOutlook } from "../outlook.ts";
import type { NetworkRow } from "../row-program.ts";
import { speculate } from "../speculate.ts";
import { growTopK } from "../top-k/index.ts";
import { openEagle } from "./draft.ts";

const site = "final";

export const eagle = defineMethod({
  name: "eagle",
  family: "speculative",
  summary: "a draft of one layer foretells the model's own states, from which its head reads the next tokens",
  source: "Li et al. 2024, EAGLE-2, arXiv 2406.16858",
  lossless: true,
  outlook: networkOutlook(async (model, { layer }) => (await openEagle(model, layer)).seconds()),
  options: z.strictObject({
    layer: hostOnly(
      z
        .string()
        .default("eagle")
        .describe(
          "the draft: a part beside the model by its name, a part's folder, or a folder of a published EAGLE draft",
        ),
    ),
    budget: budgetOption,
    width: z
      .int()
      .min(1)
      .max(64)
      .default(8)
      .describe("how many nodes go through one pass of the draft: more grow a broader tree, with a dearer pass"),
    ...networkOptions,
  }),
  async decode(decoding, { layer, width, depth: passes, ...options }) {
    const { model } = decoding;
    ensure(!decoding.prompt.includes(notAToken), "bad_option", () => {
      return "eagle drafts for texts of tokens, and the prompt has rows that are vectors; for pictures there is the method multimodal";
    });
    const program = await openEagle(model, layer);
    decoding.instrument({ taps: [site] });
    /** The model's states, position by position; what follows the tip is not known yet. */
    const states: Float32Array[] = [];
    await decoding.prefill((nodes) => {
      for (const { depth, taps } of nodes) {
        const state = taps?.[site];
        ensure(state, "internal", "a row of the prompt has no state");
        states[depth] = state;
      }
    });
    const budget = nodesOf(decoding, options.budget, most);
    const drafter = await networkDrafter(decoding, program, {
      budget: options.budget,
      topK: options.topK,
      first: 1,
      row: (text, at): NetworkRow => ({ token: text[at], state: states[at - 1], position: at - 1, parent: at - 2 }),
      below: (token, position, parent, state): NetworkRow => ({ token, state, position: position - 1, parent }),
      grow: (drafting, economy) => growTopK(drafting, { budget, width, maximumPasses: passes, economy }),
      observe(root, nodes) {
        for (const [i, node] of nodes.entries()) states[root + i] = node.taps![site];
      },
    });
    await speculate(decoding, drafter);
  },
});
