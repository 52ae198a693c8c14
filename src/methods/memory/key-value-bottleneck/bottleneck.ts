/**
 * The discrete key-value bottleneck (Träuble et al. 2023): between a frozen encoder and the decision a table of pairs. Features are projected
 * for each codebook, fetch the values of the nearest keys, and the values' mean is the logits. Keys follow the features by an exponential
 * moving average and are then frozen; values alone are trained, by plain gradient steps, so that a step changes nothing but what was fetched.
 */
import { normal, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole, requireWithin } from "../../../numbers.ts";
import { nextTurn } from "../../../turn.ts";

export interface BottleneckShape {
  /** Codebooks; pairs in each; numbers in a key, in a value, in a feature. */
  readonly codebooks: number;
  readonly pairs: number;
  readonly keyWidth: number;
  readonly valueWidth: number;
  readonly featureWidth: number;
}

/** How features become a codebook's query: a fixed random projection, a slice of the features, or the features themselves. */
export const splitters = ["random", "slices", "identity"] as const;
export type Splitter = (typeof splitters)[number];

export interface Bottleneck extends BottleneckShape {
  readonly splitter: Splitter;
  /** [codebooks, featureWidth, keyWidth]; empty but of random projections. */
  readonly projections: Float32Array<ArrayBuffer>;
  /** [codebooks, pairs, keyWidth]: never trained by gradients. */
  readonly keys: Float32Array<ArrayBuffer>;
  /** [codebooks, pairs, valueWidth]: all that is trained. */
  readonly values: Float32Array<ArrayBuffer>;
  /** [codebooks, pairs]: how often a pair was fetched while learning. */
  readonly usage: Uint32Array<ArrayBuffer>;
}

/** Features [count, width]. */
export interface Features {
  readonly count: number;
  readonly width: number;
  readonly values: Float32Array;
}

/** Numbers of one tensor: beyond any table that is searched through. */
export const mostNumbers = 2 ** 28;

/** Errors: `bad_option` for a shape that a splitter cannot serve, or one too large. */
export function createBottleneck(
  shape: BottleneckShape,
  {
    splitter = "random",
    seed = 0,
  }: {
    /** How features become queries. Default: "random". */
    splitter?: Splitter;
    /** Of the random projections. Default: 0. */
    seed?: number;
  } = {},
): Bottleneck {
  const { codebooks, pairs, keyWidth, valueWidth, featureWidth } = shape;
  requireCounts(Object.fromEntries(Object.entries(shape).map(([name, value]) => [`bottleneck: ${name}`, value])));
  const each = Math.max(pairs * keyWidth, pairs * valueWidth, splitter === "random" ? featureWidth * keyWidth : 0);
  ensure(
    codebooks * each <= mostNumbers,
    "bad_option",
    () =>
      `bottleneck: ${codebooks} codebooks of ${pairs} pairs, keys ${keyWidth} wide, ${valueWidth} classes and ${featureWidth} features make a table of ${codebooks * each} numbers, more than the ${mostNumbers} that there may be: give fewer codebooks or pairs`,
  );
  if (splitter === "slices") {
    ensure(
      codebooks * keyWidth === featureWidth,
      "bad_option",
      `bottleneck: slices of ${keyWidth} for ${codebooks} codebooks need ${codebooks * keyWidth} features, not ${featureWidth}`,
    );
  }
  if (splitter === "identity") {
    ensure(
      keyWidth === featureWidth,
      "bad_option",
      `bottleneck: without a projection keys are as wide as features, ${featureWidth}, not ${keyWidth}`,
    );
  }
  return {
    ...shape,
    splitter,
    projections: splitter === "random" ? randomProjections(shape, seed) : new Float32Array(0),
    keys: Float32Array.from({ length: codebooks * pairs * keyWidth }, (_, i) =>
      normal({ seed, request: 1 }, i, "initialise"),
    ),
    values: new Float32Array(codebooks * pairs * valueWidth),
    usage: new Uint32Array(codebooks * pairs),
  };
}

