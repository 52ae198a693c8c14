/** Ventris: a decoding engine. See README.md for a first example. */
export {
  type DecodeOptions,
  type EmbedOptions,
  type MethodChoice,
  methodChoice,
  type NamedMethod,
  type OwnMethod,
  type Prompt,
  type ScoreOptions,
  type Text,
} from "./calls.ts";
export { type Answer, type ChatSession, type ChatSessionOptions, readChat } from "./chat.ts";
export type { Decoding } from "./engine/decoding.ts";
export type { VectorRow } from "./engine/forest.ts";
export { defineMethod, type Method, type ShaperKind } from "./engine/method.ts";
export type { Model } from "./engine/model.ts";
export type { Hypothesis } from "./engine/output.ts";
export type { Run, RunResult } from "./engine/run.ts";
export type { ScoredText, ScoredToken } from "./engine/score.ts";
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
  type OpenModel,
  type OpenOptions,
  type OpenProgress,
  open,
  resolveModel,
  shippedModels,
  type TraceOptions,
} from "./open.ts";
export type * from "./options.ts";
export type { ChatMessage, ChatOptions, ContentPart, Tokenizer } from "./text/tokenizer.ts";
