import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { normals, synthesise } from "./dkf/synthetic.ts";
import { extendedCorrection } from "./ekf/index.ts";
import { type FilterMethod, filterAll, newEstimate } from "./filter.ts";
import { filters, findFilter } from "./filters.ts";
import { type FilterModel, fitFilter, openFilter, smoothAll } from "./fit.ts";
import { linearCorrection } from "./kalman/index.ts";
import { cholesky, choleskyInverse, choleskySolve, type Matrix, matrix, symmetricEigen } from "./matrix.ts";
import { loadFilter, loadState, saveFilter, saveState } from "./model-file.ts";
import { fitNetwork, networkJacobian, networkRegression } from "./network.ts";
import { createParticleFilter } from "./particle/index.ts";
import { fitStateModel, spectralRadius } from "./recursion.ts";
import { angleBetween, score } from "./scores.ts";
import { trajectorySvg } from "./trajectory-svg.ts";
import { unscentedCorrection } from "./ukf/index.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-filters-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });
const rows = (a: Matrix, from: number, to: number) =>
  matrix(to - from, a.columns, a.data.slice(from * a.columns, to * a.columns));

/** A linear Gaussian world of two hidden dimensions and four channels. */
const world = (() => {
  const { states, components } = synthesise("mixture", 2, 4, 400, 11);
  const normal = normals(12, 0);
  const observations = matrix(400, 4);
  for (let t = 0; t < 400; t++) {
    for (let i = 0; i < 4; i++) {
      const [a, b] = components[0].H.data.subarray(2 * i, 2 * i + 2);
      observations.data[4 * t + i] = a * states.data[2 * t] + b * states.data[2 * t + 1] + 0.5 * normal();
    }
  }
  return { states, observations };
})();
const quick: Record<string, Record<string, unknown>> = {
  ekf: { iterations: 10 },
  ukf: { iterations: 10 },
  particle: { particles: 300 },
  lstm: { passes: 20, batch: 100, cells: 6 },
};
const models = new Map<FilterMethod, FilterModel>();
for (const method of filters.filter(({ name }) => name !== "place"))
  models.set(method, await fitFilter(method, world, { options: quick[method.name] }));

describe.each([...models.keys()].map((method) => [method.name, method] as const))("%s", (name, method) => {
  const model = models.get(method)!;

  it("follows the state better than its mean, with symmetric positive covariances", () => {
    const { means, covariances } = filterAll(openFilter(method, model), world.observations);
    if (name !== "zero") expect(score(means, world.states).nrmse).toBeLessThan(name === "lstm" ? 0.9 : 0.75);
    for (let t = 0; t < 400; t++) {
      const [a, b, c, d] = covariances.data.subarray(4 * t, 4 * t + 4);
      expect(b).toBeCloseTo(c, 12);
      expect(a).toBeGreaterThan(0);
      expect(a * d - b * c).toBeGreaterThan(0);
    }
  });

  it("gives bin by bin what it gives for the whole, and goes on from a saved state", async () => {
    const whole = filterAll(openFilter(method, model), world.observations);
    const file = join(folder, `${name}.safetensors`);
    await saveFilter(file, model);
    const again = await loadFilter(file);
    expect(again).toEqual({ ...model, stateNames: undefined, observationNames: undefined });
    const filter = openFilter(method, again);
    const state = `${file}.state`;
    for (let t = 0; t < 60; t++) {
      const { mean } = filter.step(world.observations.data.subarray(4 * t, 4 * t + 4));
      expect([...mean]).toEqual([...whole.means.data.subarray(2 * t, 2 * t + 2)]);
      if (t === 30) await saveState(state, filter, again);
    }
    const resumed = openFilter(method, model);
    await loadState(state, resumed, model);
    for (let t = 31; t < 60; t++) {
      const { mean } = resumed.step(world.observations.data.subarray(4 * t, 4 * t + 4));
      expect([...mean]).toEqual([...whole.means.data.subarray(2 * t, 2 * t + 2)]);
    }
  });

  it("takes missing and non-finite bins, and counts them", () => {
    const filter = openFilter(method, model);
    for (let t = 0; t < 20; t++) filter.step(world.observations.data.subarray(4 * t, 4 * t + 4));
    const { missing, mean } = filter.step(undefined);
    expect(missing).toBe(true);
    expect(mean.every(Number.isFinite)).toBe(true);
    expect(filter.step([1, Number.NaN, 0, 0]).missing).toBe(true);
    expect(filter.step([1, Infinity, 0, 0]).missing).toBe(true);
    expect(filter.step([1, 1, 0, 0]).missing).toBe(false);
    expect(filter.counters).toMatchObject({ steps: 24, missing: 3 });
    expect(() => filter.step([1, 2, 3])).toThrow(/3 values.*4 channels/);
  });

  it("answers in the same arrays at every step", () => {
    const filter = openFilter(method, model);
    const x = world.observations.data.subarray(0, 4);
    const estimate = filter.step(x);
    for (let t = 0; t < 20; t++) expect(filter.step(x)).toBe(estimate);
  });
});

