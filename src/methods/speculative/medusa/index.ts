/**
 * Medusa (Cai et al. 2024): heads on the last state guess the tokens after the next, all at once and without knowing each other; their likeliest
 * combinations are verified as a tree in the next pass. Heads are read off the last accepted token alone, whose state the pass that verified
 * it has left: no other node's guesses are ever needed.
 */

import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { ofOption } from "../../../errors.ts";
import { foresightDrafter } from "../foresight.ts";
import { foresightOptions, foresightOutlook, levelsOf } from "../foresight-options.ts";
import { refuseOptions } from "../options.ts";
import { speculate } from "../speculate.ts";
import { acceptanceOptions, isLossless, typicalAcceptance } from "../typical.ts";
import { medusaForesight, openHeads } from "./heads.ts";

export const medusa = defineMethod({
  name: "medusa",
  family: "speculative",
  summary: "heads on the last state guess the tokens after the next; no second model",
  source: "Cai et al. 2024, Medusa, arXiv 2401.10774",
  lossless: isLossless,
  outlook: foresightOutlook(async (model, { heads }) => (await openHeads(model, heads)).count),
  options: z.strictObject({
    heads: hostOnly(
      z
        .string()
        .default("medusa")
        .describe(
          "the heads: a part beside the model by its name, a part's folder, or a folder of published Medusa heads",
        ),
    ),
    ...foresightOptions,
    ...acceptanceOptions,
  }),
  async decode(decoding, options) {
    const { acceptance } = options;
    if (acceptance === "exact") refuseOptions(options, ["epsilon", "alpha"], 'acceptance "exact"');
    const heads = await ofOption("heads", () => openHeads(decoding.model, options.heads));
    const levels = levelsOf(options.levels, heads.count, `heads ${options.heads}`);
    const drafter = await foresightDrafter(decoding, medusaForesight(heads, levels), options);
    await speculate(decoding, drafter, acceptance === "typical" ? typicalAcceptance(options) : undefined);
  },
});
