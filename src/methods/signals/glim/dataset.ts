/** Recordings of read sentences: what a data set holds, how it is split by sentence, and how batches are drawn from it. */
import { join } from "node:path";
import { z } from "zod";
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { checkJson, parseJsonObject } from "../../../json.ts";
import { makeFolder } from "../../../node-folders.ts";
import { openSafetensors, writeFileAtomically, writeSafetensors } from "../../../weights/index.ts";
import { readBytes } from "../formats/bytes.ts";
import type { InputShape } from "./preprocess.ts";

export interface Sentence {
  readonly id: string;
  readonly text: string;
  /** Further wordings of its meaning, which training aims at. */
  readonly paraphrases: readonly string[];
  /** Classes by the name of the question: { topic: "sport", sentiment: "good" }. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface RecordingEntry {
  /** Index of the sentence. */
  readonly sentence: number;
  readonly task: string;
  readonly dataset: string;
  readonly subject: string;
  /** Real points. */
  readonly length: number;
}

export interface SentenceSet {
  readonly shape: InputShape;
  readonly sentences: readonly Sentence[];
  readonly recordings: readonly RecordingEntry[];
  /** [recordings, points, channels]. */
  readonly eeg: Float32Array<ArrayBuffer>;
  readonly splits: Readonly<Record<Split, readonly number[]>>;
  /** What was left out, by reason. */
  readonly rejected: Readonly<Record<string, number>>;
}

export type Split = "train" | "validation" | "test";

/**
 * Recordings split so that no sentence is in two parts. Sentences that were read in several tasks or data sets all go to train; of the a
 * others of each (data set, task) with n sentences in all, the share 0.8 - 0.2 (n - a) / a goes to train, and half of the rest to each
 * of validation and test.
 */
export function splitBySentence(
  recordings: readonly RecordingEntry[],
  sentenceCount: number,
  seed: number,
): Record<Split, number[]> {
  const groups = Array.from({ length: sentenceCount }, () => new Set<string>());
  for (const { sentence, dataset, task } of recordings) groups[sentence].add(`${dataset}\n${task}`);
  const part: Split[] = new Array(sentenceCount).fill("train");
  for (const group of new Set(groups.flatMap((set) => [...set]))) {
    const members = groups.flatMap((set, i) => (set.has(group) ? [i] : []));
    const own = members.filter((i) => groups[i].size === 1);
    const keys = new Map(own.map((i) => [i, uniform({ seed, request: 1 }, i, "data")]));
    const shuffled = own.toSorted((a, b) => keys.get(a)! - keys.get(b)!);
    const share = own.length === 0 ? 0 : Math.max(0, 0.8 - (0.2 * (members.length - own.length)) / own.length);
    const train = Math.round(share * own.length);
    const middle = train + Math.ceil((own.length - train) / 2);
    for (const [rank, i] of shuffled.entries())
      part[i] = rank < train ? "train" : rank < middle ? "validation" : "test";
  }
  const splits: Record<Split, number[]> = { train: [], validation: [], test: [] };
  for (const [r, { sentence }] of recordings.entries()) splits[part[sentence]].push(r);
  return splits;
}

/**
 * Batches of `size` recordings with distinct sentences, which the contrastive loss needs; what does not fill one is left out. One pass
 * in an order that seed and pass fix.
 */
export function distinctBatches(
  set: Pick<SentenceSet, "recordings">,
  members: readonly number[],
  size: number,
  seed: number,
  pass: number,
): number[][] {
  const keys = new Map(members.map((r) => [r, uniform({ seed, request: 2 + pass }, r, "data")]));
  const waiting = members.toSorted((a, b) => keys.get(a)! - keys.get(b)!);
  const batches: number[][] = [];
  let open: { rows: number[]; sentences: Set<number> }[] = [];
  for (const r of waiting) {
    const { sentence } = set.recordings[r];
    let place = open.find(({ sentences }) => !sentences.has(sentence));
    if (!place) {
      place = { rows: [], sentences: new Set() };
      open.push(place);
    }
    place.rows.push(r);
    place.sentences.add(sentence);
    if (place.rows.length === size) {
      batches.push(place.rows);
      open = open.filter((one) => one !== place);
    }
  }
  return batches;
}

const format = "ventris sentences 1";
const files = { index: "sentences.json", eeg: "eeg.safetensors" };
const maximumIndexBytes = 256_000_000;

const places = z.array(z.int().min(0));
const size = z.int().min(1).max(1_000_000);
const indexSchema = z.object({
  shape: z.object({ rate: z.number().positive(), points: size, channels: size }),
  sentences: z.array(
    z.object({
      id: z.string(),
      text: z.string(),
      paraphrases: z.array(z.string()),
      labels: z.record(z.string(), z.string()),
    }),
  ),
  recordings: z.array(
    z.object({
      sentence: z.int(),
      task: z.string(),
      dataset: z.string(),
      subject: z.string(),
      length: z.int().min(1),
    }),
  ),
  splits: z.object({ train: places, validation: places, test: places }),
  rejected: z.record(z.string(), z.number()),
});

export async function saveSentenceSet(folder: string, set: SentenceSet): Promise<void> {
  const { shape, sentences, recordings, splits, rejected, eeg } = set;
  await makeFolder(folder);
  await writeSafetensors(
    join(folder, files.eeg),
    [{ name: "eeg", type: "F32", shape: [recordings.length, shape.points, shape.channels], data: eeg }],
    { format },
  );
  await writeFileAtomically(
    join(folder, files.index),
    JSON.stringify({ format, shape, sentences, recordings, splits, rejected }),
  );
}

/** Errors: `unavailable`, `bad_file` where index and recordings do not fit each other or a sentence is in two splits. */
export async function loadSentenceSet(folder: string): Promise<SentenceSet> {
  const path = join(folder, files.index);
  const json = parseJsonObject(await readBytes(path, maximumIndexBytes), path);
  ensure(json.format === format, "bad_file", `${path} is no index of sentences; ventris eeg prepare makes one`);
  const index = checkJson(indexSchema, json, path);
  const { shape, sentences, recordings, splits } = index;
  for (const [i, { sentence, length }] of recordings.entries()) {
    ensure(sentences[sentence], "bad_file", `${path}: recording ${i + 1} belongs to a sentence that is not there`);
    ensure(
      length <= shape.points,
      "bad_file",
      `${path}: recording ${i + 1} has ${length} real points of ${shape.points}`,
    );
  }
  const place = new Map<number, Split>();
  for (const part of ["train", "validation", "test"] as const) {
    for (const r of splits[part]) {
      ensure(r < recordings.length, "bad_file", `${path}: the split ${part} names a recording that is not there`);
      const { sentence } = recordings[r];
      const before = place.get(sentence) ?? part;
      ensure(
        before === part,
        "bad_file",
        `${path}: the sentence ${sentences[sentence].id} is both in ${before} and in ${part}`,
      );
      place.set(sentence, part);
    }
  }
  const file = await openSafetensors(join(folder, files.eeg));
  try {
    const info = file.tensors.get("eeg");
    ensure(
      info && info.shape.join() === [recordings.length, shape.points, shape.channels].join(),
      "bad_file",
      `${join(folder, files.eeg)} holds [${info?.shape}], but the index asks for [${recordings.length}, ${shape.points}, ${shape.channels}]`,
    );
    return { ...index, eeg: await file.readFloat32("eeg") };
  } finally {
    await file.close();
  }
}
