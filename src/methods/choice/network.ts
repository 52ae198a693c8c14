/**
 * A small fully connected network with one output and its gradient, in float64 and in place: rounds of a bandit take
 * microseconds, where a compiled program would take a call of the runtime each.
 *
 * f(x) = s_out v' relu(s W_L relu( … relu(s_1 W_1 x))) without biases. `paper`: s = m^-1/2 everywhere, entries of W from
 * N(0, s0^2) with s0 = 1 / (2 (1 + sqrt(log m) / sqrt(2 m))), v a random unit vector. `standard`: s = 1 and He's deviations,
 * under which steps must stay below about 2 / m (the last layer's gradient has a squared norm near m).
 */
import { normal } from "../../engine/random.ts";

export interface NetworkShape {
  width: number;
  hidden: number;
  /** Hidden layers. */
  depth: number;
  parameterisation: "standard" | "paper";
  seed: number;
  /** Tells the networks of one policy apart. */
  number?: number;
}

export interface Network {
  /** All weights, layer after layer; v last. */
  readonly weights: Float64Array<ArrayBuffer>;
  readonly initial: Float64Array<ArrayBuffer>;
  /** Where each layer begins in `weights`, and the end. */
  readonly layers: readonly number[];
  forward(context: Float64Array): number;
  /** The output, and its gradient by the weights into `gradient`. */
  backward(context: Float64Array, gradient: Float64Array): number;
  /** The output; then the entries of its gradient that are not 0, in order. A context of zeros but for a few places has few. */
  differentiate(context: Float64Array, visit: (weight: number, slope: number) => void): number;
  /**
   * The output, before weights -= rate * slopeOf(output) * gradient of the output, a step no longer than `longestStep`: as `backward` and
   * `projectedStep` without a radius, and touches only weights that move.
   */
  descend(context: Float64Array, slopeOf: (output: number) => number, rate: number, longestStep: number): number;
}

export function createNetwork(shape: NetworkShape): Network {
  const { width, hidden, depth, parameterisation } = shape;
  const inputs = Array.from({ length: depth + 1 }, (_, layer) => (layer === 0 ? width : hidden));
  const outputs = inputs.map((_, layer) => (layer === depth ? 1 : hidden));
  const layers = [0];
  for (const [layer, size] of inputs.entries()) layers.push(layers[layer] + size * outputs[layer]);
  const initial = initialWeights(shape, inputs, layers);
  const weights = initial.slice();
  const scale = parameterisation === "paper" ? 1 / Math.sqrt(hidden) : 1;
  /** Values behind each layer's activation; the derivative is 0 where they are 0. */
  const values = outputs.map((size) => new Float64Array(size));
  const slopes = outputs.map((size) => new Float64Array(size));
  // Contexts of classes, or of one arm among several, are zeros but for a few places: the first layer looks at those alone.
  const places = new Int32Array(width);
  let placed = 0;
  const everywhere = Int32Array.from({ length: hidden }, (_, i) => i);
  const read = (layer: number): Int32Array => (layer === 0 ? places.subarray(0, placed) : everywhere);

  function forward(context: Float64Array): number {
    placed = 0;
    for (let i = 0; i < width; i++) if (context[i] !== 0) places[placed++] = i;
    let below = context;
    for (let layer = 0; layer <= depth; layer++) {
      const [out, size, at] = [values[layer], inputs[layer], read(layer)];
      for (let row = 0; row < out.length; row++) {
        let sum = 0;
        const from = layers[layer] + row * size;
        for (let j = 0; j < at.length; j++) sum += weights[from + at[j]] * below[at[j]];
        sum *= scale;
        out[row] = layer < depth && sum < 0 ? 0 : sum;
      }
      below = out;
    }
    return below[0];
  }

  /** After `forward`: each layer's slopes of the output by its sums, scaled. */
  function findSlopes(): void {
    slopes[depth][0] = 1;
    for (let layer = depth; layer >= 0; layer--) {
      const [slope, size] = [slopes[layer], inputs[layer]];
      const next = layer === 0 ? undefined : slopes[layer - 1].fill(0);
      for (let row = 0; row < slope.length; row++) {
        slope[row] *= scale;
        const [factor, from] = [slope[row], layers[layer] + row * size];
        if (!next || factor === 0) continue;
        for (let i = 0; i < size; i++) if (values[layer - 1][i] > 0) next[i] += factor * weights[from + i];
      }
    }
  }

  /** For each row of each layer: where its weights begin, the slope of its sum, what it reads and where that is not 0. */
  function eachRow(
    context: Float64Array,
    visit: (from: number, slope: number, below: Float64Array, at: Int32Array) => void,
  ): void {
    for (let layer = 0; layer <= depth; layer++) {
      const [below, at] = [layer === 0 ? context : values[layer - 1], read(layer)];
      const slope = slopes[layer];
      for (let row = 0; row < slope.length; row++)
        if (slope[row] !== 0) visit(layers[layer] + row * inputs[layer], slope[row], below, at);
    }
  }

  return {
    weights,
    initial,
    layers,
    forward,
    backward(context, gradient) {
      const output = forward(context);
      findSlopes();
      gradient.fill(0);
      eachRow(context, (from, slope, below, at) => {
        for (let j = 0; j < at.length; j++) gradient[from + at[j]] = slope * below[at[j]];
      });
      return output;
    },
    differentiate(context, visit) {
      const output = forward(context);
      findSlopes();
      eachRow(context, (from, slope, below, at) => {
        for (let j = 0; j < at.length; j++) visit(from + at[j], slope * below[at[j]]);
      });
      return output;
    },
    descend(context, slopeOf, rate, longestStep) {
      const output = forward(context);
      const outer = slopeOf(output);
      findSlopes();
      let squares = 0;
      eachRow(context, (_, slope, below, at) => {
        for (let j = 0; j < at.length; j++) squares += (slope * below[at[j]]) ** 2;
      });
      const step = outer * shortened(rate, Math.abs(outer) * Math.sqrt(squares), longestStep);
      if (!step) return output; // 0, or no number
      eachRow(context, (from, slope, below, at) => {
        for (let j = 0; j < at.length; j++) weights[from + at[j]] -= step * slope * below[at[j]];
      });
      return output;
    },
  };
}

