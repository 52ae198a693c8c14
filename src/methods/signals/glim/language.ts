/** The frozen text model: an encoder–decoder with its codec, a published one or a small one of ours, and decoding from given states. */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { normal, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { parseJsonObject } from "../../../json.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import {
  masked,
  readT5Config,
  readT5Weights,
  type T5Config,
  t5Decoder,
  t5Encoder,
  t5Parameters,
} from "../../../models/t5.ts";
import { compile, type Value, valueMaker } from "../../../runtime/program.ts";
import { elementTypeOf, input, lower, type Tensor, type TensorData } from "../../../tensor/index.ts";
import { openTokenizer } from "../../../text/index.ts";
import { constant as constantRate, graphObjective, type Parameter, train } from "../../../training/index.ts";
import { openWeights, writeFileAtomically, writeSafetensors } from "../../../weights/index.ts";
import { readBytes } from "../formats/bytes.ts";
import { tokenLoss } from "./model.ts";

/** Texts as ids; the end mark is the model's own. */
export interface Codec {
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

export interface TextModel {
  readonly config: T5Config;
  readonly weights: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly codec: Codec;
  /** Of the codec: words by id, for a model of ours. */
  readonly vocabulary?: readonly string[];
}

const wordsFile = "words.json";

/** A codec of whole words: 0 pads, 1 ends, 2 stands for what is not known. */
export function wordCodec(vocabulary: readonly string[]): Codec {
  const ids = new Map(vocabulary.map((word, id) => [word, id]));
  return {
    encode: (text) => splitWords(text).map((word) => ids.get(word) ?? 2),
    decode: (list) =>
      list
        .filter((id) => id > 2)
        .map((id) => vocabulary[id] ?? "")
        .join(" "),
  };
}

const splitWords = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}']+|[^\s\p{L}\p{N}']/gu) ?? [];

/** What the encoder reads of a sentence. */
export const promptFor = (text: string): string => `To English: ${text}`;

/** Errors: `bad_config`, `bad_file`, `unavailable` as the parts of a checkpoint folder give them. */
export async function openTextModel(folder: string): Promise<TextModel> {
  const path = join(folder, "config.json");
  const config = readT5Config(parseJsonObject(await readBytes(path, 1_000_000), path));
  const source = await openWeights(folder);
  try {
    const weights = await readT5Weights(source, config);
    const list = join(folder, wordsFile);
    if (existsSync(list)) {
      const { words } = parseJsonObject(await readBytes(list, 50_000_000), list);
      ensure(
        Array.isArray(words) && words.length === config.vocab_size && words.every((w) => typeof w === "string"),
        "bad_file",
        `${list} must hold the ${config.vocab_size} words of the model`,
      );
      return { config, weights, codec: wordCodec(words), vocabulary: words };
    }
    const tokenizer = await openTokenizer(folder);
    const codec: Codec = {
      encode: (text) => [...tokenizer.encode(text)].filter((id) => id !== config.eos_token_id),
      decode: (ids) => tokenizer.decode(ids.filter((id) => id !== config.pad_token_id && id !== config.eos_token_id)),
    };
    return { config, weights, codec };
  } finally {
    await source.close();
  }
}

