/**
 * Nearest keys by squared Euclidean distance. Inner products come from one matrix product over all keys in float32; what they cannot tell apart is
 * computed again in float64, so that the result is exact, whatever else is searched for at the same time: nearest first, the lowest index
 * first among equals.
 */

import { ensure } from "../../errors.ts";
import { requireCounts } from "../../numbers.ts";
import { compile, type Program, valueMaker } from "../../runtime/program.ts";
import { input, linear, lower } from "../../tensor/index.ts";

/** What is searched: [entries, width], one at least, and the squared length of each key. */
export interface KeyTable {
  readonly entries: number;
  readonly width: number;
  readonly keys: Float32Array;
  readonly norms: Float32Array;
}

export interface Hits {
  /** Entries, nearest first. */
  readonly indices: Int32Array;
  /** Squared distances. */
  readonly distances: Float64Array;
}

export interface Search {
  /**
   * The k nearest of each query, fewer where there are fewer keys; `without[i]` is an entry that query i must not find (its own). Errors: `bad_shape`,
   * `runtime_failed` for a query that is not finite.
   */
  find(queries: Float32Array, k: number, without?: ArrayLike<number>): Promise<Hits[]>;
  close(): Promise<void>;
}

/** Numbers of all products at a time. */
export const mostProducts = 2 ** 24;
/** Entries that the selections of queries asked together have room for: a hundred megabytes. */
const mostKept = 2 ** 23;
/** Keys of a product at least, however many the queries are: enough for its overhead not to count. */
const fewestRows = 65536;

/** Errors: `bad_shape` and `runtime_failed` for a table that is none. */
export async function exactSearch(
  table: KeyTable,
  {
    threads,
  }: {
    /** Within a product. Default: all cores, at most 8. */
    threads?: number;
  } = {},
): Promise<Search> {
  requireTable(table);
  const { entries, width, keys, norms } = table;
  const program = await productProgram(width, threads);
  const value = await valueMaker();
  let longest = 0;
  for (let i = 0; i < entries; i++) if (norms[i] > longest) longest = norms[i];

  async function findSome(queries: Float32Array, k: number, without: ArrayLike<number> | undefined, first: number) {
    const count = queries.length / width;
    const asked = value("float32", queries, [count, width]);
    // As many keys as may be: between products the selection takes the caches, and a query by itself is a twelfth slower in sixteen than in one.
    const rows = Math.max(fewestRows, Math.floor(mostProducts / count));
    const selections = Array.from({ length: count }, (_, q) => createSelection(k, slackOf(queries, q, width, longest)));
    for (let from = 0; from < entries; from += rows) {
      const length = Math.min(rows, entries - from);
      const block = value("float32", keys.subarray(from * width, (from + length) * width), [length, width]);
      const products = (await program.run({ queries: asked, keys: block })).products.data as Float32Array;
      for (let q = 0; q < count; q++) {
        const own = products.subarray(q * length, (q + 1) * length);
        selections[q].take(own, norms, from, without?.[first + q] ?? -1);
      }
    }
    return selections.map((selection, q) =>
      nearestOf(table, queries.subarray(q * width, (q + 1) * width), selection.candidates(), k),
    );
  }

  return groupedSearch(table, program, findSome, Math.floor(mostProducts / Math.min(entries, fewestRows)));
}

/** Errors: `bad_shape` for keys or lengths that are not those of a table's entries; `runtime_failed` for lengths that are not finite, as those of such keys are. */
export function requireTable({ entries, width, keys, norms }: KeyTable): void {
  const whole = Number.isSafeInteger(entries) && entries >= 1 && Number.isSafeInteger(width) && width >= 1;
  ensure(whole, "bad_shape", `search: ${entries} entries of ${width} numbers are no table: there must be one at least`);
  ensure(
    keys.length === entries * width && norms.length === entries,
    "bad_shape",
    `search: ${entries} entries of ${width} numbers, but keys has ${keys.length} numbers and norms ${norms.length}`,
  );
  const broken = norms.findIndex((norm) => !Number.isFinite(norm));
  ensure(broken < 0, "runtime_failed", `search: key ${broken} has a length that is not finite`);
}

/** Products of queries [m, width] with keys [n, width]: [m, n]. */
export const productProgram = (width: number, threads?: number): Promise<Program> =>
  compile(
    lower({ products: linear(input("queries", ["m", width]), input("keys", ["n", width])) }, { parameters: "inputs" }),
    { threads },
  );

/** Finds the hits of some queries, of which the first is that with the number `first`; k is at most the number of entries. */
type FindSome = (
  queries: Float32Array,
  k: number,
  without: ArrayLike<number> | undefined,
  first: number,
) => Promise<Hits[]>;

