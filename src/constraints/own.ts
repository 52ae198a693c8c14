/** A caller's own constraint, held to the contract wherever it is asked: what it gives or throws instead ends the run with its name. */
import { checked, type Kind } from "../arguments.ts";
import { ensure, failureOf, leaveUnheard, shown } from "../errors.ts";
import { meantField } from "../names.ts";
import { isInstance } from "../values.ts";
import { type Constraint, type ConstraintState, isComplete, pushed } from "./contract.ts";
import { hasBit, type Vocabulary, wordsFor } from "./vocabulary.ts";

/** Constraints that need no guard: of ours, or guarded already. */
const sound = new WeakSet<Constraint>();
/** Guards of constraints, made once for each: who gives one to many requests gets the same states. */
const guards = new WeakMap<Constraint, Constraint>();

/** Marks a constraint of ours, whose states keep the contract. */
export function trusted(constraint: Constraint): Constraint {
  sound.add(constraint);
  return constraint;
}

const fields: Readonly<Record<string, Kind>> = {
  name: "string",
  tight: "boolean",
  start: { fields: { push: "function", "complete?": "boolean", "allowed?": "function" } },
};
const stateFields = ["push", "complete", "allowed"];

const requireFields = checked("constraint", (_: unknown): void => {}, [["constraint", { fields }]], {});

/** The same constraint, whose states are held to the contract. Errors: `bad_option` for what is no constraint. */
export function guarded(given: Constraint): Constraint {
  if (sound.has(given)) return given;
  const known = guards.get(given);
  if (known) return known;
  requireFields(given);
  const [name, start] = [`constraint ${given.name}`, given.start];
  ensure("complete" in start, "bad_option", () => {
    return `${name}: start has no complete, which says whether the text so far is valid${meantField(start, stateFields) ?? ""}`;
  });
  isComplete(start, name);
  const own = trusted({ name: given.name, tight: given.tight, start: guardedState(start, name) });
  guards.set(given, own);
  return own;
}

/** The constraint is asked for a state's tokens only where it has a way of its own, as without the guard. */
function guardedState(state: ConstraintState, name: string): ConstraintState {
  const { allowed } = state;
  return {
    push(byte) {
      const next = pushed(state, byte, name);
      return next && guardedState(next, name);
    },
    get complete() {
      return isComplete(state, name);
    },
    ...(allowed !== undefined && { allowed: (vocabulary: Vocabulary) => allowedBy(state, vocabulary, name) }),
  };
}

/** The tokens that a state of one's own allows. Errors: `bad_option` for what is no mask of this vocabulary, and where it throws. */
function allowedBy(state: ConstraintState, vocabulary: Vocabulary, name: string): Uint32Array {
  ensure(typeof state.allowed === "function", "bad_option", () => {
    return `${name}: allowed must be a function from a vocabulary to a Uint32Array, or left out, not ${shown(state.allowed)}`;
  });
  let bits: unknown;
  try {
    bits = state.allowed(vocabulary);
  } catch (cause) {
    throw failureOf(`${name}: allowed`, cause);
  }
  const { size } = vocabulary;
  const words = wordsFor(size);
  leaveUnheard(bits);
  ensure(isInstance<Uint32Array>("Uint32Array", bits) && bits.length === words, "bad_option", () => {
    return `${name}: allowed gave ${shown(bits)}, and must give a Uint32Array of ${words}, 32 of the ${size} tokens to a word`;
  });
  const mask = bits;
  const beyond = Array.from({ length: words * 32 - size }, (_, i) => size + i).find((token) => hasBit(mask, token));
  ensure(
    beyond === undefined,
    "bad_option",
    () => `${name}: allowed gave the bit of token ${beyond}, and there are ${size}`,
  );
  const refused = someTokens(mask, vocabulary).find((token) => !takes(state, vocabulary.bytes(token), name));
  ensure(refused === undefined, "bad_option", () => {
    return `${name}: allowed gave the bit of token ${refused}, whose bytes push refuses`;
  });
  return mask;
}

function takes(state: ConstraintState, bytes: Uint8Array, name: string): boolean {
  let at: ConstraintState | undefined = state;
  for (const byte of bytes) at = at && pushed(at, byte, name);
  return at !== undefined;
}

/** So many tokens of a mask are tried as soon as it is given: of one that was made for another state most are wrong, and trying all is what a mask saves. */
const mostTried = 8;

/** The first tokens with a text in some words of a mask, the last of which has bits, as the first has. */
function someTokens(mask: Uint32Array, vocabulary: Vocabulary): number[] {
  const words = [...mask.keys()].filter((word) => mask[word] !== 0);
  const step = Math.max(1, (words.length - 1) / (mostTried - 1));
  const tried = words.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step) || i === words.length - 1);
  return tried.flatMap((word) => {
    const tokens = Array.from({ length: 32 }, (_, bit) => 32 * word + bit);
    return tokens.find((token) => hasBit(mask, token) && vocabulary.bytes(token).length > 0) ?? [];
  });
}
