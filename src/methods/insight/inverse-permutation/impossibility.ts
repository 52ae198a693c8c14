/**
 * Theorem 1, as something that can be run: under a causal mask row t of every stream is a function of rows up to t, whatever the weights. So a read row that stands
 * before the row of P·Y that it needs cannot hold it: that row of Y can change, and what is read there does not.
 */
import { normal } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import { inputOf, type Layout, reachable, requireLayout } from "./layout.ts";
import { drawList } from "./training.ts";
import { type DisentangledWeights, disentangled, widthAfter } from "./transformer.ts";

/** Normal weights of a spread that keeps scores moderate. Errors: `bad_option` for more layers than fit, a layout whose rows do not lie in the input, and a seed that is none. */
export function randomWeights(layout: Layout, layers: number, seed: number): DisentangledWeights {
  requireLayout(layout);
  requireWhole({ seed }, 0);
  const { n, rows } = layout;
  const last = widthAfter(n, rows, layers);
  const draw = (size: number, request: number, deviation: number) =>
    Float32Array.from({ length: size }, (_, i) => deviation * normal({ seed, request }, i, "initialise"));
  return {
    attention: Array.from({ length: layers }, (_, layer) => {
      const width = widthAfter(n, rows, layer);
      return draw(width * width, layer, 1 / Math.sqrt(width));
    }),
    output: draw(last * n, layers, 1 / Math.sqrt(rows)),
  };
}

export interface Trials {
  readonly causal: boolean;
  readonly trials: number;
  readonly seed: number;
}

/**
 * The lemma: inputs of normal numbers whose rows behind a row t are drawn anew, for t = 0, 1, … in turn. Returns the share of trials in which any number of the last stream changes
 * its bits in rows up to t.
 */
export async function changedBefore(
  layout: Layout,
  weights: DisentangledWeights,
  { causal, trials, seed }: Trials,
): Promise<number> {
  requireCounts({ trials });
  const { n, rows } = layout;
  const width = widthAfter(n, rows, weights.attention.length);
  const model = await disentangled(layout, weights, { causal });
  try {
    let changed = 0;
    for (let trial = 0; trial < trials; trial++) {
      const draw = (i: number, index: number) => normal({ seed, request: trial }, i, "data", index);
      const x = Float32Array.from({ length: rows * n }, (_, i) => draw(i, 0));
      const last = trial % (rows - 1);
      const other = x.map((value, i) => (i >= (last + 1) * n ? draw(i, 1) : value));
      const [a, b] = [await model.run(x), await model.run(other)];
      const same = a.stream.subarray(0, (last + 1) * width).every((value, i) => value === b.stream[i]);
      if (!same) changed++;
    }
    return changed / trials;
  } finally {
    await model.release();
  }
}

/**
 * Lists in which a row of Y that its read row cannot see is replaced by its opposite bits. Returns the share of trials in which anything changes in that read row, and the mean
 * over trials of the larger one of both errors there: at least 0.5 where nothing changes. Errors: `bad_option` for a layout in which every row is reachable.
 */
export async function unreachableChanges(
  layout: Layout,
  weights: DisentangledWeights,
  { causal, trials, seed }: Trials,
): Promise<{ readonly changed: number; readonly error: number }> {
  requireCounts({ trials });
  const { n } = layout;
  const model = await disentangled(layout, weights, { causal });
  try {
    let [changed, error, done] = [0, 0, 0];
    for (let index = 0; done < trials; index++) {
      ensure(index < 1000 * trials, "bad_option", "inverse permutation: every row of this layout can be reached");
      const { order, list } = drawList(n, seed, index);
      const row = reachable(layout, order).indexOf(false);
      if (row < 0) continue;
      const flipped = list.map((values, j) => (j === row ? values.map((bit) => 1 - bit) : values));
      const [a, b] = [
        await model.run(inputOf(layout, order, list)),
        await model.run(inputOf(layout, order, flipped)),
      ].map(({ output }) => output.subarray(row * n, (row + 1) * n));
      if (a.some((value, i) => value !== b[i])) changed++;
      const worst = (found: Float32Array, wanted: readonly number[]): number =>
        Math.max(...wanted.map((bit, i) => Math.abs(bit - found[i])));
      error += Math.max(worst(a, list[row]), worst(b, flipped[row]));
      done++;
    }
    return { changed: changed / trials, error: error / trials };
  } finally {
    await model.release();
  }
}

/** Largest error of each read row [n] over drawn lists, and how often a mask lets it be reached. */
export async function rowErrors(layout: Layout, weights: DisentangledWeights, { causal, trials, seed }: Trials) {
  requireCounts({ trials });
  const { n } = layout;
  const model = await disentangled(layout, weights, { causal });
  try {
    let [right, could] = [0, 0];
    let worst = 0;
    for (let trial = 0; trial < trials; trial++) {
      const { order, list } = drawList(n, seed, trial);
      const { output } = await model.run(inputOf(layout, order, list));
      const reached = reachable(layout, order);
      for (let row = 0; row < n; row++) {
        const error = Math.max(...list[row].map((value, i) => Math.abs(value - output[row * n + i])));
        if (error < 1e-3) right++;
        if (causal && !reached[row]) continue;
        could++;
        worst = Math.max(worst, error);
      }
    }
    return { right: right / (trials * n), reachable: could / (trials * n), worst };
  } finally {
    await model.release();
  }
}
