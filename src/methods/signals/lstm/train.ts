/** Training of the recurrent baseline: one graph for a batch of windows, gradients from it, Adadelta (Zeiler 2012). */
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { compile, type Program, valueMaker } from "../../../runtime/program.ts";
import {
  add,
  constant,
  divide,
  gradients,
  input as inputTensor,
  type LstmState,
  linear,
  lower,
  lstmCell,
  multiply,
  parameter,
  reduceMean,
  reshape,
  sqrt,
  square,
  subtract,
  type Tensor,
} from "../../../tensor/index.ts";
import { nextTurn } from "../../../turn.ts";
import type { FitContext, PreparedData } from "../filter.ts";
import { type Matrix, matrix } from "../matrix.ts";

/** As `lstmCell` has them, and per step of the window the normalisation h ↦ (h - mean) · scale + shift. */
export interface LstmParameters {
  readonly input: Matrix;
  readonly hidden: Matrix;
  /** [1, 4 · cells]. */
  readonly bias: Matrix;
  /** All [window, cells]. */
  readonly mean: Matrix;
  readonly scale: Matrix;
  readonly shift: Matrix;
  /** [d, cells]. */
  readonly readout: Matrix;
  /** [1, d]. */
  readonly offset: Matrix;
}

export interface LstmOptions {
  readonly window: number;
  readonly cells: number;
  readonly passes: number;
  readonly batch: number;
  readonly keep: number;
  readonly normalise: boolean;
}

const epsilon = 1e-3; // of the normalisation

interface Weight {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** Errors: `runtime_failed` when the loss is no longer finite. */
export async function trainLstm(
  data: PreparedData,
  ends: readonly number[],
  options: LstmOptions,
  { seed, signal, onProgress }: FitContext,
): Promise<LstmParameters> {
  const { window, cells, passes, keep, normalise } = options;
  const [n, d] = [data.observations.columns, data.states.columns];
  const rows = Math.min(options.batch, ends.length);
  const batches = Math.floor(ends.length / rows);
  const weights = initialWeights(n, d, options, seed);
  const graph = buildGraph(weights, rows, n, d, options);
  const program = await compile(
    lower({ loss: graph.loss, ...graph.gradients, ...graph.moments }, { parameters: "inputs" }),
    { threads: 1 },
  );
  const value = await valueMaker();
  const arrays = {
    x: Array.from({ length: window }, () => new Float32Array(rows * n)),
    y: new Float32Array(rows * d),
    mask: new Float32Array(rows * cells).fill(1),
  };
  const feeds = {
    ...Object.fromEntries(arrays.x.map((x, step) => [`x${step}`, value("float32", x, [rows, n])])),
    y: value("float32", arrays.y, [rows, d]),
    mask: value("float32", arrays.mask, [rows, cells]),
    ...Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, value("float32", w.values, w.shape)])),
  };
  const load = (batch: number) => {
    for (let row = 0; row < rows; row++) {
      const end = ends[batch * rows + row];
      for (let step = 0; step < window; step++) {
        const from = (end - window + 1 + step) * n;
        arrays.x[step].set(data.observations.data.subarray(from, from + n), row * n);
      }
      arrays.y.set(data.states.data.subarray(end * d, (end + 1) * d), row * d);
    }
  };
  const optimiser = adadelta(weights);
  try {
    for (let pass = 0; pass < passes; pass++) {
      ensure(!signal?.aborted, "aborted", "fitting was interrupted");
      for (let batch = 0; batch < batches; batch++) {
        load(batch);
        const number = pass * batches + batch;
        if (keep < 1)
          for (let i = 0; i < arrays.mask.length; i++)
            arrays.mask[i] = uniform({ seed, request: number }, i, "data") < keep ? 1 / keep : 0;
        const result = await program.run(feeds);
        const loss = result.loss.data[0] as number;
        ensure(
          Number.isFinite(loss),
          "runtime_failed",
          `the loss of the recurrent network is ${loss} in pass ${pass + 1}`,
        );
        optimiser((name) => result[`gradient.${name}`].data as Float32Array);
      }
      onProgress?.("recurrent network", pass + 1, passes);
      await nextTurn();
    }
    const moments = normalise ? await populationMoments(program, feeds, load, batches, window, cells) : undefined;
    return exportParameters(weights, moments, options);
  } finally {
    await program.release();
  }
}

function initialWeights(n: number, d: number, { window, cells, normalise }: LstmOptions, seed: number) {
  let draws = 0;
  const spread = (shape: readonly number[], bound: number): Weight => ({
    shape,
    values: Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => bound * (2 * uniform({ seed, request: 0 }, draws++, "initialise") - 1),
    ),
  });
  const filled = (shape: readonly number[], fill: number): Weight => ({
    shape,
    values: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill),
  });
  const bound = Math.sqrt(6 / (n + 5 * cells));
  const weights: Record<string, Weight> = {
    input: spread([4 * cells, n], bound),
    hidden: spread([4 * cells, cells], bound),
    bias: filled([4 * cells], 0),
    readout: spread([d, cells], Math.sqrt(6 / (cells + d))),
    offset: filled([d], 0),
  };
  weights.bias.values.fill(1, cells, 2 * cells); // remember at first
  if (normalise) {
    weights.gain = filled([window, cells], 1);
    weights.shift = filled([window, cells], 0);
  }
  return weights;
}

