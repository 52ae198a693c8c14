/**
 * Assumed-density filtering: the observation is a mixture of linear Gaussians; each component gives a Kalman update with its evidence,
 * and the mixture of posteriors is replaced by the Gaussian of the same mean and covariance.
 */
import { z } from "zod";
import { defineFilter } from "../filter.ts";
import { cholesky, choleskyInverse, choleskyWithJitter, matrix } from "../matrix.ts";
import { type Component, componentPosterior, fitMixture } from "../mixture.ts";
import { type Correction, createRecursion, fitStateModel, linearPrediction } from "../recursion.ts";

export const assumedDensity = defineFilter({
  name: "assumed-density",
  summary:
    "assumed density filter: several linear models of what is observed at once, whose answers are summed up as one Gaussian of their mean and covariance",
  smooths: true,
  options: z.strictObject({
    components: z
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe(
        "how many linear models there are: more fit channels that do not answer in a straight line, or in several ways, and need more data",
      ),
    iterations: z
      .int()
      .min(1)
      .max(1000)
      .default(50)
      .describe(
        "most steps in fitting the models (of expectation maximisation); fitting stops sooner where it no longer improves",
      ),
  }),
  async fit(data, { components: count, iterations }, { seed }) {
    const { A, G, S, radius } = fitStateModel(data);
    const { components, logLikelihood } = fitMixture(data.states, data.observations, count, iterations, seed);
    const arrays = { A, G, S, probabilities: matrix(1, components.length) };
    return {
      arrays: Object.assign(
        arrays,
        ...components.map(({ probability, H, R }, l) => {
          arrays.probabilities.data[l] = probability;
          return { [`H${l}`]: H, [`R${l}`]: R };
        }),
      ),
      notes: { spectralRadius: radius, logLikelihood },
    };
  },
  open({ arrays }) {
    const { A, G, S, probabilities } = arrays;
    const components = Array.from(probabilities.data, (probability, l) => ({
      probability,
      H: arrays[`H${l}`],
      R: arrays[`R${l}`],
    }));
    return createRecursion({
      stateDimension: A.rows,
      observationDimension: components[0].H.rows,
      predict: linearPrediction(A.data, G.data, A.rows),
      correct: mixtureCorrection(components),
      stationary: S.data,
    });
  },
});

/** The moment-matched posterior under a mixture of linear Gaussian observations. */
export function mixtureCorrection(components: readonly Component[]): Correction {
  const d = components[0].H.columns;
  const parts = components.map(componentPosterior);
  const [factor, inverse, scratch] = [new Float64Array(d * d), new Float64Array(d * d), new Float64Array(d * d)];
  return (x, nu, M, posterior) => {
    if (!cholesky(factor, M, d)) posterior.jittered = choleskyWithJitter(factor, M, d, "the predicted covariance") > 0;
    let logDeterminant = 0;
    for (let k = 0; k < d; k++) logDeterminant += 2 * Math.log(factor[k * d + k]);
    choleskyInverse(inverse, factor, scratch, d);
    let largest = -Infinity;
    for (const part of parts) {
      part.update(x, nu, inverse, logDeterminant);
      if (part.logEvidence > largest) largest = part.logEvidence;
    }
    let total = 0;
    for (const part of parts) total += Math.exp(part.logEvidence - largest);
    const { mean, covariance } = posterior;
    mean.fill(0);
    covariance.fill(0);
    for (const part of parts) {
      const weight = Math.exp(part.logEvidence - largest) / total;
      for (let k = 0; k < d; k++) mean[k] += weight * part.mean[k];
    }
    for (const part of parts) {
      const weight = Math.exp(part.logEvidence - largest) / total;
      for (let i = 0; i < d; i++) {
        for (let j = 0; j < d; j++) {
          const spread = (part.mean[i] - mean[i]) * (part.mean[j] - mean[j]);
          covariance[i * d + j] += weight * (part.covariance[i * d + j] + spread);
        }
      }
    }
  };
}
