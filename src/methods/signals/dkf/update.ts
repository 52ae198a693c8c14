/**
 * The discriminative measurement update. With p(z | x) ≈ N(f(x), Q(x)) and the stationary p(z) = N(0, S), Bayes' rule gives
 * p(x | z) ∝ N(z; f, Q) / N(z; 0, S), and from the prior N(ν, M):
 *
 *     Σ = (Q⁻¹ + M⁻¹ - S⁻¹)⁻¹        μ = Σ (Q⁻¹ f + M⁻¹ ν)
 *
 * That needs Q⁻¹ - S⁻¹ positive definite. Where it is not, three published rules differ:
 *
 *     robust-step     for this step S⁻¹ := 0
 *     shrink          Q⁻¹ := Q⁻¹ + S⁻¹, and then as always: the same Σ as robust-step, with more weight on f
 *     clip            with Q v = e S v, e := min(e, 1): a clipped direction says nothing
 *     robust-always   S⁻¹ := 0 in every step, whether needed or not
 */
import {
  apply,
  cholesky,
  choleskyInverse,
  choleskyWithJitter,
  multiply,
  multiplyTransposed,
  solveLower,
  symmetricEigen,
  symmetrise,
} from "../matrix.ts";
import type { Correction } from "../recursion.ts";
import type { Regression } from "../regression.ts";

export const indefiniteRules = ["robust-step", "shrink", "clip", "robust-always"] as const;
export type IndefiniteRule = (typeof indefiniteRules)[number];

export interface Measurement {
  /** Mean of z given x. */
  readonly f: Regression;
  /** Covariance of z given x [d, d], the same for all x or a function that writes it and may fall back to the nearest. */
  readonly Q: Float64Array | Regression;
}

/** `start` is the first bin's: μ = f(x), Σ = Q(x). */
export function discriminativeCorrection(
  measurement: Measurement,
  S: Float64Array,
  d: number,
  rule: IndefiniteRule,
): { correct: Correction; start: Correction } {
  const { f, Q: covarianceOf } = measurement;
  const information = createInformation(S, d, rule);
  const mean = new Float64Array(d);
  const [vector, shifted] = [new Float64Array(d), new Float64Array(d)];
  const [a, b, c] = [new Float64Array(d * d), new Float64Array(d * d), new Float64Array(d * d)];
  let Q = new Float64Array(d * d);
  const varying = typeof covarianceOf === "function" ? covarianceOf : undefined;
  if (!varying) {
    Q = Float64Array.from(covarianceOf as Float64Array);
    information.read(Q);
  }
  return {
    correct(x, nu, M, posterior) {
      const near = f(x, mean);
      const known = varying ? varying(x, Q) : true;
      if (varying) information.read(Q);
      posterior.fallback = !near || !known;
      posterior.indefinite = information.indefinite;
      let jittered = information.jittered;
      if (!cholesky(a, M, d)) jittered = choleskyWithJitter(a, M, d, "the predicted covariance") > 0 || jittered;
      choleskyInverse(b, a, c, d);
      apply(vector, b, nu, d, d);
      apply(shifted, information.weight, mean, d, d);
      for (let i = 0; i < d; i++) vector[i] += shifted[i];
      for (let i = 0; i < d * d; i++) b[i] += information.gain[i];
      if (!cholesky(a, b, d)) jittered = choleskyWithJitter(a, b, d, "the posterior precision") > 0 || jittered;
      choleskyInverse(posterior.covariance, a, c, d);
      apply(posterior.mean, posterior.covariance, vector, d, d);
      posterior.jittered = jittered;
    },
    start(x, _nu, _M, posterior) {
      const near = f(x, mean);
      const known = varying ? varying(x, Q) : true;
      posterior.fallback = !near || !known;
      posterior.mean.set(mean);
      posterior.covariance.set(Q);
    },
  };
}

/** What an observation with covariance Q tells: the weight of f in the mean, and the gain of precision. */
export interface Information {
  /** [d, d]: Q⁻¹, of the Q that the rule leaves. */
  readonly weight: Float64Array;
  /** [d, d]: what is added to M⁻¹. */
  readonly gain: Float64Array;
  readonly indefinite: boolean;
  readonly jittered: boolean;
  read(Q: Float64Array): void;
}

