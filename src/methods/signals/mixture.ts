/**
 * Observation models that are mixtures of linear Gaussians, x | z ~ Σ pₗ N(Hₗ z, Λₗ): their evidence and posterior under a Gaussian
 * prior, and fitting them to pairs by expectation maximisation.
 */
import { uniform } from "../../engine/random.ts";
import {
  apply,
  cholesky,
  choleskyInverse,
  choleskySolve,
  choleskyWithJitter,
  covariance,
  type Matrix,
  matrix,
  multiply,
  solveLower,
} from "./matrix.ts";

export interface Component {
  readonly probability: number;
  /** [n, d]. */
  readonly H: Matrix;
  /** [n, n]. */
  readonly R: Matrix;
}

const logTwoPi = Math.log(2 * Math.PI);

/** L of R = L Lᵀ, L⁻¹ H and log |R|. */
function whiten(H: Matrix, R: Matrix): { factor: Float64Array; whitened: Float64Array; logDeterminant: number } {
  const [n, d] = [H.rows, H.columns];
  const factor = new Float64Array(n * n);
  choleskyWithJitter(factor, R.data, n, "the noise of a mixture component");
  const whitened = new Float64Array(n * d);
  const column = new Float64Array(n);
  let logDeterminant = 0;
  for (let i = 0; i < n; i++) logDeterminant += 2 * Math.log(factor[i * n + i]);
  for (let k = 0; k < d; k++) {
    for (let i = 0; i < n; i++) column[i] = H.data[i * d + k];
    solveLower(factor, column, n);
    for (let i = 0; i < n; i++) whitened[i * d + k] = column[i];
  }
  return { factor, whitened, logDeterminant };
}

/** Posterior of one component under the prior N(ν, M), and the log evidence log N(x; H ν, H M Hᵀ + R) + log p. */
export interface ComponentPosterior {
  readonly mean: Float64Array;
  readonly covariance: Float64Array;
  logEvidence: number;
  update(x: ArrayLike<number>, nu: Float64Array, inverseM: Float64Array, logDeterminantM: number): void;
}

/**
 * In information form, so that a step costs O(d³ + n²): with whitened x̃ = L⁻¹ x and H̃ = L⁻¹ H (R = L Lᵀ), P = M⁻¹ + H̃ᵀ H̃ and
 * e = x̃ - H̃ ν, the log evidence is -½ (eᵀe - (H̃ᵀe)ᵀ P⁻¹ (H̃ᵀe) + log |R| + log |M| + log |P| + n log 2π).
 */
export function componentPosterior({ probability, H, R }: Component): ComponentPosterior {
  const [n, d] = [H.rows, H.columns];
  const { factor, whitened, logDeterminant } = whiten(H, R);
  const information = new Float64Array(d * d);
  for (let i = 0; i < n; i++)
    for (let a = 0; a < d; a++)
      for (let b = 0; b < d; b++) information[a * d + b] += whitened[i * d + a] * whitened[i * d + b];
  const error = new Float64Array(n);
  const [shift, moved] = [new Float64Array(d), new Float64Array(d)];
  const [precision, root, scratch] = [new Float64Array(d * d), new Float64Array(d * d), new Float64Array(d * d)];
  const posterior: ComponentPosterior = {
    mean: new Float64Array(d),
    covariance: new Float64Array(d * d),
    logEvidence: 0,
    update(x, nu, inverseM, logDeterminantM) {
      for (let i = 0; i < n; i++) error[i] = x[i];
      solveLower(factor, error, n);
      let squared = 0;
      shift.fill(0);
      for (let i = 0; i < n; i++) {
        let e = error[i];
        for (let k = 0; k < d; k++) e -= whitened[i * d + k] * nu[k];
        squared += e * e;
        for (let k = 0; k < d; k++) shift[k] += whitened[i * d + k] * e;
      }
      for (let i = 0; i < d * d; i++) precision[i] = inverseM[i] + information[i];
      cholesky(root, precision, d);
      choleskyInverse(posterior.covariance, root, scratch, d);
      apply(moved, posterior.covariance, shift, d, d);
      let logDeterminantP = 0;
      let explained = 0;
      for (let k = 0; k < d; k++) {
        logDeterminantP += 2 * Math.log(root[k * d + k]);
        explained += moved[k] * shift[k];
        posterior.mean[k] = nu[k] + moved[k];
      }
      posterior.logEvidence =
        Math.log(probability) -
        0.5 * (squared - explained + logDeterminant + logDeterminantM + logDeterminantP + n * logTwoPi);
    },
  };
  return posterior;
}

