/** Codebooks for a model that is there: they begin near its own states, and are trained on texts, alone or along with the model. */

import { ensure } from "../../../errors.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import { textGraph } from "../../../models/graph.ts";
import type { Lora } from "../../../models/lora.ts";
import { requireCounts, requirePositive, requireWhole } from "../../../numbers.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import { lower } from "../../../tensor/index.ts";
import { type Checkpoint, checkpointPath, readRun } from "../../../training/checkpoint.ts";
import { drawBatch, evaluationBatches, type TokenIds } from "../../../training/data.ts";
import { digestOf } from "../../../training/digest.ts";
import { weightFile } from "../../../training/graph-objective.ts";
import { type TrainProgress, type TrainResult, train } from "../../../training/loop.ts";
import { modelParameters, type Values } from "../../../training/next-token.ts";
import type { TokenBatch } from "../../../training/objective.ts";
import { linear } from "../../../training/schedule.ts";
import { openSafetensors } from "../../../weights/safetensors.ts";
import type { CodebookLoss } from "./bottleneck.ts";
import type { Codebook } from "./part.ts";
import {
  bottlenecksOf,
  type CodebookShape,
  type CodebookTask,
  codebookObjective,
  codebooksFromStates,
  initialCodebooks,
} from "./train.ts";

export interface CodebookFinetuning {
  /** Family of the model. */
  readonly family: Family;
  /** Config of the model. */
  readonly config: ModelConfig;
  /** Stays as it is, unless `train` is "model": then it is trained in place. */
  readonly values: Values;
  /** How many codebooks are where, and how large. */
  readonly shape: CodebookShape;
  /** What is trained: "codebooks" alone, or more of the model. */
  readonly train: CodebookTask["train"];
  /** Adapters that are trained with the codes, with `train` "lora"; needed there, no default. */
  readonly lora?: Lora;
  /** What is minimised. Default "aeloss". */
  readonly loss?: CodebookLoss;
  /** Weight of the pull on the model, with the losses "vqvae" and "fullaeloss". Default 0.25. */
  readonly beta?: number;
  /** Weight of the reconstruction. Default 1. */
  readonly weight?: number;
  /** Token ids to train on. */
  readonly tokens: TokenIds;
  /** Token ids that losses are measured on. */
  readonly heldOut: TokenIds;
  /** Texts of a batch. */
  readonly rows: number;
  /** Tokens of each text. */
  readonly length: number;
  /** Optimiser steps. */
  readonly steps: number;
  /** Highest learning rate. */
  readonly rate: number;
  /** Of the batches and of the first codes. Default 0. */
  readonly seed?: number;
  /** Threads within an operator. Default: those of `CompileOptions`. */
  readonly threads?: number;
  /** Where the run keeps its checkpoint: the same call goes on from there, also with a model that was trained in place until the interruption. Default: no folder, and nothing is kept. */
  readonly folder?: string;
  /** Stops after this many seconds of training. Default: no bound. */
  readonly maxSeconds?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told of every step. Default: nobody is told. */
  readonly onProgress?: (progress: TrainProgress) => void;
}

export interface FinetunedCodebooks {
  readonly codebooks: readonly Codebook[];
  /** Nats a token on held-out text: of the model as it came, and through its codebooks. */
  readonly plain: number;
  readonly loss: number;
  readonly result: TrainResult;
}

/** Batches that states for the first codes come from, and those that losses are measured on. */
const [firstBatches, heldOutBatches] = [8, 8];

