/**
 * The disentangled transformer (Nichani, Damian and Lee 2024): attention alone, whose results are appended to the stream and never added to it, so that nothing is
 * overwritten. One definition, run and trained on the project's tensors.
 *
 *     h⁰ = [X, I],   h^l = [h^(l-1), softmax(mask(h A hᵀ)) h],   output = h^L W at the rows that are read
 */
import { ensure } from "../../../errors.ts";
import { requireCounts } from "../../../numbers.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import {
  add,
  concat,
  constant,
  expand,
  input,
  lower,
  matmul,
  parameter,
  reshape,
  slice,
  softmax,
  type Tensor,
} from "../../../tensor/index.ts";
import { type Layout, requireLayout } from "./layout.ts";

/** `attention[l]` [width, width] of layer l, queries by rows; `output` [last width, n]. */
export interface DisentangledWeights {
  readonly attention: readonly Float32Array<ArrayBuffer>[];
  readonly output: Float32Array<ArrayBuffer>;
}

/** Numbers of a row of the widest stream: a layer's weights are the square of it. */
const widest = 2 ** 13;

/** Width of the stream after so many layers of one head: it doubles with each. Errors: `bad_option` for what would fill the memory. */
export function widthAfter(n: number, rows: number, layers: number): number {
  ensure(Number.isInteger(layers) && layers >= 0, "bad_option", () => {
    return `inverse permutation: layers are a whole number, not ${layers}`;
  });
  const width = (n + rows) * 2 ** layers;
  ensure(width <= widest, "bad_option", () => {
    return `inverse permutation: ${layers} layers over ${rows} rows would make the stream ${width} wide, more than ${widest}: it doubles with each layer`;
  });
  return width;
}

/** Zeros, as the paper's training begins. */
export const zeroWeights = ({ n, rows }: Layout, layers: number): DisentangledWeights => ({
  attention: Array.from({ length: layers }, (_, layer) => new Float32Array(widthAfter(n, rows, layer) ** 2)),
  output: new Float32Array(widthAfter(n, rows, layers) * n),
});

const never = -1e30;

/** The graph over `batch` inputs "x" [batch, rows, n]: the stream [batch, rows, width] after each layer, and what is read [batch, n, n]. */
export function disentangledGraph(
  { n, rows, read }: Layout,
  { batch, layers, causal }: { readonly batch: number; readonly layers: number; readonly causal: boolean },
): { readonly streams: readonly Tensor[]; readonly output: Tensor } {
  const identity = new Float32Array(rows * rows);
  for (let row = 0; row < rows; row++) identity[row * rows + row] = 1;
  const x = input("x", [batch, rows, n]);
  const positions = expand(constant(identity, [1, rows, rows]), [batch, rows, rows]);
  const seen = Float32Array.from({ length: rows * rows }, (_, i) => (i % rows > Math.floor(i / rows) ? never : 0));
  const mask = constant(seen, [1, rows, rows]);
  const streams: Tensor[] = [concat([x, positions], 2)];
  for (let layer = 0; layer < layers; layer++) {
    const stream = streams[layer];
    const width = widthAfter(n, rows, layer);
    const scores = matmul(matmul(stream, parameter(`attention.${layer}`, [width, width])), stream, {
      transposeB: true,
    });
    streams.push(concat([stream, matmul(softmax(causal ? add(scores, mask) : scores), stream)], 2));
  }
  const width = widthAfter(n, rows, layers);
  const chosen = slice(streams[layers], 1, read, read + n);
  const output = matmul(reshape(chosen, [batch * n, width]), parameter("head", [width, n]));
  return { streams, output: reshape(output, [batch, n, n]) };
}

/** The disentangled transformer as a program. */
export interface Disentangled {
  /** What is read [batch, n, n] of inputs [batch, rows, n], and the stream after the last layer [batch, rows, width]. */
  run(x: Float32Array): Promise<{ readonly output: Float32Array; readonly stream: Float32Array }>;
  release(): Promise<void>;
}

/** Compiled for one batch size. Errors: `bad_option` for a layout whose rows do not lie in the input, and a batch below 1; `bad_shape` for weights or inputs of another size; those of compiling. */
export async function disentangled(
  layout: Layout,
  { attention, output }: DisentangledWeights,
  {
    batch = 1,
    causal,
    threads = 1,
  }: {
    /** Inputs of a run. Default: 1. */
    batch?: number;
    /** Rows see none that follow them. */
    causal: boolean;
    /** Within an operator. Default: 1. */
    threads?: number;
  },
): Promise<Disentangled> {
  requireLayout(layout);
  requireCounts({ batch });
  const { n, rows } = layout;
  const layers = attention.length;
  const sizes = [
    ...attention.map((values, layer) => [`attention.${layer}`, values, widthAfter(n, rows, layer)] as const),
  ].map(([name, values, width]) => ({ name, values, dims: [width, width] }));
  const all = [...sizes, { name: "head", values: output, dims: [widthAfter(n, rows, layers), n] }];
  for (const { name, values, dims } of all)
    ensure(
      values.length === dims[0] * dims[1],
      "bad_shape",
      `disentangled transformer: ${name} has ${values.length} numbers, but ${rows} rows of ${n} need [${dims}]: weights are tied to the length`,
    );
  const graph = disentangledGraph(layout, { batch, layers, causal });
  const wanted = { output: graph.output, stream: graph.streams[layers] };
  const program = await compile(lower(wanted, { parameters: "inputs" }), { threads });
  const make = await valueMaker();
  const weights = Object.fromEntries(all.map(({ name, values, dims }) => [name, make("float32", values, dims)]));
  return {
    async run(x) {
      ensure(
        x.length === batch * rows * n,
        "bad_shape",
        `disentangled transformer: ${x.length} numbers are not ${batch} inputs of ${rows} rows of ${n}`,
      );
      const found = await program.run({ ...weights, x: make("float32", x, [batch, rows, n]) });
      return { output: found.output.data as Float32Array, stream: found.stream.data as Float32Array };
    },
    release: () => program.release(),
  };
}
