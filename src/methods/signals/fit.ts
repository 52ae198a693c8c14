/** From recordings to a fitted model, and from a model to a filter: what stands around every method. */

import { parseOptions } from "../../engine/shapers/options.ts";
import { ensure, plural, requireAnswer, requireObject, requireOptions, telling } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { requirePositive, requireWhole } from "../../numbers.ts";
import { strictly } from "../../strict.ts";
import { principalComponents } from "./components.ts";
import {
  type Estimate,
  type Filter,
  type FilterData,
  type FilterMethod,
  type FilterParameters,
  type FitContext,
  filterAll,
  newEstimate,
  type PreparedData,
  type Trajectory,
  usable,
} from "./filter.ts";
import { smoothTrajectory } from "./kalman/index.ts";
import { columnMeans, type Matrix, matrix, selectRows } from "./matrix.ts";

/** `centred` subtracts means, `standardised` also divides by deviations; a number is so many standardised principal components. */
export type Features = "as-is" | "centred" | "standardised" | number;

/** A fitted filter, with the features that it reads. */
export interface FilterModel {
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly features: Features;
  readonly stateNames?: readonly string[];
  readonly observationNames?: readonly string[];
  /** Bins a second of what it was fitted to, where that was known. */
  readonly rate?: number;
  /**
   * Beside the method's own: `featureMean` [1, n], `featureMap` [k, n] or `featureScale` [1, n] where observations are transformed, and
   * `stateMean` [1, d].
   */
  readonly parameters: FilterParameters;
  readonly stateDimension: number;
  readonly observationDimension: number;
  /** Bins learnt from, and bins left out since a value was not finite. */
  readonly bins: number;
  readonly skippedBins: number;
}

/** How a filter is fitted. */
export interface FitOptions {
  /** The filter's own options. Default: those of its schema. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Default: standardised. */
  readonly features?: Features;
  /** Whether the states' mean is taken off while learning and added to estimates; default true. */
  readonly centreStates?: boolean;
  /** Of all that is drawn while learning: the same seed gives the same filter. Default 0. */
  readonly seed?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how far the learning is, by filters that learn in steps. Default: nobody is told. */
  readonly onProgress?: FitContext["onProgress"];
  /** Names of the states, one for each column. Default: none. */
  readonly stateNames?: readonly string[];
  /** Names of the channels, one for each column, kept with the filter and used in messages. Default: none. */
  readonly observationNames?: readonly string[];
  /** Bins a second, kept with the model: recordings of another rate move by other steps. Default: none is kept. */
  readonly rate?: number;
}

/**
 * Fits a method to paired recordings. Errors: `bad_shape` when they do not pair; `bad_option` for too few bins, a channel or a state
 * without variance (named), more channels than bins.
 */
export async function fitFilter(method: FilterMethod, data: FilterData, given: FitOptions = {}): Promise<FilterModel> {
  requireObject(method, "fitFilter", "the filter (findFilter gives one by its name)");
  requireObject(data, "fitFilter", "data");
  requireOptions(given, "fitFilter");
  const { features = "standardised", centreStates = true, seed = 0, signal, onProgress } = given;
  requireWhole({ "fitFilter: seed": seed }, 0);
  if (given.rate !== undefined) requirePositive({ "fitFilter: rate": given.rate });
  const options = parseOptions(strictly(method.options), given.options ?? {}, method.name) as Record<string, unknown>;
  const whole = withoutGaps(data);
  requireNames("stateNames", given.stateNames, whole.states.columns);
  requireNames("observationNames", given.observationNames, whole.observations.columns);
  checkVariance(whole, features, given);
  const transform = await fitFeatures(whole.observations, features, { signal, onProgress });
  const stateMean = centreStates ? columnMeans(whole.states) : new Float64Array(whole.states.columns);
  const states = matrix(whole.states.rows, whole.states.columns);
  for (let i = 0; i < states.data.length; i++) states.data[i] = whole.states.data[i] - stateMean[i % states.columns];
  const prepared = { states, observations: transformAll(transform, whole.observations), starts: whole.starts };
  const learn = telling(`the filter ${method.name}: fit`, method.fit.bind(method), { signal });
  const parameters = await learn(prepared, options, { seed, signal, onProgress });
  const learnt = isObject(parameters) && isObject(parameters.arrays) && isObject(parameters.notes);
  requireAnswer(learnt, parameters, `the filter ${method.name}: fit`, "{ arrays, notes } of what was learnt");
  return {
    method: method.name,
    options,
    features,
    stateNames: given.stateNames,
    observationNames: given.observationNames,
    rate: given.rate,
    parameters: {
      arrays: { ...parameters.arrays, ...transform.arrays, stateMean: matrix(1, states.columns, stateMean) },
      notes: { ...parameters.notes, ...growing(parameters.notes.spectralRadius) },
    },
    stateDimension: states.columns,
    observationDimension: whole.observations.columns,
    bins: states.rows,
    skippedBins: data.states.rows - states.rows,
  };
}

