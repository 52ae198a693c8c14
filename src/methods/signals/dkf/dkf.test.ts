import { describe, expect, it } from "vitest";
import { assumedDensity, mixtureCorrection } from "../assumed-density/index.ts";
import { type Filter, filterAll } from "../filter.ts";
import { fitFilter, openFilter } from "../fit.ts";
import { gaussianProcessRegression } from "../gaussian-process.ts";
import { kalman, linearCorrection } from "../kalman/index.ts";
import { foldDistances, kernelRegression, leaveOneOutBandwidth, leaveOneOutError } from "../kernel.ts";
import { type Matrix, matrix, symmetricEigen } from "../matrix.ts";
import { createRecursion, linearPrediction } from "../recursion.ts";
import { score } from "../scores.ts";
import { dkf } from "./index.ts";
import { exactMeasurement, normals, synthesise, turningMotion } from "./synthetic.ts";
import { clippedCovariance, createInformation, discriminativeCorrection, type IndefiniteRule } from "./update.ts";

const rootMeanSquare = (a: Matrix, b: Matrix) =>
  Math.sqrt(a.data.reduce((sum, v, i) => sum + (v - b.data[i]) ** 2, 0) / a.data.length);

function discriminative(world: ReturnType<typeof synthesise>, rule: IndefiniteRule): Filter {
  const d = world.A.rows;
  const measurement = exactMeasurement(world.components, world.S.data);
  return createRecursion({
    stateDimension: d,
    observationDimension: world.observations.columns,
    predict: linearPrediction(world.A.data, world.G.data, d),
    ...discriminativeCorrection(measurement, world.S.data, d, rule),
    stationary: world.S.data,
  });
}

