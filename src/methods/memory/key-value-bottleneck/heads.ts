/** What is tuned on features without a bottleneck: a linear head and a small network, nearest class mean, nearest neighbours. */

import { normal } from "../../../engine/random.ts";
import { requireCounts, requireWithin } from "../../../numbers.ts";
import { exactSearch } from "../search.ts";
import { type Features, shuffled } from "./bottleneck.ts";
import { type Labelled, requireLabels, smoothedLoss } from "./learning.ts";

export interface HeadOptions {
  /** Classes to decide between. */
  readonly classes: number;
  /** Units of a hidden layer; 0: a linear head. Default 0. */
  readonly hidden?: number;
  /** Whether a number is added to each class and unit. Default true. */
  readonly bias?: boolean;
  /** Share of the weights that each step takes off, times the learning rate. Default 0. */
  readonly weightDecay?: number;
  /** Of the first weights of a hidden layer. Default 0. */
  readonly seed?: number;
}

export interface HeadTraining {
  /** Passes over the stream. */
  readonly epochs: number;
  /** Samples of a step. */
  readonly batch: number;
  /** Of plain gradient steps. */
  readonly learningRate: number;
  /** Of the order of the samples. Default 0. */
  readonly seed?: number;
  /** Share of a label that is spread over all classes. Default 0.1. */
  readonly smoothing?: number;
}

interface Layer {
  readonly from: number;
  readonly to: number;
  readonly weight: Float64Array;
  readonly bias: Float64Array | undefined;
}

export interface Head {
  /** Plain stochastic gradient steps over a part of a stream. */
  learn(stream: Labelled, training: HeadTraining): void;
  /** Logits [count, classes]. */
  decide(features: Features): Float64Array;
}

/** Errors: `bad_option` for numbers out of their range. */
export function createHead(
  width: number,
  { classes, hidden = 0, bias = true, weightDecay = 0, seed = 0 }: HeadOptions,
): Head {
  requireCounts({ width, classes, ...(hidden !== 0 && { hidden }) });
  requireWithin({ weightDecay }, 0);
  const sizes = hidden > 0 ? [width, hidden, classes] : [width, classes];
  const layers: Layer[] = sizes.slice(1).map((to, l) => {
    const from = sizes[l];
    const scale = hidden > 0 ? Math.sqrt(2 / from) : 0; // a linear head begins at zero
    const weight = Float64Array.from(
      { length: from * to },
      (_, i) => scale * normal({ seed, request: l }, i, "initialise"),
    );
    return { from, to, weight, bias: bias ? new Float64Array(to) : undefined };
  });

  function forward({ count, values }: Features): Float64Array[] {
    const activations = [Float64Array.from(values)];
    for (const [l, { from, to, weight, bias: shift }] of layers.entries()) {
      const x = activations[l];
      const y = new Float64Array(count * to);
      for (let n = 0; n < count; n++) {
        for (let o = 0; o < to; o++) {
          let sum = shift ? shift[o] : 0;
          for (let i = 0; i < from; i++) sum += weight[o * from + i] * x[n * from + i];
          y[n * to + o] = l < layers.length - 1 ? Math.max(0, sum) : sum;
        }
      }
      activations.push(y);
    }
    return activations;
  }

  function step(batch: Labelled, rate: number, smoothing: number): void {
    const activations = forward(batch);
    let { slopes } = smoothedLoss(activations[layers.length], batch.labels, classes, smoothing);
    for (let l = layers.length - 1; l >= 0; l--) {
      const { from, to, weight, bias: shift } = layers[l];
      const x = activations[l];
      const back = new Float64Array(batch.count * from);
      const gradient = new Float64Array(weight.length);
      for (let n = 0; n < batch.count; n++) {
        for (let o = 0; o < to; o++) {
          const slope = slopes[n * to + o];
          if (slope === 0) continue;
          for (let i = 0; i < from; i++) {
            gradient[o * from + i] += slope * x[n * from + i];
            back[n * from + i] += slope * weight[o * from + i];
          }
          if (shift) shift[o] -= rate * slope;
        }
      }
      for (let i = 0; i < weight.length; i++) weight[i] -= rate * (gradient[i] + weightDecay * weight[i]);
      slopes = back.map((value, i) => (x[i] > 0 ? value : 0));
    }
  }

  return {
    learn(stream, { epochs, batch, learningRate, seed: order = 0, smoothing = 0.1 }) {
      requireLabels(stream, classes);
      for (let epoch = 0; epoch < epochs; epoch++) {
        const rows = shuffled(stream.count, order, epoch);
        for (let at = 0; at < rows.length; at += batch) {
          const chosen = rows.subarray(at, at + batch);
          const values = new Float32Array(chosen.length * width);
          for (const [i, n] of chosen.entries())
            values.set(stream.values.subarray(n * width, (n + 1) * width), i * width);
          step(
            { count: chosen.length, width, values, labels: Int32Array.from(chosen, (n) => stream.labels[n]) },
            learningRate,
            smoothing,
          );
        }
      }
    },
    decide: (features) => forward(features)[layers.length],
  };
}

/** The class whose features' mean is nearest; classes without samples are never chosen. */
export function nearestMean(data: Labelled, { count, width, values }: Features, classes: number): Int32Array {
  requireLabels(data, classes);
  const means = new Float64Array(classes * width);
  const sizes = new Int32Array(classes);
  for (const [n, label] of data.labels.entries()) {
    sizes[label]++;
    for (let j = 0; j < width; j++) means[label * width + j] += data.values[n * width + j];
  }
  return Int32Array.from({ length: count }, (_, n) => {
    let [best, nearest] = [Infinity, -1];
    for (let label = 0; label < classes; label++) {
      if (sizes[label] === 0) continue;
      let distance = 0;
      for (let j = 0; j < width; j++)
        distance += (values[n * width + j] - means[label * width + j] / sizes[label]) ** 2;
      if (distance < best) [best, nearest] = [distance, label];
    }
    return nearest;
  });
}

/** The class that most of the k nearest samples have; of equals the one whose nearest sample is nearer. */
export async function nearestNeighbours(
  data: Labelled,
  features: Features,
  k: number,
  threads?: number,
): Promise<Int32Array> {
  const { count: entries, width, values: keys, labels } = data;
  const norms = new Float32Array(entries);
  for (let i = 0; i < keys.length; i++) norms[Math.floor(i / width)] += keys[i] * keys[i];
  const search = await exactSearch({ entries, width, keys, norms }, { threads });
  const hits = await search.find(features.values, k).finally(() => search.close());
  return Int32Array.from(hits, ({ indices }) => {
    const votes = new Map<number, number>();
    for (const entry of indices) votes.set(labels[entry], (votes.get(labels[entry]) ?? 0) + 1);
    return [...votes].sort(([, a], [, b]) => b - a)[0][0];
  });
}
