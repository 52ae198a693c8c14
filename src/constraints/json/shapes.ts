/**
 * What values a schema allows, as data: for every JSON type the set of its values, arrays and objects as unions of shapes. The sets are
 * closed under union, intersection and complement, which is what makes `allOf`, `oneOf` and `not` exact. Subschemas stay conditions
 * (`conditions.ts`), which are looked into only where a text gets there, so recursion needs no care here.
 */
import { ensure } from "../../errors.ts";
import { anyText, except, intersect, type TextState, union } from "../automaton.ts";
import type { Condition, Conditions } from "./conditions.ts";
import { allNumbers, complementNumbers, intersectNumbers, type NumberSet } from "./number-sets.ts";

/** Names of properties. */
export interface Names {
  readonly id: number;
  /** All of them, where they are given one by one. */
  readonly listed?: ReadonlySet<string>;
  /** All but these, where that is what they are. */
  readonly allBut?: ReadonlySet<string>;
  has(name: string): boolean;
  /** Undefined for none. */
  automaton(): TextState | undefined;
}

export interface ObjectShape {
  /** Every property whose name is among `names` has a value that satisfies `value`. */
  readonly rules: readonly Property[];
  /** Some property whose name is among `names` has a value that satisfies `value`. */
  readonly needs: readonly Property[];
  readonly least: number;
  readonly most: number;
}
export interface Property {
  readonly names: Names;
  readonly value: Condition;
}

export interface ArrayShape {
  /** Conditions of the first items; `rest` of those that follow. */
  readonly items: readonly Condition[];
  readonly rest: Condition;
  readonly least: number;
  readonly most: number;
  readonly counts: readonly Count[];
  readonly unique: boolean;
}
/** Between `least` and `most` of the items from number `from` on satisfy `what`. */
export interface Count {
  readonly what: Condition;
  readonly from: number;
  readonly least: number;
  readonly most: number;
}

export interface Values {
  /** Of "null", "true", "false". */
  readonly words: readonly string[];
  readonly numbers: readonly NumberSet[];
  readonly text: TextState | undefined;
  readonly arrays: readonly ArrayShape[];
  readonly objects: readonly ObjectShape[];
}

export const noValues: Values = { words: [], numbers: [], text: undefined, arrays: [], objects: [] };
const allWords = ["null", "true", "false"];

/** Most shapes of one kind that alternatives may multiply to. */
const mostShapes = 2_000;
const mostCompared = 600;

export type Shapes = ReturnType<typeof createShapes>;

