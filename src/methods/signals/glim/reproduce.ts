/** GLIM's claims on synthetic recordings, where the truth is known, and its question on ZuCo's word-level features. */

import { dirname } from "node:path";
import { defineReproduction, type Json, type Measurement, type Step } from "../../../papers/reproduction.ts";
import { meanOf } from "../../../papers/statistics.ts";
import { evaluateGlim, pointsBetween, similarities } from "./evaluate.ts";
import { trainGlim } from "./index.ts";
import { trainTextModel } from "./language.ts";
import { classSentences, synthesiseSentences, syntheticDefaults } from "./synthetic.ts";
import { analyseWords, readWordCorpus } from "./zuco-words.ts";

interface Size extends Record<string, Json> {
  sentences: number;
  channels: number;
  points: number;
  noise: number;
  textSteps: number;
  steps: number;
  width: number;
  folds: number;
  shuffles: number;
}

const pool = 24;

export const reproduction = defineReproduction<Size>({
  sizes: {
    tiny: {
      sentences: 300,
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
      sentences: 1200,
      channels: 16,
      points: 64,
      noise: 0.7,
      textSteps: 600,
      steps: 1500,
      width: 32,
      folds: 10,
      shuffles: 5,
    },
  },
  steps: ({ folds }) => (folds > 0 ? 3 : 2),
  async measure({ step, seed, signal, data }, size) {
    const tied = await step("with the contrastive loss", (context) => trained(size, 0.5, seed, signal, context));
    const loose = await step("without it", (context) => trained(size, 0, seed, signal, context));
    const share = (hits: readonly number[]) =>
      meanOf(
        hits.map((hit) => 100 * hit),
        seed,
      );
    const measurements: Measurement[] = [
      {
        claim: "retrieval",
        ...share(tied.hits),
        details: { "top-1 in % with the loss of the text decoder alone": share(loose.hits).value, ...tied.details },
      },
      { claim: "noise", ...share(tied.noise) },
      { claim: "shuffled", ...share(tied.shuffled) },
      {
        claim: "contrastive",
        ...pointsBetween(tied.hits, loose.hits, seed),
        details: { "distinct texts with the loss": tied.distinct, "distinct texts without": loose.distinct },
      },
      {
        claim: "classification",
        ...meanOf(
          tied.topicRight.map((right) => 100 * (right - tied.topicMajority)),
          seed,
        ),
      },
      { claim: "teacher-forcing", value: 100 * (tied.noiseForced - tied.noiseFree), count: tied.hits.length },
    ];
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
    const { set, model } = await train(size, 0.5, size.seed, signal, { progress: () => {} });
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
  channels: 8,
  points: 64,
  noise: 0.5,
  textSteps: 200,
  steps: 250,
  width: 32,
  folds: 0,
  shuffles: 0,
};

/** A set of synthetic recordings, and a model trained on its training part. */
async function train(
  size: Size,
  lambda: number,
  seed: number,
  signal: AbortSignal,
  { progress, folder }: Pick<Step, "progress"> & Partial<Step>,
) {
  const { sentences, channels, points, noise, textSteps, steps, width } = size;
  const set = synthesiseSentences({ ...syntheticDefaults, sentences, channels, points, noise, seed });
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
  const model = await trainGlim(set, text, {
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

async function trained(size: Size, lambda: number, seed: number, signal: AbortSignal, step: Step) {
  const { set, model } = await train(size, lambda, seed, signal, step);
  const shared = { split: "test" as const, pools: [pool, 100], classes: classSentences, limit: 400, beams: 2, seed };
  const real = await evaluateGlim(model, set, { ...shared, control: "none", texts: true });
  const noisy = await evaluateGlim(model, set, { ...shared, control: "noise", texts: true });
  const shuffled = await evaluateGlim(model, set, { ...shared, control: "shuffled", texts: false });
  const hits = (report: typeof real) => (report.ranks[pool] ?? []).map((rank) => (rank === 0 ? 1 : 0));
  const { topic, sentiment } = real.classification;
  return {
    hits: hits(real),
    noise: hits(noisy),
    shuffled: hits(shuffled),
    distinct: real.texts!.distinct,
    topicRight: [...topic.right],
    topicMajority: topic.majority,
    noiseForced: noisy.texts!.teacherForced.bleu[0],
    noiseFree: noisy.texts!.freeRunning.bleu[0],
    details: {
      "top-5 in %": 100 * (real.retrieval[pool]?.top5.value ?? 0),
      ...(real.retrieval[100] && { "top-1 among 100 in %": 100 * real.retrieval[100].top1.value }),
      "topic accuracy in %": 100 * topic.fromEeg.value,
      "topic majority in %": 100 * topic.majority,
      "topic accuracy from the text in %": 100 * topic.fromText,
      "sentiment accuracy in %": 100 * sentiment.fromEeg.value,
      "sentiment majority in %": 100 * sentiment.majority,
      "BLEU-1 free-running in %": 100 * real.texts!.freeRunning.bleu[0],
      "BLEU-1 teacher-forced in %": 100 * real.texts!.teacherForced.bleu[0],
      "BLEU-1 of one constant sentence in %": 100 * real.texts!.constant.bleu[0],
      "BLEU-1 free-running from noise in %": 100 * noisy.texts!.freeRunning.bleu[0],
    },
  };
}
