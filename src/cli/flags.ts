/** Command-line flags from an options schema: one per option, in kebab case, with its description, type and default. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { parseOptions } from "../engine/shapers/options.ts";
import { ensure, nearest, VentrisError } from "../errors.ts";

type Shape = Readonly<Record<string, z.ZodType>>;

/** Adds a flag for every option of the shape. Values that the schema refuses are `bad_option` naming the flag. */
export function addSchemaFlags(command: Command, shape: Shape): void {
  for (const [name, schema] of Object.entries(shape)) {
    const flag = kebab(name);
    const list = isTextList(schema);
    const option = new Option(
      `--${flag} <${placeholder(schema)}>`,
      describeOption(schema) + (list ? "; repeatable" : ""),
    );
    command.addOption(
      option.argParser((text: string, previous: unknown): unknown =>
        list ? [...((previous as string[] | undefined) ?? []), text] : parseValue(schema, `--${flag}`, text),
      ),
    );
  }
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
    ensure(name, "bad_option", `--set ${pair}: write it as name=value`);
    ensure(!(name in result), "bad_option", `--set ${name}: given twice`);
    if (!Object.hasOwn(shape, name)) {
      const names = Object.keys(shape);
      const meant = nearest(name, names);
      throw new VentrisError(
        "bad_option",
        `${subject} has no option "${name}"${meant ? `; did you mean "${meant}"?` : ""} Options: ${names.join(", ") || "none"}`,
      );
    }
    result[name] = parseValue(shape[name], name, text);
  }
  return result;
}

/** What the text of a flag means to a schema: JSON, a list without its brackets, plain text, or texts between commas. */
export function parseValue(schema: z.ZodType, name: string, text: string): unknown {
  const readings = [parseJson(text), parseJson(`[${text}]`), text, text.split(",")];
  const fitting = readings.find((reading) => reading !== undefined && schema.safeParse(reading).success);
  if (fitting !== undefined) return fitting;
  return parseOptions(z.strictObject({ [name]: schema }), { [name]: readings[0] ?? text }, "command-line");
}

/** A description with its default: `keep the k most likely tokens; 0 is off (default: 0)`. */
export function describeOption(schema: z.ZodType): string {
  const { data } = schema.safeParse(undefined);
  const shown =
    data === undefined || (Array.isArray(data) && data.length === 0) ? "" : ` (default: ${JSON.stringify(data)})`;
  return `${schema.description ?? ""}${shown}`.trim();
}

/** A word for the kind of value. */
export function placeholder(schema: z.ZodType): string {
  if (isTextList(schema)) return "text";
  const inner = unwrap(schema);
  if (inner instanceof z.ZodNumber) return "number";
  if (inner instanceof z.ZodString) return "text";
  if (inner instanceof z.ZodBoolean) return "true|false";
  if (inner instanceof z.ZodEnum) return inner.options.join("|");
  if (inner instanceof z.ZodArray) return "list";
  if (inner instanceof z.ZodUnion)
    return [...new Set(inner.options.map((o) => placeholder(o as z.ZodType)))].join(" or ");
  if (inner instanceof z.ZodLiteral) return [...inner.values].join("|");
  return "json";
}

/** Such flags may be repeated, and take their text as it is: a stop string may well look like JSON. */
function isTextList(schema: z.ZodType): boolean {
  const inner = unwrap(schema);
  return inner instanceof z.ZodArray && inner.element instanceof z.ZodString;
}

function unwrap(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodDefault || schema instanceof z.ZodOptional
    ? unwrap(schema.unwrap() as z.ZodType)
    : schema;
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
