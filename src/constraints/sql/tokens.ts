/** Pieces that the grammar of SQL is made of: keywords, marks, choices, and what may stand between two tokens. */
import type { TextState } from "../automaton.ts";
import type { Goal, Token } from "../goals.ts";
import { type Query, queryWith } from "./scope.ts";
import * as words from "./words.ts";

export type Goals = readonly Goal<Query>[];

/** A token of these texts, whatever was read before. */
export const token = (texts: TextState, begins: string, ends = begins): Token<Query> => ({
  kind: "token",
  texts: () => texts,
  begins,
  ends,
});
export const act = (act: (query: Query) => Query | undefined): Goal<Query> => ({ kind: "act", act });
export const rule = (expand: (query: Query) => readonly Goals[]): Goal<Query> => ({ kind: "rule", expand });
export const set = (change: Partial<Query>): Goal<Query> => act((query) => queryWith(query, change));
const kept = new Map<string, Token<Query>>();
const remembered = (key: string, make: () => Token<Query>): Token<Query> => {
  const known = kept.get(key) ?? make();
  kept.set(key, known);
  return known;
};
/** A keyword, or several in order. */
export const word = (text: string): Token<Query> =>
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
/** One of some marks of punctuation. */
export const mark = (...texts: string[]): Token<Query> =>
  remembered(`mark ${texts}`, () => token(words.mark(...texts), markKinds[texts[0]] ?? "mark"));
export const closing: Token<Query> = token(words.mark(")"), "close", "word");

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

/** Items with commas between. */
export const several = (item: Goal<Query>): Goals => {
  const more: Goal<Query> = rule(() => [[], [mark(","), item, more]]);
  return [item, more];
};
export const choice = (...ways: readonly Goals[]): Goal<Query> => rule(() => ways);
export const maybe = (...goals: Goals): Goal<Query> => rule(() => [[], goals]);
