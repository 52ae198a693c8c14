/** From files to a data set: a table that says where each sentence was read, or ZuCo's own .mat files. */
import { basename, dirname, isAbsolute, join } from "node:path";
import { z } from "zod";
import { ensure, plural } from "../../../errors.ts";
import { checkJson, decodeUtf8, parseJson } from "../../../json.ts";
import { readBrainVision } from "../formats/brainvision.ts";
import { extensionOf, readBytes } from "../formats/bytes.ts";
import { placesOf } from "../formats/columns.ts";
import { readEdf } from "../formats/edf.ts";
import { type HdfDataset, hdfValue, isHdf5, withHdf5 } from "../formats/hdf5.ts";
import { type MatNumbers, readMat } from "../formats/mat.ts";
import type { Recording } from "../formats/recording.ts";
import { readTable } from "../formats/table.ts";
import type { RecordingEntry, Sentence, SentenceSet } from "./dataset.ts";
import { splitBySentence } from "./dataset.ts";
import { type InputShape, kindOf, prepareSentence } from "./preprocess.ts";

const seconds = z.number().min(0);
/** One line of the table of readings: which part of which file is the reading of which sentence. */
const readingSchema = z.object({
  file: z.string().min(1),
  /** Seconds; default: the whole file. */
  start: seconds.optional(),
  end: seconds.optional(),
  sentence: z.string().regex(/\S/, "a text that is not empty"),
  paraphrases: z.array(z.string()).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  subject: z.string().optional(),
  task: z.string().optional(),
  dataset: z.string().optional(),
  /** Which of the file's channels, by names and numbers from 1 (Fz,3-5); default: all. */
  channels: z.string().min(1).optional(),
  /** Samples a second, for files that do not say. */
  rate: z.number().positive().optional(),
});
export type Reading = z.output<typeof readingSchema>;

const maximumReadings = 1_000_000;

/** JSON lines of readings. Errors: `bad_file` with the line. */
export async function readReadings(path: string): Promise<Reading[]> {
  const lines = decodeUtf8(await readBytes(path), path).split("\n");
  ensure(lines.length <= maximumReadings, "bad_file", `${path} has more than ${maximumReadings} lines`);
  return lines.flatMap((line, i): Reading[] => {
    if (line.trim() === "") return [];
    const where = `${path}, line ${i + 1}`;
    const reading = checkJson(readingSchema, parseJson(line, where), where);
    ensure(
      reading.start === undefined || reading.end === undefined || reading.end > reading.start,
      "bad_file",
      `${where}: it ends before it begins`,
    );
    return [reading];
  });
}

interface Collected {
  readonly sentences: Sentence[];
  readonly recordings: RecordingEntry[];
  readonly signals: Float32Array[];
  readonly rejected: Record<string, number>;
  readonly ids: Map<string, number>;
}

