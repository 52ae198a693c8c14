/**
 * GLIM (Liu, Shen and Liu 2025): EEG of a read sentence to text that says its meaning. The encoder's output goes to a frozen text decoder in
 * place of its own encoder's states; a contrastive loss ties it to the sentence; the aims are other wordings of the sentence.
 *
 *     loss = λ · clip + (1 - λ) · lm + γ · commit
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { openTextModel, saveTextModel, type TextModel } from "../../../engine/encoder-decoder/text-model.ts";
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { checkJson, parseJsonObject } from "../../../json.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { masked, t5Decoder, t5Encoder } from "../../../models/t5.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import type { Value } from "../../../runtime/program.ts";
import { add, input, multiply, parametersOf, scalar, type Tensor } from "../../../tensor/index.ts";
import { digestOf } from "../../../training/digest.ts";
import { constant, graphObjective, type Parameter, type TrainProgress, train } from "../../../training/index.ts";
import { openSafetensors, writeFileAtomically, writeSafetensors } from "../../../weights/index.ts";
import { readBytes } from "../formats/bytes.ts";
import { distinctBatches, type SentenceSet } from "./dataset.ts";
import { promptFor, textFeeds, textInputs } from "./language.ts";
import {
  commitmentLoss,
  contrastiveLoss,
  encodeEeg,
  type GlimConfig,
  initialParameters,
  pooled,
  tokenLoss,
} from "./model.ts";

export interface GlimSettings {
  /** Share of the contrastive loss; the rest is the text decoder's. */
  readonly lambda: number;
  /** Weight of the commitment loss; 0 in the released run. */
  readonly commitment: number;
  /** Padded tokens of the sentence as the text encoder reads it, and of what is to be written. */
  readonly sourceLength: number;
  readonly targetLength: number;
  /** Names that the prompt knows, by their ids from 1; 0 stands for unknown. */
  readonly tasks: readonly string[];
  readonly datasets: readonly string[];
  readonly subjects: readonly string[];
  /** Chance, while training, that an id becomes unknown. Where it is 1, it is unknown afterwards as well. */
  readonly promptDrop: readonly [task: number, dataset: number, subject: number];
}

export interface GlimModel {
  readonly config: GlimConfig;
  readonly settings: GlimSettings;
  readonly text: TextModel;
  readonly parameters: readonly Parameter[];
}

export interface TrainGlimOptions {
  readonly settings: Omit<GlimSettings, "tasks" | "datasets" | "subjects">;
  readonly config: Omit<GlimConfig, "points" | "channels" | "textWidth" | "prompts">;
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly checkpointFolder?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
}

interface GlimBatch {
  readonly rows: readonly number[];
  readonly number: number;
}

/** The sizes and names that a data set fixes. */
function modelFor(set: SentenceSet, text: TextModel, options: TrainGlimOptions): Omit<GlimModel, "parameters"> {
  const namesOf = (key: "task" | "dataset" | "subject") =>
    [...new Set(set.recordings.map((entry) => entry[key]))].sort();
  const settings = {
    ...options.settings,
    tasks: namesOf("task"),
    datasets: namesOf("dataset"),
    subjects: namesOf("subject"),
  };
  const { tasks, datasets, subjects } = settings;
  const prompts = [tasks, datasets, subjects].map(({ length }) => length + 1) as [number, number, number];
  const { points, channels } = set.shape;
  return { config: { ...options.config, points, channels, textWidth: text.config.d_model, prompts }, settings, text };
}