export function createShapes(conditions: Conditions) {
  const { all } = conditions;
  const anyArray: ArrayShape = { items: [], rest: all, least: 0, most: Infinity, counts: [], unique: false };
  const anyObject: ObjectShape = { rules: [], needs: [], least: 0, most: Infinity };
  const allValues: Values = {
    words: allWords,
    numbers: [allNumbers],
    text: anyText,
    arrays: [anyArray],
    objects: [anyObject],
  };
  const texts = new Map<string, TextState | undefined>();
  const textOf = (
    operation: (a: TextState | undefined, b: TextState | undefined) => TextState | undefined,
    a: TextState | undefined,
    b: TextState | undefined,
  ): TextState | undefined => {
    if (a === b && operation !== except) return a;
    const key = `${operation.name}:${a?.id}:${b?.id}`;
    if (!texts.has(key)) texts.set(key, operation(a, b));
    return texts.get(key);
  };

  const propertyKey = ({ names, value }: Property): string => `${names.id}>${value.id}`;
  const objectKey = ({ rules, needs, least, most }: ObjectShape): string =>
    `${rules.map(propertyKey)};${needs.map(propertyKey)};${least};${most}`;
  const arrayKey = ({ items, rest, least, most, counts, unique }: ArrayShape): string =>
    `${items.map(({ id }) => id)};${rest.id};${least};${most};${unique};${counts.map((c) => `${c.what.id},${c.from},${c.least},${c.most}`)}`;

  const unrepeated = <Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] => [
    ...new Map(items.map((item) => [keyOf(item), item])).values(),
  ];
  const distinct = <Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] => {
    ensure(
      items.length <= mostShapes,
      "bad_option",
      `alternatives (anyOf, oneOf, not) multiply to more than ${mostShapes} cases`,
    );
    return unrepeated(items, keyOf);
  };

  function unite(a: Values, b: Values): Values {
    return {
      words: allWords.filter((word) => a.words.includes(word) || b.words.includes(word)),
      numbers: distinct([...a.numbers, ...b.numbers], ({ key }) => key),
      text: textOf(union, a.text, b.text),
      arrays: distinct([...a.arrays, ...b.arrays], arrayKey),
      objects: withoutCovered(distinct([...a.objects, ...b.objects], objectKey)),
    };
  }

  function meet(a: Values, b: Values): Values {
    return {
      words: a.words.filter((word) => b.words.includes(word)),
      numbers: distinct(
        products(a.numbers, b.numbers, (x, y) => (x === y ? x : intersectNumbers(x, y))),
        ({ key }) => key,
      ),
      text: a.text === anyText ? b.text : b.text === anyText ? a.text : textOf(intersect, a.text, b.text),
      arrays: distinct(products(a.arrays, b.arrays, meetArrays), arrayKey),
      objects: withoutCovered(distinct(products(a.objects, b.objects, meetObjects), objectKey)),
    };
  }

  function products<Item>(
    as: readonly Item[],
    bs: readonly Item[],
    join: (a: Item, b: Item) => Item | undefined,
  ): Item[] {
    ensure(
      as.length * bs.length <= mostShapes * 4,
      "bad_option",
      `alternatives (anyOf, oneOf, not) multiply to more than ${mostShapes * 4} cases`,
    );
    return as.flatMap((a) => bs.flatMap((b) => join(a, b) ?? []));
  }

  function meetObjects(a: ObjectShape, b: ObjectShape): ObjectShape | undefined {
    const least = Math.max(a.least, b.least);
    const most = Math.min(a.most, b.most);
    if (least > most) return undefined;
    const rules = unrepeated([...a.rules, ...b.rules], propertyKey).sort(byNames);
    const needs = unrepeated([...a.needs, ...b.needs], propertyKey).sort(byNames);
    const isRefuted = ({ names, value }: Property): boolean =>
      names.listed?.size === 1 &&
      conditions.and([value, ...rules.filter((rule) => rule.names === names).map((rule) => rule.value)]) ===
        conditions.none;
    return needs.some(isRefuted) ? undefined : { rules, needs, least, most };
  }

  /** Shapes that another one covers are no alternatives of their own. */
  function withoutCovered(objects: readonly ObjectShape[]): readonly ObjectShape[] {
    if (objects.length < 2 || objects.length > mostCompared) return objects;
    const keyed = objects.map((shape) => ({
      shape,
      rules: new Set(shape.rules.filter(({ value }) => value !== all).map(propertyKey)),
      needs: new Set(shape.needs.map(propertyKey)),
    }));
    const covers = (wide: (typeof keyed)[number], narrow: (typeof keyed)[number]): boolean =>
      wide.rules.size <= narrow.rules.size &&
      wide.needs.size <= narrow.needs.size &&
      wide.shape.least <= narrow.shape.least &&
      wide.shape.most >= narrow.shape.most &&
      isSubset(wide.rules, narrow.rules) &&
      isSubset(wide.needs, narrow.needs);
    const kept: typeof keyed = [];
    for (const one of keyed) {
      if (kept.some((other) => covers(other, one))) continue;
      for (let i = kept.length - 1; i >= 0; i--) if (covers(one, kept[i])) kept.splice(i, 1);
      kept.push(one);
    }
    return kept.map(({ shape }) => shape);
  }

  function meetArrays(a: ArrayShape, b: ArrayShape): ArrayShape | undefined {
    const least = Math.max(a.least, b.least);
    const most = Math.min(a.most, b.most);
    if (least > most) return undefined;
    const length = Math.max(a.items.length, b.items.length);
    const item = (shape: ArrayShape, i: number): Condition => shape.items[i] ?? shape.rest;
    return {
      items: Array.from({ length }, (_, i) => conditions.and([item(a, i), item(b, i)])),
      rest: conditions.and([a.rest, b.rest]),
      least,
      most,
      counts: unrepeated(
        [...a.counts, ...b.counts],
        (count) => `${count.what.id},${count.from},${count.least},${count.most}`,
      ),
      unique: a.unique || b.unique,
    };
  }

  function complement(values: Values): Values {
    const numbers = values.numbers.reduce<readonly NumberSet[]>(
      (left, set) => products(left, complementNumbers(set), intersectNumbers),
      [allNumbers],
    );
    const arrays = values.arrays.reduce<readonly ArrayShape[]>(
      (left, shape) => distinct(products(left, complementArray(shape), meetArrays), arrayKey),
      [anyArray],
    );
    const objects = values.objects.reduce<readonly ObjectShape[]>(
      (left, shape) => withoutCovered(distinct(products(left, complementObject(shape), meetObjects), objectKey)),
      [anyObject],
    );
    return {
      words: allWords.filter((word) => !values.words.includes(word)),
      numbers,
      text: values.text === anyText ? undefined : textOf(except, anyText, values.text),
      arrays,
      objects,
    };
  }

  function complementObject({ rules, needs, least, most }: ObjectShape): ObjectShape[] {
    const negated = ({ names, value }: Property): Property => ({ names, value: conditions.not(value) });
    return [
      ...rules.map((one) => ({ ...anyObject, needs: [negated(one)] })),
      ...needs.map((one) => ({ ...anyObject, rules: [negated(one)] })),
      ...(least > 0 ? [{ ...anyObject, most: least - 1 }] : []),
      ...(most < Infinity ? [{ ...anyObject, least: most + 1 }] : []),
    ];
  }

  function complementArray({ items, rest, least, most, counts, unique }: ArrayShape): ArrayShape[] {
    ensure(!unique, "bad_option", "uniqueItems: cannot be negated (within not or oneOf)");
    const counting = (count: Count): ArrayShape => ({ ...anyArray, counts: [count] });
    const other = rest === all ? [] : [{ what: conditions.not(rest), from: items.length, least: 1, most: Infinity }];
    return [
      ...items.flatMap((item, i) => {
        if (item === all) return [];
        return [{ ...anyArray, items: [...new Array(i).fill(all), conditions.not(item)], least: i + 1 }];
      }),
      ...other.map(counting),
      ...counts.flatMap((count) => [
        ...(count.least > 0 ? [counting({ ...count, least: 0, most: count.least - 1 })] : []),
        ...(count.most < Infinity ? [counting({ ...count, least: count.most + 1, most: Infinity })] : []),
      ]),
      ...(least > 0 ? [{ ...anyArray, most: least - 1 }] : []),
      ...(most < Infinity ? [{ ...anyArray, least: most + 1 }] : []),
    ];
  }

  /** The conditions on what is within values. */
  function conditionsIn({ arrays, objects }: Values): Condition[] {
    return [
      ...arrays.flatMap(({ items, rest, counts }) => [...items, rest, ...counts.map(({ what }) => what)]),
      ...objects.flatMap(({ rules, needs }) => [...rules, ...needs].map(({ value }) => value)),
    ];
  }

  return { allValues, anyArray, anyObject, unite, meet, complement, conditionsIn, objectKey, arrayKey };
}

const byNames = (a: Property, b: Property): number => a.names.id - b.names.id || a.value.id - b.value.id;
const isSubset = (part: ReadonlySet<string>, whole: ReadonlySet<string>): boolean =>
  [...part].every((one) => whole.has(one));
