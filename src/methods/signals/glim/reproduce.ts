/** GLIM's claims on synthetic recordings, where the truth is known, and its question on ZuCo's word-level features. */

import { dirname } from "node:path";
import { defineReproduction, type Json, type Measurement, type Step } from "../../../papers/reproduction.ts";
import { meanOf } from "../../../papers/statistics.ts";
import { type Control, evaluateGlim, type Overlap, pointsBetween, type Report, similarities } from "./evaluate.ts";
import { trainGlim } from "./index.ts";
import { trainTextModel } from "./language.ts";
import { classSentences, synthesiseSentences, syntheticDefaults } from "./synthetic.ts";
import { analyseWords, readWordCorpus } from "./zuco-words.ts";

interface Size extends Record<string, Json> {
  sentences: number;
  readings: number;
  channels: number;
  points: number;
  noise: number;
  textSteps: number;
  steps: number;
  width: number;
  folds: number;
  shuffles: number;
}

const pools = [24, 100, 1000] as const;

export const reproduction = defineReproduction<Size>({
  sizes: {
    tiny: {
      sentences: 300,
      readings: 2,
      channels: 8,
      points: 32,
      noise: 0.5,
      textSteps: 15,
      steps: 15,
      width: 16,
      folds: 0,
      shuffles: 0,
    },
    quick: {
      sentences: 800,
      readings: 2,
      channels: 16,
      points: 64,
      noise: 0.7,
      textSteps: 400,
      steps: 500,
      width: 32,
      folds: 5,
      shuffles: 2,
    },
    full: {
      sentences: 12_000, // a tenth of them is tested on: pools of 1000 need them
      readings: 1,
      channels: 16,
      points: 64,
      noise: 0.7,
      textSteps: 600,
      steps: 3000,
      width: 32,
      folds: 10,
      shuffles: 5,
    },
  },
  steps: ({ folds }) => (folds > 0 ? 4 : 3),
  data: ({ folds }) => (folds > 0 ? ["zuco-words/zuco1-word-eeg-et-ner.tsv.gz"] : []),
  async measure({ step, seed, signal, data }, size) {
    const [tied, loose, literal] = [
      await step("with the contrastive loss", (context) => trained(size, "as published", seed, signal, context)),
      await step("without it", (context) => trained(size, "no contrastive loss", seed, signal, context)),
      await step("without paraphrases", (context) => trained(size, "no paraphrases", seed, signal, context)),
    ];
    const share = (hits: readonly number[]) =>
      meanOf(
        hits.map((hit) => 100 * hit),
        seed,
      );
    const measurements: Measurement[] = pools.flatMap((pool) =>
      tied.real[pool]
        ? [
            {
              claim: pool === 24 ? "retrieval" : `retrieval-${pool}`,
              ...share(tied.real[pool].top1),
              details: {
                "top-1 in % by chance": 100 / pool,
                "top-5 in %": share(tied.real[pool].top5).value,
                "top-10 in %": share(tied.real[pool].top10).value,
                "top-1 in %, noise": share(tied.noise[pool].top1).value,
                "top-1 in %, shuffled": share(tied.shuffled[pool].top1).value,
                "top-1 in %, no prompt": share(tied.unprompted[pool].top1).value,
                "top-1 in %, λ = 0": share(loose.real[pool].top1).value,
                "top-1 in %, no paraphrases": share(literal.real[pool].top1).value,
              },
            },
          ]
        : [],
    );
    measurements.push(
      { claim: "noise", ...share(tied.noise[24].top1) },
      { claim: "shuffled", ...share(tied.shuffled[24].top1) },
      { claim: "contrastive", ...pointsBetween(tied.real[24].top1, loose.real[24].top1, seed) },
      {
        claim: "repeats",
        value: 100 * (tied.distinct - loose.distinct),
        count: tied.texts,
        details: { "distinct texts in %, with the loss": 100 * tied.distinct, without: 100 * loose.distinct },
      },
      {
        claim: "classification",
        ...meanOf(
          tied.topicRight.map((right) => 100 * (right - tied.topicMajority)),
          seed,
        ),
        details: tied.classes,
      },
      {
        claim: "teacher-forcing",
        value: 100 * (tied.noiseOverlap.forced["BLEU-1"] - tied.noiseOverlap.free["BLEU-1"]),
        count: tied.texts,
        details: {
          ...labelled("as published", tied.overlap),
          ...labelled("noise", tied.noiseOverlap),
          ...labelled("λ = 0", loose.overlap),
          ...labelled("no paraphrases", literal.overlap),
        },
      },
    );
    if (size.folds > 0) {
      const folder = dirname(data("zuco-words", "zuco1-word-eeg-et-ner.tsv.gz"));
      const results = await step("words", async ({ progress }) => {
        const corpus = await readWordCorpus(folder);
        const found = await analyseWords(corpus, {
          folds: size.folds,
          shuffles: size.shuffles,
          passes: 6,
          seed,
          signal,
          onProgress: (done, total) => progress(done / total),
        });
        return found.map(({ question, count, majority, gain, gainAlone, text, withEeg, withShuffled }) => ({
          question,
          nats: [gain.nats.value, ...(gain.nats.interval ?? [0, 0])],
          units: gain.nats.count,
          details: {
            units: count,
            "majority class in %": 100 * majority,
            "accuracy in %, text": 100 * text.accuracy,
            "accuracy in %, with EEG": 100 * withEeg.accuracy,
            "accuracy in %, with shuffled EEG": 100 * withShuffled.accuracy,
            "gain in points": gain.points.value,
            "gain in millinats without the text": 1000 * gainAlone.nats.value,
          },
        }));
      });
      for (const { question, nats, units, details } of results) {
        const [value, low, high] = nats.map((v) => 1000 * v);
        measurements.push({ claim: `words-${question}`, value, interval: [low, high], count: units, details });
      }
    }
    return measurements;
  },
  /** Recordings that training never saw, each with the sentences of the test set that are nearest to it. */
  async trace(signal) {
    const size = { ...shownOff, seed: 1 };
    const { set, model } = await train(size, "as published", size.seed, signal, { progress: () => {} });
    const members = set.splits.test.slice(0, 12);
    const { similarity, sentences, own } = await similarities(model, set, members, "none", size.seed);
    const { points, channels } = set.shape;
    return members.map((recording, i) => {
      const scores = sentences.map((_, j) => similarity[i * sentences.length + j]);
      const order = scores.map((_, j) => j).sort((a, b) => scores[b] - scores[a]);
      const eeg = set.eeg.subarray(recording * points * channels, (recording + 1) * points * channels);
      return {
        type: "retrieval" as const,
        signal: Array.from({ length: Math.min(8, channels) }, (_, k) =>
          Array.from({ length: points }, (_, t) => Math.round(100 * eeg[t * channels + k]) / 100),
        ),
        candidates: order.slice(0, 24).map((j) => set.sentences[sentences[j]].text),
        scores: order.slice(0, 24).map((j) => Math.round(1000 * scores[j]) / 1000),
        truth: order.indexOf(own[i]),
      };
    });
  },
});

