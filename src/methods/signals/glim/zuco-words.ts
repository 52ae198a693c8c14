/**
 * The paper's question on real signal: does EEG add to what the text says already? On ZuCo's published word-level features, the sentiment of
 * a sentence and the entity type of a word are told from text features alone, with EEG, and with EEG shuffled among what was read. The text
 * features include the word's length and how often it occurs, since EEG while reading depends on both. That a word was passed over is known
 * from the eyes: the shuffled control has it as the real one does, so that only the bands differ.
 */
import { join } from "node:path";
import { uniform } from "../../../engine/random.ts";
import { ensure, plural } from "../../../errors.ts";
import { decodeUtf8 } from "../../../json.ts";
import { type Estimate, meanOf } from "../../../papers/statistics.ts";
import { readBytes } from "../formats/bytes.ts";
import { type Example, fitLogistic } from "./logistic.ts";

const bands = 8;
const gaze = 17;
const hashes = 2 ** 14;
const entities = ["O", "PER", "ORG", "LOC"];
const sentiments = ["-1", "0", "1"];

export interface ReadWord {
  readonly word: string;
  /** Eight band features as small whole numbers; undefined where the word was not fixated. */
  readonly eeg: readonly number[] | undefined;
  readonly entity: number;
}

export interface WordCorpus {
  readonly sentences: readonly (readonly ReadWord[])[];
  /** Sentiment by sentence, for the movie reviews, which come first. */
  readonly sentiment: readonly number[];
}

/** Errors: `unavailable`; `bad_file` with the line for a row of another form, and where labels and words are not of the same sentences. */
export async function readWordCorpus(folder: string): Promise<WordCorpus> {
  const wordsPath = join(folder, "zuco1-word-eeg-et-ner.tsv.gz");
  const labelsPath = join(folder, "zuco1-sentiment_labels_task1.csv");
  const sentences = parseWords(decodeUtf8(await readBytes(wordsPath), wordsPath), wordsPath);
  const labels = parseSentiment(decodeUtf8(await readBytes(labelsPath), labelsPath), labelsPath);
  const letters = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const agreeing = labels.filter(
    ({ text }, i) => letters(text) === letters((sentences[i] ?? []).map(({ word }) => word).join("")),
  ).length;
  ensure(
    agreeing >= 0.95 * labels.length,
    "bad_file",
    `${labelsPath} and ${wordsPath} are not of the same sentences: ${agreeing} of ${labels.length} agree`,
  );
  return { sentences, sentiment: labels.map(({ label }) => label) };
}

export function parseWords(text: string, origin: string): ReadWord[][] {
  const sentences: ReadWord[][] = [[]];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") {
      if (sentences[sentences.length - 1].length > 0) sentences.push([]);
      continue;
    }
    const fields = line.split("\t");
    const width = 1 + gaze + bands + 1;
    ensure(
      fields.length === width,
      "bad_file",
      `${origin}, line ${i + 1}: ${plural(fields.length, "field")} where there should be ${width}`,
    );
    const values = fields
      .slice(1 + gaze, 1 + gaze + bands)
      .map((field) => (field === "_" ? Number.NaN : Number(field)));
    const tag = fields[width - 1].replace(/^[BI]-/, "");
    const entity = entities.indexOf(tag);
    ensure(
      entity >= 0,
      "bad_file",
      `${origin}, line ${i + 1}: unknown entity tag ${JSON.stringify(fields[width - 1])}`,
    );
    ensure(
      values.every((v) => Number.isNaN(v) || Number.isInteger(v)),
      "bad_file",
      `${origin}, line ${i + 1}: a band feature is no whole number`,
    );
    // All zero is what the table has where nothing was fixated.
    const read = values.every((v) => Number.isFinite(v)) && values.some((v) => v !== 0);
    sentences[sentences.length - 1].push({ word: fields[0], eeg: read ? values : undefined, entity });
  }
  return sentences.filter((words) => words.length > 0);
}

function parseSentiment(text: string, origin: string): { text: string; label: number }[] {
  return text
    .split(/\r?\n/)
    .filter((line) => line !== "" && !line.startsWith("#"))
    .slice(1)
    .map((line, i) => {
      const fields = line.split(";");
      const label = sentiments.indexOf(fields[fields.length - 1].trim());
      ensure(
        fields.length >= 4 && label >= 0,
        "bad_file",
        `${origin}: sentence ${i + 1} has no sentiment of -1, 0 or 1`,
      );
      return { text: fields.slice(1, -2).join(";"), label };
    });
}

