/**
 * The discriminative Kalman filter (Burkhart et al. 2020): model p(z | x) ≈ N(f(x), Q(x)) with any regressor, and let Bayes' rule turn
 * it into a measurement (update.ts). In the authors' order: states A, G, S; f on 70 % of the training points; Q from the outer
 * products of f's residuals on the other 30 %.
 */
import { ensure } from "../../../errors.ts";
import { defineFilter } from "../filter.ts";
import { kernelRegression } from "../kernel.ts";
import { selectRows } from "../matrix.ts";
import { createRecursion, fitStateModel, linearPrediction } from "../recursion.ts";
import { dkfOptions, fitCovariance, fitRegression, openRegression, residualsOf, splitRows } from "./learn.ts";
import { discriminativeCorrection } from "./update.ts";

export const dkf = defineFilter({
  name: "dkf",
  summary:
    "discriminative Kalman filter: a regression learns states from observations, and its answers are combined with how states move",
  source: "Burkhart et al. 2020",
  smooths: true,
  options: dkfOptions,
  async fit(data, options, context) {
    const { A, G, S, radius } = fitStateModel(data);
    if (radius >= 1) {
      ensure(
        options.indefinite === "robust-always",
        "bad_option",
        `the fitted dynamics are unstable (spectral radius ${radius.toFixed(4)}), so that no stationary prior exists; use indefinite=robust-always`,
      );
    }
    const [first, second] = splitRows(data.states.rows, options.heldOut, context.seed);
    const learnt = await fitRegression(data, first, options, context);
    const residuals = await residualsOf(learnt.regression, data, second, context.signal);
    const spread = await fitCovariance(selectRows(data.observations, second), residuals, options, context);
    const notes = { spectralRadius: radius, ...learnt.notes, ...spread.notes };
    return { arrays: { A, G, S, ...learnt.arrays, ...spread.arrays }, notes };
  },
  open({ arrays }, options) {
    const { A, G, S, Q, residualPoints, residualProducts, residualBandwidth } = arrays;
    const d = A.rows;
    const f = openRegression(arrays, options.regression);
    const covarianceOf = Q ? Q.data : kernelRegression(residualPoints, residualProducts, residualBandwidth.data[0]);
    const { correct, start } = discriminativeCorrection({ f, Q: covarianceOf }, S.data, d, options.indefinite);
    return createRecursion({
      stateDimension: d,
      observationDimension: (arrays.points ?? arrays.W1).columns,
      predict: linearPrediction(A.data, G.data, d),
      correct,
      start,
      stationary: S.data,
    });
  },
});