/** Errors: `bad_option` where the training part has too few distinct sentences for a batch; `runtime_failed` on divergence; `aborted`. */
export async function trainGlim(
  set: SentenceSet,
  text: TextModel,
  options: TrainGlimOptions,
): Promise<GlimModel & { readonly losses: readonly number[] }> {
  const { steps, batch, learningRate, seed, checkpointFolder, signal, onProgress } = options;
  requireCounts({ steps, batch });
  requireWhole({ seed }, 0);
  const model = modelFor(set, text, options);
  const { config, settings } = model;
  const passes: number[][][] = [];
  const passOf = (pass: number) => {
    passes[pass] ??= distinctBatches(set, set.splits.train, batch, seed, pass);
    return passes[pass];
  };
  ensure(
    passOf(0).length > 0,
    "bad_option",
    `training takes batches of ${batch} distinct sentences, and the training part has fewer; lower the batch`,
  );

  const make = parameterMaker();
  const scope = { config, make };
  const stack = { config: text.config, make: parameterMaker() };
  const inputs = { ...eegInputs(batch, config), ...textInputs(batch, settings.sourceLength, settings.targetLength) };
  const h = encodeEeg(scope, inputs);
  const states = t5Encoder(stack, inputs.source, inputs.sourceMask);
  const clip = contrastiveLoss(pooled(scope, "eeg", h), pooled(scope, "text", states, inputs.sourceMask));
  const lm = tokenLoss(t5Decoder(stack, inputs.decoderTokens, h), inputs.targets, inputs.targetWeights);
  let loss: Tensor = add(multiply(clip, settings.lambda), multiply(lm, 1 - settings.lambda));
  if (settings.commitment > 0) {
    ensure(
      config.slots === settings.sourceLength,
      "bad_option",
      `the commitment loss compares slots with tokens: ${config.slots} slots and a source length of ${settings.sourceLength} must be equal`,
    );
    loss = add(loss, multiply(commitmentLoss(h, states), scalar(settings.commitment)));
  }
  const own = new Map([...parametersOf(loss)].filter(([name]) => !text.weights.has(name)));
  const parameters = initialParameters(own, config, seed);
  const objective = await graphObjective<GlimBatch>({
    loss,
    trained: parameters,
    fixed: text.weights,
    feeds: ({ rows, number }) => {
      const sentences = rows.map((r) => set.sentences[set.recordings[r].sentence]);
      const drop = (k: number, i: number) =>
        uniform({ seed, request: 200 + k }, number, "data", i) < settings.promptDrop[k];
      return {
        ...eegFeeds(model, set, rows, (k, i) => drop(k, i)),
        ...textFeeds(
          {
            source: sentences.map(({ text: sentence }) => text.codec.encode(promptFor(sentence))),
            // Every pass over the recordings aims at another of their wordings.
            target: sentences.map(({ text: sentence, paraphrases }, i) => {
              const choices = paraphrases.length > 0 ? paraphrases : [sentence];
              return text.codec.encode(choices[(number + i) % choices.length]);
            }),
          },
          text.config,
          settings.sourceLength,
          settings.targetLength,
        ),
      };
    },
  });
  try {
    const { history } = await train<GlimBatch>({
      objective,
      steps,
      seed,
      basis: async () => ({
        ...settings,
        ...config,
        batch,
        learningRate,
        text: await fingerprint(text),
        recordings: await recordingsPrint(set),
      }),
      signal,
      checkpointFolder,
      schedule: constant({ peak: learningRate, warmup: Math.min(20, steps >> 1) }),
      optimiser: { weightDecay: 0 },
      clip: 1,
      batches: (number) => {
        let [pass, rest] = [0, number];
        while (rest >= passOf(pass).length) rest -= passOf(pass++).length;
        return { rows: passOf(pass)[rest], number };
      },
      countTokens: ({ rows }) => rows.length,
      onProgress,
    });
    ensure(
      !signal?.aborted,
      "aborted",
      "training was interrupted; with a checkpoint folder the same command goes on from it",
    );
    return { ...model, parameters, losses: history.map((entry) => entry.smoothedLoss) };
  } finally {
    await objective.release();
  }
}

export function eegInputs(rows: number, { points, channels }: GlimConfig) {
  return {
    eeg: input("eeg", [rows, points, channels]),
    mask: input("mask", [rows, 1, 1, points]),
    prompts: input("prompts", [rows, 3], "int64"),
  };
}

/** Signals, masks and prompt ids of recordings. Ids that are always dropped, or of names not seen while training, are 0. */
export function eegFeeds(
  { config, settings }: Pick<GlimModel, "config" | "settings">,
  set: Pick<SentenceSet, "recordings" | "eeg">,
  rows: readonly number[],
  dropped: (prompt: number, row: number) => boolean = (prompt) => settings.promptDrop[prompt] >= 1,
): Record<string, Value> {
  const { points, channels } = config;
  const size = points * channels;
  const eeg = new Float32Array(rows.length * size);
  const mask = new Float32Array(rows.length * points);
  const prompts = new BigInt64Array(rows.length * 3);
  for (const [i, r] of rows.entries()) {
    eeg.set(set.eeg.subarray(r * size, (r + 1) * size), i * size);
    const { length, task, dataset, subject } = set.recordings[r];
    mask.fill(masked, i * points + length, (i + 1) * points);
    for (const [k, [names, name]] of (
      [
        [settings.tasks, task],
        [settings.datasets, dataset],
        [settings.subjects, subject],
      ] as const
    ).entries()) {
      prompts[3 * i + k] = dropped(k, i) ? 0n : BigInt(names.indexOf(name) + 1);
    }
  }
  return {
    eeg: { data: eeg, dims: [rows.length, points, channels] },
    mask: { data: mask, dims: [rows.length, 1, 1, points] },
    prompts: { data: prompts, dims: [rows.length, 3] },
  };
}

