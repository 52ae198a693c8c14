/** What is wrong with a value that does not fit its schema, in words of our own: which field, what it is, what it must be. */
import type { z } from "zod";
import { shown, withArticle } from "./errors.ts";
import { formOf, listed, optionsOf, unwrapped, wordsOf } from "./forms.ts";
import { hint, meantBy, meantField, type Others, suggestion } from "./names.ts";

type Issue = z.core.$ZodIssue;

/** Issues of a schema that stands in another's program, which hides its names: with them, for "did you mean". */
export const withNames = (issues: readonly Issue[], schema: z.ZodType): Issue[] =>
  issues.map((issue) => (issue.code === "unrecognized_keys" ? { known: knownAt(schema, issue), ...issue } : issue));

/** Issues that are told one by one: a long list of wrong values is not said value by value. */
const mostTold = 8;

/** All issues in one line. `schema` gives the known names for "did you mean", `others` what else there is beside its options. */
export function describeIssues(
  issues: readonly Issue[],
  schema?: z.ZodType,
  within: readonly PropertyKey[] = [],
  others?: Others,
): string {
  // A misspelt name says why another is missing.
  const first = ({ code }: Issue): number => (code === "unrecognized_keys" ? 0 : 1);
  const misspelt = new Set(issues.flatMap((issue) => meantPlaces(issue, schema, others)));
  const saysLess = besideNarrower(issues);
  const separate = issues.filter(
    (issue) => !(isMissing(issue) && misspelt.has(pathText(issue.path))) && !saysLess(issue),
  );
  const ordered = separate.toSorted((a, b) => first(a) - first(b)).slice(0, mostTold);
  const told = [...new Set(ordered.map((issue) => describeIssue(issue, schema, within, others)))];
  const more = separate.length - mostTold;
  return joined([...told, ...(more > 0 ? [`and ${more} more like these`] : [])]);
}

/** Which bounds stand beside a narrower one of the same value, as that of all whole numbers beside an option's own. */
function besideNarrower(issues: readonly Issue[]): (issue: Issue) => boolean {
  const narrownessOf = (issue: Issue): number | undefined =>
    issue.code === "too_big" ? -Number(issue.maximum) : issue.code === "too_small" ? Number(issue.minimum) : undefined;
  const placeOf = ({ code, path }: Issue): string => `${code} ${pathText(path)}`;
  const narrowest = new Map<string, number>();
  for (const issue of issues) {
    const narrowness = narrownessOf(issue);
    if (narrowness === undefined) continue;
    const place = placeOf(issue);
    narrowest.set(place, Math.max(narrowness, narrowest.get(place) ?? narrowness));
  }
  return (issue) => {
    const narrowness = narrownessOf(issue);
    return narrowness !== undefined && narrowness < narrowest.get(placeOf(issue))!;
  };
}

/** Behind a question stands no semicolon. */
export const joined = ([first = "", ...others]: readonly string[]): string =>
  others.reduce((before, next) => `${before}${before.endsWith("?") ? "" : ";"} ${next}`, first);

const isMissing = (issue: Issue): boolean =>
  issue.code !== "unrecognized_keys" && issue.code !== "custom" && issue.input === undefined;

/** Where the names stand that were meant by names that a schema does not know: if one of them is missing, that is the same slip. */
const meantPlaces = (issue: Issue, schema: z.ZodType | undefined, others: Others | undefined): string[] =>
  issue.code !== "unrecognized_keys"
    ? []
    : issue.keys.flatMap((key) => {
        const meant = meantBy(key, namesBeside(issue.path, knownFor(issue, schema).names, others));
        return meant === undefined ? [] : [pathText([...issue.path, meant])];
      });

/**
 * What none of several kinds takes. Where the value is of one of these kinds and something in it is wrong, what that kind says of it;
 * otherwise all that it may be.
 */
