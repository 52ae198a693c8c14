/**
 * Draws of one token under a constraint that can only be asked about single tokens, each with an unbiased estimate of the mass that was
 * valid. For every estimator but `improper`, E[w 1{token = v}] = p(v) C(v): the pair is properly weighted (Lipkin et al. 2025; Naesseth
 * et al. 2015). All of them read the law without replacement or anew through `Source`, so tests can enumerate them.
 */
import { ensure } from "../../errors.ts";

export interface Source {
  /** Next-token law [vocabulary], sums to 1. */
  readonly law: Float64Array;
  /** A token in proportion to weights [vocabulary], some of which are positive. Loops are independent; within one, tokens come in one order. */
  pick(loop: number, weights: Float64Array): number;
  /** How many trials until the first success, the success included. */
  geometric(success: number, index: number): number;
}

/** Whether a token may follow. What it throws ends the run: an error is not "invalid". */
export type Check = (token: number) => boolean;

export interface LocalDraw {
  /** -1 where nothing valid was found. */
  readonly token: number;
  /** Estimate of the valid mass; 0 where nothing was found. */
  readonly weight: number;
  /** Distinct tokens that were refused before `token`, in order. */
  readonly rejected: readonly number[];
}

export interface LocalOptions {
  readonly estimator: Estimator;
  /** Further loops of `with-replacement`; accepted draws at most of `geometric`. */
  readonly loops: number;
  /** `recursive` and `geometric`: give up after so many rejections. */
  readonly maxRejects: number;
}

export const estimators = ["adaptive", "recursive", "geometric", "with-replacement", "masking", "improper"] as const;
export type Estimator = (typeof estimators)[number];

export function drawLocally(source: Source, check: Check, options: LocalOptions): LocalDraw {
  const { estimator, loops, maxRejects } = options;
  ensure(maxRejects >= 2, "bad_option", `maxRejects must be at least 2, not ${maxRejects}: weights would be biased`);
  const known = new Map<number, boolean>();
  /** Each token is checked once in a call. */
  const holds: Check = (token) => {
    let answer = known.get(token);
    if (answer === undefined) {
      answer = check(token);
      known.set(token, answer);
    }
    return answer;
  };
  switch (estimator) {
    case "masking":
      return mask(source, holds);
    case "improper":
      return firstValid(source, holds);
    case "adaptive":
      return adaptive(source, holds);
    case "recursive":
      return recursive(source, holds, maxRejects);
    case "geometric":
      return geometric(source, holds, Math.max(2, loops), maxRejects);
    case "with-replacement":
      return withReplacement(source, holds, Math.max(1, loops));
  }
}

/** Every token is checked, and the mass is exact. */
function mask(source: Source, check: Check): LocalDraw {
  const weights = source.law.map((p, token) => (p > 0 && check(token) ? p : 0));
  const weight = sum(weights);
  return weight > 0 ? { token: source.pick(0, weights), weight, rejected: [] } : nothing([]);
}

const nothing = (rejected: readonly number[]): LocalDraw => ({ token: -1, weight: 0, rejected });
const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

/** Draws without replacement until one is valid. `live` loses what was refused. */
function search(source: Source, loop: number, live: Float64Array, check: Check, most = Infinity) {
  const rejected: number[] = [];
  let mass = 0;
  while (rejected.length < most) {
    const token = source.pick(loop, live);
    if (token < 0) break;
    if (check(token)) return { token, rejected, mass };
    rejected.push(token);
    mass += source.law[token];
    live[token] = 0;
  }
  return { token: -1, rejected, mass };
}

function firstValid(source: Source, check: Check): LocalDraw {
  const { token, rejected } = search(source, 0, source.law.slice(), check);
  return token < 0 ? nothing(rejected) : { token, weight: 1, rejected };
}

/** Two loops that share what was rejected (definition 2 of the paper): w = (1 - mass of loop 0) / (rejections + 1). */
function adaptive(source: Source, check: Check): LocalDraw {
  const live = source.law.slice();
  const first = search(source, 0, live, check);
  if (first.token < 0) return nothing(first.rejected);
  const second = search(source, 1, live, check);
  const rejections = first.rejected.length + second.rejected.length;
  const left = first.rejected.length === 0 ? 1 : remaining(source.law, first.rejected);
  return { token: first.token, weight: left / (rejections + 1), rejected: first.rejected };
}

/** 1 - the mass of some tokens, added up the way that keeps small remainders. */
function remaining(law: Float64Array, without: readonly number[]): number {
  const gone = new Set(without);
  return law.reduce((total, p, token) => (gone.has(token) ? total : total + p), 0);
}

/** One loop, and one more token of the same order: it decides between all that was left and the token's own mass. */
function recursive(source: Source, check: Check, maxRejects: number): LocalDraw {
  const live = source.law.slice();
  const { token, rejected } = search(source, 0, live, check, maxRejects);
  if (token < 0) return nothing(rejected);
  const left = remaining(source.law, rejected);
  live[token] = 0;
  const next = rejected.length === maxRejects - 1 ? -1 : source.pick(0, live);
  return { token, weight: next < 0 || check(next) ? left : source.law[token], rejected };
}

/** Draws without replacement that stand for a run with replacement: repeats of what was refused are counted, not drawn. */
function geometric(source: Source, check: Check, maxAccepts: number, maxRejects: number): LocalDraw {
  const live = source.law.slice();
  let rejections = 0;
  let accepts = 0;
  let token = -1;
  let trials = 0;
  const rejected: number[] = [];
  const before: number[] = [];
  for (let loop = 0; loop < maxAccepts && rejections < maxRejects; loop++) {
    for (;;) {
      if (rejected.length > 0) {
        const left = remaining(source.law, rejected);
        if (!(left > 0)) return nothing(rejected);
        rejections += source.geometric(left, trials++) - 1;
        if (rejections >= maxRejects) break;
      }
      const drawn = source.pick(loop, live);
      if (drawn < 0) return nothing(rejected);
      if (check(drawn)) {
        accepts += 1;
        if (token < 0) {
          token = drawn;
          before.push(...rejected);
        }
        break;
      }
      rejections += 1;
      rejected.push(drawn);
      live[drawn] = 0;
      if (rejections >= maxRejects) break;
    }
  }
  if (accepts === 0) return nothing(rejected);
  const counted = Math.min(rejections, maxRejects);
  return { token, weight: Math.min(maxAccepts - 1, accepts) / (accepts + counted - 1), rejected: before };
}

/** Plain rejection, 1 + loops times over: w = loops / (rejections + loops). What was refused once is not checked again. */
function withReplacement(source: Source, check: Check, loops: number): LocalDraw {
  const rejected = new Set<number>();
  let rejections = 0;
  let token = -1;
  let draws = 0;
  for (let loop = 0; loop <= loops; loop++) {
    for (;;) {
      if (rejected.size > 0 && !(remaining(source.law, [...rejected]) > 0)) return nothing([...rejected]);
      const drawn = source.pick(draws++, source.law);
      if (check(drawn)) {
        if (token < 0) token = drawn;
        break;
      }
      rejections += 1;
      rejected.add(drawn);
    }
  }
  return { token, weight: loops / (rejections + loops), rejected: [...rejected] };
}
