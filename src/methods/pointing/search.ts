/**
 * Monotonic beam search over pointers (Lemons, Linares López, Holte and Ruml 2022), under a rule: every hypothesis is, or can still become, a
 * valid answer. Slots of the beam are filled in order, each with the best that is left among the children of its own hypothesis and of those
 * before it. So the first slots are those of a narrower beam, and a wider one never gives a less likely answer.
 */
import { ensure, requireAnswer, telling, VentrisError } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { requireCounts, requireWhole } from "../../numbers.ts";
import { nextTurn } from "../../turn.ts";
import type { Point } from "./geometry.ts";
import { type Network, type State, softmax } from "./network.ts";
import { type OwnRule, type RuleName, type RuleState, rules } from "./rules.ts";

/** Places in order, with how likely the network held them. */
export interface Answer {
  /** Indices of the points, in order. */
  readonly places: number[];
  /** Sum of log-probabilities, each over what the rule allowed; with that of stopping, where the network is taught to stop. */
  readonly logprob: number;
  /** Share of probability that lay on allowed choices, per step. */
  readonly allowed: readonly number[];
  /** Of each step, over the points and, last, stop. */
  readonly probabilities: readonly Float64Array[];
}

export interface SearchOptions {
  /** Hypotheses kept; 1 is greedy. Default 1. */
  beams?: number;
  /** Default "none". */
  rule?: RuleName | OwnRule;
  /** After so many pointers an answer that may stop has ended, for networks that are not taught to stop. Default: answers end by stopping. */
  steps?: number;
  signal?: AbortSignal;
}

/** The steps of an answer, last first: hypotheses share how they began. */
interface Steps {
  readonly before?: Steps;
  /** Absent of a stop. */
  readonly place?: number;
  readonly allowed: number;
  readonly probabilities: Float64Array;
}

interface Hypothesis {
  /** Absent at the start. */
  readonly steps?: Steps;
  readonly count: number;
  readonly logprob: number;
  readonly state: State;
  readonly rule: RuleState;
  readonly ended: boolean;
}

/** The children of a hypothesis, best first, made when they are taken. */
interface Family {
  /** Log-probability of the best that is left; undefined when none is. */
  best(): number | undefined;
  take(): Hypothesis;
}

export const mostBeams = 1000;
/** Milliseconds until others have their turn. */
const stretch = 8;

/** Best answers first. Errors: `bad_option`; `constraint_dead_end` when every hypothesis came to a point where nothing is allowed; `aborted`. */
export async function pointAt(
  network: Network,
  points: readonly Point[],
  options: SearchOptions = {},
): Promise<Answer[]> {
  const { beams = 1, rule = "none", steps, signal } = options;
  requireWhole({ beams }, 1, mostBeams);
  if (steps !== undefined) requireCounts({ steps });
  const encoded = network.encode(points);
  const stop = encoded.places;
  const start = typeof rule === "string" ? rules[rule](stop) : ownRule(rule, stop);
  const mayStop = (count: number, { complete }: RuleState): boolean =>
    complete && steps !== undefined && count >= steps;

  function expand(parent: Hypothesis): Family {
    const { state, scores } = network.step(encoded, points, parent.state, parent.steps?.place);
    const successors = Array.from({ length: stop }, (_, place) => parent.rule.push(place));
    const choices = successors.flatMap((successor, place) => (successor ? place : []));
    if (parent.rule.complete) choices.push(stop);
    choices.sort((a, b) => scores[b] - scores[a]);
    const probabilities = softmax(scores);
    const allowed = Math.min(
      1,
      choices.reduce((sum, choice) => sum + probabilities[choice], 0),
    );
    // Over the choices alone, in logarithms: those of next to no probability among all would come to nothing.
    const most = scores[choices[0]];
    const mass = most + Math.log(choices.reduce((sum, choice) => sum + Math.exp(scores[choice] - most), 0));
    const logprob = (choice: number): number => parent.logprob + scores[choice] - mass;
    let taken = 0;
    return {
      best: () => (taken < choices.length ? logprob(choices[taken]) : undefined),
      take() {
        const choice = choices[taken++];
        const next = successors[choice]; // undefined of the stop
        const count = parent.count + (next ? 1 : 0);
        const steps: Steps = { before: parent.steps, ...(next && { place: choice }), allowed, probabilities };
        const ended = next === undefined || mayStop(count, next);
        return { steps, count, logprob: logprob(choice), state, rule: next ?? parent.rule, ended };
      },
    };
  }

  let slots: (Hypothesis | undefined)[] = [{ count: 0, logprob: 0, state: encoded.start, rule: start, ended: false }];
  let rested = performance.now();
  // No answer is longer than this: each rule of ours ends by itself before.
  for (let step = 0; slots.some((one) => one && !one.ended) && step <= 6 * stop + 1; step++) {
    const families: Family[] = [];
    const next: (Hypothesis | undefined)[] = [];
    for (let slot = 0; slot < beams; slot++) {
      ensure(!signal?.aborted, "aborted", "pointing was aborted");
      const one = slots[slot];
      if (one) families.push(one.ended ? only(one) : expand(one));
      // A slot without a hypothesis stays: those behind it must not move up, where a narrower beam has none.
      next.push(bestOf(families)?.take());
      if (performance.now() - rested < stretch) continue;
      await nextTurn();
      rested = performance.now();
    }
    slots = next;
  }
  const ended = slots.filter((one): one is Hypothesis => one?.ended === true);
  if (ended.length === 0)
    throw new VentrisError(
      "constraint_dead_end",
      `under ${typeof rule === "string" ? `the rule "${rule}"` : "the rule that was given"} every hypothesis came to an end without an answer; try more beams`,
    );
  return ended.sort((a, b) => b.logprob - a.logprob).map(answerOf);
}

/** What has ended is its own only child. */
function only(ended: Hypothesis): Family {
  let taken = false;
  return {
    best: () => (taken ? undefined : ended.logprob),
    take() {
      taken = true;
      return ended;
    },
  };
}

/** Of equal ones that of the first slot. */
function bestOf(families: readonly Family[]): Family | undefined {
  let [best, most] = [undefined as Family | undefined, Number.NEGATIVE_INFINITY];
  for (const family of families) {
    const logprob = family.best();
    if (logprob !== undefined && logprob > most) [best, most] = [family, logprob];
  }
  return best;
}

function answerOf(ended: Hypothesis): Answer {
  const line: Steps[] = [];
  for (let { steps } = ended; steps; steps = steps.before) line.push(steps);
  line.reverse();
  return {
    places: line.flatMap(({ place }) => place ?? []),
    logprob: ended.logprob,
    allowed: line.map(({ allowed }) => allowed),
    probabilities: line.map(({ probabilities }) => probabilities),
  };
}

/** An automaton of the caller's. Errors of its calls: `bad_option` for what it throws, and for what is no state. */
function ownRule(rule: OwnRule, places: number): RuleState {
  const checked = (state: unknown, call: string): RuleState => {
    const sound = isObject(state) && typeof state.push === "function" && typeof state.complete === "boolean";
    requireAnswer(sound, state, call, "a state of the rule, { push, complete }, or undefined of a push");
    const { push, complete } = state as unknown as RuleState;
    const pushed = telling("rule's push", (place: number): unknown => push.call(state, place));
    return {
      complete,
      push(place) {
        const next = pushed(place);
        return next === undefined ? undefined : checked(next, "rule's push");
      },
    };
  };
  return checked(telling("rule", rule)(places), "rule");
}
