/**
 * What names mean in a query while it is read from left to right. Columns come before the tables that have them, so a query keeps what
 * its FROM still has to bring; a name is only let in where FROM can bring it. All names here are in lower case.
 */
export interface Source {
  /** Undefined for a subquery without a name. */
  readonly name?: string;
  readonly columns: readonly string[];
  /** Columns of the result, those without a name among them. */
  readonly width: number;
}

/** Columns that FROM has to bring. `optional`: a query around this one has them, too. */
export interface Wanted {
  /** Of the table that is called so; undefined: of exactly one table, whichever. */
  readonly of?: string;
  readonly columns: readonly string[];
  readonly optional: boolean;
}

export interface Output {
  readonly name?: string;
  /** Whether it was named by AS. */
  readonly alias: boolean;
  readonly aggregate: boolean;
}

export interface Query {
  /** The query around this one, which goes on after it. */
  readonly parent?: Query;
  /** Whether names of the query around this one may be used. */
  readonly sees: boolean;
  readonly phase: "before" | "from" | "after";
  readonly sources: readonly Source[];
  readonly wanted: readonly Wanted[];
  readonly outputs: readonly Output[];
  /** `*` and the tables of `t.*`. */
  readonly stars: readonly string[];
  /** How many columns the result must have. */
  readonly expected?: number;
  readonly mayStar: boolean;
  /** Names that its result must not have. */
  readonly avoid: readonly string[];
  /** Part of UNION and the like: then what is sorted by are results. */
  readonly compound: boolean;
  readonly distinct: boolean;
  readonly grouped: boolean;
  /** Whether aggregates may stand here, and whether one has come in this clause. */
  readonly aggregates: boolean;
  readonly aggregated: boolean;
  /** Within an aggregate's brackets. */
  readonly within: boolean;
  /** Some result is an aggregate. */
  readonly total: boolean;
  /** The one column that an expression has been so far, "" before it begins; undefined for anything else. */
  readonly lone?: string;
  /** A qualifier that was read, and the source that is waiting for its name. */
  readonly qualifier?: string;
  readonly pending?: Source;
  readonly results: readonly string[];
}

export interface Names {
  /** Columns by table. */
  readonly tables: ReadonlyMap<string, readonly string[]>;
  readonly columns: readonly string[];
}

export const queryWith = (base: Query, change: Partial<Query>): Query => ({ ...base, ...change });

const keys = new WeakMap<object, string>();
const remember = <Of extends object>(of: Of, make: (of: Of) => string): string => {
  let key = keys.get(of);
  if (key === undefined) {
    key = make(of);
    keys.set(of, key);
  }
  return key;
};
const listKey = (list: readonly object[]): string => remember(list, (all) => JSON.stringify(all));

/** Equal for queries that go on alike. */
export const queryKey = (query: Query): string =>
  remember(query, ({ parent, sources, wanted, outputs, pending, ...own }) => {
    const lists = [sources, wanted, outputs].map(listKey).join();
    return `${JSON.stringify(own)}${lists}${pending ? listKey([pending]) : ""}<${parent ? queryKey(parent) : ""}`;
  });

const namesIn = new WeakMap<Query, ReadonlySet<string>>();

/** Whether a query, or one around it, has met a name: all others are the same to it. */
export function hasMet(query: Query, name: string): boolean {
  let met = namesIn.get(query);
  if (!met) {
    met = new Set(Array.from(queryKey(query).matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, one]) => one));
    namesIn.set(query, met);
  }
  return met.has(name);
}

const nothingYet = {
  phase: "before",
  sources: [],
  wanted: [],
  outputs: [],
  stars: [],
  mayStar: true,
  avoid: [],
  compound: false,
  distinct: false,
  grouped: false,
  aggregates: true,
  aggregated: false,
  within: false,
  total: false,
  results: [],
} as const;

export const beginQuery = (parent: Query | undefined, change: Partial<Query>): Query => ({
  ...nothingYet,
  sees: false,
  ...(parent && { parent }),
  ...change,
});

/** The next part of a compound query. */
export const nextPart = ({ parent, sees, results, expected, avoid }: Query): Query =>
  beginQuery(parent, { sees, results, expected: expected ?? results.length, avoid, compound: true });

const count = <Item>(list: readonly Item[], test: (item: Item) => boolean): number =>
  list.reduce((sum, item) => (test(item) ? sum + 1 : sum), 0);

/** Whether a name without qualifier means one column in a query whose FROM is over, or in those around it. */
export function resolves(query: Query, column: string): boolean {
  const own = count(query.sources, ({ columns }) => columns.includes(column));
  if (own > 0) return own === 1;
  return query.sees && !query.within && query.parent !== undefined && resolves(query.parent, column);
}

export const outerResolves = ({ sees, within, parent }: Query, column: string): boolean =>
  sees && !within && parent !== undefined && resolves(parent, column);

export function sourceOf(query: Query, name: string): Source | undefined {
  return query.sources.find((source) => source.name === name) ?? outerSource(query, name);
}

export const outerSource = ({ sees, within, parent }: Query, name: string): Source | undefined =>
  sees && !within && parent ? sourceOf(parent, name) : undefined;