describe("linear Gaussian filters", () => {
  const kalman = findFilter("kalman");
  const model = models.get(kalman)!;
  const { A, G, S } = model.parameters.arrays;

  it("lets the mean decay by A and the covariance go to the stationary one where bins are missing", () => {
    const filter = openFilter(kalman, model);
    for (let t = 0; t < 10; t++) filter.step(world.observations.data.subarray(4 * t, 4 * t + 4));
    const { stateMean } = model.parameters.arrays;
    let before = filter.step(undefined).mean.map((v, k) => v - stateMean.data[k]);
    for (let i = 0; i < 200; i++) {
      const { mean, covariance } = filter.step(undefined);
      const now = mean.map((v, k) => v - stateMean.data[k]);
      for (let k = 0; k < 2; k++)
        expect(now[k]).toBeCloseTo(A.data[2 * k] * before[0] + A.data[2 * k + 1] * before[1], 12);
      before = now;
      if (i === 199) for (let k = 0; k < 4; k++) expect(covariance[k]).toBeCloseTo(S.data[k], 1);
    }
  });

  it("filters and smooths as conditioning the joint Gaussian of a short recording does", () => {
    const T = 5;
    const { C, R, stateMean } = model.parameters.arrays;
    const x = rows(world.observations, 0, T);
    const filter = openFilter(kalman, model);
    const smoothed = smoothAll(kalman, model, x);
    const filtered = filterAll(filter, x);
    // Precision of (z1 … zT) given x, from the definition.
    const inverse = (a: Matrix) => {
      const n = a.rows;
      const [l, out, scratch] = [new Float64Array(n * n), new Float64Array(n * n), new Float64Array(n * n)];
      cholesky(l, a.data, n);
      choleskyInverse(out, l, scratch, n);
      return out;
    };
    const conditioned = (bins: number) => {
      const size = 2 * bins;
      const precision = new Float64Array(size * size);
      const shift = new Float64Array(size);
      const [iS, iG, iR] = [inverse(S), inverse(G), inverse(R)];
      const at = (t: number, i: number, u: number, j: number) => (2 * t + i) * size + 2 * u + j;
      const { featureMean, featureScale } = model.parameters.arrays;
      for (let t = 0; t < bins; t++) {
        for (let i = 0; i < 2; i++) {
          for (let j = 0; j < 2; j++) {
            precision[at(t, i, t, j)] += t === 0 ? iS[2 * i + j] : iG[2 * i + j];
            if (t > 0) {
              for (let p = 0; p < 2; p++) {
                precision[at(t, i, t - 1, j)] -= iG[2 * i + p] * A.data[2 * p + j];
                precision[at(t - 1, j, t, i)] -= iG[2 * i + p] * A.data[2 * p + j];
                for (let q = 0; q < 2; q++)
                  precision[at(t - 1, i, t - 1, j)] += A.data[2 * p + i] * iG[2 * p + q] * A.data[2 * q + j];
              }
            }
            for (let p = 0; p < 4; p++)
              for (let q = 0; q < 4; q++)
                precision[at(t, i, t, j)] += C.data[2 * p + i] * iR[4 * p + q] * C.data[2 * q + j];
          }
          for (let p = 0; p < 4; p++) {
            for (let q = 0; q < 4; q++) {
              const feature = (x.data[4 * t + q] - featureMean.data[q]) * featureScale.data[q];
              shift[2 * t + i] += C.data[2 * p + i] * iR[4 * p + q] * feature;
            }
          }
        }
      }
      const factor = new Float64Array(size * size);
      cholesky(factor, precision, size);
      choleskySolve(factor, shift, size);
      return { means: shift, covariance: inverse(matrix(size, size, precision)), size };
    };
    const all = conditioned(T);
    for (let t = 0; t < T; t++) {
      const past = conditioned(t + 1);
      for (let i = 0; i < 2; i++) {
        expect(smoothed.means.data[2 * t + i] - stateMean.data[i]).toBeCloseTo(all.means[2 * t + i], 9);
        expect(filtered.means.data[2 * t + i] - stateMean.data[i]).toBeCloseTo(past.means[2 * t + i], 9);
        for (let j = 0; j < 2; j++) {
          const smooth = all.covariance[(2 * t + i) * all.size + 2 * t + j];
          const causal = past.covariance[(2 * t + i) * past.size + 2 * t + j];
          expect(smoothed.covariances.data[4 * t + 2 * i + j]).toBeCloseTo(smooth, 9);
          expect(filtered.covariances.data[4 * t + 2 * i + j]).toBeCloseTo(causal, 9);
        }
      }
    }
    expect(() => smoothAll(findFilter("particle"), models.get(findFilter("particle"))!, x)).toThrow(
      /not defined for particle/,
    );
  });

  it("is what the extended and unscented corrections become with a linear h", () => {
    const H = matrix(3, 2, Float64Array.of(1, 0.4, -0.3, 0.8, 0.2, -1));
    const R = matrix(3, 3, Float64Array.of(0.5, 0.1, 0, 0.1, 0.4, 0, 0, 0, 0.8));
    const h = (z: ArrayLike<number>, out: Float64Array) => {
      for (let i = 0; i < 3; i++) out[i] = H.data[2 * i] * z[0] + H.data[2 * i + 1] * z[1];
      return true;
    };
    const correct = (correction: ReturnType<typeof linearCorrection>) => {
      const out = newEstimate(2);
      correction([0.5, -1, 2], Float64Array.of(0.2, 0.1), Float64Array.of(0.6, 0.2, 0.2, 0.9), out);
      return [...out.mean, ...out.covariance];
    };
    const expected = correct(linearCorrection(H, R));
    const others = [
      extendedCorrection(h, (_, out) => out.set(H.data), R, 2),
      unscentedCorrection(h, R, 2, { alpha: 1, beta: 0, kappa: 0 }),
      unscentedCorrection(h, R, 2, { alpha: 0.5, beta: 2, kappa: 1 }),
    ];
    for (const other of others) for (const [i, v] of correct(other).entries()) expect(v).toBeCloseTo(expected[i], 10);
  });
});