/** A radius is known up to about a hundredth, and a random walk's is 1. */
const growth = 1.02;

/** Where nothing is observed, estimates follow the dynamics alone. */
const growing = (radius: number | string | undefined): { warning?: string } =>
  typeof radius === "number" && radius > growth
    ? {
        warning: `the learnt dynamics grow by ${(100 * (radius - 1)).toFixed(0)} % a bin: over missing bins the estimates run away`,
      }
    : {};

/** A filter of the model, at its start. */
export function openFilter(method: FilterMethod, model: FilterModel): Filter {
  requireObject(method, "openFilter", "the filter (findFilter gives one by its name)");
  requireObject(model, "openFilter", "the fitted model");
  const { stateDimension: d, observationDimension: n, parameters } = model;
  const what = `the filter ${method.name}`;
  const options = parseOptions(strictly(method.options), model.options, method.name);
  const inner = telling(`${what}: open`, method.open.bind(method))(parameters, options);
  const opened = isObject(inner) && typeof inner.step === "function";
  requireAnswer(opened, inner, `${what}: open`, "a filter with the function step");
  const transform = openFeatures(parameters.arrays);
  const channels = parameters.arrays.featureMean?.columns ?? inner.observationDimension;
  ensure(channels === n && inner.stateDimension === d, "bad_shape", () => {
    return `the model says ${plural(d, "state")} of ${plural(n, "channel")}, and its arrays are for ${inner.stateDimension} of ${channels}`;
  });
  const step = telling(`${what}: step`, inner.step);
  const stateMean = parameters.arrays.stateMean.data;
  const features = new Float64Array(inner.observationDimension);
  const estimate = newEstimate(d);
  const shifted = (from: Estimate): Estimate => {
    const fits = isObject(from) && from.mean?.length === d && from.covariance?.length === d * d;
    requireAnswer(fits, from, `${what}: step`, `an estimate of ${plural(d, "state")}`);
    for (let k = 0; k < d; k++) estimate.mean[k] = from.mean[k] + stateMean[k];
    estimate.covariance.set(from.covariance);
    estimate.missing = from.missing;
    estimate.indefinite = from.indefinite;
    estimate.fallback = from.fallback;
    estimate.jittered = from.jittered;
    return estimate;
  };
  return {
    stateDimension: d,
    observationDimension: n,
    counters: inner.counters,
    step(observation) {
      if (!usable(observation, n)) return shifted(step(undefined));
      transform(observation, features);
      return shifted(step(features));
    },
    reset: inner.reset,
    snapshot: inner.snapshot,
    restore: inner.restore,
  };
}

/** Filters a recording and goes back over it with Rauch, Tung and Striebel's smoother. Errors: `bad_option` where none is defined. */
export function smoothAll(method: FilterMethod, model: FilterModel, observations: Matrix): Trajectory {
  ensure(
    method.smooths,
    "bad_option",
    `smoothing is not defined for ${method.name}: it needs Gaussian estimates and linear dynamics`,
  );
  const trajectory = filterAll(openFilter(method, model), observations);
  const { A, G, stateMean } = model.parameters.arrays;
  const { data } = trajectory.means;
  for (let i = 0; i < data.length; i++) data[i] -= stateMean.data[i % A.rows];
  smoothTrajectory(trajectory.means, trajectory.covariances, A, G);
  for (let i = 0; i < data.length; i++) data[i] += stateMean.data[i % A.rows];
  return trajectory;
}

function withoutGaps({ states, observations }: FilterData): PreparedData {
  ensure(
    states.rows === observations.rows,
    "bad_shape",
    `${plural(states.rows, "bin")} of states and ${observations.rows} of observations: they must pair one by one`,
  );
  const finite = (a: Matrix, row: number) =>
    a.data.subarray(row * a.columns, (row + 1) * a.columns).every(Number.isFinite);
  const kept: number[] = [];
  const starts = new Set<number>();
  for (let t = 0; t < states.rows; t++) {
    if (!finite(states, t) || !finite(observations, t)) continue;
    if (kept.at(-1) !== t - 1 || t === 0) starts.add(kept.length);
    kept.push(t);
  }
  ensure(
    kept.length > states.columns,
    "bad_option",
    `there ${kept.length === 1 ? "is" : "are"} ${plural(kept.length, "complete bin")} (of ${states.rows}); a state of ${plural(states.columns, "dimension")} needs more than ${states.columns}`,
  );
  return { states: selectRows(states, kept), observations: selectRows(observations, kept), starts };
}

