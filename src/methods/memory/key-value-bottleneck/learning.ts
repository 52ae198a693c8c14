/**
 * Learning on a stream (section 3): cross entropy with label smoothing, plain gradient steps on the fetched values alone. No momentum and no weight
 * decay: either would move values that were not fetched.
 */
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole, requireWithin } from "../../../numbers.ts";
import {
  type Bottleneck,
  type Features,
  fetchPairs,
  giveTurn,
  logitsOf,
  queriesInTurns,
  queriesOf,
  shuffled,
} from "./bottleneck.ts";

/** Features with the class of each row. */
export interface Labelled extends Features {
  readonly labels: Int32Array;
}

export interface LearnOptions {
  /** Passes over the stream. */
  readonly epochs: number;
  /** Samples of a step. */
  readonly batch: number;
  /** Pairs fetched in each codebook. Default 1. */
  readonly top?: number;
  /** Default 0.3, the published programs' own. */
  readonly learningRate?: number;
  /** Share of a label that is spread over all classes. Default 0.1. */
  readonly smoothing?: number;
  /** Largest Euclidean norm of a step's gradient. Default 1. */
  readonly clip?: number;
  /** Of the order of the samples. Default 0. */
  readonly seed?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told after each pass which share of them is done. Default: nobody is told. */
  readonly onProgress?: (share: number) => void;
}

/** Errors: `bad_option` for a stream without samples, or a label that the values have no place for. */
export function requireLabels({ count, labels }: Labelled, classes: number): void {
  ensure(count >= 1, "bad_option", "bottleneck: the stream is empty");
  ensure(labels.length === count, "bad_shape", `bottleneck: ${labels.length} labels for ${count} samples`);
  const wrong = labels.findIndex((label) => !(Number.isInteger(label) && label >= 0 && label < classes));
  ensure(
    wrong < 0,
    "bad_option",
    () =>
      `bottleneck: sample ${wrong} has the label ${labels[wrong]}, and there are ${classes} classes (0 to ${classes - 1})`,
  );
}

/**
 * Learns a part of a stream in batches of an order by the seed; counts the use of pairs. The event loop has its turn before each step. Errors:
 * `bad_option` for an empty stream, a label without a place or numbers out of their range; `aborted`, with what the steps until then have learned.
 */
export async function learn(bottleneck: Bottleneck, stream: Labelled, options: LearnOptions): Promise<void> {
  const { epochs, batch, top = 1, seed = 0, signal, onProgress } = options;
  const { codebooks, pairs, valueWidth, usage } = bottleneck;
  const { smoothing = 0.1, learningRate = 0.3, clip = 1 } = options;
  requireCounts({ epochs, batch });
  requireWhole({ seed }, 0);
  requireWithin({ smoothing }, 0, 1);
  requireWithin({ learningRate }, 0);
  requireWithin({ clip }, 0, Infinity);
  requireLabels(stream, valueWidth);
  // Keys and encoder stand still: what a sample fetches never changes.
  const row = codebooks * top;
  const fetched = new Int32Array(stream.count * row);
  const turn = () => giveTurn(signal, "learning the stream");
  await queriesInTurns(bottleneck, stream, turn, (queries, from) =>
    fetched.set(fetchPairs(bottleneck, queries, { top }), from * row),
  );
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(stream.count, seed, epoch);
    for (let at = 0; at < order.length; at += batch) {
      await turn();
      const chosen = order.subarray(at, at + batch);
      const some = new Int32Array(chosen.length * row);
      for (const [i, n] of chosen.entries()) {
        some.set(fetched.subarray(n * row, (n + 1) * row), i * row);
        for (let k = 0; k < row; k++) usage[Math.floor(k / top) * pairs + fetched[n * row + k]]++;
      }
      stepOn(
        bottleneck,
        some,
        Int32Array.from(chosen, (n) => stream.labels[n]),
        options,
      );
    }
    onProgress?.((epoch + 1) / epochs);
  }
}

