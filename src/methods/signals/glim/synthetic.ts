/**
 * Sentences of a small grammar with a known topic and sentiment, and recordings in which both stand: each topic and each sentiment makes its
 * own oscillation over its own pattern of channels, under a subject's gains and pink noise. The ground truth for what EEG can tell.
 */
import { uniform } from "../../../engine/random.ts";
import { normals } from "../dkf/synthetic.ts";
import type { RecordingEntry, Sentence, SentenceSet } from "./dataset.ts";
import { splitBySentence } from "./dataset.ts";

export interface SyntheticOptions {
  readonly sentences: number;
  readonly subjects: number;
  /** Recordings of each sentence, by different subjects. */
  readonly readings: number;
  readonly channels: number;
  readonly points: number;
  readonly rate: number;
  /** Deviation of the pink noise over that of an oscillation. */
  readonly noise: number;
  readonly seed: number;
}

export const syntheticDefaults: SyntheticOptions = {
  sentences: 1200,
  subjects: 6,
  readings: 2,
  channels: 32,
  points: 256,
  rate: 64,
  noise: 1,
  seed: 0,
};

const topics = {
  food: ["the soup", "the bread", "the cake", "the salad"],
  sport: ["the match", "the race", "the goal", "the training"],
  music: ["the song", "the concert", "the choir", "the record"],
  travel: ["the journey", "the hotel", "the train", "the beach"],
  work: ["the meeting", "the report", "the office", "the contract"],
  garden: ["the roses", "the hedge", "the lawn", "the apples"],
  film: ["the film", "the actor", "the scene", "the plot"],
  school: ["the lesson", "the exam", "the teacher", "the homework"],
} as const;
const sentiments = {
  good: { verb: "loved", word: "wonderful", says: "praised" },
  neutral: { verb: "noticed", word: "ordinary", says: "mentioned" },
  bad: { verb: "hated", word: "terrible", says: "criticised" },
} as const;
const names = [
  "Anna",
  "Boris",
  "Clara",
  "David",
  "Elena",
  "Felix",
  "Greta",
  "Hugo",
  "Irene",
  "Jonas",
  "Karin",
  "Louis",
  "Maria",
  "Nils",
  "Olga",
  "Pavel",
];
const times = ["yesterday", "today", "in spring", "last year", "on Sunday", "at noon", "in winter", "this week"];

export const topicNames = Object.keys(topics) as (keyof typeof topics)[];
export const sentimentNames = Object.keys(sentiments) as (keyof typeof sentiments)[];

/** All sentences of the grammar, by number: topic, sentiment, thing, name and time vary. */
function sentenceOf(number: number): Sentence {
  let rest = number;
  const pick = <T>(list: readonly T[]): T => {
    const chosen = list[rest % list.length];
    rest = Math.floor(rest / list.length);
    return chosen;
  };
  const topic = pick(topicNames);
  const sentiment = pick(sentimentNames);
  const thing = pick(topics[topic]);
  const name = pick(names);
  const time = pick(times);
  const { verb, word, says } = sentiments[sentiment];
  return {
    id: `s${number}`,
    text: `${name} ${verb} ${thing} ${time} .`,
    paraphrases: [
      `${thing} was ${word} .`,
      `${name} found ${thing} ${word} .`,
      `${name} ${says} ${thing} .`,
      `${time} ${thing} was ${word} for ${name} .`,
    ],
    labels: { topic, sentiment },
  };
}

export const grammarSize = topicNames.length * sentimentNames.length * 4 * names.length * times.length;

/** Sentences that stand for the classes: of every kind that the grammar has of a class, so that nothing else sets classes apart. */
export const classSentences = {
  topic: topicNames.map((topic) => ({
    label: topic,
    texts: topics[topic].map((thing) => `Anna noticed ${thing} today .`),
  })),
  sentiment: sentimentNames.map((sentiment) => ({
    label: sentiment,
    texts: topicNames.map((topic) => `Anna ${sentiments[sentiment].verb} ${topics[topic][0]} today .`),
  })),
};

/** Everything follows from the seed. */
export function synthesiseSentences(options: SyntheticOptions): SentenceSet {
  const { sentences: count, subjects, readings, channels, points, rate, noise, seed } = options;
  const keys = Array.from({ length: grammarSize }, (_, i) => uniform({ seed, request: 0 }, i, "data"));
  const chosen = keys
    .map((_, i) => i)
    .sort((a, b) => keys[a] - keys[b])
    .slice(0, Math.min(count, grammarSize));
  const sentences = chosen.map(sentenceOf);
  const world = normals(seed, 10);
  const pattern = () => {
    const values = Float64Array.from({ length: channels }, world);
    const norm = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / channels);
    return values.map((v) => v / norm);
  };
  // Frequencies from 3 Hz up to well below half the rate.
  const sources = [...topicNames, ...sentimentNames].map((_, i) => ({
    frequency: 3 + (0.35 * rate * i) / (topicNames.length + sentimentNames.length),
    pattern: pattern(),
  }));
  const gains = Array.from({ length: subjects }, () =>
    Float64Array.from({ length: channels }, () => Math.exp(0.3 * world())),
  );
  const recordings: RecordingEntry[] = [];
  for (const sentence of sentences.keys()) {
    for (let r = 0; r < readings; r++) {
      const subject = (sentence + r) % subjects;
      const length = Math.floor(points * (0.6 + 0.4 * uniform({ seed, request: 3 }, sentence, "data", r)));
      recordings.push({ sentence, task: "reading", dataset: "synthetic", subject: `subject ${subject + 1}`, length });
    }
  }
  const eeg = new Float32Array(recordings.length * points * channels);
  const rough = normals(seed, 11);
  for (const [r, { sentence, subject, length }] of recordings.entries()) {
    const { labels } = sentences[sentence];
    const active = [
      sources[topicNames.indexOf(labels.topic as never)],
      sources[topicNames.length + sentimentNames.indexOf(labels.sentiment as never)],
    ];
    const phases = active.map((_, i) => 2 * Math.PI * uniform({ seed, request: 4 }, r, "data", i));
    const gain = gains[Number(subject.slice(8)) - 1];
    for (let k = 0; k < channels; k++) {
      const pink = pinkNoise(length, rough);
      for (let t = 0; t < length; t++) {
        let value = noise * pink[t];
        for (const [i, { frequency, pattern }] of active.entries())
          value += pattern[k] * Math.SQRT2 * Math.sin((2 * Math.PI * frequency * t) / rate + phases[i]);
        eeg[(r * points + t) * channels + k] = gain[k] * value;
      }
    }
  }
  return {
    shape: { rate, points, channels },
    sentences,
    recordings,
    eeg,
    splits: splitBySentence(recordings, sentences.length, seed),
    rejected: {},
  };
}

/** Unit variance, power falling with frequency: independent values held for 1, 2, 4 … points, summed (Voss's construction). */
function pinkNoise(length: number, normal: () => number): Float64Array {
  const octaves = 6;
  const out = new Float64Array(length);
  for (let octave = 0; octave < octaves; octave++) {
    let held = 0;
    for (let t = 0; t < length; t++) {
      if (t % 2 ** octave === 0) held = normal();
      out[t] += held / Math.sqrt(octaves);
    }
  }
  return out;
}
