/**
 * Training the filter: binary cross entropy on all records at once, with AdamW (the paper's recipe). Of the steps on the way the one is kept that
 * the records set apart for validation like best: a few hundred records are learned by heart long before the last step. The model is not touched.
 */

import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { PartTensor } from "../../../models/parts.ts";
import {
  add,
  input,
  linear,
  multiply,
  parameter,
  reduceMean,
  relu,
  softplus,
  subtract,
} from "../../../tensor/index.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import { train } from "../../../training/loop.ts";
import type { Parameter } from "../../../training/objective.ts";
import { constant } from "../../../training/schedule.ts";
import { createFilter, type Depth, type Filter, filterShapes } from "./filter.ts";
import type { FilterRecords } from "./records.ts";

export interface TrainFilterOptions {
  readonly depth: Depth;
  /** Steps over all records; published: 40000. */
  readonly steps: number;
  readonly learningRate?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: number, loss: number) => void;
}

/** On records that were not trained on, at a probability of 0.9. */
export interface FilterScores {
  readonly records: number;
  readonly loss: number;
  /** Of the accepted, the share that was wrong; of the rejected, the share that was right. */
  readonly falsePositives: number;
  readonly falseNegatives: number;
}

export interface TrainedFilter {
  readonly filter: Filter;
  readonly tensors: ReadonlyMap<string, PartTensor>;
  /** The step that was kept. */
  readonly step: number;
  readonly validation: FilterScores;
  readonly test: FilterScores;
}

/** Eight tenths of the records are trained on; a tenth each validates and tests. Errors: `bad_option` for fewer than ten records. */
export async function trainFilter(records: FilterRecords, options: TrainFilterOptions): Promise<TrainedFilter> {
  const { depth, steps, learningRate = 3e-3, seed = 0, threads, signal, onProgress } = options;
  const { blockLength } = records;
  const count = records.confidences.length / blockLength;
  ensure(count >= 10, "bad_option", `training a filter needs ten records or more, not ${count}`);
  const order = Array.from({ length: count }, (_, i) => i);
  const draw = (i: number): number => uniform({ seed, request: 0 }, i, "data");
  order.sort((a, b) => draw(a) - draw(b) || a - b);
  const [first, second] = [Math.floor(0.8 * count), Math.floor(0.9 * count)];
  const part = (indices: readonly number[]) => ({
    confidences: joined(indices.map((i) => records.confidences.subarray(i * blockLength, (i + 1) * blockLength))),
    labels: joined(
      indices.map((i) => Float32Array.from(records.labels.subarray(i * blockLength, (i + 1) * blockLength))),
    ),
    rows: indices.length,
  });
  const trained = part(order.slice(0, first));
  const validated = part(order.slice(first, second));

  const parameters = initial(depth, blockLength, seed);
  const named = (name: string) => parameter(name, parameters.find((p) => p.name === name)!.shape);
  let value = input("confidences", [trained.rows, blockLength]);
  const layers = parameters.length / 2;
  for (let layer = 0; layer < layers; layer++) {
    const [weight, bias] = [named(`${layer}.weight`), named(`${layer}.bias`)];
    value = depth === "positions" ? add(multiply(value, weight), bias) : linear(value, weight, bias);
    if (layer < layers - 1) value = relu(value);
  }
  const wanted = input("labels", [trained.rows, blockLength]);
  const objective = await graphObjective({
    loss: reduceMean(subtract(softplus(value), multiply(value, wanted))),
    trained: parameters,
    fixed: new Map(),
    feeds: () => ({
      confidences: { data: trained.confidences, dims: [trained.rows, blockLength] },
      labels: { data: trained.labels, dims: [trained.rows, blockLength] },
    }),
    threads,
  });
  const looks = Math.max(1, Math.floor(steps / 200));
  let best: { step: number; tensors: Map<string, PartTensor>; filter: Filter; scores: FilterScores } | undefined;
  const look = (step: number): void => {
    if (step % looks !== 0 && step !== steps) return;
    const tensors = new Map(parameters.map(({ name, shape, values }) => [name, { shape, values: values.slice() }]));
    const filter = createFilter(depth, blockLength, tensors, "the trained filter");
    const scores = scoresOf(filter, validated);
    if (!best || scores.loss < best.scores.loss) best = { step, tensors, filter, scores };
  };
  try {
    const { reason } = await train<object>({
      objective,
      batches: () => ({}),
      countTokens: () => trained.rows,
      steps,
      schedule: constant({ peak: learningRate }),
      seed,
      onProgress: ({ step, loss }) => onProgress?.(step, loss),
      afterStep: look,
      signal,
    });
    ensure(reason !== "aborted", "aborted", "training the filter was aborted");
  } finally {
    await objective.release();
  }
  const { scores: validation, ...kept } = best!;
  return { ...kept, validation, test: scoresOf(kept.filter, part(order.slice(second))) };
}

/** Uniform within 1 / sqrt(inputs), as layers of this kind are begun. */
function initial(depth: Depth, blockLength: number, seed: number): Parameter[] {
  const bound = 1 / Math.sqrt(depth === "positions" ? 1 : blockLength);
  return [...filterShapes(depth, blockLength)].map(([name, shape], request) => ({
    name,
    shape,
    values: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => {
      return bound * (2 * uniform({ seed, request }, i, "initialise") - 1);
    }),
    decay: true,
  }));
}

function scoresOf(
  filter: Filter,
  { confidences, labels, rows }: { confidences: Float32Array; labels: Float32Array; rows: number },
): FilterScores {
  const size = filter.blockLength;
  const bar = Math.log(0.9 / 0.1);
  let loss = 0;
  const counts = { accepted: 0, wrong: 0, rejected: 0, right: 0 };
  for (let row = 0; row < rows; row++) {
    const logits = filter.logits(confidences.subarray(row * size, (row + 1) * size));
    logits.forEach((z, i) => {
      const label = labels[row * size + i];
      loss += Math.max(z, 0) - z * label + Math.log1p(Math.exp(-Math.abs(z)));
      if (z > bar) {
        counts.accepted++;
        if (label === 0) counts.wrong++;
      } else {
        counts.rejected++;
        if (label === 1) counts.right++;
      }
    });
  }
  const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
  return {
    records: rows,
    loss: share(loss, rows * size),
    falsePositives: share(counts.wrong, counts.accepted),
    falseNegatives: share(counts.right, counts.rejected),
  };
}

function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const result = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
