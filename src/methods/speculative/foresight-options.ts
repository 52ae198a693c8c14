/** What methods that draft from guesses share in options, and what they can gain. */
import { z } from "zod";
import type { Outlook } from "../../engine/method.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { ensure } from "../../errors.ts";
import { budgetOption } from "./budget.ts";
import { guessedOutlook } from "./outlook.ts";

export const foresightOptions = {
  levels: z
    .int()
    .min(1)
    .max(16)
    .optional()
    .describe(
      "how many tokens beyond the next are guessed: fewer cost less where far guesses are rarely right; default: as many as were trained",
    ),
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
    .describe(
      "how often a guess is taken to be right, which decides what is drafted: as measured once for the model (measured), or as its own probability says (draft), which needs no measurement",
    ),
  topK: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe(
      "how many of the likeliest tokens of each guess can be drafted: fewer cost less time; the output does not depend on it",
    ),
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
  <Options extends { levels?: number }>(there: (model: DecodingModel, options: Options) => Promise<number>) =>
  async (
    model: DecodingModel,
    options: Options,
    conditions: { temperature: number; signal?: AbortSignal },
  ): Promise<Outlook> => {
    const length = options.levels ?? (await there(model, options));
    return guessedOutlook(length)(model, {}, conditions);
  };
