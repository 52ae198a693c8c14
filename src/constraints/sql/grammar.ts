/** SELECT statements as goals (`goals.ts`): the grammar of SQL, with acts that keep account of names (`scope.ts`). */
import { oneOf } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import { createColumns } from "./columns.ts";
import { createExpressions } from "./expressions.ts";
import { createResults } from "./results.ts";
import type { Table } from "./schema.ts";
import { nextPart, type Query, queryWith } from "./scope.ts";
import { createSources } from "./sources.ts";
import { act, choice, type Goals, mark, maybe, rule, set, several, token, word } from "./tokens.ts";
import * as words from "./words.ts";

/** The goals of one statement. */
export function selectStatement(tables: readonly Table[]): Goals {
  const columns = createColumns(tables);
  const { texts, nameOf } = columns;
  const expressions = createExpressions(columns, () => query);
  const { expression, operand, furtherOperands } = expressions;
  const results = createResults(columns, expressions);
  const from = createSources(columns, expressions);

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
