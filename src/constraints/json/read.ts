/**
 * From a schema object to the condition that its keywords make together. Every keyword of the supported drafts is enforced here, is an
 * annotation by the standard, or is refused by name; names that no draft knows are annotations, as the standard says,
 * but for those that are nearly a keyword's.
 */

import { VentrisError } from "../../errors.ts";
import { didYouMean, editDistance, hint, likelySlips, meantBy, suggestion } from "../../names.ts";
import { isListOf, isText } from "../../values.ts";
import { accepts, anyText, except, ofLength, oneOf, type TextState } from "../automaton.ts";
import { compileRegex } from "../regex/compile.ts";
import type { Condition, Conditions } from "./conditions.ts";
import { type Draft, escapePointer, isObject, type Schema, type SchemaDocument } from "./document.ts";
import { formatNames, formatOf } from "./formats.ts";
import {
  above,
  allNumbers,
  atLeast,
  atMost,
  below,
  exactly,
  integers,
  multiplesOf,
  type NumberSet,
} from "./number-sets.ts";
import { createOneOf } from "./one-of.ts";
import { SchemaError } from "./refusals.ts";
import type { ArrayShape, Names, ObjectShape, Shapes, Values } from "./shapes.ts";

/** A keyword's part of a schema, for messages. */
export interface Part {
  readonly keyword: string;
  readonly condition: Condition;
}

const refused: Readonly<Record<string, string>> = {
  unevaluatedProperties: "it depends on which other keywords looked at a property",
  unevaluatedItems: "it depends on which other keywords looked at an item",
  $dynamicRef: "it is a reference that depends on the way to it",
  $recursiveRef: "it is a reference that depends on the way to it",
};

/** Keywords that a text must satisfy. */
const restricting = new Set(
  "$ref type enum const properties required additionalProperties patternProperties propertyNames minProperties maxProperties items prefixItems additionalItems contains minContains maxContains minItems maxItems uniqueItems minLength maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf allOf anyOf oneOf not if then else dependentRequired dependentSchemas dependencies".split(
    " ",
  ),
);
/** Of shorter ones too many words are near: `types`, `note`. */
const longRestricting = [...restricting].filter((keyword) => keyword.length >= 5);
const shortRestricting = [...restricting].filter((keyword) => keyword.length === 4);

/** The keyword that a misspelt one was meant for. Of a short one a letter was left out, or two changed places. */
function meantKeyword(keyword: string): string | undefined {
  const inside = (word: string, other: string): boolean => [...word].every((letter) => other.includes(letter));
  return (
    meantBy(keyword, longRestricting, likelySlips(keyword)) ??
    shortRestricting.find(
      (one) => keyword.length <= one.length && inside(keyword, one) && editDistance(keyword, one) === 1,
    )
  );
}

/** Keywords that a draft does not have, though another one does. */
const since2019 = ["dependentRequired", "dependentSchemas", "minContains", "maxContains"];
const types = ["null", "boolean", "number", "integer", "string", "array", "object"];

/** What of a schema's dialect and references is taken for granted while it is read. */
export interface ReaderOptions {
  /** What to do with formats that are not known: refuse them (default) or take them as annotations. */
  readonly unknownFormats?: "refuse" | "ignore";
}

