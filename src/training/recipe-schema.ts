/** What a recipe says, and how it is read: JSON, in which `//` begins a comment. */

import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { exists, readText, whyUnreadable, within } from "../files.ts";
import { describeIssues } from "../issues.ts";
import { parseJson } from "../json.ts";
import { hint } from "../names.ts";
import { divergences } from "./divergence.ts";
import { constant, cosine, linear, type Schedule, warmupStableDecay } from "./schedule.ts";

const schedule = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("constant"), peak: z.number().positive(), warmup: z.int().min(0).optional() }),
  ...(["linear", "cosine"] as const).map((kind) =>
    z.strictObject({
      kind: z.literal(kind),
      peak: z.number().positive(),
      warmup: z.int().min(0).optional(),
      final: z.number().min(0).optional(),
    }),
  ),
  z.strictObject({
    kind: z.literal("warmupStableDecay"),
    peak: z.number().positive(),
    warmup: z.int().min(0).optional(),
    final: z.number().min(0).optional(),
    decay: z.int().min(0),
  }),
]);

const datum = z.strictObject({
  path: z.string(),
  field: z.string().optional(),
  /** What stands between the documents of a `.txt` file, "\n\n" for blank lines (one or more); default: the whole file is one document. */
  separator: z.string().min(1).optional(),
  /** How often windows are drawn from this file, against the others' weights; all files have one, or none (then: by size). */
  weight: z.number().min(0).optional(),
  /** Whether names of special tokens in the text mean those tokens: chats written as `chatTemplate` writes them. */
  special: z.boolean().optional(),
});

/** Adapters instead of all weights; the names are PEFT's. */
const lora = z.strictObject({
  r: z.int().min(1),
  alpha: z.number().positive(),
  targets: z.array(z.string()).min(1),
  rankStabilised: z.boolean().optional(),
  dropout: z.literal(0, { error: "dropout is not supported: leave it out, or 0" }).optional(),
});

export const recipeSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]+$/),
  description: z.string(),
  licence: z.string(),
  /** The model's config.json. */
  config: z.record(z.string(), z.unknown()),
  /** Folder of the tokenizer, relative to the recipe. */
  tokenizer: z.string(),
  /** Text files, relative to the data folder, or with `./` relative to the recipe. */
  data: z.array(datum).min(1),
  /** Share of documents that are not trained on; default 0.01. */
  heldOut: z.number().min(0).max(0.5).optional(),
  rows: z.int().min(1),
  length: z.int().min(1),
  /** Batches that make one step. */
  accumulate: z.int().min(1).optional(),
  /** Documents that share a row do not see each other. */
  separateDocuments: z.boolean().optional(),
  /**
   * Names of the special tokens that begin a user's and an assistant's turn: of a document with turns only what the assistant says is
   * trained on; one without them counts as a whole. Wants `separateDocuments`.
   */
  answers: z.strictObject({ user: z.string(), assistant: z.string() }).optional(),
  /**
   * Of masked diffusion models: files with `special` are chats, each a row of its own, padded with end tokens. `assistant` names the special
   * token that begins an answer; what stands before it is never masked in `promptShare` of the rows (default: all).
   */
  chats: z.strictObject({ assistant: z.string(), promptShare: z.number().min(0).max(1).optional() }).optional(),
  /** Of masked diffusion models: answers of chats masked as they are decoded in blocks, and rows in order; see `MaskingOptions`. */
  masking: z
    .strictObject({ blockLength: z.int().min(1), orderedShare: z.number().min(0).max(1) })
    .partial()
    .optional(),
  /** The template of chats (Jinja), which the model's tokenizer_config.json gets. */
  chatTemplate: z.string().optional(),
  /** Less memory, more work: see `NextTokenOptions`. */
  recompute: z.boolean().optional(),
  steps: z.int().min(1),
  seed: z.int().min(0),
  schedule,
  optimiser: z.strictObject({ beta1: z.number(), beta2: z.number(), weightDecay: z.number() }).partial().optional(),
  clip: z.number().positive().optional(),
  /** Train a model further: start from its weights (a folder relative to the recipe), after so many tokens and minutes of training. */
  continues: z.strictObject({ model: z.string(), tokens: z.int().min(0), minutes: z.number().min(0) }).optional(),
  /** Train an adapter of the model that is continued. */
  lora: lora.optional(),
  /** Train a part of the model that is continued, which stays as it is: see `parts.ts`. */
  part: z
    .strictObject({ kind: z.string().max(100), settings: z.record(z.string(), z.unknown()).optional() })
    .optional(),
  /** Lexical units, learned further beside the text by all weights of the model that is continued: see `lexical-units.ts`. */
  units: z
    .strictObject({
      /** Name of the special token that stands where a unit's further tokens will. */
      pad: z.string(),
      /** Alpha: a token belongs to a unit when the model, as it was, gave it more than this. */
      threshold: z.number().gt(0).lt(1),
      /** Tokens of a unit, at most. */
      longest: z.int().min(2).max(16),
      /** Share of the loss that units have; default: half. */
      share: z.number().gt(0).lt(1).optional(),
      /** Units learned of each text in a batch, at most; default: 16. */
      most: z.int().min(1).max(256).optional(),
    })
    .optional(),
  /** Distil from this model (a folder relative to the recipe): see `nextTokenObjective`. */
  teacher: z
    .strictObject({ model: z.string(), share: z.number().gt(0).max(1), divergence: z.enum(divergences).optional() })
    .optional(),
});
export type Recipe = z.infer<typeof recipeSchema>;

