/** Partial solutions of a search: what they are, what they have cost, and what can be done with them wherever the model runs. */
import type { ForestNode } from "../../engine/forest.ts";
import { shownEnd } from "../../errors.ts";

export interface StepSettings {
  readonly delimiters: readonly string[];
  readonly maxStepTokens: number;
  readonly answer: RegExp | undefined;
}

/** What a search has spent. */
export interface Ledger {
  /** Tokens drawn, those of steps that were dropped included. */
  tokens: number;
  rewardCalls: number;
  expansions: number;
  duplicates: number;
  /** Steps that the reward gave no number, or the constraint no way on. */
  rejected: number;
  /** Partial solutions that were open at the same time, at most. */
  peakOpen: number;
}

export const emptyLedger = (): Ledger => ({
  tokens: 0,
  rewardCalls: 0,
  expansions: 0,
  duplicates: 0,
  rejected: 0,
  peakOpen: 0,
});

/** Why steps were not gone on with, by kinds of reasons: what is said where nothing is left. */
export interface Refusals {
  /** Of each kind the first sentence is kept. */
  add(kind: "constraint" | "reward" | "empty", sentence: string): void;
  /** All kinds, as one clause. */
  told(): string;
}

export function createRefusals(ledger: Ledger): Refusals {
  const kinds = new Map<string, { count: number; sentence: string }>();
  return {
    add(kind, sentence) {
      if (kind !== "empty") ledger.rejected += 1;
      const known = kinds.get(kind);
      if (known) known.count += 1;
      else kinds.set(kind, { count: 1, sentence });
    },
    told: () =>
      [...kinds.values()]
        .map(({ count, sentence }) => (count === 1 ? sentence : `${sentence} (the first of ${count} such)`))
        .join("; ") || "nothing was drawn",
  };
}

/** Of a solution that the reward gave no number. */
export const rejectByReward = ({ refusals }: Steps, { text }: State): void =>
  refusals.add("reward", `the reward gave NaN, which rejects, for ${shownEnd(text)}`);

/** Of one that was drawn as often as may be. */
export const emptyAfter = (text: string): string =>
  `steps of white space alone were drawn after ${shownEnd(text)}, three times over`;

/** A partial solution. */
export interface State {
  readonly parent: State | undefined;
  /** Tokens of its last step, and the nodes whose distributions they were drawn from. */
  readonly tokens: readonly number[];
  readonly from: readonly ForestNode[];
  /** Where it goes on; its row has been computed. */
  readonly tip: ForestNode;
  /** Steps, and tokens of all of them. */
  readonly depth: number;
  readonly length: number;
  /** Text of the last step, and of all. */
  readonly step: string;
  readonly text: string;
  readonly logprob: number;
  /** `end`: a token, a stop string or its answer ended it; `full`: no token fits any more. */
  readonly ended: "end" | "full" | undefined;
  /** Draws of its own: 0 are the request's, so that a single chain is plain sampling's text. */
  readonly draws: number;
}

export const rootState = (tip: ForestNode): State => ({
  parent: undefined,
  tokens: [],
  from: [],
  tip,
  depth: 0,
  length: 0,
  step: "",
  text: "",
  logprob: 0,
  ended: undefined,
  draws: 0,
});

export interface Steps {
  readonly settings: StepSettings;
  readonly ledger: Ledger;
  readonly refusals: Refusals;
  /**
   * One step more of each state, drawn with the given number of draws; undefined for one that the budget or the constraint did not let be
   * completed. Empty steps are drawn anew, at most twice. `goesOn`: the same will be asked for its next step, with the same draws.
   */
  grow(
    wanted: readonly { readonly state: State; readonly draws: number; readonly goesOn?: boolean }[],
    budget?: number,
  ): Promise<(State | undefined)[]>;
  /** Goes on with the likeliest token until the text ends or `tokens` are written. */
  complete(state: State, tokens: number): Promise<State>;
  /** Lets go of what only this state needs. */
  forget(state: State): void;
}
