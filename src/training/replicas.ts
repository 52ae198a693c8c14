/**
 * Data-parallel training on one machine: each thread has a replica of the model and takes its share of a batch's rows, so that
 * threads meet once a step and not in every operator. The result is that of one model on the whole batch, to rounding.
 */
import { familyNamed } from "../models/families.ts";
import type { ModelConfig } from "../models/family.ts";
import { defaultThreads } from "../runtime/program.ts";
import { serveThread, startThread, type Thread, type Threaded } from "../runtime/thread.ts";
import { maskedDiffusionObjective } from "./masked-diffusion.ts";
import { type LanguageModelObjective, type NextTokenOptions, nextTokenObjective } from "./next-token.ts";
import type { Objective, TokenBatch } from "./objective.ts";

/** What a replica is made of; all of it can be cloned into its thread. */
export interface ReplicaOptions {
  readonly config: ModelConfig;
  readonly values: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly options: NextTokenOptions;
  /** All parameters, one after another, as the main thread writes them before every call; and the replica's gradients. */
  readonly parameters: Float32Array<SharedArrayBuffer>;
  readonly gradients: Float32Array<SharedArrayBuffer>;
}

export interface Replica<Batch = TokenBatch> extends Threaded {
  /** Loss; the gradients stand in the shared array. */
  gradients(batch: Batch): Promise<number>;
  loss(batch: Batch): Promise<number>;
}

/** What further replicas may take in all. */
const replicaBytes = 2 ** 30;

/** What a model of this kind is trained on. */
const objectiveOf = ({ diffusion }: ModelConfig) => (diffusion ? maskedDiffusionObjective : nextTokenObjective);

