/**
 * An inverted file: keys in lists around centres (k-means), of which a search looks at the nearest few. Within those lists it is exact; what it
 * misses lies in other lists, and `recallOf` says how much that is.
 */
import { uniform } from "../../engine/random.ts";
import { ensure } from "../../errors.ts";
import { requireCounts } from "../../numbers.ts";
import { type OnnxValue, type Program, valueMaker } from "../../runtime/program.ts";
import {
  createSelection,
  exactSearch,
  groupedSearch,
  type Hits,
  type KeyTable,
  mostProducts,
  nearestOf,
  productProgram,
  requireTable,
  type Search,
  slackOf,
} from "./search.ts";

export interface InvertedOptions {
  /** Lists. Default: 4 √entries, rounded to a power of two below. */
  readonly lists?: number;
  /** Lists that a search looks at. */
  readonly probes: number;
  /** Of the first centres. Default 0. */
  readonly seed?: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
}

export interface InvertedSearch extends Search {
  readonly lists: number;
  /** Lists that a search looks at. */
  readonly probes: number;
}

const [iterations, samplesPerList] = [8, 48];
/** Keys whose nearest centre is looked for at a time. */
const together = 8192;

export const usualLists = (entries: number): number =>
  Math.max(1, Math.min(entries, 2 ** Math.floor(Math.log2(4 * Math.sqrt(entries)))));

/** Keeps a second copy of the keys, list by list. Errors: `bad_option` for more lists than keys or more probes than lists. */
export async function invertedSearch(table: KeyTable, options: InvertedOptions): Promise<InvertedSearch> {
  requireTable(table);
  const { entries, width } = table;
  const { lists = usualLists(entries), probes, seed = 0, threads } = options;
  requireCounts({ lists, probes });
  ensure(lists <= entries, "bad_option", `lists: ${lists} must lie in [1, ${entries}], the number of keys`);
  ensure(probes <= lists, "bad_option", `probes: ${probes} must lie in [1, ${lists}], the number of lists`);
  const program = await productProgram(width, threads);
  const centres = await findCentres(program, table, lists, seed);
  const { order, starts } = await listsOf(program, table, centres);
  const sorted = reordered(table, order);
  const nearestCentres = await exactSearch(centres, { threads });
  const value = await valueMaker();
  const inList = (list: number): OnnxValue =>
    value("float32", sorted.keys.subarray(starts[list] * width, starts[list + 1] * width), [
      starts[list + 1] - starts[list],
      width,
    ]);
  const prepared = new Map<number, OnnxValue>();
  let longest = 0;
  for (let i = 0; i < entries; i++) if (table.norms[i] > longest) longest = table.norms[i];

  async function findSome(queries: Float32Array, k: number, without: ArrayLike<number> | undefined, first: number) {
    const count = queries.length / width;
    const query = (q: number): Float32Array => queries.subarray(q * width, (q + 1) * width);
    const selections = Array.from({ length: count }, (_, q) => createSelection(k, slackOf(queries, q, width, longest)));
    const asking = new Map<number, number[]>();
    for (const [q, { indices }] of (await nearestCentres.find(queries, probes)).entries()) {
      for (const list of indices) {
        const askers = asking.get(list);
        if (askers) askers.push(q);
        else asking.set(list, [q]);
      }
    }
    for (const [list, askers] of asking) {
      const size = starts[list + 1] - starts[list];
      if (size === 0) continue;
      if (!prepared.has(list)) prepared.set(list, inList(list));
      const most = Math.max(1, Math.floor(mostProducts / size));
      for (let from = 0; from < askers.length; from += most) {
        const some = askers.slice(from, from + most);
        const asked = new Float32Array(some.length * width);
        for (const [i, q] of some.entries()) asked.set(query(q), i * width);
        const inputs = { queries: value("float32", asked, [some.length, width]), keys: prepared.get(list)! };
        const products = (await program.run(inputs)).products.data as Float32Array;
        for (const [i, q] of some.entries()) {
          const own = products.subarray(i * size, (i + 1) * size);
          selections[q].take(own, sorted.norms, starts[list], without?.[first + q] ?? -1, order);
        }
      }
    }
    return selections.map((selection, q): Hits => nearestOf(table, query(q), selection.candidates(), k));
  }

  const search = groupedSearch(table, program, findSome);
  return {
    lists,
    probes,
    find: search.find,
    async close() {
      await search.close();
      await nearestCentres.close();
    },
  };
}

/** Lloyd's k-means on a sample, begun from keys drawn by the seed; a centre without keys takes one at random. */
async function findCentres(
  program: Program,
  { entries, width, keys }: KeyTable,
  lists: number,
  seed: number,
): Promise<KeyTable> {
  const draw = (i: number, index = 0): number => Math.floor(uniform({ seed, request: 0 }, i, "data", index) * entries);
  const copy = (chosen: readonly number[]): Float32Array => {
    const result = new Float32Array(chosen.length * width);
    for (const [i, entry] of chosen.entries()) result.set(keys.subarray(entry * width, (entry + 1) * width), i * width);
    return result;
  };
  const count = Math.min(entries, lists * samplesPerList);
  const sample = count === entries ? keys : copy(Array.from({ length: count }, (_, i) => draw(i)));
  const centres = copy(Array.from({ length: lists }, (_, i) => draw(i, 1)));
  for (let iteration = 0; iteration < iterations; iteration++) {
    const assigned = await assign(program, sample, width, centres);
    const sums = new Float64Array(lists * width);
    const sizes = new Int32Array(lists);
    for (let i = 0; i < count; i++) {
      sizes[assigned[i]]++;
      for (let j = 0; j < width; j++) sums[assigned[i] * width + j] += sample[i * width + j];
    }
    for (let list = 0; list < lists; list++) {
      const from = draw(list, 2 + iteration) * width;
      for (let j = 0; j < width; j++) {
        centres[list * width + j] = sizes[list] > 0 ? sums[list * width + j] / sizes[list] : keys[from + j];
      }
    }
  }
  return { entries: lists, width, keys: centres, norms: squares(centres, width) };
}

