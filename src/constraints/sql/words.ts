/** Words and texts of SQL, as SQLite reads it. */
import { except, lowerCase, oneOf, type TextState } from "../automaton.ts";
import { compileRegex } from "../regex/compile.ts";

/** Words that are never names. */
const reserved =
  "add all alter and as autoincrement between case check collate commit constraint create default deferrable delete distinct drop else escape " +
  "except exists foreign from group having in index insert intersect into is isnull join limit not notnull null on or order primary references " +
  "returning select set table then to transaction union unique update using values when where with";
/** Words that mean something where a name of one's own may stand. */
const meaningful =
  "left right full inner outer cross natural offset desc asc like glob regexp match window over filter end cast if by key recursive nulls first " +
  "last current begin rollback replace ignore abort fail true false indexed generated always temp temporary interval rank row rows range groups " +
  "except minus lateral partition materialized raise rename rowid oid _rowid_ limit fetch for use show desc describe explain call exec go in " +
  "of off ordinality restrict cascade action analyze attach before after column conflict database deferred detach each exclusive immediate " +
  "initially instead no plan pragma query reindex release savepoint trigger vacuum view virtual without do exclude following preceding unbounded " +
  "others ties nothing local session global system user value lock unlock div mod binary xor rlike kill load read write keys rows dual sql";

export const aggregates = ["count", "sum", "avg", "min", "max", "total", "group_concat"];
/** Functions by their number of arguments: least and most. */
export const functions: readonly (readonly [string, number, number])[] = [
  ["abs", 1, 1],
  ["round", 1, 2],
  ["length", 1, 1],
  ["upper", 1, 1],
  ["lower", 1, 1],
  ["trim", 1, 1],
  ["substr", 2, 3],
  ["coalesce", 2, 4],
  ["ifnull", 2, 2],
  ["nullif", 2, 2],
  ["instr", 2, 2],
  ["date", 1, 1],
  ["strftime", 2, 2],
];

const reservedWords = new Set(reserved.split(" "));
const allWords = [...reservedWords, ...meaningful.split(" "), ...aggregates, ...functions.map(([name]) => name)];

const regex = (pattern: string): TextState => compileRegex(pattern) as TextState;
const identifier = regex("[A-Za-z_][A-Za-z0-9_]{0,62}");

/** Names that a query may give, but for some. */
export const freshName = (taken: Iterable<string>): TextState =>
  except(identifier, oneOf([...allWords, ...taken], { ignoreCase: true })) as TextState;

/** Whether a name can stand without quotes. */
export const isPlain = (name: string): boolean =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !reservedWords.has(lowerCase(name));

/** A name in quotes, of either kind. */
export const quotedForms = (name: string): string[] => [`"${name.replaceAll('"', '""')}"`, `\`${name}\``];

export const unquoted = (text: string): string =>
  lowerCase(
    text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text.startsWith("`") ? text.slice(1, -1) : text,
  );

export const keyword = (text: string): TextState => {
  // Blanks within keywords such as GROUP BY.
  return regex(
    text
      .split(" ")
      .map((word) => [...word].map((c) => (/[a-z]/i.test(c) ? `[${c.toLowerCase()}${c.toUpperCase()}]` : c)).join(""))
      .join("[ \\t\\n\\r]{1,3}"),
  );
};

export const mark = (...texts: string[]): TextState => oneOf(texts) as TextState;
export const number = regex("[0-9]{1,15}(?:\\.[0-9]{1,15})?");
export const wholeNumber = regex("[0-9]{1,15}");
export const text = regex("'(?:[^'\\u0000]|'')*'");
const doubled = regex('"(?:[^"\\u0000]|"")*"');

/** Texts in double quotes, which SQLite takes where nothing is called so. */
export const doubleText = (names: Iterable<string>): TextState =>
  except(
    doubled,
    oneOf(
      [...names].map((name) => quotedForms(name)[0]),
      { ignoreCase: true },
    ),
  ) as TextState;

export const blanks = regex("[ \\t\\n\\r]{0,3}");
export const someBlanks = regex("[ \\t\\n\\r]{1,3}");
