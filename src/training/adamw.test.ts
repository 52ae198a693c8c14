import { describe, expect, it } from "vitest";
import { uniform } from "../engine/random.ts";
import { adamwState, adamwUpdate, clipScale, euclideanNorm } from "./adamw.ts";
import type { Parameter } from "./objective.ts";

const draws = (request: number, length: number) =>
  Float32Array.from({ length }, (_, i) => uniform({ seed: 1, request }, i, "data") - 0.5);

const parameter = (name: string, length: number, decay: boolean): Parameter => ({
  name,
  shape: [length],
  values: draws(length, length),
  decay,
});

/** The paper's algorithm as it is printed, in float64. */
function reference(x: number[], gradients: number[][], rate: number, decay: number, [b1, b2, eps]: number[]): number[] {
  const m = x.map(() => 0);
  const v = x.map(() => 0);
  for (const [t, g] of gradients.entries()) {
    for (let i = 0; i < x.length; i++) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] ** 2;
      const step = m[i] / (1 - b1 ** (t + 1)) / (Math.sqrt(v[i] / (1 - b2 ** (t + 1))) + eps);
      x[i] -= rate * (step + decay * x[i]);
    }
  }
  return x;
}

describe("AdamW", () => {
  it("follows the published algorithm, decaying only what asks for it", () => {
    const parameters = [parameter("matrix", 37, true), parameter("gain", 5, false)];
    const options = { beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.2 };
    const steps = Array.from({ length: 20 }, (_, t) => parameters.map(({ shape }) => draws(100 + t, shape[0])));
    const expected = parameters.map(({ values, decay }, p) =>
      reference(
        [...values],
        steps.map((step) => [...step[p]].map((g) => g * 0.5)),
        0.03,
        decay ? 0.2 : 0,
        [0.8, 0.95, 1e-3],
      ),
    );
    const state = adamwState(parameters);
    for (const gradients of steps) adamwUpdate(parameters, gradients, state, 0.03, options, 0.5);
    expect(state.step).toBe(20);
    for (const [p, { values }] of parameters.entries()) {
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(expected[p][i], 5);
    }
  });

  it("moves every entry by the learning rate on the first step, whatever the gradient's size", () => {
    const parameters = [{ name: "x", shape: [3], values: new Float32Array(3), decay: true }];
    adamwUpdate(parameters, [Float32Array.of(1e-3, -5, 1e6)], adamwState(parameters), 0.1);
    expect([...parameters[0].values].map((value) => value.toFixed(5))).toEqual(["-0.10000", "0.10000", "-0.10000"]);
  });

  it("refuses options out of range and gradients that do not fit", () => {
    const parameters = [parameter("x", 4, true)];
    const state = adamwState(parameters);
    const update =
      (options: object, length = 4) =>
      () =>
        adamwUpdate(parameters, [new Float32Array(length)], state, 0.1, options);
    for (const wrong of [
      { beta1: 1 },
      { beta2: -0.1 },
      { epsilon: 0 },
      { weightDecay: -1 },
      { beta1: Number.NaN },
      { epsilon: Number.POSITIVE_INFINITY },
    ]) {
      expect(update(wrong)).toThrow(expect.objectContaining({ code: "bad_option" }));
    }
    expect(update({}, 5)).toThrow(expect.objectContaining({ code: "bad_shape" }));
    const gradients = [new Float32Array(4)];
    for (const wrong of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      expect(() => adamwUpdate(parameters, gradients, state, wrong)).toThrow(/learningRate/);
      expect(() => adamwUpdate(parameters, gradients, state, 0.1, {}, wrong)).toThrow(/scale/);
      expect(() => adamwUpdate(parameters, gradients, { ...state, step: wrong }, 0.1)).toThrow(/state.step/);
      expect(() => clipScale(wrong, 1)).toThrow(/norm/);
    }
    expect(() => clipScale(1, 0)).toThrow(/clip must be a number above 0/);
    expect(state.step).toBe(0);
  });
});

describe("gradient norm and clipping", () => {
  it("sums over all arrays, of any length", () => {
    for (const length of [0, 1, 3, 4, 5, 101]) {
      const arrays = [draws(length, length), Float32Array.of(2)];
      const expected = Math.sqrt(arrays.flatMap((array) => [...array]).reduce((sum, g) => sum + g * g, 0));
      expect(euclideanNorm(arrays)).toBeCloseTo(expected, 12);
    }
  });

  it("shows a non-finite entry wherever it is, and does not overflow on large finite ones", () => {
    for (const value of [Number.NaN, Infinity, -Infinity]) {
      for (let i = 0; i < 6; i++) {
        const array = draws(1, 6);
        array[i] = value;
        expect(Number.isFinite(euclideanNorm([draws(2, 9), array]))).toBe(false);
      }
    }
    expect(euclideanNorm([Float32Array.of(3e38, 3e38)])).toBeGreaterThan(4e38);
  });

  it("scales down to the limit, and never up", () => {
    expect(clipScale(4, 1)).toBe(0.25);
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(4, undefined)).toBe(1);
  });
});
