/**
 * A request's constraint over the nodes of its trees: where a node's text stands, and which tokens may follow. It fails closed: a place
 * from which nothing valid is left is an error, and so is a committed token that the constraint does not allow.
 */
import {
  type Constraint,
  type ConstraintState,
  createVocabulary,
  hasBit,
  pushAll,
  tryTokens,
  type Vocabulary,
  wordsFor,
} from "../constraints/index.ts";
import { ensure, shownEnd, VentrisError } from "../errors.ts";
import type { Tokenizer } from "../text/index.ts";
import type { ForestNode } from "./forest.ts";

/** A request's constraint at work: masks and verdicts below every node. */
export interface Constraining {
  readonly constraint: Constraint;
  readonly vocabulary: Vocabulary;
  /** Where the text up to a node stands; undefined below a token that the constraint does not allow. */
  stateAt(node: ForestNode): ConstraintState | undefined;
  /** After one more token. */
  after(state: ConstraintState, token: number): ConstraintState | undefined;
  /**
   * The tokens that may follow a node, 32 to a word, tokens that end the text among them where it is complete; undefined below a token that
   * is not allowed itself, whose successors count for nothing. Errors: `constraint_dead_end` with the text that leads nowhere.
   */
  allowedAt(node: ForestNode): Uint32Array | undefined;
  /** Whether a mask was made for the node and left one token alone. */
  forcedAt(node: ForestNode): boolean;
  /** Whether nothing but the end may follow. */
  mustEnd(node: ForestNode, token: number): boolean;
  /** The output up to a node. */
  textTo(node: ForestNode): string;
  /** Questions asked: a mask asks about the whole vocabulary. */
  readonly checks: number;
}

const vocabularies = new WeakMap<Tokenizer, Vocabulary>();

/** Tokens of a model as constraints see them, made once for each tokenizer. */
export function vocabularyOf(tokenizer: Tokenizer, size: number): Vocabulary {
  let vocabulary = vocabularies.get(tokenizer);
  if (!vocabulary || vocabulary.size !== size) {
    const none = new Uint8Array();
    // A model's matrix may be padded beyond its tokenizer: these ids stand for nothing.
    vocabulary = createVocabulary(size, (id) => (id < tokenizer.vocabularySize ? tokenizer.tokenBytes(id) : none));
    vocabularies.set(tokenizer, vocabulary);
  }
  return vocabulary;
}

export interface ConstrainingParts {
  constraint: Constraint;
  tokenizer: Tokenizer | undefined;
  /** Default: the tokenizer's. */
  vocabulary?: Vocabulary;
  vocabularySize: number;
  promptLength: number;
  endTokens: ReadonlySet<number>;
}

