import { expect, it } from "vitest";
import { normals } from "../dkf/synthetic.ts";
import { filterAll } from "../filter.ts";
import { findFilter } from "../filters.ts";
import { fitFilter, openFilter } from "../fit.ts";
import { matrix } from "../matrix.ts";
import { score } from "../scores.ts";

const method = findFilter("place");
const bins = 1500;
const units = 12;
const position = Float64Array.from({ length: bins }, (_, t) => 50 + 50 * Math.sin(t / 25));
/** Poisson by Knuth's product, from draws that the seed fixes. */
const counts = (() => {
  const normal = normals(1, 0);
  const uniform = () => 0.5 * (1 + Math.tanh(0.8 * normal())); // any spread in (0, 1) serves
  return Float64Array.from({ length: bins * units }, (_, i) => {
    const [t, k] = [Math.floor(i / units), i % units];
    const rate = 2 * Math.exp(-((position[t] - (100 * k) / (units - 1)) ** 2) / 200);
    let [spikes, product] = [0, uniform()];
    for (const floor = Math.exp(-rate); product > floor; product *= uniform()) spikes++;
    return spikes;
  });
})();
const data = { states: matrix(bins, 1, position), observations: matrix(bins, units, counts) };

it("finds the place from place fields, better still with the bin before", async () => {
  const errors = [];
  for (const motion of [0, 1.5]) {
    const model = await fitFilter(method, data, { features: "as-is", options: { motion } });
    errors.push(score(filterAll(openFilter(method, model), data.observations).means, data.states).r2);
  }
  expect(errors[0]).toBeGreaterThan(0.85);
  expect(errors[1]).toBeGreaterThan(errors[0]);
});

it("is Bayes' rule on the grid: one bin against the products written out", async () => {
  const model = await fitFilter(method, data, { features: "as-is", centreStates: false, options: { cells: 8 } });
  const { rates, prior, bounds } = model.parameters.arrays;
  const x = counts.subarray(40 * units, 41 * units);
  const { mean } = openFilter(method, model).step(x);
  const weights = Array.from({ length: 8 }, (_, c) => {
    let p = prior.data[c];
    for (let i = 0; i < units; i++) p *= rates.data[8 * i + c] ** x[i] * Math.exp(-rates.data[8 * i + c]);
    return p;
  });
  const total = weights.reduce((a, b) => a + b, 0);
  const centre = (c: number) => bounds.data[0] + ((c + 0.5) / 8) * (bounds.data[1] - bounds.data[0]);
  expect(mean[0]).toBeCloseTo(
    weights.reduce((sum, w, c) => sum + (w / total) * centre(c), 0),
    9,
  );
});

it("refuses values that are no counts", async () => {
  await expect(fitFilter(method, data, { features: "centred" })).rejects.toThrow(/spike counts.*as-is/);
});
