/** What a value may be, in words, as its schema has it: `a whole number from 1 to 64`, `"all"`, `a list of texts`. */
import type { z } from "zod";
import { shown } from "./errors.ts";

/** Bounds of a number. */
export interface Range {
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** `from 0 to 1`; empty where there are no bounds but those of whole numbers. */
export function rangeWords({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Range): string {
  const [low, high] = [exclusiveMinimum ?? minimum, exclusiveMaximum ?? maximum];
  const unbounded = (bound: number | undefined): boolean =>
    bound === undefined || Math.abs(bound) >= Number.MAX_SAFE_INTEGER;
  const from = unbounded(low) ? "" : exclusiveMinimum !== undefined ? `above ${low}` : `from ${low}`;
  const to = unbounded(high) ? "" : exclusiveMaximum !== undefined ? `below ${high}` : `to ${high}`;
  const between = exclusiveMaximum !== undefined ? " and " : exclusiveMinimum !== undefined ? " up " : " ";
  return [from, to].filter(Boolean).join(between);
}

/** Fields of an object that are named where it has no example: a long list of them helps nobody. */
const mostFields = 8;

/** All that a value may be, each in words: its title where it has one. None where its schema is a program that says no more. */
function forms(schema: z.ZodType | undefined, many = false): string[] {
  const base = unwrapped(schema);
  if (!base) return [];
  const def = base._zod.def as unknown as Definition;
  const title = base.meta?.()?.title;
  if (title) return [title];
  const one = (single: string, plural: string): string[] => [many ? plural : single];
  switch (def.type) {
    case "literal":
      return def.values!.map(shown);
    case "enum":
      return Object.values(def.entries!).map(shown);
    case "union":
      return [...new Set(def.options!.flatMap((option) => forms(option, many)))];
    case "number": {
      const { whole, ...bounds } = numbersOf(def);
      const range = rangeWords(bounds);
      const [single, plural] = whole ? ["a whole number", "whole numbers"] : ["a number", "numbers"];
      return one(`${single} ${range}`.trim(), `${plural} ${range}`.trim());
    }
    case "string":
      return one("a text", "texts");
    case "boolean":
      return ["true", "false"];
    case "null":
      return ["null"];
    case "array": {
      const form = listed(forms(def.element, true));
      const items = form.startsWith("of the form") ? `entries ${form}` : form;
      return one(`a list${items && ` of ${items}`}`, `lists${items && ` of ${items}`}`);
    }
    case "object": {
      const example = exampleOf(schema);
      if (example) return [example];
      const names = Object.keys(def.shape!);
      const more = names.length > mostFields ? ", …" : "";
      return names.length === 0 ? [] : [`{ ${names.slice(0, mostFields).join(", ")}${more} }`];
    }
    case "pipe": {
      const before = forms(def.in, many);
      return before.length > 0 ? before : [exampleOf(schema) ?? []].flat();
    }
    default: // what is lazy contains itself, such as any JSON: its forms have no end
      return [exampleOf(schema) ?? []].flat();
  }
}

/** Bounds of a number's schema, and whether it takes whole numbers alone. */
function numbersOf(def: Definition): Range & { whole: boolean } {
  const checks = [def, ...(def.checks ?? []).map((check) => check._zod.def)];
  const bound = (side: string, inclusive: boolean): number | undefined =>
    checks.findLast((check) => check.check === side && check.inclusive === inclusive)?.value;
  return {
    whole: checks.some(({ format }) => format?.includes("int")),
    minimum: bound("greater_than", true),
    maximum: bound("less_than", true),
    exclusiveMinimum: bound("greater_than", false),
    exclusiveMaximum: bound("less_than", false),
  };
}

/** What a schema is made of, by its kind. */
interface Definition extends Check {
  readonly type: string;
  readonly checks?: readonly { readonly _zod: { readonly def: Check } }[];
  readonly values?: readonly unknown[];
  readonly entries?: Readonly<Record<string, unknown>>;
  readonly options?: readonly z.ZodType[];
  readonly element?: z.ZodType;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly in?: z.ZodType;
}

interface Check {
  readonly check?: string;
  readonly value?: number;
  readonly inclusive?: boolean;
  readonly format?: string;
}

/** What a value may be, as the end of `x must be …`; undefined where the schema does not say. */
export const formOf = (schema: z.ZodType | undefined): string | undefined => listed(forms(schema)) || undefined;

/** The texts among what a value may be, for "did you mean". */
export function wordsOf(schema: z.ZodType | undefined): string[] {
  const def = unwrapped(schema)?._zod.def as unknown as Definition | undefined;
  const own = def?.values ?? Object.values(def?.entries ?? {});
  return [...own.filter((value) => typeof value === "string"), ...(def?.options ?? []).flatMap(wordsOf)];
}

/** The schemas of which a value must fit one. */
export const optionsOf = (schema: z.ZodType | undefined): readonly z.ZodType[] =>
  (unwrapped(schema)?._zod.def as unknown as Definition | undefined)?.options ?? [];

/** One that may be copied, where a schema has any: the mark may stand on any of its layers. */
function exampleOf(schema: z.ZodType | undefined): string | undefined {
  for (let at = schema; at; at = innerOf(at)) {
    const [example] = (at.meta?.()?.examples as unknown[] | undefined) ?? [];
    if (example !== undefined) return `of the form ${JSON.stringify(example)}`;
  }
  return undefined;
}

/** `a, b or c`. */
export const listed = (values: readonly string[]): string =>
  values.length < 2 ? (values[0] ?? "") : `${values.slice(0, -1).join(", ")} or ${values[values.length - 1]}`;

const innerOf = (schema: z.ZodType): z.ZodType | undefined =>
  (schema._zod.def as unknown as { innerType?: z.ZodType }).innerType;

/** A schema without its layers of `optional` and `default`. */
export function unwrapped(schema: z.ZodType | undefined): z.ZodType | undefined {
  let at = schema;
  for (;;) {
    const inner = at && innerOf(at);
    if (!inner) return at;
    at = inner;
  }
}
