/** The policies by name. */

import { requireOptions, VentrisError } from "../../errors.ts";
import { suggestion } from "../../names.ts";
import { discountedLinUCB } from "./discounted.ts";
import { linearSquareCB, linUCB } from "./linear.ts";
import { neuFastCB, neuSquareCB } from "./neural-bandit/index.ts";
import { eeNet, fixedArm, neuralEpsilonGreedy, neuralTS, neuralUCB } from "./neural-baselines.ts";
import type { Policy, PolicyState } from "./policy.ts";

type Maker = (options: { width: number; seed?: number } & Record<string, unknown>, saved?: PolicyState) => Policy;

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
  Fixed: fixedArm,
  Uniform: fixedArm,
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
