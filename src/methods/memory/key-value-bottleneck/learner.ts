/** A bottleneck over features of any scale: its keys are placed by standardised features, and what standardises them becomes part of it. */
import { ensure } from "../../../errors.ts";
import { type Bottleneck, createBottleneck, type Features, initialiseKeys } from "./bottleneck.ts";

export interface LearnerSettings {
  /** Codebooks, each with keys of its own. */
  readonly codebooks: number;
  /** Pairs of key and value of each codebook. */
  readonly pairs: number;
  /** Numbers of each key. */
  readonly keyWidth: number;
  /** Of the first keys and of the order of what is learnt. */
  readonly seed: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

/** Passes over the features, and features of a batch, while keys are placed. */
const [epochs, batch] = [10, 128];

/**
 * A bottleneck whose keys are placed by these features. Distances are those of features with mean 0 and deviation 1, so that none counts for more for its
 * units: q = ((z - mean) / deviation) R. The deviations go into the projections and the shift into the keys, as distances do not change when queries
 * and keys are shifted by the same. Errors: `bad_option` without features, or with some that are not finite; `aborted`.
 */
export async function beginLearner(
  features: Features,
  classes: number,
  settings: LearnerSettings,
): Promise<Bottleneck> {
  const { count, width } = features;
  const { codebooks, pairs, keyWidth, seed, signal } = settings;
  ensure(count >= 1, "bad_option", "bottleneck: there are no features to place the keys by");
  const shape = { codebooks, pairs, keyWidth, valueWidth: classes, featureWidth: width };
  const bottleneck = createBottleneck(shape, { seed });
  const { means, deviations } = scalesOf(features);
  await initialiseKeys(bottleneck, standardise(features, features), { epochs, batch, seed, signal });
  const { projections, keys } = bottleneck;
  for (let c = 0; c < codebooks; c++) {
    const shift = new Float64Array(keyWidth);
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < keyWidth; j++) {
        const at = (c * width + i) * keyWidth + j;
        projections[at] /= deviations[i];
        shift[j] += means[i] * projections[at];
      }
    }
    for (let k = 0; k < pairs * keyWidth; k++) keys[c * pairs * keyWidth + k] += shift[k % keyWidth];
  }
  return bottleneck;
}

function scalesOf({ count, width, values }: Features): { means: Float64Array; deviations: Float64Array } {
  const means = new Float64Array(width);
  const deviations = new Float64Array(width);
  values.forEach((x, i) => {
    means[i % width] += x / count;
  });
  values.forEach((x, i) => {
    deviations[i % width] += (x - means[i % width]) ** 2 / count;
  });
  // A feature that is always the same says nothing, and may have any scale.
  return { means, deviations: deviations.map((square) => Math.sqrt(square) || 1) };
}

/** Features with the mean and deviation that those of `by` have taken off. Errors: `bad_shape` for features of another width, or none to go by. */
export function standardise<Rows extends Features>(rows: Rows, by: Features): Rows {
  ensure(
    by.count >= 1 && by.width === rows.width,
    "bad_shape",
    `bottleneck: ${by.count} rows of ${by.width} features cannot standardise rows of ${rows.width}`,
  );
  const { means, deviations } = scalesOf(by);
  const values = rows.values.map((x, i) => (x - means[i % rows.width]) / deviations[i % rows.width]);
  return { ...rows, values };
}
