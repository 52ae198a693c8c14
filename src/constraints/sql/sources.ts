/** FROM as goals: tables and subqueries that together bring every column asked for, each from one of them. */
import { lowerCase, oneOf, type TextState } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import type { Columns } from "./columns.ts";
import type { Expressions } from "./expressions.ts";
import { addSource, isBrought, type Query, queryWith, resultsOf, type Source, tablesBring, widthOf } from "./scope.ts";
import { act, choice, type Goals, mark, maybe, rule, set, word } from "./tokens.ts";
import * as words from "./words.ts";

const mostSources = 32;

export function createSources({ names, texts, nameOf, given }: Columns, { expression, subquery }: Expressions): Goals {
  const fitting = (query: Query, source: Source): boolean => {
    if (addSource(query, source, names)) return true;
    return futureNames(query).some((name) => addSource(query, { ...source, name }, names));
  };
  /** Names that some table still has to get, and one that nobody asks for. */
  const futureNames = ({ wanted, sources }: Query): string[] => [
    "\u0000",
    ...wanted.flatMap(({ of }) =>
      of !== undefined && !names.tables.has(of) && !sources.some((s) => s.name === of) ? [of] : [],
    ),
  ];
  const tableSource = (name: string): Source => {
    const columns = names.tables.get(name)!;
    return { name, columns, width: columns.length };
  };
  const tablesFor = (query: Query): readonly string[] => {
    const possible = [...names.tables.keys()].filter((name) => fitting(query, tableSource(name)));
    // Where tables as they are can bring what is wanted, they shall: otherwise only a subquery could.
    const direct = possible.filter((name) => {
      const source = tableSource(name);
      return [source, ...futureNames(query).map((other) => ({ ...source, name: other }))].some((one) => {
        const next = addSource(query, one, names);
        return next && tablesBring(next, names);
      });
    });
    return direct.length > 0 ? direct : possible;
  };
  const table: Goal<Query> = nameOf(tablesFor, (query, name) => queryWith(query, { pending: tableSource(name) }));
  const place = (query: Query, name: string | undefined): Query | undefined => {
    const { name: own, ...rest } = query.pending!;
    const called = name ?? own;
    return addSource(query, { ...rest, ...(called !== undefined && { name: called }) }, names);
  };
  /** Names that the source at hand may get: those that are waited for where they suit it, and others where it does not matter. */
  const sourceNames = (query: Query): TextState | undefined => {
    const [unheardOf, ...awaited] = futureNames(query);
    const suits = (name: string): boolean => place(query, name) !== undefined;
    if (!suits(unheardOf)) {
      const only = awaited.filter(suits);
      return texts(`only ${JSON.stringify(only)}`, () => oneOf(only, { ignoreCase: true }));
    }
    const others = awaited.filter((name) => !suits(name));
    const taken = [...names.tables.keys(), ...query.sources.flatMap(({ name }) => name ?? []), ...others];
    return texts(`source ${JSON.stringify(taken)}`, () => words.freshName(taken));
  };
  const sourceName: Token<Query> = {
    kind: "token",
    texts: sourceNames,
    read: (query, name) => place(query, lowerCase(name)),
    alike: given,
    begins: "word",
    ends: "word",
  };
  const placed: Goal<Query> = rule((query) => [
    [act((query) => place(query, undefined))],
    ...(sourceNames(query) ? [[maybe(word("as")), sourceName]] : []),
  ]);
  const derived: Goals = subquery((query) => {
    const { expected, stars, sources, wanted } = query;
    const left = expected !== undefined && stars.length > 0 ? expected - widthOf(sources) : undefined;
    if (left === 0) return undefined;
    const avoid = wanted.flatMap(({ of, columns: [name] }) =>
      of === undefined && spokenFor(query, name) ? [name] : [],
    );
    return { sees: false, avoid, ...(left !== undefined && { expected: left }) };
  });
  const spokenFor = ({ sources, wanted }: Query, column: string): boolean =>
    sources.some(({ columns }) => columns.includes(column)) ||
    wanted.some(
      ({ of, columns }) =>
        of !== undefined && !sources.some((s) => s.name === of) && (names.tables.get(of) ?? columns).includes(column),
    );
  const source: Goals = [choice([table], derived), placed];
  const moreSources: Goal<Query> = rule((query) => {
    const full =
      query.sources.length >= mostSources ||
      (query.expected !== undefined && query.stars.length > 0 && widthOf(query.sources) >= query.expected);
    return [
      ...(isBrought(query) ? [[]] : []),
      ...(full
        ? []
        : [
            [mark(","), ...source, moreSources],
            [join, ...source, maybe(...on), moreSources],
          ]),
    ];
  });
  const join: Goal<Query> = choice(
    [word("join")],
    [word("inner join")],
    [word("left join")],
    [word("left outer join")],
    [word("cross join")],
  );
  const on: Goals = [word("on"), set({ aggregates: false, lone: undefined }), expression];
  const from: Goals = [
    word("from"),
    set({ phase: "from", lone: undefined, aggregates: false }),
    ...source,
    moreSources,
    act((query) =>
      queryWith(query, { phase: "after", wanted: [], results: query.compound ? query.results : resultsOf(query) }),
    ),
  ];

  return from;
}