/** `nextTokenObjective`, or `maskedDiffusionObjective` of a diffusion model, with the batch's rows shared out evenly to as many threads as divide them. */
export async function replicatedObjective(
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  options: NextTokenOptions,
): Promise<LanguageModelObjective> {
  const { rows, threads = defaultThreads() } = options;
  const family = familyNamed(config.architecture);
  const numbers = family.parameters(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  // Weights, gradients and their way to the main thread: large models share one copy, and threads meet in every operator.
  const affordable = 1 + Math.floor(replicaBytes / (12 * numbers));
  let count = Math.min(threads, rows, affordable);
  while (rows % count !== 0) count--;
  const share = { ...options, rows: rows / count, threads: Math.floor(threads / count) };
  const own = await objectiveOf(config)(family, config, values, share);
  if (count === 1) return own;
  return replicated(own, {
    count,
    split: (batch) => rowsOf(batch, count),
    start(shared) {
      const data: ReplicaOptions = { config, values, options: share, ...shared };
      return startThread<Replica>({ name: "replica-thread", from: import.meta.url, what: "a training thread" }, data);
    },
  });
}

/** What a replica shares with the thread that trains. */
export type Shared = Pick<ReplicaOptions, "parameters" | "gradients">;

/** An objective on a share of each batch, and further threads with the same on the others. */
export function replicated<Batch>(
  own: Objective<Batch> & { release(): Promise<void> },
  {
    count,
    split,
    start,
  }: { count: number; split(batch: Batch): readonly Batch[]; start(shared: Shared): Thread<Replica<Batch>> },
): Objective<Batch> & { release(): Promise<void> } {
  const { parameters } = own;
  const size = parameters.reduce((sum, { values: { length } }) => sum + length, 0);
  const allocate = () => new Float32Array(new SharedArrayBuffer(4 * size));
  const published = allocate();
  const others = Array.from({ length: count - 1 }, () => {
    const gradients = allocate();
    return { gradients, thread: start({ parameters: published, gradients }) };
  });
  const sums = parameters.map(({ values: { length } }) => new Float32Array(length));

  const publish = (): void => {
    let at = 0;
    for (const { values: stored } of parameters) {
      published.set(stored, at);
      at += stored.length;
    }
  };
  /** This thread works too, after the others have their shares: a program blocks it. */
  const together = async <T>(batch: Batch, call: "gradients" | "loss", work: (part: Batch) => Promise<T>) => {
    publish();
    const parts = split(batch);
    const calls = others.map(({ thread }, i) => thread.call(call, parts[i + 1]) as Promise<number>);
    const settled = Promise.allSettled(calls); // a failure of the work below must not leave them unheard
    const mine = await work(parts[0]);
    await settled;
    return { mine, losses: await Promise.all(calls) };
  };
  return {
    ...own,
    async gradients(batch) {
      const { mine, losses } = await together(batch, "gradients", own.gradients);
      let at = 0;
      for (const [i, sum] of sums.entries()) {
        mean(sum, mine.gradients[i], others, at);
        at += sum.length;
      }
      return { loss: (mine.loss + losses.reduce((a, b) => a + b, 0)) / count, gradients: sums };
    },
    async loss(batch) {
      const { mine, losses } = await together(batch, "loss", own.loss);
      return (mine + losses.reduce((a, b) => a + b, 0)) / count;
    },
    async release() {
      await own.release();
      for (const { thread } of others) await thread.close();
    },
  };
}

/** Mean of this thread's gradient and the others' at an offset. */
function mean(
  result: Float32Array,
  own: Float32Array,
  others: readonly { readonly gradients: Float32Array }[],
  offset: number,
): void {
  const factor = 1 / (others.length + 1);
  for (const [k, { gradients }] of others.entries()) {
    const theirs = gradients.subarray(offset, offset + result.length);
    scaledSum(result, k === 0 ? own : result, theirs, k === others.length - 1 ? factor : 1);
  }
}

/** (a + b) · scale. Four at a time, as a turn of the loop costs more than a sum. */
function scaledSum(result: Float32Array, a: Float32Array, b: Float32Array, scale: number): void {
  const whole = result.length - (result.length % 4);
  for (let i = 0; i < whole; i += 4) {
    result[i] = (a[i] + b[i]) * scale;
    result[i + 1] = (a[i + 1] + b[i + 1]) * scale;
    result[i + 2] = (a[i + 2] + b[i + 2]) * scale;
    result[i + 3] = (a[i + 3] + b[i + 3]) * scale;
  }
  for (let i = whole; i < result.length; i++) result[i] = (a[i] + b[i]) * scale;
}

/** A batch as `count` batches of equal numbers of rows. */
function rowsOf({ tokens, weights, rows, length }: TokenBatch, count: number): TokenBatch[] {
  const part = rows / count;
  const share = <T>(values: { slice(from: number, to: number): T }, width: number, i: number): T =>
    values.slice(i * part * width, (i + 1) * part * width);
  return Array.from({ length: count }, (_, i) => ({
    tokens: share(tokens, length + 1, i),
    ...(weights && { weights: share(weights, length, i) }),
    rows: part,
    length,
  }));
}

/** The thread's side. */
export async function serveReplica({ config, values, options, parameters, gradients }: ReplicaOptions): Promise<void> {
  const objective: Promise<Objective & { release(): Promise<void> }> = objectiveOf(config)(
    familyNamed(config.architecture),
    config,
    values,
    options,
  );
  serveObjective(objective, { parameters, gradients });
}

/** Serves the thread's share of an objective. */
export function serveObjective<Batch>(
  objective: Promise<Objective<Batch> & { release(): Promise<void> }>,
  { parameters, gradients }: Shared,
): void {
  const refreshed = async () => {
    const replica = await objective;
    let at = 0;
    for (const { values: stored } of replica.parameters) {
      stored.set(parameters.subarray(at, at + stored.length));
      at += stored.length;
    }
    return replica;
  };
  serveThread<Replica<Batch>>({
    async gradients(batch) {
      const result = await (await refreshed()).gradients(batch);
      let at = 0;
      for (const gradient of result.gradients) {
        gradients.set(gradient, at);
        at += gradient.length;
      }
      return result.loss;
    },
    loss: async (batch) => (await refreshed()).loss(batch),
    close: async () => (await objective).release(),
  });
}
