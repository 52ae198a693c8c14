/** What the server and the thread that tries constraints say to each other. */
import type { ConstraintChoice } from "../constraints/index.ts";
import type { Threaded } from "../runtime/thread.ts";
import type { ToolRules } from "../tool-calls.ts";
import type { FlatTokens, PlainError } from "./protocol.ts";

/** What an answer must be, as a request says it, and tools that are to be sound. */
export interface Form {
  readonly constraint?: ConstraintChoice;
  readonly tools?: ToolRules;
}

/** Seconds that compiling and the first masks took, or why there is no such constraint. */
export type Verdict = { readonly seconds: number } | { readonly error: PlainError };

export interface Trial extends Threaded {
  /** The tokens of a model, for whose masks constraints are tried. */
  learn(model: string, tokens: FlatTokens): Promise<void>;
  judge(model: string, form: Form): Promise<Verdict>;
}

/** Models whose tokens the thread keeps, those that it learned last. */
export const mostVocabularies = 3;