/** Standard normal entries, each column (one number for every feature) scaled to length 1. */
function randomProjections(
  { codebooks, keyWidth, featureWidth }: BottleneckShape,
  seed: number,
): Float32Array<ArrayBuffer> {
  const result = new Float32Array(codebooks * featureWidth * keyWidth);
  for (let c = 0; c < codebooks; c++) {
    const from = c * featureWidth * keyWidth;
    for (let j = 0; j < keyWidth; j++) {
      let sum = 0;
      for (let i = 0; i < featureWidth; i++) {
        const at = from + i * keyWidth + j;
        result[at] = normal({ seed, request: 0 }, at, "initialise");
        sum += result[at] ** 2;
      }
      for (let i = 0; i < featureWidth; i++) result[from + i * keyWidth + j] /= Math.sqrt(sum);
    }
  }
  return result;
}

/** Queries [count, codebooks, keyWidth] of features. Errors: `bad_shape`; `bad_option` for features that are not finite. */
export function queriesOf(bottleneck: Bottleneck, features: Features): Float32Array {
  requireFeatures(bottleneck, features);
  const queries = new Float32Array(features.count * bottleneck.codebooks * bottleneck.keyWidth);
  project(bottleneck, features, queries, 0, features.count);
  return queries;
}

function requireFeatures({ featureWidth }: Bottleneck, { count, width, values }: Features): void {
  ensure(
    width === featureWidth,
    "bad_shape",
    `bottleneck: features are ${width} wide, and ${featureWidth} are expected`,
  );
  ensure(
    values.length === count * width,
    "bad_shape",
    `bottleneck: ${count} rows of ${width} features, but ${values.length} numbers`,
  );
  const broken = values.findIndex((x) => !Number.isFinite(x));
  ensure(
    broken < 0,
    "bad_option",
    () => `bottleneck: feature ${broken % width} of row ${Math.floor(broken / width)} is ${values[broken]}`,
  );
}

/** Writes the queries of the rows [from, until). */
function project(
  { codebooks, keyWidth, splitter, projections }: Bottleneck,
  { width, values }: Features,
  queries: Float32Array,
  from: number,
  until: number,
): void {
  const sums = new Float64Array(keyWidth);
  for (let n = from; n < until; n++) {
    for (let c = 0; c < codebooks; c++) {
      const to = (n * codebooks + c) * keyWidth;
      if (splitter === "identity") queries.set(values.subarray(n * width, (n + 1) * width), to);
      else if (splitter === "slices")
        queries.set(values.subarray(n * width + c * keyWidth, n * width + (c + 1) * keyWidth), to);
      else {
        sums.fill(0);
        for (let i = 0; i < width; i++) {
          const x = values[n * width + i];
          if (x === 0) continue;
          const row = (c * width + i) * keyWidth;
          for (let j = 0; j < keyWidth; j++) sums[j] += x * projections[row + j];
        }
        queries.set(sums, to);
      }
    }
  }
}

/** Rows between two turns of the event loop. */
const sliceRows = 128;

/** Lets timers, messages and signals come between slices of work. Errors: `aborted`, which says what was. */
export async function giveTurn(signal: AbortSignal | undefined, what: string): Promise<void> {
  await nextTurn();
  ensure(!signal?.aborted, "aborted", `${what} was aborted`);
}

/** As `queriesOf` and, of each slice's queries, what `then` makes of them, with turns of the event loop between slices. */
export async function queriesInTurns(
  bottleneck: Bottleneck,
  features: Features,
  turn: () => Promise<void>,
  then?: (queries: Float32Array, from: number) => void,
): Promise<Float32Array> {
  requireFeatures(bottleneck, features);
  const row = bottleneck.codebooks * bottleneck.keyWidth;
  const queries = new Float32Array(features.count * row);
  for (let from = 0; from < features.count; from += sliceRows) {
    await turn();
    const until = Math.min(features.count, from + sliceRows);
    project(bottleneck, features, queries, from, until);
    then?.(queries.subarray(from * row, until * row), from);
  }
  return queries;
}

/**
 * The nearest pairs [count, codebooks, top] of each query, nearest first, the lowest index first among equals. `used` looks only at pairs that were
 * fetched while learning; -1 where a codebook has fewer of them.
 */