export interface WordsOptions {
  readonly folds: number;
  /** How many times EEG is shuffled. */
  readonly shuffles: number;
  readonly passes: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface WordsResult {
  readonly question: "sentiment" | "entity";
  readonly count: number;
  readonly majority: number;
  /** Accuracy and mean loss (nats) held out, by what is seen. */
  readonly text: Held;
  readonly withEeg: Held;
  /** Mean over the shuffles. */
  readonly withShuffled: Held;
  readonly eegAlone: Held;
  readonly shuffledAlone: Held;
  /** What real EEG gains over shuffled, beside the text: nats and points of accuracy a unit; intervals over sentences. */
  readonly gain: { readonly nats: Estimate; readonly points: Estimate };
  /** The same without the text. */
  readonly gainAlone: { readonly nats: Estimate; readonly points: Estimate };
}

interface Held {
  readonly accuracy: number;
  readonly nats: number;
}

interface Unit {
  readonly sentence: number;
  readonly text: Example["features"];
  readonly eeg: Example["features"];
  /** Whether there is EEG of it. */
  readonly read: boolean;
  readonly label: number;
}

export async function analyseWords(corpus: WordCorpus, options: WordsOptions): Promise<WordsResult[]> {
  const sets = [sentimentUnits(corpus), entityUnits(corpus)] as const;
  const each = options.folds * (3 + 2 * options.shuffles);
  let done = 0;
  const results: WordsResult[] = [];
  for (const [i, question] of (["sentiment", "entity"] as const).entries()) {
    const units = sets[i];
    const classes = question === "sentiment" ? sentiments.length : entities.length;
    const measure = async (features: (unit: Unit, index: number) => Example["features"]) => {
      const outcomes = await crossValidate(units, features, classes, options, () =>
        options.onProgress?.(++done, 2 * each),
      );
      return outcomes;
    };
    const permutations = Array.from({ length: options.shuffles }, (_, s) =>
      permutation(
        units.map(({ read }) => read),
        options.seed + 1000 * (s + 1),
      ),
    );
    const text = await measure(({ text }) => text);
    const both = await measure(({ text, eeg }) => [...text, ...eeg]);
    const alone = await measure(({ eeg }) => [[0, 1], ...eeg]);
    const shuffledBoth: Outcome[][] = [];
    const shuffledAlone: Outcome[][] = [];
    for (const order of permutations) {
      shuffledBoth.push(await measure(({ text }, index) => [...text, ...units[order[index]].eeg]));
      shuffledAlone.push(await measure((_, index) => [[0, 1], ...units[order[index]].eeg]));
    }
    const tally = new Map<number, number>();
    for (const { label } of units) tally.set(label, (tally.get(label) ?? 0) + 1);
    results.push({
      question,
      count: units.length,
      majority: Math.max(...tally.values()) / units.length,
      text: summary(text),
      withEeg: summary(both),
      withShuffled: summary(shuffledBoth.flat()),
      eegAlone: summary(alone),
      shuffledAlone: summary(shuffledAlone.flat()),
      gain: gains(units, both, shuffledBoth, options.seed),
      gainAlone: gains(units, alone, shuffledAlone, options.seed),
    });
  }
  return results;
}

interface Outcome {
  readonly nats: number;
  readonly right: number;
}

const average = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const summary = (outcomes: readonly Outcome[]): Held => ({
  accuracy: average(outcomes.map(({ right }) => right)),
  nats: average(outcomes.map(({ nats }) => nats)),
});

/** By sentence: words of one sentence are no independent units. Each sentence counts by its mean over words. */
function gains(
  units: readonly Unit[],
  real: readonly Outcome[],
  shuffled: readonly (readonly Outcome[])[],
  seed: number,
) {
  const bySentence = new Map<number, { nats: number[]; points: number[] }>();
  for (const [i, { sentence }] of units.entries()) {
    const entry = bySentence.get(sentence) ?? { nats: [], points: [] };
    entry.nats.push(average(shuffled.map((one) => one[i].nats)) - real[i].nats);
    entry.points.push(100 * (real[i].right - average(shuffled.map((one) => one[i].right))));
    bySentence.set(sentence, entry);
  }
  const list = [...bySentence.values()];
  return {
    nats: meanOf(
      list.map(({ nats }) => average(nats)),
      seed,
    ),
    points: meanOf(
      list.map(({ points }) => average(points)),
      seed,
    ),
  };
}

async function crossValidate(
  units: readonly Unit[],
  featuresOf: (unit: Unit, index: number) => Example["features"],
  classes: number,
  { folds, passes, seed, signal }: WordsOptions,
  onFold: () => void,
): Promise<Outcome[]> {
  const examples = units.map((unit, i): Example => ({ features: featuresOf(unit, i), label: unit.label }));
  const fold = units.map(({ sentence }) => Math.floor(uniform({ seed, request: 7 }, sentence, "data") * folds));
  const outcomes: Outcome[] = new Array(units.length);
  for (let f = 0; f < folds; f++) {
    ensure(!signal?.aborted, "aborted", "the analysis was interrupted");
    const classify = fitLogistic(
      examples.filter((_, i) => fold[i] !== f),
      { classes, size: hashes + 64, passes, rate: 0.1, decay: 1e-4, seed },
    );
    for (const [i, { features, label }] of examples.entries()) {
      if (fold[i] !== f) continue;
      const logs = classify(features);
      let best = 0;
      for (let c = 1; c < classes; c++) if (logs[c] > logs[best]) best = c;
      outcomes[i] = { nats: -logs[label], right: best === label ? 1 : 0 };
    }
    onFold();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return outcomes;
}

/** For each unit the one whose EEG it gets: those that were read among themselves, and those that were not keep their none. */
function permutation(read: readonly boolean[], seed: number): number[] {
  const places = [...read.keys()].filter((i) => read[i]);
  const keys = new Map(places.map((i) => [i, uniform({ seed, request: 8 }, i, "data")]));
  const shuffled = [...places].sort((a, b) => keys.get(a)! - keys.get(b)!);
  const order = [...read.keys()];
  for (const [k, i] of places.entries()) order[i] = shuffled[k];
  return order;
}

/** A place among the hashed features, after the 64 that have places of their own (0 is the constant). */
function hashed(text: string): number {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return 64 + ((hash >>> 0) % hashes);
}

/** Band values around 2.5 in steps, and whether the word was read at all: places 1 to 9. */
function eegFeatures(values: readonly number[] | undefined): Example["features"] {
  if (!values) return [[1, 1]];
  return values.map((v, k): [number, number] => [2 + k, (v - 2.5) / 1.5]);
}

function sentimentUnits({ sentences, sentiment }: WordCorpus): Unit[] {
  return sentiment.map((label, s): Unit => {
    const words = sentences[s];
    const features = new Map<number, number>([
      [0, 1],
      [20, words.length / 20],
    ]);
    const scale = 1 / Math.sqrt(words.length);
    for (const { word } of words) features.set(hashed(`w ${word.toLowerCase()}`), scale);
    const read = words.flatMap(({ eeg }) => (eeg ? [eeg] : []));
    const means =
      read.length === 0 ? undefined : Array.from({ length: bands }, (_, k) => average(read.map((values) => values[k])));
    return { sentence: s, text: [...features], eeg: eegFeatures(means), read: means !== undefined, label };
  });
}

function entityUnits({ sentences }: WordCorpus): Unit[] {
  const frequency = new Map<string, number>();
  for (const words of sentences)
    for (const { word } of words) frequency.set(word.toLowerCase(), (frequency.get(word.toLowerCase()) ?? 0) + 1);
  return sentences.flatMap((words, sentence) =>
    words.map(({ word, eeg, entity }, i): Unit => {
      const low = word.toLowerCase();
      const near = (step: number) => words[i + step]?.word.toLowerCase() ?? "";
      const text: [number, number][] = [
        [0, 1],
        [20, /^\p{Lu}/u.test(word) ? 1 : 0],
        [21, i === 0 ? 1 : 0],
        [22, word.length / 8],
        [23, Math.log(frequency.get(low)!) / 5],
        [24, /\d/.test(word) ? 1 : 0],
        [hashed(`w ${low}`), 1],
        [hashed(`s ${low.slice(-3)}`), 1],
        [hashed(`p ${near(-1)}`), 1],
        [hashed(`n ${near(1)}`), 1],
      ];
      return { sentence, text, eeg: eegFeatures(eeg), read: eeg !== undefined, label: entity };
    }),
  );
}
