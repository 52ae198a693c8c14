/** SELECT statements as goals (`goals.ts`): the grammar of SQL, with acts that keep account of names (`scope.ts`). */
import { lowerCase, oneOf, type TextState } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import type { Table } from "./schema.ts";
import {
  addSource,
  beginQuery,
  isBrought,
  type Names,
  nextPart,
  outerResolves,
  outerSource,
  type Query,
  queryWith,
  resolves,
  resultsOf,
  type Source,
  sourceOf,
  tablesBring,
  want,
  widthOf,
} from "./scope.ts";
import * as words from "./words.ts";

type Goals = readonly Goal<Query>[];

const mostSources = 32;
const mostNested = 100;
const token = (texts: TextState, begins: string, ends = begins): Token<Query> => ({
  kind: "token",
  texts: () => texts,
  begins,
  ends,
});
const act = (act: (query: Query) => Query | undefined): Goal<Query> => ({ kind: "act", act });
const rule = (expand: (query: Query) => readonly Goals[]): Goal<Query> => ({ kind: "rule", expand });
const set = (change: Partial<Query>): Goal<Query> => act((query) => queryWith(query, change));
const kept = new Map<string, Token<Query>>();
const remembered = (key: string, make: () => Token<Query>): Token<Query> => {
  const known = kept.get(key) ?? make();
  kept.set(key, known);
  return known;
};
/** A keyword, or several in order. */
const word = (text: string): Token<Query> =>
  remembered(`word ${text}`, () =>
    token(words.keyword(text), "word", text === "in" || text === "exists" ? "word" : "keyword"),
  );
const markKinds: Readonly<Record<string, string>> = {
  "-": "minus",
  ".": "dot",
  "(": "open",
  ",": "close",
  ";": "close",
};
const mark = (...texts: string[]): Token<Query> =>
  remembered(`mark ${texts}`, () => token(words.mark(...texts), markKinds[texts[0]] ?? "mark"));
const closing: Token<Query> = token(words.mark(")"), "close", "word");

/** What may stand between two tokens. */
export function between(ends: string, begins: string): TextState | undefined {
  if (ends === "dot" || begins === "dot") return undefined;
  if (ends === "") return undefined;
  // SQLite would take less after a keyword; not everybody does.
  const apart =
    (ends === "keyword" && begins !== "" && begins !== "close") ||
    (ends === "word" && begins === "word") ||
    (ends === "minus" && begins === "minus");
  return apart ? words.someBlanks : words.blanks;
}

