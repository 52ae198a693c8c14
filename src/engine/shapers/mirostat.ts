/**
 * Mirostat (Basu, Ramachandran, Keskar and Varshney 2021): cuts the distribution so that the surprise of the chosen tokens, in bits,
 * stays near a target. mu bounds the surprise; each chosen token moves it: mu' = mu - eta (surprise - tau), from 2 tau at first.
 *
 * That is a state that goes from token to token, while nodes of a tree are shaped in any order. So it belongs to positions: what a node
 * was shaped with is kept with the node, and a child works out its own mu from its parent's and its own token's surprise there.
 */
import { ensure } from "../../errors.ts";
import { type Candidates, keepBest, weigh } from "./candidates.ts";
import type { StageFunction } from "./stages.ts";

/** What a position leaves to those that follow: its mu, and the distribution that its token was chosen from. */
export interface MirostatState {
  readonly mu: number;
  /** Ascending, with probabilities that sum to 1. */
  readonly tokens: Int32Array;
  readonly probabilities: Float64Array;
}

export interface MirostatSettings {
  readonly version: 1 | 2;
  /** Wanted surprise in bits. */
  readonly tau: number;
  /** How fast mu follows. */
  readonly eta: number;
}

/** Likeliest tokens that version 1 fits Zipf's exponent to. */
const fitted = 100;

/** The stage. Errors: `bad_option` where a method chose a token without shaping the position before it. */
export function mirostat({ version, tau, eta }: MirostatSettings, minKept: number): StageFunction {
  function boundOf({ before }: { before?: MirostatState }, history: ArrayLike<number>, first: boolean): number {
    if (first) return 2 * tau;
    ensure(
      before,
      "bad_option",
      "mirostat: this method takes tokens without looking at every position, so that their surprise is not known",
    );
    const probability = probabilityIn(before, history[history.length - 1]);
    // A token from outside of what was left has no surprise to steer by.
    return probability > 0 ? before.mu - eta * (-Math.log2(probability) - tau) : before.mu;
  }

  return (candidates, { history, promptLength, memory = {} }) => {
    const mu = boundOf(memory, history, history.length <= promptLength);
    weigh(candidates);
    const kept = version === 1 ? zipfTokens(mu, candidates) : likelyTokens(mu, candidates);
    keepBest(candidates, candidates.scores, Math.max(kept, minKept));
    weigh(candidates);
    const tokens = candidates.tokens.slice(0, candidates.count);
    memory.after = {
      mu,
      tokens,
      probabilities: Float64Array.from(tokens, (token) => candidates.weights[token] / candidates.total),
    };
  };
}

/** How many tokens version 2 keeps: those whose surprise is at most mu, in bits. */
function likelyTokens(mu: number, { tokens, count, weights, total }: Candidates): number {
  const least = total * 2 ** -mu;
  let kept = 0;
  for (let i = 0; i < count; i++) kept += weights[tokens[i]] >= least ? 1 : 0;
  return Math.max(1, kept);
}

/** How many tokens version 1 keeps: those of a Zipf law with the fitted exponent whose surprise is at most mu (the paper's algorithm 1). */
function zipfTokens(mu: number, { tokens, count, scores, vocabularySize }: Candidates): number {
  const top: number[] = [];
  for (let i = 0; i < count; i++) {
    const score = scores[tokens[i]];
    if (top.length === fitted && score <= top[fitted - 1]) continue;
    let place = Math.min(top.length, fitted - 1);
    for (; place > 0 && top[place - 1] < score; place--) top[place] = top[place - 1];
    top[place] = score;
  }
  if (top.length < 2) return 1;
  let [products, squares] = [0, 0];
  for (let i = 0; i + 1 < top.length; i++) {
    const distance = Math.log((i + 2) / (i + 1));
    products += distance * (top[i] - top[i + 1]);
    squares += distance * distance;
  }
  const exponent = products / squares;
  if (exponent === 0) return Math.max(1, Math.floor(Math.min(count, 2 ** mu)));
  const excess = exponent - 1;
  const norm = Math.abs(excess) < 1e-9 ? 1 / Math.log(vocabularySize) : excess / (1 - vocabularySize ** -excess);
  const wanted = (norm * 2 ** mu) ** (1 / exponent);
  return Math.max(1, Math.floor(Math.min(count, wanted)));
}

function probabilityIn({ tokens, probabilities }: MirostatState, token: number): number {
  const at = tokens.indexOf(token);
  return at < 0 ? 0 : probabilities[at];
}
