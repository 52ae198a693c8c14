/** What a database has: tables and their columns, from CREATE TABLE statements or as data. */
import { ensure, VentrisError } from "../../errors.ts";
import { lowerCase } from "../automaton.ts";

export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
}

/**
 * A schema as a request gives it: text with CREATE TABLE statements; names of columns by name of table; a list of tables; or an entry of
 * Spider's tables.json.
 */
export type SqlSchema =
  | string
  | { readonly [table: string]: readonly string[] }
  | readonly { readonly name: string; readonly columns: readonly (string | { readonly name: string })[] }[]
  | {
      readonly table_names_original: readonly string[];
      readonly column_names_original: readonly (readonly [number, string])[];
    };

const mostTables = 2_000;
const mostColumns = 20_000;
const largest = 4 * 2 ** 20;

const bad = (what: string): never => {
  throw new VentrisError("bad_option", `SQL schema: ${what}`);
};

/** Errors: `bad_option` for what names no table, for names given twice, and for schemas beyond bounds. */
export function readSchema(schema: SqlSchema): Table[] {
  const tables = typeof schema === "string" ? fromStatements(schema) : fromData(schema);
  ensure(tables.length > 0, "bad_option", "SQL schema: it has no table");
  ensure(tables.length <= mostTables, "bad_option", `SQL schema: more than ${mostTables} tables`);
  const seen = new Set<string>();
  let columns = 0;
  for (const table of tables) {
    checkName(table.name, "a table");
    if (seen.has(lowerCase(table.name))) bad(`the table ${table.name} is given twice`);
    seen.add(lowerCase(table.name));
    if (table.columns.length === 0) bad(`the table ${table.name} has no column`);
    columns += table.columns.length;
    const own = new Set<string>();
    for (const column of table.columns) {
      checkName(column, `a column of ${table.name}`);
      if (own.has(lowerCase(column))) bad(`the column ${column} of ${table.name} is given twice`);
      own.add(lowerCase(column));
    }
  }
  ensure(columns <= mostColumns, "bad_option", `SQL schema: more than ${mostColumns} columns`);
  return tables;
}

function checkName(name: unknown, of: string): void {
  if (typeof name !== "string" || name === "") bad(`the name of ${of} must be a text that is not empty`);
  if (/[\p{Cc}\p{Surrogate}`[\]]/u.test(name as string)) bad(`the name of ${of} has a character that no name may have`);
}

function fromData(schema: Exclude<SqlSchema, string>): Table[] {
  if (typeof schema !== "object" || schema === null) {
    return bad("give CREATE TABLE statements, or columns by table as JSON");
  }
  if (Array.isArray(schema)) {
    // Also what a list leaves out is looked at.
    return Array.from(schema as readonly unknown[], (one) => {
      const table = one as { name: string; columns: (string | { name: string })[] };
      if (!Array.isArray(table?.columns)) bad("every table of a list has a name and a list of columns");
      return {
        name: table.name,
        columns: Array.from(table.columns, (column) => (typeof column === "string" ? column : column?.name)),
      };
    });
  }
  const { table_names_original: names, column_names_original: columns } = schema as {
    table_names_original?: readonly string[];
    column_names_original?: readonly (readonly [number, string])[];
  };
  if (Array.isArray(names) && Array.isArray(columns) && columns.every(Array.isArray)) {
    return (names as string[]).map((name, i) => ({
      name,
      columns: (columns as [number, string][]).filter(([table]) => table === i).map(([, column]) => column),
    }));
  }
  return Object.entries(schema as Record<string, readonly string[]>).map(([name, list]) => {
    if (!Array.isArray(list)) bad(`the columns of ${name} must be a list of names`);
    return { name, columns: list };
  });
}

/** A word, a quoted name, a quoted text, a mark, or blanks and comments (which are dropped). */
const lexeme =
  /\s+|--[^\n]*|\/\*[\s\S]*?\*\/|([\p{L}_][\p{L}\p{N}_$]*)|"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|('(?:[^']|'')*'|[\d.]+|[^\s])/uy;

interface Lexeme {
  /** Of a name or word. */
  readonly name?: string;
  /** A word in lower case, or a mark. */
  readonly text: string;
}

/** Errors: `bad_option` for views, whose columns cannot be told, and for statements that do not end. Other statements name nothing. */
function fromStatements(text: string): Table[] {
  ensure(text.length <= largest, "bad_option", `SQL schema: longer than ${largest} characters`);
  const tables: Table[] = [];
  for (const statement of statementsOf(text)) {
    const words = statement.map((one) => one.text);
    if (words[0] !== "create") continue;
    const kind = words.findIndex(
      (word) => !["create", "temp", "temporary", "unique", "virtual", "or", "replace"].includes(word),
    );
    if (words[kind] === "view" || words.includes("virtual")) {
      bad(`CREATE ${words[kind].toUpperCase()} is not supported: give its columns as JSON`);
    }
    if (words[kind] !== "table") continue;
    tables.push(tableOf(statement.slice(kind + 1)));
  }
  return tables;
}

function statementsOf(text: string): Lexeme[][] {
  const statements: Lexeme[][] = [[]];
  lexeme.lastIndex = 0;
  for (let match = lexeme.exec(text); match; match = lexeme.exec(text)) {
    const [, word, double, back, bracket, mark] = match;
    const quoted = double?.replaceAll('""', '"') ?? back ?? bracket;
    if (mark === ";") statements.push([]);
    else if (word !== undefined) statements.at(-1)!.push({ name: word, text: lowerCase(word) });
    else if (quoted !== undefined) statements.at(-1)!.push({ name: quoted, text: "" });
    else if (mark !== undefined) statements.at(-1)!.push({ text: mark });
  }
  return statements;
}

const constraintWords = ["constraint", "primary", "foreign", "unique", "check", "key", "index", "fulltext", "exclude"];

function tableOf(rest: readonly Lexeme[]): Table {
  let at = ["if", "not", "exists"].every((word, i) => rest[i]?.text === word) ? 3 : 0;
  let name = rest[at]?.name;
  if (rest[at + 1]?.text === ".") {
    at += 2;
    name = rest[at]?.name;
  }
  if (name === undefined) return bad("CREATE TABLE without a name");
  if (rest[at + 1]?.text !== "(") return bad(`the columns of the table ${name} are missing`);
  const columns: string[] = [];
  let depth = 0;
  let first = true;
  for (const { text, name: column } of rest.slice(at + 1)) {
    if (text === "(") depth += 1;
    else if (text === ")") depth -= 1;
    else if (text === "," && depth === 1) first = true;
    else if (depth === 1 && first) {
      first = false;
      if (column !== undefined && !constraintWords.includes(text)) columns.push(column);
    }
    if (depth === 0) return { name, columns };
  }
  return bad(`the columns of the table ${name} do not end`);
}
