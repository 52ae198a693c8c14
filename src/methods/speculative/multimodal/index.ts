/**
 * Multimodal speculative decoding (Lin et al. 2025): EAGLE-2's drafting for models that see, with a draft that treats the two kinds of rows apart.
 * A row of text pairs the next token's embedding with the model's own state; a row before a picture's row takes that row alone. The output is
 * the model's own, as every drafted token is verified; without a picture it is EAGLE.
 */
import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { budgetOption, most, nodesOf } from "../budget.ts";
import { networkDrafter, networkOptions } from "../network-drafter.ts";
import { networkOutlook } from "../outlook.ts";
import type { NetworkRow } from "../row-program.ts";
import { speculate } from "../speculate.ts";
import { growTopK } from "../top-k/index.ts";
import { openMultimodal } from "./draft.ts";

const site = "final";

export const multimodal = defineMethod({
  name: "multimodal",
  family: "speculative",
  summary:
    "EAGLE's draft for models that see: rows of pictures enter it as they are, rows of text with the model's states",
  source: "Lin et al. 2025, arXiv 2505.14260",
  lossless: true,
  outlook: networkOutlook(async (model, { layer }) => (await openMultimodal(model, layer)).seconds()),
  options: z.strictObject({
    layer: hostOnly(
      z.string().default("multimodal").describe("the draft: a part beside the model by its name, or a part's folder"),
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
    const { rows } = decoding;
    const program = await openMultimodal(decoding.model, layer);
    decoding.instrument({ taps: [site] });
    /** The model's states h, position by position; what follows the tip is not known yet. */
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
      row(text, at): NetworkRow {
        const given = rows[at];
        const place = { state: states[at - 1], position: at - 1, parent: at - 2 };
        return typeof given === "object" ? { token: 0, vector: given.values, ...place } : { token: text[at], ...place };
      },
      below: (token, position, parent, state): NetworkRow => ({ token, state, position: position - 1, parent }),
      grow: (drafting, economy) => growTopK(drafting, { budget, width, maximumPasses: passes, economy }),
      observe(root, nodes) {
        for (const [i, node] of nodes.entries()) states[root + i] = node.taps![site];
      },
    });
    await speculate(decoding, drafter);
  },
});