describe("a network with Bayesian regularisation", () => {
  it("learns a curve through noise, and its Jacobian is its derivative", async () => {
    const normal = normals(3, 0);
    const x = matrix(
      300,
      2,
      Float64Array.from({ length: 600 }, () => 2 * normal()),
    );
    const y = matrix(300, 1);
    const truth = (t: number) => Math.sin(x.data[2 * t]) + 0.5 * x.data[2 * t + 1];
    for (let t = 0; t < 300; t++) y.data[t] = truth(t) + 0.1 * normal();
    const network = await fitNetwork(x, y, { hidden: 10, iterations: 60, seed: 1 });
    const f = networkRegression(network);
    const out = new Float64Array(1);
    let error = 0;
    for (let t = 0; t < 300; t++) {
      f(x.data.subarray(2 * t, 2 * t + 2), out);
      error += (out[0] - truth(t)) ** 2 / 300;
    }
    expect(Math.sqrt(error)).toBeLessThan(0.06);
    const J = new Float64Array(2);
    networkJacobian(network)([0.3, -0.2], J);
    const at = (a: number, b: number) => {
      f([a, b], out);
      return out[0];
    };
    expect(J[0]).toBeCloseTo((at(0.3 + 1e-5, -0.2) - at(0.3 - 1e-5, -0.2)) / 2e-5, 6);
    expect(J[1]).toBeCloseTo((at(0.3, -0.2 + 1e-5) - at(0.3, -0.2 - 1e-5)) / 2e-5, 6);
  });
});

