/** The policies by name. */

import { ensure, requireOptions, VentrisError } from "../../errors.ts";
import { suggestion } from "../../names.ts";
import { givenFields } from "../../values.ts";
import { discountedLinUCB } from "./discounted.ts";
import { linearSquareCB, linUCB } from "./linear.ts";
import { neuFastCB, neuSquareCB } from "./neural-bandit/index.ts";
import { eeNet, fixedArm, neuralEpsilonGreedy, neuralTS, neuralUCB } from "./neural-baselines.ts";
import { type Policy, type PolicyState, requireKnown } from "./policy.ts";

type Maker = (options: { width: number; seed?: number } & Record<string, unknown>, saved?: PolicyState) => Policy;

/** `Fixed` is told its arm, and `Uniform` has none: neither becomes the other by what is left out. */
const fixed: Maker = (options, saved) => {
  ensure(
    options.arm !== undefined,
    "bad_option",
    "Fixed has no arm: say which it takes always, as arm: 0; Uniform takes every arm alike",
  );
  return fixedArm(options, saved);
};
const uniform: Maker = (options, saved) => {
  requireKnown("Uniform", givenFields(options), ["width", "seed"]);
  return fixedArm(options, saved);
};

/** Every policy by its name, with its options. */
export const policies: Readonly<Record<string, Maker>> = {
  NeuSquareCB: neuSquareCB,
  NeuFastCB: neuFastCB,
  LinUCB: linUCB,
  DiscountedLinUCB: discountedLinUCB,
  LinearSquareCB: linearSquareCB,
  NeuralUCB: neuralUCB,
  NeuralTS: neuralTS,
  NeuralEpsilonGreedy: neuralEpsilonGreedy,
  EENet: eeNet,
  Fixed: fixed,
  Uniform: uniform,
};

/** Errors: `bad_option` for an unknown name, with the nearest known one; as the policy's own function otherwise. */
export function createPolicyByName(
  name: string,
  options: { width: number; seed?: number } & Record<string, unknown>,
  saved?: PolicyState,
): Policy {
  requireOptions(options, "createPolicyByName");
  if (Object.hasOwn(policies, name)) return policies[name](options, saved);
  const known = Object.keys(policies);
  throw new VentrisError(
    "bad_option",
    `there is no bandit policy "${name}"${suggestion(String(name), known)} (${known.join(", ")})`,
  );
}
