/** Ventris: a decoding engine. See README.md for a first example. */

export { z } from "zod";
export {
  type ContinuationScoring,
  type DecodeOptions,
  type EmbedOptions,
  type MethodChoice,
  methodChoice,
  type NamedMethod,
  type OwnMethod,
  type OwnShaper,
  type Prompt,
  type ScoreOptions,
  type ShaperChoice,
  shaperChoice,
  type Text,
} from "./calls.ts";
export { type Answer, type ChatSession, type ChatSessionOptions, readChat } from "./chat.ts";
export type { Constraint, ConstraintChoice, ConstraintState, Predicate } from "./constraints/index.ts";
export type { Canvas, Sheet, SheetCall } from "./engine/canvas/canvas.ts";
export type { Template, TemplateText } from "./engine/canvas/template.ts";
export type { ContinuationOptions, Continuations, ScoredContinuations } from "./engine/continuations.ts";
export type { Decoding, DecodingParts, Outcome } from "./engine/decoding.ts";
export type { EncoderDecoder, WriteOptions, Written } from "./engine/encoder-decoder/index.ts";
export type { FoundText } from "./engine/encoder-decoder/search.ts";
export type { Codec } from "./engine/encoder-decoder/text-model.ts";
export type { ForestNode, ForestOptions, VectorRow } from "./engine/forest.ts";
export type { Forward, ForwardResult, ForwardSettings } from "./engine/forward/index.ts";
export type { ForwardSequence, KeptRows } from "./engine/forward/input.ts";
export type { Learnable, OpenForest, ParameterValues } from "./engine/learnable.ts";
export type { LoadOptions } from "./engine/load.ts";
export { defineMethod, defineShaper, type Method, type Outlook, type ShaperKind } from "./engine/method.ts";
export type { Capability, CompanionRole, DecodingModel } from "./engine/model.ts";
export type { Hypothesis } from "./engine/output.ts";
export type { Instrumenting } from "./engine/reading.ts";
export type { RemoteLimits } from "./engine/remote/client.ts";
export type { Endpoint, EndpointPolicy } from "./engine/remote/endpoints.ts";
export type { RemoteOptions } from "./engine/remote/model.ts";
export type { Run, RunResult } from "./engine/run.ts";
export type { ScoredText, ScoredToken } from "./engine/score.ts";
export type { StageName } from "./engine/shapers/options.ts";
export type { MakeShaper, Shaper, ShaperHost } from "./engine/shapers/shaper.ts";
export type { TapRows } from "./engine/sites/delivery.ts";
export type { ReadyEdit } from "./engine/sites/ready.ts";
export type { AppliedEdit, PlacedRow } from "./engine/sites/rows.ts";
export type { TextTraceChunk, TextTraceOptions } from "./engine/sites/text.ts";
export type * from "./engine/trace.ts";
export type { Vision } from "./engine/vision.ts";
export type { WeightFormat } from "./engine/weight-plan.ts";
export { type ErrorCode, VentrisError } from "./errors.ts";
export type { Picture } from "./images/index.ts";
export { findMethod, methods } from "./methods/index.ts";
export type { Pointer } from "./methods/pointing/kind.ts";
export type { Reward, Solution } from "./methods/search/rewards.ts";
export type { FittedFilter } from "./methods/signals/kind.ts";
export type { Edit, EditContext, EditInput, EditParameter } from "./models/edits.ts";
export { lensReading, logitLens } from "./models/lens.ts";
export type { Part, PartCard, PartTensor } from "./models/parts.ts";
export type { Site } from "./models/sites.ts";
export type { T5Config } from "./models/t5.ts";
export {
  type Abilities,
  type ForwardOptions,
  type Model,
  type OpenOptions,
  open,
  type TraceOptions,
} from "./open.ts";
export type * from "./options.ts";
export type { ImagePiece, ImageSource, PicturePrompt } from "./pictures.ts";
export {
  type ConvertStage,
  type DownloadStage,
  type LoadStage,
  type OpenProgress,
  type Resolving,
  resolveModel,
  shippedModels,
} from "./references.ts";
export type { CompileOptions, Device, Value } from "./runtime/program.ts";
export type {
  Additive,
  SharedDifferences,
  SharedVersions,
  Sharing,
  SharingStatus,
  Standing,
  Subject,
  Versioned,
} from "./sharing/index.ts";
export { useModels } from "./shipped.ts";
export type {
  ChatMessage,
  ChatOptions,
  ChatRole,
  ContentPart,
  EncodeOptions,
  GivenMessage,
  TextOptions,
  Tokenizer,
} from "./text/tokenizer.ts";
