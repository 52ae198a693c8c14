/**
 * Recipes: how a shipped model is trained, as data. A recipe names the architecture, the texts, the batch and the schedule;
 * running it trains (resuming where it stopped) and exports a model folder with weights, tokenizer and card.
 */
import { normal } from "../engine/random.ts";
import { ensure, plural, shown, VentrisError } from "../errors.ts";
import { type Files, folderOf, nameOf, storage } from "../files.ts";
import { isObject, sameJson } from "../json.ts";
import { familyOf } from "../models/families.ts";
import type { Family, MaskedDiffusion, ModelConfig } from "../models/family.ts";
import { type Lora, loraSites } from "../models/lora.ts";
import { readParameters } from "../models/parameters.ts";
import { openTokenizer, type Tokenizer } from "../text/index.ts";
import { openWeights, readConfig } from "../weights/index.ts";
import { answersAlone, turnTokens } from "./answers.ts";
import { readRun } from "./checkpoint.ts";
import {
  type Corpus,
  drawBatch,
  drawMixedBatch,
  evaluationBatches,
  holdOutEnd,
  loadCorpus,
  type TokenIds,
} from "./data.ts";
import { exportModel, noteRun, type TrainedModel, writeModel } from "./export.ts";
import { lexicalUnitsObjective } from "./lexical-units.ts";
import { type TrainProgress, type TrainResult, train } from "./loop.ts";
import { initialLora } from "./lora.ts";
import { documentStarts, drawMaskedBatch, type MaskedStream } from "./masked-batches.ts";
import type { TokenBatch } from "./objective.ts";
import { type PartKind, startPart } from "./parts.ts";
import { type Recipe, readRecipe, scheduleOf } from "./recipe-schema.ts";
import { replicatedObjective } from "./replicas.ts";
import { requireTrainable } from "./trainable.ts";

export { type Recipe, readRecipe, recipeSchema } from "./recipe-schema.ts";

export interface RecipeOptions {
  /** Where the recipe's texts are. */
  dataFolder: string;
  /** Where the run keeps its checkpoint. */
  runFolder: string;
  /** Model folder to write when training stops; default: none. */
  out?: string;
  threads?: number;
  maxSeconds?: number;
  /** Called every so many steps with a function that writes the model, as it then is, to a folder. */
  samples?: { every: number; take: (write: (folder: string) => Promise<void>, step: number) => Promise<void> };
  /** Kinds of parts beside those of this folder. */
  partKinds?: readonly PartKind[];
  signal?: AbortSignal;
  onProgress?: (progress: TrainProgress) => void;
  onMessage?: (message: string) => void;
}

/** A recipe's config is written by hand: what is wrong in it is a slip in the recipe. */
function modelOf(path: string, json: Parameters<typeof familyOf>[0]): ReturnType<typeof familyOf> {
  try {
    return familyOf(json);
  } catch (error) {
    if (!(error instanceof VentrisError && error.code === "bad_config")) throw error;
    throw new VentrisError("bad_option", `recipe ${path}: ${error.message}`, { cause: error });
  }
}

