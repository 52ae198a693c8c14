/** Ventris: a decoding engine. See README.md for a first example. */

export type { Method } from "./engine/method.ts";
export type { Run, RunResult } from "./engine/run.ts";
export type { Counters, FinishReason, TokenLogprob, TraceEvent } from "./engine/trace.ts";
export { type ErrorCode, VentrisError } from "./errors.ts";
export { findMethod, methods } from "./methods/index.ts";
export {
  type DecodeOptions,
  type MethodChoice,
  type OpenModel,
  type OpenOptions,
  open,
  resolveModel,
  shippedModels,
} from "./open.ts";
