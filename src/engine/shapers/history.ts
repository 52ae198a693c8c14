/**
 * Stages that read the tokens so far. They work from scratch at every call, in time linear in their window: the same
 * chain then serves any node of any tree in any order, and there is no state that could drift.
 */
import type { Tokenizer } from "../../text/tokenizer.ts";
import { changed, drop } from "./candidates.ts";
import type { StageFunction } from "./stages.ts";

export interface PenaltySettings {
  readonly repetition: number;
  readonly frequency: number;
  readonly presence: number;
  /** How many of the last tokens count; `Infinity` for all. */
  readonly window: number;
  /** Whether frequency and presence count prompt tokens as well; repetition always does. */
  readonly countPrompt: boolean;
}

/**
 * Repetition (Keskar et al. 2019: positive scores are divided, negative ones multiplied, once per seen token), then
 * frequency (per occurrence) and presence (once), which are subtracted. All look at the last `window` tokens only.
 */
export function penalties(settings: PenaltySettings, vocabularySize: number): StageFunction {
  const { repetition, frequency, presence, window, countPrompt } = settings;
  const seen = new Uint8Array(vocabularySize);
  const counted = new Int32Array(vocabularySize);
  return (candidates, { history, promptLength }) => {
    const start = Math.max(0, history.length - window);
    for (let i = start; i < history.length; i++) {
      seen[history[i]] = 1;
      if (countPrompt || i >= promptLength) counted[history[i]]++;
    }
    const { scores } = candidates;
    for (let i = start; i < history.length; i++) {
      const token = history[i];
      if (seen[token] === 0) continue; // done at an earlier occurrence
      const score = scores[token] > 0 ? scores[token] / repetition : scores[token] * repetition;
      scores[token] = score - frequency * counted[token] - (counted[token] > 0 ? presence : 0);
      seen[token] = 0;
      counted[token] = 0;
    }
    changed(candidates);
  };
}

/** Bans every token that would complete `size` tokens in a row which stand in the history already (Paulus et al. 2017, HF's rule). */
export function noRepeatNgram(size: number): StageFunction {
  function completions(history: ArrayLike<number>): Set<number> {
    const banned = new Set<number>();
    const suffix = history.length - (size - 1);
    for (let start = 0; start < suffix; start++) {
      let same = 0;
      while (same < size - 1 && history[start + same] === history[suffix + same]) same++;
      if (same === size - 1) banned.add(history[start + size - 1]);
    }
    return banned;
  }
  const run: StageFunction = (candidates, { history }) => drop(candidates, completions(history));
  run.keeps = (token, { history }) => !completions(history).has(token);
  return run;
}

export interface DrySettings {
  readonly multiplier: number;
  readonly base: number;
  readonly allowedLength: number;
  readonly window: number;
}

/** Beyond any logit, yet far from overflow. */
const MAXIMUM_PENALTY = 1e30;

/**
 * "Don't repeat yourself" (p-e-w, as in llama.cpp): a token that would continue a repeat of the last n >= allowedLength
 * tokens loses multiplier * base^(n - allowedLength), n being the longest such suffix. A repeat cannot cross a breaker,
 * and breakers themselves are never penalised.
 */
export function dry(settings: DrySettings, breakers: Breakers, vocabularySize: number): StageFunction {
  const { multiplier, base, allowedLength, window } = settings;
  const longest = new Int32Array(vocabularySize);
  let matches = new Int32Array(0);
  return (candidates, { history }) => {
    const size = Math.min(history.length, window);
    if (matches.length < size) matches = new Int32Array(size * 2);
    const limit = breakers.unbrokenSuffix(history, size);
    if (limit < allowedLength) return;
    suffixMatches(history, size, matches);
    for (let back = 1; back < size; back++) {
      const next = history[history.length - back];
      longest[next] = Math.max(longest[next], Math.min(matches[back], limit));
    }
    for (let back = 1; back < size; back++) {
      const next = history[history.length - back];
      const excess = longest[next] - allowedLength;
      if (excess >= 0 && !breakers.breaks(next)) {
        candidates.scores[next] -= Math.min(MAXIMUM_PENALTY, multiplier * base ** excess);
      }
      longest[next] = 0;
      if (excess >= 0) changed(candidates);
    }
  };
}

