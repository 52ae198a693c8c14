/** Training: optimiser, schedules, loop, checkpoints and data, for any model that can give its loss and gradients. */
export { type AdamWOptions, type AdamWState, adamwState, adamwUpdate, clipScale, euclideanNorm } from "./adamw.ts";
export {
  type Basis,
  type Checkpoint,
  checkpointPath,
  type LoadedCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
export {
  type BatchShape,
  type Corpus,
  type CorpusFile,
  type CorpusOptions,
  drawBatch,
  evaluationBatches,
  loadCorpus,
  type TokenIds,
  type TokenStream,
} from "./data.ts";
export { editParameters, type GraphObjective, type GraphObjectiveOptions, graphObjective } from "./graph-objective.ts";
export { type HistoryEntry, lossCurvePath, lossCurveSvg } from "./history.ts";
export { type TrainOptions, type TrainProgress, type TrainResult, train } from "./loop.ts";
export type { Values } from "./next-token.ts";
export type { Objective, Parameter, TokenBatch } from "./objective.ts";
export { type ProgressStream, type ProgressWriter, progressLine, progressWriter } from "./progress.ts";
export {
  constant,
  cosine,
  type DecayOptions,
  linear,
  type Schedule,
  type ScheduleOptions,
  warmupStableDecay,
} from "./schedule.ts";
