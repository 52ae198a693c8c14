/** Evaluation: retrieval in pools, classification without training for it, overlap of texts with and without teacher forcing, and the controls. */
import { openDecoder, openGraph, parametersOfModel } from "../../../engine/encoder-decoder/search.ts";
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { t5Decoder, t5Encoder } from "../../../models/t5.ts";
import { bootstrap, type Estimate, meanOf } from "../../../papers/statistics.ts";
import { input } from "../../../tensor/index.ts";
import { normals } from "../dkf/synthetic.ts";
import type { SentenceSet, Split } from "./dataset.ts";
import { eegFeeds, eegInputs, type GlimModel } from "./index.ts";
import { promptFor, textFeeds, textInputs } from "./language.ts";
import { bleu, cosines, retrievalRanks, rouge1 } from "./metrics.ts";
import { encodeEeg, pooled } from "./model.ts";

/** `noise`: normal values of the same shape, all of them real; `shuffled`: the recordings of other sentences; `no-prompt`: all ids unknown. */
export const controls = ["none", "noise", "shuffled", "no-prompt"] as const;
export type Control = (typeof controls)[number];

/** A class and the sentences that stand for it; several are averaged. */
export interface ClassTexts {
  readonly label: string;
  readonly texts: readonly string[];
}

export interface EvaluateOptions {
  readonly split: Split;
  readonly control: Control;
  readonly pools: readonly number[];
  /** By question: sentences that stand for its classes. */
  readonly classes: Readonly<Record<string, readonly ClassTexts[]>>;
  /** Recordings at most. */
  readonly limit: number;
  readonly beams: number;
  readonly seed: number;
  readonly texts: boolean;
}

export interface Report {
  readonly split: Split;
  readonly control: Control;
  readonly recordings: number;
  /** By pool: shares of recordings whose sentence is among the first 1, 5, 10, with what chance gives. */
  readonly retrieval: Readonly<
    Record<string, Readonly<Record<"top1" | "top5" | "top10", Estimate & { readonly chance: number }>>>
  >;
  /** By pool: the place (0 best) of each recording's sentence. */
  readonly ranks: Readonly<Record<string, readonly number[]>>;
  /** By question: accuracy from EEG, from the text itself, and of always saying the most frequent class. */
  readonly classification: Readonly<
    Record<
      string,
      {
        readonly fromEeg: Estimate;
        readonly fromText: number;
        readonly majority: number;
        readonly count: number;
        readonly right: readonly number[];
      }
    >
  >;
  readonly texts?: {
    readonly freeRunning: Overlap;
    /** Each token given the right ones before it: not decoding, and higher by construction. */
    readonly teacherForced: Overlap;
    /** Always the training sentence that suits the training set best. */
    readonly constant: Overlap;
    readonly distinct: number;
    readonly samples: readonly { readonly truth: string; readonly generated: string }[];
  };
}

export interface Overlap {
  /** BLEU-1 to BLEU-4 against all wordings, mean over recordings. */
  readonly bleu: readonly number[];
  readonly rouge1: { readonly recall: number; readonly precision: number; readonly f: number };
  /** BLEU-1 against the sentence as it was read. */
  readonly bleu1Raw: number;
}

const rows = 24;