/**
 * matches[k] = how many of the last tokens also stand right before the last k (the Z-algorithm on the reversed history,
 * linear time), for 1 <= k < size.
 */
function suffixMatches(history: ArrayLike<number>, size: number, matches: Int32Array): void {
  const end = history.length - 1;
  let left = 0;
  let right = 0; // the match that reaches furthest back covers reversed positions [left, right)
  for (let back = 1; back < size; back++) {
    let length = back < right ? Math.min(right - back, matches[back - left]) : 0;
    while (back + length < size && history[end - length] === history[end - back - length]) length++;
    matches[back] = length;
    if (back + length > right) {
      left = back;
      right = back + length;
    }
  }
}

export interface Breakers {
  /** Whether the token on its own breaks repeats. */
  breaks(token: number): boolean;
  /** How many of the last tokens (at most `size`) stand after the last breaker. */
  unbrokenSuffix(history: ArrayLike<number>, size: number): number;
}

const UNKNOWN = 0;
const HARMLESS = 1;
/** May hold the end of a breaker that began in an earlier token. */
const COMPLETES = 2;
const BREAKS = 3;

/**
 * Breakers given as texts are found in the bytes of the history, also where they are spread over several tokens or sit
 * inside one. What a token can do is worked out when it first occurs.
 */
export function createBreakers(
  breakers: readonly (string | number)[],
  vocabularySize: number,
  tokenizer?: Tokenizer,
): Breakers {
  const kinds = new Uint8Array(vocabularySize);
  for (const breaker of breakers) if (typeof breaker === "number") kinds[breaker] = BREAKS;
  const texts = breakers.filter((breaker) => typeof breaker === "string").map((text) => latin(encoder.encode(text)));
  const longest = Math.max(0, ...texts.map((text) => text.length));
  const bytesOf = (token: number) => (tokenizer && texts.length > 0 ? latin(tokenizer.tokenBytes(token)) : "");

  const classify = (token: number) => {
    const bytes = bytesOf(token);
    if (texts.some((text) => bytes.includes(text))) return BREAKS;
    const completes = texts.some((text) => {
      for (let cut = 1; cut < text.length; cut++) {
        const rest = text.slice(cut);
        if (bytes.length > 0 && (bytes.startsWith(rest) || rest.startsWith(bytes))) return true;
      }
      return false;
    });
    return completes ? COMPLETES : HARMLESS;
  };
  const kindOf = (token: number) => {
    if (kinds[token] === UNKNOWN) kinds[token] = classify(token);
    return kinds[token];
  };
  /** Whether a breaker begins before the token at `place` and ends inside it. */
  const completedAt = (history: ArrayLike<number>, place: number, first: number) => {
    let before = "";
    for (let i = place - 1; i >= first && before.length < longest; i--) before = bytesOf(history[i]) + before;
    const joined = before + bytesOf(history[place]);
    return texts.some((text) => joined.indexOf(text, Math.max(0, before.length - text.length + 1)) >= 0);
  };

  return {
    breaks: (token) => kindOf(token) === BREAKS,
    unbrokenSuffix(history, size) {
      const first = history.length - size;
      for (let place = history.length - 1; place >= first; place--) {
        const kind = kindOf(history[place]);
        if (kind === BREAKS || (kind === COMPLETES && completedAt(history, place, first)))
          return history.length - 1 - place;
      }
      return size;
    },
  };
}

const encoder = new TextEncoder();

/** Bytes as a string of one character each, so that the language's own search works on them. */
function latin(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
