/**
 * Retriever imitation (section 3): L = α KL(p_kNN || p_MLP) + (1 - α) CE(next token), the mean over positions. The base is frozen: its states at the
 * datastore's entries are what is trained on. Both terms are one cross entropy with the target α p_kNN + (1 - α) [next token], less the teacher's own
 * entropy, which is a constant.
 */
import { permutation } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { memoryBytes } from "../../../machine.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { add, input, logSoftmax, multiply, negate, reduceMean, reduceSum } from "../../../tensor/index.ts";
import { digestOf } from "../../../training/digest.ts";
import { type GraphObjective, graphObjective } from "../../../training/graph-objective.ts";
import { type TrainProgress, train } from "../../../training/loop.ts";
import type { Parameter } from "../../../training/objective.ts";
import { linear } from "../../../training/schedule.ts";
import { beginMemory, type MemoryShape, memoryLogits } from "./network.ts";
import type { Teacher } from "./teacher.ts";

/** States [entries, width] with what follows each, and what the search says of it. */
export interface Lessons {
  readonly states: Float32Array;
  readonly width: number;
  readonly values: Int32Array;
  readonly teacher: Teacher;
}

export interface LessonBatch {
  /** Entries. */
  readonly entries: Int32Array;
}

export interface MemoryTrainingOptions {
  readonly shape: MemoryShape;
  /** Share of the imitation; the paper's best is 0.4. */
  readonly alpha: number;
  readonly steps: number;
  /** Entries of a step. */
  readonly rows: number;
  readonly learningRate: number;
  readonly warmup: number;
  readonly seed: number;
  /** Where checkpoints are kept. */
  readonly folder?: string;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
}

/** The loss of one batch size over given lessons. Errors: `out_of_memory` for more rows than the machine can hold. */
export function imitation(
  { states, width, values, teacher }: Lessons,
  parameters: readonly Parameter[],
  { shape, alpha, rows, threads }: Pick<MemoryTrainingOptions, "shape" | "alpha" | "rows" | "threads">,
): Promise<GraphObjective<LessonBatch>> {
  const { vocabularySize } = shape;
  // Targets, logits, their logarithmic softmax and its slope.
  const bytes = 4 * 4 * rows * vocabularySize;
  ensure(bytes <= memoryBytes(), "out_of_memory", () => {
    return `rows: a step of ${rows} entries over ${vocabularySize} tokens takes ${Math.ceil(bytes / 2 ** 20)} MiB, more than the machine has; give fewer`;
  });
  const logits = memoryLogits(input("states", [rows, width]), shape, parameterMaker());
  const targets = input("targets", [rows, vocabularySize]);
  const cross = negate(reduceMean(reduceSum(multiply(targets, logSoftmax(logits)), -1)));
  const dense = new Float32Array(rows * vocabularySize);
  const inputs = new Float32Array(rows * width);
  return graphObjective<LessonBatch>({
    loss: add(cross, reduceSum(input("entropy", [1]), 0)),
    trained: parameters,
    fixed: new Map(),
    threads,
    feeds({ entries }) {
      ensure(entries.length === rows, "bad_shape", `a batch must hold ${rows} entries, not ${entries.length}`);
      dense.fill(0);
      let negative = 0; // Σ p ln p
      for (let row = 0; row < rows; row++) {
        const entry = entries[row];
        inputs.set(states.subarray(entry * width, (entry + 1) * width), row * width);
        for (let at = teacher.offsets[entry]; at < teacher.offsets[entry + 1]; at++) {
          const p = teacher.probabilities[at];
          dense[row * vocabularySize + teacher.tokens[at]] += alpha * p;
          if (p > 0) negative += p * Math.log(p);
        }
        dense[row * vocabularySize + values[entry]] += 1 - alpha;
      }
      return {
        states: { data: inputs, dims: [rows, width] },
        targets: { data: dense, dims: [rows, vocabularySize] },
        entropy: { data: Float32Array.of((alpha * negative) / rows), dims: [1] },
      };
    },
  });
}

export interface TrainedMemory {
  readonly parameters: readonly Parameter[];
  readonly steps: number;
  /** Of the last steps, smoothed. */
  readonly loss: number;
}

/**
 * Every entry once in each pass, in an order of its own: entries drawn each by itself would be seen some never and some often, and a memory takes
 * more steps so.
 */
export function inPasses(entries: number, seed: number): (place: number) => number {
  let [pass, order]: [number, number[]] = [-1, []];
  return (place) => {
    const wanted = Math.floor(place / entries);
    if (wanted !== pass) [pass, order] = [wanted, permutation(entries, { seed, request: wanted })];
    return order[place % entries];
  };
}

/** Trains a memory, from its checkpoint where there is one. Errors: `aborted`, with the checkpoint kept; those of training. */
export async function trainMemory(lessons: Lessons, options: MemoryTrainingOptions): Promise<TrainedMemory> {
  const { shape, steps, rows, learningRate, warmup, seed, folder, signal, onProgress } = options;
  const entries = lessons.values.length;
  const parameters = beginMemory(shape, seed);
  const objective = await imitation(lessons, parameters, options);
  const entryAt = inPasses(entries, seed);
  try {
    const { reason, step, history } = await train<LessonBatch>({
      objective,
      batches: (index) => ({
        entries: Int32Array.from({ length: rows }, (_, row) => entryAt(index * rows + row)),
      }),
      countTokens: () => rows,
      steps,
      schedule: linear({ peak: learningRate, warmup: Math.min(warmup, Math.floor(steps / 4)), steps }),
      optimiser: { weightDecay: 0 },
      clip: 1,
      seed,
      basis: async () => {
        const { states, values, teacher } = lessons;
        const digest = await digestOf(states, values, teacher.tokens, teacher.probabilities);
        return { shape, alpha: options.alpha, rows, learningRate, warmup, lessons: digest };
      },
      checkpointFolder: folder,
      signal,
      onProgress,
    });
    ensure(reason !== "aborted", "aborted", () => {
      return `training was interrupted at step ${step} of ${steps}${folder ? ", which is kept: the same call goes on" : ""}`;
    });
    return { parameters, steps: step, loss: history.at(-1)?.smoothedLoss ?? Number.NaN };
  } finally {
    await objective.release();
  }
}
