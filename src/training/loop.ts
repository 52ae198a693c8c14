/**
 * The training loop. A step is a pure function of the state before it and the step's number (batches and the learning rate
 * are asked for by number), so a run that is stopped or killed and resumed from its checkpoint repeats the very losses of
 * an uninterrupted one.
 */
import { ensure, plural, requireAnswer, requireOptions } from "../errors.ts";
import { append, within } from "../files.ts";
import { isObject, sameJson } from "../json.ts";
import { requireCounts, requirePositive, requireWhole } from "../numbers.ts";
import { nextTurn } from "../turn.ts";
import { withFileLock, writeFileAtomically } from "../weights/cache.ts";
import { type AdamWOptions, adamwState, adamwUpdate, clipScale, euclideanNorm, requireAdamW } from "./adamw.ts";
import { batchOf, gradientsOf, learningRateOf, meanLoss, requireJson, requireParameters, tokensOf } from "./asking.ts";
import { type Basis, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { type HistoryEntry, lossCurvePath, toJsonLines } from "./history.ts";
import type { Objective, Parameter, TokenBatch } from "./objective.ts";
import type { Schedule } from "./schedule.ts";
import { sgdUpdate } from "./sgd.ts";

/** What is trained on which batches, how long, and where it is kept. */
export interface TrainOptions<Batch = TokenBatch> {
  /** Gives loss and gradients of a batch, and has the parameters that are trained. */
  readonly objective: Objective<Batch>;
  /** The batch of this number, always the same for the same number. Step s takes numbers s · accumulate and following. */
  readonly batches: (index: number) => Batch | Promise<Batch>;
  /** Batches of equal size whose mean loss is measured every so many steps, and at the end. Default: nothing is measured. */
  readonly evaluation?: {
    /** Held-out batches, all measured each time. */
    readonly batches: readonly Batch[];
    /** Steps from one measurement to the next. */
    readonly every: number;
  };
  /**
   * Stops after this many optimiser steps, or seconds of training, whichever comes first; both count earlier sessions, and
   * one of them is needed.
   */
  readonly steps?: number;
  /** Stops after this many seconds of training, also where there are steps left. Default: no bound. */
  readonly maxSeconds?: number;
  /** The learning rate of each step: `constant`, `linear`, `cosine` and `warmupStableDecay` make some. */
  readonly schedule: Schedule;
  /** Settings of AdamW: its decays, epsilon and weight decay; or plain stochastic gradient descent. Default: those of `AdamWOptions`. */
  readonly optimiser?: AdamWOptions | "sgd";
  /** Largest Euclidean norm of a step's gradient; default: no clipping. */
  readonly clip?: number;
  /** Batches of equal size whose mean gradient makes one step; default 1. */
  readonly accumulate?: number;
  /** Kept in the checkpoint; resuming with another seed is refused. Default 0. */
  readonly seed?: number;
  /** Any JSON about the run, kept in the checkpoint for readers. Default: nothing. */
  readonly config?: unknown;
  /**
   * What the steps depend on besides the seed, as JSON: resuming a checkpoint of anything else, or of more steps, is refused. Asked for
   * where a folder keeps the run, as digests of much data take their time. Default: nothing is compared but the seed.
   */
  readonly basis?: () => Basis | Promise<Basis>;
  /** Where to keep checkpoint and loss curve, and to resume from when there is one; default: nowhere. */
  readonly checkpointFolder?: string;
  /** Default: every 60 seconds. The end of a run is always saved. */
  readonly checkpointEvery?:
    | {
        /** Optimiser steps from one checkpoint to the next. */
        readonly steps: number;
      }
    | {
        /** Seconds from one checkpoint to the next. */
        readonly seconds: number;
      };
  /** Steps between entries of the loss curve; default 10. Evaluations and checkpoints are always entered. */
  readonly recordEvery?: number;
  /** Tokens that a batch trains on, for the speed; default rows · length, or 0 for a batch without them. */
  readonly countTokens?: (batch: Batch) => number;
  /** Told after each step of losses, speed and time left. Default: nobody is told. */
  readonly onProgress?: (progress: TrainProgress) => void;
  /** Awaited after each step, with the number of steps done: for samples of the model as it is. Default: nothing. */
  readonly afterStep?: (step: number) => void | Promise<void>;
  /** Stops after the batch under way; the steps done are saved. Default: nothing stops it. */
  readonly signal?: AbortSignal;
}

/** How far a training is. */
export interface TrainProgress extends HistoryEntry {
  /** Undefined when only the time is bounded. */
  readonly totalSteps: number | undefined;
  /** Over this session, evaluations and checkpoints included. */
  readonly tokensPerSecond: number;
  /** Seconds until the end, at the pace so far. */
  readonly secondsLeft: number;
}

/** How a training ended, and what it trained. */
export interface TrainResult {
  readonly reason: "steps" | "time" | "aborted";
  /** Steps done in all, and those that earlier sessions had done. */
  readonly step: number;
  readonly resumedFrom: number;
  readonly history: readonly HistoryEntry[];
}

/**
 * Trains `objective.parameters` in place. Errors: `bad_option`; `bad_checkpoint` from an unusable checkpoint; `unavailable`
 * when another process trains in the same folder; `runtime_failed` on a loss or gradient that is not finite, after which
 * the folder still has its last good checkpoint; `disk_full` likewise; what the objective throws, with its name.
 */
export async function train<Batch = TokenBatch>(options: TrainOptions<Batch>): Promise<TrainResult> {
  checkOptions(options);
  const folder = options.checkpointFolder;
  if (folder === undefined) return run(options);
  // No waiting: a run takes hours, and two in one folder would overwrite each other.
  return withFileLock(within(folder, "training"), () => run(options), { timeout: 0 });
}

async function run<Batch>(options: TrainOptions<Batch>): Promise<TrainResult> {
  const { objective, schedule, clip, evaluation, config, checkpointFolder: folder, onProgress, signal } = options;
  const { steps = Infinity, maxSeconds = Infinity, accumulate = 1, seed = 0, recordEvery = 10 } = options;
  const { parameters } = objective;
  const basis = folder === undefined ? undefined : await options.basis?.();
  requireAnswer(basis === undefined || isObject(basis), basis, "train: basis", "an object");
  requireJson(basis, "what basis gave");
  const resumed = folder === undefined ? undefined : await resume(folder, { ...options, basis }, parameters);
  const optimiser = resumed?.optimiser ?? adamwState(parameters);
  const history = [...(resumed?.history ?? [])];
  // Entries after the checkpoint belong to steps that are about to be repeated.
  if (folder !== undefined) await writeFileAtomically(lossCurvePath(folder), toJsonLines(history));

  const resumedFrom = resumed?.step ?? 0;
  const earlier = history.at(-1) ?? { tokens: 0, seconds: 0, smoothedLoss: 0 };
  const started = performance.now();
  const secondsNow = () => earlier.seconds + (performance.now() - started) / 1000;
  let step = resumedFrom;
  let { tokens, smoothedLoss } = earlier;
  let saved = { step, seconds: earlier.seconds };

  const enter = async (entry: HistoryEntry) => {
    if (history.at(-1)?.step === entry.step) return;
    history.push(entry);
    if (folder !== undefined) await append(lossCurvePath(folder), toJsonLines([entry]));
  };
  const save = async () => {
    if (folder === undefined || saved.step === step) return;
    await saveCheckpoint(folder, { step, seed, history, config, basis, parameters, optimiser });
    saved = { step, seconds: secondsNow() };
  };
  const saveDue = () => {
    const every = options.checkpointEvery ?? { seconds: 60 };
    return "steps" in every ? step % every.steps === 0 : secondsNow() - saved.seconds >= every.seconds;
  };
  const stopReason = (): TrainResult["reason"] | undefined => {
    if (signal?.aborted) return "aborted";
    if (step >= steps) return "steps";
    return secondsNow() >= maxSeconds ? "time" : undefined;
  };

  const collect = gradientCollector(options);
  let latest: HistoryEntry | undefined;
  let reason = stopReason();
  while (reason === undefined) {
    const learningRate = learningRateOf(schedule, step);
    const collected = await collect(step);
    if (collected === undefined) {
      reason = "aborted";
      break;
    }
    const { loss, gradients } = collected;
    const gradientNorm = euclideanNorm(gradients) / accumulate;
    ensure(Number.isFinite(loss) && Number.isFinite(gradientNorm), "runtime_failed", () => {
      const kept = saved.step === 0 ? "" : `; the checkpoint of step ${saved.step} in ${folder} is kept`;
      const what = `loss ${loss}, gradient norm ${gradientNorm}, learning rate ${learningRate}`;
      const batch =
        accumulate === 1 ? `batch ${step}` : `batches ${step * accumulate} to ${(step + 1) * accumulate - 1}`;
      return `training diverged at step ${step}, ${collected.diverged === undefined ? batch : `batch ${collected.diverged}`}: ${what}; lower the learning rate or clip gradients${kept}`;
    });
    const scale = clipScale(gradientNorm, clip) / accumulate;
    if (options.optimiser === "sgd") sgdUpdate(parameters, gradients, learningRate, scale);
    else adamwUpdate(parameters, gradients, optimiser, learningRate, options.optimiser, scale);
    step += 1;
    tokens += collected.tokens;
    smoothedLoss += (loss - smoothedLoss) / meanOver(step);

    // Objectives may resolve without ever leaving the microtask queue, and then no signal or timer would be heard.
    await nextTurn();
    reason = stopReason();
    const ended = reason === "steps" || reason === "time";
    const evaluate = evaluation && (ended || step % evaluation.every === 0);
    const heldOutLoss = evaluate ? await meanLoss(objective, evaluation.batches) : undefined;
    latest = { step, loss, smoothedLoss, learningRate, gradientNorm, tokens, seconds: secondsNow(), heldOutLoss };
    const saving = saveDue();
    if (evaluate || saving || step % recordEvery === 0) await enter(latest);
    if (saving) await save();

    await options.afterStep?.(step);
    const sessionSeconds = latest.seconds - earlier.seconds;
    onProgress?.({
      ...latest,
      totalSteps: options.steps,
      tokensPerSecond: (tokens - earlier.tokens) / sessionSeconds,
      secondsLeft: Math.min(
        (steps - step) * (sessionSeconds / (step - resumedFrom)),
        Math.max(0, maxSeconds - latest.seconds),
      ),
    });
  }
  if (latest) await enter(latest);
  await save();
  return { reason, step, resumedFrom, history };
}

/** Loads the folder's checkpoint into the parameters; undefined when there is none. */
async function resume(
  folder: string,
  { seed = 0, steps = Infinity, basis }: { readonly seed?: number; readonly steps?: number; readonly basis?: Basis },
  parameters: readonly Parameter[],
) {
  const checkpoint = await loadCheckpoint(folder, parameters);
  if (!checkpoint) return undefined;
  ensure(
    checkpoint.seed === seed,
    "bad_checkpoint",
    `the checkpoint in ${folder} was trained with seed ${checkpoint.seed}, not ${seed}; use that seed or another folder`,
  );
  if (basis && checkpoint.basis) {
    const [before, now] = [checkpoint.basis, JSON.parse(JSON.stringify(basis))];
    const changed = Object.keys({ ...before, ...now }).filter((field) => !sameJson(before[field], now[field]));
    ensure(
      changed.length === 0,
      "bad_checkpoint",
      () =>
        `the checkpoint in ${folder} was trained with another ${changed.join(", ")}; give what it was begun with, or another folder`,
    );
    ensure(
      checkpoint.step <= steps,
      "bad_checkpoint",
      `the checkpoint in ${folder} has ${plural(checkpoint.step, "step")} behind it, more than the ${steps} asked for; give another folder`,
    );
  }
  for (const [i, { values }] of parameters.entries()) values.set(checkpoint.values[i]);
  return checkpoint;
}

/** Steps that the running mean of the loss looks back over: a part of them all, so that a short run is not told by where it began. */
const meanOver = (step: number): number => Math.min(Math.max(step / 5, 1), 50);

/**
 * A function that gives a step's mean loss, the SUM of its batches' gradients, and its tokens; undefined when the signal
 * came before its last batch.
 */
function gradientCollector<Batch>(options: TrainOptions<Batch>) {
  const { objective, batches, accumulate = 1, countTokens = defaultTokenCount, signal } = options;
  const sums = accumulate > 1 ? objective.parameters.map(({ values }) => new Float32Array(values.length)) : [];
  interface Collected {
    readonly loss: number;
    readonly tokens: number;
    readonly gradients: readonly Float32Array[];
    /** The first batch whose loss is not finite; nothing is trained on the step then. */
    readonly diverged?: number;
  }
  return async (step: number): Promise<Collected | undefined> => {
    let loss = 0;
    let tokens = 0;
    for (let part = 0; part < accumulate; part++) {
      if (signal?.aborted) return undefined;
      const batch = await batchOf(batches, step * accumulate + part);
      const result = await gradientsOf(objective, batch);
      loss += result.loss / accumulate;
      if (!Number.isFinite(result.loss))
        return { loss, tokens, gradients: result.gradients, diverged: step * accumulate + part };
      tokens += tokensOf(countTokens, batch);
      if (accumulate === 1) return { loss, tokens, gradients: result.gradients };
      for (const [i, gradient] of result.gradients.entries()) {
        if (part === 0) sums[i].set(gradient);
        else addTo(sums[i], gradient);
      }
    }
    return { loss, tokens, gradients: sums };
  };
}

function addTo(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += values[i];
}

function defaultTokenCount(batch: unknown): number {
  const { rows, length } = batch as Partial<TokenBatch>;
  return rows !== undefined && length !== undefined ? rows * length : 0;
}

function checkOptions<Batch>(options: TrainOptions<Batch>): void {
  requireOptions(options, "train");
  const { steps, maxSeconds, clip, seed, accumulate, recordEvery, evaluation, checkpointEvery, optimiser } = options;
  ensure(steps !== undefined || maxSeconds !== undefined, "bad_option", "train: give steps, maxSeconds or both");
  const inSteps = checkpointEvery && "steps" in checkpointEvery ? checkpointEvery.steps : undefined;
  const inSeconds = checkpointEvery && "seconds" in checkpointEvery ? checkpointEvery.seconds : undefined;
  const counts = {
    steps,
    accumulate,
    recordEvery,
    "evaluation.every": evaluation?.every,
    "checkpointEvery.steps": inSteps,
  };
  requireCounts(ofTrain(counts));
  requirePositive(ofTrain({ maxSeconds, clip, "checkpointEvery.seconds": inSeconds }));
  requireWhole(ofTrain({ seed }), 0);
  if (optimiser !== "sgd") requireAdamW(optimiser);
  requireParameters(options.objective.parameters);
  requireJson(options.config, "config");
  ensure(evaluation?.batches.length !== 0, "bad_option", "train: evaluation.batches is empty");
}

/** Those that are given, by the names of options of `train`. */
const ofTrain = (numbers: Readonly<Record<string, number | undefined>>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(numbers).flatMap(([name, value]) => (value === undefined ? [] : [[`train: ${name}`, value]])),
  );
