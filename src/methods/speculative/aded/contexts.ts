/**
 * What may follow a text, by what followed its last tokens before: contexts of several lengths in the text itself, and the table of
 * tri-grams where they know nothing. They are blended by partial matching (PPM, Cleary and Witten 1984): the longest context that is
 * known speaks first, and what it may be wrong about is left to the next. How often a context is wrong is learned in the request, for
 * contexts of its length and experience apart (secondary escape estimation, Bloom 1998), so that probabilities are those of acceptance.
 */
import type { Row } from "./table.ts";

export interface Contexts {
  /** Tokens of the text so far. */
  readonly length: number;
  /** The text goes on. With `learn` it was the target who chose the token: how well the contexts foretold it is learned first. */
  append(token: number, learn: boolean): void;
  /** What may follow the text and, after it, these drafted tokens, with probabilities that sum to at most 1. */
  after(path: readonly number[]): Row | undefined;
}

/** Successors that one context of the text has had, by their first appearance. */
interface Successors {
  tokens: number[];
  weights: number[];
}

/** Contexts below this probability of being asked at all are not. */
const leastLeft = 0.005;
/** What a request starts with counts like so many trials of a class. */
const priorTrials = 4;
/** Numbers of times a context was seen, and of different successors, that are told apart. */
const experiences = [1, 2, 4, 8, 16, 64, Infinity];
const varieties = [1, 2, Infinity];
const tableVarieties = [1, 2, 4, 8, Infinity];

/** Chance that a context of the text, of so many tokens and seen so often, foretells wrongly: fitted to texts of a small model. */
const textError = (length: number, seen: number): number => Math.min(0.95, 0.8 / length ** 1.25 / Math.sqrt(seen));
const tableError = 0.4;

const classOf = (limits: readonly number[], value: number): number => limits.findIndex((limit) => value <= limit);

/**
 * `contextLengths`: of the text's contexts, in tokens. `pair` gives the table's row of two tokens.
 */
export function createContexts(
  contextLengths: readonly number[],
  pair: (first: number, second: number) => Row | undefined,
): Contexts {
  const lengths = [...new Set(contextLengths)].sort((a, b) => b - a);
  const text: number[] = [];
  const known = lengths.map(() => new Map<number, Successors>());
  const longest = Math.max(2, ...lengths);
  const errors = [
    ...lengths.map((length) =>
      createErrorRates(varieties, (seen) => textError(length, Math.min(seen, 2 * experiences[experiences.length - 2]))),
    ),
    createErrorRates(tableVarieties, () => tableError),
  ];

  /** Two independent 26-bit hashes of the last tokens; a clash of contexts only drafts worse. */
  function keyOf(recent: readonly number[], length: number): number {
    let [high, low] = [0x2545f491, 0x6c8e9cf5];
    for (let i = recent.length - length; i < recent.length; i++) {
      high = Math.imul(high ^ recent[i], 0x9e3779b1);
      low = Math.imul(low + recent[i], 0x85ebca6b) ^ (low >>> 13);
    }
    return (high >>> 6) * 2 ** 26 + (low >>> 6);
  }

  /** What one context says, the text's longest first, the table last. */
  function rowOf(level: number, recent: readonly number[]): Pick<Row, "tokens" | "weights"> | undefined {
    if (level === lengths.length) {
      return recent.length < 2 ? undefined : pair(recent[recent.length - 2], recent[recent.length - 1]);
    }
    return recent.length < lengths[level] ? undefined : known[level].get(keyOf(recent, lengths[level]));
  }

  /** The last tokens of the text and, after it, the path. */
  function recentTokens(path: readonly number[]): number[] {
    const recent: number[] = [];
    const ofPath = Math.min(path.length, longest);
    for (let i = Math.max(0, text.length + ofPath - longest); i < text.length; i++) recent.push(text[i]);
    for (let i = path.length - ofPath; i < path.length; i++) recent.push(path[i]);
    return recent;
  }

  // The next two go through the contexts as one, which is the whole of the method; buffers are reused, as it is done for every node.
  const tokens: number[] = [];
  const weights: number[] = [];

  /** Appends what a context adds to those asked before; returns its weight, 0 where there is nothing new. */
  function collect(row: Pick<Row, "tokens" | "weights">): number {
    const before = tokens.length;
    let seen = 0;
    for (let i = 0; i < row.tokens.length; i++) {
      const token = row.tokens[i];
      let earlier = 0;
      while (earlier < before && tokens[earlier] !== token) earlier++;
      if (earlier < before) continue;
      tokens.push(token);
      weights.push(row.weights[i]);
      seen += row.weights[i];
    }
    return seen;
  }

  /** Goes on to the next context for as long as `next` says so. */
  function consult(recent: readonly number[], next: (start: number, seen: number, rate: ErrorRate) => boolean): void {
    tokens.length = weights.length = 0;
    for (let level = 0; level <= lengths.length; level++) {
      const row = rowOf(level, recent);
      const start = tokens.length;
      const seen = row ? collect(row) : 0;
      if (tokens.length === start) continue;
      const rate = errors[level].of(level < lengths.length ? seen : 1, tokens.length - start);
      if (!next(start, seen, rate)) return;
    }
  }

  return {
    get length() {
      return text.length;
    },
    append(token, learn) {
      const recent = recentTokens([]);
      if (learn) {
        consult(recent, (start, _, rate) => {
          const wrong = tokens.indexOf(token, start) < 0;
          rate.trials += 1;
          rate.errors += wrong ? 1 : 0;
          return wrong;
        });
      }
      lengths.forEach((length, level) => {
        if (recent.length >= length) credit(known[level], keyOf(recent, length), token);
      });
      text.push(token);
    },
    after(path) {
      let left = 1;
      consult(recentTokens(path), (start, seen, { errors, trials }) => {
        const wrong = errors / trials;
        for (let i = start; i < tokens.length; i++) weights[i] *= (left * (1 - wrong)) / seen;
        left *= wrong;
        return left >= leastLeft;
      });
      return tokens.length > 0 ? sorted(tokens, weights) : undefined;
    },
  };
}

function credit(successors: Map<number, Successors>, key: number, token: number): void {
  const entry = successors.get(key);
  if (!entry) {
    successors.set(key, { tokens: [token], weights: [1] });
    return;
  }
  const at = entry.tokens.indexOf(token);
  if (at >= 0) entry.weights[at] += 1;
  else {
    entry.tokens.push(token);
    entry.weights.push(1);
  }
}

/** A copy, the most probable first, equal ones by token. */
function sorted(tokens: readonly number[], probabilities: readonly number[]): Row {
  const row = { tokens: [] as number[], weights: [] as number[], total: 1 };
  for (let i = 0; i < tokens.length; i++) {
    const [token, probability] = [tokens[i], probabilities[i]];
    let at = i;
    for (; at > 0; at--) {
      const other = row.weights[at - 1];
      if (other > probability || (other === probability && row.tokens[at - 1] < token)) break;
      row.tokens[at] = row.tokens[at - 1];
      row.weights[at] = other;
    }
    row.tokens[at] = token;
    row.weights[at] = probability;
  }
  return row;
}

interface ErrorRate {
  trials: number;
  errors: number;
}

/** Error rates of one context length, for contexts of different experience and variety apart. */
function createErrorRates(limits: readonly number[], prior: (seen: number) => number) {
  const rates = experiences.map((seen) =>
    limits.map((): ErrorRate => ({ trials: priorTrials, errors: priorTrials * prior(seen) })),
  );
  return {
    of: (seen: number, variety: number): ErrorRate => rates[classOf(experiences, seen)][classOf(limits, variety)],
  };
}
