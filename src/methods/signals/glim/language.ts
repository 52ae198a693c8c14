/** The text model's part in the training: prompts, padded batches, and training a small one of ours. */

import { splitWords, type TextModel, wordCodec } from "../../../engine/encoder-decoder/text-model.ts";
import { normal, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { masked, readT5Config, type T5Config, t5Decoder, t5Encoder, t5Parameters } from "../../../models/t5.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import type { Value } from "../../../runtime/program.ts";
import { input } from "../../../tensor/index.ts";
import { digestOf } from "../../../training/digest.ts";
import { constant as constantRate, graphObjective, type Parameter, train } from "../../../training/index.ts";
import { tokenLoss } from "./model.ts";

/** What the encoder reads of a sentence. */
export const promptFor = (text: string): string => `To English: ${text}`;

/** Ids padded or cut to a length, the end mark last; and how many are real. */
export function padded(
  ids: readonly number[],
  length: number,
  { eos_token_id: end, pad_token_id: pad }: T5Config,
): { ids: number[]; real: number } {
  const kept = [...ids.slice(0, length - 1), end];
  return { ids: [...kept, ...new Array(length - kept.length).fill(pad)], real: kept.length };
}

export interface TextBatch {
  /** [rows, length] each. */
  readonly source: readonly (readonly number[])[];
  readonly target: readonly (readonly number[])[];
}

/** Inputs of a graph for padded texts: encoder ids and mask, decoder ids shifted by one, targets and their weights. */
export function textFeeds(
  { source, target }: TextBatch,
  config: T5Config,
  sourceLength: number,
  targetLength: number,
): Record<string, Value> {
  const rows = source.length;
  const ids = source.map((text) => padded(text, sourceLength, config));
  const aims = target.map((text) => padded(text, targetLength, config));
  const int64 = (lists: readonly number[][]): Value => ({
    data: BigInt64Array.from(lists.flat(), BigInt),
    dims: [rows, lists[0].length],
  });
  return {
    source: int64(ids.map((one) => one.ids)),
    sourceMask: {
      data: Float32Array.from(
        ids.flatMap(({ real }) => Array.from({ length: sourceLength }, (_, i) => (i < real ? 0 : masked))),
      ),
      dims: [rows, 1, 1, sourceLength],
    },
    decoderTokens: int64(aims.map((one) => [config.decoder_start_token_id, ...one.ids.slice(0, -1)])),
    targets: {
      data: BigInt64Array.from(
        aims.flatMap((one) => one.ids),
        BigInt,
      ),
      dims: [rows * targetLength],
    },
    targetWeights: {
      data: Float32Array.from(
        aims.flatMap(({ real }) => Array.from({ length: targetLength }, (_, i) => (i < real ? 1 : 0))),
      ),
      dims: [rows * targetLength],
    },
  };
}

export interface SmallTextOptions {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly steps: number;
  readonly batch: number;
  readonly sourceLength: number;
  readonly targetLength: number;
  readonly seed: number;
  /** Keeps the training, which goes on from there; default: nowhere. */
  readonly checkpointFolder?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number) => void;
}

/** Trains a small encoder–decoder of ours to say a sentence in other words. Pairs are (sentence, paraphrase). */
export async function trainTextModel(
  pairs: readonly (readonly [string, string])[],
  options: SmallTextOptions,
): Promise<TextModel> {
  const { width, layers, heads, steps, batch, sourceLength, targetLength, seed, signal, onProgress } = options;
  const { checkpointFolder } = options;
  requireCounts({ width, layers, heads, steps, batch, sourceLength, targetLength });
  requireWhole({ seed }, 0);
  const known = new Set(pairs.flatMap(([a, b]) => [...splitWords(promptFor(a)), ...splitWords(b)]));
  const vocabulary = ["<pad>", "</s>", "<unk>", ...[...known].sort()];
  const codec = wordCodec(vocabulary);
  const config = readT5Config({
    model_type: "t5",
    vocab_size: vocabulary.length,
    d_model: width,
    d_kv: width / heads,
    d_ff: 2 * width,
    num_layers: layers,
    num_decoder_layers: layers,
    num_heads: heads,
    feed_forward_proj: "gated-gelu",
    tie_word_embeddings: false,
    relative_attention_max_distance: 32,
    relative_attention_num_buckets: 16,
  });
  const parameters = t5Parameters(config).map(({ name, shape, deviation }, stream): Parameter => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => {
      if (deviation === undefined) return 1;
      return deviation * normal({ seed, request: stream }, i, "initialise");
    });
    return { name, shape, values, decay: false };
  });
  const stack = { config, make: parameterMaker() };
  const inputs = textInputs(batch, sourceLength, targetLength);
  const states = t5Encoder(stack, inputs.source, inputs.sourceMask);
  const loss = tokenLoss(
    t5Decoder(stack, inputs.decoderTokens, states, inputs.sourceMask),
    inputs.targets,
    inputs.targetWeights,
  );
  const coded = pairs.map(([a, b]) => [codec.encode(promptFor(a)), codec.encode(b)]);
  const objective = await graphObjective<TextBatch>({
    loss,
    trained: parameters,
    fixed: new Map(),
    feeds: (texts) => textFeeds(texts, config, sourceLength, targetLength),
  });
  try {
    await train<TextBatch>({
      objective,
      steps,
      seed,
      basis: async () => ({
        ...{ width, layers, heads, batch, sourceLength, targetLength },
        pairs: await digestOf(JSON.stringify(pairs)),
      }),
      signal,
      checkpointFolder,
      schedule: constantRate({ peak: 2e-3, warmup: Math.min(50, steps >> 1) }),
      optimiser: { weightDecay: 0 },
      clip: 1,
      batches: (number) => {
        const chosen = Array.from(
          { length: batch },
          (_, i) => coded[Math.floor(uniform({ seed, request: 99 }, number, "data", i) * coded.length)],
        );
        return { source: chosen.map(([a]) => a), target: chosen.map(([, b]) => b) };
      },
      onProgress: ({ step }) => onProgress?.(step / steps),
    });
  } finally {
    await objective.release();
  }
  ensure(!signal?.aborted, "aborted", "training the text model was interrupted");
  return { config, weights: new Map(parameters.map(({ name, values }) => [name, values])), codec, vocabulary };
}

export function textInputs(rows: number, sourceLength: number, targetLength: number) {
  return {
    source: input("source", [rows, sourceLength], "int64"),
    sourceMask: input("sourceMask", [rows, 1, 1, sourceLength]),
    decoderTokens: input("decoderTokens", [rows, targetLength], "int64"),
    targets: input("targets", [rows * targetLength], "int64"),
    targetWeights: input("targetWeights", [rows * targetLength]),
  };
}
