/**
 * Recipes: how a shipped model is trained, as data. A recipe names the architecture, the texts, the batch and the schedule;
 * running it trains (resuming where it stopped) and exports a model folder with weights, tokenizer and card.
 */
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { uniform } from "../engine/random.ts";
import { ensure, shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import { familyOf } from "../models/families.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { readParameters } from "../models/parameters.ts";
import { openTokenizer } from "../text/index.ts";
import { readConfig, writeFileAtomically, writeSafetensors } from "../weights/index.ts";
import { openSafetensors } from "../weights/safetensors.ts";
import { readRun } from "./checkpoint.ts";
import { type Corpus, drawBatch, evaluationBatches, loadCorpus } from "./data.ts";
import { type HistoryEntry, lossCurveSvg } from "./history.ts";
import { type TrainProgress, type TrainResult, train } from "./loop.ts";
import { replicatedObjective } from "./replicas.ts";
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

export const recipeSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]+$/),
  description: z.string(),
  licence: z.string(),
  /** The model's config.json. */
  config: z.record(z.string(), z.unknown()),
  /** Folder of the tokenizer, relative to the recipe. */
  tokenizer: z.string(),
  /** Text files, relative to the data folder, or with `./` relative to the recipe. */
  data: z.array(z.strictObject({ path: z.string(), field: z.string().optional() })).min(1),
  rows: z.int().min(1),
  length: z.int().min(1),
  accumulate: z.int().min(1).optional(),
  steps: z.int().min(1),
  seed: z.int().min(0),
  schedule,
  optimiser: z.strictObject({ beta1: z.number(), beta2: z.number(), weightDecay: z.number() }).partial().optional(),
  clip: z.number().positive().optional(),
  /** Train a model further: start from its weights (a folder relative to the recipe), after so many tokens and minutes of training. */
  continues: z.strictObject({ model: z.string(), tokens: z.int().min(0), minutes: z.number().min(0) }).optional(),
  /** Distil from this model (a folder relative to the recipe): see `nextTokenObjective`. */
  teacher: z.strictObject({ model: z.string(), share: z.number().gt(0).max(1) }).optional(),
});
export type Recipe = z.infer<typeof recipeSchema>;

