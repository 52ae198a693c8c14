/**
 * The unscented Kalman filter (Julier and Uhlmann 1997; scaled as by Wan and van der Merwe 2000): x ~ N(h(z), R) with a learnt network h
 * that carries sigma points. Correct first, then predict, from N(0, S).
 */
import { z } from "zod";
import { observationOptions } from "../ekf/index.ts";
import { defineFilter } from "../filter.ts";
import { fitObservationNetwork } from "../learnt-observation.ts";
import {
  apply,
  cholesky,
  choleskySolve,
  choleskyWithJitter,
  type Matrix,
  multiplyTransposed,
  symmetrise,
} from "../matrix.ts";
import { networkRegression } from "../network.ts";
import { type Correction, createRecursion, fitStateModel, linearPrediction, type Prediction } from "../recursion.ts";
import type { Regression } from "../regression.ts";

export interface UnscentedOptions {
  readonly alpha: number;
  readonly beta: number;
  readonly kappa: number;
}

export const ukf = defineFilter({
  name: "ukf",
  summary:
    "unscented Kalman filter: a network learns what is observed in each state, and is tried at points around the expected one",
  smooths: true,
  options: observationOptions.extend({
    alpha: z
      .number()
      .gt(0)
      .max(10)
      .default(1)
      .describe(
        "how far from the expected state the points lie at which the network is tried (the sigma points): smaller is closer to the extended filter",
      ),
    beta: z
      .number()
      .min(0)
      .max(10)
      .default(0)
      .describe(
        "weight that the point in the middle has in covariances beside its usual one; 2 is right where the state is Gaussian and alpha is small",
      ),
    kappa: z
      .number()
      .min(0)
      .max(100)
      .default(0)
      .describe(
        "a second number for how far the sigma points lie, which is alpha times the root of kappa plus the dimension of the state, in standard deviations; 0 is usual, and 3 minus the dimension suits Gaussian states where alpha is 1",
      ),
  }),
  async fit(data, options, context) {
    const { A, G, S, radius } = fitStateModel(data);
    const model = await fitObservationNetwork(data, options, context);
    return { arrays: { A, G, S, ...model }, notes: { spectralRadius: radius } };
  },
  open({ arrays: { A, G, S, R, W1, b1, W2, b2 } }, options) {
    return createRecursion({
      stateDimension: A.rows,
      observationDimension: R.rows,
      predict: linearPrediction(A.data, G.data, A.rows),
      correct: unscentedCorrection(networkRegression({ W1, b1, W2, b2 }), R, A.rows, options),
      stationary: S.data,
    });
  },
});

/** Sigma points through a function: mean and covariance of its value, and the cross covariance with the argument. */
function createTransform(f: Regression, d: number, n: number, { alpha, beta, kappa }: UnscentedOptions) {
  const spread = alpha * alpha * (d + kappa); // λ + d
  const side = 1 / (2 * spread);
  const centreMean = 1 - d / spread;
  const centreCovariance = centreMean + 1 - alpha * alpha + beta;
  const [sides, half] = [2 * d, Math.sqrt(side)];
  const root = new Float64Array(d * d);
  const centred = new Float64Array(n * sides);
  const values = new Float64Array((2 * d + 1) * n);
  const point = new Float64Array(d);
  const transform = {
    mean: new Float64Array(n),
    covariance: new Float64Array(n * n),
    /** [d, n]. */
    cross: new Float64Array(d * n),
    jittered: false,
    run(mean: Float64Array, covariance: Float64Array) {
      transform.jittered = false;
      if (!cholesky(root, covariance, d)) {
        transform.jittered = choleskyWithJitter(root, covariance, d, "the covariance of the sigma points") > 0;
      }
      const step = Math.sqrt(spread);
      for (let s = 0; s <= 2 * d; s++) {
        const sign = s === 0 ? 0 : s <= d ? step : -step;
        const column = s === 0 ? 0 : (s - 1) % d;
        for (let k = 0; k < d; k++) point[k] = mean[k] + sign * root[k * d + column];
        f(point, transform.mean);
        for (let i = 0; i < n; i++) values[s * n + i] = transform.mean[i];
      }
      for (let i = 0; i < n; i++) {
        let sum = centreMean * values[i];
        for (let s = 1; s <= 2 * d; s++) sum += side * values[s * n + i];
        transform.mean[i] = sum;
      }
      // By channel, about the mean and with half of each weight: a covariance is then a plain sum of products.
      for (let i = 0; i < n; i++) {
        const centre = transform.mean[i];
        for (let s = 1; s <= 2 * d; s++) centred[i * sides + s - 1] = half * (values[s * n + i] - centre);
      }
      for (let i = 0; i < n; i++) {
        const own = centreCovariance * (values[i] - transform.mean[i]);
        for (let j = 0; j <= i; j++) {
          let sum = own * (values[j] - transform.mean[j]);
          for (let s = 0; s < sides; s++) sum += centred[i * sides + s] * centred[j * sides + s];
          transform.covariance[i * n + j] = sum;
          transform.covariance[j * n + i] = sum;
        }
      }
      for (let k = 0; k < d; k++) {
        for (let i = 0; i < n; i++) {
          let sum = 0;
          for (let s = 0; s <= k; s++) {
            sum += root[k * d + s] * (centred[i * sides + s] - centred[i * sides + s + d]);
          }
          transform.cross[k * n + i] = half * step * sum;
        }
      }
    },
  };
  return transform;
}

export function unscentedCorrection(h: Regression, R: Matrix, d: number, options: UnscentedOptions): Correction {
  const n = R.rows;
  const transform = createTransform(h, d, n, options);
  const factor = new Float64Array(n * n);
  const [gain, row, reduction] = [new Float64Array(d * n), new Float64Array(n), new Float64Array(d * d)];
  const innovation = new Float64Array(n);
  return (x, nu, M, posterior) => {
    transform.run(nu, M);
    posterior.jittered = transform.jittered;
    for (let i = 0; i < n * n; i++) transform.covariance[i] += R.data[i];
    if (!cholesky(factor, transform.covariance, n)) {
      choleskyWithJitter(factor, transform.covariance, n, "the predicted observation covariance");
      posterior.jittered = true;
    }
    for (let k = 0; k < d; k++) {
      for (let i = 0; i < n; i++) row[i] = transform.cross[k * n + i];
      choleskySolve(factor, row, n);
      for (let i = 0; i < n; i++) gain[k * n + i] = row[i];
    }
    for (let i = 0; i < n; i++) innovation[i] = x[i] - transform.mean[i];
    apply(posterior.mean, gain, innovation, d, n);
    for (let k = 0; k < d; k++) posterior.mean[k] += nu[k];
    multiplyTransposed(reduction, transform.cross, gain, d, n, d); // the gain times the covariance is the cross covariance
    for (let i = 0; i < d * d; i++) posterior.covariance[i] = M[i] - reduction[i];
    symmetrise(posterior.covariance, d);
  };
}

/** z' ~ N(h(z), G) by sigma points. */
export function unscentedPrediction(h: Regression, G: Float64Array, d: number, options: UnscentedOptions): Prediction {
  const transform = createTransform(h, d, d, options);
  return (mean, covariance, outMean, outCovariance) => {
    transform.run(mean, covariance);
    outMean.set(transform.mean);
    for (let i = 0; i < d * d; i++) outCovariance[i] = transform.covariance[i] + G[i];
  };
}
