/**
 * Conditions on a value: schemas and what `and`, `or` and `not` make of them. Equal conditions are one object. What values a condition
 * allows is worked out at the first question, and so is whether there are any.
 */
import { ensure } from "../../errors.ts";
import { placed } from "./refusals.ts";
import { createShapes, noValues, type Values } from "./shapes.ts";

export type Condition =
  | { readonly id: number; readonly kind: "all" | "none" }
  | { readonly id: number; readonly kind: "values"; readonly values: () => Values }
  | { readonly id: number; readonly kind: "schema"; readonly schema: object; readonly where: string }
  | { readonly id: number; readonly kind: "and" | "or"; readonly items: readonly Condition[] }
  | { readonly id: number; readonly kind: "not"; readonly item: Condition };

export interface Conditions {
  readonly all: Condition;
  readonly none: Condition;
  and(items: readonly Condition[]): Condition;
  or(items: readonly Condition[]): Condition;
  not(item: Condition): Condition;
  /** What a single keyword allows. */
  values(make: () => Values): Condition;
  /** A schema object: one condition for each. */
  schema(schema: object, where: string): Condition;
  /** The values that a condition allows. Errors: `bad_option` for a schema that refers to itself without end. */
  valuesOf(condition: Condition): Values;
}

/** `read` gives what a schema object says, as a condition made of its keywords. */
export function createConditions(read: (schema: object, where: string) => Condition) {
  let ids = 0;
  const all: Condition = { id: ids++, kind: "all" };
  const none: Condition = { id: ids++, kind: "none" };
  const made = new Map<string, Condition>();
  const schemas = new Map<object, Condition>();
  const readings = new Map<Condition, Condition>();
  const known = new Map<Condition, Values>();
  const underWay = new Set<Condition>();

  const intern = (key: string, make: () => Condition): Condition => {
    let condition = made.get(key);
    if (!condition) {
      condition = make();
      made.set(key, condition);
    }
    return condition;
  };

  function join(kind: "and" | "or", items: readonly Condition[]): Condition {
    const [neutral, absorbing] = kind === "and" ? [all, none] : [none, all];
    const flat = new Set<Condition>();
    for (const item of items) {
      if (item === absorbing) return absorbing;
      if (item === neutral) continue;
      if (item.kind === kind) for (const inner of item.items) flat.add(inner);
      else flat.add(item);
    }
    const sorted = [...flat].sort((a, b) => a.id - b.id);
    if (sorted.some((item) => item.kind === "not" && flat.has(item.item))) return absorbing;
    if (sorted.length <= 1) return sorted[0] ?? neutral;
    return intern(`${kind}:${sorted.map(({ id }) => id)}`, () => ({ id: ids++, kind, items: sorted }));
  }

  const conditions: Conditions = {
    all,
    none,
    and: (items) => join("and", items),
    or: (items) => join("or", items),
    not(item) {
      if (item === all) return none;
      if (item === none) return all;
      if (item.kind === "not") return item.item;
      if (item.kind === "and") return conditions.or(item.items.map(conditions.not));
      if (item.kind === "or") return conditions.and(item.items.map(conditions.not));
      return intern(`not:${item.id}`, () => ({ id: ids++, kind: "not", item }));
    },
    values: (make) => ({ id: ids++, kind: "values", values: make }),
    schema(schema, where) {
      let condition = schemas.get(schema);
      if (!condition) {
        condition = { id: ids++, kind: "schema", schema, where };
        schemas.set(schema, condition);
      }
      return condition;
    },
    valuesOf(condition) {
      const old = known.get(condition);
      if (old) return old;
      const where = condition.kind === "schema" ? condition.where : undefined;
      placed(where, () => {
        ensure(!underWay.has(condition), "bad_option", "$ref leads back to the same schema without a value between");
      });
      underWay.add(condition);
      try {
        const values = placed(where, () => work(condition));
        known.set(condition, values);
        return values;
      } finally {
        underWay.delete(condition);
      }
    },
  };
  const shapes = createShapes(conditions);

  function reading(condition: Condition & { kind: "schema" }): Condition {
    let inner = readings.get(condition);
    if (!inner) {
      inner = read(condition.schema, condition.where);
      readings.set(condition, inner);
    }
    return inner;
  }

  function work(condition: Condition): Values {
    const { valuesOf } = conditions;
    switch (condition.kind) {
      case "all":
        return shapes.allValues;
      case "none":
        return noValues;
      case "values":
        return condition.values();
      case "schema":
        return valuesOf(reading(condition));
      case "and":
        return condition.items.reduce((left, item) => shapes.meet(left, valuesOf(item)), shapes.allValues);
      case "or":
        return unionOf(condition.items);
      case "not": {
        const { item } = condition;
        // Pushed inwards as far as it goes: the complement of one keyword is simple, that of many together is not.
        return item.kind === "schema" ? valuesOf(conditions.not(reading(item))) : shapes.complement(valuesOf(item));
      }
    }
  }

  /** By halves: what is united last is looked at again the least. */
  function unionOf(items: readonly Condition[]): Values {
    if (items.length <= 1) return items.length === 0 ? noValues : conditions.valuesOf(items[0]);
    const middle = items.length >> 1;
    return shapes.unite(unionOf(items.slice(0, middle)), unionOf(items.slice(middle)));
  }

  return { conditions, shapes };
}
