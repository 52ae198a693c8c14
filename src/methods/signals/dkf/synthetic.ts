/**
 * The authors' synthetic models, with the constants of the journal code: states z [d] with S = I, A = 0.95 I - 0.05 everywhere and
 * G = S - A S Aᵀ; observations x [n] that a Kalman filter learns nothing from.
 *
 *     mixture     x = H z + N(0, I) or x = -H z + N(0, 5 I), as likely: E[x | z] = 0
 *     bernoulli   bit k tests one coordinate of z against a threshold, right 99 times in 100; in half of the bins all bits are flipped
 *     rotating    as mixture, and z' = A h(z) + noise, where h turns pairs of coordinates by the angle |z|
 */
import { normal, uniform } from "../../../engine/random.ts";
import { mixtureCorrection } from "../assumed-density/index.ts";
import { newEstimate } from "../filter.ts";
import { choleskyWithJitter, type Matrix, matrix, sandwich } from "../matrix.ts";
import type { Component } from "../mixture.ts";
import type { Regression } from "../regression.ts";
import type { Measurement } from "./update.ts";

export type SyntheticKind = "mixture" | "bernoulli" | "rotating";

export interface Synthetic {
  readonly states: Matrix;
  readonly observations: Matrix;
  /** Of the states, all [d, d]. */
  readonly A: Matrix;
  readonly G: Matrix;
  readonly S: Matrix;
  /** The true observation model of `mixture` and `rotating`. */
  readonly components: readonly Component[];
}

/** Normal draws that are a function of the seed and their number. */
export function normals(seed: number, stream: number): () => number {
  let draws = 0;
  return () => normal({ seed, request: stream }, draws++, "data");
}

export function synthesise(kind: SyntheticKind, d: number, n: number, bins: number, seed: number): Synthetic {
  const [motion, noise, world] = [normals(seed, 1), normals(seed, 2), normals(seed, 3)];
  const A = matrix(d, d);
  for (let i = 0; i < d * d; i++) A.data[i] = (i % (d + 1) === 0 ? 0.95 : 0) - 0.05;
  const S = identity(d, 1);
  const G = matrix(d, d);
  sandwich(G.data, A.data, S.data, undefined, new Float64Array(d * d), d, d);
  for (let i = 0; i < d * d; i++) G.data[i] = S.data[i] - G.data[i];
  const rootG = new Float64Array(d * d);
  choleskyWithJitter(rootG, G.data, d, "G");
  const H = matrix(n, d);
  for (let i = 0; i < n * d; i++) H.data[i] = world() / Math.sqrt(d);
  const negative = matrix(
    n,
    d,
    H.data.map((v) => -v),
  );
  const components = [
    { probability: 0.5, H, R: identity(n, 1) },
    { probability: 0.5, H: negative, R: identity(n, 5) },
  ];
  const tested = Array.from({ length: n }, () => ({ coordinate: 0, threshold: 0 }));
  for (const [k, test] of tested.entries()) {
    test.coordinate = Math.floor(uniform({ seed, request: 4 }, k, "data") * d);
    test.threshold = world();
  }

  const states = matrix(bins, d);
  const observations = matrix(bins, n);
  const turned = new Float64Array(d);
  const draw = new Float64Array(d);
  for (let t = 0; t < bins; t++) {
    const z = states.data.subarray(t * d, (t + 1) * d);
    for (let k = 0; k < d; k++) draw[k] = motion();
    if (t === 0) z.set(draw);
    else {
      const before = states.data.subarray((t - 1) * d, t * d);
      if (kind === "rotating") turn(before, turned);
      else turned.set(before);
      for (let i = 0; i < d; i++) {
        for (let k = 0; k < d; k++) z[i] += A.data[i * d + k] * turned[k] + (k <= i ? rootG[i * d + k] * draw[k] : 0);
      }
    }
    const flipped = uniform({ seed, request: 5 }, t, "data") < 0.5;
    for (let i = 0; i < n; i++) {
      if (kind === "bernoulli") {
        const { coordinate, threshold } = tested[i];
        const chance = z[coordinate] > threshold !== flipped ? 0.99 : 0.01;
        observations.data[t * n + i] = uniform({ seed, request: 6 }, t, "data", i) < chance ? 1 : 0;
        continue;
      }
      const { H: map, R } = components[flipped ? 1 : 0];
      let x = Math.sqrt(R.data[0]) * noise();
      for (let k = 0; k < d; k++) x += map.data[i * d + k] * z[k];
      observations.data[t * n + i] = x;
    }
  }
  return { states, observations, A, G, S, components };
}

