/** The learnt parts of the discriminative filter: f by one of four regressions, Q by kernel regression or constant. */
import { z } from "zod";
import { uniform } from "../../../engine/random.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { nextTurn } from "../../../turn.ts";
import type { FitContext, PreparedData } from "../filter.ts";
import { fitGaussianProcess, gaussianProcessRegression } from "../gaussian-process.ts";
import { kernelRegression, leaveOneOutBandwidth } from "../kernel.ts";
import { choleskyWithJitter, covariance, type Matrix, matrix, selectRows } from "../matrix.ts";
import { fitNetwork, networkOptions, networkRegression } from "../network.ts";
import type { Regression } from "../regression.ts";
import { averageDirections } from "./directions.ts";
import { indefiniteRules } from "./update.ts";

export const dkfOptions = z.strictObject({
  regression: z
    .enum(["kernel", "network", "gaussian-process", "multi-kernel"])
    .default("kernel")
    .describe(
      "how states are learnt from observations: kernel is a good first choice; network is fast at run time; gaussian-process needs least data; multi-kernel survives broken channels",
    ),
  covariance: z
    .enum(["state-dependent", "constant"])
    .default("state-dependent")
    .describe(
      "how large the error of the regression is taken to be: state-dependent, differing with what is observed; or constant, the same in all bins, which needs less data",
    ),
  indefinite: z
    .enum(indefiniteRules)
    .default("shrink")
    .describe(
      "what to do in bins where the regression is less sure of the state than one is without any observation, which the filter's formula does not allow: shrink trusts the regression more there; robust-step leaves the spread of all states out of the formula there, robust-always in every bin, as an unstable state model needs; clip ignores the directions of the state in which that is so",
    ),
  heldOut: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.3)
    .describe(
      "share of the training points kept from the regression and used to learn its error: more estimate the error better and leave less to learn the regression from",
    ),
  bandwidth: z
    .number()
    .positive()
    .optional()
    .describe(
      "width of the kernel by which the regression kernel weighs training points, as a variance: larger averages over more unlike observations and is smoother; default: the one with the least leave-one-out error",
    ),
  covarianceBandwidth: z
    .number()
    .positive()
    .optional()
    .describe(
      "width of the kernel by which a state-dependent error is learnt, as a variance: larger lets the error differ less between observations; default: the one with the least leave-one-out error",
    ),
  ...networkOptions,
  points: z
    .int()
    .min(2)
    .max(20_000)
    .default(2000)
    .describe(
      "most training points that the regression keeps, where it is gaussian-process or multi-kernel: more fit better, and twice as many take eight times as long to fit",
    ),
  hyperparameterPoints: z
    .int()
    .min(2)
    .max(5000)
    .default(400)
    .describe(
      "how many training points gaussian-process and multi-kernel choose their length scale and noise by: more choose better and take longer",
    ),
  prototypes: z
    .int()
    .min(0)
    .max(64)
    .default(0)
    .describe(
      "replace the training points of the regression by this many averages, each of those whose state points into one of as many directions: faster and coarser, and not for network; 0 keeps the points",
    ),
});

type Options = z.output<typeof dkfOptions>;
type Arrays = Readonly<Record<string, Matrix>>;

/** A learnt part: what the model keeps of it, and what a reader may want to know. */
interface Learnt {
  readonly arrays: Arrays;
  readonly notes: Readonly<Record<string, number>>;
}

/** A random part of the rows for f, and the rest for Q, each in order. */
export function splitRows(rows: number, heldOut: number, seed: number): [number[], number[]] {
  const keys = Array.from({ length: rows }, (_, i) => uniform({ seed, request: 0 }, i, "data"));
  const ranked = keys.map((_, i) => i).sort((a, b) => keys[a] - keys[b]);
  const second = Math.min(rows - 1, Math.max(1, Math.round(rows * heldOut)));
  const ascending = (list: number[]) => list.sort((a, b) => a - b);
  return [ascending(ranked.slice(second)), ascending(ranked.slice(0, second))];
}