/** log p(x | z), row-wise fast: whitened once. */
export function mixtureLogLikelihood(
  components: readonly Component[],
): (x: ArrayLike<number>) => (z: Float64Array, at: number) => number {
  const parts = components.map(({ probability, H, R }) => {
    const [n, d] = [H.rows, H.columns];
    const { factor, whitened, logDeterminant } = whiten(H, R);
    const constant = Math.log(probability) - 0.5 * (n * logTwoPi + logDeterminant);
    return { factor, whitened, constant, error: new Float64Array(n), n, d };
  });
  const logs = new Float64Array(parts.length);
  const log = (z: Float64Array, at: number) => {
    let largest = -Infinity;
    for (let l = 0; l < parts.length; l++) {
      const { whitened, error, constant, n, d } = parts[l];
      let squared = 0;
      for (let i = 0; i < n; i++) {
        let e = error[i];
        for (let k = 0; k < d; k++) e -= whitened[i * d + k] * z[at + k];
        squared += e * e;
      }
      logs[l] = constant - 0.5 * squared;
      if (logs[l] > largest) largest = logs[l];
    }
    if (parts.length === 1) return largest;
    let sum = 0;
    for (let l = 0; l < parts.length; l++) sum += Math.exp(logs[l] - largest);
    return largest + Math.log(sum);
  };
  return (x) => {
    for (const { factor, error, n } of parts) {
      for (let i = 0; i < n; i++) error[i] = x[i];
      solveLower(factor, error, n);
    }
    return log;
  };
}

/** Points. */
const vanished = 1e-6;

/**
 * Expectation maximisation of a mixture of `count` linear regressions of x on z, or of fewer where one is left without points, from random
 * responsibilities. Returns the components and the mean log-likelihood of a point.
 */
export function fitMixture(
  states: Matrix,
  observations: Matrix,
  count: number,
  iterations: number,
  seed: number,
): { components: Component[]; logLikelihood: number } {
  const [m, d, n] = [states.rows, states.columns, observations.columns];
  let shares = Array.from({ length: count }, (_, l) =>
    Float64Array.from({ length: m }, (_, t) => 0.2 + uniform({ seed, request: l }, t, "initialise")),
  );
  normalise(shares);
  let components: Component[] = [];
  let logLikelihood = -Infinity;
  for (let iteration = 0; iteration < iterations; iteration++) {
    // A component that no point belongs to has no noise to speak of, and no part in the mixture.
    shares = shares.filter((share) => share.reduce((a, b) => a + b, 0) > vanished);
    components = shares.map((share) => weightedRegression(states, observations, share));
    const before = logLikelihood;
    logLikelihood = 0;
    const likelihoods = components.map((component) => mixtureLogLikelihood([component]));
    for (let t = 0; t < m; t++) {
      const x = observations.data.subarray(t * n, (t + 1) * n);
      let largest = -Infinity;
      for (let l = 0; l < shares.length; l++) {
        shares[l][t] = likelihoods[l](x)(states.data, t * d);
        largest = Math.max(largest, shares[l][t]);
      }
      let total = 0;
      for (let l = 0; l < shares.length; l++) {
        shares[l][t] = Math.exp(shares[l][t] - largest);
        total += shares[l][t];
      }
      logLikelihood += (largest + Math.log(total)) / m;
    }
    normalise(shares);
    if (Math.abs(logLikelihood - before) < 1e-7 * Math.abs(logLikelihood)) break;
  }
  return { components, logLikelihood };
}

function normalise(shares: readonly Float64Array[]): void {
  for (let t = 0; t < shares[0].length; t++) {
    let total = 0;
    for (const share of shares) total += share[t];
    for (const share of shares) share[t] /= total;
  }
}

function weightedRegression(states: Matrix, observations: Matrix, share: Float64Array): Component {
  const [m, d, n] = [states.rows, states.columns, observations.columns];
  const roots = share.map(Math.sqrt);
  const scaled = (a: Matrix) =>
    matrix(
      m,
      a.columns,
      a.data.map((v, i) => v * roots[Math.floor(i / a.columns)]),
    );
  const [z, x] = [scaled(states), scaled(observations)];
  const total = share.reduce((a, b) => a + b, 0);
  const gram = covariance(z);
  const factor = new Float64Array(d * d);
  choleskyWithJitter(factor, gram.data, d, "the states of a mixture component");
  const H = matrix(n, d);
  for (let t = 0; t < m; t++)
    for (let i = 0; i < n; i++)
      for (let k = 0; k < d; k++) H.data[i * d + k] += (x.data[t * n + i] * z.data[t * d + k]) / m;
  for (let i = 0; i < n; i++) choleskySolve(factor, H.data.subarray(i * d, (i + 1) * d), d);
  const predicted = matrix(m, n);
  const transposed = new Float64Array(d * n);
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) transposed[k * n + i] = H.data[i * d + k];
  multiply(predicted.data, z.data, transposed, m, d, n);
  for (let i = 0; i < m * n; i++) predicted.data[i] = x.data[i] - predicted.data[i];
  const R = covariance(predicted);
  let variance = 0;
  for (let i = 0; i < n; i++) variance += (R.data[i * n + i] * m) / total / n;
  for (let i = 0; i < n * n; i++) R.data[i] *= m / total;
  for (let i = 0; i < n; i++) R.data[i * n + i] += 1e-9 * variance;
  return { probability: total / m, H, R };
}
