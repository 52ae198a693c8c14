/** Ventris: a decoding engine. See README.md for a first example. */

export type { VectorRow } from "./engine/forest.ts";
export type { Method, ShaperKind } from "./engine/method.ts";
export type { Run, RunResult } from "./engine/run.ts";
export type { MakeShaper, Shaper, ShaperHost } from "./engine/shapers/shaper.ts";
export type { TapRows } from "./engine/sites/delivery.ts";
export type { ReadyEdit } from "./engine/sites/ready.ts";
export type { AppliedEdit } from "./engine/sites/rows.ts";
export type { TextTraceChunk } from "./engine/sites/text.ts";
export type { Counters, FinishReason, TokenLogprob, TraceEvent } from "./engine/trace.ts";
export { type ErrorCode, VentrisError } from "./errors.ts";
export { findMethod, methods } from "./methods/index.ts";
export type { Edit, EditContext, EditInput, EditParameter } from "./models/edits.ts";
export { lensReading, logitLens } from "./models/lens.ts";
export type { Site } from "./models/sites.ts";
export {
  type DecodeOptions,
  type MethodChoice,
  type OpenModel,
  type OpenOptions,
  open,
  type Prompt,
  resolveModel,
  shippedModels,
  type TraceOptions,
} from "./open.ts";