/** The rate at which a step along a gradient of this norm is no longer than `longest`; 0 where the norm is beyond numbers, and nothing moves. */
function shortened(rate: number, norm: number, longest: number): number {
  if (!Number.isFinite(norm)) return 0;
  return rate * norm > longest ? longest / norm : rate;
}

function initialWeights(shape: NetworkShape, inputs: readonly number[], layers: readonly number[]) {
  const { hidden, depth, parameterisation, seed, number = 0 } = shape;
  const values = new Float64Array(layers[layers.length - 1]);
  const paper = 1 / (2 * (1 + Math.sqrt(Math.log(hidden)) / Math.sqrt(2 * hidden)));
  const stream = { seed, request: number };
  for (let layer = 0; layer <= depth; layer++) {
    const last = layer === depth;
    const deviation = parameterisation === "paper" ? (last ? 1 : paper) : Math.sqrt((last ? 1 : 2) / inputs[layer]);
    for (let i = layers[layer]; i < layers[layer + 1]; i++) {
      values[i] = deviation * normal(stream, i, "initialise");
    }
    if (last && parameterisation === "paper") {
      const v = values.subarray(layers[layer]);
      const norm = Math.sqrt(v.reduce((sum, value) => sum + value * value, 0));
      for (let i = 0; i < v.length; i++) v[i] /= norm;
    }
  }
  return values;
}

/**
 * weights <- projection of (weights - rate * gradient): each layer stays within `radius` of where it began (Frobenius norm);
 * outside, the difference is scaled back. The step itself is no longer than `longestStep`, if given.
 */
export function projectedStep(
  { weights, initial, layers }: Network,
  gradient: Float64Array,
  rate: number,
  radius: number,
  longestStep = Number.POSITIVE_INFINITY,
): void {
  let squares = 0;
  for (const value of gradient) squares += value * value;
  const step = shortened(rate, Math.sqrt(squares), longestStep);
  if (step === 0) return;
  for (let layer = 0; layer + 1 < layers.length; layer++) {
    let distance = 0;
    for (let i = layers[layer]; i < layers[layer + 1]; i++) {
      weights[i] -= step * gradient[i];
      distance += (weights[i] - initial[i]) ** 2;
    }
    distance = Math.sqrt(distance);
    if (distance <= radius) continue;
    for (let i = layers[layer]; i < layers[layer + 1]; i++)
      weights[i] = initial[i] + ((weights[i] - initial[i]) * radius) / distance;
  }
}