function requireNames(option: string, names: readonly string[] | undefined, count: number): void {
  ensure(names === undefined || names.length === count, "bad_option", () => {
    return `${option} are ${names!.length}, and there are ${count} to be named`;
  });
}

function checkVariance(data: PreparedData, features: Features, { stateNames, observationNames }: FitOptions): void {
  const constant = (a: Matrix) => {
    const found: number[] = [];
    for (let k = 0; k < a.columns; k++) {
      let changes = false;
      for (let t = 1; t < a.rows && !changes; t++) changes = a.data[t * a.columns + k] !== a.data[k];
      if (!changes) found.push(k);
    }
    return found;
  };
  // All of them where they can be read, so that they can be named in turn when they are left out.
  const named = (columns: number[], names?: readonly string[]) =>
    columns
      .slice(0, 64)
      .map((k) => names?.[k] ?? `${k + 1}`)
      .join(",") + (columns.length > 64 ? ` and ${columns.length - 64} more` : "");
  const still = constant(data.states);
  ensure(still.length === 0, "bad_option", () =>
    still.length === 1
      ? `state ${named(still, stateNames)} never changes: nothing can be learnt about it`
      : `states ${named(still, stateNames)} never change: nothing can be learnt about them`,
  );
  if (typeof features === "number") return; // components of no variance are not among the first
  const silent = constant(data.observations);
  ensure(silent.length === 0, "bad_option", () =>
    silent.length === 1
      ? `channel ${named(silent, observationNames)} has the same value in all bins: leave it out (in the terminal by --without), or take principal components (features: a number)`
      : `channels ${named(silent, observationNames)} have the same values in all bins: leave them out (in the terminal by --without), or take principal components (features: a number)`,
  );
  const { rows, columns } = data.observations;
  ensure(
    columns < rows,
    "bad_option",
    `${plural(columns, "channel")} but only ${plural(rows, "bin")}: take principal components (features: a number below ${rows})`,
  );
}

interface FeatureTransform {
  readonly arrays: Readonly<Record<string, Matrix>>;
  readonly size: number;
}

async function fitFeatures(
  observations: Matrix,
  features: Features,
  context: Omit<FitContext, "seed">,
): Promise<FeatureTransform> {
  const n = observations.columns;
  if (features === "as-is") return { arrays: {}, size: n };
  const mean = columnMeans(observations);
  const featureMean = matrix(1, n, mean);
  if (features === "centred") return { arrays: { featureMean }, size: n };
  if (features === "standardised") {
    const featureScale = matrix(1, n);
    for (let i = 0; i < observations.data.length; i++)
      featureScale.data[i % n] += (observations.data[i] - mean[i % n]) ** 2;
    for (let k = 0; k < n; k++) featureScale.data[k] = 1 / Math.sqrt(featureScale.data[k] / observations.rows);
    return { arrays: { featureMean, featureScale }, size: n };
  }
  const featureMap = await principalComponents(observations, mean, features, context);
  return { arrays: { featureMean, featureMap }, size: features };
}

/** Writes the features of an observation. */
function openFeatures(arrays: Readonly<Record<string, Matrix>>): (x: ArrayLike<number>, out: Float64Array) => void {
  const { featureMean, featureScale, featureMap } = arrays;
  if (!featureMean) {
    return (x, out) => {
      for (let k = 0; k < out.length; k++) out[k] = x[k];
    };
  }
  const [mean, n] = [featureMean.data, featureMean.columns];
  if (featureMap) {
    return (x, out) => {
      for (let i = 0; i < featureMap.rows; i++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += featureMap.data[i * n + k] * (x[k] - mean[k]);
        out[i] = sum;
      }
    };
  }
  return (x, out) => {
    for (let k = 0; k < n; k++) out[k] = (x[k] - mean[k]) * (featureScale ? featureScale.data[k] : 1);
  };
}

function transformAll({ arrays, size }: FeatureTransform, observations: Matrix): Matrix {
  const transform = openFeatures(arrays);
  const out = matrix(observations.rows, size);
  const n = observations.columns;
  for (let t = 0; t < observations.rows; t++) {
    transform(observations.data.subarray(t * n, (t + 1) * n), out.data.subarray(t * size, (t + 1) * size));
  }
  return out;
}
