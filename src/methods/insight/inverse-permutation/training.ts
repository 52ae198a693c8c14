/**
 * The paper's experiment: the same transformer trained from zeros on random permutations and bits, by plain gradient descent with clipped entries. With the mask and
 * without scratch it stays where the theorem leaves it.
 */
import { permutation, uniform } from "../../../engine/random.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { requireCounts, requirePositive, requireWhole } from "../../../numbers.ts";
import { input, multiply, reduceMean, square, subtract } from "../../../tensor/index.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import { cosine } from "../../../training/schedule.ts";
import { inputOf, type Layout, mostRows, requireLayout } from "./layout.ts";
import { type DisentangledWeights, disentangledGraph, widthAfter, zeroWeights } from "./transformer.ts";

/** How the small transformer is trained. */
export interface InverseTraining {
  /** Where permutation, list and scratch rows stand. */
  readonly layout: Layout;
  /** Whether rows see only what stands before them. */
  readonly causal: boolean;
  /** Default 2; from 1 to 8. */
  readonly layers?: number;
  /** Lists in a batch. */
  readonly batch: number;
  /** Steps of the optimiser, a batch each. */
  readonly steps: number;
  /** Highest learning rate; it falls to 0 by a cosine. Default 1, as in the paper. */
  readonly rate?: number;
  /** Of the lists. */
  readonly seed: number;
  /** Lists that losses and accuracies are measured on. Default 256. */
  readonly heldOut?: number;
  /** Steps between measurements. Default: a twentieth of all. */
  readonly every?: number;
  /** Threads within an operator. Default 1. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told the number of each step. Default: nobody is told. */
  readonly onProgress?: (step: number) => void;
}

/** On held-out lists: squared error of a row, and the share of rows whose bits are all right after rounding. */
export interface InversePoint {
  readonly step: number;
  readonly loss: number;
  readonly accuracy: number;
}

/** How exact it became. */
export interface InverseOutcome {
  readonly weights: DisentangledWeights;
  readonly curve: readonly InversePoint[];
}

/** Number `index` of a seed: a uniform permutation and fair bits. Errors: `bad_option` for numbers that are not whole, below 0, or an n that no layout has. */
export function drawList(n: number, seed: number, index: number): { order: number[]; list: number[][] } {
  requireWhole({ n }, 1, mostRows / 2);
  requireWhole({ seed, index }, 0);
  const stream = { seed, request: index };
  const list = Array.from({ length: n }, (_, row) =>
    Array.from({ length: n }, (_, column) => (uniform(stream, row * n + column, "data", 1) < 0.5 ? 0 : 1)),
  );
  return { order: permutation(n, stream), list };
}

/** A batch of permutations and their lists, as a function of the seed. */
export function drawLists(layout: Layout, count: number, seed: number, from: number) {
  const { n, rows } = layout;
  const x = new Float32Array(count * rows * n);
  const y = new Float32Array(count * n * n);
  for (let at = 0; at < count; at++) {
    const { order, list } = drawList(n, seed, from + at);
    x.set(inputOf(layout, order, list), at * rows * n);
    y.set(list.flat(), at * n * n);
  }
  return { x, y };
}

/** Held-out lists have numbers that training does not reach. */
const heldOutFrom = 2 ** 40;

/** Errors: `bad_option`; `runtime_failed` where the loss is not finite; `aborted`. */
export async function trainInverse(options: InverseTraining): Promise<InverseOutcome> {
  const { layout, causal, layers = 2, batch, steps, rate = 1, seed, threads = 1, signal, onProgress } = options;
  const { heldOut = 256, every = Math.max(1, Math.ceil(steps / 20)) } = options;
  requireCounts({ layers, batch, steps, heldOut, every });
  ensure(layers <= 8, "bad_option", `inverse permutation: ${layers} layers are not 1 to 8`);
  requireLayout(layout);
  requireWhole({ seed }, 0);
  requirePositive({ rate });
  const { n, rows } = layout;
  const weights = zeroWeights(layout, layers);
  const graph = disentangledGraph(layout, { batch, layers, causal });
  const target = input("y", [batch, n, n]);
  const objective = await graphObjective<{ x: Float32Array; y: Float32Array }>({
    loss: multiply(reduceMean(square(subtract(graph.output, target))), n),
    outputs: { output: graph.output },
    trained: [
      ...weights.attention.map((values, layer) => {
        const width = widthAfter(n, rows, layer);
        return { name: `attention.${layer}`, shape: [width, width], values, decay: false };
      }),
      { name: "head", shape: [widthAfter(n, rows, layers), n], values: weights.output, decay: false },
    ],
    fixed: new Map(),
    threads,
    feeds: ({ x, y }) => ({ x: { data: x, dims: [batch, rows, n] }, y: { data: y, dims: [batch, n, n] } }),
  });
  const schedule = cosine({ peak: rate, steps });
  const curve: InversePoint[] = [];
  const measure = async (step: number): Promise<void> => {
    const batches = Math.max(1, Math.ceil(heldOut / batch));
    let [loss, right] = [0, 0];
    for (let i = 0; i < batches; i++) {
      const drawn = drawLists(layout, batch, seed, heldOutFrom + i * batch);
      const found = await objective.evaluate(drawn);
      loss += found.loss / batches;
      right += rightRows(found.outputs.output.data as Float32Array, drawn.y, n) / batches;
    }
    curve.push({ step, loss, accuracy: right });
  };
  try {
    await measure(0);
    for (let step = 0; step < steps; step++) {
      if (signal?.aborted) throw new VentrisError("aborted", "training inverse permutations was aborted");
      const { loss, gradients } = await objective.gradients(drawLists(layout, batch, seed, step * batch));
      ensure(Number.isFinite(loss), "runtime_failed", `inverse permutation: the loss of step ${step} is ${loss}`);
      const now = schedule(step);
      for (const [p, { values }] of objective.parameters.entries())
        for (let i = 0; i < values.length; i++) values[i] -= now * Math.min(1, Math.max(-1, gradients[p][i]));
      if ((step + 1) % every === 0 || step + 1 === steps) await measure(step + 1);
      onProgress?.(step + 1);
    }
  } finally {
    await objective.release();
  }
  return { weights, curve };
}

/** Share of rows [n] whose every entry rounds to the bit that it should be. */
export function rightRows(output: Float32Array, y: Float32Array, n: number): number {
  let right = 0;
  for (let row = 0; row < y.length / n; row++) {
    let all = true;
    for (let i = row * n; i < (row + 1) * n; i++) all &&= output[i] > 0.5 === y[i] > 0.5;
    if (all) right++;
  }
  return right / (y.length / n);
}
