/**
 * What a constraint is to everything that decodes under it. A constraint reads bytes, so that tokens which end within a character are no
 * special case. Its states are values: a step gives another state and leaves the old one as it was, so a fork is just keeping the state.
 *
 * Laws (`laws.fixture.ts` tests them for every recogniser):
 * 1. A state exists exactly while some text that begins so is valid: `push` gives undefined only where no continuation is. A constraint
 *    that cannot promise the other half (it may keep a state from which nothing valid is left) says `tight: false`.
 * 2. `complete` says whether the text so far is valid as it stands.
 * 3. The same bytes from the same state lead to states that behave alike.
 * 4. `allowed` names exactly the tokens whose bytes can be pushed one after the other.
 */
import { ensure, failureOf, leaveUnheard, shown } from "../errors.ts";
import { stepsOf } from "../items.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Where a recogniser stands after a prefix; it never changes, so that branches share it. */
export interface ConstraintState {
  /** After one more byte; undefined when no valid text begins like this. Errors are those of the constraint, never "invalid". */
  push(byte: number): ConstraintState | undefined;
  readonly complete: boolean;
  /** The allowed tokens, 32 to a word, where the constraint knows a faster way than trying. Shared: not to be written to. */
  allowed?(vocabulary: Vocabulary): Uint32Array;
}

/** A form that texts must have: a recogniser of prefixes. */
export interface Constraint {
  /** For messages: `regex`, `json-schema`, … */
  readonly name: string;
  /** From every state some valid text can be reached. */
  readonly tight: boolean;
  readonly start: ConstraintState;
}

/** Whether a value can be gone on from. */
const isState = (value: unknown): value is ConstraintState =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) && // which has a push of its own
  typeof (value as ConstraintState).push === "function";

/**
 * After one more byte, of a state that may be a caller's own: null and the like, taken for "invalid", would hide a mistake. Errors:
 * `bad_option` for what is no state, and where `push` throws.
 */
export function pushed<State extends Pick<ConstraintState, "push">>(
  state: State,
  byte: number,
  name = "constraint",
): State | undefined {
  let next: unknown;
  try {
    next = state.push(byte);
  } catch (cause) {
    throw failureOf(`${name}: push(${byte})`, cause);
  }
  if (next === undefined) return undefined;
  if (!isState(next)) {
    leaveUnheard(next);
    ensure(false, "bad_option", () => {
      return `${name}: push(${byte}) gave ${shown(next)}, and must give the next state { push, complete }, or undefined where no valid text begins so`;
    });
  }
  return next as unknown as State;
}

/** Whether the text so far is valid, of such a state. Errors: `bad_option` for what is neither true nor false, and where it throws. */
export function isComplete(state: ConstraintState, name = "constraint"): boolean {
  let complete: unknown;
  try {
    ({ complete } = state);
  } catch (cause) {
    throw failureOf(`${name}: complete`, cause);
  }
  if (typeof complete === "boolean") return complete;
  leaveUnheard(complete);
  ensure(false, "bad_option", `${name}: complete must be true or false, not ${shown(complete)}`);
}

/**
 * The state after some bytes; undefined when no valid text begins like this. Errors: `bad_option` for what are no bytes, and for what a
 * constraint of one's own gives in place of a state, or throws.
 */
export function pushAll(state: ConstraintState, bytes: Iterable<number>): ConstraintState | undefined {
  let at: ConstraintState | undefined = state;
  for (const byte of Array.isArray(bytes) || ArrayBuffer.isView(bytes) ? bytes : stepsOf(bytes, "pushAll: bytes")) {
    if (!(Number.isInteger(byte) && byte >= 0 && byte < 256))
      ensure(false, "bad_option", `pushAll: bytes are whole numbers from 0 to 255, not ${shown(byte)}`);
    at = pushed(at, byte);
    if (!at) return undefined;
  }
  return at;
}

const encoder = new TextEncoder();

/** Whether a whole text is valid. Errors: those of `pushAll`. */
export function isValid({ start }: Constraint, text: string): boolean {
  const state = pushAll(start, encoder.encode(text));
  return state !== undefined && isComplete(state);
}