describe("bad data", () => {
  const kalman = findFilter("kalman");
  const fitted = (states: Matrix, observations: Matrix, options = {}) =>
    fitFilter(kalman, { states, observations }, options);

  it("is refused by name", async () => {
    const { states, observations } = world;
    await expect(fitted(rows(states, 0, 10), observations)).rejects.toEqual(
      failure("bad_shape", /10 bins of states and 400/),
    );
    await expect(fitted(rows(states, 0, 2), rows(observations, 0, 2))).rejects.toEqual(
      failure("bad_option", /there are 2 complete bins/),
    );
    const flat = matrix(
      400,
      4,
      observations.data.map((v, i) => (i % 4 === 2 ? 7 : v)),
    );
    await expect(fitted(states, flat)).rejects.toEqual(failure("bad_option", /channel 3 has the same value/));
    await expect(fitted(states, flat, { observationNames: ["a", "b", "Pz", "d"] })).rejects.toEqual(
      failure("bad_option", /channel Pz/),
    );
    await expect(fitted(states, matrix(400, 4))).rejects.toEqual(
      failure("bad_option", /channels 1,2,3,4 have the same/),
    );
    await expect(fitted(matrix(400, 2), observations)).rejects.toEqual(
      failure("bad_option", /states 1,2 never change:/),
    );
    const wide = matrix(8, 12, Float64Array.from({ length: 96 }, normals(5, 0)));
    await expect(fitted(rows(states, 0, 8), wide)).rejects.toEqual(
      failure("bad_option", /12 channels but only 8 bins.*principal/),
    );
    await expect(fitted(states, observations, { options: { rigde: 1 } })).rejects.toEqual(
      failure("bad_option", /rigde/),
    );
    await expect(fitted(states, observations, { features: 9 })).rejects.toEqual(
      failure("bad_option", /9 principal components of 4/),
    );
    expect(() => findFilter("kalmann")).toThrow(/did you mean "kalman"/);
  });

  it("is handled where it can be: constant channels among principal components, gaps, duplicated channels", async () => {
    const { states, observations } = world;
    const flat = matrix(
      400,
      4,
      observations.data.map((v, i) => (i % 4 === 2 ? 7 : v)),
    );
    expect(
      score(filterAll(openFilter(kalman, await fitted(states, flat, { features: 3 })), flat).means, states).nrmse,
    ).toBeLessThan(0.8);
    await expect(fitted(states, flat, { features: 4 })).rejects.toEqual(failure("bad_option", /fewer than 4/));

    const holes = matrix(
      400,
      4,
      observations.data.map((v, i) => (i >= 400 && i < 440 ? Number.NaN : v)),
    );
    const model = await fitted(states, holes);
    expect([model.bins, model.skippedBins]).toEqual([390, 10]);
    const { means } = filterAll(openFilter(kalman, model), holes);
    expect(means.data.every(Number.isFinite)).toBe(true);

    // A channel given twice makes the noise covariance singular.
    const twice = matrix(
      400,
      5,
      Float64Array.from({ length: 2000 }, (_, i) => observations.data[4 * Math.floor(i / 5) + Math.min(i % 5, 3)]),
    );
    expect(score(filterAll(openFilter(kalman, await fitted(states, twice)), twice).means, states).nrmse).toBeLessThan(
      0.8,
    );
  });

  it("without any noise leaves a mixture the components that have points", async () => {
    const states = matrix(
      240,
      1,
      Float64Array.from({ length: 240 }, (_, t) => Math.sin(t / 5)),
    );
    const observations = matrix(
      240,
      2,
      Float64Array.from({ length: 480 }, (_, i) => states.data[i >> 1]),
    );
    for (const [name, options] of [
      ["assumed-density", {}],
      ["particle", { observation: "mixture" }],
    ] as const) {
      const model = await fitFilter(findFilter(name), { states, observations }, { options });
      const { means } = filterAll(openFilter(findFilter(name), model), observations);
      expect(score(means, states).nrmse, name).toBeLessThan(0.05);
    }
  });

  it("learns no motion across a gap", () => {
    const states = matrix(6, 1, Float64Array.of(1, 2, 4, 100, 200, 400));
    const { A } = fitStateModel({ states, observations: states, starts: new Set([0, 3]) });
    expect(A.data[0]).toBeCloseTo(2, 12);
  });

  it("among files is refused: the state of another model, damage, other files", async () => {
    const model = models.get(kalman)!;
    const other = await fitted(world.states, world.observations, { features: "centred" });
    const [file, state] = [join(folder, "k.safetensors"), join(folder, "k.state")];
    await saveFilter(file, model);
    const filter = openFilter(kalman, model);
    filter.step([0, 0, 0, 0]);
    await saveState(state, filter, model);
    await expect(loadState(state, openFilter(kalman, other), other)).rejects.toEqual(
      failure("bad_option", /state of another model/),
    );
    await expect(loadFilter(state)).rejects.toEqual(failure("bad_file", /not a fitted filter/));
    // Whole, with its own fingerprint, and yet no filter.
    const { A: _, ...rest } = model.parameters.arrays;
    for (const [forged, message] of [
      [{ ...model, parameters: { arrays: rest, notes: {} } }, /is no working kalman filter/],
      [{ ...model, observationDimension: 3 }, /is no working kalman filter/],
      [{ ...model, stateDimension: 1e9 }, /stateDimension must be at most 65536/],
      [{ ...model, method: "none" }, /no filter is called "none"/],
    ] as const) {
      await saveFilter(join(folder, "forged"), forged);
      await expect(loadFilter(join(folder, "forged")), String(message)).rejects.toEqual(failure("bad_file", message));
    }
    const { readFile } = await import("node:fs/promises");
    const bytes = await readFile(file);
    bytes[bytes.length - 3] ^= 1;
    await writeFile(join(folder, "flipped"), bytes);
    await expect(loadFilter(join(folder, "flipped"))).rejects.toEqual(failure("bad_file", /damaged/));
    await writeFile(join(folder, "cut"), bytes.subarray(0, bytes.length - 40));
    await expect(loadFilter(join(folder, "cut"))).rejects.toEqual(failure("bad_file", /truncated|ends at/));
  });
});

