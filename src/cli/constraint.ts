/** Constraints as flags: a file or a text for each kind. */
import type { Command } from "commander";
import type { ConstraintChoice, SqlSchema } from "../constraints/index.ts";
import { ensure } from "../errors.ts";
import { decodeUtf8 } from "../json.ts";
import { readGiven } from "./given-file.ts";
import { readTypedJson } from "./json.ts";

/** Largest file that describes a constraint. */
const largestFile = 16 * 2 ** 20;

export interface ConstraintFlags {
  jsonSchema?: string;
  regex?: string;
  grammar?: string;
  choices?: string;
  sqlSchema?: string;
  smiles?: true;
  constraint?: ConstraintChoice;
}

export function addConstraintFlags(command: Command): void {
  command
    .option("--json-schema <file>", "the output is JSON that this JSON Schema allows")
    .option("--regex <pattern>", "the whole output matches this regular expression")
    .option("--grammar <file>", "the output follows this grammar, in GBNF or Lark's style")
    .option("--choices <list>", "the output is one of these texts; separate them by commas, or give a JSON list")
    .option(
      "--sql-schema <file>",
      "the output is a SELECT over these tables: CREATE TABLE statements, or columns by table as JSON",
    )
    .option(
      "--smiles",
      "the output is a molecule in SMILES; it does not take aromatic p, b and te, N(=O)=O without charges, the bonds $ and :, the atom *, " +
        "stereo classes beyond @@, rings that go on after a dot, and some systems of aromatic rings around four or more open numbers",
    );
}

/** Of the flags that name a file, what the library calls its content. */
const fields = { "--json-schema": "jsonSchema", "--grammar": "grammar", "--sql-schema": "sqlSchema" } as const;

/** Errors: `bad_option` for several constraints; `unavailable` and `bad_file` for files that cannot be read as what they are to be. */
export async function readConstraint(flags: ConstraintFlags): Promise<ConstraintChoice | undefined> {
  const { jsonSchema, regex, grammar, choices, sqlSchema, smiles, constraint } = flags;
  const given = Object.entries({
    "--json-schema": jsonSchema,
    "--regex": regex,
    "--grammar": grammar,
    "--choices": choices,
    "--sql-schema": sqlSchema,
    "--smiles": smiles,
    "--constraint": constraint,
  }).filter(([, value]) => value !== undefined);
  ensure(
    given.length <= 1,
    "bad_option",
    () => `give one constraint, not ${given.map(([flag]) => flag).join(" and ")}`,
  );
  if (jsonSchema !== undefined) return { jsonSchema: jsonOf(await readText(jsonSchema, "--json-schema"), jsonSchema) };
  if (regex !== undefined) return { regex };
  if (grammar !== undefined) return { grammar: await readText(grammar, "--grammar") };
  if (choices !== undefined) {
    return { choices: listOf(choices) as string[] };
  }
  if (sqlSchema !== undefined) {
    const text = await readText(sqlSchema, "--sql-schema");
    return { sqlSchema: /^\s*[[{]/.test(text) ? (jsonOf(text, sqlSchema) as SqlSchema) : text };
  }
  return smiles ? { smiles } : constraint;
}

const jsonOf = (text: string, file: string): unknown => readTypedJson(text, file, undefined, "bad_file");

/** What stands in such a file, and in no name of one. */
const content = /^\s*[[{]|::=|\n|^\s*create table\b/i;

async function readText(path: string, flag: keyof typeof fields): Promise<string> {
  ensure(!content.test(path), "bad_option", () => {
    return `${flag} takes the name of a file; what would stand in it is given by --constraint '{"${fields[flag]}": …}'`;
  });
  return decodeUtf8(await readGiven(path, { what: flag, mostBytes: largestFile }), path);
}

function listOf(choices: string): unknown {
  if (choices.trimStart().startsWith("[")) return readTypedJson(choices, "--choices", '["yes","no"]');
  const list = choices.split(",");
  ensure(!list.includes(""), "bad_option", () => {
    const what = list.length === 1 ? "it has no text" : "between two of its commas, or beside one, there is no text";
    return `--choices: ${what}; where an answer may be empty give a JSON list, such as '["yes", ""]'`;
  });
  return list;
}
