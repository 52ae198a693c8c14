/** Constraints: what an output must be, as recognisers of one contract. */
import { ensure, requireOptions, shown } from "../errors.ts";
import { hint, meantBy, plainName, requireNothingElse, type Ways } from "../names.ts";
import { givenFields, isInstance, isListOf, isPlain, isText } from "../values.ts";
import type { Constraint } from "./contract.ts";
import { grammarConstraint } from "./grammar/index.ts";
import { type JsonSchemaOptions, jsonSchemaConstraint } from "./json/index.ts";
import { guarded, trusted } from "./own.ts";
import { type Predicate, predicateConstraint } from "./predicate.ts";
import { choicesConstraint, regexConstraint } from "./regex/index.ts";
import { smilesConstraint } from "./smiles/index.ts";
import { type SqlSchema, sqlConstraint } from "./sql/index.ts";

/** Models get lost in blanks, and in zeros behind a point, where any number may follow; a request that wants more says so. */
const usual = { whitespace: 1, zeros: 0 };

/** A constraint as a request names it: exactly one of these, a function of one's own, or a constraint made before. */
export type ConstraintChoice =
  | ({
      /** A JSON Schema: the output is JSON that it allows. Beside it, here, `whitespace` is 1 and `zeros` 0 unless given. */
      readonly jsonSchema: unknown;
    } & JsonSchemaOptions)
  | {
      /** A regular expression that the whole output matches. */
      readonly regex: string | RegExp;
    }
  | {
      /** Texts of which the output is one: at least one, and not the empty text alone. */
      readonly choices: readonly string[];
    }
  | {
      /** A grammar that the output follows, in GBNF (from `root`) or in Lark's style (from `start`). */
      readonly grammar: string;
      /** The notation of the grammar. Default: GBNF where "::=" stands in it, else Lark's. */
      readonly syntax?: "gbnf" | "lark";
    }
  | {
      /** Tables and their columns: the output is a SELECT statement over them. */
      readonly sqlSchema: SqlSchema;
    }
  | {
      /** The output is a molecule in SMILES. */
      readonly smiles: true;
    }
  | Predicate
  | Constraint;

type Kind = "jsonSchema" | "regex" | "choices" | "grammar" | "sqlSchema" | "smiles";

/** A schema of zod or its like (standardschema.dev), and no JSON Schema that one of them made, which has their mark unseen. */
function isOfLibrary(schema: unknown): boolean {
  if (Object(schema) !== schema || !("~standard" in (schema as object))) return false;
  return Object.getPrototypeOf(schema) !== Object.prototype || Object.keys(schema as object).includes("~standard");
}

const makers: { readonly [kind in Kind]: { options: readonly string[]; make(choice: never): Constraint } } = {
  jsonSchema: {
    options: ["whitespace", "zeros", "unknownFormats"],
    make: ({ jsonSchema, ...options }: { jsonSchema: unknown } & JsonSchemaOptions) => {
      return jsonSchemaConstraint(jsonSchema, { ...usual, ...givenFields(options) });
    },
  },
  regex: {
    options: [],
    make: ({ regex }: { regex: unknown }) => {
      const known = typeof regex === "string" || isInstance<RegExp>("RegExp", regex);
      ensure(known, "bad_option", () => `constraint: regex must be a text or a RegExp, not ${shown(regex)}`);
      return regexConstraint(regex);
    },
  },
  grammar: {
    options: ["syntax"],
    make: ({ grammar, syntax }: { grammar: string; syntax?: "gbnf" | "lark" }) => grammarConstraint(grammar, syntax),
  },
  choices: {
    options: [],
    make: ({ choices }: { choices: unknown }) => {
      ensure(isListOf(choices, isText), "bad_option", () => {
        return `constraint: choices must be a list of texts, not ${shown(choices)}`;
      });
      return choicesConstraint(choices);
    },
  },
  sqlSchema: { options: [], make: ({ sqlSchema }: { sqlSchema: SqlSchema }) => sqlConstraint(sqlSchema) },
  smiles: {
    options: [],
    make: ({ smiles }: { smiles: unknown }) => {
      ensure(smiles === true, "bad_option", "constraint: smiles is either true or not given");
      return smilesConstraint();
    },
  },
};