/** Errors: `bad_file` for what is no JSON, `bad_option` naming the field. */
export async function readRecipe(path: string): Promise<Recipe> {
  let source: string;
  try {
    source = await readText(path);
  } catch (cause) {
    const inside = within(path, "recipe.json");
    const meant = hint((await exists(inside)) ? inside : undefined);
    throw new VentrisError("bad_file", `recipe ${path} cannot be read: ${whyUnreadable(cause)}${meant}`, { cause });
  }
  const parsed = recipeSchema.safeParse(parseJson(withoutComments(source), `recipe ${path}`), { reportInput: true });
  if (!parsed.success)
    throw new VentrisError("bad_option", `recipe ${path}: ${describeIssues(parsed.error.issues, recipeSchema)}`);
  const { data, lora, continues, answers, separateDocuments, part } = parsed.data;
  const weights = data.flatMap(({ weight }) => weight ?? []);
  const unweighted = data.find(({ weight }) => weight === undefined);
  ensure(
    weights.length === 0 || !unweighted,
    "bad_option",
    () => `recipe ${path}: data: ${unweighted!.path} has no weight, but others have: give all files one, or none`,
  );
  scheduleOf(parsed.data); // refuses a decay longer than the run, before anything is begun
  const total = weights.reduce((a, b) => a + b, 0);
  ensure(
    weights.length === 0 || total > 0,
    "bad_option",
    `recipe ${path}: data: the weights sum to 0: nothing is drawn`,
  );
  ensure(
    !answers || separateDocuments,
    "bad_option",
    `recipe ${path}: answers: where a document begins without its question is only known with separateDocuments: true`,
  );
  ensure(
    !lora || continues,
    "bad_option",
    `recipe ${path}: lora: an adapter needs a model that it adapts: give continues`,
  );
  const { units } = parsed.data;
  ensure(!units || continues, "bad_option", `recipe ${path}: units: they are what a model is sure of: give continues`);
  const others = ["lora", "teacher", "answers", "separateDocuments", "recompute", "chats", "part"] as const;
  const beside = units && others.find((name) => parsed.data[name]);
  ensure(!beside, "bad_option", `recipe ${path}: ${beside} does not go with units`);
  ensure(!part || continues, "bad_option", `recipe ${path}: part: it is trained on a model: give continues`);
  const whole = ["lora", "teacher", "answers", "separateDocuments", "recompute", "chatTemplate"] as const;
  const besides = part && whole.find((name) => parsed.data[name]);
  ensure(!besides, "bad_option", `recipe ${path}: ${besides} does not go with part`);
  return parsed.data;
}

/** The text with `//` and what follows it on the line replaced by nothing, outside of strings. */
const withoutComments = (source: string): string =>
  source.replace(/"(?:\\.|[^"\\])*"|\/\/[^\n]*/g, (match) => (match.startsWith("//") ? "" : match));

export function scheduleOf({ schedule, steps }: Recipe): Schedule {
  if (schedule.kind === "constant") return constant(schedule);
  if (schedule.kind === "warmupStableDecay") return warmupStableDecay({ ...schedule, steps });
  return (schedule.kind === "linear" ? linear : cosine)({ ...schedule, steps });
}