function describeUnion(
  branches: readonly (readonly Issue[])[],
  schema: z.ZodType | undefined,
  field: string,
  issue: Issue,
  path: readonly PropertyKey[],
): string {
  const given = givenOf(issue);
  const options = optionsOf(schema);
  const tell = (which: readonly number[]): string =>
    [...new Set(which.map((i) => describeIssues(branches[i], options[i], path)))].join(", or ");
  const all = [...branches.keys()];
  const inside = all.filter((i) => !isWhole(branches[i][0]));
  if (inside.length > 0) return tell(inside);
  const form = formOf(schema) ?? kindsOf(branches);
  if (form === undefined) return tell(all);
  const input = "input" in issue ? issue.input : undefined;
  return `${field} must be ${form}${given}${typeof input === "string" ? suggestion(input, wordsOf(schema)) : ""}`;
}

/** Whether a value as a whole is another than it must be: of another kind, out of range, none of some. */
const isWhole = ({ code, path, ...issue }: Issue): boolean => {
  if (path.length > 0 || code === "unrecognized_keys") return false;
  if (code === "custom") return isLibrarys(issue.message);
  return !("origin" in issue) || issue.origin === "number" || issue.origin === "int";
};

/** By the issues alone, where the schema is not at hand. */
function kindsOf(branches: readonly (readonly Issue[])[]): string | undefined {
  const kinds = branches.flatMap(([first]) => {
    if (first.code === "invalid_type") return [kind(first.expected)];
    return first.code === "invalid_value" ? first.values.map(shown) : [];
  });
  return kinds.length < branches.length ? undefined : listed([...new Set(kinds)]);
}

/** Words of the schema library, which ours replace. */
const isLibrarys = (message: string): boolean => /^(Invalid|Too (big|small)|Unrecognized|Input not)/.test(message);

const givenOf = (issue: Issue): string =>
  "input" in issue && issue.input !== undefined ? `, not ${shown(issue.input)}` : "";

function describeIssue(
  issue: Issue,
  schema: z.ZodType | undefined,
  within: readonly PropertyKey[],
  others?: Others,
): string {
  const path = [...within, ...issue.path];
  const field = path.length === 0 ? "options" : pathText(path);
  const given = givenOf(issue);
  // A schema's own words go before ours; the library's are replaced.
  if (issue.code !== "custom" && issue.code !== "invalid_format" && !isLibrarys(issue.message))
    return ownWords(issue.message, field, given);
  switch (issue.code) {
    case "unrecognized_keys":
      return joined(issue.keys.map((key) => unknownKey(key, field, path, knownFor(issue, schema), others)));
    case "invalid_type": {
      // Options as a whole are no option of some form.
      const form = (path.length > 0 && formOf(schemaAt(schema, issue.path))) || kind(issue.expected);
      if (issue.input === undefined) return `${field} is missing: it must be ${form}`;
      return `${field} must be ${form}${given}`;
    }
    case "too_small":
    case "too_big": {
      const small = issue.code === "too_small";
      const bound = Number("minimum" in issue ? issue.minimum : issue.maximum);
      if (issue.origin === "string" || issue.origin === "array" || issue.origin === "set") {
        const unit = issue.origin === "string" ? "character" : "entry";
        const plural = bound === 1 ? unit : unit === "entry" ? "entries" : "characters";
        return `${field} must have ${small ? "at least" : "at most"} ${bound} ${plural}`;
      }
      const [place, form] = [schemaAt(schema, issue.path), formOf(schemaAt(schema, issue.path))];
      if (form && optionsOf(place).length > 0) return `${field} must be ${form}${given}`;
      const word = small ? (issue.inclusive ? "at least" : "above") : issue.inclusive ? "at most" : "below";
      return `${field} must be ${word} ${bound}${given}`;
    }
    case "invalid_value": {
      return oneOf(issue.values, field, issue.input);
    }
    case "not_multiple_of":
      return `${field} must be a multiple of ${issue.divisor}${given}`;
    case "invalid_format":
      if (issue.format !== "regex" && !isLibrarys(issue.message)) return ownWords(issue.message, field, given);
      return `${field} must be ${formedAs(issue)}${given}`;
    case "invalid_union": {
      if (issue.errors.length > 0) return describeUnion(issue.errors, schemaAt(schema, issue.path), field, issue, path);
      const name = String(path.at(-1) ?? "");
      const input = (issue.input ?? {}) as Record<string, unknown>;
      const told = oneOf("options" in issue ? (issue.options ?? []) : [], field, input[name]);
      return Object.hasOwn(input, name) ? told : `${told}${meantField(input, [name]) ?? ""}`;
    }
    case "invalid_key":
    case "invalid_element":
      return describeIssues(issue.issues, undefined, path);
    default: {
      const message = isLibrarys(issue.message) ? `cannot be this${given}` : issue.message;
      return path.length === 0 ? message : ownWords(message, field, given);
    }
  }
}

