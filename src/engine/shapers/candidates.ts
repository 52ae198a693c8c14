/**
 * The working set of one shaping call: which tokens are still alive, their scores and their weights. Stages change scores
 * (`changed` must follow) or drop tokens. Scores are indexed by token, and the list of live tokens stays in ascending id
 * order; wherever one of several equals must go, the lowest id stays. All buffers are reused from call to call.
 */
import { ensure, VentrisError } from "../../errors.ts";
import { exponential } from "../distribution.ts";

/** A distribution under way through the stages: tokens, logits and what was dropped. */
export interface Candidates {
  readonly vocabularySize: number;
  /** The live tokens, ascending, in the first `count` entries. At least one is alive after every stage. */
  readonly tokens: Int32Array;
  count: number;
  /** Logits as shaped so far, [vocabularySize]; meaningful and finite for live tokens. */
  readonly scores: Float64Array;
  /** exp(score - reference) of live tokens and their sum, [vocabularySize]; call `weigh` before reading. */
  readonly weights: Float64Array;
  reference: number;
  total: number;
  weighed: boolean;
  /** Scratch for a stage: values by token to rank by, [vocabularySize]. */
  readonly keys: Float64Array;
  /** Scratch of `keepBest`: tokens not yet decided, and the histogram bucket of each. */
  readonly undecided: Int32Array;
  readonly buckets: Uint16Array;
}

export function createCandidates(vocabularySize: number): Candidates {
  return {
    vocabularySize,
    tokens: new Int32Array(vocabularySize),
    count: 0,
    scores: new Float64Array(vocabularySize),
    weights: new Float64Array(vocabularySize),
    reference: 0,
    total: 0,
    weighed: false,
    keys: new Float64Array(vocabularySize),
    undecided: new Int32Array(vocabularySize),
    buckets: new Uint16Array(vocabularySize),
  };
}

/** Those that nobody uses; of few sizes, as there are few models. */
const spare: Candidates[] = [];
const mostSpare = 4;

/** Lends a working set for one call: requests that take turns share one, which stays in the processor's caches. */
export function withCandidates<Result>(vocabularySize: number, use: (candidates: Candidates) => Result): Result {
  const at = spare.findIndex((one) => one.vocabularySize === vocabularySize);
  const candidates = at < 0 ? createCandidates(vocabularySize) : spare.splice(at, 1)[0];
  try {
    return use(candidates);
  } finally {
    spare.unshift(candidates);
    spare.length = Math.min(spare.length, mostSpare);
  }
}

/**
 * Starts over from the model's logits [vocabularySize]. With `allowed`, a bitset in words of 32 tokens, only its tokens
 * live. Errors: `runtime_failed` on NaN or +Infinity, or when the model gives no finite logit; `constraint_dead_end` when
 * nothing is allowed.
 */
export function load(candidates: Candidates, logits: Float32Array, allowed?: Uint32Array): void {
  const { vocabularySize, tokens, scores } = candidates;
  checkSize(logits, vocabularySize);
  let count = 0;
  let broken = false;
  if (allowed) {
    const words = Math.ceil(vocabularySize / 32);
    ensure(
      allowed.length >= words,
      "bad_shape",
      () => `shaping: the mask has ${allowed.length} words, ${words} are needed`,
    );
    for (let word = 0; word < words; word++) {
      for (let bits = allowed[word]; bits !== 0; bits &= bits - 1) {
        const token = word * 32 + 31 - Math.clz32(bits & -bits);
        if (token >= vocabularySize) break;
        const logit = logits[token];
        if (!(logit < Infinity)) broken = true;
        scores[token] = logit;
        tokens[count] = token;
        count += logit > -Infinity ? 1 : 0;
      }
    }
  } else {
    for (let token = 0; token < vocabularySize; token++) {
      const logit = logits[token];
      if (!(logit < Infinity)) broken = true;
      scores[token] = logit;
      tokens[count] = token;
      count += logit > -Infinity ? 1 : 0;
    }
  }
  ensure(!broken, "runtime_failed", notFinite);
  if (allowed)
    ensure(count > 0, "constraint_dead_end", "the constraint allows no token that the model can produce here");
  else ensure(count > 0, "runtime_failed", "the model produced no finite logit");
  candidates.count = count;
  candidates.weighed = false;
}

/** What `best` gives after `load` alone, without filling the working set. Errors: as `load`. */
export function bestLogit(logits: Float32Array, vocabularySize: number): number {
  checkSize(logits, vocabularySize);
  let best = -1;
  let high = -Infinity;
  let broken = false;
  for (let token = 0; token < vocabularySize; token++) {
    const logit = logits[token];
    if (!(logit < Infinity)) broken = true;
    if (logit > high) [high, best] = [logit, token];
  }
  ensure(!broken, "runtime_failed", notFinite);
  ensure(best >= 0, "runtime_failed", "the model produced no finite logit");
  return best;
}

const notFinite = "the model produced logits that are NaN or +Infinity";

function checkSize(logits: Float32Array, vocabularySize: number): void {
  ensure(
    logits.length === vocabularySize,
    "bad_shape",
    () => `shaping: got ${logits.length} logits for a vocabulary of ${vocabularySize}`,
  );
}

/** To be called after a stage has changed scores of live tokens by hand. */
export function changed(candidates: Candidates): void {
  candidates.weighed = false;
}