export async function evaluateGlim(model: GlimModel, set: SentenceSet, options: EvaluateOptions): Promise<Report> {
  const { split, control, pools, classes, limit, seed } = options;
  const members = set.splits[split].slice(0, limit);
  ensure(members.length > 0, "bad_option", `the part ${split} has no recordings`);
  const e = model.config.textWidth;
  const { similarity, sentences, own, vectors, sentenceVectors, states } = await similarities(
    model,
    set,
    members,
    control,
    seed,
  );

  const retrieval: Record<string, Record<"top1" | "top5" | "top10", Estimate & { chance: number }>> = {};
  const allRanks: Record<string, number[]> = {};
  for (const pool of pools) {
    const ranks = retrievalRanks((i, j) => similarity[i * sentences.length + j], own, pool, seed);
    if (!ranks) continue;
    allRanks[pool] = ranks;
    const among = (k: number) => ({
      ...meanOf(
        ranks.map((rank) => (rank < k ? 1 : 0)),
        seed,
      ),
      chance: Math.min(1, k / pool),
    });
    retrieval[pool] = { top1: among(1), top5: among(5), top10: among(10) };
  }
  const classification: Record<
    string,
    { fromEeg: Estimate; fromText: number; majority: number; count: number; right: number[] }
  > = {};
  for (const [question, choices] of Object.entries(classes)) {
    const labelVectors = await classVectors(model, choices);
    const truth = members.map((r) =>
      choices.findIndex(({ label }) => label === set.sentences[set.recordings[r].sentence].labels[question]),
    );
    const asked = truth.flatMap((label, i) => (label >= 0 ? [i] : []));
    if (asked.length === 0) continue;
    const right = (values: Float64Array, row: number, i: number) =>
      argMax(values.subarray(row * choices.length, (row + 1) * choices.length)) === truth[i] ? 1 : 0;
    const [fromEeg, fromText] = [cosines(vectors, labelVectors, e), cosines(sentenceVectors, labelVectors, e)];
    const hits = asked.map((i) => right(fromEeg, i, i));
    const tally = new Map<number, number>();
    for (const i of asked) tally.set(truth[i], (tally.get(truth[i]) ?? 0) + 1);
    classification[question] = {
      fromEeg: meanOf(hits, seed),
      right: hits,
      fromText: asked.reduce((sum, i) => sum + right(fromText, own[i], i), 0) / asked.length,
      majority: Math.max(...tally.values()) / asked.length,
      count: asked.length,
    };
  }
  const texts = options.texts ? await judgeTexts(model, set, members, states, options) : undefined;
  return { split, control, recordings: members.length, retrieval, ranks: allRanks, classification, texts };
}

/** Cosines [members, sentences] of recordings with the sentences that any of them reads; `own`: the place of each one's own. */
export async function similarities(
  model: GlimModel,
  set: SentenceSet,
  members: readonly number[],
  control: Control,
  seed: number,
) {
  const { vectors, states } = await encodeRecordings(model, set, members, control, seed);
  const sentences = [...new Set(members.map((r) => set.recordings[r].sentence))];
  const place = new Map(sentences.map((sentence, i) => [sentence, i]));
  const sentenceVectors = await encodeTexts(
    model,
    sentences.map((i) => set.sentences[i].text),
  );
  const similarity = cosines(vectors, sentenceVectors, model.config.textWidth);
  const own = members.map((r) => place.get(set.recordings[r].sentence)!);
  return { similarity, sentences, own, vectors, sentenceVectors, states };
}

/** The mean direction of each class's sentences. */
async function classVectors(model: GlimModel, choices: readonly ClassTexts[]): Promise<Float32Array> {
  const e = model.config.textWidth;
  const all = await encodeTexts(
    model,
    choices.flatMap(({ texts }) => texts),
  );
  const out = new Float32Array(choices.length * e);
  let at = 0;
  for (const [c, { texts }] of choices.entries()) {
    for (let i = 0; i < texts.length; i++, at++) {
      const vector = all.subarray(at * e, (at + 1) * e);
      const norm = Math.hypot(...vector) || 1;
      for (let k = 0; k < e; k++) out[c * e + k] += vector[k] / norm;
    }
  }
  return out;
}

const argMax = (values: Float64Array) => values.reduce((best, v, i) => (v > values[best] ? i : best), 0);

