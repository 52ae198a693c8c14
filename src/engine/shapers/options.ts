/** The options of the shaper chain. Every one is off by default: the chain is then a plain softmax. */
import { z } from "zod";
import { VentrisError } from "../../errors.ts";
import { describeIssues } from "../../issues.ts";

export const presetNames = ["hf", "llamacpp", "vllm"] as const;

const token = z.int().min(0);
const window = z.union([z.int().min(1), z.literal("all")]);

export const dryOptions = z.strictObject({
  multiplier: z.number().min(0).max(1000).describe("strength of the penalty; 0 is off"),
  base: z.number().min(1).max(100).default(1.75).describe("growth of the penalty with each further repeated token"),
  allowedLength: z.int().min(1).default(2).describe("repeats shorter than this are free"),
  window: window.default("all").describe("how many of the last tokens to search for repeats"),
  breakers: z
    .array(z.union([z.string().min(1).max(40), token]))
    .max(64)
    .default(["\n", ":", '"', "*"])
    .describe("texts or token ids that a repeat cannot cross"),
});

export const shapingOptions = z.strictObject({
  temperature: z
    .number()
    .min(0)
    .max(1000)
    .default(1)
    .describe("divides the logits; 0 always takes the most likely token"),
  dynamicTemperature: z
    .strictObject({
      range: z.number().gt(0).max(1000).describe("how far the temperature goes down and up from `temperature`"),
      exponent: z.number().gt(0).max(100).default(1).describe("power of the entropy's share that it follows"),
    })
    .optional()
    .describe("lower temperature where the model is sure, higher where it is not (by entropy); not with temperature 0"),
  topK: z.int().min(0).default(0).describe("keep the k most likely tokens; 0 is off"),
  topP: z.number().gt(0).max(1).default(1).describe("keep the most likely tokens up to this probability; 1 is off"),
  minP: z.number().min(0).max(1).default(0).describe("keep tokens at least this likely relative to the best; 0 is off"),
  typicalP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe("keep the tokens of most typical surprise up to this probability; 1 is off"),
  topNSigma: z
    .number()
    .gt(0)
    .optional()
    .describe("keep logits within this many standard deviations of the highest one"),
  epsilon: z.number().min(0).lt(1).default(0).describe("keep tokens of at least this probability; 0 is off"),
  eta: z.number().min(0).lt(1).default(0).describe("like epsilon, lower where entropy is high; 0 is off"),
  xtc: z
    .strictObject({ probability: z.number().min(0).max(1), threshold: z.number().gt(0).max(1).default(0.1) })
    .optional()
    .describe("now and then drop all tokens above the threshold but the least likely of them"),
  mirostat: z
    .strictObject({
      version: z
        .union([z.literal(1), z.literal(2)])
        .default(2)
        .describe("1 fits a Zipf law, 2 cuts by surprise"),
      tau: z.number().gt(0).max(100).default(5).describe("wanted surprise of the chosen tokens, in bits"),
      eta: z.number().gt(0).max(1).default(0.1).describe("how fast the bound follows the surprise"),
    })
    .optional()
    .describe("keep the surprise of the chosen tokens near a target"),
  minKept: z.int().min(1).default(1).describe("tokens that every one of the cuts above keeps, at least; 1 is off"),
  repetitionPenalty: z.number().gt(0).max(100).default(1).describe("weakens tokens already seen; 1 is off"),
  frequencyPenalty: z.number().min(-100).max(100).default(0).describe("subtracted once for every occurrence"),
  presencePenalty: z.number().min(-100).max(100).default(0).describe("subtracted once from tokens that occurred"),
  penaltyWindow: window
    .optional()
    .describe("how many of the last tokens the penalties see; all, or 64 in the llamacpp order"),
  dry: dryOptions.optional().describe("penalise tokens that would continue a repeat (don't repeat yourself)"),
  noRepeatNgram: z
    .int()
    .min(0)
    .max(1000)
    .default(0)
    .describe("never complete so many tokens in a row that stand in prompt or output already; 0 is off"),
  logitBias: z
    .record(
      z.string().regex(/^(0|[1-9]\d*)$/, "a token id"),
      z.union([z.number().min(-1e6).max(1e6), z.literal(Number.NEGATIVE_INFINITY)]),
    )
    .optional()
    .describe("added to the logits of token ids; -Infinity bans"),
  badTokens: z.array(token).optional().describe("token ids that must not be produced"),
  order: z
    .union([z.enum(presetNames), z.array(z.string())])
    .default("hf")
    .describe("order of the stages: that of a known engine, or a list of stage names"),
});

/** What a caller may give. */
export type ShapingOptions = z.input<typeof shapingOptions>;
/** The same with every default filled in. */
export type ShapingSettings = z.output<typeof shapingOptions>;

/** Checks options and fills in defaults. Errors: `bad_option` naming each wrong option and its range. */
export function parseOptions<Schema extends z.ZodType>(
  schema: Schema,
  options: z.input<Schema>,
  subject: string,
): z.output<Schema> {
  const parsed = schema.safeParse(options, { reportInput: true });
  if (parsed.success) return parsed.data;
  throw new VentrisError("bad_option", `${subject} options: ${describeIssues(parsed.error.issues, schema)}`);
}
