/**
 * Schemas of others, made strict: `z.object` drops a misspelt name without a word, at any depth; and read at once: for
 * what asynchronous functions in them promise nobody waits, and one that failed would end the process.
 */
import { z } from "zod";
import { ensure, failureOf, leaveUnheard, requireOptions, shown, VentrisError } from "./errors.ts";
import { unwrapped } from "./forms.ts";
import { placeThatThrows } from "./reads.ts";

type Definition = {
  readonly type: string;
  readonly error?: unknown;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly catchall?: z.ZodType;
  readonly getter?: () => z.ZodType;
  readonly in?: z.ZodType;
  readonly out?: z.ZodType;
  readonly checks?: readonly z.core.$ZodCheck[];
} & Readonly<Record<string, unknown>>;

/** Where schemas hold others: one of these fields, or a list of them. */
const inner = ["innerType", "element", "keyType", "valueType", "rest", "items", "options", "left", "right"] as const;

/** The schema, refusing names that it does not know in every object within that says nothing of them. */
export const strictly = <Schema extends z.ZodType>(schema: Schema): Schema => changedOf(schema, true) as Schema;

type Made = WeakMap<z.ZodType, z.ZodType>;

/** Each is made once: every request with a method of one's own asks for its schema's, and schemas may hold themselves. */
const [made, madeOpen]: readonly Made[] = [new WeakMap(), new WeakMap()];

/** `closes`: names that an object does not know are refused. */
function changedOf(schema: z.ZodType, closes: boolean): z.ZodType {
  const before = closes ? made : madeOpen;
  const known = before.get(schema);
  if (known) return known;
  const def = schema._zod.def as unknown as Definition;
  // Either side of an intersection would refuse the other's names.
  const closesInner = closes && def.type !== "intersection";
  const of = (one: unknown): unknown =>
    Array.isArray(one)
      ? one.map(of)
      : typeof one === "object" && one !== null
        ? changedOf(one as z.ZodType, closesInner)
        : one;
  const within = ((): object => {
    if (def.shape) return { shape: shapeOf(def.shape, of), ...(closes && { catchall: def.catchall ?? z.never() }) };
    if (def.getter) return { getter: () => of(def.getter!()) };
    // What comes out of a program is its own matter.
    if (def.type === "pipe") return { in: of(def.in), out: changedOf(def.out!, false) };
    const found = inner.filter((field) => typeof def[field] === "object" && def[field] !== null);
    return Object.fromEntries(found.map((field) => [field, of(def[field])]));
  })();
  const changed = { ...Object.getOwnPropertyDescriptors(within), ...Object.getOwnPropertyDescriptors(unheard(def)) };
  // `parent`: its title and description are the schema's.
  const own = Object.keys(changed).length > 0 ? schema.clone(over(def, changed) as never, { parent: true }) : schema;
  before.set(schema, own);
  return own;
}

/** Functions of a schema, whose promises nobody waits for. */
function unheard(def: Definition): object {
  const { checks } = def;
  const found = ["fn", "transform", "reverseTransform"].filter((field) => typeof def[field] === "function");
  const { catchValue } = def;
  const own = {
    ...Object.fromEntries(found.map((field) => [field, unheardCall(def[field] as Call)])),
    ...(typeof catchValue === "function" && { catchValue: (given: never) => atOnce((catchValue as Call)(given)) }),
    ...wordsAtOnce(def),
    ...(checks?.some(isOwnCheck) && {
      checks: checks.map((check) => (isOwnCheck(check) ? unheardCheck(check) : check)),
    }),
  };
  const computes = ["default", "prefault"].includes(def.type);
  return computes
    ? Object.defineProperty(own, "defaultValue", { enumerable: true, get: () => atOnce(def.defaultValue) })
    : own;
}

type Call = (...given: never[]) => unknown;

const isOwnCheck = ({ _zod: { def } }: z.core.$ZodCheck): boolean =>
  ["custom", "overwrite"].includes(def.check) || def.when !== undefined || def.error !== undefined;

/** The words that a schema or a check of it has for an error, of a definition that has any. */
function wordsAtOnce({ error }: { error?: unknown }): object {
  if (error === undefined) return {};
  const words = (given: never): unknown => wordsGiven(typeof error === "function" ? (error as Call)(given) : error);
  return { error: words };
}

/** Errors: for what is no text, which would be shown as it is, or passed over. */
function wordsGiven(given: unknown): unknown {
  const isText = (one: unknown): boolean => one === undefined || one === null || typeof one === "string";
  const message = isText(given) ? given : atOnce(given as { message?: unknown }).message;
  if (!isText(message) || (message === undefined && !isText(given)))
    throw new TypeError(`what it says of an error must be a text, not ${shown(atOnce(message ?? given))}`);
  return given;
}

function unheardCheck(check: z.core.$ZodCheck): z.core.$ZodCheck {
  const internals = check._zod;
  const call = unheardCall(internals.check);
  const { when } = internals.def;
  const own: z.core.$ZodCheck = Object.create(check, {
    _zod: {
      value: Object.create(internals, {
        check: {
          value(payload: z.core.ParsePayload) {
            const { value: before, issues } = payload;
            const count = issues.length;
            const answer = call(payload as never);
            if (payload.value !== before) atOnce(payload.value); // what an overwrite made of it
            for (const issue of issues.slice(count)) {
              wordsGiven(issue.message);
              if (issue.inst === check) Object.assign(issue, { inst: own }); // whose words are asked for later
            }
            return answer;
          },
        },
        def: {
          value: {
            ...internals.def,
            ...(when && { when: (given: never) => atOnce(when(given)) }),
            ...wordsAtOnce(internals.def),
          },
        },
      }),
    },
  });
  return own;
}