/** Columns that a wanted table is sure to have: a table of the schema comes as it is. */
const columnsOf = ({ of, columns }: Wanted, { tables }: Names): readonly string[] => tables.get(of!) ?? columns;

/** Whether FROM can still bring what is wanted: no column without qualifier may come from two tables. */
export function canBring({ sources, wanted }: Query, names: Names): boolean {
  const tables = wanted.filter(({ of }) => of !== undefined);
  return wanted.every(({ of, columns: [column] }) => {
    if (of !== undefined) return true;
    const missing = tables.filter((one) => !sources.some(({ name }) => name === one.of));
    return (
      count(sources, ({ columns }) => columns.includes(column)) +
        count(missing, (one) => !one.optional && columnsOf(one, names).includes(column)) <=
      1
    );
  });
}

/** Whether tables of the schema alone can bring it, each column from one place. */
export function tablesBring(query: Query, names: Names): boolean {
  const { sources, wanted } = query;
  const plain = wanted
    .filter(({ of, optional }) => of === undefined && !optional)
    .map(({ columns: [column] }) => column);
  const missing = wanted.filter(
    ({ of, optional }) => of !== undefined && !optional && !sources.some((s) => s.name === of),
  );
  const all = [...names.tables.values()];
  let steps = 0;
  const cover = (have: readonly (readonly string[])[], next: number): boolean => {
    steps += 1;
    if (steps > 2_000) return true;
    if (plain.some((column) => count(have, (columns) => columns.includes(column)) > 1)) return false;
    const table = missing[next];
    if (table) {
      const own = names.tables.get(table.of!);
      const fitting = own ? [own] : all.filter((columns) => table.columns.every((column) => columns.includes(column)));
      return fitting.some((columns) => cover([...have, columns], next + 1));
    }
    const left = plain.find((column) => !have.some((columns) => columns.includes(column)));
    if (left === undefined) return true;
    return all.some((columns) => columns.includes(left) && cover([...have, columns], next));
  };
  return cover(
    sources.map(({ columns }) => columns),
    0,
  );
}

/** With one more thing wanted; undefined where FROM could not bring it all. */
export function want(query: Query, { of, columns, optional }: Wanted, names: Names): Query | undefined {
  const old = query.wanted.find((one) => one.of === of && (of !== undefined || one.columns[0] === columns[0]));
  const all = old ? [...new Set([...old.columns, ...columns])].sort() : columns;
  const joined: Wanted = {
    ...(of !== undefined && { of }),
    columns: all,
    optional: optional && (old?.optional ?? true),
  };
  if (of !== undefined && !fits(of, all, query, names)) return undefined;
  const rest = query.wanted.filter((one) => one !== old);
  const wanted = [...rest, joined].sort((a, b) => (wantedKey(a) < wantedKey(b) ? -1 : 1));
  const next = queryWith(query, { wanted });
  return canBring(next, names) ? next : undefined;
}
const wantedKey = ({ of, columns }: Wanted): string => `${of ?? ""} ${of === undefined ? columns : ""}`;

function fits(of: string, columns: readonly string[], query: Query, { tables }: Names): boolean {
  const lists = tables.has(of)
    ? [tables.get(of)!]
    : [...tables.values(), ...(outerSource(query, of) ? [outerSource(query, of)!.columns] : [])];
  return lists.some((list) => columns.every((column) => list.includes(column)));
}

/** With one more source in FROM; undefined where its name is taken or where it does not fit what is wanted. */
export function addSource(query: Query, source: Source, names: Names): Query | undefined {
  const { sources, expected, stars } = query;
  if (source.name !== undefined) {
    if (sources.some(({ name }) => name === source.name)) return undefined;
    const asked = query.wanted.find(({ of }) => of === source.name);
    if (asked && !asked.columns.every((column) => source.columns.includes(column))) return undefined;
  }
  if (expected !== undefined && stars.length > 0 && widthOf(sources) + source.width > expected) return undefined;
  const next = queryWith(query, { sources: [...sources, source], pending: undefined });
  return canBring(next, names) ? next : undefined;
}

export const widthOf = (sources: readonly Source[]): number => sources.reduce((sum, { width }) => sum + width, 0);

/** Whether FROM may end. */
export function isBrought(query: Query): boolean {
  const { sources, wanted, stars, expected } = query;
  if (sources.length === 0) return false;
  if (expected !== undefined && stars.length > 0 && widthOf(sources) !== expected) return false;
  return wanted.every(({ of, columns: [column], optional }) => {
    if (of !== undefined) return optional || sources.some(({ name }) => name === of);
    return optional || sources.some(({ columns }) => columns.includes(column));
  });
}

/** Names of the results once FROM is over; "" for one that has none. */
export function resultsOf({ outputs, stars, sources }: Query): string[] {
  const starred = stars.flatMap((star) =>
    sources
      .filter(({ name }) => star === "*" || name === star)
      .flatMap(({ columns, width }) => [...columns, ...Array.from({ length: width - columns.length }, () => "")]),
  );
  return [...outputs.map(({ name }) => name ?? ""), ...starred];
}
