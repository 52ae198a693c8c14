/**
 * Bayesian decoding of position from spike counts (Zhang et al. 1998): place fields λᵢ on a grid, spikes Poisson and independent given
 * the place, P(z | counts) ∝ P(z) Π λᵢ(z)^countᵢ exp(-λᵢ(z)), λ in spikes a bin. The prior is the time spent in each place, or with
 * `motion` the belief of the bin before, spread by a Gaussian.
 */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import {
  count,
  defineFilter,
  type Filter,
  newCounters,
  newEstimate,
  type PreparedData,
  requireSnapshot,
  snapshotOf,
  usable,
} from "../filter.ts";
import { type Matrix, matrix } from "../matrix.ts";

export const place = defineFilter({
  name: "place",
  summary:
    "Bayesian decoding of a position of one or two dimensions from spike counts, by where each neuron fires (its place field); takes features as-is",
  source: "Zhang et al. 1998",
  smooths: false,
  options: z.strictObject({
    cells: z
      .int()
      .min(2)
      .max(200)
      .default(32)
      .describe("cells of the grid along each dimension: more give finer places, need more data and take longer"),
    smoothing: z
      .number()
      .min(0)
      .max(20)
      .default(1.5)
      .describe(
        "standard deviation, in cells of the grid, of the blur that smooths place fields: raise it for few spikes or a fine grid; 0 does not smooth",
      ),
    motion: z
      .number()
      .min(0)
      .max(50)
      .default(0)
      .describe(
        "standard deviation, in cells of the grid, of how far the position moves in a bin: smaller gives a smoother and slower path; 0 decodes every bin by itself",
      ),
  }),
  async fit(data, { cells, smoothing }) {
    const [n, d] = [data.observations.columns, data.states.columns];
    ensure(d <= 2, "bad_option", `place decodes positions of one or two dimensions, not ${d}`);
    ensure(
      data.observations.data.every((v) => v >= 0),
      "bad_option",
      "place decodes spike counts, and the observations have negative values: use features as-is",
    );
    const bounds = boundsOf(data.states);
    const size = cells ** d;
    const occupancy = new Float64Array(size);
    const spikes = Array.from({ length: n }, () => new Float64Array(size));
    for (let t = 0; t < data.states.rows; t++) {
      const cell = cellOf(data.states.data.subarray(t * d, (t + 1) * d), bounds, cells);
      occupancy[cell]++;
      for (let i = 0; i < n; i++) spikes[i][cell] += data.observations.data[t * n + i];
    }
    const visited = matrix(
      1,
      size,
      occupancy.map((v) => (v > 0 ? 1 : 0)),
    );
    const spread = createBlur(cells, d, smoothing);
    const time = occupancy.slice();
    spread(time);
    const rates = matrix(n, size);
    for (let i = 0; i < n; i++) {
      const field = spikes[i];
      const mean = field.reduce((a, b) => a + b, 0) / data.states.rows;
      spread(field);
      // A hundredth of the unit's mean rate at least: no spike may rule a place out for ever.
      for (let c = 0; c < size; c++)
        rates.data[i * size + c] = Math.max(time[c] > 1e-9 ? field[c] / time[c] : mean, 0.01 * mean, 1e-6);
    }
    return {
      arrays: { rates, bounds, visited, prior: matrix(1, size, normalised(occupancy)) },
      notes: { visitedCells: visited.data.reduce((a, b) => a + b, 0) },
    };
  },
  open({ arrays: { rates, bounds, visited, prior } }, { cells, motion }) {
    return createPlaceDecoder(rates, bounds, visited.data, prior.data, cells, motion);
  },
});

/** [2, d]: least and greatest of each dimension. */
function boundsOf({ rows, columns: d, data }: PreparedData["states"]): Matrix {
  const bounds = matrix(
    2,
    d,
    Float64Array.from({ length: 2 * d }, (_, i) => (i < d ? Infinity : -Infinity)),
  );
  for (let i = 0; i < rows * d; i++) {
    bounds.data[i % d] = Math.min(bounds.data[i % d], data[i]);
    bounds.data[d + (i % d)] = Math.max(bounds.data[d + (i % d)], data[i]);
  }
  return bounds;
}

function cellOf(position: Float64Array, { columns: d, data }: Matrix, cells: number): number {
  let cell = 0;
  for (let k = 0; k < d; k++) {
    const share = (position[k] - data[k]) / (data[d + k] - data[k]);
    cell = cell * cells + Math.min(cells - 1, Math.max(0, Math.floor(share * cells)));
  }
  return cell;
}

