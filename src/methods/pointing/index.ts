/** Pointer networks: trained on solved examples of a task, kept in one file, pointing at any number of points. */
import { ensure, shown } from "../../errors.ts";
import { requireCounts, requirePositive, requireWhole } from "../../numbers.ts";
import { type TrainOptions, type TrainResult, train } from "../../training/loop.ts";
import { constant, cosine } from "../../training/schedule.ts";
import { mostPoints } from "./answering.ts";
import { mostExact } from "./held-karp.ts";
import type { PointingModel } from "./model.ts";
import { createNetwork, initialWeights, type NetworkShape, type Start } from "./network.ts";
import { type TaskName, tasks } from "./tasks.ts";
import { drawBatch, pointingObjective } from "./training.ts";

export { type Pointed, type PointOptions, point } from "./answering.ts";
export { pointingEvents } from "./events.ts";
export * from "./geometry.ts";
export { heldKarp, mostExact } from "./held-karp.ts";
export { openPointing, type PointingModel, pointingFormat, savePointing, shippedNetwork } from "./model.ts";
export {
  type Answered,
  type Encoded,
  type Network,
  type NetworkShape,
  pointerLogits,
  type Start,
  type State,
  starts,
  type Weight,
} from "./network.ts";
export { overlappingTriangles } from "./overlaps.ts";
export { drawPointing } from "./picture.ts";
export { type OwnRule, type RuleName, type RuleState, rules } from "./rules.ts";
export type { Answer } from "./search.ts";
export { drawPoints, type PointingTask, readLine, type Score, type TaskName, tasks, trianglesOf } from "./tasks.ts";
export * from "./tours.ts";
export { type Instance, readTsplib } from "./tsplib.ts";

const mostRows = 65_536;

/** What weights are changed by. */
export const optimisers = ["adamw", "sgd"] as const;

/** What is trained on which sizes, and for how long. */
export interface PointingTraining {
  /** What is to be learnt: the convex hull, the triangulation of Delaunay, or a short tour. */
  readonly task: TaskName;
  /** Smallest and largest number of points; batches go through all of them. */
  readonly sizes: readonly [low: number, high: number];
  /** Steps of the optimiser, a batch each. */
  readonly steps: number;
  /** The paper's network, or one of those that it is compared with, which have a fixed number of places. Default "pointer". */
  readonly kind?: NetworkShape["kind"];
  /** Default "wide". */
  readonly start?: Start;
  /** Default 128 (the paper: 256 or 512). */
  readonly hidden?: number;
  /** Examples in a batch. Default 128, as the paper has it. */
  readonly rows?: number;
  /** "adamw" (without decay), or "sgd": the paper's stochastic gradient descent. Default "adamw". */
  readonly optimiser?: (typeof optimisers)[number];
  /** Learning rate: of AdamW the peak, from which a cosine goes to a hundredth; of `sgd` that of every step. Default 0.002; of `sgd` 1, as the paper has it. */
  readonly rate?: number;
  /** Largest gradient norm. Default 2, as the paper has it. */
  readonly clip?: number;
  /** Of the first weights and of the examples. Default 0. */
  readonly seed?: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
  /** Keeps checkpoints there, and goes on from one. Default: none are kept. */
  readonly folder?: string;
  /** Stops after the batch under way; the steps done are kept. Default: nothing stops it. */
  readonly signal?: AbortSignal;
  /** Told after each step how far the training is. Default: nobody is told. */
  readonly onProgress?: TrainOptions["onProgress"];
}

/**
 * Trains on generated examples with exact answers. The paper uses stochastic gradient descent with rate 1 on a million examples, and
 * begins with small weights (`start`: "paper"); AdamW reaches the same in far fewer steps. Errors: as `train`;
 * `bad_option` for sizes that the task has not or that are beyond 2000, and numbers of units, of rows or a rate that there cannot be.
 */
export async function trainPointing(options: PointingTraining): Promise<PointingModel & { result: TrainResult }> {
  const {
    task: name,
    sizes,
    steps,
    kind = "pointer",
    start = "wide",
    hidden = 128,
    rows = 128,
    optimiser = "adamw",
    rate = optimiser === "sgd" ? 1 : 0.002,
    clip = 2,
    seed = 0,
  } = options;
  const task = tasks[name];
  ensure(optimisers.includes(optimiser), "bad_option", () => {
    return `optimiser must be ${optimisers.map((one) => `"${one}"`).join(" or ")}, not ${shown(optimiser)}`;
  });
  const isPlain = optimiser === "sgd";
  ensure(
    Number.isInteger(sizes[0]) &&
      Number.isInteger(sizes[1]) &&
      sizes[0] >= Math.max(task.least, 1) &&
      sizes[1] >= sizes[0],
    "bad_option",
    `sizes are ${sizes[0]} to ${sizes[1]}; a ${name} has at least ${task.least} points, and the first is the smaller`,
  );
  requireWhole({ hidden }, 1, 4096);
  requireWhole({ "the larger size": sizes[1] }, sizes[0], mostPoints);
  requireCounts({ steps });
  requireWhole({ rows }, 1, mostRows);
  requireWhole({ seed }, 0);
  requirePositive({ rate });
  ensure(
    name !== "tour" || sizes[1] <= mostExact,
    "bad_option",
    `exact tours are known for up to ${mostExact} points, not ${sizes[1]}`,
  );
  ensure(
    kind === "pointer" || name !== "delaunay",
    "bad_option",
    `the task delaunay is taught to pointer networks only, not ${kind}`,
  );
  const shape: NetworkShape = { kind, hidden, ...(kind !== "pointer" && { largest: sizes[1] }) };
  const weights = initialWeights(shape, seed, start);
  const objective = await pointingObjective(shape, task, weights, { rows, threads: options.threads });
  try {
    const result = await train({
      objective,
      batches: (index) => drawBatch(task, sizes, rows, seed, index),
      steps,
      schedule: isPlain
        ? constant({ peak: rate })
        : cosine({ peak: rate, warmup: Math.min(100, Math.ceil(steps / 10)), steps, final: rate / 100 }),
      optimiser: isPlain ? "sgd" : { weightDecay: 0 },
      clip,
      seed,
      config: { task: name, sizes, shape, rows, start },
      basis: () => ({ task: name, sizes, ...shape, rows, start, rate, clip, ...(isPlain && { optimiser }) }),
      countTokens: () => rows,
      ...(options.folder !== undefined && { checkpointFolder: options.folder }),
      ...(options.signal && { signal: options.signal }),
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
    const network = createNetwork(shape, weights);
    return { task: name, network, weights, trained: { sizes, steps: result.step, seed }, result };
  } finally {
    await objective.release();
  }
}