export async function runRecipe(path: string, options: RecipeOptions): Promise<TrainResult> {
  const recipe = await readRecipe(path);
  const { length, rows, steps, seed } = recipe;
  const { onMessage = () => {}, signal, threads } = options;
  const { absolute } = await storage();
  const beside = (name: string): string => absolute(name, folderOf(path));
  const { family, config } = modelOf(path, recipe.config);
  requireTrainable(`the model of recipe ${path}`, { family, config }, { ...recipe, partKinds: options.partKinds });
  const tokenizer = await openTokenizer(beside(recipe.tokenizer));
  ensure(
    tokenizer.vocabularySize <= config.vocabularySize,
    "bad_config",
    `recipe ${path}: config.vocab_size is ${config.vocabularySize}, and the tokenizer has ${tokenizer.vocabularySize} tokens`,
  );
  ensure(
    length <= config.contextLength,
    "bad_option",
    `recipe ${path}: length is ${length}, and the model reads at most ${config.contextLength} tokens (config.max_position_embeddings or its like)`,
  );

  await refuseChangedRun(options.runFolder, recipe);
  onMessage("encoding the texts (kept in the cache folder)");
  const corpus = await loadTexts(
    recipe,
    config,
    (path) => locate(path, beside, absolute, options.dataFolder),
    tokenizer,
    signal,
  );
  const run = { ...recipe, corpus: corpus.digest };
  await refuseChangedRun(options.runFolder, run);
  onMessage(`${corpus.trainTokens} training tokens, ${corpus.heldOutTokens} held out`);
  if (corpus.evaluation.length < fewBatches)
    onMessage(
      `the loss on held-out text is measured on ${corpus.evaluation.length === 1 ? "a single batch" : `${corpus.evaluation.length} batches`} of ${rows} x ${length} tokens, which is little: more text or a larger heldOut makes it steadier`,
    );

  const values = recipe.continues
    ? await valuesOf(beside(recipe.continues.model), family, config)
    : initialValues(family, config, seed);
  const lora = recipe.lora && newLora(recipe.lora, family, config, seed);
  const base = recipe.continues && beside(recipe.continues.model);
  const part =
    recipe.part &&
    (await startPart(
      recipe.part,
      { family, config, values, rows, length, seed, batch: corpus.batch, threads, say: onMessage, base: base! },
      options.partKinds,
    ));
  ensure(
    !part || !options.samples,
    "bad_option",
    "samples and kept models: a part alone is no model and writes no texts; look at the run by `ventris train status`",
  );
  const unitOptions = recipe.units && unitsOf(recipe.units, tokenizer);
  const units =
    unitOptions && (await lexicalUnitsObjective(family, config, values, { rows, length, threads, ...unitOptions }));
  const objective =
    part?.objective ??
    units ??
    (await replicatedObjective(config, values, {
      rows,
      length,
      threads,
      lora,
      documents: recipe.separateDocuments ? documentToken(tokenizer) : undefined,
      weighted: recipe.answers !== undefined,
      recompute: recipe.recompute,
      teacher: recipe.teacher && {
        ...recipe.teacher,
        ...(await readTeacher(beside(recipe.teacher.model), config)),
      },
    }));
  const trained: TrainedModel = {
    recipe: { ...recipe, file: nameOf(path) },
    family,
    config,
    values,
    lora,
    tokenizer: beside(recipe.tokenizer),
    base,
  };
  await noteRun(options.runFolder, trained, corpus.openings);
  const { samples } = options;
  const askedForUnits = Math.min(enoughForUnits, steps);
  const writeNow = (folder: string) => writeModel(trained, folder);
  try {
    const result = await train({
      objective,
      batches: corpus.batch,
      evaluation: { batches: corpus.evaluation, every: 250 },
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
      afterStep(step) {
        if (step === askedForUnits && units?.learned === 0) onMessage(noUnits(step, unitOptions!.threshold));
        return samples && step % samples.every === 0 ? samples.take(writeNow, step) : undefined;
      },
      signal,
    });
    if (options.out && part) await part.write(options.out, { ...result, name: recipe.name });
    else if (options.out) await exportModel(trained, options.out, result);
    return result;
  } finally {
    await objective.release();
  }
}

/** Where a recipe's text is: absolute, relative to the recipe, or in the data folder. */
function locate(
  path: string,
  beside: (name: string) => string,
  absolute: Files["absolute"],
  dataFolder: string,
): string {
  return path.startsWith("./") ? beside(path) : absolute(path, dataFolder);
}

/** After so many steps without a unit there are none, or as good as none. */
const enoughForUnits = 20;
const noUnits = (steps: number, threshold: number): string =>
  `units: the texts of the first ${plural(steps, "step")} have none, two tokens and more in a row to which the model gives more than ${threshold}: without units this is plain training; a smaller threshold finds some`;

/** Of as many batches and more the loss is measured without a remark. */
const fewBatches = 6;

