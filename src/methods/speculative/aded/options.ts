/** Options of the method, and which of them go together. */
import { z } from "zod";
import { hostOnly } from "../../../engine/method.ts";
import { budgetOption } from "../budget.ts";
import { verifications } from "../draft-model.ts";
import { refuseOptions } from "../options.ts";

/** Longer ones know loops and quotations, shorter ones are the table's business. */
export const defaultContexts = [12, 6, 3];

/** A model's own table, used when no other is named. */
export const ownTable = "trigrams.bin";

export const adedOptions = z.strictObject({
  table: hostOnly(
    z
      .string()
      .min(1)
      .optional()
      .describe(`tri-gram table to start from, or "empty"; default: the model's own ${ownTable}, else empty`),
  ),
  isolate: z
    .boolean()
    .default(false)
    .describe(
      "learn for this request alone and forget it after, so that no text passes between conversations; slower to become good",
    ),
  primePrompt: z
    .boolean()
    .optional()
    .describe(
      "learn from all of the prompt before decoding, instead of from its last 16 tokens; helps where the output repeats the prompt (default: no)",
    ),
  verification: z
    .enum(verifications)
    .default("race")
    .describe(
      "race: emit plain sampling's own tokens, one text per seed; published: the authors' sampling, which is NOT lossless and is there to measure theirs",
    ),
  contexts: z
    .array(z.int().min(1).max(64))
    .max(8)
    .optional()
    .describe(
      `lengths of the contexts in the text itself that are asked before the table, in tokens; default: ${defaultContexts.join(", ")}; published: none`,
    ),
  budget: budgetOption,
  iterations: z
    .int()
    .min(1)
    .max(2000)
    .default(150)
    .describe("most rounds of the tree search that builds a draft; more find better drafts and take longer"),
  pathLength: z
    .int()
    .min(2)
    .max(128)
    .default(48)
    .describe("how far the search looks ahead, in pairs of tokens; longer paths can be accepted further; published: 4"),
  paths: z
    .int()
    .min(1)
    .max(500)
    .optional()
    .describe("most visited paths that become the draft, published: 24; default: the nodes that are worth their time"),
  c1: z
    .number()
    .min(0)
    .optional()
    .describe(
      "how strongly the search favours what it has visited little over what looks likely, at first; larger explores more; default: 32",
    ),
  c2: z
    .number()
    .positive()
    .optional()
    .describe("how soon that preference grows with the number of visits; smaller makes it grow sooner; default: 8"),
  search: z
    .enum(["puct", "best-first"])
    .default("puct")
    .describe(
      "how a draft is built: by the published tree search (puct), or without search, most probable tokens first (best-first)",
    ),
  reward: z
    .enum(["path-weight", "repo"])
    .optional()
    .describe(
      "what the search is rewarded with: the probability of the whole path (path-weight, default), or what the authors' program has (repo)",
    ),
  cut: z
    .enum(["trie", "repo"])
    .optional()
    .describe(
      "how a draft is cut to its budget: shared beginnings are counted once (trie, default), or as the authors' program does (repo)",
    ),
  step: z
    .number()
    .min(0)
    .default(1)
    .describe(
      "how fast the table learns: what a tri-gram gains each time the text has it; 0 turns learning off; published: 0.04",
    ),
  forget: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("part of a pair's weights lost when one of its tri-grams is credited, default 0.5; published: 0"),
  maximumWeight: z
    .number()
    .positive()
    .optional()
    .describe("largest weight of a tri-gram, so that a frequent one can still be overtaken; default: 3"),
  window: z
    .int()
    .min(0)
    .max(4096)
    .optional()
    .describe("last tokens whose tri-grams are credited anew each round, published: 16; default: each of them once"),
});

/** Errors: `bad_option` for an option that another one leaves without effect. */
export function refuseContradictions(options: z.output<typeof adedOptions>): void {
  if (options.search === "best-first") refuseOptions(options, ["c1", "c2", "reward", "paths"], 'search "best-first"');
  if (options.paths === undefined) refuseOptions(options, ["cut"], "drafts that are not made of paths: give paths too");
  else if (options.contexts?.length)
    refuseOptions(options, ["contexts"], "paths, which are drafted from the table alone");
  if (options.step === 0) {
    refuseOptions(
      options,
      ["forget", "maximumWeight", "window", "primePrompt"],
      "step 0, with which nothing is credited",
    );
  }
  if (options.window !== undefined)
    refuseOptions(options, ["primePrompt"], "window, which credits the last tokens only");
}
