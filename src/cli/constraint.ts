/** Constraints as flags: a file or a text for each kind. */
import { readFile, stat } from "node:fs/promises";
import type { Command } from "commander";
import type { ConstraintChoice, SqlSchema } from "../constraints/index.ts";
import { ensure, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { decodeUtf8 } from "../json.ts";

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
      "the output is a molecule in SMILES; not taken are aromatic p, b and te, N(=O)=O without charges, the bonds $ and :, the atom *, " +
        "stereo classes beyond @@, rings that go on after a dot, and some systems of aromatic rings around four or more open numbers",
    );
}

/** Errors: `bad_option` for several constraints and for files that cannot be read as what they are to be. */
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
  if (jsonSchema !== undefined)
    return { jsonSchema: parseJson(await readText(jsonSchema, "--json-schema"), jsonSchema) };
  if (regex !== undefined) return { regex };
  if (grammar !== undefined) return { grammar: await readText(grammar, "--grammar") };
  if (choices !== undefined) {
    const list = choices.trimStart().startsWith("[") ? parseJson(choices, "--choices") : choices.split(",");
    return { choices: list as string[] };
  }
  if (sqlSchema !== undefined) {
    const text = await readText(sqlSchema, "--sql-schema");
    return { sqlSchema: /^\s*[[{]/.test(text) ? (parseJson(text, sqlSchema) as SqlSchema) : text };
  }
  return smiles ? { smiles } : constraint;
}

async function readText(path: string, flag: string): Promise<string> {
  try {
    const { size } = await stat(path);
    ensure(size <= largestFile, "bad_option", `${flag}: ${path} has more than ${largestFile} bytes`);
    return decodeUtf8(await readFile(path), path);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("bad_option", `${flag}: cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
}

function parseJson(text: string, origin: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VentrisError("bad_option", `${origin} is not JSON: ${(cause as Error).message}`, { cause });
  }
}
