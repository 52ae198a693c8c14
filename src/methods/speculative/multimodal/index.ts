/**
 * Multimodal speculative decoding (Lin et al. 2025): EAGLE-2's drafting for models that see, with a draft that treats the two kinds of rows apart.
 * A row of text pairs the next token's embedding with the model's own state; a row before a picture's row takes that row alone. The output is
 * the model's own, as every drafted token is verified; without a picture it is EAGLE.
 */

import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { ofOption } from "../../../errors.ts";
import { decodeFromStates, treeOptions } from "../eagle/drafting.ts";
import { networkOutlook } from "../outlook.ts";
import { openMultimodal } from "./draft.ts";

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
    ...treeOptions,
  }),
  async decode(decoding, { layer, ...options }) {
    const draft = await ofOption("layer", () => openMultimodal(decoding.model, layer));
    await decodeFromStates(decoding, draft, { ...options, reads: draft.form === "text-only" ? "tokens" : "rows" });
  },
});
