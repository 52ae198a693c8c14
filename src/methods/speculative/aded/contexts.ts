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
/** What the last of these counts as at first. */
const mostSeen = 128;
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
  const errors = [
    ...lengths.map((length) => createErrorRates(varieties, (seen) => textError(length, Math.min(seen, mostSeen)))),
    createErrorRates(tableVarieties, () => tableError),
  ];

  /** Where the contexts of all lengths stand in their maps: hashes of so many last tokens. A clash only drafts worse. */
  const keys = lengths.map(() => 0);

  /** The token that stands so many places before what follows the text and the path; undefined before the text's first. */
  const tokenBefore = (path: readonly number[], places: number): number | undefined =>
    path.length >= places ? path[path.length - places] : text[text.length + path.length - places];

  /** Sets the keys of the contexts; returns the first level that the text is long enough for. */
  function hash(path: readonly number[]): number {
    const longest = Math.min(lengths[0] ?? 0, text.length + path.length);
    let value = 0x2545f491;
    let level = lengths.length - 1;
    for (let places = 1; places <= longest; places++) {
      value = Math.imul(value ^ tokenBefore(path, places)!, 0x9e3779b1);
      value ^= value >>> 15;
      if (places === lengths[level]) keys[level--] = value & 0x3fffffff; // small integers are the cheapest keys
    }
    return level + 1;
  }

  /** What one context says, the text's longest first, the table last. */
  function rowOf(level: number, path: readonly number[]): Pick<Row, "tokens" | "weights"> | undefined {
    if (level < lengths.length) return known[level].get(keys[level]);
    const [first, second] = [tokenBefore(path, 2), tokenBefore(path, 1)];
    return first === undefined ? undefined : pair(first, second!);
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
  function consult(path: readonly number[], next: (start: number, seen: number, rate: ErrorRate) => boolean): void {
    tokens.length = weights.length = 0;
    for (let level = hash(path); level <= lengths.length; level++) {
      const row = rowOf(level, path);
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
      if (learn) {
        consult([], (start, _, rate) => {
          const wrong = tokens.indexOf(token, start) < 0;
          rate.trials += 1;
          rate.errors += wrong ? 1 : 0;
          return wrong;
        });
      }
      for (let level = hash([]); level < lengths.length; level++) credit(known[level], keys[level], token);
      text.push(token);
    },
    after(path) {
      let left = 1;
      consult(path, (start, seen, { errors, trials }) => {
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