export function fetchPairs(
  bottleneck: Bottleneck,
  queries: Float32Array,
  {
    top = 1,
    used = false,
  }: {
    /** Pairs of each codebook. Default: 1. */
    top?: number;
    /** Only those fetched while learning. Default: false. */
    used?: boolean;
  } = {},
): Int32Array {
  const { codebooks, pairs, keyWidth, keys, usage } = bottleneck;
  requireWhole({ "bottleneck: top": top }, 1, pairs);
  const count = queries.length / (codebooks * keyWidth);
  const fetched = new Int32Array(count * codebooks * top).fill(-1);
  const distances = new Float64Array(top);
  /** Distances of the keys of a codebook, four at a time: sums of several keys do not wait for each other, and each is added up in order. */
  const near = new Float64Array(Math.ceil(pairs / 4) * 4);
  // The keys of one codebook stay in the processor's cache while all samples look at them.
  for (let c = 0; c < codebooks; c++) {
    const own = new Float64Array(near.length * keyWidth);
    own.set(keys.subarray(c * pairs * keyWidth, (c + 1) * pairs * keyWidth));
    for (let n = 0; n < count; n++) {
      const query = (n * codebooks + c) * keyWidth;
      for (let p = 0; p < near.length; p += 4) {
        let [first, second, third, fourth] = [0, 0, 0, 0];
        const key = p * keyWidth;
        for (let j = 0; j < keyWidth; j++) {
          const q = queries[query + j];
          const a = q - own[key + j];
          const b = q - own[key + keyWidth + j];
          const d = q - own[key + 2 * keyWidth + j];
          const e = q - own[key + 3 * keyWidth + j];
          first += a * a;
          second += b * b;
          third += d * d;
          fourth += e * e;
        }
        near[p] = first;
        near[p + 1] = second;
        near[p + 2] = third;
        near[p + 3] = fourth;
      }
      const out = (n * codebooks + c) * top;
      distances.fill(Infinity);
      for (let p = 0; p < pairs; p++) {
        const distance = near[p];
        if (!(distance < distances[top - 1]) || (used && usage[c * pairs + p] === 0)) continue;
        let at = top - 1;
        for (; at > 0 && distances[at - 1] > distance; at--) {
          distances[at] = distances[at - 1];
          fetched[out + at] = fetched[out + at - 1];
        }
        distances[at] = distance;
        fetched[out + at] = p;
      }
    }
  }
  return fetched;
}

/** Logits [count, valueWidth] of fetched pairs: in each codebook the sum of the fetched values, then the mean over codebooks. Nothing fetched: zeros. Errors: `bad_shape`. */
export function logitsOf(
  { codebooks, pairs, valueWidth, values }: Bottleneck,
  fetched: Int32Array,
  top = 1,
): Float64Array {
  const count = fetched.length / (codebooks * top);
  ensure(
    Number.isInteger(count) && fetched.every((pair) => pair < pairs),
    "bad_shape",
    `bottleneck: what is fetched must be ${top} of ${pairs} pairs in each of ${codebooks} codebooks`,
  );
  const logits = new Float64Array(count * valueWidth);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < codebooks * top; i++) {
      const pair = fetched[n * codebooks * top + i];
      if (pair < 0) continue;
      const from = (Math.floor(i / top) * pairs + pair) * valueWidth;
      for (let v = 0; v < valueWidth; v++) logits[n * valueWidth + v] += values[from + v] / codebooks;
    }
  }
  return logits;
}