/** Deepest nesting and most values of what names a constraint: more is somebody's attack, or refers to itself. */
const [deepest, mostValues] = [2_000, 2_000_000];

/** Refuses what cannot be written as JSON, which neither a recogniser nor the memory of those made lately could tell apart. */
function requireJson(root: unknown, name: string): void {
  let values = 0;
  const walk = (value: unknown, depth: number): void => {
    ensure(depth < deepest, "bad_option", `constraint: ${name} is nested deeper than ${deepest}, or in itself`);
    ensure(++values <= mostValues, "bad_option", `constraint: ${name} has more than ${mostValues} values`);
    if (typeof value === "object" && value !== null) {
      ensure(
        Array.isArray(value) || isPlain(value),
        "bad_option",
        () => `constraint: ${name} must be JSON, and has ${shown(value)} in it`,
      );
      const items = Object.values(value);
      const isWhole = depth === 0 || !Array.isArray(value) || items.length === value.length; // the outermost has its own reader
      ensure(isWhole, "bad_option", () => `constraint: ${name} must be JSON, and has a list with a gap in it`);
      for (const inner of items) walk(inner, depth + 1);
      return;
    }
    const sound =
      typeof value === "number" ? Number.isFinite(value) : !["bigint", "function", "symbol"].includes(typeof value);
    ensure(sound, "bad_option", () => `constraint: ${name} must be JSON, and has ${shown(value)} in it`);
  };
  if (typeof root === "object" || typeof root === "bigint") walk(root, 0);
}

const kinds = Object.keys(makers) as Kind[];

/** Options of one kind where another stands, and what a regular expression has inside. */
const waysOfKinds: Ways = Object.fromEntries([
  ["flags", "a RegExp has them, as in { regex: /[a-z]+/i }"],
  ...kinds.flatMap((kind) =>
    makers[kind].options.map((name) => [plainName(name), `it is an option of { ${kind} }`] as const),
  ),
]);

/** Whether a value is a constraint that was made already, rather than the description of one. */
export const isConstraint = (value: unknown): value is Constraint =>
  typeof value === "object" && value !== null && "start" in value && "tight" in value;

/** Constraints made lately, by what names them: a second request with the same schema finds its masks warm. */
const made = new Map<unknown, Constraint>();
const mostMade = 32;

/** Which kind a choice names. Errors: `bad_option` where it names none, or several. */
function kindNamed(choice: Exclude<ConstraintChoice, Predicate>): Kind | "own" {
  ensure(typeof choice === "object" && choice !== null, "bad_option", () => {
    return `constraint: give one of ${kinds.join(", ")}, or a function from text to true, false or "never", not ${shown(choice)}`;
  });
  const given = kinds.filter((kind) => (choice as { readonly [kind in Kind]?: unknown })[kind] !== undefined);
  if ("start" in choice || "tight" in choice) {
    ensure(given.length === 0, "bad_option", () => {
      return `constraint: ${shown((choice as Partial<Constraint>).name)} is a constraint of one's own, and ${given.join(", ")} beside it another: give one of them`;
    });
    return "own";
  }
  ensure(
    !isInstance<RegExp>("RegExp", choice),
    "bad_option",
    "constraint: a regular expression stands beside its name, as in { regex: /[0-9]+/ }",
  );
  ensure(
    !isOfLibrary(choice),
    "bad_option",
    "constraint: a schema stands beside its name, as in { jsonSchema: z.toJSONSchema(schema) } for one of zod's",
  );
  ensure(!("push" in choice), "bad_option", () => {
    return "constraint: a state is given; a constraint is { name, tight, start }, and the state that it begins with is its start";
  });
  ensure(given.length === 1, "bad_option", () => {
    const names = Object.keys(choice);
    return `constraint: give exactly one of ${kinds.join(", ")}; given: ${given.join(", ") || names.join(", ") || "nothing"}${given.length > 0 ? "" : kindMeant(choice)}`;
  });
  return given[0];
}

