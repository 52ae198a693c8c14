/** A constraint as it is typed: its kind and a text, which a request names as `{ kind: … }`. */
import { repeatedName } from "../../../src/json.ts";

export interface ConstraintKind {
  readonly name: "jsonSchema" | "regex" | "choices" | "grammar" | "sqlSchema" | "smiles";
  readonly label: string;
  /** What the text is; absent where none is needed. */
  readonly help?: string;
  readonly example?: string;
}

export const constraintKinds: readonly ConstraintKind[] = [
  {
    name: "jsonSchema",
    label: "JSON of a schema",
    help: "A JSON Schema, draft 2020-12 or 7.",
    example: JSON.stringify({
      type: "object",
      properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 0, maximum: 120 } },
      required: ["name", "age"],
      additionalProperties: false,
    }),
  },
  {
    name: "regex",
    label: "a regular expression",
    help: "JavaScript's syntax, for the whole output.",
    example: "(yes|no), [a-z ]{5,40}\\.",
  },
  { name: "choices", label: "one of several texts", help: "A text a line.", example: "yes\nno\nI do not know" },
  {
    name: "grammar",
    label: "a grammar",
    help: "GBNF or Lark's style.",
    example: 'root ::= word (" " word)*\nword ::= "cat" | "dog" | "and"',
  },
  {
    name: "sqlSchema",
    label: "SQL over tables",
    help: "CREATE TABLE statements, or columns by table as JSON.",
    example: "CREATE TABLE people (name TEXT, age INTEGER);",
  },
  { name: "smiles", label: "a molecule (SMILES)" },
];

/** What the request gets; a problem is said at the field. Nothing for the kind "". */
export function readConstraint(kind: string, text: string): { value?: Record<string, unknown>; problem?: string } {
  if (kind === "") return {};
  if (kind === "smiles") return { value: { smiles: true } };
  if (text.trim() === "") return { problem: "needed" };
  if (kind === "choices") return { value: { choices: text.split("\n").filter(Boolean) } };
  const json = kind === "jsonSchema" || (kind === "sqlSchema" && text.trim().startsWith("{"));
  if (!json) return { value: { [kind]: kind === "grammar" ? `${text.trimEnd()}\n` : text.trimEnd() } };
  try {
    const value = JSON.parse(text);
    const repeated = repeatedName(text);
    return repeated
      ? { problem: `line ${repeated.line}: the name "${repeated.name}" is given twice in one object` }
      : { value: { [kind]: value } };
  } catch (error) {
    return { problem: `not JSON: ${(error as Error).message}` };
  }
}

/** As it would have been typed. */
export function writtenConstraint(constraint: unknown): { kind: string; text: string } {
  const [kind, value] = Object.entries((constraint ?? {}) as Record<string, unknown>)[0] ?? ["", ""];
  if (value === true) return { kind, text: "" };
  if (kind === "choices") return { kind, text: (value as string[]).join("\n") };
  return { kind, text: typeof value === "string" ? value : JSON.stringify(value) };
}