/** Vectors [members, textWidth] and what the text decoder sees [members, slots · textWidth]. */
export async function encodeRecordings(
  model: GlimModel,
  set: SentenceSet,
  members: readonly number[],
  control: Control,
  seed: number,
): Promise<{ vectors: Float32Array; states: Float32Array }> {
  const { config } = model;
  const scope = { config, make: parameterMaker() };
  const h = encodeEeg(scope, eegInputs(rows, config));
  const graph = await openGraph({ h, vector: pooled(scope, "eeg", h) }, ownParameters(model));
  const [e, size] = [config.textWidth, config.slots * config.textWidth];
  const [vectors, states] = [new Float32Array(members.length * e), new Float32Array(members.length * size)];
  const from = control === "shuffled" ? derange(set, members, seed) : members;
  const noise = normals(seed, 40);
  try {
    for (let at = 0; at < members.length; at += rows) {
      const chosen = Array.from({ length: rows }, (_, i) => from[Math.min(members.length - 1, at + i)]);
      const feeds = eegFeeds(model, set, chosen, control === "no-prompt" ? () => true : undefined);
      if (control === "noise") {
        const data = feeds.eeg.data as Float32Array;
        for (let i = 0; i < data.length; i++) data[i] = noise();
        (feeds.mask.data as Float32Array).fill(0);
      }
      const result = await graph.run(feeds);
      const count = Math.min(rows, members.length - at);
      vectors.set((result.vector.data as Float32Array).subarray(0, count * e), at * e);
      states.set((result.h.data as Float32Array).subarray(0, count * size), at * size);
    }
  } finally {
    await graph.release();
  }
  return { vectors, states };
}

const ownParameters = ({ parameters }: GlimModel) =>
  new Map(parameters.map(({ name, shape, values }) => [name, { shape, values }]));

/** Each member gets the recording of another sentence. */
function derange(set: SentenceSet, members: readonly number[], seed: number): number[] {
  return members.map((r, i) => {
    const others = members.filter((other) => set.recordings[other].sentence !== set.recordings[r].sentence);
    ensure(others.length > 0, "bad_option", "shuffling needs recordings of two sentences at least");
    return others[Math.floor(uniform({ seed, request: 41 }, i, "data") * others.length)];
  });
}

/** Text vectors [texts, textWidth] by the text branch, as the frozen encoder reads them. */
export async function encodeTexts(model: GlimModel, texts: readonly string[]): Promise<Float32Array> {
  const { config, settings, text } = model;
  const scope = { config, make: parameterMaker() };
  const inputs = textInputs(rows, settings.sourceLength, settings.targetLength);
  const states = t5Encoder({ config: text.config, make: parameterMaker() }, inputs.source, inputs.sourceMask);
  const graph = await openGraph(
    { vector: pooled(scope, "text", states, inputs.sourceMask) },
    new Map([...ownParameters(model), ...parametersOfModel(text)]),
  );
  const e = config.textWidth;
  const vectors = new Float32Array(texts.length * e);
  try {
    for (let at = 0; at < texts.length; at += rows) {
      const source = Array.from({ length: rows }, (_, i) =>
        text.codec.encode(promptFor(texts[Math.min(texts.length - 1, at + i)])),
      );
      const { vector } = await graph.run(
        textFeeds({ source, target: source }, text.config, settings.sourceLength, settings.targetLength),
      );
      vectors.set((vector.data as Float32Array).subarray(0, Math.min(rows, texts.length - at) * e), at * e);
    }
  } finally {
    await graph.release();
  }
  return vectors;
}

/** Texts from states [count, slots · textWidth], by beam search. */
export async function generateTexts(model: GlimModel, states: Float32Array, beams: number): Promise<string[]> {
  const { config, settings, text } = model;
  const size = config.slots * config.textWidth;
  const count = states.length / size;
  const decoder = await openDecoder(text, { rows, slots: config.slots, length: settings.targetLength, beams });
  const generated: string[] = [];
  try {
    for (let at = 0; at < count; at += rows) {
      const part = new Float32Array(rows * size);
      part.set(states.subarray(at * size, Math.min(count, at + rows) * size));
      const found = (await decoder.find(part)).slice(0, count - at);
      generated.push(
        ...found.map(({ tokens }) => text.codec.decode(tokens.filter((id) => id !== text.config.eos_token_id))),
      );
    }
  } finally {
    await decoder.release();
  }
  return generated;
}

