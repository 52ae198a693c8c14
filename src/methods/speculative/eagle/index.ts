/**
 * EAGLE (Li et al. 2024) with EAGLE-2's trees: a draft of one layer foretells the model's own next state from its last states and the tokens
 * that followed, and the model's output matrix reads tokens off it. The pass that verifies a draft gives the true states for the next one. The
 * tree holds the likeliest continuations by the draft's own word.
 */
import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { notAToken } from "../../../engine/node.ts";
import { ensure, ofOption } from "../../../errors.ts";
import { networkOutlook } from "../outlook.ts";
import { openEagle } from "./draft.ts";
import { decodeFromStates, treeOptions } from "./drafting.ts";

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
    ...treeOptions,
  }),
  async decode(decoding, { layer, ...options }) {
    ensure(!decoding.prompt.includes(notAToken), "bad_option", () => {
      return "eagle drafts for texts of tokens, and the prompt has rows that are vectors; for pictures there is the method multimodal";
    });
    await decodeFromStates(decoding, await ofOption("layer", () => openEagle(decoding.model, layer)), options);
  },
});
