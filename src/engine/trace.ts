/** The one stream of events that every method emits and every face reads; saved as JSON lines. */

export type FinishReason = "stop" | "length" | "context" | "aborted" | "end";

export interface Counters {
  /** Passes of the target model that this run took part in, prefill included. */
  passes: number;
  /** Rows this run put through the target (prefill and decode). */
  rows: number;
  /** Prompt tokens that were computed, and those found in the cache. */
  prefillTokens: number;
  cachedTokens: number;
  generated: number;
  /** Tokens after the first (which the prefill gave) for each target pass after prefill: 1 for plain decoding. */
  tokensPerPass: number;
  drafted: number;
  accepted: number;
  draftPasses: number;
  constraintChecks: number;
}

export interface TokenLogprob {
  token: number;
  /** Natural log under the model's own distribution, and under the shaped one. */
  raw: number;
  shaped: number;
  /** The most likely alternatives under the raw distribution. */
  top?: { token: number; raw: number }[];
}

/** How often a draft is right, over the positions where it was asked. */
export interface Acceptance {
  readonly positions: number;
  /** Mean over the positions of sum over tokens of min(target, draft). */
  readonly exact: number;
  /** Share of the tested proposals that were accepted. */
  readonly empirical: number;
}

export type TraceEvent =
  | { type: "start"; method: string; model: string; prompt: number[]; seed: number; options: Record<string, unknown> }
  | { type: "prefill"; tokens: number; cached: number; passes: number; seconds: number }
  /** Tokens became part of the output, in order; text is what the detokeniser could already release. */
  | { type: "tokens"; tokens: number[]; text: string; logprobs?: TokenLogprob[] }
  /** A drafted tree: node i + 1 hangs below `parents[i]`, 0 being the root (the last committed token). */
  | { type: "draft"; tokens: number[]; parents: number[]; values?: number[]; passes: number; seconds: number }
  /** What verification kept: node numbers of the accepted path, then the token the target itself added. */
  | { type: "verify"; path: number[]; token: number; reasons: string[]; seconds: number }
  /** A method that learns while it serves: updates done so far, the last one's loss (nats), and what this request showed. */
  | { type: "learn"; updates: number; loss?: number; acceptance?: Acceptance; note?: string }
  | {
      type: "finish";
      reason: FinishReason;
      stop?: string;
      counters: Counters;
      seconds: { load: number; prefill: number; decode: number };
    };