function normalised(values: Float64Array): Float64Array {
  const total = values.reduce((a, b) => a + b, 0);
  return values.map((v) => v / total);
}

/** Convolves a field in place with a Gaussian of that deviation along each dimension, without losing mass inside. */
function createBlur(cells: number, d: number, deviation: number): (field: Float64Array) => void {
  if (deviation === 0) return () => {};
  const reach = Math.ceil(3 * deviation);
  const weights = Float64Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * deviation ** 2)),
  );
  const scale = weights.reduce((a, b) => a + b, 0);
  const next = new Float64Array(cells ** d);
  return (field) => {
    for (let k = 0; k < d; k++) {
      const stride = k === d - 1 ? 1 : cells;
      next.fill(0);
      for (let c = 0; c < field.length; c++) {
        const at = Math.floor(c / stride) % cells;
        for (let j = -reach; j <= reach; j++) {
          if (at + j >= 0 && at + j < cells) next[c + j * stride] += (field[c] * weights[j + reach]) / scale;
        }
      }
      field.set(next);
    }
  };
}

function createPlaceDecoder(
  rates: Matrix,
  bounds: Matrix,
  visited: Float64Array,
  occupancy: Float64Array,
  cells: number,
  motion: number,
): Filter {
  const [n, size, d] = [rates.rows, rates.columns, bounds.columns];
  const logs = rates.data.map(Math.log);
  const expected = new Float64Array(size);
  for (let i = 0; i < n; i++) for (let c = 0; c < size; c++) expected[c] += rates.data[i * size + c];
  const centres = matrix(size, d);
  for (let c = 0; c < size; c++) {
    for (let k = 0; k < d; k++) {
      const at = Math.floor(c / cells ** (d - 1 - k)) % cells;
      centres.data[c * d + k] = bounds.data[k] + ((at + 0.5) / cells) * (bounds.data[d + k] - bounds.data[k]);
    }
  }
  const estimate = newEstimate(d);
  const counters = newCounters();
  const [belief, evidence] = [new Float64Array(size), new Float64Array(size)];
  const move = createBlur(cells, d, motion);
  let started = false;
  return {
    stateDimension: d,
    observationDimension: n,
    counters,
    step(observation) {
      const present = usable(observation, n);
      if (started && motion > 0) {
        move(belief);
        for (let c = 0; c < size; c++) belief[c] = belief[c] * visited[c] + 1e-12 * occupancy[c];
      } else belief.set(occupancy);
      started = true;
      if (present) {
        let largest = -Infinity;
        for (let c = 0; c < size; c++) evidence[c] = -expected[c];
        for (let i = 0; i < n; i++) {
          const spikes = observation[i];
          if (spikes !== 0) for (let c = 0; c < size; c++) evidence[c] += spikes * logs[i * size + c];
        }
        for (let c = 0; c < size; c++) {
          evidence[c] += Math.log(belief[c]);
          if (evidence[c] > largest) largest = evidence[c];
        }
        for (let c = 0; c < size; c++) belief[c] = Math.exp(evidence[c] - largest);
      }
      let total = 0;
      for (let c = 0; c < size; c++) total += belief[c];
      estimate.mean.fill(0);
      estimate.covariance.fill(0);
      for (let c = 0; c < size; c++) {
        belief[c] /= total;
        for (let k = 0; k < d; k++) estimate.mean[k] += belief[c] * centres.data[c * d + k];
      }
      for (let c = 0; c < size; c++) {
        for (let i = 0; i < d; i++) {
          for (let j = 0; j < d; j++) {
            estimate.covariance[i * d + j] +=
              belief[c] * (centres.data[c * d + i] - estimate.mean[i]) * (centres.data[c * d + j] - estimate.mean[j]);
          }
        }
      }
      // The width of a cell is a spread as well.
      for (let k = 0; k < d; k++)
        estimate.covariance[k * (d + 1)] += ((bounds.data[d + k] - bounds.data[k]) / cells) ** 2 / 12;
      estimate.missing = !present;
      count(counters, estimate);
      return estimate;
    },
    reset() {
      started = false;
      Object.assign(counters, newCounters());
    },
    snapshot: () => snapshotOf(started ? 1 : 0, belief),
    restore(state) {
      requireSnapshot(state, 1 + size);
      started = state[0] === 1;
      belief.set(state.subarray(1));
    },
  };
}
