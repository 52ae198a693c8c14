/**
 * The Gaussian recursion that most filters share: predict with the dynamics, correct with the observation. What differs between
 * methods is the correction, and for nonlinear states the prediction.
 */

import { ensure, plural } from "../../errors.ts";
import type { PreparedData } from "./filter.ts";
import {
  count,
  type Estimate,
  type Filter,
  newCounters,
  newEstimate,
  requireSnapshot,
  snapshotOf,
  usable,
} from "./filter.ts";
import { apply, covariance, leastSquares, type Matrix, matrix, sandwich, selectRows } from "./matrix.ts";

/** (mean, covariance) one bin later; the outputs are other arrays than the inputs. */
export type Prediction = (
  mean: Float64Array,
  covariance: Float64Array,
  outMean: Float64Array,
  outCovariance: Float64Array,
) => void;

/** Writes the posterior of an observation [n], given the prior in `mean` and `covariance`, and sets the flags that apply. */
export type Correction = (
  observation: ArrayLike<number>,
  mean: Float64Array,
  covariance: Float64Array,
  posterior: Estimate,
) => void;

export interface RecursionOptions {
  readonly stateDimension: number;
  readonly observationDimension: number;
  readonly predict: Prediction;
  readonly correct: Correction;
  /** Takes the place of `correct` in the first bin, where that is not missing. */
  readonly start?: Correction;
  /** Prior of the first bin: [d, d] around zero. */
  readonly stationary: Float64Array;
}

/** The filter of a prediction and a correction. The first bin is corrected from the stationary prior, later ones are predicted first. */
export function createRecursion(options: RecursionOptions): Filter {
  const { stateDimension: d, observationDimension: n, predict, correct, start = correct, stationary } = options;
  const estimate = newEstimate(d);
  const counters = newCounters();
  const priorMean = new Float64Array(d);
  const priorCovariance = new Float64Array(d * d);
  let started = false;

  function reset(): void {
    started = false;
    Object.assign(counters, newCounters());
  }
  reset();
  return {
    stateDimension: d,
    observationDimension: n,
    counters,
    reset,
    step(observation) {
      const present = usable(observation, n);
      const update = started ? correct : start;
      if (started) predict(estimate.mean, estimate.covariance, priorMean, priorCovariance);
      else {
        priorMean.fill(0);
        priorCovariance.set(stationary);
        started = true;
      }
      estimate.missing = !present;
      estimate.indefinite = false;
      estimate.fallback = false;
      estimate.jittered = false;
      if (present) update(observation, priorMean, priorCovariance, estimate);
      else {
        estimate.mean.set(priorMean);
        estimate.covariance.set(priorCovariance);
      }
      count(counters, estimate);
      return estimate;
    },
    snapshot: () => snapshotOf(started ? 1 : 0, estimate.mean, estimate.covariance),
    restore(state) {
      requireSnapshot(state, 1 + d + d * d);
      started = state[0] === 1;
      estimate.mean.set(state.subarray(1, 1 + d));
      estimate.covariance.set(state.subarray(1 + d));
    },
  };
}

/** z' ~ N(A z, G). */
export function linearPrediction(a: Float64Array, g: Float64Array, d: number): Prediction {
  const scratch = new Float64Array(d * d);
  return (mean, covariance, outMean, outCovariance) => {
    apply(outMean, a, mean, d, d);
    sandwich(outCovariance, a, covariance, g, scratch, d, d);
  };
}

/** The linear state model of training states: z' ~ N(A z, G), stationary covariance S. */
export interface StateModel {
  /** All [d, d]. */
  readonly A: Matrix;
  readonly G: Matrix;
  readonly S: Matrix;
  /** Estimate of A's spectral radius. */
  readonly radius: number;
}

/**
 * A is the least squares of z(t+1) on z(t), G the mean outer product of its residuals, S the empirical covariance of the training
 * states (not the Lyapunov solution), as the authors of the discriminative filter fit them. Pairs across gaps are left out.
 */
export function fitStateModel({ states, starts }: PreparedData): StateModel {
  const d = states.columns;
  const later = Array.from({ length: states.rows }, (_, t) => t).filter((t) => !starts.has(t));
  ensure(
    later.length > d,
    "bad_option",
    `the training data has ${plural(later.length, "pair")} of successive bins; a state of ${plural(d, "dimension")} needs more than ${d}`,
  );
  const before = selectRows(
    states,
    later.map((t) => t - 1),
  );
  const after = selectRows(states, later);
  const A = leastSquares(before, after);
  const residuals = matrix(after.rows, d);
  const predicted = new Float64Array(d);
  for (let row = 0; row < after.rows; row++) {
    apply(predicted, A.data, before.data.subarray(row * d, (row + 1) * d), d, d);
    for (let k = 0; k < d; k++) residuals.data[row * d + k] = after.data[row * d + k] - predicted[k];
  }
  return { A, G: covariance(residuals), S: covariance(states), radius: spectralRadius(A) };
}

/** |A^64|^(1/64) by squaring: the spectral radius up to a factor near one. */
export function spectralRadius({ rows: d, data }: Matrix): number {
  let power = Float64Array.from(data);
  let logarithm = 0;
  for (let i = 0; i < 12; i++) {
    const norm = Math.hypot(...power);
    if (norm === 0) return 0;
    logarithm = 2 * (logarithm + Math.log(norm));
    const scaled = power.map((x) => x / norm);
    const next = new Float64Array(d * d);
    for (let r = 0; r < d; r++)
      for (let c = 0; c < d; c++) for (let k = 0; k < d; k++) next[r * d + c] += scaled[r * d + k] * scaled[k * d + c];
    power = next;
  }
  return Math.exp((logarithm + Math.log(Math.hypot(...power))) / 2 ** 12);
}
