/**
 * The bootstrap particle filter (Gordon, Salmond and Smith 1993): draw from the prior, weigh by the likelihood, average, resample,
 * propagate. Weights are logarithms; resampling is systematic, in every step. Draws are functions of seed, bin and particle.
 */
import { z } from "zod";
import { uniform } from "../../../engine/random.ts";
import {
  count,
  defineFilter,
  type Filter,
  type FilterParameters,
  newCounters,
  newEstimate,
  requireSnapshot,
  snapshotOf,
  usable,
} from "../filter.ts";
import { fitLinearObservation } from "../kalman/index.ts";
import { fitObservationNetwork } from "../learnt-observation.ts";
import { choleskyWithJitter, type Matrix, solveLower } from "../matrix.ts";
import { type Component, fitMixture, mixtureLogLikelihood } from "../mixture.ts";
import { networkOptions, networkRegression } from "../network.ts";
import { fitStateModel } from "../recursion.ts";

export const particle = defineFilter({
  name: "particle",
  summary:
    "particle filter (bootstrap): many guesses of the state move on, and those that explain an observation best are kept",
  source: "Gordon, Salmond and Smith 1993",
  smooths: false,
  options: z.strictObject({
    particles: z
      .int()
      .min(2)
      .max(1_000_000)
      .default(1000)
      .describe(
        "how many guesses (particles) follow the state: twice as many come closer to the exact answer and take twice as long",
      ),
    observation: z
      .enum(["linear", "mixture", "network"])
      .default("linear")
      .describe(
        "model of how observations follow from states: linear is fast; mixture and network fit what is not linear",
      ),
    components: z
      .int()
      .min(2)
      .max(16)
      .default(2)
      .describe(
        "how many linear models there are where observation is mixture: more fit finer relations and need more data",
      ),
    hidden: networkOptions.hidden,
    iterations: networkOptions.iterations.describe("most training steps where observation is mixture or network"),
    seed: z.int().min(0).default(0).describe("seed of the particles' draws: the same seed gives the same path"),
  }),
  async fit(data, options, context): Promise<FilterParameters> {
    const { A, G, S, radius } = fitStateModel(data);
    const notes = { spectralRadius: radius };
    if (options.observation === "linear") {
      const { C, R } = fitLinearObservation(data.states, data.observations);
      return { arrays: { A, G, S, H0: C, R0: R }, notes };
    }
    if (options.observation === "network") {
      const model = await fitObservationNetwork(data, { ...options, heldOut: 0.3 }, context);
      return { arrays: { A, G, S, ...model }, notes };
    }
    const { components } = fitMixture(
      data.states,
      data.observations,
      options.components,
      options.iterations,
      context.seed,
    );
    const probabilities = {
      rows: 1,
      columns: components.length,
      data: Float64Array.from(components, (c) => c.probability),
    };
    const arrays = components.flatMap(({ H, R }, l): [string, Matrix][] => [
      [`H${l}`, H],
      [`R${l}`, R],
    ]);
    return { arrays: { A, G, S, probabilities, ...Object.fromEntries(arrays) }, notes };
  },
  open({ arrays }, { particles, observation, seed }) {
    const { A, G, S, probabilities, R, W1, b1, W2, b2 } = arrays;
    const d = A.rows;
    let likelihood: Likelihood;
    if (observation === "network") likelihood = networkLikelihood({ W1, b1, W2, b2, R });
    else {
      const components: Component[] = Array.from(probabilities?.data ?? [1], (probability, l) => ({
        probability,
        H: arrays[`H${l}`],
        R: arrays[`R${l}`],
      }));
      likelihood = mixtureLogLikelihood(components);
    }
    return createParticleFilter({
      stateDimension: d,
      observationDimension: (R ?? arrays.R0).rows,
      particles,
      seed,
      stationary: S.data,
      noise: G.data,
      move: (z, at, out) => {
        for (let i = 0; i < d; i++) {
          let sum = 0;
          for (let k = 0; k < d; k++) sum += A.data[i * d + k] * z[at + k];
          out[i] = sum;
        }
      },
      likelihood,
    });
  },
});

/** Given an observation, a function of particles: log of p(x | z) for z at an offset, up to a constant. */
export type Likelihood = (x: ArrayLike<number>) => (z: Float64Array, at: number) => number;

export interface ParticleOptions {
  readonly stateDimension: number;
  readonly observationDimension: number;
  readonly particles: number;
  readonly seed: number;
  /** Covariance of the first bin's prior, and of the noise of motion, both [d, d]. */
  readonly stationary: Float64Array;
  readonly noise: Float64Array;
  /** Where a particle goes without noise. */
  readonly move: (z: Float64Array, at: number, out: Float64Array) => void;
  readonly likelihood: Likelihood;
}

