/**
 * When an output ends: stop strings in the decoded text, tokens that end it, and limits on its length. Text that may turn
 * out to begin a stop string is held back, so that a stream never shows part of one.
 */

import { z } from "zod";
import { wellFormed } from "../bytes.ts";
import { drop } from "./shapers/candidates.ts";
import { parseOptions } from "./shapers/options.ts";
import { alone, type ShapingContext, type StageDefinition, type StageFunction } from "./shapers/stages.ts";

const MAXIMUM_STOPS = 64;
const MAXIMUM_LENGTH = 1000;

export const stoppingOptions = z.strictObject({
  stop: z
    .array(z.string().min(1).max(MAXIMUM_LENGTH).refine(wellFormed, "half a surrogate pair"), {
      error: ({ code }) => (code === "invalid_type" ? "must be a text or a list of texts" : undefined),
    })
    .max(MAXIMUM_STOPS)
    .default([])
    .describe("texts that end the output, and are left out of it"),
  stopTokens: z.array(z.int().min(0)).max(1000).default([]).describe("token ids that end the output"),
  maxTokens: z.int().min(1).default(Number.MAX_SAFE_INTEGER).describe("longest output, in tokens"),
  minTokens: z.int().min(0).default(0).describe("do not stop before this many tokens, unless a limit is reached"),
});

export type StoppingOptions = z.input<typeof stoppingOptions>;

export interface Stopper {
  /**
   * Counts one more output token, before its text is pushed. "stop" for a stop token, "end" for one of the model's end
   * tokens, "length" when it is the last that `maxTokens` permits; undefined to go on. The text of the first two is no
   * part of the output.
   */
  accept(token: number): "stop" | "end" | "length" | undefined;
  /**
   * Takes decoded text and returns what may be shown; `stopped` is the stop string that was met, and whatever follows it
   * is dropped. The stop string that is complete first wins, and of several that end together the longest, so that the
   * result does not depend on how the text was cut into pieces.
   */
  push(text: string): { text: string; stopped?: string };
  /** Text still held back, when the output ended for another reason. Empty after a stop. */
  flush(): string;
}

/** Errors: `bad_option` for an empty, ill-formed, too long or too frequent stop string, and limits out of range. */
export function createStopper(options: StoppingOptions, endTokens: readonly number[] = []): Stopper {
  const { stop, stopTokens, maxTokens, minTokens } = parseOptions(stoppingOptions, options, "stopping");
  const stops = new Set(stopTokens);
  const ends = new Set(endTokens);
  const root = buildAutomaton(stop);

  let generated = 0;
  let state = root;
  let held = "";
  let stopped: string | undefined;

  return {
    accept(token) {
      generated++;
      if (generated > minTokens) {
        if (stops.has(token)) return "stop";
        if (ends.has(token)) return "end";
      }
      return generated >= maxTokens ? "length" : undefined;
    },
    push(text) {
      if (stopped !== undefined) return { text: "", stopped };
      if (generated < minTokens) return { text };
      const pending = held + text;
      for (let i = held.length; i < pending.length; i++) {
        state = step(state, pending.charCodeAt(i));
        if (state.match === undefined) continue;
        stopped = state.match;
        held = "";
        return { text: pending.slice(0, i + 1 - stopped.length), stopped };
      }
      const border = pending.length - state.depth;
      held = pending.slice(border);
      return { text: pending.slice(0, border) };
    },
    flush() {
      const rest = held;
      held = "";
      state = root;
      return rest;
    },
  };
}

/**
 * Bans end and stop tokens until `minTokens` are there; to be given to the shaper chain, since drafts at every depth must
 * obey it too.
 */
export function minTokensStage(minTokens: number, ending: ReadonlySet<number>): StageDefinition {
  return {
    changes: "scores",
    keepsBest: false,
    readsHistory: false,
    create: () => {
      if (minTokens === 0 || ending.size === 0) return undefined;
      const mayEnd = ({ position, promptLength }: ShapingContext) => position - promptLength >= minTokens;
      const run: StageFunction = (candidates, context) => {
        if (!mayEnd(context)) drop(candidates, ending);
      };
      run.keeps = (token, context) => mayEnd(context) || !ending.has(token);
      return alone(run);
    },
  };
}

/** A state stands for the longest suffix of the text that begins some stop string (Aho and Corasick 1975). */
interface State {
  readonly depth: number;
  readonly next: Map<number, State>;
  /** The state of the next shorter such suffix; the root has none. */
  fallback: State | undefined;
  /** The longest stop string that ends here. */
  match: string | undefined;
}

function buildAutomaton(stops: readonly string[]): State {
  const root: State = { depth: 0, next: new Map(), fallback: undefined, match: undefined };
  for (const stop of stops) {
    let state = root;
    for (let i = 0; i < stop.length; i++) {
      const unit = stop.charCodeAt(i);
      let child = state.next.get(unit);
      if (!child) {
        child = { depth: i + 1, next: new Map(), fallback: root, match: undefined };
        state.next.set(unit, child);
      }
      state = child;
    }
    state.match = stop;
  }
  const queue = [...root.next.values()];
  for (const state of queue) {
    for (const [unit, child] of state.next) {
      child.fallback = step(state.fallback ?? root, unit);
      child.match ??= child.fallback.match;
      queue.push(child);
    }
  }
  return root;
}

function step(from: State, unit: number): State {
  for (let state = from; ; state = state.fallback) {
    const next = state.next.get(unit);
    if (next) return next;
    if (!state.fallback) return state;
  }
}