export function createInformation(S: Float64Array, d: number, rule: IndefiniteRule): Information {
  const size = d * d;
  const array = () => new Float64Array(size);
  const [factorS, inverseS, scratch] = [array(), array(), array()];
  choleskyWithJitter(factorS, S, d, "the stationary covariance S");
  choleskyInverse(inverseS, factorS, scratch, d);
  const [weight, gain, factor, test] = [array(), array(), array(), array()];
  const [whitened, vectors, back] = [array(), array(), array()];
  const values = new Float64Array(d);
  const column = new Float64Array(d);

  /** Both matrices in the eigenbasis of L⁻¹ Q L⁻ᵀ, S = L Lᵀ, where S is the identity and Q diagonal. */
  function clip(Q: Float64Array): void {
    for (let pass = 0; pass < 2; pass++) {
      const from = pass === 0 ? Q : test;
      for (let j = 0; j < d; j++) {
        for (let i = 0; i < d; i++) column[i] = from[j * d + i];
        solveLower(factorS, column, d);
        for (let i = 0; i < d; i++) (pass === 0 ? test : whitened)[i * d + j] = column[i];
      }
    }
    symmetrise(whitened, d);
    symmetricEigen(values, vectors, whitened, d);
    // back = L⁻ᵀ V; scratch holds L⁻¹ after choleskyInverse.
    choleskyInverse(test, factorS, scratch, d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        let sum = 0;
        for (let k = i; k < d; k++) sum += scratch[k * d + i] * vectors[k * d + j];
        back[i * d + j] = sum;
      }
    }
    const smallest = 1e-12;
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < d; i++) {
        for (let j = 0; j < d; j++) {
          const e = Math.min(1, Math.max(values[j], smallest));
          test[i * d + j] = back[i * d + j] * (pass === 0 ? 1 / e : 1 / e - 1);
        }
      }
      multiplyTransposed(pass === 0 ? weight : gain, test, back, d, d, d);
    }
    symmetrise(weight, d);
    symmetrise(gain, d);
  }

  const state = { weight, gain, indefinite: false, jittered: false, read };
  function read(Q: Float64Array): void {
    state.indefinite = false;
    state.jittered = false;
    if (!cholesky(factor, Q, d)) {
      choleskyWithJitter(factor, Q, d, "the observation covariance Q");
      state.jittered = true;
    }
    choleskyInverse(weight, factor, scratch, d);
    if (rule === "robust-always") {
      gain.set(weight);
      return;
    }
    for (let i = 0; i < size; i++) gain[i] = weight[i] - inverseS[i];
    if (cholesky(test, gain, d)) return;
    state.indefinite = true;
    if (rule === "clip") clip(Q);
    else {
      gain.set(weight);
      if (rule === "shrink") for (let i = 0; i < size; i++) weight[i] += inverseS[i];
    }
  }
  return state;
}

/** The covariance that the rule clip leaves of Q [d, d]: S V diag(min(e, 1)) V⁻¹ in the authors' words. */
export function clippedCovariance(Q: Float64Array, S: Float64Array, d: number): Float64Array {
  const factor = new Float64Array(d * d);
  choleskyWithJitter(factor, S, d, "the stationary covariance S");
  const whitened = new Float64Array(d * d);
  const half = new Float64Array(d * d);
  for (let j = 0; j < d; j++) {
    const column = Float64Array.from({ length: d }, (_, i) => Q[i * d + j]);
    solveLower(factor, column, d);
    for (let i = 0; i < d; i++) half[j * d + i] = column[i];
  }
  for (let j = 0; j < d; j++) {
    const column = Float64Array.from({ length: d }, (_, i) => half[i * d + j]);
    solveLower(factor, column, d);
    for (let i = 0; i < d; i++) whitened[j * d + i] = column[i];
  }
  symmetrise(whitened, d);
  const values = new Float64Array(d);
  const vectors = new Float64Array(d * d);
  symmetricEigen(values, vectors, whitened, d);
  const basis = new Float64Array(d * d);
  multiply(basis, factor, vectors, d, d, d);
  const scaled = basis.map((v, i) => v * Math.min(1, values[i % d]));
  const out = new Float64Array(d * d);
  multiplyTransposed(out, scaled, basis, d, d, d);
  return out;
}
