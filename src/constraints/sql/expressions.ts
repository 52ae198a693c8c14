/** Expressions as goals. Their precedence does not matter to which texts are valid. */
import { oneOf } from "../automaton.ts";
import type { Goal } from "../goals.ts";
import type { Columns } from "./columns.ts";
import { beginQuery, type Query, queryWith } from "./scope.ts";
import { act, choice, closing, type Goals, mark, maybe, rule, set, several, token, word } from "./tokens.ts";
import * as words from "./words.ts";

const mostNested = 100;

export type Expressions = ReturnType<typeof createExpressions>;

/** `query` gives the goals of a whole query, for those within. */
export function createExpressions({ names, texts, nameOf, seesLone, column }: Columns, query: () => Goals) {
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
    rule(() => [query()]),
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

  return { expression, subquery, operand, furtherOperands };
}

function depthOf({ parent }: Query): number {
  let depth = 0;
  for (let at = parent; at; at = at.parent) depth += 1;
  return depth;
}
