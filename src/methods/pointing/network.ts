/**
 * Pointer Networks (Vinyals, Fortunato and Jaitly 2015) and the two networks that the paper compares with. An LSTM reads the points,
 * a second one begins where it ended and answers step by step, fed with the point that it chose last.
 *
 *     pointer:    u_j = v' tanh(W1 e_j + W2 d),  p = softmax over j of u                (equation 3)
 *     attention:  d' = sum_j softmax(u)_j e_j,   p = softmax over 1 … n_max of O [d; d'], and [d; d'] is fed to the next step
 *     plain:      p = softmax over 1 … n_max of O d
 *
 * A learned vector e_0 stands behind the points: pointing at it ends the answer. Here the numbers of one example, in float64 on float32
 * weights; training.ts has the same as a graph of tensors.
 */
import { uniform } from "../../engine/random.ts";
import { ensure } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";
import { requireCoordinates } from "./checks.ts";
import type { Point } from "./geometry.ts";

/** Kind and widths of a network. */
export interface NetworkShape {
  readonly kind: "pointer" | "attention" | "plain";
  /** Units h of both LSTMs. */
  readonly hidden: number;
  /** Most points, for the kinds with a fixed vocabulary. */
  readonly largest?: number;
}

/** A named array of weights. */
export interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
/** What a network is made of: float32 as it is trained and kept, or more exact numbers. */
export type Weights = ReadonlyMap<string, Pick<Weight, "shape"> & { readonly values: Float32Array | Float64Array }>;

export function weightShapes({ kind, hidden: h, largest = 0 }: NetworkShape): [name: string, shape: number[]][] {
  const fed = kind === "attention" ? 2 + 2 * h : 2;
  const cell = (name: string, width: number): [string, number[]][] => [
    [`${name}.input`, [4 * h, width]],
    [`${name}.hidden`, [4 * h, h]],
    [`${name}.bias`, [4 * h]],
  ];
  return [
    ...cell("encoder", 2),
    ...cell("decoder", fed),
    ["go", [fed]],
    ...((kind === "plain"
      ? []
      : [
          ["stop", [h]],
          ["keys", [h, h]],
          ["query", [h, h]],
          ["v", [h]],
        ]) as [string, number[]][]),
    ...((kind === "pointer"
      ? []
      : [
          ["output", [largest + 1, kind === "plain" ? h : 2 * h]],
          ["outputBias", [largest + 1]],
        ]) as [string, number[]][]),
  ];
}

/**
 * How weights begin. "paper": all uniform in [-0.08, 0.08]. "wide": so that the first gradients reach everything. Drawn as small as the
 * paper's, scores of all places are nearly equal for thousands of steps, since attention has to grow before it can tell them apart.
 */
export const starts = ["wide", "paper"] as const;
/** How the decoder's first state is had. */
export type Start = (typeof starts)[number];

const small = 0.08;
/** Weights that read coordinates, at a wide start; the bias takes the middle of the unit square off. */
const reading = 2;
/** Weights of the attention, times the root of their number. */
const attending = 2.5;
/** Added to the bias of the forget gates: what was read is kept at first (Gers et al. 2000). */
const keeping = 1;

/** A function of the seed. */
export function initialWeights(shape: NetworkShape, seed: number, start: Start = "wide"): Map<string, Weight> {
  const { hidden: h } = shape;
  const weights = new Map(
    weightShapes(shape).map(([name, dimensions], request) => {
      const values = new Float32Array(dimensions.reduce((a, b) => a * b, 1));
      // Of a matrix [4 h, width] that reads, coordinates are the first two columns; the rest is fed back.
      const reads = name.endsWith(".input");
      const attends = ["keys", "query", "v"].includes(name);
      for (let i = 0; i < values.length; i++) {
        const wide = attends ? attending / Math.sqrt(h) : reads && i % dimensions[1] < 2 ? reading : small;
        values[i] = (start === "wide" ? wide : small) * (2 * uniform({ seed, request }, i, "initialise") - 1);
      }
      return [name, { name, shape: dimensions, values }];
    }),
  );
  if (start === "wide") {
    for (const cell of ["encoder", "decoder"]) {
      const { values: input, shape: dimensions } = weights.get(`${cell}.input`) as Weight;
      const { values: bias } = weights.get(`${cell}.bias`) as Weight;
      for (let row = 0; row < 4 * h; row++) {
        bias[row] -= 0.5 * (input[row * dimensions[1]] + input[row * dimensions[1] + 1]);
        if (row >= h && row < 2 * h) bias[row] += keeping;
      }
    }
  }
  return weights;
}

/** The decoder's state between two steps. */
export interface State {
  readonly hidden: Float64Array;
  readonly cell: Float64Array;
  /** What `attention` feeds back beside the point: [d; d'], zeros at first. */
  readonly fed: Float64Array;
}

/** The inputs as the network's encoder left them. */
export interface Encoded {
  readonly places: number;
  /** W1 e_j of each place, the stop last: [places + 1, h]. */
  readonly keys: Float64Array;
  readonly states: Float64Array;
  readonly start: State;
}

/** One step's unnormalised log-probabilities over the places and, last, stop. */
export interface Answered {
  readonly state: State;
  readonly scores: Float64Array;
}

/** A pointer network: encoder, decoder and attention over the inputs. */
export interface Network {
  readonly shape: NetworkShape;
  /** Errors: `bad_option` for coordinates that are no finite numbers, and for more points than a network of another kind than the paper's can name. */
  encode(points: readonly Point[]): Encoded;
  /** `last`: the place pointed to before; undefined at the first step. Errors: `bad_option` for what is no place. */
  step(encoded: Encoded, points: readonly Point[], state: State, last: number | undefined): Answered;
}

