/**
 * Training of prompt tokens (Chen et al. 2024, section 3): only the vectors are trained, m · e · d numbers. They begin as embeddings of tokens that the
 * seed draws, and learn the frozen model's own distributions by forward KL, a step ahead counting 0.8 of the step before it.
 */
import { z } from "zod";
import { uniform } from "../../../engine/random.ts";
import type { Edit } from "../../../models/edits.ts";
import { gather, greater, where } from "../../../tensor/index.ts";
import { aheadGraph, aheadLayout, indices, onesWhere } from "../../../training/look-ahead.ts";
import { ofEdits, partKind } from "../../../training/parts.ts";

export const promptTokensKind = "prompt-tokens";

export const promptTokensSettings = z.strictObject({
  tokens: z.int().min(1).max(16).default(3),
  ensemble: z.int().min(1).max(16).default(1),
  anchors: z.int().min(1).max(512).default(24),
  /** Where in the texts: drawn anew for each batch, or evenly spaced. */
  places: z.enum(["random", "even"]).default("random"),
  decay: z.number().gt(0).max(1).default(0.8),
  targets: z.enum(["model", "texts"]).default("model"),
});

export const promptTokensPart = partKind(promptTokensKind, promptTokensSettings, (task, settings) => {
  const { family, config, values, rows, length, seed } = task;
  const { tokens: steps, ensemble, anchors, places, decay, targets } = settings;
  const { hiddenSize: width, vocabularySize } = config;
  const ahead = { family, config, rows, length, anchors, places, seed, steps, ensemble, decay, targets };
  const layout = aheadLayout(ahead);
  const embeddings = values.get(family.parameters(config)[0].name)!;
  const vectors = new Float32Array(steps * ensemble * width);
  for (let i = 0; i < steps * ensemble; i++) {
    const token = Math.floor(uniform({ seed, request: 0 }, i, "initialise", 5) * vocabularySize);
    vectors.set(embeddings.subarray(token * width, (token + 1) * width), i * width);
  }
  const which = indices(layout.stepOf.map((step, at) => Math.max(0, step - 1) * ensemble + layout.ensembleOf[at]));
  const isVector = onesWhere(layout.stepOf.map((step) => step > 0));
  const edit: Edit = {
    name: "prompt",
    site: "embed.tokens",
    parameters: { vectors: { shape: [steps * ensemble, width], values: vectors } },
    apply: (value, { parameters }) => ({
      value: where(greater(isVector, 0), gather(parameters.vectors, which), value),
    }),
  };
  return { ...ofEdits([edit]), ...aheadGraph(ahead, layout, [edit]) };
});