/** The end of a sentence about what names no kind: the kind that is meant, with the form in which it is given. */
function kindMeant(choice: object): string {
  const { type, ...fields } = choice as Readonly<Record<string, unknown>>;
  // A JSON Schema itself, whose fields are many.
  const isSchema = ["properties", "items", "enum", "$ref", "anyOf", "oneOf", "$schema"].some((name) => name in fields);
  if (isSchema || jsonTypes.includes(type as string))
    return "; a JSON Schema stands beside its name, as in { jsonSchema: { … } }";
  const first = (words: readonly string[]): string | undefined =>
    words.map((word) => meantBy(word, kinds)).find((kind) => kind !== undefined);
  const valued = first(Object.values(choice).filter(isText));
  return hint(first(Object.keys(choice))) || (valued === undefined ? "" : `; it is written { ${valued}: … }`);
}

const jsonTypes = ["object", "array", "string", "number", "integer", "boolean", "null"];

/**
 * Errors: `bad_option` for what names no constraint, or several, and those of the recogniser. One of one's own is held to what a constraint
 * is wherever it is asked.
 */
export function createConstraint(choice: ConstraintChoice): Constraint {
  if (typeof choice === "function") return trusted(predicateConstraint(choice));
  const kind = kindNamed(choice);
  if (kind === "own") return guarded(choice as Constraint);
  requireOptions(choice, "constraint", "what names one", '{ regex: "[0-9]{4}" }');
  const { options, make } = makers[kind];
  const others = Object.fromEntries(
    Object.entries(givenFields(choice)).filter(([name]) => name !== kind && !options.includes(name)),
  );
  requireNothingElse(others, `constraint: ${kind}`, options, waysOfKinds);
  const what = (choice as { readonly [kind in Kind]: unknown })[kind];
  // Schemas of zod and its like have fields that JSON Schema knows by other meanings.
  ensure(kind !== "jsonSchema" || !isOfLibrary(what), "bad_option", () => {
    return "constraint: jsonSchema is a JSON Schema, and a schema of a library is given: z.toJSONSchema(schema) makes one of zod's";
  });
  for (const [name, value] of Object.entries(choice))
    if (!isInstance<RegExp>("RegExp", value)) requireJson(value, name);
  const key = keyOf(choice);
  const known = made.get(key);
  if (known) return known;
  const constraint = trusted(make(choice as never));
  ensure(goesOn(constraint), "bad_option", `${kind}: the empty text alone is valid, which leaves nothing to decode`);
  if (made.size >= mostMade) made.delete(made.keys().next().value);
  made.set(key, constraint);
  return constraint;
}

/** Whether some text is valid that has anything in it. */
const goesOn = ({ start }: Constraint): boolean =>
  Array.from({ length: 256 }, (_, i) => (i + 0x20) % 256).some((byte) => start.push(byte));

/** For who measures what making one costs. */
export const forgetConstraints = (): void => made.clear();

const keyOf = (choice: object): unknown =>
  JSON.stringify(choice, (_, value: unknown) => (isInstance<RegExp>("RegExp", value) ? `${value}` : value));

/** How a choice is shown in traces: functions and made constraints by name. Errors: `bad_option` for what names no constraint, or several. */
export function describeConstraint(choice: ConstraintChoice): unknown {
  if (typeof choice === "function") return "function";
  return kindNamed(choice) === "own" ? guarded(choice as Constraint).name : choice;
}

export { type Constraint, type ConstraintState, isValid, pushAll } from "./contract.ts";
export type { JsonSchemaOptions } from "./json/index.ts";
export type { ReaderOptions } from "./json/read.ts";
export { tryTokens } from "./mask.ts";
export type { Predicate } from "./predicate.ts";
export type { SqlSchema } from "./sql/index.ts";
export { createVocabulary, hasBit, type Plain, type Vocabulary, wordsFor } from "./vocabulary.ts";
