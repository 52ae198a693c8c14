/**
 * The memory's network: pre-norm residual feed-forward blocks, a final norm and an output matrix of its own, for each token by itself. No
 * attention, no positions. Blocks are those of the base's family: RMS norm and SwiGLU without biases, or layer norm and GELU with biases.
 */
import { normal } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { MakeParameter, ModelConfig } from "../../../models/family.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import {
  add,
  gelu,
  input,
  layerNorm,
  linear,
  multiply,
  parametersOf,
  rmsNorm,
  silu,
  type Tensor,
} from "../../../tensor/index.ts";
import type { Parameter } from "../../../training/objective.ts";

export interface MemoryShape {
  readonly blocks: number;
  readonly kind: "swiglu" | "gelu";
  /** Of its input, of the stream inside, of the blocks' inner layers. */
  readonly inputWidth: number;
  readonly width: number;
  readonly innerWidth: number;
  readonly vocabularySize: number;
  readonly epsilon: number;
}

/** A memory of a base: its family's blocks, at its width. */
export const shapeFor = (config: ModelConfig, inputWidth: number, blocks: number): MemoryShape => ({
  blocks,
  kind: config.architecture === "GPT2LMHeadModel" ? "gelu" : "swiglu",
  inputWidth,
  width: config.hiddenSize,
  innerWidth: config.feedForward,
  vocabularySize: config.vocabularySize,
  epsilon: config.epsilon,
});

/** Logits [rows, vocabulary] of states [rows, input width]. */
export function memoryLogits(states: Tensor, shape: MemoryShape, parameter: MakeParameter): Tensor {
  const { blocks, kind, inputWidth, width, innerWidth, vocabularySize, epsilon } = shape;
  const norm = (x: Tensor, name: string): Tensor =>
    kind === "swiglu"
      ? rmsNorm(x, parameter(`${name}.weight`, [width]), epsilon)
      : layerNorm(x, parameter(`${name}.weight`, [width]), parameter(`${name}.bias`, [width]), epsilon);
  const product = (x: Tensor, name: string, from: number, to: number): Tensor =>
    kind === "swiglu"
      ? linear(x, parameter(`${name}.weight`, [to, from]))
      : linear(x, parameter(`${name}.weight`, [to, from]), parameter(`${name}.bias`, [to]));
  let stream = inputWidth === width ? states : linear(states, parameter("input.weight", [width, inputWidth]));
  for (let block = 0; block < blocks; block++) {
    const x = norm(stream, `${block}.norm`);
    const up = product(x, `${block}.up`, width, innerWidth);
    const inner = kind === "swiglu" ? multiply(silu(product(x, `${block}.gate`, width, innerWidth)), up) : gelu(up);
    stream = add(stream, product(inner, `${block}.down`, innerWidth, width));
  }
  return linear(norm(stream, "norm"), parameter("output.weight", [vocabularySize, width]));
}

/** Names and shapes of its tensors. */
export function memoryTensors(shape: MemoryShape): Map<string, readonly number[]> {
  const logits = memoryLogits(input("states", ["rows", shape.inputWidth]), shape, parameterMaker());
  return new Map([...parametersOf(logits)].map(([name, tensor]) => [name, tensor.shape as number[]]));
}

const deviation = 0.02;

/** First values: normal with deviation 0.02, smaller for the branches' last matrices by their number; gains 1, biases 0. */
export function beginMemory(shape: MemoryShape, seed: number): Parameter[] {
  return [...memoryTensors(shape)].map(([name, dimensions], request) => {
    const size = dimensions.reduce((a, b) => a * b, 1);
    const scale = name.endsWith("down.weight") ? deviation / Math.sqrt(2 * shape.blocks) : deviation;
    const first = (i: number): number => {
      if (dimensions.length === 2) return scale * normal({ seed, request }, i, "initialise");
      return name.endsWith("bias") ? 0 : 1;
    };
    return { name, shape: dimensions, values: Float32Array.from({ length: size }, (_, i) => first(i)), decay: false };
  });
}

/** Errors: `bad_file` for tensors that are none of this network's. */
export function requireTensors(
  shape: MemoryShape,
  found: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  origin: string,
): void {
  const wanted = memoryTensors(shape);
  for (const [name, size] of wanted) {
    const has = found.get(name)?.shape;
    ensure(has?.join() === size.join(), "bad_file", () => {
      return `${origin}: the memory's tensor ${name} ${has ? `is [${has}]` : "is missing"}, and must be [${size}]`;
    });
  }
  ensure(found.size === wanted.size, "bad_file", `${origin}: it has tensors that a memory of its settings has not`);
}