async function judgeTexts(
  model: GlimModel,
  set: SentenceSet,
  members: readonly number[],
  states: Float32Array,
  { beams }: EvaluateOptions,
): Promise<Report["texts"]> {
  const sentences = members.map((r) => set.sentences[set.recordings[r].sentence]);
  const references = sentences.map(({ text, paraphrases }) => (paraphrases.length > 0 ? [...paraphrases] : [text]));
  const generated = await generateTexts(model, states, beams);
  const forced = await forceTexts(
    model,
    states,
    references.map(([first]) => first),
  );
  const raw = sentences.map(({ text }) => text);
  const fixed = constantText(set);
  return {
    freeRunning: overlap(generated, references, raw),
    teacherForced: overlap(forced, references, raw),
    constant: overlap(
      generated.map(() => fixed),
      references,
      raw,
    ),
    distinct: new Set(generated).size,
    samples: generated.slice(0, 5).map((text, i) => ({ truth: raw[i], generated: text })),
  };
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

function overlap(
  texts: readonly string[],
  references: readonly (readonly string[])[],
  raw: readonly string[],
): Overlap {
  const scores = texts.map((text, i) => bleu(text, references[i]));
  const rouges = texts.map((text, i) => rouge1(text, references[i]));
  return {
    bleu: [0, 1, 2, 3].map((n) => mean(scores.map((one) => one[n]))),
    rouge1: {
      recall: mean(rouges.map((r) => r.recall)),
      precision: mean(rouges.map((r) => r.precision)),
      f: mean(rouges.map((r) => r.f)),
    },
    bleu1Raw: mean(texts.map((text, i) => bleu(text, [raw[i]], 1)[0])),
  };
}

/** The most likely token at each place, given the right ones before it. */
async function forceTexts(model: GlimModel, states: Float32Array, targets: readonly string[]): Promise<string[]> {
  const { config, settings, text } = model;
  const inputs = textInputs(rows, settings.sourceLength, settings.targetLength);
  const logits = t5Decoder(
    { config: text.config, make: parameterMaker() },
    inputs.decoderTokens,
    input("states", [rows, config.slots, config.textWidth]),
  );
  const graph = await openGraph({ logits }, parametersOfModel(text));
  const size = config.slots * config.textWidth;
  const out: string[] = [];
  try {
    for (let at = 0; at < targets.length; at += rows) {
      const coded = Array.from({ length: rows }, (_, i) =>
        text.codec.encode(targets[Math.min(targets.length - 1, at + i)]),
      );
      const part = new Float32Array(rows * size);
      part.set(states.subarray(at * size, Math.min(targets.length, at + rows) * size));
      const result = await graph.run({
        ...textFeeds({ source: coded, target: coded }, text.config, settings.sourceLength, settings.targetLength),
        states: { data: part, dims: [rows, config.slots, config.textWidth] },
      });
      const vocabulary = text.config.vocab_size;
      for (let i = 0; i < Math.min(rows, targets.length - at); i++) {
        const ids = Array.from({ length: Math.min(coded[i].length, settings.targetLength) }, (_, t) => {
          const from = (i * settings.targetLength + t) * vocabulary;
          const line = (result.logits.data as Float32Array).subarray(from, from + vocabulary);
          return line.reduce((best, v, k) => (v > line[best] ? k : best), 0);
        });
        out.push(text.codec.decode(ids.filter((id) => id !== text.config.eos_token_id)));
      }
    }
  } finally {
    await graph.release();
  }
  return out;
}

/** Among the wordings of up to 200 training sentences, the one with the best mean BLEU-1 against those of 50 others. */
function constantText(set: SentenceSet): string {
  const known = [...new Set(set.splits.train.map((r) => set.recordings[r].sentence))].map((i) => set.sentences[i]);
  const judged = known.slice(0, 50).map(({ text, paraphrases }) => (paraphrases.length > 0 ? paraphrases : [text]));
  let best = { text: "", score: -1 };
  for (const { text, paraphrases } of known.slice(0, 200)) {
    const candidate = paraphrases[0] ?? text;
    const score = mean(judged.map((references) => bleu(candidate, references, 1)[0]));
    if (score > best.score) best = { text: candidate, score };
  }
  return best.text;
}

/** Difference of two controls' top-1 retrieval in a pool, in points, over recordings that both have. */
export const pointsBetween = (a: readonly number[], b: readonly number[], seed: number): Estimate =>
  bootstrap(
    a.map((v, i) => [v, b[i]] as const),
    (sample) => 100 * mean(sample.map(([x, y]) => x - y)),
    seed,
  );