/** Errors: `bad_option` naming the field. */
export async function readRecipe(path: string): Promise<Recipe> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new VentrisError("bad_file", `recipe ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const parsed = recipeSchema.safeParse(json);
  if (!parsed.success) throw new VentrisError("bad_option", `recipe ${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export interface RecipeOptions {
  /** Where the recipe's texts are. */
  dataFolder: string;
  /** Where the run keeps its checkpoint. */
  runFolder: string;
  /** Model folder to write when training stops; default: none. */
  out?: string;
  threads?: number;
  maxSeconds?: number;
  signal?: AbortSignal;
  onProgress?: (progress: TrainProgress) => void;
  onMessage?: (message: string) => void;
}

export async function runRecipe(path: string, options: RecipeOptions): Promise<TrainResult> {
  const recipe = await readRecipe(path);
  const { rows, length, seed, steps } = recipe;
  const { onMessage = () => {}, signal, threads } = options;
  const beside = (name: string): string => resolve(dirname(path), name);
  const { family, config } = familyOf(recipe.config);
  const tokenizer = await openTokenizer(beside(recipe.tokenizer));
  ensure(
    tokenizer.vocabularySize <= config.vocabularySize,
    "bad_config",
    `the tokenizer has ${tokenizer.vocabularySize} tokens, the model ${config.vocabularySize}`,
  );

  await refuseChangedRun(options.runFolder, recipe);
  onMessage("encoding the texts (kept in the cache folder)");
  const corpus: Corpus = await loadCorpus({
    files: recipe.data.map(({ path, field }) => ({
      path: path.startsWith("./") ? beside(path) : join(options.dataFolder, path),
      field,
    })),
    tokenizer,
    signal,
  });
  const run = { ...recipe, corpus: corpus.digest };
  await refuseChangedRun(options.runFolder, run);
  onMessage(`${corpus.train.tokens.length} training tokens, ${corpus.heldOut.tokens.length} held out`);

  // Small corpora hold out little: what there is, in batches that do not overlap.
  const evaluations = Math.min(24, Math.floor((corpus.heldOut.tokens.length - 1) / (rows * length)));
  ensure(
    evaluations > 0,
    "bad_option",
    `the texts hold out ${corpus.heldOut.tokens.length} tokens, less than one batch of ${rows} x ${length}: give more text`,
  );

  const values = recipe.continues
    ? await valuesOf(beside(recipe.continues.model), family, config)
    : initialValues(family, config, seed);
  const objective = await replicatedObjective(config, values, {
    rows,
    length,
    threads,
    teacher: recipe.teacher && {
      share: recipe.teacher.share,
      ...(await readTeacher(beside(recipe.teacher.model), config)),
    },
  });
  try {
    const result = await train({
      objective,
      batches: (index) => drawBatch(corpus.train.tokens, { rows, length }, seed, index),
      evaluation: { batches: evaluationBatches(corpus.heldOut.tokens, { rows, length }, evaluations), every: 250 },
      steps,
      maxSeconds: options.maxSeconds,
      schedule: scheduleOf(recipe),
      optimiser: recipe.optimiser,
      clip: recipe.clip,
      accumulate: recipe.accumulate,
      seed,
      config: run,
      checkpointFolder: options.runFolder,
      onProgress: options.onProgress,
      signal,
    });
    if (options.out)
      await exportModel(
        { ...recipe, file: basename(path) },
        family,
        config,
        values,
        beside(recipe.tokenizer),
        options.out,
        result,
      );
    return result;
  } finally {
    await objective.release();
  }
}

/** What a card says and no step depends on. */
const labels: readonly string[] = ["name", "description", "licence"];

/**
 * A run goes on from its checkpoint only with what it was begun with: a finished one would train nothing, and its card would claim
 * what was never done. More `steps` are another matter. Errors: `bad_checkpoint` naming the fields that differ.
 */
async function refuseChangedRun(folder: string, stated: Recipe & { corpus?: string }): Promise<void> {
  const run = await readRun(folder);
  if (!isObject(run?.config)) return;
  const before = run.config;
  const now = JSON.parse(JSON.stringify(stated));
  const changed = Object.keys({ ...before, ...now }).filter(
    // A checkpoint from before a field was recorded, and a question asked before it is known, say nothing of it.
    (field) =>
      !(field === "corpus" && (before[field] === undefined || now[field] === undefined)) &&
      !labels.includes(field) &&
      (field === "steps" ? now.steps < run.step : !isDeepStrictEqual(before[field], now[field])),
  );
  const shownField = (field: string) =>
    field === "corpus"
      ? "the texts or the tokenizer under the same names"
      : `${field} (${shown(before[field])}, now ${shown(now[field])})`;
  ensure(
    changed.length === 0,
    "bad_checkpoint",
    () =>
      `the checkpoint in ${folder}, after ${run.step} steps, was trained with another recipe: ${changed.map(shownField).join(", ")}; ` +
      "give another run folder, or the old recipe (more `steps` alone are fine)",
  );
}

function scheduleOf({ schedule, steps }: Recipe): Schedule {
  if (schedule.kind === "constant") return constant(schedule);
  if (schedule.kind === "warmupStableDecay") return warmupStableDecay({ ...schedule, steps });
  return (schedule.kind === "linear" ? linear : cosine)({ ...schedule, steps });
}

/** Normal values of each parameter's deviation, ones for gains, zeros for biases, as a function of the seed. */
export function initialValues(
  family: Family,
  config: ModelConfig,
  seed: number,
): Map<string, Float32Array<ArrayBuffer>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  family.parameters(config).forEach(({ name, shape, deviation }, request) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (deviation === undefined) data.fill(1);
    else if (deviation > 0) {
      for (let i = 0; i < data.length; i += 1) {
        const radius = Math.sqrt(-2 * Math.log(1 - uniform({ seed, request }, i, "initialise", 0)));
        data[i] = deviation * radius * Math.cos(2 * Math.PI * uniform({ seed, request }, i, "initialise", 1));
      }
    }
    values.set(name, data);
  });
  return values;
}

