/**
 * What authors of methods build on: the decoding that a method is given, drafters and their trees in the one speculative loop, shapers, and
 * the same texts in a second model. See docs/methods.md.
 */

export { defineUnmasking } from "../engine/canvas/method.ts";
export type { CanvasSettings } from "../engine/canvas/options.ts";
export type { CanvasView, Decision, Policy, PolicyRequest, UnmaskingMethod } from "../engine/canvas/policy.ts";
export type { Constraining } from "../engine/constraining.ts";
export type { Decoding, RequestOptions, RequestSettings } from "../engine/decoding.ts";
export type { SparseDistribution } from "../engine/distribution.ts";
export type {
  Extension,
  Forest,
  ForestCounters,
  ForestNode,
  Lease,
  LookAhead,
  Prefill,
  VectorRow,
} from "../engine/forest.ts";
export { defineMethod, defineShaper, hostOnly, type Method, type ShaperKind } from "../engine/method.ts";
export type { Commitment, Hypothesis } from "../engine/output.ts";
export type { Race } from "../engine/race.ts";
export type { Purpose, Stream } from "../engine/random.ts";
export type { Instrumenting } from "../engine/reading.ts";
export type { Candidates } from "../engine/shapers/candidates.ts";
export type { MirostatState } from "../engine/shapers/mirostat.ts";
export { createMirror, type Mirror, type MirrorOptions } from "../engine/shapers/mirror.ts";
export type { ShapingSettings } from "../engine/shapers/options.ts";
export type { MakeShaper, Shaper, ShaperHost } from "../engine/shapers/shaper.ts";
export type { ChainFacts, ShapingContext, StageDefinition, StageFunction } from "../engine/shapers/stages.ts";
export type { LeaseSites } from "../engine/sites/rows.ts";
export type * from "../engine/trace.ts";
export { findMethod, findShaper, methods, shapers } from "./index.ts";
export { nodesOf } from "./speculative/budget.ts";
export type { DrawPurpose, Draws } from "./speculative/draws.ts";
export { type AheadChain, type Drafter, type Round, speculate, type Verifier } from "./speculative/speculate.ts";
export { addNode, addPath, childrenOf, createTree, type DraftTree } from "./speculative/tree.ts";
export type { Verdict } from "./speculative/verify.ts";