/** Errors: `bad_option` for a model without a tokenizer. */
export function createConstraining(parts: ConstrainingParts): Constraining {
  const { constraint, tokenizer, vocabularySize, promptLength, endTokens } = parts;
  ensure(tokenizer, "bad_option", "constraint: constraints need a tokenizer, and this model has none");
  const vocabulary = parts.vocabulary ?? vocabularyOf(tokenizer, vocabularySize);
  const states = new WeakMap<ForestNode, { state: ConstraintState | undefined }>();
  const ends = [...endTokens].filter((token) => token < vocabularySize);
  const single = new WeakSet<ForestNode>();
  let checks = 0;

  function after(state: ConstraintState, token: number): ConstraintState | undefined {
    const bytes = vocabulary.bytes(token);
    return endTokens.has(token) || bytes.length === 0 ? undefined : pushAll(state, bytes);
  }

  function stateAt(node: ForestNode): ConstraintState | undefined {
    const path: ForestNode[] = [];
    let state: ConstraintState | undefined = constraint.start;
    for (let at: ForestNode | undefined = node; at && at.depth >= promptLength; at = at.parent) {
      const known = states.get(at);
      if (known) {
        state = known.state;
        break;
      }
      path.push(at);
    }
    for (const at of path.reverse()) {
      state = state && after(state, at.token);
      states.set(at, { state });
    }
    return state;
  }

  /** Errors: `bad_option` where a mask has a token that could not be pushed, whatever the state. */
  function requireTexts(bits: Uint32Array): void {
    const silent = silentOf(vocabulary);
    const word = bits.findIndex((word, i) => (word & silent[i]) !== 0);
    ensure(word < 0, "bad_option", () => {
      const token = 32 * word + 31 - Math.clz32(bits[word] & silent[word]);
      return `constraint ${constraint.name}: allowed gave the bit of token ${token}, which stands for no text`;
    });
  }

  function mask(state: ConstraintState): Uint32Array {
    checks += vocabularySize;
    const bits = new Uint32Array(wordsFor(vocabularySize));
    const own = state.allowed?.(vocabulary);
    bits.set(own ?? tryTokens(state, vocabulary));
    for (const token of ends) bits[token >>> 5] &= ~(1 << (token & 31));
    if (own) requireTexts(bits);
    if (state.complete) for (const token of ends) bits[token >>> 5] |= 1 << (token & 31);
    return bits;
  }

  return {
    constraint,
    vocabulary,
    stateAt,
    after,
    get checks() {
      return checks;
    },
    allowedAt(node) {
      const state = stateAt(node);
      if (!state) return undefined;
      const bits = mask(state);
      ensure(
        bits.some((word) => word !== 0),
        "constraint_dead_end",
        () =>
          `constraint ${constraint.name}: no token of this model can follow ${shownEnd(textTo(tokenizer, promptLength, node))}`,
      );
      if (isSingle(bits)) single.add(node);
      return bits;
    },
    textTo: (node) => textTo(tokenizer, promptLength, node),
    forcedAt: (node) => single.has(node),
    mustEnd(node, token) {
      const state = stateAt(node);
      const next = state && after(state, token);
      return next?.complete === true && !goesOn(next);
    },
  };

  /** Whether some token may follow that does not end the text: the first that is found will do, so no mask is made. */
  function goesOn(state: ConstraintState, node = 0): boolean {
    const { byte, after, first, tokens } = vocabulary;
    for (let child = node + 1; child < after[node]; child = after[child]) {
      checks += 1;
      const next = state.push(byte[child]);
      if (!next) continue;
      if (tokens.subarray(first[child], first[child + 1]).some((token) => !endTokens.has(token))) return true;
      if (goesOn(next, child)) return true;
    }
    return false;
  }
}

const silentTokens = new WeakMap<Vocabulary, Uint32Array>();

/** The tokens that stand for no text, 32 to a word. */
function silentOf(vocabulary: Vocabulary): Uint32Array {
  const known = silentTokens.get(vocabulary);
  if (known) return known;
  const silent = new Uint32Array(wordsFor(vocabulary.size));
  for (let token = 0; token < vocabulary.size; token++)
    if (vocabulary.bytes(token).length === 0) silent[token >>> 5] |= 1 << (token & 31);
  silentTokens.set(vocabulary, silent);
  return silent;
}

/** The text behind the prompt, up to a node. */
export function textTo(tokenizer: Tokenizer, promptLength: number, node: ForestNode): string {
  const tokens: number[] = [];
  for (let at: ForestNode | undefined = node; at && at.depth >= promptLength; at = at.parent) tokens.push(at.token);
  return tokenizer.decode(tokens.reverse(), { continued: true });
}

/** One of several texts at a place: what `work` gives there, or undefined where nothing may follow, of which `note` is told. */
export function unlessDeadEnd<Result>(work: () => Result, note?: (error: VentrisError) => void): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof VentrisError) || error.code !== "constraint_dead_end") throw error;
    note?.(error);
    return undefined;
  }
}

/** Errors: `bad_option`: a method went on with a token that its constraint does not allow, or that the constraint itself allowed and then refuses. */
export function checkAllowed(constraining: Constraining, from: ForestNode, token: number, isEnd: boolean): void {
  const state = constraining.stateAt(from);
  const fits = state && (isEnd ? state.complete : constraining.after(state, token) !== undefined);
  if (!fits) {
    const { constraint, vocabulary } = constraining;
    const mask = isEnd ? undefined : state?.allowed?.(vocabulary);
    ensure(!mask || !hasBit(mask, token), "bad_option", () => {
      const why = vocabulary.bytes(token).length === 0 ? "which stands for no text" : "whose bytes push refuses";
      return `constraint ${constraint.name}: allowed gave the bit of token ${token}, ${why}`;
    });
    throw new VentrisError(
      "bad_option",
      `constraint ${constraint.name}: the method chose a token that it does not allow; this method cannot decode under a constraint`,
    );
  }
}

export const countBits = (bits: Uint32Array): number => {
  let count = 0;
  for (let token = 0; token < bits.length * 32; token++) if (hasBit(bits, token)) count += 1;
  return count;
};

function isSingle(bits: Uint32Array): boolean {
  const words = bits.filter((word) => word !== 0);
  return words.length === 1 && (words[0] & (words[0] - 1)) === 0;
}