export function createReader(
  document: SchemaDocument,
  tools: () => { conditions: Conditions; shapes: Shapes },
  { unknownFormats = "refuse" }: ReaderOptions = {},
) {
  const { draft } = document;
  let names = 0;
  const listed = (texts: readonly string[]): Names => {
    const set = new Set(texts);
    const key = JSON.stringify(texts);
    let known = listedNames.get(key);
    if (!known) {
      known = { id: names++, listed: set, has: (name) => set.has(name), automaton: () => oneOf(set) };
      listedNames.set(key, known);
    }
    return known;
  };
  const listedNames = new Map<string, Names>();
  const automatonNames = (automaton: () => TextState | undefined, has: (name: string) => boolean): Names => {
    let made: { automaton: TextState | undefined } | undefined;
    return {
      id: names++,
      has,
      automaton() {
        made ??= { automaton: automaton() };
        return made.automaton;
      },
    };
  };
  const patterns = new Map<string, { automaton: TextState | undefined; names: Names }>();

  /** Texts in which a pattern is found. */
  function pattern(
    source: unknown,
    where: string,
    keyword: string,
  ): { automaton: TextState | undefined; names: Names } {
    if (typeof source !== "string") throw new SchemaError(where, `${keyword}: a pattern is a text`);
    let known = patterns.get(source);
    if (!known) {
      let automaton: TextState | undefined;
      try {
        automaton = compileRegex(source, { search: true });
      } catch (cause) {
        if (!(cause instanceof VentrisError)) throw cause;
        throw new SchemaError(where, `${keyword}: ${cause.message}`, { cause });
      }
      const has = (name: string): boolean => accepts(automaton, name);
      known = { automaton, names: automatonNames(() => automaton, has) };
      patterns.set(source, known);
    }
    return known;
  }

  const child = (schema: unknown, where: string): Condition => {
    const { conditions } = tools();
    if (schema === true) return conditions.all;
    if (schema === false) return conditions.none;
    if (!isObject(schema)) {
      throw new SchemaError(where, `a schema is an object or a boolean, not ${JSON.stringify(schema)?.slice(0, 80)}`);
    }
    return conditions.schema(schema, where);
  };

  const read = new Map<object, Part[]>();
  function parts(schema: { readonly [keyword: string]: unknown }, where: string): Part[] {
    let known = read.get(schema);
    if (!known) {
      known = readParts(schema, where);
      read.set(schema, known);
    }
    return known;
  }

  /** Parts in the order of the keywords below; those without a condition are left out. */
  function readParts(schema: { readonly [keyword: string]: unknown }, where: string): Part[] {
    const { conditions, shapes } = tools();
    const result: Part[] = [];
    const bad = (keyword: string, what: string): never => {
      throw new SchemaError(where, `${keyword}: ${what}`);
    };
    const must = (holds: unknown, keyword: string, what: string): void => {
      if (!holds) bad(keyword, what);
    };
    const part = (keyword: string, condition: Condition): void => {
      if (condition !== conditions.all) result.push({ keyword, condition });
    };
    const of = (keyword: string, values: (given: Values) => Partial<Values>): void => {
      part(
        keyword,
        conditions.values(() => ({ ...shapes.allValues, ...values(shapes.allValues) })),
      );
    };
    const on = <Kind>(
      keyword: string,
      check: (value: unknown) => value is Kind,
      kind: string,
      use: (value: Kind) => void,
    ): void => {
      const value = schema[keyword];
      if (value === undefined) return;
      if (check(value)) use(value);
      else bad(keyword, `must be ${kind}, not ${JSON.stringify(value)?.slice(0, 60)}`);
    };
    const numbers = (keyword: string, set: NumberSet): void => of(keyword, () => ({ numbers: [set] }));
    const text = (keyword: string, automaton: () => TextState | undefined): void =>
      of(keyword, () => ({ text: automaton() }));
    const array = (keyword: string, shape: Partial<ArrayShape>): void =>
      of(keyword, () => ({ arrays: [{ ...shapes.anyArray, ...shape }] }));
    const object = (keyword: string, shape: Partial<ObjectShape>): void =>
      of(keyword, () => ({ objects: [{ ...shapes.anyObject, ...shape }] }));
    const below$ = (keyword: string, key: string | number): string => `${where}/${keyword}/${escapePointer(`${key}`)}`;

    for (const keyword of Object.keys(schema)) {
      if (Object.hasOwn(refused, keyword)) bad(keyword, `is not supported: ${refused[keyword]}`);
      // A misspelt keyword would be an annotation, and what it asks for would not hold. With _ before it, it was put out of use on purpose.
      const meant = restricting.has(keyword) || keyword.startsWith("_") ? undefined : meantKeyword(keyword);
      if (meant) bad(keyword, `there is no such keyword${hint(meant)}`);
    }
    checkDraft(schema, draft, bad);

    on("$ref", isText, "a text", (reference) => {
      const target = document.resolve(reference, schema, where);
      part("$ref", child(target.schema, target.where));
    });
    if (schema.type !== undefined) {
      const list = Array.isArray(schema.type) ? schema.type : [schema.type];
      for (const name of list) {
        must(
          types.includes(name as string),
          "type",
          `there is no type ${JSON.stringify(name)}${typeof name === "string" ? suggestion(name, types) : ""}`,
        );
      }
      must(list.length > 0, "type", "the list is empty: nothing is valid");
      part(
        "type",
        conditions.values(() => ofTypes(list as string[], shapes)),
      );
    }
    on("enum", isList, "a list", (list) => {
      must(list.length > 0, "enum", "the list is empty: nothing is valid");
      part("enum", among(list));
    });
    if (Object.hasOwn(schema, "const")) part("const", among([schema.const]));

    // Numbers.
    const exclusive =
      draft === "4" || typeof schema.exclusiveMinimum === "boolean" || typeof schema.exclusiveMaximum === "boolean";
    if (exclusive) {
      must(
        draft === "4" || draft === undefined,
        "exclusiveMinimum, exclusiveMaximum",
        `must be numbers in draft ${draft}`,
      );
      on("minimum", isNumber, "a number", (n) =>
        numbers("minimum", schema.exclusiveMinimum === true ? above(n) : atLeast(n)),
      );
      on("maximum", isNumber, "a number", (n) =>
        numbers("maximum", schema.exclusiveMaximum === true ? below(n) : atMost(n)),
      );
    } else {
      on("minimum", isNumber, "a number", (n) => numbers("minimum", atLeast(n)));
      on("maximum", isNumber, "a number", (n) => numbers("maximum", atMost(n)));
      on("exclusiveMinimum", isNumber, "a number", (n) => numbers("exclusiveMinimum", above(n)));
      on("exclusiveMaximum", isNumber, "a number", (n) => numbers("exclusiveMaximum", below(n)));
    }
    on("multipleOf", isNumber, "a number", (n) => {
      must(n > 0, "multipleOf", `must be greater than 0, not ${n}`);
      numbers("multipleOf", multiplesOf(n));
    });

    // Strings.
    on("minLength", isCount, "a whole number from 0", (n) => {
      if (n > 0) text("minLength", () => ofLength(n, Infinity));
    });
    on("maxLength", isCount, "a whole number from 0", (n) => text("maxLength", () => ofLength(0, n)));
    if (schema.pattern !== undefined) {
      const { automaton } = pattern(schema.pattern, where, "pattern");
      text("pattern", () => automaton);
    }
    on("format", isText, "a text", (name) => {
      const automaton = formatOf(name);
      if (automaton) text("format", () => automaton);
      else if (unknownFormats === "refuse") {
        bad("format", `"${name}" is not known${didYouMean(name, formatNames)} Known: ${formatNames.join(", ")}`);
      }
    });

    // Arrays.
    on("minItems", isCount, "a whole number from 0", (n) => {
      if (n > 0) array("minItems", { least: n });
    });
    on("maxItems", isCount, "a whole number from 0", (n) => array("maxItems", { most: n }));
    on("uniqueItems", isBoolean, "true or false", (yes) => {
      if (yes) array("uniqueItems", { unique: true });
    });
    const tuple = Array.isArray(schema.items) ? "items" : "prefixItems";
    if (tuple === "items")
      must(draft !== "2020-12", "items", "a list of schemas is called prefixItems in draft 2020-12");
    on(tuple, isList, "a list of schemas", (list) => {
      array(tuple, { items: list.map((item, i) => child(item, below$(tuple, i))) });
    });
    const prefix = Array.isArray(schema[tuple]) ? (schema[tuple] as unknown[]).length : 0;
    const restKeyword = tuple === "items" ? "additionalItems" : "items";
    if (schema[restKeyword] !== undefined) {
      const rest = child(schema[restKeyword], `${where}/${restKeyword}`);
      if (rest !== conditions.all) array(restKeyword, { items: new Array(prefix).fill(conditions.all), rest });
    }
    let [least, most] = [1, Infinity];
    on("minContains", isCount, "a whole number from 0", (n) => {
      least = n;
    });
    on("maxContains", isCount, "a whole number from 0", (n) => {
      most = n;
    });
    if (schema.contains !== undefined) {
      const what = child(schema.contains, `${where}/contains`);
      array("contains", { counts: [{ what, from: 0, least, most }] });
    }

    // Objects.
    on("minProperties", isCount, "a whole number from 0", (n) => {
      if (n > 0) object("minProperties", { least: n });
    });
    on("maxProperties", isCount, "a whole number from 0", (n) => object("maxProperties", { most: n }));
    on("required", isTexts, "a list of texts", (list) => {
      if (list.length > 0)
        object("required", { needs: list.map((name) => ({ names: listed([name]), value: conditions.all })) });
    });
    const own: string[] = [];
    on("properties", isObject, "an object of schemas", (properties) => {
      own.push(...Object.keys(properties));
      object("properties", {
        rules: own.flatMap((name) => {
          const value = child(properties[name], below$("properties", name));
          // Even a property that may be anything has a name, which is worth knowing where others are forbidden.
          return [{ names: listed([name]), value }];
        }),
      });
    });
    const matched: Names[] = [];
    on("patternProperties", isObject, "an object of schemas", (properties) => {
      const rules = Object.entries(properties).map(([source, value]) => {
        const { names: matching } = pattern(source, where, "patternProperties");
        matched.push(matching);
        return { names: matching, value: child(value, below$("patternProperties", source)) };
      });
      object("patternProperties", { rules });
    });
    if (schema.additionalProperties !== undefined) {
      const value = child(schema.additionalProperties, `${where}/additionalProperties`);
      if (value !== conditions.all) {
        const set = new Set(own);
        const others = automatonNames(
          () =>
            matched.reduce<TextState | undefined>(
              (left, { automaton }) => except(left, automaton()),
              except(anyText, oneOf(set)),
            ),
          (name) => !set.has(name) && !matched.some((pattern) => pattern.has(name)),
        );
        const names = matched.length > 0 ? others : { ...others, allBut: set };
        object("additionalProperties", { rules: [{ names, value }] });
      }
    }
    if (schema.propertyNames !== undefined) {
      const condition = child(schema.propertyNames, `${where}/propertyNames`);
      if (condition !== conditions.all) {
        part(
          "propertyNames",
          conditions.values(() => {
            const { text: allowed } = conditions.valuesOf(condition);
            const wrong = except(anyText, allowed);
            const outside = automatonNames(
              () => wrong,
              (name) => !accepts(allowed, name),
            );
            const rules = wrong ? [{ names: outside, value: conditions.none }] : [];
            return { ...shapes.allValues, objects: [{ ...shapes.anyObject, rules }] };
          }),
        );
      }
    }
    const without = (name: string): Condition => {
      const rules = [{ names: listed([name]), value: conditions.none }];
      return conditions.values(() => ({ ...shapes.allValues, objects: [{ ...shapes.anyObject, rules }] }));
    };
    const depend = (keyword: string, name: string, value: unknown): void => {
      must(keyword !== "dependentRequired" || isList(value), keyword, "must list texts");
      must(
        keyword !== "dependentSchemas" || !isList(value),
        keyword,
        "must hold schemas: lists are dependentRequired's",
      );
      if (Array.isArray(value)) {
        must(isTexts(value), keyword, "must list texts");
        const needs = (value as string[]).map((other) => ({ names: listed([other]), value: conditions.all }));
        const all = conditions.values(() => ({ ...shapes.allValues, objects: [{ ...shapes.anyObject, needs }] }));
        if (needs.length > 0) part(keyword, conditions.or([without(name), all]));
      } else part(keyword, conditions.or([without(name), child(value, below$(keyword, name))]));
    };
    for (const keyword of ["dependencies", "dependentRequired", "dependentSchemas"]) {
      on(keyword, isObject, "an object", (entries) => {
        for (const [name, value] of Object.entries(entries)) depend(keyword, name, value);
      });
    }

    // Combinations.
    const several = (keyword: string): Condition[] => {
      const list = schema[keyword];
      must(isList(list) && list.length > 0, keyword, "must be a list of at least one schema");
      return (list as unknown[]).map((item, i) => child(item, below$(keyword, i)));
    };
    if (schema.allOf !== undefined) for (const item of several("allOf")) part("allOf", item);
    if (schema.anyOf !== undefined) part("anyOf", conditions.or(several("anyOf")));
    if (schema.oneOf !== undefined) part("oneOf", exactlyOne(several("oneOf"), where));
    if (schema.not !== undefined) part("not", conditions.not(child(schema.not, `${where}/not`)));
    // Each counts only beside another, and must be a schema all the same.
    const [test, yes, no] = ["if", "then", "else"].map((keyword) =>
      schema[keyword] === undefined ? conditions.all : child(schema[keyword], `${where}/${keyword}`),
    );
    if (schema.if !== undefined && yes !== conditions.all) part("then", conditions.or([conditions.not(test), yes]));
    if (schema.if !== undefined && no !== conditions.all) part("else", conditions.or([test, no]));
    return result;
  }

  let overlap: (a: Condition, b: Condition) => boolean = () => true;
  const exactlyOne = createOneOf(document, tools, (a, b) => overlap(a, b));

  /** Exactly the given values. */
  function among(list: readonly unknown[]): Condition {
    const { conditions, shapes } = tools();
    return conditions.values(() => {
      const simple = (kind: string): unknown[] => list.filter((value) => typeof value === kind);
      const numbers = simple("number") as number[];
      const arrays = list.filter(Array.isArray).map(
        (value): ArrayShape => ({
          ...shapes.anyArray,
          items: value.map((item) => among([item])),
          least: value.length,
          most: value.length,
        }),
      );
      const objects = list.filter(isObject).map((value): ObjectShape => {
        const keys = Object.keys(value);
        return {
          ...shapes.anyObject,
          rules: keys.map((key) => ({ names: listed([key]), value: among([value[key]]) })),
          needs: keys.map((key) => ({ names: listed([key]), value: conditions.all })),
          most: keys.length,
        };
      });
      return {
        words: [null, true, false].filter((word) => list.includes(word)).map(String),
        numbers: numbers.length > 0 ? [exactly(numbers)] : [],
        text: oneOf(simple("string") as string[]),
        arrays,
        objects,
      };
    });
  }

  return {
    parts,
    read: (schema: object, where: string): Condition =>
      tools().conditions.and(parts(schema as Exclude<Schema, boolean>, where).map(({ condition }) => condition)),
    /** Whether two conditions can hold together: asked for oneOf, once that can be answered. */
    setOverlap(answer: typeof overlap): void {
      overlap = answer;
    },
  };
}

function ofTypes(list: readonly string[], { allValues }: Shapes): Values {
  const has = (name: string): boolean => list.includes(name);
  return {
    words: [...(has("null") ? ["null"] : []), ...(has("boolean") ? ["true", "false"] : [])],
    numbers: has("number") ? [allNumbers] : has("integer") ? [integers] : [],
    text: has("string") ? anyText : undefined,
    arrays: has("array") ? allValues.arrays : [],
    objects: has("object") ? allValues.objects : [],
  };
}

function checkDraft(
  schema: { readonly [keyword: string]: unknown },
  draft: Draft | undefined,
  bad: (keyword: string, what: string) => never,
): void {
  if (draft === undefined || draft === "2020-12") return;
  const later = draft === "2019-09" ? ["prefixItems"] : ["prefixItems", ...since2019];
  for (const keyword of later) {
    if (schema[keyword] !== undefined) bad(keyword, `draft ${draft}, which $schema names, has no such keyword`);
  }
}

const isTexts = (value: unknown): value is string[] => isListOf(value, isText);
const isNumber = (value: unknown): value is number => typeof value === "number";
const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
const isList = (value: unknown): value is unknown[] => Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