export async function saveTextModel(folder: string, { config, weights, vocabulary }: TextModel): Promise<void> {
  ensure(vocabulary, "bad_option", "only a text model of ours is saved: a published one stays in its folder");
  const tensors = t5Parameters(config).map(({ name, shape }) => ({
    name,
    type: "F32" as const,
    shape,
    data: weights.get(name)!,
  }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  await writeFileAtomically(join(folder, wordsFile), JSON.stringify({ words: vocabulary }));
  await writeFileAtomically(
    join(folder, "config.json"),
    JSON.stringify(
      { model_type: "t5", architectures: ["T5ForConditionalGeneration"], is_encoder_decoder: true, ...config },
      null,
      2,
    ),
  );
}

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
      basis: {
        ...{ width, layers, heads, batch, sourceLength, targetLength },
        pairs: createHash("sha256").update(JSON.stringify(pairs)).digest("hex"),
      },
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

/** A compiled graph whose parameters are given once. */
export async function openGraph(
  outputs: Record<string, Tensor>,
  parameters: ReadonlyMap<string, { shape: readonly number[]; values: TensorData }>,
) {
  const lowered = lower(outputs, { parameters: "inputs" });
  const program = await compile(lowered);
  const make = await valueMaker();
  const names = new Set(lowered.inputs.map(({ name }) => name));
  const fixed = Object.fromEntries(
    [...parameters]
      .filter(([name]) => names.has(name))
      .map(([name, { shape, values }]) => [name, make("float32", values, shape)]),
  );
  return {
    async run(feeds: Readonly<Record<string, Value>>) {
      const given = Object.entries(feeds)
        .filter(([name]) => names.has(name))
        .map(([name, { data, dims }]) => [name, make(elementTypeOf(data), data, dims)]);
      return program.run({ ...fixed, ...Object.fromEntries(given) });
    },
    release: () => program.release(),
  };
}

export const parametersOfModel = ({ config, weights }: TextModel) =>
  new Map(t5Parameters(config).map(({ name, shape }) => [name, { shape, values: weights.get(name)! }]));

/** Beam search from states; the whole prefix is computed anew for each token. */
export async function openDecoder(model: TextModel, rows: number, slots: number, length: number, beams: number) {
  const { config } = model;
  const stack = { config, make: parameterMaker() };
  const width = rows * beams;
  const logits = t5Decoder(
    stack,
    input("decoderTokens", [width, length], "int64"),
    input("states", [width, slots, config.d_model]),
  );
  const graph = await openGraph({ logits }, parametersOfModel(model));
  return {
    /** Texts of states [rows, slots, d_model]. */
    async generate(states: Float32Array): Promise<string[]> {
      const size = slots * config.d_model;
      const repeated = new Float32Array(width * size);
      for (let row = 0; row < width; row++)
        repeated.set(states.subarray(Math.floor(row / beams) * size, (Math.floor(row / beams) + 1) * size), row * size);
      const results: number[][] = [];
      const search = Array.from({ length: rows }, () => ({
        open: [{ ids: [] as number[], score: 0 }],
        done: [] as { ids: number[]; score: number }[],
      }));
      for (let step = 0; step < length; step++) {
        const tokens = new BigInt64Array(width * length).fill(BigInt(config.pad_token_id));
        for (const [r, { open }] of search.entries()) {
          for (const [b, { ids }] of open.entries()) {
            const at = (r * beams + b) * length;
            tokens[at] = BigInt(config.decoder_start_token_id);
            for (const [i, id] of ids.slice(0, length - 1).entries()) tokens[at + i + 1] = BigInt(id);
          }
        }
        if (search.every(({ open }) => open.length === 0)) break;
        const { logits: out } = await graph.run({
          decoderTokens: { data: tokens, dims: [width, length] },
          states: { data: repeated, dims: [width, slots, config.d_model] },
        });
        const vocabulary = config.vocab_size;
        for (const [r, one] of search.entries()) {
          if (one.open.length === 0) continue;
          const grown = one.open.flatMap(({ ids, score }, b) => {
            const from = ((r * beams + b) * length + step) * vocabulary;
            const line = (out.data as Float32Array).subarray(from, from + vocabulary);
            const largest = line.reduce((a, v) => Math.max(a, v), -Infinity);
            const total = Math.log(line.reduce((sum, v) => sum + Math.exp(v - largest), 0)) + largest;
            return best(line, 2 * beams).map((id) => ({ ids: [...ids, id], score: score + line[id] - total }));
          });
          grown.sort((a, b) => b.score - a.score);
          one.open = [];
          for (const candidate of grown.slice(0, 2 * beams)) {
            const ended = candidate.ids[candidate.ids.length - 1] === config.eos_token_id;
            // A finished text counts by its mean log-probability a token.
            if (ended) one.done.push({ ids: candidate.ids, score: candidate.score / candidate.ids.length });
            else if (one.open.length < beams) one.open.push(candidate);
          }
          one.done.sort((a, b) => b.score - a.score);
          one.done.length = Math.min(beams, one.done.length);
          const reachable = one.open[0] ? one.open[0].score / (step + 1) : -Infinity;
          if (one.done.length === beams && one.done[beams - 1].score >= reachable) one.open = [];
        }
      }
      for (const { done, open } of search) {
        const all = [...done, ...open.map(({ ids, score }) => ({ ids, score: score / Math.max(1, ids.length) }))].sort(
          (a, b) => b.score - a.score,
        );
        results.push(all[0].ids);
      }
      return results.map((ids) => model.codec.decode(ids.filter((id) => id !== config.eos_token_id)));
    },
    release: () => graph.release(),
  };
}

/** Indices of the largest entries, in falling order. */
function best(line: Float32Array, count: number): number[] {
  const chosen: number[] = [];
  for (let i = 0; i < line.length; i++) {
    if (chosen.length === count && line[i] <= line[chosen[count - 1]]) continue;
    let at = chosen.length;
    while (at > 0 && line[chosen[at - 1]] < line[i]) at--;
    chosen.splice(at, 0, i);
    if (chosen.length > count) chosen.pop();
  }
  return chosen;
}
