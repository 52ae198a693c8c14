/**
 * Linear policies: LinUCB (Li, Chu, Langford and Schapire 2010) and SquareCB on ridge regression. One set of coefficients for
 * all arms, whose contexts tell them apart; the inverse of A = ridge I + sum x x' is kept up to date by Sherman and Morrison's
 * formula, O(width^2) a round.
 */
import { requireWhole } from "../../numbers.ts";
import {
  certain,
  createPolicy,
  inverseGap,
  leastOf,
  type Policy,
  type PolicyState,
  requireKnown,
  requireOption,
} from "./policy.ts";

/** Options of bandits that are linear in the context. */
export interface LinearOptions {
  /** Features of an arm's context, at most 4096: the inverse has width^2 entries. */
  width: number;
  /** Of what the policy draws. Default 0. */
  seed?: number;
  /** Default 1. */
  ridge?: number;
}

/** Lowest foretold loss less `alpha` sqrt(x' A^-1 x). Default alpha 1. Errors: `bad_option`, `bad_file`. */
export function linUCB(options: LinearOptions & { alpha?: number }, saved?: PolicyState): Policy {
  const { alpha = 1 } = options;
  requireKnown("LinUCB", options, ["width", "seed", "ridge", "alpha"]);
  requireOption("LinUCB", "alpha", alpha, 0, 1e6);
  return linear("LinUCB", { ...options, alpha }, saved, (contexts, { predict, spread }) => {
    const predictions = contexts.map((context) => predict(context) - alpha * Math.sqrt(spread(context)));
    return { predictions, probabilities: certain(contexts.length, leastOf(predictions)) };
  });
}

/** SquareCB's rule on ridge regression. Default gamma 100. Errors: `bad_option`, `bad_file`. */
export function linearSquareCB(options: LinearOptions & { gamma?: number }, saved?: PolicyState): Policy {
  const { gamma = 100 } = options;
  requireKnown("LinearSquareCB", options, ["width", "seed", "ridge", "gamma"]);
  requireOption("LinearSquareCB", "gamma", gamma, 0, 1e12);
  return linear("LinearSquareCB", { ...options, gamma }, saved, (contexts, { predict }) => {
    const predictions = contexts.map((context) => Math.min(1, Math.max(0, predict(context))));
    return { predictions, probabilities: inverseGap(predictions, gamma, "square") };
  });
}

interface Ridge {
  predict(context: Float64Array): number;
  /** x' A^-1 x */
  spread(context: Float64Array): number;
}

function linear(
  name: string,
  options: LinearOptions & Record<string, unknown>,
  saved: PolicyState | undefined,
  weighArms: (contexts: readonly Float64Array[], ridge: Ridge) => { predictions: number[]; probabilities: number[] },
): Policy {
  const { width, seed = 0, ridge = 1 } = options;
  requireWhole({ [`${name}: width`]: width }, 1, 4096);
  requireOption(name, "ridge", ridge, 1e-9, 1e9);
  const inverse = new Float64Array(width * width);
  for (let i = 0; i < width; i++) inverse[i * width + i] = 1 / ridge;
  /** sum of loss * x, and A^-1 times it */
  const sums = new Float64Array(width);
  const coefficients = new Float64Array(width);
  const product = new Float64Array(width);

  const times = (context: Float64Array): Float64Array => {
    product.fill(0);
    for (let j = 0; j < width; j++) {
      const value = context[j];
      if (value === 0) continue; // contexts of one arm in many are mostly zeros
      for (let i = 0; i < width; i++) product[i] += inverse[j * width + i] * value;
    }
    return product;
  };
  const dot = (a: Float64Array, b: Float64Array): number => {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += a[i] * b[i];
    return sum;
  };
  const regression: Ridge = {
    predict: (context) => dot(coefficients, context),
    spread: (context) => Math.max(0, dot(times(context), context)),
  };
  const solve = (): void => {
    coefficients.set(times(sums));
  };
  return createPolicy(
    {
      name,
      options: { ...options, seed, ridge },
      width,
      seed,
      weigh: (contexts) => weighArms(contexts, regression),
      update(context, loss) {
        const along = times(context);
        const scale = 1 / (1 + Math.max(0, dot(along, context))); // below 0 by rounding alone
        for (let i = 0; i < width; i++) {
          const factor = along[i] * scale;
          if (factor === 0) continue;
          for (let j = 0; j < width; j++) inverse[i * width + j] -= factor * along[j];
        }
        for (let i = 0; i < width; i++) sums[i] += loss * context[i];
        solve();
      },
      save: () => ({ arrays: { inverse: inverse.slice(), sums: sums.slice() } }),
      restore({ arrays }) {
        inverse.set(arrays.inverse);
        sums.set(arrays.sums);
        solve();
      },
    },
    saved,
  );
}