export interface KeyOptions {
  /** Passes over the features. */
  readonly epochs: number;
  /** Features of an update. */
  readonly batch: number;
  /** Decay of the moving averages. Default 0.95. */
  readonly decay?: number;
  /** Uses that every key is thought to have had beside its own, so that none is divided by 0. Default 1e-5. */
  readonly epsilon?: number;
  /** Keys used less than this share of an even use are placed on a sample; 0: none is. Default 0.1. */
  readonly dead?: number;
  /** Of the order of the features and of the samples for keys that are not used. Default 0. */
  readonly seed?: number;
  /** Told the mean squared distance to the nearest key before each update. Default: nobody is told. */
  readonly onBatch?: (error: number) => void;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

/**
 * Keys from features, without labels: an exponential moving average of k-means assignments (decay 0.95, ε 1e-5), the nearest key alone however many
 * are fetched later; keys whose count falls below dead · batch / pairs (0.1) move to a random query of the batch. Then the keys are final: counts
 * of use are reset. The event loop has its turn before each update. Errors: `bad_option` for
 * numbers out of their range; `aborted`, with keys that are not final.
 */
export async function initialiseKeys(bottleneck: Bottleneck, features: Features, options: KeyOptions): Promise<void> {
  const { codebooks, pairs, keyWidth, keys } = bottleneck;
  const { epochs, batch, decay = 0.95, epsilon = 1e-5, dead = 0.1, seed = 0, onBatch, signal } = options;
  requireCounts({ epochs, batch });
  requireWithin({ decay }, 0, 1);
  requireWithin({ epsilon, dead }, 0);
  ensure(features.count >= 1, "bad_option", "bottleneck: there are no features to place the keys by");
  const counts = new Float64Array(codebooks * pairs);
  const sums = Float64Array.from(keys);
  const turn = () => giveTurn(signal, "placing the keys");
  const queries = await queriesInTurns(bottleneck, features, turn);
  const row = codebooks * keyWidth;
  let number = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(features.count, seed, epoch);
    for (let at = 0; at < order.length; at += batch) {
      await turn();
      const chosen = order.subarray(at, at + batch);
      const some = new Float32Array(chosen.length * row);
      for (const [i, n] of chosen.entries()) some.set(queries.subarray(n * row, (n + 1) * row), i * row);
      const error = updateKeys(bottleneck, some, {
        counts,
        sums,
        decay,
        epsilon,
        threshold: (dead * batch) / pairs,
        seed,
        number: number++,
      });
      onBatch?.(error);
    }
  }
  bottleneck.usage.fill(0);
}

interface KeyUpdate {
  readonly counts: Float64Array;
  readonly sums: Float64Array;
  readonly decay: number;
  readonly epsilon: number;
  readonly threshold: number;
  readonly seed: number;
  readonly number: number;
}

function updateKeys(bottleneck: Bottleneck, queries: Float32Array, update: KeyUpdate): number {
  const { codebooks, pairs, keyWidth, keys } = bottleneck;
  const { counts, sums, decay, epsilon, threshold, seed, number } = update;
  const size = queries.length / (codebooks * keyWidth);
  const fetched = fetchPairs(bottleneck, queries);
  const newCounts = new Float64Array(codebooks * pairs);
  const newSums = new Float64Array(codebooks * pairs * keyWidth);
  let error = 0;
  for (let i = 0; i < size * codebooks; i++) {
    const pair = (i % codebooks) * pairs + fetched[i];
    newCounts[pair]++;
    for (let j = 0; j < keyWidth; j++) {
      const q = queries[i * keyWidth + j];
      newSums[pair * keyWidth + j] += q;
      error += (q - keys[pair * keyWidth + j]) ** 2;
    }
  }
  for (let c = 0; c < codebooks; c++) {
    let total = 0;
    for (let pair = c * pairs; pair < (c + 1) * pairs; pair++) {
      counts[pair] = decay * counts[pair] + (1 - decay) * newCounts[pair];
      total += counts[pair];
    }
    for (let pair = c * pairs; pair < (c + 1) * pairs; pair++) {
      const smoothed = ((counts[pair] + epsilon) / (total + pairs * epsilon)) * total;
      const sample =
        counts[pair] < threshold ? Math.floor(uniform({ seed, request: 2 }, number, "initialise", pair) * size) : -1;
      for (let j = 0; j < keyWidth; j++) {
        const at = pair * keyWidth + j;
        sums[at] = decay * sums[at] + (1 - decay) * newSums[at];
        keys[at] = sample < 0 ? sums[at] / smoothed : queries[(sample * codebooks + c) * keyWidth + j];
      }
    }
  }
  return error / (size * codebooks);
}

/** 0 … count - 1 in an order of the seed's. */
export function shuffled(count: number, seed: number, round: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(uniform({ seed, request: 3 }, i, "data", round) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