describe("the discriminative Kalman filter", () => {
  it("is the Kalman filter on a linear Gaussian model with exact f and Q, at every step", () => {
    const world = synthesise("mixture", 4, 6, 200, 5);
    const [component] = world.components;
    const only = { ...component, probability: 1 };
    const exact = discriminative({ ...world, components: [only] }, "clip");
    const linear = createRecursion({
      stateDimension: 4,
      observationDimension: 6,
      predict: linearPrediction(world.A.data, world.G.data, 4),
      correct: linearCorrection(only.H, only.R),
      stationary: world.S.data,
    });
    for (let t = 0; t < 200; t++) {
      const x = world.observations.data.subarray(6 * t, 6 * t + 6);
      const [a, b] = [exact.step(x), linear.step(x)];
      for (let i = 0; i < 4; i++) expect(Math.abs(a.mean[i] - b.mean[i])).toBeLessThan(1e-9);
      for (let i = 0; i < 16; i++) expect(Math.abs(a.covariance[i] - b.covariance[i])).toBeLessThan(1e-9);
    }
    expect(exact.counters.indefinite).toBe(0);
  });

  it("beats its robust form, the regression alone and a Kalman filter where E[x | z] = 0, and the gap closes as channels grow", async () => {
    const gaps: number[] = [];
    for (const n of [32, 100]) {
      const world = synthesise("mixture", 10, n, 1200, 3);
      const [clip, robust] = (["clip", "robust-always"] as const).map((rule) =>
        rootMeanSquare(filterAll(discriminative(world, rule), world.observations).means, world.states),
      );
      const { f } = exactMeasurement(world.components, world.S.data);
      const alone = matrix(1200, 10);
      for (let t = 0; t < 1200; t++) {
        f(world.observations.data.subarray(t * n, (t + 1) * n), alone.data.subarray(10 * t, 10 * t + 10));
      }
      const unfiltered = rootMeanSquare(alone, world.states);
      gaps.push(robust - clip);
      expect(clip).toBeLessThan(robust);
      expect(robust).toBeLessThan(unfiltered);
      if (n === 100) expect(unfiltered).toBeLessThan(0.6);
      const cut = (a: Matrix, from: number) =>
        matrix(1200, a.columns, a.data.slice(from * a.columns, (from + 1200) * a.columns));
      const more = synthesise("mixture", 10, n, 2400, 3);
      const learnt = await fitFilter(kalman, { states: cut(more.states, 0), observations: cut(more.observations, 0) });
      const { means } = filterAll(openFilter(kalman, learnt), cut(more.observations, 1200));
      expect(rootMeanSquare(means, cut(more.states, 1200))).toBeGreaterThan(0.95);
    }
    expect(gaps[1]).toBeLessThan(gaps[0]);
  });

  it("matches moments as the exact posterior of a mixture has them, by quadrature", () => {
    const R = (value: number) => matrix(1, 1, Float64Array.of(value));
    const components = [
      { probability: 0.3, H: R(1.2), R: R(0.4) },
      { probability: 0.7, H: R(-0.8), R: R(2) },
    ];
    const posterior = { mean: new Float64Array(1), covariance: new Float64Array(1) };
    const full = { ...posterior, missing: false, indefinite: false, fallback: false, jittered: false };
    mixtureCorrection(components)(Float64Array.of(1.7), Float64Array.of(0.4), Float64Array.of(0.9), full);
    const normal = (x: number, variance: number) => Math.exp((-x * x) / (2 * variance)) / Math.sqrt(variance);
    let [total, first, second] = [0, 0, 0];
    for (let z = -12; z < 12; z += 1e-3) {
      const likelihood = components.reduce((s, c) => s + c.probability * normal(1.7 - c.H.data[0] * z, c.R.data[0]), 0);
      const weight = likelihood * normal(z - 0.4, 0.9);
      total += weight;
      first += weight * z;
      second += weight * z * z;
    }
    expect(full.mean[0]).toBeCloseTo(first / total, 6);
    expect(full.covariance[0]).toBeCloseTo(second / total - (first / total) ** 2, 6);
  });

  it("has rules that agree where nothing is indefinite, and differ as published where something is", () => {
    const S = Float64Array.of(1, 0.2, 0.2, 0.8);
    const tight = Float64Array.of(0.3, 0.1, 0.1, 0.2);
    const wide = Float64Array.of(2.5, 0.1, 0.1, 0.3);
    const always = (_: ArrayLike<number>, out: Float64Array) => {
      out.set([0.7, -0.4]);
      return true;
    };
    const update = (rule: IndefiniteRule, Q: Float64Array) => {
      const { correct } = discriminativeCorrection({ f: always, Q }, S, 2, rule);
      const out = {
        mean: new Float64Array(2),
        covariance: new Float64Array(4),
        missing: false,
        indefinite: false,
        fallback: false,
        jittered: false,
      };
      correct([0], Float64Array.of(0.3, 0.5), Float64Array.of(0.5, 0.1, 0.1, 0.4), out);
      return out;
    };
    const [one, two, three] = (["robust-step", "shrink", "clip"] as const).map((rule) => update(rule, tight));
    expect(one.indefinite).toBe(false);
    for (const other of [two, three])
      expect([...other.mean, ...other.covariance]).toEqual([...one.mean, ...one.covariance]);

    const [step, shrink, clip] = (["robust-step", "shrink", "clip"] as const).map((rule) => update(rule, wide));
    expect([step.indefinite, shrink.indefinite, clip.indefinite]).toEqual([true, true, true]);
    for (let i = 0; i < 4; i++) expect(shrink.covariance[i]).toBeCloseTo(step.covariance[i], 12);
    expect(Math.abs(shrink.mean[0] - step.mean[0])).toBeGreaterThan(0.05);
    expect(update("robust-always", wide).covariance).toEqual(step.covariance);

    // clip is the plain update with the covariance that the rule leaves.
    const left = clippedCovariance(wide, S, 2);
    const again = update("clip", left);
    for (let i = 0; i < 2; i++) expect(clip.mean[i]).toBeCloseTo(again.mean[i], 6);
  });

  it("never leaves a covariance that is wider than the prior under the rule clip", () => {
    const normal = normals(8, 0);
    for (let trial = 0; trial < 50; trial++) {
      const random = () => {
        const root = Float64Array.from({ length: 9 }, normal);
        return Float64Array.from({ length: 9 }, (_, i) => {
          const [r, c] = [Math.floor(i / 3), i % 3];
          return root[3 * r] * root[3 * c] + root[3 * r + 1] * root[3 * c + 1] + root[3 * r + 2] * root[3 * c + 2];
        });
      };
      const [S, Q] = [random(), random()];
      const left = clippedCovariance(Q, S, 3);
      const values = new Float64Array(3);
      symmetricEigen(
        values,
        new Float64Array(9),
        S.map((v, i) => v - 0.5 * (left[i] + left[3 * (i % 3) + Math.floor(i / 3)])),
        3,
      );
      expect(Math.min(...values)).toBeGreaterThan(-1e-10);
      const information = createInformation(S, 3, "clip");
      information.read(Q);
      symmetricEigen(values, new Float64Array(9), Float64Array.from(information.gain), 3);
      expect(Math.min(...values)).toBeGreaterThan(-1e-10 * Math.max(1, ...values));
    }
  });

  it("turns states as its Jacobian says", () => {
    const { A } = synthesise("rotating", 5, 1, 2, 1);
    const { move, jacobian } = turningMotion(A);
    const z = Float64Array.of(0.3, -0.8, 1.1, 0.2, -0.5);
    const J = new Float64Array(25);
    jacobian(z, J);
    const [above, below] = [new Float64Array(5), new Float64Array(5)];
    for (let j = 0; j < 5; j++) {
      const at = (step: number) => z.map((v, k) => (k === j ? v + step : v));
      move(at(1e-5), above);
      move(at(-1e-5), below);
      for (let i = 0; i < 5; i++) expect(J[5 * i + j]).toBeCloseTo((above[i] - below[i]) / 2e-5, 7);
    }
  });

  it("refuses unstable dynamics but for its robust form, and prototypes for a network", async () => {
    const states = matrix(
      60,
      1,
      Float64Array.from({ length: 60 }, (_, t) => 1.1 ** t),
    );
    const normal = normals(2, 0);
    const observations = matrix(
      60,
      1,
      states.data.map((v) => v + normal()),
    );
    const fitted = (options: Record<string, unknown>) =>
      fitFilter(
        dkf,
        { states, observations },
        { options: { covariance: "constant", ...options }, centreStates: false },
      );
    await expect(fitted({})).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/unstable.*robust-always/),
    });
    await expect(fitted({ indefinite: "robust-always" })).resolves.toBeTruthy();
    await expect(fitted({ indefinite: "robust-always", regression: "network", prototypes: 8 })).rejects.toThrow(
      /prototypes/,
    );
  });

  it("is fitted and opened with every regression, and each beats predicting the mean", async () => {
    const world = synthesise("mixture", 2, 5, 700, 4);
    const [component] = world.components;
    const normal = normals(4, 9);
    const observations = matrix(700, 5);
    for (let t = 0; t < 700; t++) {
      for (let i = 0; i < 5; i++) {
        const z = world.states.data.subarray(2 * t, 2 * t + 2);
        const mean = component.H.data[2 * i] * z[0] + component.H.data[2 * i + 1] * z[1];
        observations.data[5 * t + i] = Math.tanh(2 * mean) + 0.3 * normal();
      }
    }
    const part = (a: Matrix, from: number, to: number) =>
      matrix(to - from, a.columns, a.data.slice(from * a.columns, to * a.columns));
    const train = { states: part(world.states, 0, 500), observations: part(observations, 0, 500) };
    for (const regression of ["kernel", "network", "gaussian-process", "multi-kernel"]) {
      for (const covariance of ["state-dependent", "constant"]) {
        const options = { regression, covariance, hyperparameterPoints: 60, points: 150, iterations: 20 };
        const filter = openFilter(dkf, await fitFilter(dkf, train, { options }));
        const { nrmse } = score(filterAll(filter, part(observations, 500, 700)).means, part(world.states, 500, 700));
        expect(nrmse, `${regression}, ${covariance}`).toBeLessThan(0.7);
      }
    }
    const filter = openFilter(assumedDensity, await fitFilter(assumedDensity, train));
    expect(score(filterAll(filter, observations).means, world.states).nrmse).toBeLessThan(0.7);
  });
});

