/**
 * Inverse permutation learning (Alur, Hays, Raghavan and Shah 2025): an attention-only transformer is shown a permutation P and a shuffled list P·Y, and is to
 * write Y into its stream. Under a causal mask no depth can; without the mask, or with scratch rows behind the input, two layers do, and here are weights that do.
 *
 *     P[i, π(i)] = 1,   (P·Y)[i] = Y[π(i)],   X = [P; P·Y] or [P; P·Y; S],   wanted: Y = Pᵀ·(P·Y)
 */

import { requireNothingElse } from "../../../names.ts";
import { requirePositive } from "../../../numbers.ts";
import { type Layout, requireLayout } from "./layout.ts";
import { type DisentangledWeights, widthAfter } from "./transformer.ts";

export * from "./decoding.ts";
export * from "./impossibility.ts";
export * from "./layout.ts";
export * from "./training.ts";
export * from "./transformer.ts";

/** Options of the published construction. */
export interface Construction {
  /** β, the sharpness of attention: rows that are not meant leak e^-β. Default 20, enough for float32. */
  readonly sharpness?: number;
  /** A bound on what the input holds; what is silenced must stay below it. Default 3. */
  readonly largest?: number;
}

/**
 * Two layers of one head that restore every list in a layout (theorems 2 and 3; the matrices are ours). The first lets each row of P·Y copy its row of P. In the
 * second, read row j looks for the row whose copy has a 1 at j, and takes what that row itself holds; rows without content of Y are pushed below all others.
 * Under a causal mask it is right in those read rows that stand behind what they need: see `reachable`. Errors: `bad_option`.
 */
export function construct(
  layout: Layout,
  { sharpness = 20, largest = 3, ...others }: Construction = {},
): DisentangledWeights {
  requireLayout(layout);
  const { n, rows, order, values, read } = layout;
  requireNothingElse(others, "construct", ["sharpness", "largest"]);
  requirePositive({ sharpness, largest });
  const [d0, d1, d2] = [0, 1, 2].map((layer) => widthAfter(n, rows, layer));
  const position = (row: number): number => n + row;
  const first = new Float32Array(d0 * d0);
  for (let i = 0; i < n; i++) first[position(values + i) * d0 + position(order + i)] = sharpness;
  const second = new Float32Array(d1 * d1);
  for (let j = 0; j < n; j++) {
    const query = position(read + j) * d1;
    second[query + d0 + j] = sharpness;
    for (let row = 0; row < rows; row++)
      if (row < values || row >= values + n) second[query + position(row)] = -sharpness * (1 + largest);
  }
  const output = new Float32Array(d2 * n);
  for (let i = 0; i < n; i++) output[(d1 + i) * n + i] = 1;
  return { attention: [first, second], output };
}
