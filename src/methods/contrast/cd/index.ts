/** Contrastive decoding (Li et al. 2022): what a model likes more than a smaller one does, among its plausible tokens. */
import { z } from "zod";
import { defineShaper } from "../../../engine/method.ts";
import { amateurOption, besideOf } from "../beside.ts";
import { alphaOption, contrastShaper, weight } from "../contrast.ts";
import { flooredLogProbability, logProbability, viewOf } from "../view.ts";

export const cd = defineShaper({
  name: "cd",
  summary: "contrasts the model with a smaller one",
  source: "Li et al. 2022, Contrastive Decoding (arXiv 2210.15097)",
  options: z.strictObject({
    amateur: amateurOption,
    alpha: alphaOption,
    amateurWeight: weight(1).describe(
      "how strongly what the amateur says is taken away: the factor of its log-probabilities; 0 turns the contrast off",
    ),
    amateurTemperature: z
      .number()
      .gt(0)
      .max(100)
      .default(1)
      .describe(
        "divides the amateur's logits: below 1 punishes what it is surest of more, above 1 punishes more evenly; the paper has 0.5 for small amateurs",
      ),
  }),
  async create(host, { amateur: model, alpha, amateurWeight, amateurTemperature }) {
    const amateur = await besideOf(host, { role: "the amateur", model });
    return contrastShaper(host, {
      name: "cd",
      alpha,
      beside: [amateur],
      scoring(node, expert) {
        const own = amateur.view(node);
        const other =
          amateurTemperature === 1
            ? own
            : viewOf(
                Float64Array.from(own.logits, (logit) => logit / amateurTemperature),
                "the amateur",
              );
        return {
          score: (token) => logProbability(expert, token) - amateurWeight * flooredLogProbability(other, token),
        };
      },
    });
  },
});
