/** Pointer networks: trained on solved examples of a task, kept in one file, pointing at any number of points. */
import { z } from "zod";
import { parseOptions } from "../../engine/shapers/options.ts";
import { ensure } from "../../errors.ts";
import { within } from "../../files.ts";
import { checkJson, parseJsonObject } from "../../json.ts";
import { requireCounts, requirePositive, requireWhole } from "../../numbers.ts";
import { modelsFolder } from "../../shipped.ts";
import { type TrainOptions, type TrainResult, train } from "../../training/loop.ts";
import { cosine } from "../../training/schedule.ts";
import { openSafetensors, writeSafetensors } from "../../weights/safetensors.ts";
import { normalise, type Point, requirePoints } from "./geometry.ts";
import {
  createNetwork,
  initialWeights,
  type Network,
  type NetworkShape,
  type Start,
  type Weight,
  weightShapes,
} from "./network.ts";
import { type RuleName, rules } from "./rules.ts";
import { type Answer, mostBeams, pointAt } from "./search.ts";
import { type TaskName, tasks } from "./tasks.ts";
import { drawBatch, pointingObjective } from "./training.ts";

export { pointingEvents } from "./events.ts";
export * from "./geometry.ts";
export {
  type Answered,
  type Encoded,
  type Network,
  type NetworkShape,
  type Start,
  type State,
  starts,
  type Weight,
} from "./network.ts";
export { drawPointing } from "./picture.ts";
export { type RuleName, type RuleState, rules } from "./rules.ts";
export type { Answer } from "./search.ts";
export { drawPoints, type PointingTask, readLine, type Score, type TaskName, tasks } from "./tasks.ts";
export * from "./tours.ts";
export { type Instance, readTsplib } from "./tsplib.ts";

/** A pointer network with the task it was trained for. */
export interface PointingModel {
  readonly task: TaskName;
  readonly network: Network;
  /** Sizes it was trained on, and steps. */
  readonly trained: {
    readonly sizes: readonly [low: number, high: number];
    readonly steps: number;
    readonly seed: number;
  };
  readonly weights: ReadonlyMap<string, Weight>;
}

/** How an answer is searched. */
export interface PointOptions {
  /** Hypotheses kept; default: the task's own. */
  beams?: number;
  /** What answers are held to; default: the task's own. `none` lets the network answer as it likes. */
  rule?: RuleName;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** The network's answer for a set of points. */
export interface Pointed extends Answer {
  /** True when the points lay outside the unit square and were moved and scaled into it. */
  readonly normalised: boolean;
  /** Further answers of the beam, best first. */
  readonly others: readonly Answer[];
}

const pointOptions = z.strictObject({
  beams: z.int().min(1).max(mostBeams).optional(),
  rule: z.enum(Object.keys(rules) as RuleName[]).optional(),
  signal: z.instanceof(AbortSignal, { error: "must be an AbortSignal" }).optional(),
});

const mostPoints = 2000;
const mostRows = 65_536;

/**
 * The network's answer: indices of the points. Errors: `bad_option` for too few points (3; a tour: 1), more than 2000, and coordinates
 * that are no numbers; `constraint_dead_end`; `aborted`.
 */
export function point(
  { task: name, network }: PointingModel,
  points: readonly Point[],
  options: PointOptions = {},
): Pointed {
  const task = tasks[name];
  const { beams = task.beams, rule = task.rule, signal } = parseOptions(pointOptions, options, "point");
  requirePoints(points, task.least, mostPoints);
  const { points: inside, changed } = normalise(points);
  const [best, ...others] = pointAt(network, inside, { beams, rule, signal });
  return { ...best, others, normalised: changed };
}

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
  /** Peak of the learning rate (AdamW without decay, cosine to a hundredth). Default 0.002. */
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
 * Trains on generated examples with exact answers. The paper uses stochastic gradient descent with rate 1 on a million examples;
 * AdamW reaches the same in far fewer steps and is what there is here. Errors: as `train`;
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
    rate = 0.002,
    clip = 2,
    seed = 0,
  } = options;
  const task = tasks[name];
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
  ensure(name !== "tour" || sizes[1] <= 16, "bad_option", `exact tours are known for up to 16 points, not ${sizes[1]}`);
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
      schedule: cosine({ peak: rate, warmup: Math.min(100, Math.ceil(steps / 10)), steps, final: rate / 100 }),
      optimiser: { weightDecay: 0 },
      clip,
      seed,
      config: { task: name, sizes, shape, rows, start },
      basis: () => ({ task: name, sizes, ...shape, rows, start, rate, clip }),
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

export const pointingFormat = "ventris pointing 1";

/** Writes one safetensors file, halves; its metadata say what it is. Errors: `disk_full`, `unavailable`. */
export async function savePointing(path: string, { task, network, weights, trained }: PointingModel): Promise<void> {
  const tensors = Array.from(weights.values(), ({ name, shape, values }) => ({
    name,
    type: "F16" as const,
    shape,
    data: values,
  }));
  await writeSafetensors(path, tensors, {
    format: pointingFormat,
    card: JSON.stringify({ task, shape: network.shape, trained }),
  });
}

/** The file of the network that ships for a task. */
export const shippedNetwork = (task: TaskName): string => within(modelsFolder(), "pointing", `${task}.safetensors`);

/** Errors: `unavailable`; `bad_file` for a file that is no pointing network, is damaged, or has weights of another shape or not finite. */
export async function openPointing(path: string): Promise<PointingModel> {
  const source = await openSafetensors(path);
  try {
    ensure(source.metadata?.format === pointingFormat, "bad_file", `${path} is no pointing network of ours`);
    const card = parseJsonObject(source.metadata.card ?? "", `${path}: its card`);
    const { task, shape, trained } = checkJson(cardSchema, card, `${path}: its card`);
    const weights = new Map<string, Weight>();
    for (const [name, dimensions] of weightShapes(shape)) {
      const stored = source.tensors.get(name);
      ensure(stored, "bad_file", `${path} has no tensor ${name}`);
      ensure(
        String(stored.shape) === String(dimensions),
        "bad_file",
        `${path}: ${name} is [${stored.shape}], expected [${dimensions}]`,
      );
      const values = await source.readFloat32(name);
      weights.set(name, { name, shape: dimensions, values });
    }
    const extra = [...source.tensors.keys()].find((name) => !weights.has(name));
    ensure(extra === undefined, "bad_file", `${path}: the tensor ${extra} has no place in a ${shape.kind} network`);
    return { task, network: createNetwork(shape, weights), weights, trained };
  } finally {
    await source.close();
  }
}

const width = z.int().min(1).max(4096);
const cardSchema = z.object({
  task: z.enum(Object.keys(tasks) as TaskName[]),
  shape: z.strictObject({ kind: z.enum(["pointer", "attention", "plain"]), hidden: width, largest: width.optional() }),
  trained: z.object({
    sizes: z.tuple([width, width]).readonly(),
    steps: z.int().min(0),
    seed: z.int(),
  }),
});
