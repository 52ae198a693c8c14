/**
 * What a filter of signals is: it follows a hidden state z [d] through observations x [n], one bin at a time. A method fits a
 * model (named matrices, nothing else) to recorded states and observations; a model opens as a filter; a filter answers every bin
 * with a mean and a covariance, in arrays of its own that the next call overwrites, so that a step leaves no garbage.
 */
import type { z } from "zod";
import { ensure, plural, requireObject, shown, VentrisError } from "../../errors.ts";
import { isInstance } from "../../values.ts";
import { type Matrix, matrix } from "./matrix.ts";

/** Paired recordings, row = bin. A row with a value that is not finite is a gap: nothing is learnt from it or across it. */
export interface FilterData {
  /** [bins, d]. */
  readonly states: Matrix;
  /** [bins, n]. */
  readonly observations: Matrix;
}

/** How a step came to its estimate. */
export interface Estimate {
  /** [d]; overwritten by the next call. */
  readonly mean: Float64Array;
  /** [d, d], symmetric; overwritten by the next call. */
  readonly covariance: Float64Array;
  /** The observation was missing or not finite: the estimate is the prediction. */
  missing: boolean;
  /** The rule for indefinite cases was applied (discriminative filters). */
  indefinite: boolean;
  /** The observation is so far from all that was learnt that the nearest of it had to answer. */
  fallback: boolean;
  /** A covariance needed jitter to be invertible. */
  jittered: boolean;
}

/** How often since `reset` a step was of each kind. */
export interface FilterCounters {
  steps: number;
  missing: number;
  indefinite: number;
  fallback: number;
  jittered: number;
}

export interface Filter {
  readonly stateDimension: number;
  readonly observationDimension: number;
  readonly counters: Readonly<FilterCounters>;
  /**
   * One bin: observation [n], or undefined where the bin is missing, as are observations with a value that is not finite. The
   * result belongs to the filter. Errors: `bad_shape` for another number of values.
   */
  step(observation: ArrayLike<number> | undefined): Estimate;
  /** Back to the time before the first bin. */
  reset(): void;
  /** All that the coming estimates depend on besides the model, and the other way round. */
  snapshot(): Float64Array;
  /** Errors: `bad_option` for what is no snapshot of such a filter. */
  restore(state: Float64Array): void;
}

/** What fitting gives: everything a filter needs, as named matrices and the options it was fitted with. */
export interface FilterParameters {
  readonly arrays: Readonly<Record<string, Matrix>>;
  /** What a reader may want to know of the fit: chosen bandwidths, likelihoods, warnings. */
  readonly notes: Readonly<Record<string, number | string>>;
}

export interface FitContext {
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (stage: string, done: number, total: number) => void;
}

export interface FilterMethod<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly summary: string;
  readonly source?: string;
  readonly options: Schema;
  /** States and observations are finite and centred here, without gaps except where `starts` begins a new stretch. */
  fit(data: PreparedData, options: z.output<Schema>, context: FitContext): Promise<FilterParameters>;
  open(parameters: FilterParameters, options: z.output<Schema>): Filter;
  /** Whether its estimates can be smoothed backwards with the linear dynamics it learnt (arrays A and G). */
  readonly smooths: boolean;
}

/** Rows without gaps. */
export interface PreparedData extends FilterData {
  /** Rows that do not follow the row before them in time, the first included. */
  readonly starts: ReadonlySet<number>;
}

export const defineFilter = <Schema extends z.ZodObject>(method: FilterMethod<Schema>): FilterMethod<Schema> => method;

export const newEstimate = (d: number): Estimate => ({
  mean: new Float64Array(d),
  covariance: new Float64Array(d * d),
  missing: false,
  indefinite: false,
  fallback: false,
  jittered: false,
});

export const newCounters = (): FilterCounters => ({ steps: 0, missing: 0, indefinite: 0, fallback: 0, jittered: 0 });

/** Errors: `bad_option` for what no filter of these dimensions gave. */
export function requireSnapshot(state: unknown, length: number): asserts state is Float64Array {
  ensure(isInstance<Float64Array>("Float64Array", state), "bad_option", () => {
    return `restore takes what snapshot gave, a Float64Array, not ${shown(state)}`;
  });
  ensure(state.length === length, "bad_option", "the state belongs to a filter of other dimensions");
}

/** A number and arrays, one after the other, as a snapshot. Particles are too many to be arguments. */
export function snapshotOf(first: number, ...parts: readonly Float64Array[]): Float64Array {
  const state = new Float64Array(parts.reduce((sum, { length }) => sum + length, 1));
  state[0] = first;
  let at = 1;
  for (const part of parts) {
    state.set(part, at);
    at += part.length;
  }
  return state;
}

/** Enters a step into the counters. */
export function count(counters: FilterCounters, estimate: Estimate): void {
  counters.steps++;
  if (estimate.missing) counters.missing++;
  if (estimate.indefinite) counters.indefinite++;
  if (estimate.fallback) counters.fallback++;
  if (estimate.jittered) counters.jittered++;
}

/** Whether an observation can be used. Errors: `bad_shape` for another number of values. */
export function usable(observation: ArrayLike<number> | undefined, n: number): observation is ArrayLike<number> {
  if (observation === undefined) return false;
  if (!Array.isArray(observation) && !ArrayBuffer.isView(observation)) {
    throw new VentrisError(
      "bad_shape",
      `an observation is a list of ${n} numbers, or undefined where the bin is missing, not ${shown(observation)}`,
    );
  }
  if (observation.length !== n) {
    throw new VentrisError(
      "bad_shape",
      `an observation has ${plural(observation.length, "value")}, but the filter was fitted to ${plural(n, "channel")}`,
    );
  }
  for (let i = 0; i < n; i++) if (!Number.isFinite(observation[i])) return false;
  return true;
}

/** Estimates of all bins: means [bins, d] and covariances [bins, d · d]. */
export interface Trajectory {
  readonly means: Matrix;
  readonly covariances: Matrix;
  /** 1 where the rule for indefinite cases was applied. */
  readonly indefinite: Uint8Array;
}

/** Filters a whole recording from its start: the same estimates as `step` gives one by one. */
export function filterAll(filter: Filter, observations: Matrix): Trajectory {
  requireObject(filter, "filterAll", "the filter");
  const { stateDimension: d, observationDimension: n } = filter;
  const { rows, columns, data } = observations ?? {};
  ensure(
    Number.isInteger(rows) && isInstance<Float64Array>("Float64Array", data) && data.length === rows * columns,
    "bad_shape",
    () => `a recording is a matrix { rows, columns, data } in float64, row by row, not ${shown(observations)}`,
  );
  ensure(
    observations.columns === n,
    "bad_shape",
    `the recording has ${plural(observations.columns, "channel")}, but the filter was fitted to ${n}`,
  );
  filter.reset();
  const means = matrix(observations.rows, d);
  const covariances = matrix(observations.rows, d * d);
  const indefinite = new Uint8Array(observations.rows);
  for (let t = 0; t < observations.rows; t++) {
    const estimate = filter.step(observations.data.subarray(t * n, (t + 1) * n));
    means.data.set(estimate.mean, t * d);
    covariances.data.set(estimate.covariance, t * d * d);
    indefinite[t] = estimate.indefinite ? 1 : 0;
  }
  return { means, covariances, indefinite };
}