/** For the picture: enough that the signal tells the topic. */
const shownOff: Size = {
  sentences: 400,
  readings: 2,
  channels: 8,
  points: 64,
  noise: 0.5,
  textSteps: 200,
  steps: 250,
  width: 32,
  folds: 0,
  shuffles: 0,
};

type Variant = "as published" | "no contrastive loss" | "no paraphrases";

/** A set of synthetic recordings, and a model trained on its training part. */
async function train(
  size: Size,
  variant: Variant,
  seed: number,
  signal: AbortSignal,
  { progress, folder }: Pick<Step, "progress"> & Partial<Step>,
) {
  const { sentences, readings, channels, points, noise, textSteps, steps, width } = size;
  const set = synthesiseSentences({ ...syntheticDefaults, sentences, readings, channels, points, noise, seed });
  const lengths = { sourceLength: 14, targetLength: 12 };
  const known = [...new Set(set.splits.train.map((r) => set.recordings[r].sentence))].map((i) => set.sentences[i]);
  const pairs = known.flatMap(({ text, paraphrases }) => paraphrases.map((p) => [text, p] as const));
  const textWidth = size.width + 16;
  const text = await trainTextModel(pairs, {
    width: textWidth,
    layers: 2,
    heads: 4,
    steps: textSteps,
    batch: 24,
    ...lengths,
    seed,
    signal,
    onProgress: (share) => progress(0.25 * share),
  });
  // Where a sentence has no other wordings, it is itself what training aims at.
  const aims = variant === "no paraphrases" ? set.sentences.map((one) => ({ ...one, paraphrases: [] })) : set.sentences;
  const lambda = variant === "no contrastive loss" ? 0 : 0.5;
  const model = await trainGlim({ ...set, sentences: aims }, text, {
    settings: { lambda, commitment: 0, ...lengths, promptDrop: [0, 1, 1] },
    config: { slots: 6, width, heads: 4, encoderBlocks: 2, decoderBlocks: 1, promptWidth: 16 },
    steps,
    batch: 24,
    learningRate: 2e-3,
    seed,
    signal,
    ...(folder !== undefined && { checkpointFolder: folder }),
    onProgress: ({ step }) => progress(0.25 + (0.6 * step) / steps),
  });
  return { set, model };
}

