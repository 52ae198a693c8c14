/** What a query selects, as goals. */
import { lowerCase } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import type { Columns } from "./columns.ts";
import type { Expressions } from "./expressions.ts";
import { type Query, queryWith, want } from "./scope.ts";
import { act, type Goals, mark, rule, set, word } from "./tokens.ts";
import * as words from "./words.ts";

export function createResults(
  { names, texts, nameOf, given, futureName }: Columns,
  { expression }: Expressions,
): Goal<Query> {
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
    alike: given,
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

  return results;
}
