/**
 * The Kalman filter (Kalman 1960) with matrices learnt from pairs of states and observations: x ~ N(C z, R), C = X Zᵀ (Z Zᵀ)⁻¹ and R
 * the residual covariance, states as everywhere here. The first bin is corrected from the prior N(0, S).
 */
import { z } from "zod";
import { defineFilter } from "../filter.ts";
import {
  apply,
  cholesky,
  choleskyInverse,
  choleskySolve,
  choleskyWithJitter,
  covariance,
  leastSquares,
  type Matrix,
  matrix,
  multiply,
  multiplyTransposed,
} from "../matrix.ts";
import { type Correction, createRecursion, fitStateModel, linearPrediction } from "../recursion.ts";

export const kalman = defineFilter({
  name: "kalman",
  summary: "Kalman filter: what is observed is taken to follow from the state in a straight line",
  source: "Kalman 1960",
  smooths: true,
  options: z.strictObject({
    ridge: z
      .number()
      .min(0)
      .default(0)
      .describe(
        "variance added to the noise of every channel, as a share of the mean variance of that noise: raise it where channels are many or nearly the same and the filter trusts them too much",
      ),
  }),
  async fit(data, { ridge }) {
    const { A, G, S, radius } = fitStateModel(data);
    const { C, R } = fitLinearObservation(data.states, data.observations, ridge);
    return { arrays: { A, G, S, C, R }, notes: { spectralRadius: radius } };
  },
  open({ arrays: { A, G, S, C, R } }) {
    const d = A.rows;
    return createRecursion({
      stateDimension: d,
      observationDimension: C.rows,
      predict: linearPrediction(A.data, G.data, d),
      correct: linearCorrection(C, R),
      stationary: S.data,
    });
  },
});

/** C [n, d] and R [n, n] of x = C z + noise. */
export function fitLinearObservation(states: Matrix, observations: Matrix, ridge = 0): { C: Matrix; R: Matrix } {
  const n = observations.columns;
  const C = leastSquares(states, observations);
  const residuals = matrix(observations.rows, n, Float64Array.from(observations.data));
  const predicted = new Float64Array(n);
  for (let t = 0; t < observations.rows; t++) {
    apply(predicted, C.data, states.data.subarray(t * states.columns, (t + 1) * states.columns), n, states.columns);
    for (let k = 0; k < n; k++) residuals.data[t * n + k] -= predicted[k];
  }
  const R = covariance(residuals);
  let mean = 0;
  for (let k = 0; k < n; k++) mean += R.data[k * n + k] / n;
  for (let k = 0; k < n; k++) R.data[k * n + k] += ridge * mean;
  return { C, R };
}

/**
 * The Kalman update in information form, which costs O(d³ + d n) a step however many channels there are:
 *
 *     Σ = (M⁻¹ + Cᵀ R⁻¹ C)⁻¹        μ = ν + Σ Cᵀ R⁻¹ (x - C ν)
 */
export function linearCorrection(C: Matrix, R: Matrix): Correction {
  const [n, d] = [C.rows, C.columns];
  const factor = new Float64Array(n * n);
  choleskyWithJitter(factor, R.data, n, "the observation noise R");
  const weights = new Float64Array(d * n); // Cᵀ R⁻¹
  const column = new Float64Array(n);
  for (let k = 0; k < d; k++) {
    for (let i = 0; i < n; i++) column[i] = C.data[i * d + k];
    choleskySolve(factor, column, n);
    weights.set(column, k * n);
  }
  const information = new Float64Array(d * d);
  multiply(information, weights, C.data, d, n, d);
  const innovation = new Float64Array(n);
  const shift = new Float64Array(d);
  const [a, b, c] = [new Float64Array(d * d), new Float64Array(d * d), new Float64Array(d * d)];
  return (x, mean, prior, posterior) => {
    if (!cholesky(a, prior, d)) posterior.jittered = choleskyWithJitter(a, prior, d, "the predicted covariance") > 0;
    choleskyInverse(b, a, c, d);
    for (let i = 0; i < d * d; i++) b[i] += information[i];
    if (!cholesky(a, b, d)) posterior.jittered = choleskyWithJitter(a, b, d, "the posterior precision") > 0;
    choleskyInverse(posterior.covariance, a, c, d);
    for (let i = 0; i < n; i++) {
      let predicted = 0;
      for (let k = 0; k < d; k++) predicted += C.data[i * d + k] * mean[k];
      innovation[i] = x[i] - predicted;
    }
    apply(shift, weights, innovation, d, n);
    apply(posterior.mean, posterior.covariance, shift, d, d);
    for (let k = 0; k < d; k++) posterior.mean[k] += mean[k];
  };
}

/**
 * Rauch, Tung and Striebel (1965) backwards over a filtered trajectory: means [bins, d] and covariances [bins, d · d] given all bins.
 */
export function smoothTrajectory(means: Matrix, covariances: Matrix, A: Matrix, G: Matrix): void {
  const d = A.rows;
  const size = d * d;
  const [predicted, ahead] = [new Float64Array(size), new Float64Array(size)];
  const [gain, factor, scratch] = [new Float64Array(size), new Float64Array(size), new Float64Array(size)];
  const nu = new Float64Array(d);
  const difference = new Float64Array(d);
  const predict = linearPrediction(A.data, G.data, d);
  for (let t = means.rows - 2; t >= 0; t--) {
    const mean = means.data.subarray(t * d, (t + 1) * d);
    const now = covariances.data.subarray(t * size, (t + 1) * size);
    const nextMean = means.data.subarray((t + 1) * d, (t + 2) * d);
    const next = covariances.data.subarray((t + 1) * size, (t + 2) * size);
    predict(mean, now, nu, predicted);
    choleskyWithJitter(factor, predicted, d, "the predicted covariance");
    // gain = Σ Aᵀ M⁻¹: its transpose solves M gainᵀ = A Σ.
    multiply(scratch, A.data, now, d, d, d);
    for (let j = 0; j < d; j++) {
      const column = gain.subarray(j * d, (j + 1) * d);
      for (let i = 0; i < d; i++) column[i] = scratch[i * d + j];
      choleskySolve(factor, column, d);
    }
    for (let i = 0; i < d; i++) difference[i] = nextMean[i] - nu[i];
    for (let i = 0; i < size; i++) ahead[i] = next[i] - predicted[i];
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) mean[i] += gain[i * d + j] * difference[j];
    multiply(scratch, gain, ahead, d, d, d);
    multiplyTransposed(predicted, scratch, gain, d, d, d);
    for (let i = 0; i < size; i++) now[i] += predicted[i];
  }
}