/** Where the library takes a promise for a value. Errors: those of its own for promises where it knows them. */
function atOnce<Value>(value: Value): Value {
  if (!(value instanceof Promise)) return value;
  leaveUnheard(value);
  throw new z.core.$ZodAsyncError();
}

/** What is made of a promise fails with it, and is left unheard, too: one that never ends has the same type. */
const unheardCall = (call: Call): Call =>
  function (this: unknown, ...given) {
    const answer = Reflect.apply(call, this, given);
    if (!(answer instanceof Promise)) return answer;
    leaveUnheard(answer);
    return new Promise(() => {});
  };

/** With what is computed when it is asked for (a default) still computed then. */
const over = (def: object, changed: PropertyDescriptorMap): object =>
  Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(def), ...changed });

/** Fields are looked at when they are asked for: a schema that holds itself has them as getters. */
function shapeOf(shape: Readonly<Record<string, z.ZodType>>, of: (one: unknown) => unknown): object {
  const own = {};
  for (const name of Object.keys(shape))
    Object.defineProperty(own, name, { enumerable: true, get: () => of(shape[name]) });
  return own;
}

/**
 * What a schema says of what a call is given. Errors: `bad_option` for objects in it that are not plain, for what reading them and the schema's own
 * functions throw, naming the option, and where these keep one waiting.
 */
export function readBy<Schema extends z.ZodType>(
  schema: Schema,
  given: unknown,
  call: string,
  what = "options",
): { data: z.output<Schema>; issues?: undefined } | { issues: readonly z.core.$ZodIssue[] } {
  try {
    requirePlain(schema, given, { call, what, path: "" });
    const { data, error } = schema.safeParse(given, { reportInput: true });
    return error ? { issues: error.issues } : { data: data as z.output<Schema> }; // issues are worded when they are looked at
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    ensure(!(cause instanceof z.core.$ZodAsyncError || isAsynchronous(schema, given)), "bad_option", () => {
      return `${call} ${what}: its schema has an asynchronous function, and ${what} are read at once: write it without async`;
    });
    const place = placeThatThrows(given, "", cause) || fieldThatThrows(schema, given);
    throw failureOf(place ? `${call} ${what}: ${place}` : `${call} ${what}`, cause);
  }
}

interface Place {
  readonly call: string;
  readonly what: string;
  readonly path: string;
}

/**
 * To the schema library a promise, a map or an object of some class is an object, which options that all have defaults may be. What a program
 * reads, and what may be of a caller's own class, is left. Errors: `bad_option`.
 */
function requirePlain(schema: z.ZodType, value: unknown, place: Place): void {
  const base = unwrapped(schema);
  if (!base || typeof value !== "object" || value === null) return;
  const { shape, in: read, element, valueType, options = [] } = base._zod.def as unknown as Definition & Holding;
  const { path } = place;
  const fits = Array.isArray(value) ? ["array"] : ["object", "record"];
  switch (base.type) {
    case "pipe":
      if (read) requirePlain(read, value, place);
      return;
    case "union": {
      const kinds = options.map((one) => unwrapped(one)!);
      if (!kinds.every(({ type }) => readWhole.has(type))) return;
      const own = kinds.filter(({ type }) => fits.includes(type));
      if (own.length === 1) requirePlain(own[0], value, place);
      else if (own.length > 1 && !Array.isArray(value)) requireOptions(value, place.call, path || place.what);
      return;
    }
    case "array":
      if (Array.isArray(value))
        for (const [i, item] of value.entries()) requirePlain(element!, item, { ...place, path: `${path}[${i}]` });
      return;
    case "object":
    case "record": {
      if (Array.isArray(value)) return;
      requireOptions(value, place.call, path || place.what);
      for (const [name, field] of Object.entries(value)) {
        const inner = shape ? Object.hasOwn(shape, name) && shape[name] : valueType;
        if (inner) requirePlain(inner, field, { ...place, path: path === "" ? name : `${path}.${name}` });
      }
    }
  }
}

/** Where a definition holds others, beside its fields. */
interface Holding {
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly options?: readonly z.ZodType[];
}

/** Kinds of schemas that say all that a value may be. */
const readWhole: ReadonlySet<string> = new Set(
  "string number boolean bigint literal enum null undefined array object record".split(" "),
);

/** The option whose own schema throws; undefined where none does, or what is given is no object. */
function fieldThatThrows(schema: z.ZodType, given: unknown): string | undefined {
  const { shape } = schema._zod.def as unknown as Definition;
  return Object.keys(shape ?? {}).find((name) => {
    try {
      return shape![name].safeParse((given as Record<string, unknown>)[name]).error?.issues === null; // looked at, they are worded
    } catch {
      return true;
    }
  });
}

/** Asked without the library's compiled parser, which takes a promise for a result and fails on it in words of its own. */
function isAsynchronous(schema: z.ZodType, options: unknown): boolean {
  try {
    schema.safeParse(options, { jitless: true });
    return false;
  } catch (error) {
    return error instanceof z.core.$ZodAsyncError;
  }
}
