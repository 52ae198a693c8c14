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

/** The state after some bytes; undefined when no valid text begins like this. */
export function pushAll(state: ConstraintState, bytes: Iterable<number>): ConstraintState | undefined {
  let at: ConstraintState | undefined = state;
  for (const byte of bytes) {
    at = at.push(byte);
    if (!at) return undefined;
  }
  return at;
}

const encoder = new TextEncoder();

/** Whether a whole text is valid. */
export const isValid = (constraint: Constraint, text: string): boolean =>
  pushAll(constraint.start, encoder.encode(text))?.complete ?? false;
