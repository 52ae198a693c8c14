/**
 * LinUCB for losses that change with time: D-LinUCB (Russac, Vernade and Cappé 2019, "Weighted Linear Bandits for Non-Stationary
 * Environments", algorithm 1). With every loss that is learnt all earlier ones weigh `discount` times as much, so that what was not tried for
 * long becomes doubtful again. One set of coefficients for all arms, as in LinUCB, which this is at discount 1.
 */
import { requireWhole } from "../../numbers.ts";
import { choleskySolve, choleskyWithJitter } from "../signals/matrix.ts";
import type { LinearOptions } from "./linear.ts";
import {
  certain,
  createPolicy,
  leastOf,
  type Policy,
  type PolicyState,
  requireKnown,
  requireOption,
} from "./policy.ts";

/** Options of a linear bandit that forgets. */
export interface DiscountedOptions extends LinearOptions {
  /** Of the width of the doubt that is taken off a foretold loss. Default 1. */
  alpha?: number;
  /** What a loss weighs after one more, in (0, 1]: about 1 / (1 - discount) losses count. Default 0.97. */
  discount?: number;
}

const name = "DiscountedLinUCB";

/**
 * Lowest foretold loss less `alpha` sqrt(x' V^-1 W V^-1 x), V and W being the sums of x x' discounted by `discount` and by its square. O(width^3)
 * a loss. Errors: `bad_option`, `bad_file`.
 */
export function discountedLinUCB(options: DiscountedOptions, saved?: PolicyState): Policy {
  const { width, seed = 0, ridge = 1, alpha = 1, discount = 0.97 } = options;
  requireKnown(name, options, ["width", "seed", "ridge", "alpha", "discount"]);
  requireWhole({ [`${name}: width`]: width }, 1, 512);
  requireOption(name, "ridge", ridge, 1e-9, 1e9);
  requireOption(name, "alpha", alpha, 0, 1e6);
  requireOption(name, "discount", discount, 0.01, 1);
  const identity = (): Float64Array<ArrayBuffer> =>
    Float64Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? ridge : 0));
  const arrays = { once: identity(), twice: identity(), sums: new Float64Array(width) };
  const factor = new Float64Array(width * width);
  const coefficients = new Float64Array(width);

  /** V^-1 of a vector, in its place. */
  const solve = (vector: Float64Array): Float64Array => {
    choleskySolve(factor, vector, width);
    return vector;
  };
  function refresh(): void {
    choleskyWithJitter(factor, arrays.once, width, `${name}: the sums of contexts`);
    coefficients.set(arrays.sums);
    solve(coefficients);
  }
  function spread(context: Float64Array): number {
    const along = solve(context.slice());
    let sum = 0;
    for (let i = 0; i < width; i++) {
      if (along[i] === 0) continue; // contexts of one arm in many are mostly zeros
      for (let j = 0; j < width; j++) sum += along[i] * arrays.twice[i * width + j] * along[j];
    }
    return Math.max(0, sum);
  }
  /** The ridge is not forgotten. */
  function discounted(sums: Float64Array, by: number, context: Float64Array): void {
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++)
        sums[i * width + j] = by * sums[i * width + j] + context[i] * context[j] + (i === j ? (1 - by) * ridge : 0);
  }
  refresh();
  return createPolicy(
    {
      name,
      options: { ...options, seed, ridge, alpha, discount },
      width,
      seed,
      weigh(contexts) {
        const predictions = contexts.map((context) => {
          const foretold = context.reduce((sum, value, i) => sum + value * coefficients[i], 0);
          return foretold - alpha * Math.sqrt(spread(context));
        });
        return { predictions, probabilities: certain(contexts.length, leastOf(predictions)) };
      },
      update(context, loss) {
        discounted(arrays.once, discount, context);
        discounted(arrays.twice, discount ** 2, context);
        for (let i = 0; i < width; i++) arrays.sums[i] = discount * arrays.sums[i] + loss * context[i];
        refresh();
      },
      save: () => ({ arrays: { once: arrays.once.slice(), twice: arrays.twice.slice(), sums: arrays.sums.slice() } }),
      restore(state) {
        for (const key of ["once", "twice", "sums"] as const) arrays[key].set(state.arrays[key]);
        refresh();
      },
    },
    saved,
  );
}