describe("kernel regression", () => {
  const normal = normals(1, 0);
  const x = matrix(40, 3, Float64Array.from({ length: 120 }, normal));
  const y = matrix(40, 4, Float64Array.from({ length: 160 }, normal));

  it("has the leave-one-out error that refits without each point have", async () => {
    // All folds, and every fourth where so many distances are too many.
    for (const [bandwidth, most, step] of [
      [0.01, 1600, 1],
      [0.3, 1600, 1],
      [4, 1600, 1],
      [0.3, 400, 4],
    ]) {
      let expected = 0;
      for (let left = 0; left < 40; left += step) {
        const others = Array.from({ length: 40 }, (_, i) => i).filter((i) => i !== left);
        const rows = (a: Matrix) =>
          matrix(
            39,
            a.columns,
            Float64Array.from(others.flatMap((i) => [...a.data.subarray(i * a.columns, (i + 1) * a.columns)])),
          );
        const out = new Float64Array(4);
        kernelRegression(rows(x), rows(y), bandwidth)(x.data.subarray(3 * left, 3 * left + 3), out);
        for (let k = 0; k < 4; k++) expected += (out[k] - y.data[4 * left + k]) ** 2;
      }
      expect(leaveOneOutError(await foldDistances(x, most), y, bandwidth)).toBeCloseTo(expected, 9);
    }
  });

  it("finds its bandwidth in bounded room, and stops between evaluations", async () => {
    // All pairs of 40 000 points would take 6 GB.
    const many = matrix(40_000, 1, Float64Array.from({ length: 40_000 }, normal));
    expect((await foldDistances(many)).distances.byteLength).toBeLessThanOrEqual(2 ** 28);
    const controller = new AbortController();
    const counts: number[] = [];
    const search = leaveOneOutBandwidth(x, y, 0.3, {
      signal: controller.signal,
      onProgress(done, total) {
        counts.push(done);
        expect(total).toBeGreaterThanOrEqual(done);
        if (done === 3) setImmediate(() => controller.abort()); // as a signal to the process comes
      },
    });
    await expect(search).rejects.toMatchObject({ code: "aborted" });
    expect(counts.length).toBeLessThan(6);
  });

  it("is the ratio of sums of its definition", () => {
    const out = new Float64Array(4);
    expect(kernelRegression(x, y, 0.5)([0.1, 0.2, -0.3], out)).toBe(true);
    let [total, sum] = [0, 0];
    for (let i = 0; i < 40; i++) {
      const distance = [0.1, 0.2, -0.3].reduce((s, v, k) => s + (v - x.data[3 * i + k]) ** 2, 0);
      total += Math.exp(-distance / (2 * 0.5));
      sum += Math.exp(-distance / (2 * 0.5)) * y.data[4 * i + 2];
    }
    expect(out[2]).toBeCloseTo(sum / total, 12);
  });

  it("falls back to the nearest neighbour, and says so, where all weights underflow", () => {
    const out = new Float64Array(4);
    expect(kernelRegression(x, y, 1e-4)([50, 50, 50], out)).toBe(false);
    expect(out.every(Number.isFinite)).toBe(true);
  });

  it("gives positive semi-definite covariances for any observation", () => {
    const products = matrix(40, 4);
    for (let i = 0; i < 40; i++) {
      const [a, b] = [y.data[4 * i], y.data[4 * i + 1]];
      products.data.set([a * a, a * b, a * b, b * b], 4 * i);
    }
    const Q = kernelRegression(x, products, 0.2);
    const out = new Float64Array(4);
    for (let trial = 0; trial < 200; trial++) {
      Q([5 * normal(), 5 * normal(), 5 * normal()], out);
      expect(out[0] * out[3] - out[1] * out[2]).toBeGreaterThan(-1e-12);
      expect(out[0]).toBeGreaterThanOrEqual(0);
    }
  });
});