describe("small matrices", () => {
  it("come back from their eigenvectors", () => {
    const normal = normals(9, 0);
    const n = 7;
    const root = Float64Array.from({ length: n * n }, normal);
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) a[i * n + j] = root[i * n + j] + root[j * n + i];
    const [values, vectors] = [new Float64Array(n), new Float64Array(n * n)];
    symmetricEigen(values, vectors, Float64Array.from(a), n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += vectors[i * n + k] * values[k] * vectors[j * n + k];
        expect(sum).toBeCloseTo(a[i * n + j], 9);
      }
    }
  });

  it("have the spectral radius of their largest eigenvalue, complex ones too", () => {
    expect(spectralRadius(matrix(2, 2, Float64Array.of(0.6, -0.7, 0.7, 0.6)))).toBeCloseTo(Math.hypot(0.6, 0.7), 2);
    expect(spectralRadius(matrix(2, 2, Float64Array.of(1.05, 5, 0, 0.2)))).toBeCloseTo(1.05, 2);
    expect(spectralRadius(matrix(2, 2))).toBe(0);
  });

  it("that grow are said to, in the notes of the fit", async () => {
    const grow = async (by: number) => {
      const states = matrix(40, 1);
      const observations = matrix(40, 1);
      for (let t = 0; t < 40; t++) {
        states.data[t] = by ** t * (1 + 0.01 * Math.sin(7 * t));
        observations.data[t] = states.data[t] + 0.1 * Math.cos(5 * t);
      }
      const fitted = await fitFilter(findFilter("kalman"), { states, observations }, { centreStates: false });
      return fitted.parameters.notes.warning;
    };
    expect(await grow(1.1)).toMatch(/^the learnt dynamics grow by (9|10|11) % a bin: over missing bins/);
    expect(await grow(0.98)).toBeUndefined();
  });

  it("are compared by angles in [0, π], and zero vectors have one", () => {
    expect(angleBetween([1, 0.1], [1, -0.1])).toBeCloseTo(2 * Math.atan2(0.1, 1), 12);
    expect(angleBetween([-1, 0.1], [-1, -0.1])).toBeCloseTo(2 * Math.atan2(0.1, 1), 12);
    expect(angleBetween([0, 0], [0, 1])).toBeCloseTo(Math.PI / 2, 12);
    expect(() => score(matrix(2, 1), matrix(2, 2))).toThrow(/differ in shape/);
  });

  it("that are always 0 or 1 are scored as classes, too, each class counting alike", () => {
    const [decoded, truth] = [
      [0.2, 0.7, 0.9, 0.1, Number.NaN],
      [0, 0, 1, 0, 1],
    ].map((values) => matrix(5, 1, Float64Array.from(values)));
    expect(score(decoded, truth).classes).toEqual({
      accuracy: 0.75,
      balancedAccuracy: (1 + 2 / 3) / 2,
      majority: 0.75,
    });
    expect(score(decoded, decoded).classes).toBeUndefined();
    // Of three classes, one column each, the largest; bins of none of them are no classes.
    const three = (...values: number[]) => matrix(values.length / 3, 3, Float64Array.from(values));
    const labels = three(1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1);
    expect(score(three(0.4, 0.1, 0.2, 0.1, 0.6, 0, -1, 0.2, 0.1, 0, 0, 0.1), labels).classes).toEqual({
      accuracy: 0.75,
      balancedAccuracy: (0.5 + 1 + 1) / 3,
      majority: 0.5,
    });
    expect(score(labels, three(1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1)).classes).toBeUndefined();
  });
});

