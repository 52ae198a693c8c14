/** Schemas of others, made strict: `z.object` drops a misspelt name without a word, at any depth. */
import { z } from "zod";

type Definition = {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly catchall?: z.ZodType;
  readonly getter?: () => z.ZodType;
  readonly in?: z.ZodType;
} & Readonly<Record<string, unknown>>;

/** Where schemas hold others: one of these fields, or a list of them. What an intersection holds is left: either side would refuse the other's names. */
const inner = ["innerType", "element", "valueType", "rest", "items", "options"] as const;

/** The schema, refusing names that it does not know in every object within that says nothing of them. */
export const strictly = <Schema extends z.ZodType>(schema: Schema): Schema => strict(schema) as Schema;

/** Each is made once: every request with a method of one's own asks for its schema's, and schemas may hold themselves. */
const made = new WeakMap<z.ZodType, z.ZodType>();

function strict(schema: z.ZodType): z.ZodType {
  const known = made.get(schema);
  if (known) return known;
  const def = schema._zod.def as unknown as Definition;
  const of = (one: unknown): unknown =>
    Array.isArray(one) ? one.map(of) : typeof one === "object" && one !== null ? strict(one as z.ZodType) : one;
  const changed = ((): object | undefined => {
    if (def.type === "intersection") return undefined;
    if (def.shape) return { shape: shapeOf(def.shape, of), catchall: def.catchall ?? z.never() };
    if (def.getter) return { getter: () => of(def.getter!()) };
    // What comes out of a program is its own matter.
    if (def.type === "pipe") return { in: of(def.in) };
    const found = inner.filter((field) => typeof def[field] === "object" && def[field] !== null);
    return found.length > 0 ? Object.fromEntries(found.map((field) => [field, of(def[field])])) : undefined;
  })();
  // `parent`: its title and description are the schema's.
  const own = changed ? schema.clone(over(def, changed) as never, { parent: true }) : schema;
  made.set(schema, own);
  return own;
}

/** With what is computed when it is asked for (a default) still computed then. */
const over = (def: object, changed: object): object =>
  Object.defineProperties(
    {},
    { ...Object.getOwnPropertyDescriptors(def), ...Object.getOwnPropertyDescriptors(changed) },
  );

/** Fields are looked at when they are asked for: a schema that holds itself has them as getters. */
function shapeOf(shape: Readonly<Record<string, z.ZodType>>, of: (one: unknown) => unknown): object {
  const own = {};
  for (const name of Object.keys(shape))
    Object.defineProperty(own, name, { enumerable: true, get: () => of(shape[name]) });
  return own;
}
