/** Contextual bandits: policies that choose an arm from its context and learn from its loss alone. */
export { type Outlook, outlook } from "./auto/outlook.ts";
export { type ArmRecord, forgetLearnt, type Learnt, learntIn, stateFolder } from "./auto/state.ts";
export { linearSquareCB, linUCB } from "./linear.ts";
export { neuFastCB, neuSquareCB } from "./neural-bandit/index.ts";
export { eeNet, fixedArm, neuralEpsilonGreedy, neuralTS, neuralUCB } from "./neural-baselines.ts";
export { createPolicyByName, policies } from "./policies.ts";
export type { Decision, Policy, PolicyState } from "./policy.ts";
export { classificationTask, cosineTask, type Play, play, readTable, type Table, type Task } from "./tasks.ts";
