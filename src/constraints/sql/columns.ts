/** Names of columns and tables as goals: which may be written, and what reading one does to a query. */
import { lowerCase, oneOf, type TextState } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import type { Table } from "./schema.ts";
import {
  hasMet,
  type Names,
  outerResolves,
  outerSource,
  type Query,
  queryWith,
  resolves,
  type Source,
  sourceOf,
  want,
} from "./scope.ts";
import { act, choice, type Goals, mark, rule } from "./tokens.ts";
import * as words from "./words.ts";

/** Stands for a name that nothing has. */
const unheardOf = "\0";

export type Columns = ReturnType<typeof createColumns>;

export function createColumns(tables: readonly Table[]) {
  const names: Names = {
    tables: new Map(tables.map(({ name, columns }) => [lowerCase(name), columns.map(lowerCase)] as const)),
    columns: [...new Set(tables.flatMap(({ columns }) => columns.map(lowerCase)))],
  };
  const automata = new Map<string, TextState | undefined>();
  const texts = (key: string, make: () => TextState | undefined): TextState | undefined => {
    if (!automata.has(key)) {
      if (automata.size > 5_000) automata.clear();
      automata.set(key, make());
    }
    return automata.get(key);
  };
  const formsOf = (list: readonly string[], quoted: boolean): TextState | undefined =>
    texts(`${quoted} ${JSON.stringify(list)}`, () =>
      oneOf(quoted ? list.flatMap(words.quotedForms) : list.filter(words.isPlain), { ignoreCase: true }),
    );
  /** A name out of a list, with or without quotes. */
  const nameOf = (
    list: (query: Query) => readonly string[],
    read: (query: Query, name: string) => Query | undefined,
    begins = "word",
  ): Goal<Query> => {
    const way = (quoted: boolean): Token<Query> => ({
      kind: "token",
      texts: (query) => formsOf(list(query), quoted),
      read: (query, text) => read(query, words.unquoted(text)),
      begins,
      ends: "word",
    });
    const ways = [[way(false)], [way(true)]];
    return rule(() => ways);
  };
  /**
   * Names that are given freely: but for those of the schema, and those that the query has met, they all change the same. A second name is
   * no nearer than three bytes behind one (".a,").
   */
  const given = {
    key: (query: Query, text: string): string => {
      const name = lowerCase(text);
      return names.tables.has(name) || ofSchema.has(name) || hasMet(query, name) ? name : "";
    },
    reach: 2,
  };
  const ofSchema = new Set(names.columns);
  const seesLone: Goal<Query> = act((query) =>
    query.lone === undefined ? query : queryWith(query, { lone: undefined }),
  );
  const withColumn = (query: Query, column: string): Query =>
    query.lone === ""
      ? queryWith(query, { lone: column, qualifier: undefined })
      : queryWith(query, { lone: undefined, qualifier: undefined });

  function plainColumn(query: Query, column: string): Query | undefined {
    const done = withColumn(query, column);
    if (query.phase === "after") return resolves(query, column) ? done : undefined;
    if (query.phase === "from" && !query.sources.some(({ columns }) => columns.includes(column))) return undefined;
    const optional = query.phase === "before" && outerResolves(query, column);
    return want(done, { columns: [column], optional }, names);
  }
  const plainColumns = (query: Query): readonly string[] => {
    const list =
      query.phase === "before" ? names.columns : [...new Set(chain(query).flatMap(({ columns }) => columns))];
    return list.filter((column) => plainColumn(query, column));
  };
  /** Sources that can be seen. */
  const chain = (query: Query): readonly Source[] =>
    query.sees && !query.within && query.parent ? [...query.sources, ...chain(query.parent)] : query.sources;

  function qualifiedColumn(query: Query, column: string): Query | undefined {
    const name = query.qualifier!;
    const done = withColumn(query, column);
    if (query.phase !== "before") return sourceOf(query, name)?.columns.includes(column) ? done : undefined;
    const optional = outerSource(query, name)?.columns.includes(column) ?? false;
    return want(done, { of: name, columns: [column], optional }, names);
  }
  const qualifiedColumns = (query: Query): readonly string[] => {
    const own =
      query.phase === "before"
        ? (names.tables.get(query.qualifier!) ?? names.columns)
        : sourceOf(query, query.qualifier!)!.columns;
    return own.filter((column) => qualifiedColumn(query, column));
  };
  const qualify = (query: Query, qualifier: string): Query | undefined => {
    const next = queryWith(query, { qualifier });
    return qualifiedColumns(next).length > 0 ? next : undefined;
  };
  const qualifiers = (query: Query): readonly string[] => {
    const known =
      query.phase === "before"
        ? [
            ...names.tables.keys(),
            ...query.wanted.flatMap(({ of }) => of ?? []),
            ...chain(query).flatMap(({ name }) => name ?? []),
          ]
        : chain(query).flatMap(({ name }) => name ?? []);
    return [...new Set(known)].filter((name) => qualify(query, name));
  };
  const afterQualifier: Goals = [mark("."), nameOf(qualifiedColumns, qualifiedColumn)];
  /** A name that FROM will give to a table. */
  const futureName: Token<Query> = {
    kind: "token",
    // To a table that is not named yet all names are the same: where one would not do, none begins.
    texts: (query) =>
      query.phase === "before" && qualify(query, unheardOf)
        ? texts("future", () => words.freshName([...names.tables.keys()]))
        : undefined,
    read: (query, name) => qualify(query, lowerCase(name)),
    alike: given,
    begins: "word",
    ends: "word",
  };
  const column: Goal<Query> = choice(
    [nameOf(plainColumns, plainColumn)],
    [nameOf(qualifiers, qualify), ...afterQualifier],
    [futureName, ...afterQualifier],
  );

  return { names, texts, nameOf, given, seesLone, column, futureName };
}
