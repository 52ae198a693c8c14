/** The laws of the contract, as one suite for every recogniser. */
import { expect, it } from "vitest";
import { type Constraint, type ConstraintState, isValid, pushAll } from "./contract.ts";
import { tryTokens } from "./mask.ts";
import { createVocabulary, type Vocabulary } from "./vocabulary.ts";

export interface LawCases {
  readonly constraint: () => Constraint;
  readonly valid: readonly string[];
  readonly invalid: readonly string[];
  /** Further bytes that a text of this language is made of, for random walks. */
  readonly alphabet?: string;
  /** Ends are found by a test of its own, as single bytes at random lead to none. */
  readonly endsElsewhere?: boolean;
}

const encoder = new TextEncoder();

/** Every byte, and pieces of one to five bytes of the given texts: tokens that cross every kind of border. */
export function pieces(texts: readonly string[]): Vocabulary {
  const found = new Map<string, Uint8Array>();
  for (let byte = 0; byte < 256; byte++) found.set(`${byte}`, Uint8Array.of(byte));
  for (const text of texts) {
    const bytes = encoder.encode(text);
    for (let from = 0; from < bytes.length && found.size < 4000; from++) {
      for (let length = 2; length <= 5 && from + length <= bytes.length; length++) {
        const piece = bytes.slice(from, from + length);
        found.set(piece.join(), piece);
      }
    }
  }
  const all = [...found.values()];
  return createVocabulary(all.length, (token) => all[token]);
}

const random = (seed: number) => () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

export function obeysTheLaws(
  name: string,
  { constraint: make, valid, invalid, alphabet = "", endsElsewhere = false }: LawCases,
): void {
  it(`${name}: accepts what is valid, byte by byte, and nothing else`, () => {
    const constraint = make();
    for (const text of valid) {
      expect(pushAll(constraint.start, encoder.encode(text)), `a prefix of ${text}`).toBeDefined();
      expect(isValid(constraint, text), text).toBe(true);
    }
    for (const text of invalid) expect(isValid(constraint, text), text).toBe(false);
  });

  it(`${name}: a fork is its own, and the same bytes lead to the same behaviour`, () => {
    const constraint = make();
    for (const text of valid) {
      const bytes = encoder.encode(text);
      const middle = pushAll(constraint.start, bytes.slice(0, bytes.length >> 1))!;
      for (let byte = 0; byte < 256; byte++) middle.push(byte);
      expect(pushAll(middle, bytes.slice(bytes.length >> 1))?.complete).toBe(true);
      const again = pushAll(make().start, bytes)!;
      for (let byte = 0; byte < 256; byte++) {
        expect(again.push(byte) === undefined).toBe(pushAll(constraint.start, bytes)!.push(byte) === undefined);
      }
    }
  });

  it(`${name}: the allowed tokens are those that can be pushed`, () => {
    const constraint = make();
    const vocabulary = pieces([...valid, ...invalid]);
    const walks: ConstraintState[] = [constraint.start];
    for (const text of [...valid, ...invalid]) {
      let at: ConstraintState | undefined = constraint.start;
      for (const byte of encoder.encode(text)) {
        at = at.push(byte);
        if (!at) break;
        walks.push(at);
      }
    }
    for (const state of walks.slice(0, 300)) {
      if (state.allowed) expect(state.allowed(vocabulary)).toEqual(tryTokens(state, vocabulary));
    }
  });

  it(`${name}: what may go on can be ended`, () => {
    const constraint = make();
    if (!constraint.tight || endsElsewhere) return;
    const draw = random(7);
    const bytes = encoder.encode(`${alphabet}${valid.join("")}`);
    for (let round = 0; round < 12; round++) {
      let at: ConstraintState = constraint.start;
      for (let i = 0; i < 40; i++) at = at.push(bytes[Math.floor(draw() * bytes.length)]) ?? at;
      expect(canEnd(at, bytes), `after walk ${round}`).toBe(true);
    }
  });
}

/** A way to a complete state: closing what is open first, then what valid texts are made of, each state once. */
function canEnd(start: ConstraintState, likely: Uint8Array): boolean {
  const closing = encoder.encode('"}]);');
  const opening = encoder.encode("{[(");
  const others = [...likely, ...Array.from({ length: 256 }, (_, byte) => byte)];
  const order = [...new Set([...closing, ...others.filter((byte) => !opening.includes(byte)), ...opening])].reverse();
  const seen = new Set<ConstraintState>([start]);
  const stack = [{ at: start, depth: 0 }];
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { at, depth } = item;
    if (at.complete) return true;
    if (seen.size > 30_000) return false;
    if (depth > 300) continue;
    for (const byte of order) {
      const next = at.push(byte);
      if (!next || seen.has(next)) continue;
      seen.add(next);
      stack.push({ at: next, depth: depth + 1 });
    }
  }
  return false;
}