function buildGraph(weights: Record<string, Weight>, rows: number, n: number, d: number, options: LstmOptions) {
  const { window, cells, normalise } = options;
  const tensors = Object.fromEntries(
    Object.entries(weights).map(([name, { shape }]) => [name, parameter(name, shape)]),
  );
  const zero = constant(new Float32Array(rows * cells), [rows, cells]);
  let state: LstmState = { hidden: zero, cell: zero };
  const moments: Record<string, Tensor> = {};
  for (let step = 0; step < window; step++) {
    state = lstmCell(inputTensor(`x${step}`, [rows, n]), state, {
      input: tensors.input,
      hidden: tensors.hidden,
      bias: tensors.bias,
    });
    if (!normalise) continue;
    const mean = reduceMean(state.hidden, 0, true);
    const centred = subtract(state.hidden, mean);
    const variance = reduceMean(square(centred), 0, true);
    moments[`mean${step}`] = mean;
    moments[`variance${step}`] = variance;
    const rowOf = (name: "gain" | "shift") => {
      const pick = constant(
        Float32Array.from({ length: window }, (_, i) => (i === step ? 1 : 0)),
        [window, 1],
      );
      return reshape(reduceMean(multiply(multiply(tensors[name], pick), window), 0, true), [1, cells]);
    };
    const normal = multiply(divide(centred, sqrt(add(variance, epsilon))), rowOf("gain"));
    state = { hidden: add(normal, rowOf("shift")), cell: state.cell };
  }
  const kept = multiply(state.hidden, inputTensor("mask", [rows, cells]));
  const predicted = linear(kept, tensors.readout, tensors.offset);
  const loss = reduceMean(square(subtract(predicted, inputTensor("y", [rows, d]))));
  const names = Object.keys(tensors);
  const derivatives = gradients(
    loss,
    names.map((name) => tensors[name]),
  );
  return {
    loss,
    moments,
    gradients: Object.fromEntries(names.map((name, i) => [`gradient.${name}`, derivatives[i]])),
  };
}

/** Adadelta at rate 1: Δ = -RMS(Δ before) / RMS(g) · g, with decay 0.95 and epsilon 1e-6. */
function adadelta(weights: Record<string, Weight>) {
  const [decay, floor] = [0.95, 1e-6];
  const state = Object.entries(weights).map(([name, { values }]) => ({
    name,
    values,
    squares: new Float64Array(values.length),
    steps: new Float64Array(values.length),
  }));
  return (gradientOf: (name: string) => Float32Array): void => {
    for (const { name, values, squares, steps } of state) {
      const gradient = gradientOf(name);
      for (let i = 0; i < values.length; i++) {
        squares[i] = decay * squares[i] + (1 - decay) * gradient[i] * gradient[i];
        const change = -Math.sqrt((steps[i] + floor) / (squares[i] + floor)) * gradient[i];
        steps[i] = decay * steps[i] + (1 - decay) * change * change;
        values[i] += change;
      }
    }
  };
}

/** Means and variances of the states over all training batches, which take the place of a batch's own afterwards. */
async function populationMoments(
  program: Program,
  feeds: Parameters<Program["run"]>[0],
  load: (batch: number) => void,
  batches: number,
  window: number,
  cells: number,
) {
  const [mean, variance] = [matrix(window, cells), matrix(window, cells)];
  for (let batch = 0; batch < batches; batch++) {
    load(batch);
    const result = await program.run(feeds);
    for (let step = 0; step < window; step++) {
      for (let k = 0; k < cells; k++) {
        mean.data[step * cells + k] += (result[`mean${step}`].data[k] as number) / batches;
        variance.data[step * cells + k] += (result[`variance${step}`].data[k] as number) / batches;
      }
    }
  }
  return { mean, variance };
}

function exportParameters(
  weights: Record<string, Weight>,
  moments: { mean: Matrix; variance: Matrix } | undefined,
  { window, cells }: LstmOptions,
): LstmParameters {
  const wide = ({ shape, values }: Weight): Matrix =>
    matrix(shape.length === 1 ? 1 : shape[0], shape[shape.length - 1], Float64Array.from(values));
  const mean = moments?.mean ?? matrix(window, cells);
  const scale = matrix(window, cells, new Float64Array(window * cells).fill(1));
  const shift = weights.shift ? wide(weights.shift) : matrix(window, cells);
  if (moments) {
    for (let i = 0; i < scale.data.length; i++)
      scale.data[i] = weights.gain.values[i] / Math.sqrt(moments.variance.data[i] + epsilon);
  }
  const [input, hidden, bias] = [wide(weights.input), wide(weights.hidden), wide(weights.bias)];
  return { input, hidden, bias, mean, scale, shift, readout: wide(weights.readout), offset: wide(weights.offset) };
}