/** What a text must look like: in the schema's own words where it has some. */
function formedAs({ format, message, pattern, ...issue }: Issue & { code: "invalid_format" }): string {
  if (!isLibrarys(message)) return message;
  const part = (name: "prefix" | "suffix" | "includes"): string => shown((issue as { [name]?: unknown })[name]);
  switch (format) {
    case "regex":
    case "template_literal":
      return `a text like ${pattern}`;
    case "starts_with":
      return `a text that begins with ${part("prefix")}`;
    case "ends_with":
      return `a text that ends with ${part("suffix")}`;
    case "includes":
      return `a text with ${part("includes")} in it`;
    case "lowercase":
    case "uppercase":
      return `a text in ${format} letters`;
    default:
      return withArticle(format.replaceAll("_", " "));
  }
}

/** A schema's own words: a sentence about the field where they say what it must be, else a remark on it. */
const ownWords = (message: string, field: string, given: string): string =>
  message.startsWith("must ") ? `${field} ${message}${given}` : `${field}: ${message}`;

function oneOf(values: readonly unknown[], field: string, input: unknown): string {
  const given = input === undefined ? "" : `, not ${shown(input)}`;
  const meant = typeof input === "string" ? suggestion(input, values.map(String)) || firstWord(input, values) : "";
  return `${field} must be ${listed(values.map(shown))}${given}${meant}`;
}

/** Of several that begin with this word the first, the simplest: `json_object` by `json`. */
const firstWord = (word: string, values: readonly unknown[]): string =>
  hint(values.map(String).find((value) => value.startsWith(`${word}_`) || value.startsWith(`${word}-`)));

function unknownKey(
  key: string,
  field: string,
  path: readonly PropertyKey[],
  { names, kind, owners }: Known,
  others?: Others,
): string {
  const where = path.length === 0 ? "" : ` in ${field}`;
  const missing = `there is no option ${JSON.stringify(key)}${where}`;
  const all = `${kind ? ` of ${kind}` : ""}${names.length === 0 || names.length > 24 ? "" : ` (known: ${names.join(", ")})`}`;
  const owner = owners.get(key);
  const elsewhere = owner === undefined ? path.length === 0 && others?.elsewhere?.(key) : `it is one of ${owner}`;
  if (elsewhere) return `${missing}${all}: ${elsewhere}${hint(meantBy(key, names, 1))}`;
  const meant = suggestion(key, namesBeside(path, names, others), path.length === 0 ? others?.ways : undefined);
  if (meant !== "") return `${missing}${meant}`;
  const slipped = meantBy(key, [...owners.keys()]);
  return `${missing}${all}${slipped === undefined ? "" : `; did you mean ${shown(slipped)}, one of ${owners.get(slipped)}?`}`;
}

/** Further options are beside the options themselves, not beside what lies inside one. */
const namesBeside = (path: readonly PropertyKey[], known: readonly string[], others?: Others): string[] => [
  ...known,
  ...(path.length === 0 ? (others?.besides ?? []) : []),
];