it("the state of very many particles goes into a file and back", () => {
  const particles = createParticleFilter({
    stateDimension: 1,
    observationDimension: 1,
    particles: 300_000,
    seed: 1,
    stationary: Float64Array.of(1),
    noise: Float64Array.of(0.1),
    move: (z, at, out) => {
      out[0] = 0.9 * z[at];
    },
    likelihood: (x) => (z, at) => -((x[0] - z[at]) ** 2),
  });
  particles.step([0.5]);
  const state = particles.snapshot();
  const next = particles.step([0.6]).mean[0];
  particles.restore(state);
  expect(particles.step([0.6]).mean[0]).toBe(next);
  for (const wrong of [undefined, null, [0, 1], Float64Array.of(1)])
    expect(() => particles.restore(wrong as never)).toThrow(/restore takes what snapshot gave|other dimensions/);
});

it("a picture says which bins and states it leaves out", () => {
  const drawn = (bins: number, d: number) =>
    trajectorySvg({
      trajectory: { means: matrix(bins, d), covariances: matrix(bins, d * d), indefinite: new Uint8Array(bins) },
      title: "t",
    });
  expect(drawn(700, 2)).toContain(">bins (0 to 700)<");
  expect(drawn(1000, 7)).toContain(">bins (0 to 700), the first 700 of 1000 bins, the first 6 of 7 states<");
});

