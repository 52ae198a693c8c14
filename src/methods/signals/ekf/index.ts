/**
 * The extended Kalman filter: x ~ N(h(z), R) with a learnt network h, linearised at the prediction. Correct first, then predict,
 * from N(0, S).
 */
import { z } from "zod";
import { defineFilter } from "../filter.ts";
import { fitObservationNetwork } from "../learnt-observation.ts";
import { apply, cholesky, choleskyInverse, choleskySolve, choleskyWithJitter, type Matrix, matrix } from "../matrix.ts";
import { networkJacobian, networkOptions, networkRegression } from "../network.ts";
import { type Correction, createRecursion, fitStateModel, linearPrediction, type Prediction } from "../recursion.ts";
import type { Regression } from "../regression.ts";

export const observationOptions = z.strictObject({
  ...networkOptions,
  heldOut: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.3)
    .describe(
      "share of the training points kept from the network and used to learn how far observations are from what it says: more estimate that better and leave less to learn the network from",
    ),
});

export const ekf = defineFilter({
  name: "ekf",
  summary:
    "extended Kalman filter: a network learns what is observed in each state, and is taken for straight around the expected one",
  smooths: true,
  options: observationOptions,
  async fit(data, options, context) {
    const { A, G, S, radius } = fitStateModel(data);
    const model = await fitObservationNetwork(data, options, context);
    return { arrays: { A, G, S, ...model }, notes: { spectralRadius: radius } };
  },
  open({ arrays: { A, G, S, R, W1, b1, W2, b2 } }) {
    const network = { W1, b1, W2, b2 };
    return createRecursion({
      stateDimension: A.rows,
      observationDimension: R.rows,
      predict: linearPrediction(A.data, G.data, A.rows),
      correct: extendedCorrection(networkRegression(network), networkJacobian(network), R, A.rows),
      stationary: S.data,
    });
  },
});

/** In information form: Σ = (M⁻¹ + Hᵀ R⁻¹ H)⁻¹, μ = ν + Σ Hᵀ R⁻¹ (x - h(ν)), H = h'(ν) [n, d]. */
export function extendedCorrection(
  h: Regression,
  jacobian: (z: ArrayLike<number>, out: Float64Array) => void,
  R: Matrix,
  d: number,
): Correction {
  const n = R.rows;
  const factor = new Float64Array(n * n);
  choleskyWithJitter(factor, R.data, n, "the observation noise R");
  const H = matrix(n, d).data;
  const weights = new Float64Array(d * n);
  const column = new Float64Array(n);
  const [innovation, shift] = [new Float64Array(n), new Float64Array(d)];
  const [a, b, c] = [new Float64Array(d * d), new Float64Array(d * d), new Float64Array(d * d)];
  return (x, nu, M, posterior) => {
    h(nu, innovation);
    for (let i = 0; i < n; i++) innovation[i] = x[i] - innovation[i];
    jacobian(nu, H);
    for (let k = 0; k < d; k++) {
      for (let i = 0; i < n; i++) column[i] = H[i * d + k];
      choleskySolve(factor, column, n);
      for (let i = 0; i < n; i++) weights[k * n + i] = column[i];
    }
    if (!cholesky(a, M, d)) posterior.jittered = choleskyWithJitter(a, M, d, "the predicted covariance") > 0;
    choleskyInverse(b, a, c, d);
    for (let p = 0; p < d; p++) {
      for (let q = 0; q < d; q++) {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += weights[p * n + i] * H[i * d + q];
        b[p * d + q] += sum;
      }
    }
    if (!cholesky(a, b, d)) posterior.jittered = choleskyWithJitter(a, b, d, "the posterior precision") > 0;
    choleskyInverse(posterior.covariance, a, c, d);
    apply(shift, weights, innovation, d, n);
    apply(posterior.mean, posterior.covariance, shift, d, d);
    for (let k = 0; k < d; k++) posterior.mean[k] += nu[k];
  };
}

/** z' ~ N(h(z), G) by linearisation: mean h(μ), covariance J Σ Jᵀ + G. */
export function extendedPrediction(
  h: Regression,
  jacobian: (z: ArrayLike<number>, out: Float64Array) => void,
  G: Float64Array,
  d: number,
): Prediction {
  const J = new Float64Array(d * d);
  const linear = linearPrediction(J, G, d);
  return (mean, covariance, outMean, outCovariance) => {
    jacobian(mean, J);
    linear(mean, covariance, outMean, outCovariance);
    h(mean, outMean);
  };
}