/** A search whose program runs once at a time, with its queries checked, in groups of so many at most that memory holds what they select. */
export function groupedSearch(
  { entries, width }: KeyTable,
  program: Program,
  findSome: FindSome,
  mostTogether = Infinity,
): Search {
  async function find(queries: Float32Array, wanted: number, without?: ArrayLike<number>): Promise<Hits[]> {
    const k = Math.min(wanted, entries);
    const together = Math.max(1, Math.min(mostTogether, Math.floor(mostKept / roomOf(k))));
    const hits: Hits[] = [];
    for (let at = 0; at < queries.length / width; at += together) {
      hits.push(...(await findSome(queries.subarray(at * width, (at + together) * width), k, without, at)));
    }
    return hits;
  }
  let last: Promise<unknown> = Promise.resolve();
  return {
    find(queries, k, without) {
      ensure(
        queries.length % width === 0,
        "bad_shape",
        `search: queries of ${queries.length} numbers are not rows of ${width}`,
      );
      requireCounts({ "search: k": k });
      const rows = queries.length / width;
      ensure(
        !without || without.length === rows,
        "bad_shape",
        () => `search: ${rows} queries, but ${without!.length} entries that they must not find`,
      );
      const broken = queries.findIndex((x) => !Number.isFinite(x));
      ensure(
        broken < 0,
        "runtime_failed",
        () => `search: query ${Math.floor(broken / width)} has values that are not finite`,
      );
      const result = last.then(() => find(queries, k, without));
      last = result.catch(() => {});
      return result;
    },
    async close() {
      await last;
      await program.release();
    },
  };
}

/**
 * How far a distance |key|² - 2 q·key from float32 products can be off, twice: a sum of `width` products rounds by at most width · 2^-24 · |q| |key|,
 * and the stored squared length by 2^-24 of it.
 */
export function slackOf(queries: Float32Array, q: number, width: number, longest: number): number {
  let norm = 0;
  for (let j = q * width; j < (q + 1) * width; j++) norm += queries[j] * queries[j];
  return 2 * 2 ** -24 * (2 * (width + 2) * Math.sqrt(norm * longest) + longest);
}

/**
 * The k-th smallest of some numbers, from 1 on, which end in another order: Hoare's selection, a tenth of the time of sorting them. Equals are put
 * aside together, as there may be thousands; what is no number counts as one of them.
 */
export function kthSmallest(values: Float64Array, k: number): number {
  let [low, high] = [0, values.length - 1];
  for (;;) {
    const pivot = values[(low + high) >> 1];
    let [less, at, greater] = [low, low, high];
    while (at <= greater) {
      const value = values[at];
      if (value < pivot) {
        values[at++] = values[less];
        values[less++] = value;
      } else if (value > pivot) {
        values[at] = values[greater];
        values[greater--] = value;
      } else at++;
    }
    if (k <= less) high = less - 1;
    else if (k > greater + 1) low = greater + 1;
    else return pivot;
  }
}

/** Entries that a selection has room for. */
const roomOf = (k: number): number => 4 * k + 1024;

/** Keeps what may be among the k nearest: entries whose distance is within the slack of the k-th smallest so far. */
export function createSelection(k: number, slack: number) {
  const room = roomOf(k);
  const entries = new Int32Array(room);
  const distances = new Float64Array(room);
  let count = 0;
  let bound = Infinity;
  /** Lets go of what is certainly farther than k others. */
  function shrink(): void {
    if (count <= k) return;
    bound = kthSmallest(distances.slice(0, count), k) + slack;
    let left = 0;
    for (let i = 0; i < count; i++) {
      if (distances[i] > bound) continue;
      entries[left] = entries[i];
      distances[left++] = distances[i];
    }
    count = left;
  }
  /** Beyond the room there are equals by the thousand: the list grows instead of being cut. */
  let overflow: number[] | undefined;
  return {
    /** `products` belong to the entries from `from` on, or to those that `order` lists. */
    take(products: Float32Array, norms: Float32Array, from: number, without: number, order?: Int32Array): void {
      for (let i = 0; i < products.length; i++) {
        const distance = norms[from + i] - 2 * products[i];
        if (distance > bound) continue;
        const entry = order ? order[from + i] : from + i;
        if (entry === without) continue;
        if (count === room) shrink();
        if (count === room) {
          overflow ??= [];
          overflow.push(entry);
          continue;
        }
        entries[count] = entry;
        distances[count++] = distance;
      }
    },
    candidates(): Int32Array {
      shrink();
      const candidates = new Int32Array(count + (overflow?.length ?? 0));
      candidates.set(entries.subarray(0, count));
      if (overflow) candidates.set(overflow, count);
      return candidates;
    },
  };
}

/** The k nearest of some entries, by distances in float64. */
export function nearestOf({ keys, width }: KeyTable, query: Float32Array, candidates: Int32Array, k: number): Hits {
  const distances = Float64Array.from(candidates, (entry) => {
    let sum = 0;
    for (let j = 0, at = entry * width; j < width; j++, at++) {
      const difference = query[j] - keys[at];
      sum += difference * difference;
    }
    return sum;
  });
  const order = Array.from(candidates.keys()).sort(
    (a, b) => distances[a] - distances[b] || candidates[a] - candidates[b],
  );
  const chosen = order.slice(0, k);
  return {
    indices: Int32Array.from(chosen, (i) => candidates[i]),
    distances: Float64Array.from(chosen, (i) => distances[i]),
  };
}