/** The goals of one statement. */
export function selectStatement(tables: readonly Table[]): Goals {
  const written = new Map<string, readonly string[]>();
  for (const { name, columns } of tables) for (const one of [name, ...columns]) written.set(lowerCase(one), [one]);
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
  const several = (item: Goal<Query>): Goals => {
    const more: Goal<Query> = rule(() => [[], [mark(","), item, more]]);
    return [item, more];
  };
  const choice = (...ways: readonly Goals[]): Goal<Query> => rule(() => ways);
  const maybe = (...goals: Goals): Goal<Query> => rule(() => [[], goals]);

  // Columns.
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
    texts: ({ phase }) =>
      phase === "before" ? texts("future", () => words.freshName([...names.tables.keys()])) : undefined,
    read: (query, name) => qualify(query, lowerCase(name)),
    begins: "word",
    ends: "word",
  };
  const column: Goal<Query> = choice(
    [nameOf(plainColumns, plainColumn)],
    [nameOf(qualifiers, qualify), ...afterQualifier],
    [futureName, ...afterQualifier],
  );

  // Expressions. Their precedence does not matter to which texts are valid.
  const literalText: Goal<Query> = choice(
    [token(words.text, "word")],
    [
      {
        kind: "token",
        texts: (query) => {
          const taken = [...names.columns, ...aliasesOf(query)];
          return texts(`text ${JSON.stringify(taken)}`, () => words.doubleText(taken));
        },
        begins: "word",
        ends: "word",
      },
    ],
  );
  const aliasesOf = ({ outputs, sources, parent }: Query): string[] => [
    ...outputs.flatMap(({ name }) => name ?? []),
    ...sources.flatMap(({ columns }) => columns),
    ...(parent ? aliasesOf(parent) : []),
  ];
  const literal: Goal<Query> = choice(
    [token(words.number, "word")],
    [mark("-"), token(words.number, "word")],
    [literalText],
  );
  const expression: Goal<Query> = rule(() => [[term, furtherTerms]]);
  const furtherTerms: Goal<Query> = rule(() => [
    [],
    [choice([word("and")], [word("or")]), seesLone, term, furtherTerms],
  ]);
  const subquery = (change: (query: Query) => Partial<Query> | undefined): Goals => [
    mark("("),
    act((query) => {
      const own = change(query);
      return own && depthOf(query) < mostNested ? beginQuery(query, own) : undefined;
    }),
    rule(() => [query]),
    act(
      ({ parent, results }) =>
        parent &&
        queryWith(parent, { pending: { columns: results.filter((name) => name !== ""), width: results.length } }),
    ),
    closing,
  ];
  /** A subquery whose result is compared; it sees this query once FROM is over. */
  const inner = (expected?: number): Goals => [
    ...subquery(({ phase, within }) => ({
      sees: phase === "after" && !within,
      ...(expected !== undefined && { expected, mayStar: false }),
    })),
    set({ pending: undefined }),
  ];
  const term: Goal<Query> = rule(() => [
    [word("not"), seesLone, term],
    [word("exists"), seesLone, ...inner()],
    [sum, comparison],
  ]);
  const negation: Goal<Query> = maybe(word("not"));
  const comparison: Goal<Query> = rule(() => [
    [],
    [mark("=", "<", ">", "<=", ">=", "!=", "<>"), seesLone, sum],
    [word("is"), seesLone, negation, word("null")],
    [negation, word("like"), seesLone, choice([literalText], [column])],
    [negation, word("between"), seesLone, sum, word("and"), sum],
    [negation, word("in"), seesLone, choice(inner(1), [mark("("), ...several(literal), closing])],
  ]);
  const sum: Goal<Query> = rule(() => [[unary, furtherOperands]]);
  const furtherOperands: Goal<Query> = rule(() => [
    [],
    [choice([mark("+")], [mark("-")], [mark("*")], [mark("/")], [mark("||")]), seesLone, primary, furtherOperands],
  ]);
  const unary: Goal<Query> = rule(() => [[mark("-"), seesLone, primary], [primary]]);
  const aggregate: Goals = [
    act((query) =>
      query.aggregates
        ? queryWith(query, { lone: undefined, aggregates: false, aggregated: true, within: true })
        : undefined,
    ),
    choice(
      [token(oneOf(["count"], { ignoreCase: true })!, "word", "name of function"), mark("("), mark("*"), closing],
      [
        token(oneOf(words.aggregates, { ignoreCase: true })!, "word", "name of function"),
        mark("("),
        maybe(word("distinct")),
        rule(() => [[sum]]),
        closing,
      ],
    ),
    set({ aggregates: true, within: false }),
  ];
  const call: Goal<Query> = choice(
    ...words.functions.map(([name, least, most]): Goals => {
      let rest: Goals = [];
      for (let i = most; i > 1; i--)
        rest =
          i > least
            ? [
                maybe(
                  mark(","),
                  rule(() => [[sum]]),
                  ...rest,
                ),
              ]
            : [mark(","), rule(() => [[sum]]), ...rest];
      return [
        token(oneOf([name], { ignoreCase: true })!, "word", "name of function"),
        seesLone,
        mark("("),
        rule(() => [[sum]]),
        ...rest,
        closing,
      ];
    }),
  );
  const alias: Goal<Query> = nameOf(
    ({ outputs, sources, phase, within, aggregates }) => {
      // A column of that name comes first, and must then be the only one.
      const isClear = (name: string) => sources.filter(({ columns }) => columns.includes(name)).length <= 1;
      return phase !== "after" || within
        ? []
        : outputs.flatMap((o) =>
            o.alias && o.name && (aggregates || !o.aggregate) && isClear(o.name) ? [o.name] : [],
          );
    },
    (query) => queryWith(query, { lone: undefined }),
  );
  const cases: Goals = [
    word("case"),
    seesLone,
    rule(() => [[expression]]),
    word("then"),
    rule(() => [[sum]]),
    maybe(
      word("else"),
      rule(() => [[sum]]),
    ),
    word("end"),
  ];
  const caseWhen: Goals = [cases[0], word("when"), ...cases.slice(1)];
  const operand: readonly Goals[] = [[column], aggregate, [call], [alias]];
  const primary: Goal<Query> = rule(() => [
    ...operand,
    [seesLone, literal],
    [word("null"), seesLone],
    caseWhen,
    [mark("("), rule(() => [[expression]]), closing],
    [...inner(1), seesLone],
  ]);

  // The parts of a query.
  const result: Goals = [
    set({ lone: "", aggregated: false }),
    expression,
    rule(({ avoid }) => [...(avoid.length > 0 ? [] : [[endResult]]), [word("as"), named]]),
  ];
  const output = (query: Query, name: string | undefined, isAlias: boolean): Query =>
    queryWith(query, {
      outputs: [...query.outputs, { ...(name && { name }), alias: isAlias, aggregate: query.aggregated }],
      total: query.total || query.aggregated,
      aggregated: false,
      lone: undefined,
    });
  const endResult: Goal<Query> = act((query) => output(query, query.lone, false));
  const named: Token<Query> = {
    kind: "token",
    texts: ({ avoid }) => texts(`result ${avoid}`, () => words.freshName(avoid)),
    read: (query, name) => output(query, lowerCase(name), true),
    begins: "word",
    ends: "word",
  };
  const star = (query: Query, of: string): Query | undefined =>
    of === "*" ? queryWith(query, { stars: [...query.stars, of], qualifier: undefined }) : starOf(query, of);
  function starOf(query: Query, of: string): Query | undefined {
    const wanted = want(query, { of, columns: [], optional: false }, names);
    return wanted && queryWith(wanted, { stars: [...query.stars, of], qualifier: undefined });
  }
  const starred = ({ mayStar, avoid, expected, outputs }: Query): boolean =>
    mayStar && avoid.length === 0 && (expected === undefined || outputs.length === 0);
  const results: Goal<Query> = rule((query) => {
    const { expected, outputs } = query;
    const ways: Goals[] = [];
    if (expected === undefined || outputs.length < expected) ways.push([...result, furtherResults]);
    if (starred(query)) ways.push([mark("*"), act((q) => star(q, "*")), furtherResults]);
    if (starred(query) && expected === undefined) {
      const after: Goals = [mark("."), mark("*"), act((q) => star(q, q.qualifier!)), furtherResults];
      const starName = (q: Query, name: string): Query | undefined =>
        starOf(q, name) && queryWith(q, { qualifier: name });
      ways.push([
        nameOf(
          (q) =>
            [...names.tables.keys(), ...q.wanted.flatMap(({ of }) => of ?? [])].filter((name) => starName(q, name)),
          starName,
        ),
        ...after,
      ]);
      ways.push([{ ...futureName, read: (q, name) => starName(q, lowerCase(name)) }, ...after]);
    }
    return ways;
  });
  const furtherResults: Goal<Query> = rule(({ expected, outputs, stars }) => {
    const enough = expected === undefined || stars.length > 0 || outputs.length === expected;
    const more = expected === undefined || (stars.length === 0 && outputs.length < expected);
    return [...(enough ? [[]] : []), ...(more ? [[mark(","), results]] : [])];
  });

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
  const sourceName: Token<Query> = {
    kind: "token",
    texts: ({ sources }) => {
      const taken = [...names.tables.keys(), ...sources.flatMap(({ name }) => name ?? [])];
      return texts(`source ${JSON.stringify(taken)}`, () => words.freshName(taken));
    },
    read: (query, name) => place(query, lowerCase(name)),
    begins: "word",
    ends: "word",
  };
  const placed: Goal<Query> = rule(() => [[act((query) => place(query, undefined))], [maybe(word("as")), sourceName]]);
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
  const sortable: Goal<Query> = rule(() => operand);
  const sortTerm: Goals = [sortable, furtherOperands];
  const grouping: Goals = [
    word("group by"),
    set({ aggregates: false }),
    ...several(rule(() => [sortTerm])),
    set({ grouped: true }),
    maybe(word("having"), set({ aggregates: true }), expression),
  ];
  const part: Goals = [
    word("select"),
    maybe(word("distinct")),
    results,
    ...from,
    maybe(word("where"), set({ aggregates: false }), expression),
    maybe(...grouping),
  ];
  const furtherParts: Goal<Query> = rule((query) => [
    [],
    ...(query.results.length > 0
      ? [
          [
            choice([word("union")], [word("union all")], [word("intersect")], [word("except")]),
            act(nextPart),
            ...part,
            furtherParts,
          ],
        ]
      : []),
  ]);
  const direction: Goal<Query> = choice([], [word("asc")], [word("desc")]);
  const resultNumber: Token<Query> = {
    kind: "token",
    texts: ({ results: { length } }) =>
      texts(`number ${length}`, () => oneOf(Array.from({ length: Math.min(length, 99) }, (_, i) => `${i + 1}`))),
    begins: "word",
    ends: "word",
  };
  const resultName: Goal<Query> = nameOf(
    ({ results: list }) => [...new Set(list.filter((name) => name !== "" && words.isPlain(name)))],
    (query) => query,
  );
  const order: Goals = [
    word("order by"),
    act((query) => queryWith(query, { aggregates: query.grouped || query.total })),
    ...several(
      rule(({ compound }) =>
        compound
          ? [
              [resultNumber, direction],
              [resultName, direction],
            ]
          : [
              [resultNumber, direction],
              [...sortTerm, direction],
            ],
      ),
    ),
  ];
  const limit: Goals = [
    word("limit"),
    token(words.wholeNumber, "word"),
    choice([], [word("offset"), token(words.wholeNumber, "word")]),
  ];
  const query: Goals = [...part, furtherParts, maybe(...order), maybe(...limit)];
  return [...query, maybe(mark(";"))];
}

function depthOf({ parent }: Query): number {
  let depth = 0;
  for (let at = parent; at; at = at.parent) depth += 1;
  return depth;
}