/** One gradient step on the values that a batch fetched; returns the batch's mean loss before it. */
export function stepOn(
  bottleneck: Bottleneck,
  fetched: Int32Array,
  labels: Int32Array,
  options: Pick<LearnOptions, "top" | "learningRate" | "smoothing" | "clip"> & {
    /** Logits [labels, valueWidth] that the values are added to, of a model that stands still. */
    offsets?: Float32Array;
  },
): number {
  const { codebooks, pairs, valueWidth, values } = bottleneck;
  const { top = 1, learningRate = 0.3, smoothing = 0.1, clip = 1, offsets } = options;
  const logits = logitsOf(bottleneck, fetched, top);
  if (offsets) for (let i = 0; i < logits.length; i++) logits[i] += offsets[i];
  const { loss, slopes } = smoothedLoss(logits, labels, valueWidth, smoothing);
  const shares = slopes.map((slope) => slope / codebooks);
  const row = codebooks * top;
  // Gradients of the pairs that were fetched, a slot for each in the order in which they first are.
  const slots = new Int32Array(codebooks * pairs).fill(-1);
  const touched: number[] = [];
  const gradients = new Float64Array(Math.min(slots.length, labels.length * row) * valueWidth);
  for (let n = 0; n < labels.length; n++) {
    for (let k = 0; k < row; k++) {
      const pair = Math.floor(k / top) * pairs + fetched[n * row + k];
      if (slots[pair] < 0) slots[pair] = touched.push(pair) - 1;
      const at = slots[pair] * valueWidth;
      for (let v = 0; v < valueWidth; v++) gradients[at + v] += shares[n * valueWidth + v];
    }
  }
  let square = 0;
  for (let i = 0; i < touched.length * valueWidth; i++) square += gradients[i] * gradients[i];
  const norm = Math.sqrt(square);
  const rate = learningRate * (norm > clip ? clip / norm : 1);
  for (const [slot, pair] of touched.entries())
    for (let v = 0; v < valueWidth; v++) values[pair * valueWidth + v] -= rate * gradients[slot * valueWidth + v];
  return loss;
}

/** Mean cross entropy with smoothed labels, and its slope in every logit [count, classes]. */
export function smoothedLoss(
  logits: Float64Array,
  labels: Int32Array,
  classes: number,
  smoothing: number,
): { loss: number; slopes: Float64Array } {
  const count = labels.length;
  const slopes = new Float64Array(logits.length);
  let loss = 0;
  for (let n = 0; n < count; n++) {
    const from = n * classes;
    let highest = -Infinity;
    for (let v = 0; v < classes; v++) highest = Math.max(highest, logits[from + v]);
    let total = 0;
    for (let v = 0; v < classes; v++) total += slopes[from + v] = Math.exp(logits[from + v] - highest);
    for (let v = 0; v < classes; v++) {
      const target = smoothing / classes + (v === labels[n] ? 1 - smoothing : 0);
      loss -= (target * (logits[from + v] - highest - Math.log(total))) / count;
      slopes[from + v] = (slopes[from + v] / total - target) / count;
    }
  }
  return { loss, slopes };
}

/**
 * Logits [count, classes], by pairs that were used while learning alone unless `mask` is false. Where nothing was learned yet they are all zero. Use
 * is not counted.
 */
export function decide(
  bottleneck: Bottleneck,
  features: Features,
  {
    top = 1,
    mask = true,
  }: {
    /** Pairs of each codebook. Default: 1. */
    top?: number;
    /** Only those used while learning. Default: true. */
    mask?: boolean;
  } = {},
): Float64Array {
  return logitsOf(bottleneck, fetchPairs(bottleneck, queriesOf(bottleneck, features), { top, used: mask }), top);
}

/** The largest logit's class in each row; -1 where all are equal, and nothing was decided. */
export function classesOf(logits: Float64Array, classes: number): Int32Array {
  return Int32Array.from({ length: logits.length / classes }, (_, n) => {
    const row = logits.subarray(n * classes, (n + 1) * classes);
    const best = row.indexOf(row.reduce((a, b) => Math.max(a, b), -Infinity));
    return row.every((x) => x === row[0]) ? -1 : best;
  });
}

/** Share of rows whose class is right. Errors: `bad_shape` for other rows, or none. */
export function accuracy(predicted: Int32Array, { labels }: Pick<Labelled, "labels">): number {
  ensure(
    labels.length > 0 && predicted.length === labels.length,
    "bad_shape",
    `bottleneck: ${predicted.length} classes for ${labels.length} labels: give as many, one at least`,
  );
  let right = 0;
  for (const [n, label] of labels.entries()) if (predicted[n] === label) right++;
  return right / labels.length;
}

/** The rows of some classes, in their order. */
export function ofClasses(data: Labelled, classes: readonly number[]): Labelled {
  return rowsOf(
    data,
    Array.from(data.labels.keys()).filter((n) => classes.includes(data.labels[n])),
  );
}

/** Those rows, in that order. Errors: `bad_shape` for one that is not there. */
export function rowsOf({ count, width, values, labels }: Labelled, rows: readonly number[]): Labelled {
  const lost = rows.find((row) => !(Number.isInteger(row) && row >= 0 && row < count));
  ensure(lost === undefined, "bad_shape", `bottleneck: there is no row ${lost} among ${count}`);
  const chosen = new Float32Array(rows.length * width);
  for (const [i, n] of rows.entries()) chosen.set(values.subarray(n * width, (n + 1) * width), i * width);
  return { count: rows.length, width, values: chosen, labels: Int32Array.from(rows, (n) => labels[n]) };
}
