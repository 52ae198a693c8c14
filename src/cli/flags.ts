/** Command-line flags from an options schema: one per option, in kebab case, with its description, type and default. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { formOf, optionsOf, rangeWords, unwrapped } from "../forms.ts";
import { describeIssues } from "../issues.ts";
import { hint, plainName, promptWays, suggestion } from "../names.ts";
import { describeSchema, docstring, sentence } from "../papers/option-types.ts";
import { readTypedJson } from "./json.ts";

type Shape = Readonly<Record<string, z.ZodType>>;

interface SchemaFlagOptions {
  /** Of the help. */
  group?: string;
  /** Letters that stand for options, by their names. */
  short?: Readonly<Record<string, string>>;
  /** What holds in place of the schema's own defaults, by option. */
  defaults?: Readonly<Record<string, unknown>>;
}

/** Adds a flag for every option of the shape. Values that the schema refuses are `bad_option` naming the flag. */
export function addSchemaFlags(
  command: Command,
  shape: Shape,
  { group, short = {}, defaults = {} }: SchemaFlagOptions = {},
): void {
  for (const [name, schema] of Object.entries(shape)) {
    const flag = kebab(name);
    const list = isTextList(schema);
    const option = new Option(
      `${short[name] ? `-${short[name]}, ` : ""}--${flag} <${placeholder(schema)}>`,
      describeOption(schema, defaults[name]),
    );
    if (group) option.helpGroup(group);
    command.addOption(
      option.argParser((text: string, previous: unknown): unknown =>
        list ? [...((previous as string[] | undefined) ?? []), text] : parseFlag(command, schema, `--${flag}`, text),
      ),
    );
  }
}

function parseFlag(command: Command, schema: z.ZodType, flag: string, text: string): unknown {
  try {
    return parseValue(schema, flag, text);
  } catch (cause) {
    const { code, message } = cause as VentrisError;
    throw new VentrisError(code, `${message}${hadElsewhere(command, flag, text)}`, { cause });
  }
}

/** Says how else what a flag is called is had, such as an option of the method that was chosen; undefined: it is not. */
type Elsewhere = (name: string, value: string, flags: Readonly<Record<string, unknown>>) => string | undefined;

const elsewhere = new WeakMap<Command, Elsewhere>();

export const addElsewhere = (command: Command, say: Elsewhere): unknown => elsewhere.set(command, say);

/** The end of a sentence about a flag that a command has not, or has for something else; empty where there is nothing to say. */
export function hadElsewhere(command: Command, flag: string, value: string): string {
  const said = elsewhere.get(command)?.(flag.replace(/^-+/, ""), value, command.opts());
  return said === undefined ? "" : `; ${said}`;
}

/** The end of a sentence about a flag that there is not: how else it is had, the only one that it is the beginning of, or the nearest. */
export function meantFlag(unknown: string, command: Command): string {
  const other = hadElsewhere(command, unknown.replace(/=.*$/s, ""), "…");
  if (other) return other;
  const known = command.options.flatMap(({ long, hidden }) => (long && !hidden ? [long.slice(2)] : []));
  const name = unknown.replace(/^-+/, "");
  const way = command.registeredArguments.some((one) => one.name() === "prompt")
    ? promptWays[plainName(name)]
    : undefined;
  if (way !== undefined) return `: ${way}`;
  const whole = known.filter((one) => name.length > 1 && one.startsWith(name));
  const meant = whole.length === 1 ? hint(whole[0]) : suggestion(name, [...known, "help"]);
  return meant.replace(/"(.*)"/, "--$1");
}

/** Those of the parsed flags that belong to the shape, by their option names. */
export function pickFlags(flags: Readonly<Record<string, unknown>>, shape: Shape): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(shape).flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])),
  );
}

/** `name=value` pairs for a schema's options. Errors: `bad_option`, with the nearest name for an unknown one. */
export function parseAssignments(shape: Shape, pairs: readonly string[], subject: string): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const pair of pairs) {
    const [, name, text] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
    ensure(name, "bad_option", `${JSON.stringify(pair)}: write an option as name=value`);
    ensure(!(name in result), "bad_option", `the option ${name} is given twice`);
    if (!Object.hasOwn(shape, name)) {
      const names = Object.keys(shape);
      throw new VentrisError(
        "bad_option",
        `${subject} has no option "${name}"${suggestion(name, names) || "."} Options: ${names.join(", ") || "none"}`,
      );
    }
    result[name] = parseValue(shape[name], name, text);
  }
  return result;
}