/** The live token with the highest score. */
export function best(candidates: Candidates): number {
  const { tokens, count, scores } = candidates;
  const score = highest(candidates, scores);
  for (let i = 0; i < count; i++) if (scores[tokens[i]] === score) return tokens[i];
  throw new VentrisError("internal", "shaping: no live token");
}

/** The highest of the live tokens' values (scores, weights or keys). */
export function highest({ tokens, count }: Candidates, values: Float64Array): number {
  let high = -Infinity;
  for (let i = 0; i < count; i++) {
    const value = values[tokens[i]];
    if (value > high) high = value;
  }
  return high;
}

/** Brings weights and total up to date: token t has probability weights[t] / total. */
export function weigh(candidates: Candidates): void {
  if (candidates.weighed) return;
  const { tokens, count, scores, weights } = candidates;
  const reference = highest(candidates, scores);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const token = tokens[i];
    const weight = exponential(scores[token] - reference);
    weights[token] = weight;
    total += weight;
  }
  candidates.reference = reference;
  candidates.total = total;
  candidates.weighed = true;
}

/** Entropy of the live distribution in nats. Weigh first. */
export function entropy(candidates: Candidates): number {
  const { tokens, count, scores, weights, reference, total } = candidates;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += weights[tokens[i]] * (scores[tokens[i]] - reference);
  return Math.log(total) - sum / total;
}

/** Drops every token for which `keep` is false. */
export function keepWhere(candidates: Candidates, keep: (token: number) => boolean): void {
  const { tokens, weights } = candidates;
  let count = 0;
  for (let i = 0; i < candidates.count; i++) {
    const token = tokens[i];
    tokens[count] = token;
    count += keep(token) ? 1 : 0;
  }
  candidates.count = count;
  if (!candidates.weighed) return;
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[tokens[i]];
  candidates.total = total;
  if (total < 1e-200) candidates.weighed = false; // what is left had underflowed beside what is gone
}

/** Drops a few tokens, each found by halving, where `keepWhere` would ask about the whole vocabulary. */
export function drop(candidates: Candidates, unwanted: Iterable<number>): void {
  const { tokens } = candidates;
  for (const token of unwanted) {
    let low = 0;
    for (let high = candidates.count; low < high; ) {
      const middle = (low + high) >>> 1;
      if (tokens[middle] < token) low = middle + 1;
      else high = middle;
    }
    if (low === candidates.count || tokens[low] !== token) continue;
    tokens.copyWithin(low, low + 1, candidates.count);
    candidates.count -= 1;
    candidates.weighed = false;
  }
}

/** Drops the tokens whose value (score or weight) is below the threshold, except those that share the highest value. */
export function keepAtLeast(candidates: Candidates, values: Float64Array, threshold: number): void {
  const bound = Math.min(threshold, highest(candidates, values));
  keepWhere(candidates, (token) => values[token] >= bound);
}

/** Few enough to sort by insertion. */
const SMALL = 24;
const BUCKETS = 512;
const bucketAmounts = new Float64Array(BUCKETS);

/**
 * Keeps the shortest prefix, in order of `values` descending (then id ascending), whose amounts add up to `target`; all
 * tokens when they never do. An amount is a token's weight, or 1 without `amounts`. Linear time without a full sort: a
 * histogram over the range of the values finds the bucket in which the target is crossed, and only that bucket is looked
 * at again, more finely. Values must be finite.
 */
export function keepBest(candidates: Candidates, values: Float64Array, target: number, amounts?: Float64Array): void {
  const { undecided, buckets } = candidates;
  let pool = candidates.tokens;
  let size = candidates.count;
  let reached = 0;
  for (;;) {
    let high = -Infinity;
    let low = Infinity;
    for (let i = 0; i < size; i++) {
      const value = values[pool[i]];
      if (value > high) high = value;
      if (value < low) low = value;
    }
    const scale = (BUCKETS - 1) / (high - low);
    if (size <= SMALL || scale === Infinity) break;
    bucketAmounts.fill(0);
    for (let i = 0; i < size; i++) {
      const bucket = ((high - values[pool[i]]) * scale) | 0;
      buckets[i] = bucket;
      bucketAmounts[bucket] += amounts ? amounts[pool[i]] : 1;
    }
    let crossing = 0;
    while (crossing < BUCKETS && reached + bucketAmounts[crossing] < target) reached += bucketAmounts[crossing++];
    if (crossing === BUCKETS) return;
    let inside = 0;
    for (let i = 0; i < size; i++) {
      undecided[inside] = pool[i];
      inside += buckets[i] === crossing ? 1 : 0;
    }
    pool = undecided;
    size = inside;
  }
  if (pool !== undecided) undecided.set(pool.subarray(0, size));
  sortByValue(undecided, size, values);
  let end = 0;
  for (; end < size - 1; end++) {
    reached += amounts ? amounts[undecided[end]] : 1;
    if (reached >= target) break;
  }
  const last = undecided[end];
  const bound = values[last];
  keepWhere(candidates, (token) => values[token] > bound || (values[token] === bound && token <= last));
}

/** Stable insertion sort of the first `size` tokens, descending; one comparison each when all values are equal. */
function sortByValue(tokens: Int32Array, size: number, values: Float64Array): void {
  for (let i = 1; i < size; i++) {
    const token = tokens[i];
    let hole = i;
    for (; hole > 0 && values[tokens[hole - 1]] < values[token]; hole--) tokens[hole] = tokens[hole - 1];
    tokens[hole] = token;
  }
}
