/** What methods that draft from guesses share in options, and what they can gain. */
import { z } from "zod";
import type { Outlook } from "../../engine/method.ts";
import type { Model } from "../../engine/model.ts";
import { ensure } from "../../errors.ts";
import { budgetOption } from "./budget.ts";
import { freeDraftOutlook } from "./outlook.ts";

export const foresightOptions = {
  levels: z
    .int()
    .min(1)
    .max(16)
    .optional()
    .describe("how many tokens beyond the next are guessed; default: as many as were trained"),
  budget: budgetOption,
  by: z
    .enum(["probability", "rank"])
    .default("probability")
    .describe(
      "what a guess is trusted by: its own probability, so that the tree's shape follows the text, or its rank alone, as in the published trees of one fixed shape",
    ),
  estimate: z
    .enum(["measured", "draft"])
    .default("measured")
    .describe("how often guesses are right: measured once for the model, or as often as their own probabilities say"),
  topK: z.int().min(1).max(1024).default(64).describe("most likely tokens of a guess that can be drafted"),
};

/** Errors: `bad_option` for more levels than there are. */
export function levelsOf(asked: number | undefined, there: number, whose: string): number {
  ensure(
    asked === undefined || asked <= there,
    "bad_option",
    `levels: ${asked} tokens ahead are asked for, and ${whose} guesses ${there}: ask for at most ${there}`,
  );
  return asked ?? there;
}

/** Guesses cost little; what they bring is the text's and the part's affair. */
export const foresightOutlook =
  <Options extends { levels?: number }>(there: (model: Model, options: Options) => Promise<number>) =>
  async (
    model: Model,
    options: Options,
    conditions: { temperature: number; signal?: AbortSignal },
  ): Promise<Outlook> => {
    const length = options.levels ?? (await there(model, options));
    return freeDraftOutlook(() => length)(model, {}, conditions);
  };
