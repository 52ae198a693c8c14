/**
 * Contextual bandits: each round brings one context vector an arm, a policy names an arm, and the loss of that arm alone is
 * seen. Everything works on losses in [0, 1], lower is better. Feedback may come late or never; a policy saved and
 * opened again goes on exactly as it would have.
 */

import { type Stream, uniform } from "../../engine/random.ts";
import { ensure, plural, reasonOf, shown, VentrisError } from "../../errors.ts";
import { suggestion } from "../../names.ts";
import { requireCounts, requireWhole } from "../../numbers.ts";
import { contextFault, type PolicyCounters, type PolicyState, requireSound, type Savable } from "./saved.ts";

export type { PolicyCounters, PolicyState };

/** A choice, and how likely each arm was. */
export interface Decision {
  /** Name this round when its loss is known. */
  readonly round: number;
  readonly arm: number;
  /** Of each arm, summing to 1: keep the arm's for off-policy evaluation. */
  readonly probabilities: readonly number[];
  /** Foretold losses, or scores of policies that foretell none. */
  readonly predictions: readonly number[];
}

/** A contextual bandit: chooses, and learns from the loss of the choice. */
export interface Policy {
  readonly name: string;
  /**
   * One vector of the policy's width for each arm, of numbers within ±1e6; the number of arms may change from round to round. Errors:
   * `bad_option`, and then the round does not count.
   */
  choose(contexts: readonly Float64Array[]): Decision;
  /**
   * The loss of a round's arm. Outside [0, 1] it is clipped and counted. Errors: `bad_option` for a loss that is no finite number
   * (the round stays open and nothing is learnt) and for a round that was never chosen, was answered before, or is forgotten.
   */
  learn(round: number, loss: number): void;
  /** A loss that somebody else met in such a context, learnt like one of its own. Errors: `bad_option` for what is no context or loss. */
  observe(context: Float64Array, loss: number): void;
  /** No loss will come for this round. Nothing happens where it waits for none. */
  forget(round: number): void;
  readonly counters: PolicyCounters;
  save(): PolicyState;
}

/** The part of a policy that differs: how arms are weighed, and what a loss teaches. */
export interface Rule extends Savable {
  readonly seed: number;
  /** Foretold losses or scores, and each arm's probability. `draw(i)` is uniform in [0, 1), a function of seed, round and i. */
  weigh(
    contexts: readonly Float64Array[],
    round: number,
    draw: (index: number) => number,
  ): { predictions: number[]; probabilities: number[] };
  /** `round` counts the losses learnt so far, from 1. */
  update(context: Float64Array, loss: number, round: number): void;
  /** Of a state that was found sound. */
  restore(state: Pick<PolicyState, "arrays" | "more">): void;
}

/** Rounds that wait for their loss; beyond it the oldest are forgotten. */
const mostPending = 10_000;
const mostArms = 10_000;