const identity = (n: number, value: number): Matrix =>
  matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? value : 0)),
  );

/** Turns the pairs (z1, z2), (z3, z4) … by the angle |z|; an odd last coordinate stays. */
export function turn(z: ArrayLike<number>, out: Float64Array): void {
  let angle = 0;
  for (let k = 0; k < z.length; k++) angle += z[k] * z[k];
  angle = Math.sqrt(angle);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  for (let k = 0; k < z.length; k++) out[k] = z[k];
  for (let k = 0; k + 1 < z.length; k += 2) {
    out[k] = c * z[k] - s * z[k + 1];
    out[k + 1] = s * z[k] + c * z[k + 1];
  }
}

/** z ↦ A h(z), and its Jacobian [d, d]. */
export function turningMotion(A: Matrix): {
  move: Regression;
  jacobian: (z: ArrayLike<number>, out: Float64Array) => void;
} {
  const d = A.rows;
  const turned = new Float64Array(d);
  const inner = new Float64Array(d * d);
  return {
    move(z, out) {
      turn(z, turned);
      for (let i = 0; i < d; i++) {
        let sum = 0;
        for (let k = 0; k < d; k++) sum += A.data[i * d + k] * turned[k];
        out[i] = sum;
      }
      return true;
    },
    jacobian(z, out) {
      let angle = 0;
      for (let k = 0; k < d; k++) angle += z[k] * z[k];
      angle = Math.sqrt(angle);
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      turn(z, turned);
      inner.fill(0);
      if (d % 2 === 1) inner[d * d - 1] = 1;
      for (let k = 0; k + 1 < d; k += 2) {
        inner[k * d + k] = c;
        inner[k * d + k + 1] = -s;
        inner[(k + 1) * d + k] = s;
        inner[(k + 1) * d + k + 1] = c;
        // The angle moves with z / |z|, and a turn's derivative is the turned vector, a quarter further.
        for (let j = 0; j < d && angle > 0; j++) {
          inner[k * d + j] -= (turned[k + 1] * z[j]) / angle;
          inner[(k + 1) * d + j] += (turned[k] * z[j]) / angle;
        }
      }
      for (let i = 0; i < d; i++) {
        for (let j = 0; j < d; j++) {
          let sum = 0;
          for (let k = 0; k < d; k++) sum += A.data[i * d + k] * inner[k * d + j];
          out[i * d + j] = sum;
        }
      }
    },
  };
}

/**
 * The exact f and Q of a mixture of linear Gaussians under N(0, S): with Dₗ = (S⁻¹ + Hₗᵀ Λₗ⁻¹ Hₗ)⁻¹, Vₗ = Dₗ Hₗᵀ Λₗ⁻¹ and weights wₗ ∝ pₗ N(x; 0,
 * Hₗ S Hₗᵀ + Λₗ), f = Σ wₗ Vₗ x and Q = Σ wₗ (Dₗ + Vₗ x xᵀ Vₗᵀ) - f fᵀ: the moments of the posterior from that prior.
 */
export function exactMeasurement(components: readonly Component[], S: Float64Array): Measurement {
  const d = components[0].H.columns;
  const correct = mixtureCorrection(components);
  const origin = new Float64Array(d);
  const posterior = newEstimate(d);
  const moments = (x: ArrayLike<number>) => correct(x, origin, S, posterior);
  return {
    f: (x, out) => {
      moments(x);
      out.set(posterior.mean);
      return true;
    },
    Q: (x, out) => {
      moments(x);
      out.set(posterior.covariance);
      return true;
    },
  };
}
