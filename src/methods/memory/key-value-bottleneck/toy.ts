/** The stream of the paper's figure 2: eight blobs in the unit square, two in each of four tasks. */
import { normal, uniform } from "../../../engine/random.ts";
import { type Bottleneck, createBottleneck, type Features, initialiseKeys } from "./bottleneck.ts";
import type { Labelled } from "./learning.ts";

const deviation = 0.035;
/** Tasks of [class, x, y]. */
export const toyTasks: readonly (readonly (readonly [number, number, number])[])[] = [
  [
    [0, 0.25, 0.25],
    [4, 0.75, 0.5],
  ],
  [
    [1, 0.75, 0.25],
    [5, 0.5, 0.75],
  ],
  [
    [2, 0.75, 0.75],
    [6, 0.25, 0.5],
  ],
  [
    [3, 0.25, 0.75],
    [7, 0.5, 0.25],
  ],
];
export const toyClasses = 8;

/** Samples of a task, its classes in turn. */
export function toyTask(task: number, count: number, seed: number): Labelled {
  const labels = new Int32Array(count);
  const values = new Float32Array(2 * count);
  for (let n = 0; n < count; n++) {
    const [label, ...centre] = toyTasks[task][n % 2];
    labels[n] = label;
    for (const j of [0, 1]) values[2 * n + j] = centre[j] + deviation * normal({ seed, request: task }, n, "data", j);
  }
  return { count, width: 2, values, labels };
}

export function uniformSquare(count: number, seed: number): Features {
  const values = Float32Array.from({ length: 2 * count }, (_, i) => uniform({ seed, request: 99 }, i, "data"));
  return { count, width: 2, values };
}

/** `one`: a codebook of 400 pairs in the square itself; `many`: 20 codebooks of 20 pairs behind random projections. */
export async function toyBottleneck(kind: "one" | "many", seed: number): Promise<Bottleneck> {
  const sizes = kind === "one" ? { codebooks: 1, pairs: 400 } : { codebooks: 20, pairs: 20 };
  const shape = { ...sizes, keyWidth: 2, valueWidth: toyClasses, featureWidth: 2 };
  const bottleneck = createBottleneck(shape, { splitter: kind === "one" ? "identity" : "random", seed });
  await initialiseKeys(bottleneck, uniformSquare(20_000, seed), { epochs: 5, batch: 100, seed }); // 1000 batches of 100
  return bottleneck;
}

/** The class that a decision gives to every cell of a grid over the square, row by row from y = 0; -1: none. */
export function regions(decideOn: (features: Features) => Int32Array, side: number): number[] {
  const values = Float32Array.from({ length: 2 * side * side }, (_, i) => {
    const cell = Math.floor(i / 2);
    return ((i % 2 === 0 ? cell % side : Math.floor(cell / side)) + 0.5) / side;
  });
  return [...decideOn({ count: side * side, width: 2, values })];
}