const format = "ventris glim 1";
const files = { card: "glim.json", weights: "glim.safetensors", text: "text" };

/** Writes model, settings and the text model of ours, or where the published one lies. */
export async function saveGlim(folder: string, model: GlimModel, textFolder?: string): Promise<void> {
  const { config, settings, text, parameters } = model;
  await writeSafetensors(
    join(folder, files.weights),
    parameters.map(({ name, shape, values }) => ({ name, type: "F32" as const, shape, data: values })),
    { format },
  );
  if (text.vocabulary) await saveTextModel(join(folder, files.text), text);
  const card = {
    format,
    config,
    settings,
    text: text.vocabulary ? files.text : textFolder,
    textFingerprint: await fingerprint(text),
  };
  await writeFileAtomically(join(folder, files.card), JSON.stringify(card, null, 2));
}

const size = z.int().min(1).max(65_536);
const three = <Schema extends z.ZodType>(one: Schema) => z.tuple([one, one, one]);
const names = z.array(z.string());
const cardSchema = z.object({
  config: z
    .object({
      points: size,
      channels: size,
      slots: size.max(4096),
      width: size,
      heads: size,
      encoderBlocks: z.int().min(0).max(100),
      decoderBlocks: z.int().min(0).max(100),
      textWidth: size,
      promptWidth: size,
      prompts: three(size),
    })
    .refine(({ points, channels }) => points * channels <= 2 ** 24, "points times channels are at most 16 million")
    .refine(
      ({ channels, width, textWidth, heads }) => [channels, width, textWidth].every((whole) => whole % heads === 0),
      "heads must divide channels, width and textWidth",
    ),
  settings: z.object({
    lambda: z.number(),
    commitment: z.number(),
    sourceLength: size,
    targetLength: size,
    tasks: names,
    datasets: names,
    subjects: names,
    promptDrop: three(z.number()),
  }),
  text: z.string(),
  textFingerprint: z.string(),
});

/** Errors: `unavailable`, `bad_file`; `bad_option` where the text model is another than the one it was trained with. */
export async function loadGlim(folder: string): Promise<GlimModel> {
  const path = join(folder, files.card);
  ensure(
    existsSync(path),
    "unavailable",
    `${folder} has no ${files.card}: it is no model that ventris eeg train wrote`,
  );
  const json = parseJsonObject(await readBytes(path, 10_000_000), path);
  ensure(json.format === format, "bad_file", `${path} is no model that ventris eeg train wrote`);
  const card = checkJson(cardSchema, json, path);
  const text = await openTextModel(card.text === files.text ? join(folder, files.text) : card.text);
  ensure(
    (await fingerprint(text)) === card.textFingerprint,
    "bad_option",
    `${folder} was trained with another text model than the one in ${card.text}`,
  );
  const source = await openSafetensors(join(folder, files.weights));
  try {
    const parameters: Parameter[] = [];
    for (const [name, { shape: wanted }] of parametersWanted(card.config)) {
      const found = source.tensors.get(name);
      ensure(found, "bad_file", `${join(folder, files.weights)} lacks ${name}`);
      ensure(
        found.shape.join() === wanted.join(),
        "bad_file",
        `${join(folder, files.weights)}: ${name} is [${found.shape}], and ${path} asks for [${[...wanted]}]`,
      );
      parameters.push({ name, shape: found.shape, values: await source.readFloat32(name), decay: false });
    }
    return { config: card.config, settings: card.settings, text, parameters };
  } finally {
    await source.close();
  }
}

/** Every parameter of a model with this config, but the text model's. */
function parametersWanted(config: GlimConfig): Map<string, Tensor> {
  const scope = { config, make: parameterMaker() };
  const h = encodeEeg(scope, eegInputs(1, config));
  const sentence = input("states", [1, 1, config.textWidth]);
  return new Map([...parametersOf(pooled(scope, "eeg", h)), ...parametersOf(pooled(scope, "text", sentence))]);
}

const recordingsPrint = ({ sentences, recordings, splits, eeg }: SentenceSet): Promise<string> =>
  digestOf(JSON.stringify([sentences, recordings, splits]), eeg);

function fingerprint({ config, weights }: TextModel): Promise<string> {
  const sorted = [...weights].sort(([a], [b]) => (a < b ? -1 : 1));
  // In whichever order its fields were written.
  const fields = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1));
  return digestOf(JSON.stringify(fields), ...sorted.flat());
}
