/** The one stream of events that every method emits and every face reads; saved as JSON lines. */

/** `stop`: a stop text or token, or the method itself. `incomplete`: cut off (by maxTokens, the context or a stop string) before the constraint was satisfied. */
export type FinishReason = "stop" | "length" | "context" | "aborted" | "end" | "incomplete";

/** What a run cost. */
export interface Counters {
  /** Passes of the target model that this run took part in, prefill included. */
  passes: number;
  /** Over a canvas, where a request says how many steps: those that had nothing to fill and were no passes; absent while there are none. */
  skippedSteps?: number;
  /** Rows this run put through the target (prefill and decode). */
  rows: number;
  /** Prompt tokens that were computed, and those found in the cache. */
  prefillTokens: number;
  cachedTokens: number;
  /** Tokens that the run came to, the one that ended the text included. */
  generated: number;
  /** Tokens after the first (which the prefill gave) for each target pass after prefill: 1 for plain decoding. */
  tokensPerPass: number;
  drafted: number;
  accepted: number;
  draftPasses: number;
  /** Rounds without a draft because what the drafter made was not finite; absent while there are none. */
  failedDrafts?: number;
  constraintChecks: number;
  /**
   * Of runs over what an engine behind a network lists: places where a token that it did not list may have been valid, a bound on the
   * probability of such tokens at one place, and an estimated bound on their texts' share of all valid mass, which bounds the distance in total
   * variation from the exact law. No places: weights are exact.
   */
  missed?: { places: number; largest: number; share?: number };
  /** Of searches over steps: tokens drawn in all, calls of the reward, nodes taken up, steps drawn twice or rejected, most open nodes. */
  search?: {
    tokens: number;
    rewardCalls: number;
    expansions: number;
    duplicates: number;
    rejected: number;
    peakOpen: number;
  };
}

/** A token's log-probabilities, without words. */
export interface BareLogprob {
  token: number;
  /** Natural log under the model's own distribution, and under the shaped one. */
  raw: number;
  shaped: number;
  /** The most likely alternatives under the raw distribution. */
  top?: { token: number; raw: number }[];
}

export interface TokenLogprob extends BareLogprob {
  /** What the token says by itself; bytes that make no character alone are U+FFFD. */
  text: string;
  top?: { token: number; text: string; raw: number }[];
}

/** How often a draft is right, over the positions where it was asked. */
export interface Acceptance {
  readonly positions: number;
  /** Mean over the positions of sum over tokens of min(target, draft). */
  readonly exact: number;
  /** Share of the tested proposals that were accepted. */
  readonly empirical: number;
}

/** A place in remembered texts: the words before a token and that token, its share of the memory, and how far its state was. */
export interface MemoryPassage {
  readonly document: number;
  /** Place of the token in the document. */
  readonly at: number;
  readonly before: string;
  readonly next: string;
  readonly share: number;
  /** Squared distance of the states. */
  readonly distance: number;
}

/** A run begins. */
export type StartEvent = {
  type: "start";
  method: string;
  model: string;
  prompt: number[];
  seed: number;
  options: Record<string, unknown>;
};

/** The prompt was read. */
export type PrefillEvent = { type: "prefill"; tokens: number; cached: number; passes: number; seconds: number };

/**
 * Tokens became part of the output, in order; text is what the detokeniser could already release. `forced`: places in `tokens` where a
 * constraint allowed no other.
 */
export type TokensEvent = {
  type: "tokens";
  tokens: number[];
  text: string;
  logprobs?: TokenLogprob[];
  forced?: number[];
};

/** What the request's taps read at `rows` positions from `position` on: of each tap, its rows one after the other. */
export type TapsEvent = { type: "taps"; position: number; rows: number; values: Record<string, number[]> };

/** A drafted tree: node i + 1 hangs below `parents[i]`, 0 being the root (the last committed token). */
export type DraftEvent = {
  type: "draft";
  tokens: number[];
  parents: number[];
  values?: number[];
  note?: string;
  passes: number;
  seconds: number;
};

/** What verification kept: node numbers of the accepted path, then the token the target itself added. */
export type VerifyEvent = {
  type: "verify";
  path: number[];
  token: number;
  text?: string;
  reasons: string[];
  seconds: number;
};

/**
 * A method that learns: updates done so far, the last one's loss (nats), that on texts it does not learn from, and, of one that learns while it
 * serves, what this request showed.
 */
export type LearnEvent = {
  type: "learn";
  updates: number;
  loss?: number;
  heldOut?: number;
  acceptance?: Acceptance;
  note?: string;
};

/**
 * A step of a beam: hypothesis i continues hypothesis `parents[i]` of the step before by `tokens[i]`. `scores` are what the method
 * ranks by, `groups` the group of each, `finished` those that have ended.
 */
export type BeamsEvent = {
  type: "beams";
  tokens: number[];
  parents: number[];
  scores: number[];
  groups?: number[];
  finished?: number[];
};

/** The length of a template's blank (from 0) was found: lengths that were tried, and the mean log-probability of what filled each. */
export type LengthsEvent = {
  type: "lengths";
  blank: number;
  tried: number[];
  scores: number[];
  chosen: number;
  passes: number;
};

