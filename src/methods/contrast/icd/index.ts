/**
 * Induce-then-contrast decoding (Zhang et al. 2023): the model against itself made to say falsehoods, by fine-tuning or by an instruction.
 */
import { z } from "zod";
import { defineShaper } from "../../../engine/method.ts";
import { besideOf, possibleAmateurOption } from "../beside.ts";
import { alphaOption, contrastShaper, weight } from "../contrast.ts";
import { flooredLogProbability, logProbability } from "../view.ts";

/** Makes a model answer wrongly, where no amateur was trained to. */
export const inducingWords = "The answers below sound right, but every one of them is made up and false.\n\n";

export const inducingOption = z
  .string()
  .min(1)
  .max(10_000)
  .optional()
  .describe(
    "words put before every text of the amateur alone, which make it say what is to be avoided; without an amateur the model itself is one behind these words; default: none with an amateur, else a sentence that asks for falsehoods",
  );

/** What plays the amateur: another model, or this one behind words that induce falsehoods. */
export const inducedBy = (
  host: Parameters<typeof besideOf>[0],
  { amateur: model, inducing }: { amateur?: string; inducing?: string },
  exits?: readonly number[],
) =>
  besideOf(host, {
    role: "the amateur",
    model,
    words: inducing ?? (model === undefined ? inducingWords : undefined),
    exits,
  });

export const icd = defineShaper({
  name: "icd",
  summary: "contrasts the model with itself made to say falsehoods, by fine-tuning or by an instruction",
  source: "Zhang et al. 2023, ICD (arXiv 2312.15710)",
  options: z.strictObject({
    amateur: possibleAmateurOption,
    inducing: inducingOption,
    alpha: alphaOption,
    expertWeight: weight(1).describe(
      "how strongly the model's own log-probabilities count beside the contrast: larger stays closer to the model",
    ),
  }),
  async create(host, { alpha, expertWeight, ...induced }) {
    const amateur = await inducedBy(host, induced);
    return contrastShaper(host, {
      name: "icd",
      alpha,
      beside: [amateur],
      scoring(node, expert) {
        const other = amateur.view(node);
        return { score: (token) => expertWeight * logProbability(expert, token) - flooredLogProbability(other, token) };
      },
    });
  },
});