export function createPolicy(rule: Rule, saved?: PolicyState): Policy {
  requireWhole({ [`${rule.name}: seed`]: rule.seed }, 0);
  requireCounts({ [`${rule.name}: width`]: rule.width });
  const pending = new Map<number, Float64Array<ArrayBuffer>>();
  const counters: PolicyCounters = { rounds: 0, learnt: 0, clipped: 0, forgotten: 0 };
  const stream: Stream = { seed: rule.seed, request: 0 };
  if (saved) {
    requireSound(rule, saved, mostPending);
    Object.assign(counters, saved.counters);
    for (const [round, context] of saved.pending) pending.set(round, context.slice());
    try {
      rule.restore(saved);
    } catch (cause) {
      throw new VentrisError("bad_file", `${rule.name}: nobody can go on with this state: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }
  return {
    name: rule.name,
    counters,
    choose(contexts) {
      ensure(
        Array.isArray(contexts),
        "bad_option",
        () =>
          `${rule.name}: choose takes a list of contexts, one of ${plural(rule.width, "number")} an arm, not ${shown(contexts)}`,
      );
      const { length } = contexts;
      ensure(
        length >= 1 && length <= mostArms,
        "bad_option",
        `${rule.name}: ${plural(length, "arm")}, expected 1 to ${mostArms}`,
      );
      for (const [arm, context] of contexts.entries()) requireContext(rule, context, arm);
      const round = counters.rounds;
      const draw = (index: number): number => uniform(stream, round, "search", index + 1);
      const { predictions, probabilities } = rule.weigh(contexts, round, draw);
      const lost = predictions.findIndex((prediction) => !Number.isFinite(prediction));
      ensure(
        lost < 0,
        "bad_option",
        () =>
          `${rule.name}: the prediction of arm ${lost} is ${predictions[lost]}: its options, or the state that it goes on with, lead beyond what numbers hold`,
      );
      counters.rounds++;
      const arm = length === 1 ? 0 : drawArm(probabilities, uniform(stream, round, "search", 0));
      if (pending.size >= mostPending) {
        pending.delete(pending.keys().next().value as number);
        counters.forgotten++;
      }
      pending.set(round, Float64Array.from(contexts[arm]));
      return { round, arm, probabilities, predictions };
    },
    learn(round, loss) {
      ensure(Number.isFinite(loss), "bad_option", () => {
        return `${rule.name}: the loss of round ${shown(round)} is ${shown(loss)}, not a number`;
      });
      const context = pending.get(round);
      ensure(
        context,
        "bad_option",
        () =>
          `${rule.name}: round ${shown(round)} waits for no loss: it was never chosen, is answered, or is forgotten`,
      );
      pending.delete(round);
      if (loss < 0 || loss > 1) counters.clipped++;
      rule.update(context, Math.min(1, Math.max(0, loss)), ++counters.learnt);
    },
    observe(context, loss) {
      requireContext(rule, context, 0);
      const sound = Number.isFinite(loss) && loss >= 0 && loss <= 1;
      ensure(sound, "bad_option", () => `${rule.name}: the loss ${shown(loss)} is not 0 to 1`);
      rule.update(context, loss, ++counters.learnt);
    },
    forget(round) {
      if (pending.delete(round)) counters.forgotten++;
    },
    save: () => ({
      policy: rule.name,
      options: rule.options,
      counters: { ...counters },
      pending: Array.from(pending, ([round, context]) => [round, context.slice()] as const),
      ...rule.save(),
    }),
  };
}

function requireContext({ name, width }: Rule, context: Float64Array, arm: number): void {
  const fault = contextFault(context, width, () => `arm ${arm}`);
  ensure(fault === undefined, "bad_option", `${name}: ${fault}`);
}

/** The arm in whose stretch of [0, 1) the number falls. */
export function drawArm(probabilities: readonly number[], at: number): number {
  let sum = 0;
  for (const [arm, probability] of probabilities.entries()) {
    sum += probability;
    if (at < sum) return arm;
  }
  return probabilities.findLastIndex((probability) => probability > 0); // the sum fell short of 1 by rounding
}

export const leastOf = (values: readonly number[]): number => values.indexOf(Math.min(...values));

/** 1 for one arm, 0 for the others. */
export const certain = (count: number, arm: number): number[] =>
  Array.from({ length: count }, (_, i) => (i === arm ? 1 : 0));

/**
 * Inverse-gap weighting. SquareCB (Foster and Rakhlin 2020): 1 / (K + gamma gap). FastCB (Foster and Krishnamurthy 2021):
 * best / (K best + gamma gap), which stops exploring as the best loss goes to 0. The best arm gets the rest, at
 * least 1 / K. `losses` are not negative.
 */
export function inverseGap(losses: readonly number[], gamma: number, rule: "square" | "fast"): number[] {
  const count = losses.length;
  const best = leastOf(losses);
  const scale = rule === "square" ? 1 : losses[best];
  const probabilities = losses.map((loss) => {
    const whole = count * scale + gamma * (loss - losses[best]);
    return whole === 0 ? 1 / count : scale / whole; // 0 / 0: as good as a best loss of 0
  });
  probabilities[best] = 0;
  probabilities[best] = 1 - probabilities.reduce((sum, probability) => sum + probability, 0);
  return probabilities;
}

/** Refuses options that the policy does not have. Errors: `bad_option` with the nearest known name. */
export function requireKnown(policy: string, given: object, known: readonly string[]): void {
  for (const key of Object.keys(given)) {
    if (known.includes(key)) continue;
    throw new VentrisError(
      "bad_option",
      `${policy} has no option ${key}${suggestion(key, known)} (it has ${known.join(", ")})`,
    );
  }
}

/** Errors: `bad_option` naming the option. */
export function requireOption(policy: string, name: string, value: number, low: number, high: number): void {
  if (Number.isFinite(value) && value >= low && value <= high) return;
  throw new VentrisError("bad_option", `${policy}: ${name} is ${shown(value)} and must lie between ${low} and ${high}`);
}

/** Errors: `bad_option` naming the option, its values and the nearest of them. */
export function requireOneOf(policy: string, name: string, value: unknown, values: readonly string[]): void {
  ensure(values.includes(value as string), "bad_option", () => {
    const meant = typeof value === "string" ? suggestion(value, values) : "";
    return `${policy}: ${name} must be one of ${values.join(", ")}, not ${shown(value)}${meant}`;
  });
}
