/** Contextual bandits: policies that choose an arm from its context and learn from its loss alone. */
export type { Standing } from "../../sharing/index.ts";
export { type Outlook, outlook } from "./auto/outlook.ts";
export { type ArmRecord, forgetLearnt, type Learnt, learntIn, stateFolder } from "./auto/state.ts";
export { type DiscountedOptions, discountedLinUCB } from "./discounted.ts";
export { type LinearOptions, linearSquareCB, linUCB } from "./linear.ts";
export { type NeuralBanditOptions, neuFastCB, neuSquareCB } from "./neural-bandit/index.ts";
export {
  type ConfidenceOptions,
  type EENetOptions,
  eeNet,
  fixedArm,
  type NeuralBaselineOptions,
  neuralEpsilonGreedy,
  neuralTS,
  neuralUCB,
} from "./neural-baselines.ts";
export { createPolicyByName, policies } from "./policies.ts";
export type { Decision, Policy, PolicyCounters, PolicyState } from "./policy.ts";
export {
  classificationTask,
  cosineTask,
  type Play,
  play,
  playInTurns,
  type Round,
  readTable,
  type SyntheticOptions,
  type Table,
  type Task,
} from "./tasks.ts";
