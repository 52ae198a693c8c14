/**
 * What the rows of pictures are taught before a text model reads them: each row names the words that belong to its part of the picture, by its
 * direction among the embeddings of tokens. A text model that has never seen a picture then meets vectors it can nearly read, and every row of
 * every picture teaches the tower, where an answer teaches it by one word.
 */
import { ensure } from "../../errors.ts";
import { familyOf } from "../../models/families.ts";
import type { Family, ModelConfig } from "../../models/family.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { visionParameters, visionRows } from "../../models/vision/tower.ts";
import { startThread } from "../../runtime/thread.ts";
import {
  add,
  divide,
  input,
  log,
  logSumExp,
  matmul,
  multiply,
  parameter,
  reduceMean,
  reduceSum,
  sqrt,
  subtract,
  type Tensor,
  transpose,
} from "../../tensor/index.ts";
import { graphObjective } from "../graph-objective.ts";
import { modelParameters, type Values } from "../next-token.ts";
import type { Objective } from "../objective.ts";
import { type Replica, replicated, type Shared, serveObjective } from "../replicas.ts";

/** Pictures and the words of each of their rows. */
export interface WordsBatch {
  /** [pictures, channels, size, size], resized and normalised. */
  readonly pixels: Float32Array;
  /** [pictures * rows, words]: how much of a row each word is; sums to 1. */
  readonly targets: Float32Array;
  readonly [extra: string]: unknown;
}

export interface WordsShape {
  readonly pictures: number;
  /** [words, width]: embeddings of the words' tokens; they stay as they are. */
  readonly words: Float32Array;
  readonly threads: number;
}

/** A word at the same direction as a row has this logit. */
const sharpness = 20;

/** How much a row's length counts, by the square of the logarithm of its mean square over that of the words. */
const lengthShare = 0.05;

const meanSquare = (x: Tensor): Tensor => reduceMean(multiply(x, x), -1, true);
const directions = (x: Tensor): Tensor => divide(x, sqrt(reduceSum(multiply(x, x), -1, true)));

/** Cross entropy of the rows' words, and a share for lengths other than the words', with gradients for the tower and the projector. Errors: those of compiling. */
export async function wordsObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  { pictures, words, threads }: WordsShape,
): Promise<Objective<WordsBatch> & { release(): Promise<void> }> {
  const { vision } = config;
  ensure(vision, "bad_config", "training: this model has no vision tower");
  const { channels, imageSize, rows, width } = vision;
  const count = words.length / width;
  const dims = [pictures, channels, imageSize, imageSize];
  const seen = visionRows(vision, input("pixels", dims), parameterMaker());
  const table = parameter("words", [count, width]);
  const logits = multiply(matmul(directions(seen), transpose(directions(table), [1, 0])), sharpness);
  const targets = input("targets", [pictures * rows, count]);
  const named = reduceMean(subtract(logSumExp(logits), reduceSum(multiply(targets, logits), -1)));
  // Directions say nothing of lengths: rows far longer than words would drown what the text model's layers add to them.
  const ratio = log(divide(meanSquare(seen), reduceMean(multiply(table, table))));
  const loss = add(named, multiply(reduceMean(multiply(ratio, ratio)), lengthShare));
  const own = new Set(visionParameters(vision).map(({ name }) => name));
  return graphObjective<WordsBatch>({
    loss,
    trained: modelParameters(family, config, values).filter(({ name }) => own.has(name)),
    fixed: new Map([["words", words]]),
    threads,
    feeds: (batch) => ({
      pixels: { data: batch.pixels, dims },
      targets: { data: batch.targets, dims: [pictures * rows, count] },
    }),
  });
}

interface WordsReplica extends Shared {
  readonly json: object;
  readonly values: Values;
  readonly shape: WordsShape;
}

/** `wordsObjective` with each batch's pictures shared out to threads. `json` is the model's config. Errors: `bad_option` where they cannot be shared evenly. */
export async function replicatedWords(
  json: object,
  values: Values,
  { pictures, words, threads }: WordsShape,
): Promise<Objective<WordsBatch> & { release(): Promise<void> }> {
  const { family, config } = familyOf(json);
  ensure(pictures % threads === 0, "bad_option", `training: ${pictures} pictures cannot be shared out to ${threads}`);
  const shape = { pictures: pictures / threads, words, threads: 1 };
  const own = await wordsObjective(family, config, values, shape);
  if (threads === 1) return own;
  const part = (all: Float32Array, i: number): Float32Array =>
    all.slice((i * all.length) / threads, ((i + 1) * all.length) / threads);
  return replicated(own, {
    count: threads,
    split: ({ pixels, targets }) =>
      Array.from({ length: threads }, (_, i) => ({ pixels: part(pixels, i), targets: part(targets, i) })),
    start(shared) {
      const data: WordsReplica = { json, values, shape, ...shared };
      return startThread<Replica<WordsBatch>>(
        { name: "words-thread", from: import.meta.url, what: "a training thread" },
        data,
      );
    },
  });
}

/** The thread's side. */
export async function serveWords({ json, values, shape, ...shared }: WordsReplica): Promise<void> {
  const { family, config } = familyOf(json);
  serveObjective(wordsObjective(family, config, values, shape), shared);
}