async function trained(size: Size, variant: Variant, seed: number, signal: AbortSignal, step: Step) {
  const { set, model } = await train(size, variant, seed, signal, step);
  const shared = { split: "test" as const, pools, classes: classSentences, beams: 2, seed };
  const evaluated = (control: Control) =>
    evaluateGlim(model, set, { ...shared, control, limit: set.splits.test.length, texts: false });
  const written = (control: Control) => evaluateGlim(model, set, { ...shared, control, limit: 400, texts: true });
  const real = await evaluated("none");
  const [texts, noiseTexts] = [(await written("none")).texts!, (await written("noise")).texts!];
  const { topic, sentiment } = real.classification;
  return {
    real: hits(real),
    noise: hits(await evaluated("noise")),
    shuffled: hits(await evaluated("shuffled")),
    unprompted: hits(await evaluated("no-prompt")),
    texts: Math.min(400, real.recordings),
    distinct: texts.distinct / Math.min(400, real.recordings),
    topicRight: [...topic.right],
    topicMajority: topic.majority,
    classes: {
      "topic accuracy in %": 100 * topic.fromEeg.value,
      "topic majority in %": 100 * topic.majority,
      "topic accuracy from the text in %": 100 * topic.fromText,
      "sentiment accuracy in %": 100 * sentiment.fromEeg.value,
      "sentiment majority in %": 100 * sentiment.majority,
      "sentiment accuracy from the text in %": 100 * sentiment.fromText,
    },
    overlap: overlaps(texts),
    noiseOverlap: overlaps(noiseTexts),
  };
}

/** By pool, for each recording: 1 where its sentence is among the first 1, 5 or 10. */
const hits = ({ ranks }: Report): Record<string, Record<"top1" | "top5" | "top10", number[]>> =>
  Object.fromEntries(
    Object.entries(ranks).map(([pool, list]) => {
      const among = (most: number) => list.map((rank) => (rank < most ? 1 : 0));
      return [pool, { top1: among(1), top5: among(5), top10: among(10) }];
    }),
  );

const overlaps = (texts: NonNullable<Report["texts"]>) => {
  const scores = ({ bleu, rouge1, bleu1Raw }: Overlap) => ({
    "BLEU-1": bleu[0],
    "BLEU-2": bleu[1],
    "ROUGE-1 F": rouge1.f,
    "BLEU-1 against the sentence itself": bleu1Raw,
  });
  return {
    free: scores(texts.freeRunning),
    forced: scores(texts.teacherForced),
    constant: scores(texts.constant),
  };
};

/** Every overlap under the name of how its text came about. */
const labelled = (of: string, { free, forced, constant }: ReturnType<typeof overlaps>): Record<string, number> =>
  Object.fromEntries(
    Object.entries({ "free-running": free, "teacher-forced": forced, "one constant sentence": constant }).flatMap(
      ([how, scores]) => Object.entries(scores).map(([name, value]) => [`${of}, ${how}: ${name} in %`, 100 * value]),
    ),
  );