/** The texts as batches: by size from one stream, or file by file as their weights say. */
async function loadTexts(
  recipe: Recipe,
  { diffusion }: ModelConfig,
  locateFile: (path: string) => string,
  tokenizer: Tokenizer,
  signal: AbortSignal | undefined,
) {
  const { data, heldOut, rows, length, seed, answers } = recipe;
  const shape = { rows, length };
  const turns = answers && turnTokens(tokenizer, answers);
  const weigh = (batch: TokenBatch): TokenBatch => (turns ? answersAlone(batch, turns) : batch);
  const files = data.map(({ path, ...others }) => ({ path: locateFile(path), ...others }));
  const weighted = files.some(({ weight }) => weight !== undefined);
  ensure(
    !recipe.chats || diffusion,
    "bad_option",
    "chats: rows of chats are for masked diffusion; otherwise give answers",
  );
  ensure(!recipe.masking || diffusion, "bad_option", "masking: the model has no mask token");
  const groups = weighted || diffusion ? files.filter(({ weight }) => weight !== 0).map((file) => [file]) : [files];
  let corpora: Corpus[] = [];
  for (const group of groups) {
    corpora.push(await loadCorpus({ files: group, tokenizer, heldOut, signal }));
  }
  if (corpora.every((corpus) => corpus.heldOut.tokens.length <= rows * length))
    corpora = corpora.map((corpus) => holdOutEnd(corpus, shape, heldOut));
  const weights = groups.map(([{ weight }]) => weight ?? 1);
  const total = weights.reduce((a, b) => a + b, 0);
  // Small corpora hold out little: what there is, in batches that do not overlap, about 24 in all.
  const evaluation = corpora.flatMap(({ heldOut: { tokens } }, i) => {
    const fitting = Math.floor((tokens.length - 1) / (rows * length));
    const wanted = Math.max(1, Math.round((24 * weights[i]) / total));
    return fitting > 0 ? evaluationBatches(tokens, shape, Math.min(wanted, fitting)) : [];
  });
  const count = (streams: readonly { tokens: TokenIds }[]) =>
    streams.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const [trainTokens, heldOutTokens] = [count(corpora.map((c) => c.train)), count(corpora.map((c) => c.heldOut))];
  ensure(
    evaluation.length > 0,
    "bad_option",
    `the texts hold out ${heldOutTokens} tokens, less than one batch of ${rows} x ${length}: give more text, or a larger heldOut`,
  );
  const streams = corpora.map(({ train }, i) => ({ tokens: train.tokens, weight: weights[i] }));
  const masked = diffusion && maskedTexts(recipe, diffusion, tokenizer, groups, corpora, weights);
  return {
    trainTokens,
    heldOutTokens,
    digest: corpora.map(({ digest }) => digest).join("+"),
    evaluation: masked?.evaluation ?? evaluation.map(weigh),
    openings: corpora.flatMap((corpus) => openingsOf(corpus.heldOut.tokens, tokenizer)).slice(0, 8),
    batch: (index: number) =>
      masked?.batch(index) ??
      weigh(
        weighted ? drawMixedBatch(streams, shape, seed, index) : drawBatch(corpora[0].train.tokens, shape, seed, index),
      ),
  };
}

/** Batches of masked diffusion; those that are measured on are always the same, with the same masks. */
function maskedTexts(
  { rows, length, seed, chats, masking }: Recipe,
  { shift }: MaskedDiffusion,
  tokenizer: Tokenizer,
  groups: readonly (readonly { special?: boolean; weight?: number }[])[],
  corpora: readonly Corpus[],
  weights: readonly number[],
) {
  const begin = documentToken(tokenizer);
  const [end] = tokenizer.endTokens;
  ensure(end !== undefined, "bad_option", "masked diffusion: the tokenizer has no token that ends a text");
  const assistant = chats ? tokenizer.specialTokens?.get(chats.assistant) : -1;
  ensure(assistant !== undefined, "bad_option", `chats: the tokenizer has no special token ${chats?.assistant}`);
  const streamsOf = (part: "train" | "heldOut"): MaskedStream[] =>
    corpora.flatMap((corpus, i) => {
      const { tokens } = corpus[part];
      const isChat = chats !== undefined && groups[i][0].special === true;
      if (part === "heldOut" && tokens.length <= length) return [];
      // By size, where nothing else is said.
      const weight = groups[i][0].weight === undefined ? corpus.train.tokens.length : weights[i];
      return [{ tokens, weight, ...(isChat && { documents: documentStarts(tokens, begin) }) }];
    });
  const { promptShare = 1 } = chats ?? {};
  const options = { tokens: { begin, end, assistant }, promptShare, ...masking, shift };
  const [train, heldOut] = [streamsOf("train"), streamsOf("heldOut")];
  const shape = { rows, length };
  return {
    batch: (index: number) => drawMaskedBatch(train, shape, options, seed, index),
    evaluation: Array.from({ length: 24 }, (_, i) => drawMaskedBatch(heldOut, shape, options, seed + 1, 2 ** 32 + i)),
  };
}

