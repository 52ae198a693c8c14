/**
 * Latency of single steps of the filters, ten states and ten channels unless a row says otherwise, and of all bins of a place decoder.
 * A row's value is the median of the runs; the note has the worst hundredth.
 */

import { median } from "./harness/measure.mjs";
import { atMost, reported } from "./harness/report.mjs";
import { ourFilters } from "./ours.mjs";

const size = 10;
const steps = 20_000;

/**
 * @param {string} name @param {Record<string, unknown>} options @param {number} bins
 * @returns {Promise<{ filter: any, observations: { rows: number, columns: number, data: Float64Array } }>}
 */
async function fitted(name, options, bins = 1000) {
  const { findFilter, fitFilter, openFilter, synthesise } = await ourFilters();
  const { states, observations } = synthesise("mixture", size, size, bins, 3);
  const method = findFilter(name);
  return { filter: openFilter(method, await fitFilter(method, { states, observations }, { options })), observations };
}

/** Microseconds of each step, after a warm-up. @param {any} filter @param {any} observations @param {number} count */
function stepTimes(filter, { rows, columns, data }, count) {
  const views = Array.from({ length: rows }, (_, t) => data.subarray(t * columns, (t + 1) * columns));
  for (let t = 0; t < Math.min(count, 3000); t++) filter.step(views[t % rows]);
  const times = new Float64Array(count);
  for (let t = 0; t < count; t++) {
    const started = process.hrtime.bigint();
    filter.step(views[t % rows]);
    times[t] = Number(process.hrtime.bigint() - started) / 1000;
  }
  return times.sort();
}

/** @param {readonly number[]} values */
const rounded = (values) => values.map((v) => v.toFixed(1)).join(", ");

/**
 * @param {string} what @param {string} name @param {Record<string, unknown>} options
 * @param {{ share: number, target: import("./harness/report.mjs").Target, count?: number, bins?: number }} how
 */
function latency(what, name, options, { share, target, count = steps, bins }) {
  return {
    what,
    target,
    /** @param {import("./harness/report.mjs").Settings} settings */
    async measure({ runs, quick }) {
      const { filter, observations } = await fitted(name, options, bins);
      const values = Array.from({ length: runs }, () => {
        const times = stepTimes(filter, observations, quick ? count / 4 : count);
        return times[Math.floor(share * (times.length - 1))];
      });
      return { value: median(values), runs: values, note: `runs: ${rounded(values)} µs` };
    },
  };
}

const filters = /** @type {const} */ ([
  ["kalman", "kalman", {}],
  ["dkf, network and constant Q", "dkf", { regression: "network", covariance: "constant", iterations: 10 }],
  ["ekf", "ekf", { iterations: 5 }],
  ["ukf", "ukf", { iterations: 5 }],
  ["assumed-density, two components", "assumed-density", { iterations: 5 }],
]);

export const rows = [
  ...filters.flatMap(([title, name, options]) => [
    latency(`a step at 10 dimensions, ${title}: median`, name, options, { share: 0.5, target: atMost(20, " µs") }),
    latency(`a step at 10 dimensions, ${title}: p99`, name, options, { share: 0.99, target: atMost(100, " µs") }),
  ]),
  latency(
    "a step at 10 dimensions, dkf, kernel over 5000 points: median",
    "dkf",
    { bandwidth: 1, covarianceBandwidth: 1 },
    { share: 0.5, target: reported(" µs"), count: 2000, bins: 5000 },
  ),
  latency(
    "a step at 10 dimensions, particle, 1000 particles: median",
    "particle",
    {},
    { share: 0.5, target: reported(" µs"), count: 400 },
  ),
  {
    what: "bytes that a step leaves to the garbage collector, kalman and dkf (network), the larger",
    target: atMost(8, " B"),
    /** @param {import("./harness/report.mjs").Settings} settings */
    async measure({ runs }) {
      /** @type {number[]} */
      const values = [];
      for (let run = 0; run < runs; run++) {
        let most = 0;
        for (const [, name, options] of filters.slice(0, 2)) {
          const { filter, observations } = await fitted(name, options);
          const views = Array.from({ length: 100 }, (_, t) => observations.data.subarray(t * size, (t + 1) * size));
          for (let t = 0; t < 5000; t++) filter.step(views[t % 100]);
          const before = process.memoryUsage().heapUsed;
          for (let t = 0; t < 100_000; t++) filter.step(views[t % 100]);
          most = Math.max(most, (process.memoryUsage().heapUsed - before) / 100_000);
        }
        values.push(most);
      }
      return { value: median(values), runs: values };
    },
  },
];