it("a picture breaks the true line where it is not known, and its plane is about the path", () => {
  const means = matrix(4, 2, Float64Array.of(500, 300, 510, 300, 510, 320, 500, 320));
  const truth = matrix(4, 2, Float64Array.of(501, 301, Number.NaN, Number.NaN, 511, 321, 501, 321));
  const covariances = matrix(
    4,
    4,
    Float64Array.from({ length: 16 }, (_, i) => (i % 4 === 0 || i % 4 === 3 ? 4 : 0)),
  );
  const drawn = trajectorySvg({ trajectory: { means, covariances, indefinite: new Uint8Array(4) }, truth, title: "t" });
  expect(drawn).not.toContain("NaN");
  const paths = [...drawn.matchAll(/<path d="(M[^"]+)" fill="none"/g)].map(([, d]) => d);
  expect(paths.map((d) => d.split("M").length - 1)).toEqual([2, 1, 2, 1, 2, 1]); // true and decoded: of two states, and in the plane
  const across = [...paths[5].matchAll(/[ML]([\d.-]+) ([\d.-]+)/g)].map(([, , y]) => Number(y));
  expect(Math.max(...across) - Math.min(...across)).toBeGreaterThan(200);
});

describe("a filter of one's own, and numbers of a fit", () => {
  const kalman = findFilter("kalman");
  const refused = (message: RegExp) =>
    expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) });

  it("refuses what its functions give that is none of what they must give", async () => {
    for (const parameters of [undefined, 7, { arrays: {} }])
      await expect(fitFilter({ ...kalman, fit: async () => parameters as never }, world)).rejects.toEqual(
        refused(/the filter kalman: fit gave .*, and must give { arrays, notes }/),
      );
    const boo = (): never => {
      throw new Error("boo");
    };
    const fitted = fitFilter({ ...kalman, fit: boo }, world);
    await expect(fitted).rejects.toEqual(refused(/^the filter kalman: fit failed: boo$/));
    const model = models.get(kalman)!;
    expect(() => openFilter({ ...kalman, open: boo }, model)).toThrow(refused(/^the filter kalman: open failed: boo$/));
    const failing = openFilter({ ...kalman, open: (...given) => ({ ...kalman.open(...given), step: boo }) }, model);
    expect(() => failing.step(new Float64Array(4))).toThrow(refused(/^the filter kalman: step failed: boo$/));
    for (const filter of [undefined, {}])
      expect(() => openFilter({ ...kalman, open: () => filter as never }, model)).toThrow(
        refused(/the filter kalman: open gave .*, and must give a filter with the function step/),
      );
    for (const estimate of [undefined, { mean: new Float64Array(1) }]) {
      const step = () => estimate as never;
      const opened = openFilter({ ...kalman, open: (...given) => ({ ...kalman.open(...given), step }) }, model);
      expect(() => opened.step(new Float64Array(4))).toThrow(
        refused(/the filter kalman: step gave .*, and must give an estimate of 2 states/),
      );
    }
  });

  it.each([
    ["seed", 0.5],
    ["seed", Number.NaN],
    ["rate", 0],
    ["rate", Number.NaN],
  ])("%s %d is refused by name", async (option, value) => {
    await expect(fitFilter(kalman, world, { [option]: value })).rejects.toEqual(refused(/fitFilter: (seed|rate) must/));
  });
});