/** A flag with a number that the schema takes, such as `--limit <number>` or `-n, --max-tokens <number>`. */
export const numberFlag = (flags: string, schema: z.ZodType, description: string): Option =>
  new Option(`${flags} <number>`, description).argParser((text) =>
    parseValue(schema, flags.replace(/^-\w, /, ""), text),
  );

export const threadsFlag = (): Option =>
  numberFlag("--threads", z.int().min(1).max(256), "how many threads compute at once; default: all cores, at most 8");

/** Errors: `bad_option` naming the first of some flags that was given though it has no part in what is asked for, and why. */
export function refuseFlags(command: Command, names: readonly string[], why: string): void {
  const foreign = names.find((name) => command.getOptionValueSource(name) === "cli");
  ensure(foreign === undefined, "bad_option", () => `--${kebab(foreign!)} ${why}`);
}

/** Errors: `bad_option` naming the first flag that stands before the name of a command below another, which does not see it there. */
export function refuseEarlyFlags(command: Command): void {
  const { parent } = command;
  const early = parent?.options.find((option) => parent.getOptionValueSource(option.attributeName()) === "cli");
  ensure(!early, "bad_option", () => {
    const has = command.options.some(({ long }) => long === early!.long);
    return `${early!.long} stands before ${command.name()}, which ${has ? "does not see it there: write it behind" : "has no such flag: leave it out"}`;
  });
}

/** Errors: `bad_option` naming the first flag for a file or folder that was given an empty text, which would pass for one that was not given. */
export function refuseEmptyPaths(command: Command): void {
  const empty = command.options.find((option) => {
    return /<(file|folder|path)/.test(option.flags) && command.getOptionValue(option.attributeName()) === "";
  });
  ensure(!empty, "bad_option", () => `${empty!.long} is empty: it must name a file or a folder`);
}

