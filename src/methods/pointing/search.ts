/** Beam search over pointers, under a rule: every hypothesis is, or can still become, a valid answer. */

import { ensure, VentrisError } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";
import type { Point } from "./geometry.ts";
import { type Network, type State, softmax } from "./network.ts";
import { type RuleName, type RuleState, rules } from "./rules.ts";

/** Places in order, with how likely the network held them. */
export interface Answer {
  /** Indices of the points, in order. */
  readonly places: number[];
  /** Sum of log-probabilities, stop included, each over what the rule allowed. */
  readonly logprob: number;
  /** Share of probability that lay on allowed choices, per step. */
  readonly allowed: readonly number[];
  /** Of each step, over the points and, last, stop. */
  readonly probabilities: readonly Float64Array[];
}

export interface SearchOptions {
  /** Hypotheses kept; 1 is greedy. Default 1. */
  beams?: number;
  rule?: RuleName;
  signal?: AbortSignal;
}

interface Hypothesis {
  places: number[];
  logprob: number;
  allowed: number[];
  probabilities: Float64Array[];
  state: State;
  rule: RuleState;
}

export const mostBeams = 1000;

/** Best answers first. Errors: `bad_option`; `constraint_dead_end` when every hypothesis came to a point where nothing is allowed; `aborted`. */
export function pointAt(network: Network, points: readonly Point[], options: SearchOptions = {}): Answer[] {
  const { beams = 1, rule = "none", signal } = options;
  requireWhole({ beams }, 1, mostBeams);
  const encoded = network.encode(points);
  const stop = encoded.places;
  let live: Hypothesis[] = [
    { places: [], logprob: 0, allowed: [], probabilities: [], state: encoded.start, rule: rules[rule](encoded.places) },
  ];
  let finished: Hypothesis[] = [];
  // No answer is longer than this: each rule ends by itself before.
  for (let step = 0; live.length > 0 && step <= 6 * stop + 1; step++) {
    ensure(!signal?.aborted, "aborted", "pointing was aborted");
    const grown: Hypothesis[] = [];
    for (const hypothesis of live) {
      const { state, scores } = network.step(encoded, points, hypothesis.state, hypothesis.places.at(-1));
      const probabilities = softmax(scores);
      const successors = Array.from({ length: stop }, (_, place) => hypothesis.rule.push(place));
      let mass = hypothesis.rule.complete ? probabilities[stop] : 0;
      for (const [place, successor] of successors.entries()) if (successor) mass += probabilities[place];
      if (mass === 0) continue; // nothing is allowed, or nothing that is has a probability
      const grow = (logprob: number): Omit<Hypothesis, "places" | "rule"> => ({
        logprob: hypothesis.logprob + logprob,
        allowed: [...hypothesis.allowed, Math.min(1, mass)],
        probabilities: [...hypothesis.probabilities, probabilities],
        state,
      });
      if (hypothesis.rule.complete) finished.push({ ...hypothesis, ...grow(Math.log(probabilities[stop] / mass)) });
      for (const [place, successor] of successors.entries()) {
        if (successor && probabilities[place] > 0)
          grown.push({
            ...grow(Math.log(probabilities[place] / mass)),
            places: [...hypothesis.places, place],
            rule: successor,
          });
      }
    }
    // Live and finished ones compete for the same places in the beam, as published.
    const kept = [...grown.map((one) => ({ one, live: true })), ...finished.map((one) => ({ one, live: false }))]
      .sort((a, b) => b.one.logprob - a.one.logprob)
      .slice(0, beams);
    live = kept.filter((entry) => entry.live).map(({ one }) => one);
    finished = kept.filter((entry) => !entry.live).map(({ one }) => one);
  }
  if (finished.length === 0)
    throw new VentrisError(
      "constraint_dead_end",
      `under the rule "${rule}" every hypothesis came to an end without an answer; try more beams`,
    );
  return finished.map(({ places, logprob, allowed, probabilities }) => ({ places, logprob, allowed, probabilities }));
}
