/**
 * Parallel prompt decoding (Chen et al. 2024): a few trained vectors stand behind a token as if they were the next ones, and their rows of the pass
 * guess the tokens after the next. Every drafted node has such rows of its own, as any may turn out the last one accepted; how many it has is
 * decided by how likely that is. The rows are seen by nothing but each other and stored nowhere.
 */
import { z } from "zod";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import { ensure, ofOption } from "../../../errors.ts";
import { foresightOptions, foresightOutlook, levelsOf } from "../foresight-options.ts";
import { refuseOptions } from "../options.ts";
import { rowDrafter, rowOptions } from "../row-drafter.ts";
import { speculate } from "../speculate.ts";
import { acceptanceOptions, isLossless, typicalAcceptance } from "../typical.ts";
import { draftDrafter } from "./on-draft.ts";
import { openPromptTokens, promptForesight } from "./vectors.ts";

export const promptTokens = defineMethod({
  name: "prompt-tokens",
  family: "speculative",
  summary: "trained vectors in the places of the next tokens make one pass guess several; no second model",
  source: "Chen et al. 2024, hardware-aware parallel prompt decoding, arXiv 2405.18628",
  lossless: isLossless,
  outlook: foresightOutlook(async (model, { prompts }) => (await openPromptTokens(model, prompts)).count),
  options: z.strictObject({
    prompts: hostOnly(
      z
        .string()
        .default("prompt-tokens")
        .describe("the trained vectors: a part beside the model by its name, or the folder of one"),
    ),
    draft: hostOnly(
      z
        .string()
        .optional()
        .describe(
          "a draft model that has prompt tokens of its own: it drafts with them, and the model verifies chains; default: none, and the model drafts for itself",
        ),
    ),
    length: z
      .int()
      .min(1)
      .max(32)
      .optional()
      .describe("tokens that a draft model drafts in a round: more pay off where it is often right; default: 5"),
    ...foresightOptions,
    ...rowOptions,
    ...acceptanceOptions,
  }),
  async decode(decoding, options) {
    const { acceptance } = options;
    if (acceptance === "exact") refuseOptions(options, ["epsilon", "alpha"], 'acceptance "exact"');
    const verifier = acceptance === "typical" ? typicalAcceptance(options) : undefined;
    const { draft, length = 5 } = options;
    if (draft !== undefined) {
      refuseOptions(options, ["expectation"], "draft, whose trees are adaptive");
      ensure(
        options.tree === "adaptive",
        "bad_option",
        "tree: \"published\" is for the model's own prompt tokens, not for a draft's",
      );
      return speculate(decoding, await draftDrafter(decoding, { ...options, draft, length }), verifier);
    }
    refuseOptions(options, ["length"], "the model's own prompt tokens: it belongs to draft");
    const tokens = await ofOption("prompts", () => openPromptTokens(decoding.model, options.prompts));
    const levels = levelsOf(options.levels, tokens.count, `prompts ${options.prompts}`);
    const drafter = await rowDrafter(decoding, promptForesight(tokens, levels), options);
    await speculate(decoding, drafter, verifier);
  },
});