/** What the text of a flag means to a schema: JSON, a list without its brackets, plain text, or between commas texts or what is JSON of them. */
export function parseValue(schema: z.ZodType, name: string, text: string): unknown {
  const fits = (reading: unknown): boolean => reading !== undefined && schema.safeParse(reading).success;
  const readings = [parseJson(text), parseJson(`[${text}]`), text, text.split(",")];
  const fitting = readings.find(fits);
  if (fitting !== undefined) return fitting;
  // Last, as a long text may have many commas.
  const entries = text.split(",").map((entry) => parseJson(entry) ?? entry);
  if (fits(entries)) return entries;
  const written = /^\s*[[{]/.test(text);
  if (written) readJson(text, name);
  // Of a list it is said which entry is wrong.
  if (unwrapped(schema) instanceof z.ZodArray && !written) throw refused(schema, name, entries);
  const whole = refused(schema, name, readings[0] ?? text);
  const list = optionsOf(schema).find((option) => unwrapped(option) instanceof z.ZodArray);
  if (!list || written || whole.message.endsWith("?")) throw whole;
  throw new VentrisError("bad_option", `${whole.message}; as a list: ${refused(list, name, entries).message}`);
}

/** What a schema says of a value that it does not take. */
function refused(schema: z.ZodType, name: string, value: unknown): VentrisError {
  const { error } = schema.safeParse(value, { reportInput: true });
  return new VentrisError("bad_option", describeIssues(error?.issues ?? [], schema, [name]));
}

/** Effect, range, fields, default and an example, as sentences: `Keep only the k most likely tokens; 0 turns it off. From 0. Default: 0.` */
export function describeOption(schema: z.ZodType, instead?: unknown): string {
  const { hostOnly: _, default: own, ...field } = describeSchema(schema);
  const standard = instead ?? own;
  // Of what is transformed when it is read, JSON Schema leaves the examples out.
  const { properties = {}, required = [], examples = (schema.meta()?.examples ?? []) as readonly unknown[] } = field;
  const shape = (unwrapped(schema)?._zod.def as { shape?: Shape } | undefined)?.shape ?? {};
  const fields = Object.entries(properties).map(([name, { description, default: value, ...inner }]) => {
    const facts = [
      rangeWords(inner) || (optionsOf(shape[name]).length > 0 && formOf(shape[name])),
      required.includes(name) ? "needed" : value !== undefined && `default ${plainText(value)}`,
    ].filter(Boolean);
    return `${name}: ${description ?? "a value"}${facts.length > 0 ? ` (${facts.join(", ")})` : ""}`;
  });
  const several = severalForms(schema);
  return [
    docstring(field, true), // the default is told at the end
    several && sentence(several),
    fields.length > 0 && `Fields: ${fields.join("; ")}.`,
    isTextList(schema) && "May be given several times.",
    standard !== undefined &&
      !(Array.isArray(standard) && standard.length === 0) &&
      standard !== "" &&
      !/default/i.test(field.description ?? "") &&
      `Default: ${plainText(standard)}.`,
    examples.length > 0 && `Example: '${JSON.stringify(examples[0])}'`,
  ]
    .filter(Boolean)
    .join(" ");
}

/** All that an option may be which takes values of several kinds. */
function severalForms(schema: z.ZodType | undefined): string | undefined {
  const isWord = (option: z.ZodType): boolean => option instanceof z.ZodLiteral || option instanceof z.ZodEnum;
  const several = unwrapped(schema) instanceof z.ZodUnion && formOf(schema);
  // Words alone are said already where there is a place for a value.
  return several && !optionsOf(schema).every(isWord) ? several : undefined;
}

const plainText = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** A word for the kind of value. */
export function placeholder(schema: z.ZodType): string {
  if (isTextList(schema)) return "text";
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodNumber) return "number";
  if (inner instanceof z.ZodString) return "text";
  if (inner instanceof z.ZodBoolean) return "true|false";
  if (inner instanceof z.ZodEnum) return inner.options.join("|");
  if (inner instanceof z.ZodArray) return "list";
  // A function, which no command line can give: beside other kinds it is left out. One with examples is an object that is checked elsewhere.
  if (inner instanceof z.ZodCustom) return describeSchema(schema).examples ? "json" : "function";
  if (inner instanceof z.ZodUnion) {
    const kinds = inner.options.map((one) => (one instanceof z.ZodArray ? "list" : placeholder(one as z.ZodType)));
    return [...new Set(kinds)].filter((kind) => kind !== "function").join("|");
  }
  if (inner instanceof z.ZodLiteral) return [...inner.values].join("|");
  return "json";
}

/** Such flags may be repeated, and take their text as it is: a stop string may well look like JSON. */
function isTextList(schema: z.ZodType): boolean {
  const inner = unwrapped(schema);
  return inner instanceof z.ZodArray && inner.element instanceof z.ZodString;
}

export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function parseJson(text: string): unknown {
  try {
    return readJson(text, "");
  } catch {
    return undefined;
  }
}

/** JSON in which Infinity may stand, as in a program: 1e999 is how JSON itself writes it. Errors: `bad_option` naming the flag. */
function readJson(text: string, name: string): unknown {
  return readTypedJson(
    text.replace(/"(?:[^"\\]|\\.)*"|\bInfinity\b/g, (part) => (part === "Infinity" ? "1e999" : part)),
    name,
  );
}

const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  "0": "\0",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

/** A text whose backslashes stand for characters that a shell makes hard to write. Errors: `bad_option` for an escape that is none. */
export function readEscapes(text: string, flag: string): string {
  return text.replace(/\\(u\{[0-9a-f]{1,6}\}|u[0-9a-f]{4}|x[0-9a-f]{2}|.?)/gis, (whole, code: string) => {
    const plain = escapes[code];
    if (plain !== undefined) return plain;
    const point = code.length > 1 ? Number.parseInt(code.replace(/[ux{}]/gi, ""), 16) : Number.NaN;
    ensure(
      point <= 0x10ffff,
      "bad_option",
      `${flag} ${text}: ${whole} is no escape; \\n, \\t, \\r, \\\\ and \\u{…} are. Write \\\\ for a backslash`,
    );
    return String.fromCodePoint(point);
  });
}
