/** What the serving thread and the engine's thread say to each other. */

import type { DecodeOptions } from "../calls.ts";
import type { TimedEvent } from "../engine/trace.ts";
import type { ErrorCode } from "../errors.ts";

/** A request to decode, as plain data. */
export interface RunRequest {
  readonly model: string;
  readonly prompt: string | readonly number[];
  readonly options: Omit<DecodeOptions, "signal">;
}

/** Calls that have one answer. */
export interface Calls {
  /** Opens a model ahead of its first request. */
  open(model: string): ModelFacts;
  vocabulary(model: string): string[];
  tokenize(model: string, text: string): number[];
  /** For tests and health: nodes held by runs, over all open models. */
  held(): number;
}

export interface ModelFacts {
  readonly name: string;
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly parameters: number;
  readonly secondsToLoad: number;
}

export type ToEngine =
  | { type: "call"; id: number; name: keyof Calls; values: readonly unknown[] }
  | { type: "run"; id: number; request: RunRequest }
  | { type: "abort"; id: number }
  | { type: "close" };

export type FromEngine =
  | { type: "answer"; id: number; result?: unknown; error?: PlainError }
  | { type: "events"; id: number; events: TimedEvent[] }
  | { type: "end"; id: number; error?: PlainError };

export interface PlainError {
  readonly code: ErrorCode | "unexpected";
  readonly message: string;
}
