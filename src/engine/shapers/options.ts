/** The options of the shaper chain. Every one is off by default: the chain is then a plain softmax. */

import { z } from "zod";
import { shown, VentrisError } from "../../errors.ts";
import { describeIssues } from "../../issues.ts";
import type { Others } from "../../names.ts";
import { didYouMean } from "../../names.ts";
import { readBy } from "../../strict.ts";

export const presetNames = ["hf", "llamacpp", "vllm"] as const;

const token = z.int().min(0);
const window = z.union([z.int().min(1), z.literal("all")]);

export const dryOptions = z.strictObject({
  multiplier: z.number().min(0).max(1000).describe("strength of the penalty; 0 turns it off"),
  base: z
    .number()
    .min(1)
    .max(100)
    .default(1.75)
    .describe("the penalty is multiplied by this for each further repeated token"),
  allowedLength: z.int().min(1).default(2).describe("repeats of at most this many tokens are not penalised"),
  window: window.default("all").describe("how many of the last tokens are searched for repeats, or all"),
  breakers: z
    .array(z.union([z.string().min(1).max(40), token]))
    .max(64)
    .default(["\n", ":", '"', "*"])
    .describe("texts or token ids at which a repeat ends"),
});

/** Stages that requests bring beside the standard ones. */
export const requestStages = ["minTokens"] as const;

/** Those that every chain has, as `standardStages` defines them. */
export const standardNames = [
  "bias",
  "penalties",
  "dry",
  "noRepeatNgram",
  "temperature",
  "topNSigma",
  "topK",
  "topP",
  "minP",
  "typicalP",
  "epsilon",
  "eta",
  "xtc",
  "mirostat",
] as const;
const stageNames: readonly string[] = [...standardNames, ...requestStages];

/** A stage of the chain by its name; that of a shaper has the shaper's name and a point before its own. */
export type StageName = (typeof standardNames)[number] | (typeof requestStages)[number] | `${string}.${string}`;

/** Of a shaper's stages is known only when the run begins which there are. */
const stage = z.string().refine((name) => name.includes(".") || stageNames.includes(name), {
  error: ({ input }) =>
    `no stage is called ${shown(input)}${didYouMean(String(input), stageNames)} Stages: ${stageNames.join(", ")}`,
}) as z.ZodType<StageName, StageName>;
const allDifferent = (names: readonly string[]): boolean => new Set(names).size === names.length;
const stages = z
  .array(stage)
  .refine(allDifferent, "every stage may stand there only once")
  .meta({ title: "a list of stages" });

export const shapingOptions = z.strictObject({
  temperature: z
    .number()
    .min(0)
    .max(1000)
    .default(1)
    .describe(
      "divides the logits: below 1 likely tokens become likelier, above 1 unlikely ones do; 0 always takes the most likely token",
    ),
  dynamicTemperature: z
    .strictObject({
      range: z.number().gt(0).max(1000).describe("how far it may go below and above `temperature`"),
      exponent: z.number().gt(0).max(100).default(1).describe("power of the normalised entropy that it follows"),
    })
    .optional()
    .describe(
      "lower the temperature where the model is sure and raise it where it is not, by the entropy of its distribution; not with temperature 0",
    )
    .meta({ examples: [{ range: 0.5 }] }),
  topK: z.int().min(0).default(0).describe("keep only the k most likely tokens; 0 turns it off"),
  topP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe("keep only the most likely tokens that together have this probability; 1 turns it off"),
  minP: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe("keep only tokens whose probability is at least this share of the best token's; 0 turns it off"),
  typicalP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe(
      "keep the tokens whose surprise is nearest to the expected surprise, until together they have this probability; 1 turns it off",
    ),
  topNSigma: z
    .number()
    .gt(0)
    .optional()
    .describe("keep only tokens whose logit is within this many standard deviations of the highest"),
  epsilon: z.number().min(0).lt(1).default(0).describe("keep only tokens of at least this probability; 0 turns it off"),
  eta: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("like epsilon, with a lower bound where the entropy is high; 0 turns it off"),
  xtc: z
    .strictObject({
      probability: z.number().min(0).max(1).describe("how often it acts"),
      threshold: z.number().gt(0).max(1).default(0.1).describe("tokens that are at least this likely are top choices"),
    })
    .optional()
    .describe("“exclude top choices”: at some tokens, drop all top choices except the least likely of them")
    .meta({ examples: [{ probability: 0.5, threshold: 0.1 }] }),
  mirostat: z
    .strictObject({
      version: z
        .union([z.literal(1), z.literal(2)])
        .default(2)
        .describe("1 estimates the cut from a Zipf law, 2 cuts at a surprise"),
      tau: z.number().gt(0).max(100).default(5).describe("target surprise, in bits"),
      eta: z.number().gt(0).max(1).default(0.1).describe("how fast the cut follows"),
    })
    .optional()
    .describe("hold the surprise of the chosen tokens near a target")
    .meta({ examples: [{ tau: 4 }] }),
  minKept: z.int().min(1).default(1).describe("each of these cuts keeps at least this many tokens"),
  repetitionPenalty: z
    .number()
    .gt(0)
    .max(100)
    .default(1)
    .describe("make tokens that have occurred less likely by this factor; 1 turns it off"),
  frequencyPenalty: z
    .number()
    .min(-100)
    .max(100)
    .default(0)
    .describe("subtracted from a token's logit once for every time it has occurred"),
  presencePenalty: z
    .number()
    .min(-100)
    .max(100)
    .default(0)
    .describe("subtracted once from the logit of every token that has occurred"),
  penaltyWindow: window
    .optional()
    .describe("how many of the last tokens the penalties look at, or all; default: all, and 64 in the order llamacpp"),
  dry: dryOptions
    .optional()
    .describe("“don't repeat yourself”: penalise tokens that would continue a repeated passage")
    .meta({ examples: [{ multiplier: 0.8 }] }),
  noRepeatNgram: z
    .int()
    .min(0)
    .max(1000)
    .default(0)
    .describe("never write a sequence of this many tokens that prompt or output already has; 0 turns it off"),
  logitBias: z
    .record(
      z.string().regex(/^(0|[1-9]\d*)$/, "a token id"),
      z.union([z.number().min(-1e6).max(1e6), z.literal(Number.NEGATIVE_INFINITY)]),
    )
    .optional()
    .describe("numbers that are added to the logits of token ids; -Infinity bans a token")
    .meta({ examples: [{ 42: -5 }] }),
  badTokens: z.array(token).optional().describe("token ids that are never produced"),
  order: z
    .union([z.enum(presetNames), stages])
    .default("hf")
    .describe(
      `order of these stages: that of a known engine, or a list of names. Stages: ${standardNames.join(", ")}; and ${requestStages.join(", ")}, which comes first unless the list places it`,
    ),
});

/** What a caller may give. */
export type ShapingOptions = z.input<typeof shapingOptions>;
/** The same with every default filled in. */
export type ShapingSettings = z.output<typeof shapingOptions>;

/** Checks options and fills in defaults. Errors: `bad_option` naming each wrong option and its range, or another way to what is no option. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  options: z.input<Schema>,
  subject: string,
  others?: Others,
): z.output<Schema> {
  const parsed = readBy(schema, options, subject);
  if (parsed.issues)
    throw new VentrisError("bad_option", `${subject} options: ${describeIssues(parsed.issues, schema, [], others)}`);
  return parsed.data;
}
