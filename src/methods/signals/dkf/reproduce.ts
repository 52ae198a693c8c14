/** The discriminative filter's claims: its identity with Kalman's in the linear case, the monkey recording, the synthetic models, a rat. */
import { defineReproduction, type Measurement, type Plot } from "../../../papers/reproduction.ts";
import { bootstrap, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { extendedPrediction } from "../ekf/index.ts";
import { type Filter, filterAll } from "../filter.ts";
import { findFilter } from "../filters.ts";
import { type FitOptions, fitFilter, openFilter } from "../fit.ts";
import { linearCorrection } from "../kalman/index.ts";
import { type Matrix, matrix } from "../matrix.ts";
import { mixtureLogLikelihood } from "../mixture.ts";
import { createParticleFilter } from "../particle/index.ts";
import { posteriorEvents } from "../posterior-events.ts";
import { createRecursion, linearPrediction } from "../recursion.ts";
import { score } from "../scores.ts";
import { handVelocity, type Recorded, trackPosition } from "./recordings.ts";
import { exactMeasurement, normals, type Synthetic, synthesise, turningMotion } from "./synthetic.ts";
import { discriminativeCorrection, type IndefiniteRule } from "./update.ts";

const d = 10;

export const reproduction = defineReproduction({
  sizes: {
    tiny: { seeds: 2, bins: 150, particles: 200, channels: [10, 100], hand: 0, points: 0, place: 0 },
    quick: { seeds: 4, bins: 400, particles: 1000, channels: [10, 100], hand: 5000, points: 800, place: 1 },
    full: { seeds: 4, bins: 300, particles: 10_000, channels: [10, 32, 100], hand: 5000, points: 2000, place: 1 },
  },
  steps: ({ seeds, channels, hand, place }) =>
    1 + seeds * (channels.length + 1) + (hand > 0 ? 5 : 0) + (place > 0 ? 1 : 0),
  data: ({ hand, place }) => [
    ...(hand > 0 ? ["motor-cortex/flint-run1.features.csv.gz", "motor-cortex/flint-run1.velocity.csv.gz"] : []),
    ...(place > 0 ? ["hippocampus-place-cells/linear-track.json.gz"] : []),
  ],
  async measure({ step, seed, data }, { seeds, bins, particles, channels, hand, points, place }) {
    const measurements: Measurement[] = [];
    measurements.push({
      claim: "linear-case",
      value: await step("linear case", async () => linearCase(seed)),
      count: 1,
    });

    const worlds: Record<string, { exact: number; robust: number; alone: number; particle: number }[]> = {};
    for (const n of channels) {
      worlds[n] = [];
      for (let i = 0; i < seeds; i++) {
        worlds[n].push(
          await step(`mixture of ${n} channels, world ${i + 1}`, async () =>
            mixtureErrors(n, bins, particles, seed + i),
          ),
        );
      }
    }
    const many = worlds[channels.includes(100) ? 100 : channels[channels.length - 1]];
    const [fewest, most] = [worlds[channels[0]], worlds[channels[channels.length - 1]]];
    measurements.push(
      {
        claim: "synthetic-order",
        ...ratioOf(
          many.map(({ exact, alone }) => [exact, alone] as const),
          seed,
        ),
      },
      {
        claim: "robust",
        ...ratioOf(
          many.map(({ exact, robust }) => [exact, robust] as const),
          seed,
        ),
      },
      {
        claim: "particle-gap",
        ...meanOf(
          most.map(({ exact, particle }, i) => exact / particle - fewest[i].exact / fewest[i].particle),
          seed,
        ),
        note: `${particles} particles`,
        plot: errorPlot(channels, worlds),
      },
    );
    const turning: { exact: number; particle: number }[] = [];
    for (let i = 0; i < seeds; i++) {
      turning.push(await step(`rotating states, world ${i + 1}`, async () => turningErrors(bins, particles, seed + i)));
    }
    measurements.push({
      claim: "nonlinear-states",
      ...ratioOf(
        turning.map(({ exact, particle }) => [exact, particle] as const),
        seed,
      ),
      note: `${particles} particles`,
    });

    if (hand > 0) {
      const recorded = await handVelocity(
        data("motor-cortex", "flint-run1.features.csv.gz"),
        data("motor-cortex", "flint-run1.velocity.csv.gz"),
        hand,
      );
      measurements.push(...(await handClaims(recorded, step, seed, points)));
    }
    if (place > 0) {
      const recorded = await trackPosition(data("hippocampus-place-cells", "linear-track.json.gz"), 640, 800);
      const errors = await step("place cells", () => placeErrors(recorded, seed));
      const pairs = errors.dkf.map((error, i) => [error, errors.bayesian[i]] as const);
      const ratio = bootstrap(
        pairs,
        (sample) => median(sample.map(([a]) => a)) / median(sample.map(([, b]) => b)),
        seed,
      );
      const details = Object.fromEntries(
        Object.entries(errors).map(([name, list]) => [`median error in pixels, ${name}`, median(list)]),
      );
      measurements.push({ claim: "place-cells", ...ratio, details });
    }
    return measurements;
  },
  /** A hand that goes round, twelve channels bent at both ends, and what the filter believes of bins that it never saw. */
  async trace(signal) {
    const [learnt, shown] = [800, 60];
    const noise = normals(3, 1);
    const states = matrix(learnt + shown, 2);
    const observations = matrix(learnt + shown, 12);
    for (let t = 0; t < states.rows; t++) {
      const z = [Math.sin(t / 9), Math.sin(t / 6.1 + 1)];
      states.data.set(z, 2 * t);
      for (let k = 0; k < 12; k++) {
        const along = z[0] * Math.cos(k / 2) + z[1] * Math.sin(k / 2);
        observations.data[12 * t + k] = Math.tanh(2 * along + 0.5 * Math.sin(k)) + 0.6 * noise();
      }
    }
    const rows = (from: number, to: number) => ({
      states: matrix(to - from, 2, states.data.slice(2 * from, 2 * to)),
      observations: matrix(to - from, 12, observations.data.slice(12 * from, 12 * to)),
    });
    const method = findFilter("dkf");
    const filter = openFilter(method, await fitFilter(method, rows(0, learnt), { signal }));
    const test = rows(learnt, learnt + shown);
    return posteriorEvents(filterAll(filter, test.observations), test.states);
  },
});

/** Largest difference over 300 bins, in means and covariances. */
function linearCase(seed: number): number {
  const world = synthesise("mixture", 4, 6, 300, seed);
  const only = { ...world.components[0], probability: 1 };
  const shared = {
    stateDimension: 4,
    observationDimension: 6,
    predict: linearPrediction(world.A.data, world.G.data, 4),
    stationary: world.S.data,
  };
  const discriminative = createRecursion({
    ...shared,
    ...discriminativeCorrection(exactMeasurement([only], world.S.data), world.S.data, 4, "clip"),
  });
  const kalman = createRecursion({ ...shared, correct: linearCorrection(only.H, only.R) });
  const [a, b] = [filterAll(discriminative, world.observations), filterAll(kalman, world.observations)];
  const largest = (x: Matrix, y: Matrix) => x.data.reduce((most, v, i) => Math.max(most, Math.abs(v - y.data[i])), 0);
  return Math.max(largest(a.means, b.means), largest(a.covariances, b.covariances));
}

const error = (a: Matrix, b: Matrix) =>
  Math.sqrt(a.data.reduce((sum, v, i) => sum + (v - b.data[i]) ** 2, 0) / a.data.length);

function exactFilter(
  world: Synthetic,
  rule: IndefiniteRule,
  predict = linearPrediction(world.A.data, world.G.data, d),
): Filter {
  return createRecursion({
    stateDimension: d,
    observationDimension: world.observations.columns,
    predict,
    ...discriminativeCorrection(exactMeasurement(world.components, world.S.data), world.S.data, d, rule),
    stationary: world.S.data,
  });
}

function particleFilter(
  world: Synthetic,
  particles: number,
  seed: number,
  move: (z: Float64Array, at: number, out: Float64Array) => void,
): Filter {
  return createParticleFilter({
    stateDimension: d,
    observationDimension: world.observations.columns,
    particles,
    seed,
    stationary: world.S.data,
    noise: world.G.data,
    move,
    likelihood: mixtureLogLikelihood(world.components),
  });
}

function mixtureErrors(n: number, bins: number, particles: number, seed: number) {
  const world = synthesise("mixture", d, n, bins, seed);
  const { f } = exactMeasurement(world.components, world.S.data);
  const alone = matrix(bins, d);
  for (let t = 0; t < bins; t++)
    f(world.observations.data.subarray(t * n, (t + 1) * n), alone.data.subarray(t * d, (t + 1) * d));
  const decoded = (filter: Filter) => error(filterAll(filter, world.observations).means, world.states);
  const linear = (z: Float64Array, at: number, out: Float64Array) => {
    for (let i = 0; i < d; i++) {
      out[i] = 0;
      for (let k = 0; k < d; k++) out[i] += world.A.data[i * d + k] * z[at + k];
    }
  };
  return {
    exact: decoded(exactFilter(world, "clip")),
    robust: decoded(exactFilter(world, "robust-always")),
    alone: error(alone, world.states),
    particle: decoded(particleFilter(world, particles, seed, linear)),
  };
}

function turningErrors(bins: number, particles: number, seed: number) {
  const world = synthesise("rotating", d, 100, bins, seed);
  const { move, jacobian } = turningMotion(world.A);
  const decoded = (filter: Filter) => error(filterAll(filter, world.observations).means, world.states);
  const particle = particleFilter(world, particles, seed, (z, at, out) => move(z.subarray(at, at + d), out));
  return {
    exact: decoded(exactFilter(world, "clip", extendedPrediction(move, jacobian, world.G.data, d))),
    particle: decoded(particle),
  };
}

function errorPlot(
  channels: readonly number[],
  worlds: Record<string, { exact: number; robust: number; alone: number; particle: number }[]>,
): Plot {
  const series = (name: string, key: "exact" | "robust" | "alone" | "particle") => ({
    name,
    points: channels.map((n): [number, number] => [
      n,
      worlds[n].reduce((sum, world) => sum + world[key], 0) / worlds[n].length,
    ]),
  });
  return {
    title: "Error by number of observed channels, synthetic mixture",
    x: { label: "channels", scale: "log" },
    y: { label: "root mean squared error" },
    series: [
      series("regression alone", "alone"),
      series("robust", "robust"),
      series("discriminative", "exact"),
      series("particles", "particle"),
    ],
  };
}

type StepFunction = Parameters<(typeof reproduction)["measure"]>[0]["step"];

async function handClaims(
  { train, test }: Recorded,
  step: StepFunction,
  seed: number,
  points: number,
): Promise<Measurement[]> {
  const decode = (key: string, name: string, options: Record<string, unknown>) =>
    step(key, async ({ progress }) => {
      const fit: FitOptions = {
        features: "as-is",
        centreStates: false,
        seed,
        options,
        onProgress: (_, done, total) => progress(done / total),
      };
      const method = findFilter(name);
      const trajectory = filterAll(openFilter(method, await fitFilter(method, train, fit)), test.observations);
      const { nrmse, angularError } = score(trajectory.means, test.states);
      // The first 100 bins of the first dimension, for the picture.
      const picture = Array.from({ length: 100 }, (_, t) => [
        trajectory.means.data[2 * t],
        Math.sqrt(trajectory.covariances.data[4 * t]),
      ]);
      return { nrmse, angle: angularError!, picture };
    });
  const kalman = await decode("hand, kalman", "kalman", {});
  const [shrink, clip] = [
    await decode("hand, shrink", "dkf", { indefinite: "shrink" }),
    await decode("hand, clip", "dkf", { indefinite: "clip" }),
  ];
  const network = await decode("hand, network", "dkf", { regression: "network" });
  const process = await decode("hand, process", "dkf", {
    regression: "gaussian-process",
    points,
    hyperparameterPoints: Math.min(400, points),
  });
  const change = (ours: number, base: number) => 100 * (ours / base - 1);
  const figures = {
    "nRMSE, rule shrink": shrink.nrmse,
    "nRMSE, rule clip": clip.nrmse,
    "angular error, rule shrink": shrink.angle,
    "angular error, rule clip": clip.angle,
  };
  const plot: Plot = {
    title: "Hand velocity, decoded and true",
    x: { label: "bins of 100 ms" },
    y: { label: "velocity, first axis, ± 2 deviations" },
    series: [
      { name: "true", points: shrink.picture.map((_, t): [number, number] => [t, test.states.data[2 * t]]) },
      {
        name: "decoded",
        points: shrink.picture.map(([mean, deviation], t): [number, number, number, number] => [
          t,
          mean,
          mean - 2 * deviation,
          mean + 2 * deviation,
        ]),
      },
    ],
  };
  return [
    { claim: "kalman-error", value: kalman.angle, count: 1 },
    { claim: "kalman-nrmse", value: kalman.nrmse, count: 1 },
    {
      claim: "angular-error",
      value: change(Math.max(shrink.angle, clip.angle), kalman.angle),
      count: 1,
      details: figures,
      plot,
    },
    {
      claim: "relative-error",
      value: change(Math.max(shrink.nrmse, clip.nrmse), kalman.nrmse),
      count: 1,
      details: figures,
    },
    {
      claim: "network-angular-error",
      value: change(network.angle, kalman.angle),
      count: 1,
      details: { nRMSE: network.nrmse },
    },
    {
      claim: "process-angular-error",
      value: change(process.angle, kalman.angle),
      count: 1,
      details: { nRMSE: process.nrmse, points },
    },
  ];
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Distances in pixels over the running bins. */
async function placeErrors(
  { train, test }: Recorded,
  seed: number,
): Promise<Record<"dkf" | "kalman" | "bayesian" | "memoryless", number[]>> {
  const roots = ({ rows, columns, data }: Matrix) => matrix(rows, columns, data.map(Math.sqrt));
  const decode = async (name: string, options: Record<string, unknown>, counts: boolean) => {
    const method = findFilter(name);
    const seen = (m: Matrix) => (counts ? m : roots(m));
    const learn = { states: train.states, observations: seen(train.observations) };
    const model = await fitFilter(method, learn, { features: counts ? "as-is" : "standardised", seed, options });
    const { means } = filterAll(openFilter(method, model), seen(test.observations));
    const errors: number[] = [];
    for (let t = 0; t < means.rows; t++) {
      const distance = Math.hypot(
        means.data[2 * t] - test.states.data[2 * t],
        means.data[2 * t + 1] - test.states.data[2 * t + 1],
      );
      if (Number.isFinite(distance)) errors.push(distance);
    }
    return errors;
  };
  return {
    dkf: await decode("dkf", {}, false),
    kalman: await decode("kalman", {}, false),
    bayesian: await decode("place", { motion: 1.5 }, true),
    memoryless: await decode("place", {}, true),
  };
}
