/**
 * `oneOf`: one of several, and none of the others. The others need excluding only where both can hold. What is fixed in writing (types,
 * values, the values of required properties) tells most alternatives apart at a glance; only for the rest it is worked out, pair by pair.
 */
import type { Condition, Conditions } from "./conditions.ts";
import { escapePointer, isObject, type SchemaDocument } from "./document.ts";
import { SchemaError } from "./refusals.ts";

/** What a schema says of every value that it allows; what is missing says nothing. */
interface Traits {
  readonly types?: ReadonlySet<string>;
  /** All values, as JSON, where these are listed. */
  readonly values?: ReadonlySet<string>;
  /** The same of properties that every object has. */
  readonly properties: ReadonlyMap<string, ReadonlySet<string>>;
}

const none: Traits = { properties: new Map() };
/** Pairs whose overlap is worked out, of all oneOf of a schema. */
const mostPairs = 20_000;

export function createOneOf(
  document: SchemaDocument,
  tools: () => { conditions: Conditions },
  overlap: (a: Condition, b: Condition) => boolean,
) {
  let pairs = 0;

  const known = new Map<object, Traits>();

  function traitsOf(schema: unknown, where: string): Traits {
    if (!isObject(schema)) return none;
    let traits = known.get(schema);
    if (!traits) {
      // A schema that comes to itself adds nothing to what it says.
      known.set(schema, none);
      traits = readTraits(schema, where);
      known.set(schema, traits);
    }
    return traits;
  }

  function readTraits(schema: { readonly [keyword: string]: unknown }, where: string): Traits {
    const all: Traits[] = [];
    if (typeof schema.$ref === "string") {
      const target = document.resolve(schema.$ref, schema, where);
      all.push(traitsOf(target.schema, target.where));
    }
    if (Array.isArray(schema.allOf)) {
      schema.allOf.forEach((item, i) => {
        all.push(traitsOf(item, `${where}/allOf/${i}`));
      });
    }
    if (schema.type !== undefined) {
      const list = Array.isArray(schema.type) ? schema.type : [schema.type];
      all.push({
        types: new Set(list.map((type) => (type === "integer" ? "number" : type))),
        properties: none.properties,
      });
    }
    const listed = Object.hasOwn(schema, "const") ? [schema.const] : schema.enum;
    if (Array.isArray(listed)) {
      all.push({
        types: new Set(listed.map(typeOf)),
        values: new Set(listed.map(scalar)),
        properties: none.properties,
      });
    }
    if (Array.isArray(schema.required) && isObject(schema.properties)) {
      const properties = new Map<string, ReadonlySet<string>>();
      for (const name of schema.required) {
        if (typeof name !== "string" || !Object.hasOwn(schema.properties, name)) continue;
        const { values } = traitsOf(schema.properties[name], `${where}/properties/${escapePointer(name)}`);
        if (values) properties.set(name, values);
      }
      all.push({ properties });
    }
    return all.reduce(both, none);
  }

  return (items: readonly Condition[], where: string): Condition => {
    const { conditions } = tools();
    const traits = items.map((item) => (item.kind === "schema" ? traitsOf(item.schema, item.where) : none));
    const others = items.map((): Condition[] => []);
    items.forEach((item, i) => {
      for (let j = 0; j < i; j++) {
        if (areApart(traits[i], traits[j])) continue;
        pairs += 1;
        if (pairs > mostPairs) {
          throw new SchemaError(
            where,
            `oneOf: of its ${items.length} alternatives too many have no type, and no required property with a const or enum, of their own: more than ${mostPairs} pairs are to be compared`,
          );
        }
        if (!overlap(item, items[j])) continue;
        others[i].push(items[j]);
        others[j].push(item);
      }
    });
    return conditions.or(items.map((item, i) => conditions.and([item, ...others[i].map(conditions.not)])));
  };
}

const onlyObjects = ({ types }: Traits): boolean => types?.size === 1 && types.has("object");

/** Whether no value has the traits of both. */
function areApart(a: Traits, b: Traits): boolean {
  if (areDisjoint(a.types, b.types) || areDisjoint(a.values, b.values)) return true;
  if (!onlyObjects(a) && !onlyObjects(b)) return false;
  for (const [name, values] of a.properties) if (areDisjoint(values, b.properties.get(name))) return true;
  return false;
}

function areDisjoint(a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined): boolean {
  if (!a || !b) return false;
  for (const one of a) if (b.has(one)) return false;
  return true;
}

const meet = (
  a: ReadonlySet<string> | undefined,
  b: ReadonlySet<string> | undefined,
): ReadonlySet<string> | undefined => (a && b ? new Set([...a].filter((one) => b.has(one))) : (a ?? b));

function both(a: Traits, b: Traits): Traits {
  const properties = new Map(a.properties);
  for (const [name, values] of b.properties) properties.set(name, meet(properties.get(name), values)!);
  return { types: meet(a.types, b.types), values: meet(a.values, b.values), properties };
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

/** Values within lists and objects are written in many orders: these count as equal. */
const scalar = (value: unknown): string =>
  typeof value === "object" && value !== null ? typeOf(value) : JSON.stringify(value);