async function readTeacher(folder: string, student: ModelConfig) {
  const { family, config } = familyOf(await readConfig(folder));
  ensure(
    config.vocabularySize === student.vocabularySize,
    "bad_config",
    `the teacher in ${folder} has ${config.vocabularySize} tokens, the student ${student.vocabularySize}`,
  );
  return { config, values: await valuesOf(folder, family, config) };
}

async function valuesOf(folder: string, family: Family, config: ModelConfig) {
  const source = await openSafetensors(join(folder, "model.safetensors"));
  try {
    return await readParameters(source, family, config);
  } finally {
    await source.close();
  }
}

async function exportModel(
  recipe: Recipe & { file: string },
  family: Family,
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  tokenizerFolder: string,
  out: string,
  { step, history }: TrainResult,
): Promise<void> {
  await mkdir(out, { recursive: true });
  const specifications = family.parameters(config);
  const tensors = specifications.map(({ name, shape }) => ({
    name,
    type: "F16" as const,
    shape,
    data: values.get(name)!,
  }));
  await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
  await writeFileAtomically(join(out, "config.json"), text(`${JSON.stringify(recipe.config, null, 2)}\n`));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    if (resolve(tokenizerFolder) !== resolve(out)) await copyFile(join(tokenizerFolder, file), join(out, file));
  }
  await writeFileAtomically(join(out, "loss.svg"), text(lossCurveSvg(history, `${recipe.name}: loss (nats a token)`)));
  const count = [...values.values()].reduce((sum, array) => sum + array.length, 0);
  await writeFileAtomically(join(out, "README.md"), text(modelCard(recipe, count, step, history)));
}

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

function modelCard(
  recipe: Recipe & { file: string },
  parameters: number,
  step: number,
  history: readonly HistoryEntry[],
): string {
  const heldOut = history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss;
  const earlier = recipe.continues ?? { tokens: 0, minutes: 0 };
  const tokens = step * recipe.rows * recipe.length * (recipe.accumulate ?? 1);
  const seconds = history[history.length - 1]?.seconds;
  const rows: [string, string][] = [
    ["parameters", `${(parameters / 1e6).toFixed(2)} million, stored as F16`],
    [
      "architecture",
      `Llama: ${recipe.config.num_hidden_layers} layers, width ${recipe.config.hidden_size}, context ${recipe.config.max_position_embeddings}`,
    ],
    ["trained on", recipe.data.map((file) => `\`${file.path}\``).join(", ")],
    [
      "steps",
      `${step} of ${recipe.steps} (${recipe.rows} x ${recipe.length} tokens each)${recipe.continues ? " after the earlier training" : ""}, ${((earlier.tokens + tokens) / 1e6).toFixed(1)} million tokens in all`,
    ],
    ...(recipe.teacher
      ? [
          ["distilled from", `\`${basename(recipe.teacher.model)}\`, share ${recipe.teacher.share} of the loss`] as [
            string,
            string,
          ],
        ]
      : []),
    [
      "held-out loss",
      heldOut === undefined ? "not measured" : `${heldOut.toFixed(3)} nats a token (documents never trained on)`,
    ],
    [
      "time",
      seconds === undefined
        ? "not recorded"
        : `${(earlier.minutes + seconds / 60).toFixed(0)} minutes on the training machine`,
    ],
    ["licence", recipe.licence],
  ];
  return `# ${recipe.name}

${recipe.description}

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value} |`).join("\n")}

![loss curve](loss.svg)

Trained by \`ventris train recipes/${recipe.file}\`, which resumes from its checkpoint and can be run for longer.
`;
}