/** A canvas before its first pass: how many positions it has (output, from 0), and what stands on it already, as a template's own text does. */
export type CanvasEvent = { type: "canvas"; length: number; positions: number[]; tokens: number[] };

/** A pass over the canvas, and the positions that became tokens in it, if any did. `length`: of older traces, positions of the canvas. */
export type UnmaskEvent = {
  type: "unmask";
  pass: number;
  positions: number[];
  tokens: number[];
  confidences?: number[];
  reasons?: string[];
  length?: number;
};

/** The canvas ends here from now on; its cache was computed anew. */
export type TruncateEvent = { type: "truncate"; pass: number; length: number };

/** The cache of so many positions of the canvas was computed anew. */
export type RefreshEvent = { type: "refresh"; pass: number; positions: number };

/** A step of particles: the token each took and its normalised weight; `parents` where they were resampled after it. */
export type ParticlesEvent = {
  type: "particles";
  tokens: number[];
  weights: number[];
  parents?: number[];
  logEvidence?: number;
};

/** A constraint at one place: what was refused before `token`, and how many tokens it allowed, where that is known (1: forced). */
export type ConstraintEvent = {
  type: "constraint";
  rejected: number[];
  token?: number;
  text?: string;
  allowed?: number;
  checks: number;
};

/**
 * How a contrast moved the token at a position of the text: the likeliest tokens before and after it, with their probabilities. `exits`
 * are the lower exits that it took, amateur's and model's.
 */
export type ContrastEvent = {
  type: "contrast";
  position: number;
  token: number;
  tokens: number[];
  before: number[];
  after: number[];
  exits?: number[];
};

/**
 * What a memory added at a position of the text: tokens that the model or the memory finds likely, with their probabilities in the model, in
 * the memory and in the mixture. `passages`: where it was found, of memories that look up.
 */
export type MemoryEvent = {
  type: "memory";
  name: string;
  position: number;
  token: number;
  lambda: number;
  tokens: number[];
  before: number[];
  memory: number[];
  after: number[];
  passages?: MemoryPassage[];
};

/**
 * Search over partial solutions: `node` was made below `parent` (-1: root) by `tokens`; or, without tokens, it was taken up. `score` is what
 * the search orders by (of A*: f), `reward` the node's own; a node that was chosen is the end of the output.
 */
export type ExploreEvent = {
  type: "explore";
  node: number;
  parent: number;
  score: number;
  tokens?: number[];
  reward?: number;
  solution?: boolean;
  chosen?: boolean;
  note?: string;
};

/** One of several ways was chosen for a request. */
export type ChoiceEvent = {
  type: "choice";
  arms: string[];
  predicted: number[];
  probabilities: number[];
  chosen: number;
};

/** A filter's belief after an observation: mean [d] and covariance [d, d] by rows; `truth` where it is known. */
export type PosteriorEvent = {
  type: "posterior";
  step: number;
  mean: number[];
  covariance: number[];
  truth?: number[];
};

/** A pointer to one of the inputs; `inputs` (planar points) with the first; `of` says what points. -1 is the end. */
export type PointEvent = {
  type: "point";
  chosen: number;
  probabilities?: number[];
  inputs?: [number, number][];
  of?: string;
};

/** Which class every cell of a square over the plane is given after a task, row by row from the bottom (-1: none), and the task's samples. */
export type RegionsEvent = {
  type: "regions";
  task: number;
  side: number;
  classes: number[];
  samples?: [number, number, number][];
};

/**
 * Texts ranked by a signal, best first: `signal` are its channels, thinned out for drawing; `of` says what it was read from; `truth` is the place of
 * the right text.
 */
export type RetrievalEvent = {
  type: "retrieval";
  signal: number[][];
  of?: string;
  candidates: string[];
  scores: number[];
  truth?: number;
};

/** A run has ended. */
export type FinishEvent = {
  type: "finish";
  reason: FinishReason;
  stop?: string;
  /** Of the token that ended the text, where log-probabilities were asked for. */
  ending?: TokenLogprob;
  counters: Counters;
  seconds: { load: number; prefill: number; decode: number };
};

/** What methods and the engine tell. */
export type MethodEvent =
  | StartEvent
  | PrefillEvent
  | TokensEvent
  | TapsEvent
  | DraftEvent
  | VerifyEvent
  | LearnEvent
  | BeamsEvent
  | LengthsEvent
  | CanvasEvent
  | UnmaskEvent
  | TruncateEvent
  | RefreshEvent
  | ParticlesEvent
  | ConstraintEvent
  | ContrastEvent
  | MemoryEvent
  | ExploreEvent
  | ChoiceEvent
  | PosteriorEvent
  | PointEvent
  | RegionsEvent
  | RetrievalEvent
  | FinishEvent;

/** What a run adds to each event. */
export interface EventNotes {
  /** Number of the request under its seed. */
  request?: number;
  /** What each of the event's `tokens` says by itself (start: of `prompt`; constraint: of `rejected`); absent without a tokenizer. */
  texts?: string[];
}

/** Something that happened in a run. docs/trace.md has a line of each. */
export type TraceEvent = MethodEvent & EventNotes;

/** An event with the seconds since the run began, as those see it who save a trace or send it on. */
export type TimedEvent = TraceEvent & { at?: number };