const squares = (keys: Float32Array, width: number): Float32Array => {
  const norms = new Float32Array(keys.length / width);
  for (let i = 0; i < keys.length; i++) norms[Math.floor(i / width)] += keys[i] * keys[i];
  return norms;
};

/** The nearest centre of each key. */
async function assign(program: Program, keys: Float32Array, width: number, centres: Float32Array): Promise<Int32Array> {
  const value = await valueMaker();
  const lists = centres.length / width;
  const norms = squares(centres, width);
  const fixed = value("float32", centres, [lists, width]);
  const assigned = new Int32Array(keys.length / width);
  for (let at = 0; at < assigned.length; at += together) {
    const some = keys.subarray(at * width, (at + together) * width);
    const count = some.length / width;
    const { products } = await program.run({ queries: value("float32", some, [count, width]), keys: fixed });
    const data = products.data as Float32Array;
    for (let i = 0; i < count; i++) {
      let [best, nearest] = [Infinity, 0];
      for (let list = 0; list < lists; list++) {
        const distance = norms[list] - 2 * data[i * lists + list];
        if (distance < best) [best, nearest] = [distance, list];
      }
      assigned[at + i] = nearest;
    }
  }
  return assigned;
}

/** Entries list by list, and where each list begins. */
async function listsOf(program: Program, { entries, width, keys }: KeyTable, centres: KeyTable) {
  const assigned = await assign(program, keys, width, centres.keys);
  const starts = new Int32Array(centres.entries + 1);
  for (const list of assigned) starts[list + 1]++;
  for (let list = 0; list < centres.entries; list++) starts[list + 1] += starts[list];
  const next = starts.slice();
  const order = new Int32Array(entries);
  for (let entry = 0; entry < entries; entry++) order[next[assigned[entry]]++] = entry;
  return { order, starts };
}

function reordered({ entries, width, keys, norms }: KeyTable, order: Int32Array): KeyTable {
  const sorted = { entries, width, keys: new Float32Array(entries * width), norms: new Float32Array(entries) };
  for (let i = 0; i < entries; i++) {
    sorted.keys.set(keys.subarray(order[i] * width, (order[i] + 1) * width), i * width);
    sorted.norms[i] = norms[order[i]];
  }
  return sorted;
}

/** The share of the true k nearest that a search finds, over queries. Errors: `bad_shape` for hits of other queries, or of none. */
export function recallOf(exact: readonly Hits[], found: readonly Hits[]): number {
  ensure(
    exact.length > 0 && exact.length === found.length,
    "bad_shape",
    `recall: the exact search has hits of ${exact.length} queries, the other of ${found.length}: give those of the same, one at least`,
  );
  let [hit, all] = [0, 0];
  for (const [q, { indices }] of exact.entries()) {
    const has = new Set(found[q].indices);
    for (const entry of indices) if (has.has(entry)) hit++;
    all += indices.length;
  }
  return hit / all;
}

/** Keys that are looked for, spread over the table. */
const sampled = 256;

/** What a search finds of the true nearest of keys of its own table, each without itself. */
export async function recallWithin(table: KeyTable, search: Search, k: number, threads?: number): Promise<number> {
  const { entries, width, keys } = table;
  const count = Math.min(entries, sampled);
  const own = Int32Array.from({ length: count }, (_, i) => Math.floor((i * entries) / count));
  const queries = new Float32Array(count * width);
  for (const [i, entry] of own.entries()) queries.set(keys.subarray(entry * width, (entry + 1) * width), i * width);
  const exact = await exactSearch(table, { threads });
  try {
    return recallOf(await exact.find(queries, k, own), await search.find(queries, k, own));
  } finally {
    await exact.close();
  }
}

/** One in so many queries is looked for exactly too. */
const checkedOneIn = 8;

/** A search that finds what another finds, and measures on some of the queries how much of the truth that is. */
export function measuredSearch(search: Search, exact: Search, width: number) {
  let [asked, checked, hit] = [0, 0, 0];
  return {
    async find(queries: Float32Array, k: number, without?: ArrayLike<number>): Promise<Hits[]> {
      const found = await search.find(queries, k, without);
      const rows = [...found.keys()].filter((row) => (asked + row) % checkedOneIn === 0);
      asked += found.length;
      if (rows.length === 0) return found;
      const some = new Float32Array(rows.length * width);
      for (const [i, row] of rows.entries()) some.set(queries.subarray(row * width, (row + 1) * width), i * width);
      const truth = await exact.find(some, k, without && rows.map((row) => without[row]));
      hit +=
        rows.length *
        recallOf(
          truth,
          rows.map((row) => found[row]),
        );
      checked += rows.length;
      return found;
    },
    /** The share of the true nearest that was found, over so many queries. */
    measured: () => ({ recall: hit / checked, checked }),
  };
}