export function createParticleFilter(options: ParticleOptions): Filter {
  const { stateDimension: d, observationDimension: n, particles, seed, move, likelihood } = options;
  const [rootS, rootG] = [new Float64Array(d * d), new Float64Array(d * d)];
  choleskyWithJitter(rootS, options.stationary, d, "the stationary covariance S");
  choleskyWithJitter(rootG, options.noise, d, "the noise of motion G");
  let [current, other] = [new Float64Array(particles * d), new Float64Array(particles * d)];
  const weights = new Float64Array(particles);
  const moved = new Float64Array(d);
  const normals = new Float64Array(d + 1);
  const estimate = newEstimate(d);
  const counters = newCounters();
  let time = 0;

  /** Adds root · normal noise to the d values at `at`. */
  function perturb(z: Float64Array, at: number, root: Float64Array, particle: number): void {
    for (let k = 0; k < d; k += 2) {
      const stream = { seed, request: k };
      const radius = Math.sqrt(-2 * Math.log(1 - uniform(stream, time, "sample", 2 * particle)));
      const angle = 2 * Math.PI * uniform(stream, time, "sample", 2 * particle + 1);
      normals[k] = radius * Math.cos(angle);
      normals[k + 1] = radius * Math.sin(angle);
    }
    for (let i = 0; i < d; i++) for (let k = 0; k <= i; k++) z[at + i] += root[i * d + k] * normals[k];
  }

  function propagate(): void {
    for (let p = 0; p < particles; p++) {
      if (time === 0) {
        current.fill(0, p * d, (p + 1) * d);
        perturb(current, p * d, rootS, p);
      } else {
        move(current, p * d, moved);
        current.set(moved, p * d);
        perturb(current, p * d, rootG, p);
      }
    }
  }

  function weigh(x: ArrayLike<number> | undefined): void {
    if (x === undefined) {
      weights.fill(1 / particles);
      return;
    }
    const log = likelihood(x);
    let largest = -Infinity;
    for (let p = 0; p < particles; p++) {
      weights[p] = log(current, p * d);
      if (weights[p] > largest) largest = weights[p];
    }
    let total = 0;
    for (let p = 0; p < particles; p++) {
      weights[p] = Math.exp(weights[p] - largest);
      total += weights[p];
    }
    for (let p = 0; p < particles; p++) weights[p] /= total;
  }

  function average(): void {
    const { mean, covariance } = estimate;
    mean.fill(0);
    covariance.fill(0);
    for (let p = 0; p < particles; p++) for (let k = 0; k < d; k++) mean[k] += weights[p] * current[p * d + k];
    for (let p = 0; p < particles; p++) {
      for (let i = 0; i < d; i++) {
        const scaled = weights[p] * (current[p * d + i] - mean[i]);
        for (let j = 0; j <= i; j++) covariance[i * d + j] += scaled * (current[p * d + j] - mean[j]);
      }
    }
    for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) covariance[j * d + i] = covariance[i * d + j];
  }

  function resample(): void {
    const offset = uniform({ seed, request: d }, time, "accept");
    let cumulative = weights[0];
    for (let p = 0, source = 0; p < particles; p++) {
      const target = (p + offset) / particles;
      while (cumulative < target && source < particles - 1) cumulative += weights[++source];
      for (let k = 0; k < d; k++) other[p * d + k] = current[source * d + k];
    }
    [current, other] = [other, current];
  }

  return {
    stateDimension: d,
    observationDimension: n,
    counters,
    step(observation) {
      const present = usable(observation, n);
      propagate();
      weigh(present ? observation : undefined);
      average();
      if (present) resample();
      estimate.missing = !present;
      count(counters, estimate);
      time++;
      return estimate;
    },
    reset() {
      time = 0;
      Object.assign(counters, newCounters());
    },
    snapshot: () => snapshotOf(time, current),
    restore(state) {
      requireSnapshot(state, 1 + particles * d);
      time = state[0];
      current.set(state.subarray(1));
    },
  };
}

/** log N(x; h(z), R) up to a constant. */
function networkLikelihood({ R, ...network }: Readonly<Record<"W1" | "b1" | "W2" | "b2" | "R", Matrix>>): Likelihood {
  const n = R.rows;
  const factor = new Float64Array(n * n);
  choleskyWithJitter(factor, R.data, n, "the observation noise R");
  const h = networkRegression(network);
  const error = new Float64Array(n);
  let observed: ArrayLike<number> = error;
  const log = (z: Float64Array, at: number) => {
    h(z.subarray(at), error);
    for (let i = 0; i < n; i++) error[i] = observed[i] - error[i];
    solveLower(factor, error, n);
    let squared = 0;
    for (let i = 0; i < n; i++) squared += error[i] * error[i];
    return -0.5 * squared;
  };
  return (x) => {
    observed = x;
    return log;
  };
}