export async function fitRegression(
  data: PreparedData,
  rows: number[],
  options: Options,
  { seed, ...context }: FitContext,
): Promise<Learnt & { readonly regression: Regression }> {
  const x = selectRows(data.observations, rows);
  const y = selectRows(data.states, rows);
  const report = (done: number, total: number) => context.onProgress?.("regression", done, total);
  if (options.prototypes > 0) {
    ensure(
      options.regression !== "network",
      "bad_option",
      "prototypes average the training pairs of kernels and Gaussian processes; a network takes all of them",
    );
  }
  if (options.regression === "network") {
    const { hidden, iterations } = options;
    const network = await fitNetwork(x, y, { hidden, iterations, seed, signal: context.signal, onProgress: report });
    return { arrays: { ...network }, regression: networkRegression(network), notes: {} };
  }
  if (options.regression === "kernel") {
    const bandwidth =
      options.bandwidth ?? (await leaveOneOutBandwidth(x, y, 0.25, { signal: context.signal, onProgress: report }));
    // Residuals are those of the 70 %; the filter then uses all points with the bandwidth found.
    const kept = options.prototypes > 0 ? averageDirections(x, y, options.prototypes) : undefined;
    const arrays = {
      points: kept?.x ?? data.observations,
      values: kept?.y ?? data.states,
      bandwidth: matrix(1, 1, Float64Array.of(bandwidth)),
    };
    return {
      arrays: arrays,
      regression: kernelRegression(kept?.x ?? x, kept?.y ?? y, bandwidth),
      notes: { bandwidth },
    };
  }
  const kind = options.regression === "multi-kernel" ? "multiple" : "product";
  const stride = Math.max(1, x.rows / options.points);
  const thinned = Array.from({ length: Math.min(x.rows, options.points) }, (_, i) => Math.floor(i * stride));
  const kept =
    options.prototypes > 0
      ? averageDirections(x, y, options.prototypes)
      : { x: selectRows(x, thinned), y: selectRows(y, thinned) };
  const process = await fitGaussianProcess(kept.x, kept.y, {
    kind,
    hyperparameterPoints: options.hyperparameterPoints,
    evaluations: 30,
    grid: gridFor(kept.y),
    signal: context.signal,
    onProgress: report,
  });
  const arrays = { points: kept.x, weights: process.weights, hyperparameters: process.hyperparameters };
  return {
    arrays: arrays,
    regression: gaussianProcessRegression(kind, kept.x, process.weights, process.hyperparameters),
    notes: { logLikelihood: process.logLikelihood, points: kept.x.rows },
  };
}

/** The published grid, whose amplitudes are for velocities of deviation 0.058, moved to the deviation of these states. */
function gridFor(y: Matrix): number[][] {
  const { data } = covariance(y);
  let variance = 0;
  for (let k = 0; k < y.columns; k++) variance += data[k * y.columns + k] / y.columns;
  const shift = Math.log(Math.sqrt(variance) / 0.058);
  return [[1, 1.5, 2], [-3, -2.5, -2].map((a) => a + shift), [-4, -3.5, -3].map((s) => s + shift)];
}

export function openRegression(arrays: Arrays, regression: Options["regression"]): Regression {
  const { points, values, bandwidth, weights, hyperparameters, W1, b1, W2, b2 } = arrays;
  if (regression === "network") return networkRegression({ W1, b1, W2, b2 });
  if (regression === "kernel") return kernelRegression(points, values, bandwidth.data[0]);
  const kind = regression === "multi-kernel" ? "multiple" : "product";
  return gaussianProcessRegression(kind, points, weights, hyperparameters);
}

export async function residualsOf(
  regression: Regression,
  { states, observations }: PreparedData,
  rows: readonly number[],
  signal?: AbortSignal,
): Promise<Matrix> {
  const [n, d] = [observations.columns, states.columns];
  const out = matrix(rows.length, d);
  const predicted = new Float64Array(d);
  for (const [i, row] of rows.entries()) {
    if (i % 256 === 0) {
      await nextTurn();
      ensure(!signal?.aborted, "aborted", "fitting was interrupted");
    }
    regression(observations.data.subarray(row * n, (row + 1) * n), predicted);
    for (let k = 0; k < d; k++) out.data[i * d + k] = states.data[row * d + k] - predicted[k];
  }
  return out;
}

/** Kernel regression of r rᵀ on x: a convex combination of outer products, so positive semi-definite; or their mean. */
export async function fitCovariance(
  x: Matrix,
  residuals: Matrix,
  options: Options,
  { signal, onProgress }: Pick<FitContext, "signal" | "onProgress"> = {},
): Promise<Learnt> {
  const d = residuals.columns;
  if (options.covariance === "constant") {
    const Q = covariance(residuals);
    const factor = new Float64Array(d * d);
    if (choleskyWithJitter(factor, Q.data, d, "the residual covariance") > 0 && residuals.rows < d) {
      throw new VentrisError("bad_option", `Q cannot be learnt from ${residuals.rows} held-out points; give more data`);
    }
    return { arrays: { Q }, notes: {} };
  }
  const residualProducts = matrix(residuals.rows, d * d);
  for (let i = 0; i < residuals.rows; i++) {
    for (let a = 0; a < d; a++) {
      for (let b = 0; b < d; b++) {
        residualProducts.data[i * d * d + a * d + b] = residuals.data[i * d + a] * residuals.data[i * d + b];
      }
    }
  }
  const start = options.regression === "kernel" ? 5 : 0.25;
  const found =
    options.covarianceBandwidth ??
    (await leaveOneOutBandwidth(x, residualProducts, start, {
      signal,
      onProgress: (done, total) => onProgress?.("covariance", done, total),
    }));
  const residualBandwidth = matrix(1, 1, Float64Array.of(found));
  const arrays = { residualPoints: x, residualProducts, residualBandwidth };
  return { arrays: arrays, notes: { covarianceBandwidth: found } };
}
