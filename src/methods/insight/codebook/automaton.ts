/**
 * The paper's task with known features: a random automaton whose states are written as two digits. A language model of its walks needs to know the state,
 * and so codes of its states can be looked for and set.
 */
import { permutation, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireIndices, requireWhole } from "../../../numbers.ts";
import type { TokenBatch } from "../../../training/objective.ts";

export interface Automaton {
  readonly states: number;
  /** Each state's successors, of equal probability. */
  readonly successors: readonly (readonly number[])[];
}

/** Tokens 0 to 9 are digits; this one begins a walk. */
export const beginToken = 10;
export const automatonVocabulary = 11;

const mostStates = 100;
const longestWalk = 1_000_000;

/** `states` with `branches` distinct successors each. Errors: `bad_option` where states do not fit two digits, or branches the states, and for a seed that is none. */
export function randomAutomaton({
  states = 100,
  branches = 10,
  seed = 42,
}: {
  /** From 2 to 100. Default: 100. */
  states?: number;
  /** Successors of each state. Default: 10. */
  branches?: number;
  /** Of the successors. Default: 42. */
  seed?: number;
} = {}): Automaton {
  ensure(
    Number.isInteger(states) && states >= 2 && states <= mostStates,
    "bad_option",
    `two digits write 2 to ${mostStates} states, not ${states}`,
  );
  ensure(
    Number.isInteger(branches) && branches >= 1 && branches <= states,
    "bad_option",
    `${branches} distinct successors do not fit ${states} states`,
  );
  requireWhole({ seed }, 0);
  const successors = Array.from({ length: states }, (_, state) =>
    permutation(states, { seed, request: state }).slice(0, branches),
  );
  return { states, successors };
}

/** Errors: `bad_option` for what is no automaton. */
function requireAutomaton({ states, successors }: Automaton): void {
  requireWhole({ states }, 1, mostStates);
  ensure(successors.length === states, "bad_option", () => {
    return `successors has ${successors.length} entries, and there are ${states} states`;
  });
  for (const [state, next] of successors.entries()) {
    ensure(next.length > 0, "bad_option", `successors[${state}] is empty: a walk would end there`);
    requireIndices(`successors[${state}]`, next, states);
  }
}

/** The digits of a state. Errors: `bad_option` for one that two digits do not write. */
export function digitsOf(state: number): [number, number] {
  requireWhole({ state }, 0, mostStates - 1);
  return [Math.floor(state / 10), state % 10];
}

/** States of walk `index` of a seed, the first one uniform. Errors: `bad_option` for what is no automaton, and for numbers that are not whole, below 0 or (a length) beyond a million. */
export function walk(automaton: Automaton, length: number, seed: number, index: number): number[] {
  requireAutomaton(automaton);
  requireWhole({ length }, 1, longestWalk);
  requireWhole({ seed, index }, 0);
  const { states, successors } = automaton;
  const stream = { seed, request: index };
  const result = [Math.floor(uniform(stream, 0, "data") * states)];
  while (result.length < length) {
    const next = successors[result[result.length - 1]];
    result.push(next[Math.floor(uniform(stream, result.length, "data") * next.length)]);
  }
  return result;
}

/** The begin token and the digits of a walk, `length` tokens in all, of which there are two or more. Errors: as `walk`. */
export function walkTokens(automaton: Automaton, length: number, seed: number, index: number): number[] {
  requireWhole({ length }, 2, longestWalk);
  const visited = walk(automaton, Math.ceil((length - 1) / 2), seed, index);
  return [beginToken, ...visited.flatMap(digitsOf)].slice(0, length);
}

/** Batch number `index`, fresh walks: [rows, length + 1] tokens. */
export function automatonBatch(
  automaton: Automaton,
  { rows, length }: { readonly rows: number; readonly length: number },
  seed: number,
  index: number,
): TokenBatch {
  const tokens = new Int32Array(rows * (length + 1));
  for (let row = 0; row < rows; row++)
    tokens.set(walkTokens(automaton, length + 1, seed, index * rows + row), row * (length + 1));
  return { tokens, rows, length };
}

/** Share of the transitions in token texts that the automaton allows; texts begin with the begin token. Errors: `bad_option` for what is no automaton, and for tokens that it does not write. */
export function transitionAccuracy(automaton: Automaton, texts: readonly (readonly number[])[]): number {
  requireAutomaton(automaton);
  for (const [i, text] of texts.entries()) requireIndices(`texts[${i}]`, text, automatonVocabulary);
  const { successors } = automaton;
  let [legal, all] = [0, 0];
  for (const text of texts) {
    const digits = text.filter((token) => token !== beginToken);
    const states = Array.from(
      { length: Math.floor(digits.length / 2) },
      (_, i) => 10 * digits[2 * i] + digits[2 * i + 1],
    );
    for (let i = 1; i < states.length; i++) {
      all++;
      if (successors[states[i - 1]]?.includes(states[i])) legal++;
    }
  }
  return all > 0 ? legal / all : 0;
}

/** Nats a token that no model can beat, in the mean over a window of `length` predicted tokens: the first state costs ln(states). Errors: `bad_option` for what is no automaton, and a length below 1. */
export function automatonEntropy(automaton: Automaton, length: number): number {
  requireAutomaton(automaton);
  requireWhole({ length }, 1);
  const { states, successors } = automaton;
  const perState = successors.reduce((sum, next) => sum + Math.log(next.length), 0) / states;
  return (Math.log(states) + perState * (length / 2 - 1)) / length;
}