/** The first words of the first few documents. */
function openingsOf(tokens: TokenIds, tokenizer: Tokenizer): string[] {
  const [count, length] = [4, 8];
  const border = new Set([tokenizer.beginToken, ...tokenizer.endTokens]);
  const openings: string[] = [];
  for (let i = 0; i < tokens.length && openings.length < count; i++) {
    if (i > 0 && !border.has(tokens[i - 1])) continue;
    if (border.has(tokens[i])) continue;
    openings.push(tokenizer.decode([...tokens.subarray(i, i + length)]));
  }
  return openings;
}

function documentToken({ beginToken }: Tokenizer): number {
  ensure(
    beginToken !== undefined,
    "bad_option",
    "separateDocuments: the tokenizer has no token that begins a document",
  );
  return beginToken;
}

function unitsOf(
  { pad: name, threshold, longest, share = 0.5, most = 16 }: NonNullable<Recipe["units"]>,
  tokenizer: Tokenizer,
) {
  const pad = tokenizer.specialTokens?.get(name);
  ensure(pad !== undefined, "bad_option", `units: the tokenizer has no special token ${name.slice(0, 200)}`);
  return { pad, threshold, longest, share, units: most, begin: tokenizer.beginToken };
}

function newLora(
  { r: rank, alpha, targets, rankStabilised }: NonNullable<Recipe["lora"]>,
  family: Family,
  config: ModelConfig,
  seed: number,
): Lora {
  const lora = { rank, alpha, targets, rankStabilised };
  const sites = loraSites(family, config, lora);
  return { config: lora, sites, values: initialLora(sites, rank, seed) };
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
      (field === "steps" ? now.steps < run.step : !sameJson(before[field], now[field])),
  );
  const differences = changed.flatMap((field) =>
    field === "corpus"
      ? ["the texts or the tokenizer under the same names"]
      : differencesIn(field, before[field], now[field]),
  );
  const more = differences.length - mostDifferences;
  const told = [...differences.slice(0, mostDifferences), ...(more > 0 ? [`and ${more} more`] : [])];
  ensure(
    changed.length === 0,
    "bad_checkpoint",
    () =>
      `the checkpoint in ${folder}, after ${plural(run.step, "step")}, was trained with another recipe: ${told.join(", ")}; ` +
      "give another run folder, or the old recipe (more `steps` alone are fine)",
  );
}

/** More of them are only counted. */
const mostDifferences = 6;

/** What differs between two values of a field, each by its own path: what is the same within them is not repeated. */
export function differencesIn(path: string, before: unknown, now: unknown): string[] {
  if (sameJson(before, now)) return [];
  const among = (names: readonly string[], place: (name: string) => string): string[] =>
    names.flatMap((name) =>
      differencesIn(place(name), (before as Record<string, unknown>)[name], (now as Record<string, unknown>)[name]),
    );
  if (isObject(before) && isObject(now)) return among(Object.keys({ ...before, ...now }), (name) => `${path}.${name}`);
  if (Array.isArray(before) && Array.isArray(now) && before.length === now.length)
    return among(Object.keys(now), (index) => `${path}[${index}]`);
  const told = (value: unknown) => (value === undefined ? "not given" : shown(value));
  return [`${path} (${told(before)}, now ${told(now)})`];
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
      for (let i = 0; i < data.length; i += 1) data[i] = deviation * normal({ seed, request }, i, "initialise");
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
  const source = await openWeights(folder);
  try {
    // A model of the next token goes on as a diffusion model of Dream's shape, whose biases are then new and add nothing at first.
    const specifications = family.parameters(config);
    const fresh = specifications.filter(
      ({ sources, deviation }) =>
        config.diffusion && deviation === 0 && !sources.some((name) => source.tensors.has(name)),
    );
    const there = { ...family, parameters: () => specifications.filter((one) => !fresh.includes(one)) };
    const values = await readParameters(source, there, config);
    for (const { name, shape } of fresh) values.set(name, new Float32Array(shape.reduce((a, b) => a * b, 1)));
    return values;
  } finally {
    await source.close();
  }
}