export interface PrepareOptions {
  readonly shape: InputShape;
  readonly seed: number;
  readonly onRejected?: (what: string, why: string) => void;
  /** What was odd about a recording that is used, and how it was taken. */
  readonly onRemark?: (what: string, remark: string) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Every reading prepared; those that cannot be used are counted by reason. Errors: those of the files; `bad_option` when none is left. */
export async function prepareReadings(path: string, options: PrepareOptions): Promise<SentenceSet> {
  const readings = await readReadings(path);
  const collected: Collected = { sentences: [], recordings: [], signals: [], rejected: {}, ids: new Map() };
  let open: { file: string; recording: Recording } | undefined;
  for (const [i, reading] of readings.entries()) {
    const file = isAbsolute(reading.file) ? reading.file : join(dirname(path), reading.file);
    if (open?.file !== file) {
      open = { file, recording: await openRecording(file, reading.rate) };
      for (const remark of open.recording.remarks) options.onRemark?.(file, remark);
    }
    const all = open.recording.channels;
    ensure(all.length > 0, "bad_file", `${file} has no channels, only annotations`);
    const channels =
      reading.channels === undefined
        ? all
        : placesOf({ names: all.map(({ name }) => name) }, reading.channels, file).map((k) => all[k]);
    const [{ rate }] = channels;
    ensure(
      channels.every((channel) => channel.rate === rate),
      "bad_option",
      `${file} has channels of several rates; choose those of one by the field channels of the reading`,
    );
    const from = Math.round((reading.start ?? 0) * rate);
    const to = reading.end === undefined ? channels[0].samples.length : Math.round(reading.end * rate);
    ensure(
      to <= channels[0].samples.length,
      "bad_file",
      `${file} ends at ${(channels[0].samples.length / rate).toFixed(2)} s, before the reading of line ${i + 1} does (${reading.end} s)`,
    );
    collect(
      collected,
      reading,
      channels.map(({ samples, unit }) => inMicrovolts(samples.subarray(from, to), unit)),
      rate,
      false,
      options,
    );
    options.onProgress?.(i + 1, readings.length);
  }
  return finish(collected, options);
}

/** ZuCo's results, one file a subject and task: `resultsYAC_SR.mat` and the like; task names are the endings of the names. */
export async function prepareZuco(
  paths: readonly string[],
  options: PrepareOptions & { readonly labels?: ReadonlyMap<string, Readonly<Record<string, string>>> },
): Promise<SentenceSet> {
  const collected: Collected = { sentences: [], recordings: [], signals: [], rejected: {}, ids: new Map() };
  for (const [i, path] of paths.entries()) {
    const [, subject = "unknown", task = "unknown"] = /results([A-Z0-9]+)_(\w+)\.mat$/i.exec(basename(path)) ?? [];
    for (const { content, raw, dataset } of await zucoSentences(path)) {
      if (!raw) {
        reject(collected, `${path}: ${content.slice(0, 40)}`, "it has no raw data", options);
        continue;
      }
      const labels = options.labels?.get(content);
      collect(collected, { file: path, sentence: content, subject, task, dataset, labels }, raw, 500, true, options);
    }
    options.onProgress?.(i + 1, paths.length);
  }
  return finish(collected, options);
}

async function zucoSentences(path: string): Promise<{ content: string; raw?: Float64Array[]; dataset: string }[]> {
  const bytes = await readBytes(path);
  if (isHdf5(bytes)) return withHdf5(bytes, path, (file) => hdfSentences(file, path));
  const data = readMat(bytes, path).get("sentenceData");
  ensure(data?.kind === "structs", "bad_file", `${path} has no struct array sentenceData`);
  return data.values.map(({ content, rawData }) => {
    ensure(content?.kind === "text", "bad_file", `${path}: a sentence has no content`);
    const usable = rawData?.kind === "numbers" && rawData.shape.length === 2 && rawData.data.length > 1;
    return { content: content.text, raw: usable ? rowsOf(rawData as MatNumbers) : undefined, dataset: "ZuCo1" };
  });
}

/** Channels of a matrix [channels, samples] kept column by column. */
function rowsOf({ shape: [rows, columns], data }: MatNumbers): Float64Array[] {
  return Array.from({ length: rows }, (_, r) => Float64Array.from({ length: columns }, (_, c) => data[c * rows + r]));
}

/** Version 7.3: fields are columns of references, text is character codes, matrices come out as [samples, channels]. */
function hdfSentences(
  file: Parameters<Parameters<typeof withHdf5>[2]>[0],
  path: string,
): { content: string; raw?: Float64Array[]; dataset: string }[] {
  const field = (name: string) => {
    const dataset = file.get(`sentenceData/${name}`);
    const value = dataset && "shape" in dataset && hdfValue(dataset, `sentenceData/${name}`, path);
    ensure(Array.isArray(value), "bad_file", `${path} has no references sentenceData/${name}`);
    return value.flat() as unknown[];
  };
  const follow = (reference: unknown): HdfDataset | undefined => {
    const isReference = typeof reference === "object" && reference !== null;
    ensure(isReference, "bad_file", `${path}: sentenceData holds something else than references`);
    const target = file.dereference(reference);
    return target && "shape" in target ? target : undefined;
  };
  const [raws, contents] = [field("rawData"), field("content")];
  ensure(
    raws.length === contents.length,
    "bad_file",
    `${path}: ${plural(contents.length, "sentence")}, but raw data of ${raws.length}`,
  );
  return contents.map((reference, i) => {
    const text = follow(reference);
    const codes = text && hdfValue(text, `the content of sentence ${i + 1}`, path);
    ensure(codes instanceof Uint16Array, "bad_file", `${path}: the content of sentence ${i + 1} is no text`);
    const content = Array.from(codes, (code) => String.fromCharCode(code)).join("");
    const target = follow(raws[i]);
    const [samples, channels] = target?.shape ?? [];
    const values = target && (hdfValue(target, `the recording of sentence ${i + 1}`, path) as ArrayLike<number> | null);
    if (!values || !(samples > 1 && channels > 1)) return { content, dataset: "ZuCo2" };
    const raw = Array.from({ length: channels }, (_, k) =>
      Float64Array.from({ length: samples }, (_, t) => values[t * channels + k]),
    );
    return { content, raw, dataset: "ZuCo2" };
  });
}

async function openRecording(path: string, rate: number | undefined): Promise<Recording> {
  const extension = extensionOf(path);
  if (extension === "vhdr") return readBrainVision(path);
  if (extension === "edf" || extension === "bdf") return readEdf(await readBytes(path), path);
  const table = await readTable(path);
  const stated = table.rate ?? rate;
  ensure(
    stated !== undefined,
    "bad_option",
    `${path} does not say how many samples a second it has: give the reading a rate`,
  );
  ensure(
    table.rate === undefined || rate === undefined || table.rate === rate,
    "bad_option",
    `${path} has ${table.rate} samples a second, but its reading says ${rate}`,
  );
  const { rows, columns, data } = table.values;
  return {
    channels: table.names.map((name, k) => ({
      name,
      unit: "uV",
      rate: stated,
      samples: Float64Array.from({ length: rows }, (_, t) => data[t * columns + k]),
    })),
    annotations: [],
    remarks: table.remarks,
  };
}

/** Volts and millivolts by what the file says they are; anything else is taken for microvolts. */
function inMicrovolts(samples: Float64Array, unit: string): Float64Array {
  const factor = unit === "V" ? 1e6 : unit === "mV" ? 1e3 : unit === "nV" ? 1e-3 : 1;
  return factor === 1 ? samples : samples.map((v) => v * factor);
}

function reject(collected: Collected, what: string, why: string, { onRejected }: PrepareOptions): void {
  const kind = kindOf(why);
  collected.rejected[kind] = (collected.rejected[kind] ?? 0) + 1;
  onRejected?.(what, why);
}

function collect(
  collected: Collected,
  reading: Reading,
  channels: readonly Float64Array[],
  rate: number,
  dropLast: boolean,
  options: PrepareOptions,
): void {
  const {
    sentence: text,
    paraphrases = [],
    labels = {},
    subject = "unknown",
    task = "unknown",
    dataset = "unknown",
    file,
  } = reading;
  const prepared = prepareSentence({ channels, rate, dropLast }, options.shape);
  if ("rejected" in prepared) {
    reject(collected, `${file}: ${text.slice(0, 40)}`, prepared.rejected, options);
    return;
  }
  if (prepared.zeroed > 0) {
    const dead = `${prepared.zeroed} of ${channels.length} channels have no values and are taken as zero`;
    options.onRemark?.(`${file}: ${text.slice(0, 40)}`, dead);
  }
  const key = text.trim().toLowerCase();
  let sentence = collected.ids.get(key);
  if (sentence === undefined) {
    sentence = collected.sentences.length;
    collected.ids.set(key, sentence);
    collected.sentences.push({ id: `s${sentence + 1}`, text: text.trim(), paraphrases, labels });
  } else {
    const before = collected.sentences[sentence];
    const known = before.labels;
    for (const [question, label] of Object.entries(labels)) {
      ensure(
        known[question] === undefined || known[question] === label,
        "bad_file",
        `the sentence ${JSON.stringify(text.slice(0, 60))} is labelled both ${known[question]} and ${label} in ${question}`,
      );
    }
    collected.sentences[sentence] = {
      ...before,
      paraphrases: [...new Set([...before.paraphrases, ...paraphrases])],
      labels: { ...known, ...labels },
    };
  }
  collected.recordings.push({ sentence, task, dataset, subject, length: prepared.length });
  collected.signals.push(prepared.eeg);
}

function finish({ sentences, recordings, signals, rejected }: Collected, { shape, seed }: PrepareOptions): SentenceSet {
  const reasons = Object.entries(rejected).map(([why, count]) => `${count}: ${why}`);
  ensure(
    recordings.length > 0,
    "bad_option",
    `not one reading can be used (${reasons.join("; ") || "there are none"})`,
  );
  const size = shape.points * shape.channels;
  const eeg = new Float32Array(recordings.length * size);
  for (const [i, signal] of signals.entries()) eeg.set(signal, i * size);
  return { shape, sentences, recordings, eeg, splits: splitBySentence(recordings, sentences.length, seed), rejected };
}
