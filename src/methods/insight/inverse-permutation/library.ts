/** Inverse permutation learning as functions: layouts and constructed weights, the theorem checked on any weights, and training. */
export {
  type AnswerPlace,
  answerPlaces,
  type OrderingExample,
  type OrderingTask,
  type OrderingTraining,
  orderingExample,
  trainOrdering,
  writtenAccuracy,
} from "./decoding.ts";
export { changedBefore, randomWeights, rowErrors, type Trials, unreachableChanges } from "./impossibility.ts";
export { type Construction, construct } from "./index.ts";
export { inputOf, type Layout, type LayoutOptions, layoutOf, permutationOf, reachable } from "./layout.ts";
export {
  drawList,
  type InverseOutcome,
  type InversePoint,
  type InverseTraining,
  trainInverse,
} from "./training.ts";
export { type Disentangled, type DisentangledWeights, disentangled } from "./transformer.ts";
