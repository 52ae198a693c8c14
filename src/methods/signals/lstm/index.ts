/**
 * A long short-term memory that reads the last few bins and answers with a linear read-out, the published recurrent baseline: windows of
 * three bins, 20 cells, batches of 1000 in order, 300 passes, Adadelta at rate 1, 95 % of the outputs kept while training, batch
 * normalisation of the intermediate states. Its covariance is that of the held-out residuals, the same in every bin.
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
  usable,
} from "../filter.ts";
import { covariance, type Matrix, matrix } from "../matrix.ts";
import { type LstmParameters, trainLstm } from "./train.ts";

export const lstm = defineFilter({
  name: "lstm",
  summary: "recurrent network (LSTM) that learns the state from the last few bins",
  smooths: false,
  options: z.strictObject({
    window: z
      .int()
      .min(1)
      .max(64)
      .default(3)
      .describe("how many of the last bins are read for one answer: more see slower changes and take longer"),
    cells: z
      .int()
      .min(1)
      .max(512)
      .default(20)
      .describe("memory cells of the network: more fit finer relations, need more data and take longer"),
    passes: z
      .int()
      .min(1)
      .max(10_000)
      .default(300)
      .describe("passes over the training data: more fit it more closely and can overfit"),
    batch: z
      .int()
      .min(2)
      .max(100_000)
      .default(1000)
      .describe("windows in a batch of training, in the recording's order: smaller makes more and noisier steps"),
    keep: z
      .number()
      .gt(0)
      .max(1)
      .default(0.95)
      .describe(
        "share of the cells' outputs that training keeps, drawn at random (dropout): lower guards against overfitting, 1 keeps all",
      ),
    normalise: z
      .boolean()
      .default(true)
      .describe(
        "whether what the network remembers is normalised over the windows of a batch after each bin, as published; false suits small batches",
      ),
    heldOut: z
      .number()
      .gt(0)
      .lt(1)
      .default(0.1)
      .describe("share of the windows, the last ones, kept from training to learn how large its errors are"),
  }),
  async fit(data, options, context) {
    const { window, heldOut } = options;
    const ends = windowEnds(data, window);
    ensure(ends.length >= 4, "bad_option", `only ${ends.length} windows of ${window} bins lie within the recording`);
    const tested = Math.max(1, Math.floor(ends.length * heldOut));
    const parameters = await trainLstm(data, ends.slice(0, -tested), options, context);
    const d = data.states.columns;
    const read = createReader(parameters, window);
    const residuals = matrix(tested, d);
    const predicted = new Float64Array(d);
    for (const [i, end] of ends.slice(-tested).entries()) {
      read(data.observations.data, end, predicted);
      for (let k = 0; k < d; k++) residuals.data[i * d + k] = data.states.data[end * d + k] - predicted[k];
    }
    return { arrays: { ...parameters, Q: covariance(residuals) }, notes: { windows: ends.length } };
  },
  open({ arrays }, { window }) {
    return createWindowFilter(arrays as unknown as LstmParameters, arrays.Q, window);
  },
});

/** Bins whose window lies within one stretch. */
export function windowEnds({ states, starts }: PreparedData, window: number): number[] {
  const ends: number[] = [];
  let since = 0;
  for (let t = 0; t < states.rows; t++) {
    if (starts.has(t)) since = t;
    if (t - since + 1 >= window) ends.push(t);
  }
  return ends;
}

/** Missing bins enter as the last observation again; before the first one the channels' means, zeros, fill the window. */
function createWindowFilter(parameters: LstmParameters, Q: Matrix, window: number): Filter {
  const [n, d] = [parameters.input.columns, Q.rows];
  const read = createReader(parameters, window);
  const recent = new Float64Array(window * n);
  const estimate = newEstimate(d);
  const counters = newCounters();
  estimate.covariance.set(Q.data);
  return {
    stateDimension: d,
    observationDimension: n,
    counters,
    step(observation) {
      const present = usable(observation, n);
      recent.copyWithin(0, n);
      if (present) for (let k = 0; k < n; k++) recent[(window - 1) * n + k] = observation[k];
      read(recent, window - 1, estimate.mean);
      estimate.missing = !present;
      count(counters, estimate);
      return estimate;
    },
    reset() {
      recent.fill(0);
      Object.assign(counters, newCounters());
    },
    snapshot: () => Float64Array.from(recent),
    restore(state) {
      requireSnapshot(state, recent.length);
      recent.set(state);
    },
  };
}

/** Runs the recurrence over the rows of x [·, n] that end with row `end`, in double precision and without garbage. */
function createReader(parameters: LstmParameters, window: number) {
  const { input, hidden, bias, mean, scale, shift, readout, offset } = parameters;
  const [cells, n, d] = [hidden.columns, input.columns, readout.rows];
  const [h, next, c] = [new Float64Array(cells), new Float64Array(cells), new Float64Array(cells)];
  const gates = new Float64Array(4 * cells);
  return (x: Float64Array, end: number, out: Float64Array): void => {
    h.fill(0);
    c.fill(0);
    for (let step = 0; step < window; step++) {
      const at = (end - window + 1 + step) * n;
      for (let g = 0; g < 4 * cells; g++) {
        let sum = bias.data[g];
        for (let k = 0; k < n; k++) sum += input.data[g * n + k] * x[at + k];
        for (let k = 0; k < cells; k++) sum += hidden.data[g * cells + k] * h[k];
        gates[g] = sum;
      }
      for (let k = 0; k < cells; k++) {
        const kept = sigmoid(gates[cells + k]) * c[k];
        c[k] = kept + sigmoid(gates[k]) * Math.tanh(gates[2 * cells + k]);
        next[k] = sigmoid(gates[3 * cells + k]) * Math.tanh(c[k]);
        const normal = (next[k] - mean.data[step * cells + k]) * scale.data[step * cells + k];
        next[k] = normal + shift.data[step * cells + k];
      }
      h.set(next);
    }
    for (let o = 0; o < d; o++) {
      let sum = offset.data[o];
      for (let k = 0; k < cells; k++) sum += readout.data[o * cells + k] * h[k];
      out[o] = sum;
    }
  };
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