const pathText = (path: readonly PropertyKey[]): string =>
  path.map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`)).join("");

const kinds: Readonly<Record<string, string>> = {
  int: "a whole number",
  number: "a number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
  null: "null",
  undefined: "left out",
  never: "left out",
  void: "left out",
  function: "a function",
  nan: "NaN",
};
const kind = (expected: string): string => kinds[expected] ?? withArticle(expected);

type UnknownKeys = Extract<Issue, { code: "unrecognized_keys" }>;

/** What an object may have at its place of a schema. */
interface Known {
  /** None where it is no object. */
  readonly names: readonly string[];
  /** Of one of several kinds: which it is, `kind "constant"`. */
  readonly kind?: string;
  /** What other kinds have that it has not, by name: `kind "linear" or "cosine"`. */
  readonly owners: ReadonlyMap<string, string>;
}

const knownFor = (issue: UnknownKeys, schema: z.ZodType | undefined): Known =>
  (issue as { known?: Known }).known ?? knownAt(schema, issue);

function knownAt(schema: z.ZodType | undefined, issue: UnknownKeys): Known {
  const all = issue.path.reduce(
    (inside, part) => inside.flatMap((one) => kindsWithin(innerAt(one, part))),
    kindsWithin(schema),
  );
  const own = all.filter((one) => refuses(one, issue));
  const names = [...new Set((own.length > 0 ? own : all).flatMap(fieldsOf))];
  // What tells the kinds apart: a field for which each has words of its own.
  const field = fieldsOf(all[0]).find((name) => all.every((one) => wordsOf(innerAt(one, name)).length > 0));
  const word = field === undefined ? undefined : (issue.input as Record<string, unknown> | undefined)?.[field];
  if (all.length < 2 || own.length === 0 || field === undefined || word === undefined)
    return { names, owners: new Map() };
  const others = all.filter((one) => !own.includes(one));
  const ownersOf = (name: string): string => {
    const having = others.filter((one) => fieldsOf(one).includes(name));
    return `${field} ${listed(having.flatMap((one) => wordsOf(innerAt(one, field))).map(shown))}`;
  };
  const foreign = others.flatMap(fieldsOf).filter((name) => !names.includes(name));
  return { names, kind: `${field} ${shown(word)}`, owners: new Map(foreign.map((name) => [name, ownersOf(name)])) };
}

/** Whether it is this object's schema that knows all but these keys of it, rather than that of another kind. */
function refuses(schema: z.ZodType, { keys, input }: UnknownKeys): boolean {
  const names = fieldsOf(schema);
  return Object.entries(input ?? {}).every(([name, value]) => {
    if (keys.includes(name)) return !names.includes(name);
    const words = wordsOf(innerAt(schema, name));
    return names.includes(name) && (words.length === 0 || typeof value !== "string" || words.includes(value));
  });
}

/** Names that an object of this schema may have. */
const fieldsOf = (schema: z.ZodType | undefined): string[] => {
  const { shape = {}, keyType } = schema ? definitionOf(schema) : {};
  return [...Object.keys(shape), ...wordsOf(keyType)];
};

/** What a schema may hold, by its kind. */
interface Definition {
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly keyType?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly items?: readonly z.ZodType[];
  readonly rest?: z.ZodType | null;
  readonly options?: readonly z.ZodType[];
  readonly left?: z.ZodType;
  readonly right?: z.ZodType;
  readonly in?: z.ZodType;
  readonly getter?: () => z.ZodType;
}

const definitionOf = (schema: z.ZodType): Definition => schema._zod.def as unknown as Definition;

/** All that a value of a schema may be the value of: each kind of a choice, what a program reads. */
function kindsWithin(schema: z.ZodType | undefined, seen = new Set<z.ZodType>()): z.ZodType[] {
  const base = unwrapped(schema);
  if (!base || seen.has(base)) return [];
  seen.add(base);
  const { options = [], left, right, in: read, getter } = definitionOf(base);
  const within = [...options, left, right, read, getter?.()].flatMap((one) => kindsWithin(one, seen));
  return within.length > 0 ? within : [base];
}

function innerAt(schema: z.ZodType, part: PropertyKey): z.ZodType | undefined {
  const { shape, element, items, rest, valueType } = definitionOf(schema);
  if (typeof part === "number") return items?.[part] ?? rest ?? element;
  return shape && Object.hasOwn(shape, part) ? shape[String(part)] : valueType;
}

/** The schema at a place of another. */
function schemaAt(schema: z.ZodType | undefined, path: readonly PropertyKey[]): z.ZodType | undefined {
  let at = schema;
  for (const part of path) {
    const base = unwrapped(at);
    at = base && innerAt(base, part);
  }
  return at;
}
