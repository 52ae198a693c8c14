/** What is wrong with a value that does not fit its schema, in words of our own: which field, what it is, what it must be. */
import type { z } from "zod";
import { shown } from "./errors.ts";
import { type Others, suggestion } from "./names.ts";

type Issue = z.core.$ZodIssue;

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
  const ordered = issues.toSorted((a, b) => first(a) - first(b)).slice(0, mostTold);
  const told = [...new Set(ordered.map((issue) => describeIssue(issue, schema, within, others)))];
  const more = issues.length - mostTold;
  return [...told, ...(more > 0 ? [`and ${more} more like these`] : [])].join("; ");
}

/** What none of several kinds takes. Where the value is of one of these kinds, what that kind says of it; otherwise all kinds by name. */
function describeUnion(
  branches: readonly (readonly Issue[])[],
  field: string,
  given: string,
  path: readonly PropertyKey[],
) {
  const isWhole = ([first]: readonly Issue[]): boolean =>
    first.path.length === 0 && (first.code === "invalid_type" || first.code === "custom" || isOfOtherType(first));
  const fitting = branches.filter((issues) => !isWhole(issues));
  const kinds = branches.flatMap(([first]) => {
    if (first.code === "invalid_type") return [kind(first.expected)];
    return isOfOtherType(first) ? [list(first.values.map(shown))] : [];
  });
  if (fitting.length === 0 && kinds.length === branches.length)
    return `${field} must be ${[...new Set(kinds)].join(" or ")}${given}`;
  const told = fitting.length > 0 ? fitting : branches;
  return [...new Set(told.map((issues) => describeIssues(issues, undefined, path)))].join(", or ");
}

/** A value that must be one of some, and is not even of their type. */
const isOfOtherType = (issue: Issue): issue is z.core.$ZodIssueInvalidValue =>
  issue.code === "invalid_value" && !issue.values.some((value) => typeof value === typeof issue.input);

function describeIssue(
  issue: Issue,
  schema: z.ZodType | undefined,
  within: readonly PropertyKey[],
  others?: Others,
): string {
  const path = [...within, ...issue.path];
  const field = path.length === 0 ? "options" : pathText(path);
  const given = "input" in issue && issue.input !== undefined ? `, not ${shown(issue.input)}` : "";
  // A schema's own words go before ours; the library's are replaced.
  if (
    issue.code !== "custom" &&
    issue.code !== "invalid_format" &&
    !/^(Invalid|Too (big|small)|Unrecognized)/.test(issue.message)
  )
    return ownWords(issue.message, field, given);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(key, field, path, keysAt(schema, issue.path), others)).join("; ");
    case "invalid_type":
      if (issue.input === undefined) return `${field} is missing: it must be ${kind(issue.expected)}`;
      return `${field} must be ${kind(issue.expected)}${given}`;
    case "too_small":
    case "too_big": {
      const small = issue.code === "too_small";
      const bound = Number("minimum" in issue ? issue.minimum : issue.maximum);
      if (issue.origin === "string" || issue.origin === "array" || issue.origin === "set") {
        const unit = issue.origin === "string" ? "character" : "entry";
        const plural = bound === 1 ? unit : unit === "entry" ? "entries" : "characters";
        return `${field} must have ${small ? "at least" : "at most"} ${bound} ${plural}`;
      }
      const word = small ? (issue.inclusive ? "at least" : "above") : issue.inclusive ? "at most" : "below";
      return `${field} must be ${word} ${bound}${given}`;
    }
    case "invalid_value": {
      return oneOf(issue.values, field, issue.input);
    }
    case "not_multiple_of":
      return `${field} must be a multiple of ${issue.divisor}${given}`;
    case "invalid_format":
      return `${field} must be ${issue.format === "regex" ? issue.message : `a ${issue.format}`}${given}`;
    case "invalid_union":
      return issue.errors.length === 0
        ? oneOf(
            "options" in issue ? (issue.options ?? []) : [],
            field,
            (issue.input as Record<PropertyKey, unknown> | undefined)?.[path.at(-1) ?? ""],
          )
        : describeUnion(issue.errors, field, given, path);
    case "invalid_key":
    case "invalid_element":
      return describeIssues(issue.issues, undefined, path);
    default: {
      const message = /^Invalid/.test(issue.message) ? `cannot be this${given}` : issue.message;
      return path.length === 0 ? message : ownWords(message, field, given);
    }
  }
}

/** A schema's own words: a sentence about the field where they say what it must be, else a remark on it. */
const ownWords = (message: string, field: string, given: string): string =>
  message.startsWith("must be ") ? `${field} ${message}${given}` : `${field}: ${message}`;

function oneOf(values: readonly unknown[], field: string, input: unknown): string {
  const given = input === undefined ? "" : `, not ${shown(input)}`;
  return `${field} must be ${list(values.map(shown))}${given}${typeof input === "string" ? suggestion(input, values.map(String)) : ""}`;
}

function unknownKey(
  key: string,
  field: string,
  path: readonly PropertyKey[],
  known: readonly string[],
  others?: Others,
): string {
  const where = path.length === 0 ? "" : ` in ${field}`;
  const all = known.length === 0 || known.length > 24 ? "" : ` (known: ${known.join(", ")})`;
  // Those are beside the options themselves, not beside what lies inside one.
  const { besides = [], ways } = path.length === 0 ? (others ?? {}) : {};
  const hint = suggestion(key, [...known, ...besides], ways);
  return `there is no option ${JSON.stringify(key)}${where}${hint || all}`;
}

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
  function: "a function",
  nan: "NaN",
};
const kind = (expected: string): string => kinds[expected] ?? `a ${expected}`;

const list = (values: readonly string[]): string =>
  values.length === 1 ? values[0] : `${values.slice(0, -1).join(", ")} or ${values[values.length - 1]}`;

/** Names that an object may have at this place of a schema; none where it is no object. */
function keysAt(schema: z.ZodType | undefined, path: readonly PropertyKey[]): string[] {
  let at = unwrapped(schema);
  for (const part of path) {
    const inner = at?._zod.def as unknown as { shape?: Record<string, z.ZodType>; element?: z.ZodType } | undefined;
    at = unwrapped(typeof part === "number" ? inner?.element : inner?.shape?.[String(part)]);
  }
  return namesOf(at);
}

/** Of a choice between objects the names of all of them. */
function namesOf(schema: z.ZodType | undefined): string[] {
  const { shape, options = [] } = (schema?._zod.def ?? {}) as { shape?: object; options?: readonly z.ZodType[] };
  return shape ? Object.keys(shape) : [...new Set(options.flatMap(namesOf))];
}

/** A schema without its layers of `optional` and `default`. */
export function unwrapped(schema: z.ZodType | undefined): z.ZodType | undefined {
  let at = schema;
  for (;;) {
    const inner = (at?._zod.def as unknown as { innerType?: z.ZodType } | undefined)?.innerType;
    if (!inner) return at;
    at = inner;
  }
}
