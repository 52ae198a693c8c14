/** Recurrent layers, written in the elementary operations: their gradients follow from those. Sequences are unrolled. */
import { ensure } from "../errors.ts";
import { add, linear, multiply, sigmoid, split, tanh } from "./operations.ts";
import { shapeText } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** Gates stand in the order input, forget, candidate, output along the first axis, as PyTorch keeps them. */
export interface LstmWeights {
  /** [4 · hidden, input]. */
  readonly input: Tensor;
  /** [4 · hidden, hidden]. */
  readonly hidden: Tensor;
  /** [4 · hidden]. */
  readonly bias: Tensor;
}

/** Both [rows, hidden]. */
export interface LstmState {
  readonly hidden: Tensor;
  readonly cell: Tensor;
}

/**
 * One step of a long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), x [rows, input]:
 *
 *     i, f, g, o = W x + U h + b        c ← σ(f) c + σ(i) tanh(g)        h ← σ(o) tanh(c)
 *
 * Errors: `bad_shape`.
 */
export function lstmCell(x: Tensor, state: LstmState, weights: LstmWeights): LstmState {
  const size = state.hidden.shape[1];
  const [gates, width] = weights.hidden.shape;
  ensure(typeof size === "number" && width === size && gates === 4 * size, "bad_shape", () => {
    const found = `${shapeText(weights.hidden.shape)} for a state ${shapeText(state.hidden.shape)}`;
    return `lstmCell: hidden weights are ${found}; they must be [4 · hidden, hidden]`;
  });
  const sums = add(linear(x, weights.input, weights.bias), linear(state.hidden, weights.hidden));
  const [input, forget, candidate, output] = split(sums, [size, size, size, size], 1);
  const cell = add(multiply(sigmoid(forget), state.cell), multiply(sigmoid(input), tanh(candidate)));
  return { hidden: multiply(sigmoid(output), tanh(cell)), cell };
}

/** The states after each step of a sequence, in order. Errors: `bad_shape`. */
export function lstm(steps: readonly Tensor[], start: LstmState, weights: LstmWeights): LstmState[] {
  const states: LstmState[] = [];
  for (const x of steps) states.push(lstmCell(x, states.at(-1) ?? start, weights));
  return states;
}
