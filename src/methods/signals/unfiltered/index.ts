/** What filters must beat: the regression alone, bin by bin, and the mean of the training states. */
import { z } from "zod";
import { dkf } from "../dkf/index.ts";
import { dkfOptions, openRegression } from "../dkf/learn.ts";
import { defineFilter } from "../filter.ts";
import { kernelRegression } from "../kernel.ts";
import { covariance } from "../matrix.ts";
import { type Correction, createRecursion, linearPrediction } from "../recursion.ts";

export const regressionOnly = defineFilter({
  name: "unfiltered",
  summary: "the regression of dkf alone, bin by bin, without a filter: what filters must beat",
  smooths: false,
  options: dkfOptions.omit({ indefinite: true }),
  fit: (data, options, context) => dkf.fit(data, { ...options, indefinite: "robust-always" }, context),
  open({ arrays }, options) {
    const { A, S, Q, residualPoints, residualProducts, residualBandwidth } = arrays;
    const f = openRegression(arrays, options.regression);
    const spread = Q ? undefined : kernelRegression(residualPoints, residualProducts, residualBandwidth.data[0]);
    return memoryless(A.rows, (arrays.points ?? arrays.W1).columns, S.data, (x, _mean, _covariance, posterior) => {
      const near = f(x, posterior.mean);
      if (!spread) posterior.covariance.set(Q.data);
      posterior.fallback = !near || (spread !== undefined && !spread(x, posterior.covariance));
    });
  },
});

export const zero = defineFilter({
  name: "zero",
  summary: "the same answer in every bin, the mean of the training states: what all must beat",
  smooths: false,
  options: z.strictObject({}),
  async fit({ states, observations }) {
    return {
      arrays: {
        S: covariance(states),
        channels: { rows: 1, columns: observations.columns, data: observations.data.slice(0, observations.columns) },
      },
      notes: {},
    };
  },
  open({ arrays: { S, channels } }) {
    return memoryless(S.rows, channels.columns, S.data, (_x, mean, covariance, posterior) => {
      posterior.mean.set(mean);
      posterior.covariance.set(covariance);
    });
  },
});

/** A filter that forgets: every bin has the prior N(0, S). */
function memoryless(d: number, n: number, S: Float64Array, correct: Correction) {
  const nothing = new Float64Array(d * d);
  return createRecursion({
    stateDimension: d,
    observationDimension: n,
    predict: linearPrediction(nothing, S, d),
    correct,
    stationary: S,
  });
}