/** Errors: `bad_file` for weights that are missing or of another shape. */
export function createNetwork(shape: NetworkShape, weights: Weights): Network {
  const { kind, hidden: h, largest = 0 } = shape;
  for (const [name, dimensions] of weightShapes(shape)) {
    const weight = weights.get(name);
    ensure(weight, "bad_file", `the pointing network has no weights ${name}`);
    ensure(
      String(weight.shape) === String(dimensions),
      "bad_file",
      `weights ${name} are [${weight.shape}], expected [${dimensions}]`,
    );
  }
  const of = (name: string): Float32Array | Float64Array => weights.get(name)!.values;

  function cell(name: "encoder" | "decoder", input: ArrayLike<number>, state: State): State {
    const [inputs, hiddens, bias] = [of(`${name}.input`), of(`${name}.hidden`), of(`${name}.bias`)];
    const sums = Float64Array.from(bias);
    addProduct(sums, inputs, input);
    addProduct(sums, hiddens, state.hidden);
    const next = { hidden: new Float64Array(h), cell: new Float64Array(h), fed: state.fed };
    for (let i = 0; i < h; i++) {
      next.cell[i] = logistic(sums[h + i]) * state.cell[i] + logistic(sums[i]) * Math.tanh(sums[2 * h + i]);
      next.hidden[i] = logistic(sums[3 * h + i]) * Math.tanh(next.cell[i]);
    }
    return next;
  }

  return {
    shape,
    encode(points) {
      const places = points.length;
      requireCoordinates(points);
      ensure(
        kind === "pointer" || places <= largest,
        "bad_option",
        `this network answers with numbers up to ${largest}, and ${places} points are given: only pointer networks take any number`,
      );
      let state: State = { hidden: new Float64Array(h), cell: new Float64Array(h), fed: new Float64Array(2 * h) };
      const states = new Float64Array((places + 1) * h);
      for (const [j, point] of points.entries()) {
        state = cell("encoder", point, state);
        states.set(state.hidden, j * h);
      }
      const keys = new Float64Array((places + 1) * h);
      if (kind !== "plain") {
        states.set(of("stop"), places * h);
        for (let j = 0; j <= places; j++)
          addProduct(keys.subarray(j * h, (j + 1) * h), of("keys"), states.subarray(j * h, (j + 1) * h));
      }
      return { places, keys, states, start: state };
    },
    step({ places, keys, states }, points, state, last) {
      if (last !== undefined) requireWhole({ last }, 0, points.length - 1);
      const input =
        last === undefined ? of("go") : kind === "attention" ? [...points[last], ...state.fed] : points[last];
      const next = cell("decoder", input, state);
      if (kind === "plain") return { state: next, scores: fixed(next.hidden, places) };
      const query = new Float64Array(h);
      addProduct(query, of("query"), next.hidden);
      const pointed = pointerLogits(keys, query, undefined, of("v"));
      if (kind === "pointer") return { state: next, scores: pointed };
      const both = new Float64Array(2 * h);
      both.set(next.hidden);
      const weightsOf = softmax(pointed);
      for (let j = 0; j <= places; j++) for (let i = 0; i < h; i++) both[h + i] += weightsOf[j] * states[j * h + i];
      return { state: { ...next, fed: both }, scores: fixed(both, places) };
    },
  };

  /** Scores of the numbers 1 to n and of stop out of the fixed vocabulary, whose last entry is stop. */
  function fixed(features: Float64Array, places: number): Float64Array {
    const all = Float64Array.from(of("outputBias"));
    addProduct(all, of("output"), features);
    const scores = new Float64Array(places + 1);
    scores.set(all.subarray(0, places));
    scores[places] = all[largest];
    return scores;
  }
}

/**
 * The pointer head: u_j = v' tanh(key_j + query) of each place that the mask allows (all, without one), and minus infinity of the others. Keys are
 * those of all places one after the other, each as long as the query. Errors: `bad_option` for lengths that do not fit.
 */
export function pointerLogits(
  keys: ArrayLike<number>,
  query: ArrayLike<number>,
  mask: readonly boolean[] | undefined,
  v: ArrayLike<number>,
): Float64Array {
  const width = query.length;
  const places = keys.length / width;
  ensure(
    Number.isInteger(places),
    "bad_option",
    `keys are ${keys.length} numbers, which is no multiple of the query's ${width}`,
  );
  ensure(v.length === width, "bad_option", `v has ${v.length} numbers, and the query ${width}`);
  ensure(
    mask === undefined || mask.length === places,
    "bad_option",
    () => `mask has ${mask?.length} entries for ${places} places`,
  );
  const logits = new Float64Array(places);
  for (let j = 0; j < places; j++) {
    if (mask && !mask[j]) logits[j] = Number.NEGATIVE_INFINITY;
    else for (let i = 0; i < width; i++) logits[j] += v[i] * Math.tanh(keys[j * width + i] + query[i]);
  }
  return logits;
}

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

/** sum += W x for row-major W. */
function addProduct(sum: Float64Array, matrix: ArrayLike<number>, x: ArrayLike<number>): void {
  const width = x.length;
  for (let row = 0; row < sum.length; row++) {
    let total = 0;
    for (let i = 0; i < width; i++) total += matrix[row * width + i] * x[i];
    sum[row] += total;
  }
}

export function softmax(scores: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(scores);
  const largest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    values[i] = Math.exp(values[i] - largest);
    sum += values[i];
  }
  for (let i = 0; i < values.length; i++) values[i] /= sum;
  return values;
}
