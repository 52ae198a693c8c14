/** What a page and the worker that decodes for it say to each other. */
import type { TraceEvent } from "../engine/trace.ts";
import type { ErrorCode } from "../errors.ts";
import type { OpenProgress } from "../references.ts";

/** Calls of the model that answer once, by name. */
export const calls = ["generate", "score", "continuations", "embed", "encode", "decodeTokens", "forward"] as const;
export type CallName = (typeof calls)[number];

export type Request = { readonly id: number } & (
  | {
      readonly type: "open";
      readonly reference: string;
      readonly options: object;
      /** The page's address and its folder of models: a worker's own address is another. */
      readonly page: string;
      readonly models: string;
      /** Held by the page as long as it can answer; the worker holds one of its own under this name. */
      readonly life: string;
    }
  | { readonly type: "decode"; readonly prompt: unknown; readonly options: object }
  | { readonly type: "call"; readonly name: CallName; readonly values: readonly unknown[] }
  /** Of a call under way, by its number. */
  | { readonly type: "abort"; readonly of: number }
  | { readonly type: "close" }
);

/** What is known of a model at once. */
export interface WorkerFacts {
  readonly name: string;
  readonly parameterCount: number;
  readonly secondsToLoad: number;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly capabilities: readonly string[];
}

export type Answer = { readonly id: number } & (
  | { readonly type: "progress"; readonly progress: OpenProgress }
  | { readonly type: "event"; readonly event: TraceEvent }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "result"; readonly result: unknown }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string }
);

/** Of browsers: held until it is let go, or its holder is gone, however that came. */
export interface Locks {
  request(name: string, action: () => Promise<unknown>): Promise<unknown>;
}

export const browserLocks = (): Locks | undefined =>
  (globalThis as unknown as { navigator?: { locks?: Locks } }).navigator?.locks;