/** Errors: `bad_option` for texts shorter than a batch; those of `codebookObjective` and of training. */
export async function finetuneCodebooks(options: CodebookFinetuning): Promise<FinetunedCodebooks> {
  const { family, config, shape, tokens, heldOut, rows, length, steps, rate, seed = 0 } = options;
  requireCounts({ rows, length, steps });
  requirePositive({ rate });
  requireWhole({ seed }, 0);
  const batchShape = { rows, length };
  const fitting = Math.floor((heldOut.length - 1) / (rows * length));
  ensure(
    fitting > 0,
    "bad_option",
    `codebooks: ${heldOut.length} held-out tokens do not fill a batch of ${rows} x ${length}`,
  );
  const measured = evaluationBatches(heldOut, batchShape, Math.min(heldOutBatches, fitting));
  const kept = options.folder === undefined ? undefined : await readRun(options.folder);
  const codebooks = kept ? initialCodebooks(family, config, shape) : await nearStates(options); // the checkpoint's are put into them
  // What is trained in place is no longer what it was when the training goes on: the plain model's loss is kept with the run.
  const plain = (kept?.config as Kept | undefined)?.plain ?? (await plainLoss(options, measured));

  const objective = await codebookObjective({ ...options, codebooks });
  try {
    const result = await train({
      objective,
      batches: (index) => drawBatch(tokens, batchShape, seed, index),
      evaluation: { batches: measured, every: Math.max(1, Math.ceil(steps / 20)) },
      steps,
      schedule: linear({ peak: rate, warmup: Math.max(1, Math.floor(steps / 20)), steps, final: rate / 20 }),
      optimiser: { weightDecay: 0.01 },
      seed,
      config: { plain } satisfies Kept,
      basis: async () => ({
        model: await beginningOf(options, kept),
        ...{ ...shape, train: options.train, lora: options.lora, loss: options.loss, beta: options.beta },
        ...{ weight: options.weight, rows, length, rate },
        texts: await digestOf(Int32Array.from(tokens)),
        heldOut: await digestOf(Int32Array.from(heldOut)),
      }),
      maxSeconds: options.maxSeconds,
      checkpointFolder: options.folder,
      signal: options.signal,
      onProgress: options.onProgress,
    });
    let loss = 0;
    for (const batch of measured) loss += (await objective.loss(batch)) / measured.length;
    return { codebooks, plain, loss, result };
  } finally {
    await objective.release();
  }
}

/** What a run's checkpoint keeps for its end. */
interface Kept {
  readonly plain: number;
}

async function nearStates(options: CodebookFinetuning): Promise<Codebook[]> {
  const { family, config, shape, tokens, rows, length, seed = 0 } = options;
  const first = Array.from({ length: firstBatches }, (_, i) => drawBatch(tokens, { rows, length }, seed, 2 ** 30 + i));
  const sites = bottlenecksOf(family, config, shape).map(({ site }) => site);
  const states = await statesOf(
    options,
    sites,
    first.map((batch) => batch.tokens),
  );
  return codebooksFromStates(family, config, shape, states, seed);
}

async function plainLoss(options: CodebookFinetuning, batches: readonly TokenBatch[]): Promise<number> {
  const objective = await codebookObjective({ ...options, codebooks: [], train: "model", lora: undefined });
  try {
    let loss = 0;
    for (const batch of batches) loss += (await objective.loss(batch)) / batches.length;
    return loss;
  } finally {
    await objective.release();
  }
}

/** Names the model that the run began from: the one given, or the checkpoint's where what is given is what the run had made of it. */
async function beginningOf(options: CodebookFinetuning, kept: Checkpoint | undefined): Promise<unknown> {
  const { family, config, values, folder } = options;
  const parameters = modelParameters(family, config, values);
  const given = await digestOf(...parameters.map((parameter) => parameter.values));
  if (options.train !== "model" || !kept) return given;
  const file = await openSafetensors(checkpointPath(folder!));
  try {
    const reached: Float32Array[] = [];
    for (const { name } of parameters) reached.push(await file.readFloat32(name));
    return given === (await digestOf(...reached)) ? kept.basis?.model : given;
  } finally {
    await file.close();
  }
}

/** What the sites hold at every token of some batches, of the model as it is. */
export async function statesOf(
  {
    family,
    config,
    values,
    rows,
    length,
    threads,
  }: Pick<CodebookFinetuning, "family" | "config" | "values" | "rows" | "length" | "threads">,
  sites: readonly string[],
  batches: readonly Int32Array[],
): Promise<Record<string, { width: number; values: Float32Array }>> {
  const graph = textGraph(family, config, { rows, length, instruments: { taps: sites, edits: [] } });
  const lowered = lower(graph.readings, { parameters: "weights" });
  const program = await compile(lowered, { threads, weights: weightFile(lowered, values) });
  const make = await valueMaker();
  const parts = new Map(sites.map((site) => [site, [] as Float32Array[]]));
  for (const batch of batches) {
    const ids = BigInt64Array.from({ length: rows * length }, (_, i) =>
      BigInt(batch[Math.floor(i / length) * (length + 1) + (i % length)]),
    );
    const found = await program.run({ tokens: make("int64", ids, [rows, length]) });
    for (const site of sites) parts.get(site)!.push(found[site].data as Float32Array);
  }
  await program.release();
  return Object.fromEntries(
    [...parts].map(([site, arrays]) => {
      const size = arrays.reduce((sum, array) => sum + array.length, 0);
      const joined = new Float32Array(size);
      let at = 0;
      for (const array of arrays) {
        joined.set(array, at);
        at += array.length;
      }
      return [site, { width: size / (batches.length * rows * length), values: joined }];
    }),
  );
}