it("a broken channel moves the multi-kernel's answer little, and makes the product kernel forget everything", () => {
  const normal = normals(6, 0);
  const points = matrix(8, 40, Float64Array.from({ length: 320 }, normal));
  const weights = matrix(8, 1, Float64Array.from({ length: 8 }, normal));
  const hyperparameters = matrix(1, 3, Float64Array.of(Math.log(0.2), 0, -2));
  const x = points.data.slice(0, 40);
  const broken = x.map((v, k) => (k === 7 ? v + 5 : v));
  const answers = (kind: "product" | "multiple") => {
    const f = gaussianProcessRegression(kind, points, weights, hyperparameters);
    const [a, b] = [new Float64Array(1), new Float64Array(1)];
    f(x, a);
    f(broken, b);
    return [a[0], b[0]];
  };
  const [whole, hurt] = answers("multiple");
  const density = 1 / (Math.sqrt(2 * Math.PI) * 0.2);
  const bound = (density / 40) * weights.data.reduce((sum, w) => sum + Math.abs(w), 0);
  expect(Math.abs(whole - hurt)).toBeLessThanOrEqual(bound);
  expect(Math.abs(whole - hurt)).toBeGreaterThan(0);
  const [before, after] = answers("product");
  expect(Math.abs(before)).toBeGreaterThan(0.01);
  expect(Math.abs(after)).toBeLessThan(1e-100);
});
