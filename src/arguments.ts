/**
 * What callers without types may give by mistake, said at the entrances of the package: functions that are exported hold what they are given
 * to the types that they declare. The types come as data, which `scripts/entrances.mjs` reads from the declarations.
 */
import { type LateFailures, lateFailures, plainWords, shown, telling, VentrisError, withArticle } from "./errors.ts";
import { editDistance, hint, likelySlips, suggestion } from "./names.ts";
import { tellingReads } from "./reads.ts";
import { addressHint, isDetached, isInstance, isPlain, isPlatforms } from "./values.ts";

/** A declared type, as far as a value can be held to it. */
export type Kind =
  | "string"
  | "number"
  | "boolean"
  | "bigint"
  | "symbol"
  | "function"
  | "object"
  | "undefined"
  | "null"
  | "unknown"
  /** Of zod. */
  | "schema"
  /** One of these values. */
  | { readonly values: readonly (string | number | boolean)[] }
  | { readonly either: readonly Kind[] }
  | { readonly list: Kind }
  | { readonly tuple: readonly Kind[]; readonly least: number }
  /** Of a class that the language or the platform has, or another of the same use. */
  | { readonly instance: string }
  /** Numbers, or what else, by their places: a list or a typed array. */
  | { readonly places: Kind }
  /** An object that can be iterated, which a text, a list of letters, is not: by `Symbol.iterator`, or by `Symbol.asyncIterator`. */
  | { readonly iterable: "iterator" | "asyncIterator" }
  | { readonly record: Kind }
  | Fields
  /** One of the named types of the entrance. */
  | { readonly named: string };

/** An object by its fields; the names of those that may be missing end in a question mark. */
interface Fields {
  readonly fields: Readonly<Record<string, Kind>>;
  /** Options: a name that is not among these is a mistake. */
  readonly closed?: true;
  /** Declared to hold fields of any name beside these: whoever takes it looks at the others in words of its own. */
  readonly open?: true;
  /** Functions that give such an object. */
  readonly from?: readonly string[];
}

export type NamedKinds = Readonly<Record<string, Kind>>;

/** Names of parameters, with a question mark behind those that may be missing and dots before one that takes all others, and their types. */
export type ParameterKinds = readonly (readonly [name: string, kind: Kind])[];

type Callable = (...values: never[]) => unknown;

/**
 * The function, which refuses what is not of its declared types; one that gives a promise rejects it. Functions that it is given, alone or
 * among options, fail with errors that name them. Errors: `bad_option` naming the parameter or field, what it must be and what it is.
 */
export function checked<F extends Callable>(
  name: string,
  call: F,
  parameters: ParameterKinds,
  named: NamedKinds,
  rejects = false,
): F {
  const places = parameters.map(([label, kind]) => ({
    kind,
    rest: label.startsWith("..."),
    optional: label.endsWith("?"),
    place: { path: label.replace(/^\.\.\.|\?$/g, ""), named, depth: 0 },
  }));
  const wrongAmong = (values: readonly unknown[]): Problem | undefined => {
    for (let i = 0; i < places.length; i++) {
      const { kind, rest, optional, place } = places[i];
      const value = rest ? values.slice(i) : values[i];
      if (optional && value === undefined) continue;
      const wrong = problem(kind, value, place);
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  };
  const takesFunctions = places.some(({ kind }) => isCallback(kind) || callbacksOf(kind, named).length > 0);
  const work = function (this: unknown, ...values: unknown[]): unknown {
    const wrong = wrongAmong(values);
    if (wrong !== undefined) throw new VentrisError("bad_option", `${name}: ${wrong.say()}`);
    if (!takesFunctions) return Reflect.apply(call, this, values);
    const late = rejects ? lateFailures() : undefined;
    const given = values.map((value, i) =>
      i < places.length && !places[i].rest ? told(places[i].kind, value, name, places[i].place, late) : value,
    );
    const made = Reflect.apply(call, this, given);
    return late && made instanceof Promise ? made.then(late.unless) : made;
  };
  const reads = tellingReads(
    name,
    places.map(({ place }) => place.path),
    work,
  );
  const checkedCall = function (this: unknown, ...values: unknown[]): unknown {
    try {
      return Reflect.apply(reads, this, values);
    } catch (error) {
      if (rejects) return Promise.reject(error);
      throw error;
    }
  };
  return Object.defineProperties(checkedCall, {
    name: { value: name },
    length: { value: call.length },
  }) as unknown as F;
}

/** A value whose functions say where they failed: itself where it is one, those of its options where it is an object of these. */
function told(kind: Kind, value: unknown, call: string, place: Place, late?: LateFailures): unknown {
  if (typeof value === "function")
    return isCallback(kind) ? calledAs(`${call}: ${place.path}`, value as Callable) : value;
  const names = callbacksOf(kind, place.named);
  if (names.length === 0 || Object(value) !== value || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const given = Object.getOwnPropertyDescriptors(value) as Record<string, PropertyDescriptor>;
  const found = names.filter((field) => Object.hasOwn(given, field) && typeof given[field].value === "function");
  if (found.length === 0) return value;
  const { signal } = value as { signal?: AbortSignal };
  for (const field of found) {
    const named = calledAs(`${call}: ${field}`, given[field].value, signal);
    given[field] = { ...given[field], value: late && isTold(field) ? late.of(named) : named };
  }
  return Object.create(Object.prototype, given);
}

/** A function, also where something else may be given for it. */
const isCallback = (kind: Kind): boolean =>
  kind === "function" || (typeof kind === "object" && "either" in kind && kind.either.includes("function"));

const isTold = (field: string): boolean => /^on[A-Z]/.test(field);

/** A class is left: it is made, and not called. */
function calledAs(what: string, call: Callable, signal?: AbortSignal): Callable {
  if (/^class\b/.test(Function.prototype.toString.call(call))) return call;
  return Object.defineProperty(telling(what, call, { signal }), "name", { value: call.name });
}

/** Fields of options that are functions; of other objects, whose functions are their own, those that are told of something. */
function callbacksOf(kind: Kind, named: NamedKinds): readonly string[] {
  if (typeof kind === "string") return [];
  if ("named" in kind) return callbacksOf(named[kind.named], named);
  if (!("fields" in kind)) return [];
  const known = callbackNames.get(kind);
  if (known) return known;
  const names = Object.keys(kind.fields)
    .filter((name) => kind.fields[name] === "function")
    .map((name) => name.replace(/\?$/, ""))
    .filter((name) => kind.closed || isTold(name));
  callbackNames.set(kind, names);
  return names;
}

const callbackNames = new WeakMap<Fields, readonly string[]>();

/** Types of objects by their names: what their methods take, and which methods and fields give another of these. */
export type ObjectKinds = Readonly<
  Record<
    string,
    {
      readonly methods: Readonly<Record<string, { parameters: ParameterKinds; rejects: boolean; gives?: string }>>;
      readonly fields: Readonly<Record<string, string>>;
    }
  >
>;

/**
 * Gives objects whose methods are checked as functions are: another object over the first, made once for each, so that who works with the
 * first pays nothing. Its methods may not ask for `this`.
 */
export function createObjectChecks(objects: ObjectKinds, named: NamedKinds): <T>(type: string, object: T) => T {
  const known = new WeakMap<object, object>();

  function descriptorOf(type: string, name: string, own: PropertyDescriptor): PropertyDescriptor {
    const { methods, fields } = objects[type];
    const { value, get } = own;
    if (Object.hasOwn(fields, name)) {
      const read = (): unknown => checkedObject(fields[name], get ? get() : value);
      return { get: read, enumerable: own.enumerable };
    }
    if (!Object.hasOwn(methods, name) || typeof value !== "function") return own;
    const { parameters, rejects, gives } = methods[name];
    const call = checked(name, value as Callable, parameters, named, rejects) as (...all: unknown[]) => unknown;
    if (gives === undefined) return { ...own, value: call };
    return { ...own, value: (...all: unknown[]) => checkedObject(gives, call(...all)) };
  }

  function checkedObject<T>(type: string, object: T): T {
    if (typeof object !== "object" || object === null || !Object.hasOwn(objects, type)) return object;
    const made = known.get(object);
    if (made) return made as T;
    const own = Object.getOwnPropertyDescriptors(object);
    const properties = Object.entries(own).map(([name, descriptor]) => [name, descriptorOf(type, name, descriptor)]);
    const view = Object.create(Object.getPrototypeOf(object), { ...own, ...Object.fromEntries(properties) });
    known.set(object, view);
    known.set(view, view);
    return view;
  }

  return checkedObject;
}

/** The same of functions by their names, which all have the same parameters. */
export const checkedAll = <F extends Callable>(
  calls: Readonly<Record<string, F>>,
  parameters: ParameterKinds,
  named: NamedKinds,
  rejects = false,
): Readonly<Record<string, F>> =>
  Object.fromEntries(
    Object.entries(calls).map(([name, call]) => [name, checked(name, call, parameters, named, rejects)]),
  );

/** What is wrong, in words that are found when they are told: a value may be a large graph, and another kind may take it. */
interface Problem {
  /** Of the value itself, and not of something in it. */
  readonly whole?: true;
  say(): string;
}

interface Place {
  readonly path: string;
  readonly named: NamedKinds;
  /** Objects that this one lies in. */
  readonly depth: number;
}

/** Graphs hold themselves, and what lies deeper was mostly made by calls of ours. */
const deepest = 3;

/** So many entries of a list in an object are looked at: trees and tables grow long, and are given again and again. */
const mostInside = 8;

/** What is wrong with a value; undefined where nothing is. */
function problem(kind: Kind, value: unknown, place: Place): Problem | undefined {
  if (typeof kind === "string") return isPrimitive(kind, value) ? undefined : mismatch(kind, value, place);
  if ("named" in kind) return problem(place.named[kind.named], value, place);
  if ("either" in kind) return problemOfEither(kind.either, value, place);
  if ("list" in kind) {
    if (!Array.isArray(value)) return mismatch(kind, value, place);
    const length = place.depth === 0 ? value.length : Math.min(value.length, mostInside);
    for (let i = 0; i < length; i++) {
      if (typeof kind.list === "string" && isPrimitive(kind.list, value[i])) continue;
      const wrong = problem(kind.list, value[i], { ...place, path: `${place.path}[${i}]` });
      if (wrong) return { say: wrong.say };
    }
    return undefined;
  }
  if ("tuple" in kind) {
    if (!Array.isArray(value) || value.length < kind.least || value.length > kind.tuple.length)
      return mismatch(kind, value, place);
    return first(
      Array.from(value, (item, i) => () => problem(kind.tuple[i], item, { ...place, path: `${place.path}[${i}]` })),
    );
  }
  if ("places" in kind) {
    if (Array.isArray(value)) return problem({ list: kind.places }, value, place);
    if (!isArrayLike(value)) return mismatch(kind, value, place);
    // Of a typed array one says what all are.
    const wrong = value.length > 0 && problem(kind.places, value[0], { ...place, path: `${place.path}[0]` });
    return wrong ? { say: wrong.say } : undefined;
  }
  if ("fields" in kind) return problemOfFields(kind, value, place);
  if ("record" in kind) {
    if (!isRecord(value)) return mismatch(kind, value, place);
    const entries = Object.entries(value);
    return first(
      entries.map(
        ([name, item]) =>
          () =>
            problem(kind.record, item, { ...place, path: `${place.path}.${name}` }),
      ),
    );
  }
  return isOf(kind, value) ? undefined : mismatch(kind, value, place);
}

function first(problems: readonly (() => Problem | undefined)[]): Problem | undefined {
  for (const one of problems) {
    const wrong = one();
    if (wrong) return { say: wrong.say };
  }
  return undefined;
}

function isPrimitive(kind: Kind & string, value: unknown): boolean {
  if (kind === "unknown") return true;
  if (kind === "null") return value === null;
  if (kind === "object") return Object(value) === value;
  if (kind === "schema") return Object(value) === value && "_zod" in (value as object);
  return typeof value === kind;
}

function isOf(kind: Kind & object, value: unknown): boolean {
  if ("values" in kind) return kind.values.includes(value as string);
  if ("iterable" in kind)
    return (
      typeof value === "object" &&
      typeof (value as Record<symbol, unknown> | null)?.[Symbol[kind.iterable]] === "function"
    );
  if (!("instance" in kind)) return true;
  return isInstance(kind.instance, value) && !isDetached(value);
}

/** What has places and is neither a list nor a typed array: a function's `arguments`, or what counts its own. */
const isArrayLike = (value: unknown): value is ArrayLike<unknown> =>
  typeof value === "object" && value !== null && Number.isSafeInteger((value as { length?: unknown }).length);

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function problemOfFields(kind: Fields, value: unknown, place: Place): Problem | undefined {
  const { fields, closed } = kind;
  if (Object(value) !== value || Array.isArray(value)) return mismatch(kind, value, place);
  // Of what asks for nothing any object would be one.
  const asksNothing = closed || optionalsOf(kind).length === Object.keys(fields).length;
  if (asksNothing && (typeof value === "function" || isPlatforms(value as object))) return mismatch(kind, value, place);
  const given = value as Record<string, unknown>;
  const isOwn = isPlain(given);
  if (closed && !isOwn) return { say: () => `${place.path} must be ${plainWords(given)}` };
  if (isOwn && !kind.open) {
    const known = namesOf(kind);
    // Leases are given thousands of these a second.
    for (const extra in given)
      if (!known.has(extra)) {
        const names = [...known];
        const where = place.depth === 0 && !place.path.endsWith("]") ? "" : ` in ${place.path}`;
        if (closed) {
          return {
            say: () =>
              `there is no option ${shown(extra)}${where}${suggestion(extra, names)} (known: ${names.join(", ")})`,
          };
        }
        // An object that is no options may hold more than is asked for, but hardly what is so near to a field that it lacks.
        const meant = slipOf(
          extra,
          optionalsOf(kind).filter((field) => !(field in given)),
        );
        if (meant !== undefined)
          return { say: () => `there is no field ${shown(extra)} in ${place.path}${hint(meant)}` };
      }
  }
  if (place.depth >= deepest) return undefined;
  for (const name in fields) {
    const inner = fields[name];
    const field = name.endsWith("?") ? name.slice(0, -1) : name;
    const path = `${place.path}.${field}`;
    if (!(field in given)) {
      if (name !== field) continue;
      const say = (): string => {
        const other = isOwn ? Object.keys(given).find((one) => suggestion(one, [field]) !== "") : undefined;
        return `${path} is missing: it must be ${wordsOf(inner, place.named)}${other === undefined ? givenBy(kind) : `; ${shown(other)} is given`}`;
      };
      return { say };
    }
    // What is computed when it is asked for may be costly, or not to be had.
    if (isComputed(given, field)) continue;
    if (given[field] === undefined && name !== field) continue;
    const wrong = problem(inner, given[field], { ...place, path, depth: place.depth + 1 });
    if (wrong) return { say: wrong.say };
  }
  return undefined;
}

/** Of names that are long enough for that, the one that is a slip away. */
const slipOf = (name: string, known: readonly string[]): string | undefined =>
  name.length < 4 ? undefined : known.find((one) => editDistance(name, one) <= likelySlips(name));

/** Fields that may be missing: of another that is, it is said that it is. */
function optionalsOf(kind: Fields): readonly string[] {
  const known = optionalNames.get(kind);
  if (known) return known;
  const ending = Object.keys(kind.fields).filter((name) => name.endsWith("?"));
  const names = ending.map((name) => name.slice(0, -1));
  optionalNames.set(kind, names);
  return names;
}

const optionalNames = new WeakMap<Fields, readonly string[]>();
const knownNames = new WeakMap<Fields, ReadonlySet<string>>();

function namesOf(kind: Fields): ReadonlySet<string> {
  const known = knownNames.get(kind);
  if (known) return known;
  const names = new Set(Object.keys(kind.fields).map((name) => name.replace(/\?$/, "")));
  knownNames.set(kind, names);
  return names;
}

function isComputed(value: object, field: string): boolean {
  for (let at: object | null = value; at; at = Object.getPrototypeOf(at)) {
    const found = Object.getOwnPropertyDescriptor(at, field);
    if (found) return found.get !== undefined;
  }
  return false;
}

const typesOfKinds = new WeakMap<readonly Kind[], ReadonlyMap<unknown, Kind> | undefined>();

/** Of objects that say by their `type` which they are: each by that. Undefined where some of the kinds are others. */
function typesOf(kinds: readonly Kind[]): ReadonlyMap<unknown, Kind> | undefined {
  if (typesOfKinds.has(kinds)) return typesOfKinds.get(kinds);
  const pairs = kinds.map((kind): [unknown, Kind] => {
    const type = typeof kind === "object" && "fields" in kind ? kind.fields.type : undefined;
    const [only, ...others] = typeof type === "object" && "values" in type ? type.values : [];
    return [others.length === 0 ? only : undefined, kind];
  });
  const types = new Map(pairs);
  const told = types.size === kinds.length && !types.has(undefined) ? types : undefined;
  typesOfKinds.set(kinds, told);
  return told;
}

/** Of several kinds: what the one says that takes such a value, but not this one; else all by name. */
function problemOfEither(kinds: readonly Kind[], value: unknown, place: Place): Problem | undefined {
  const types = typesOf(kinds);
  if (types && Object(value) === value && !Array.isArray(value)) {
    const { type } = value as { type?: unknown };
    const chosen = types.get(type);
    if (chosen) return problem(chosen, value, place);
    const known: Kind = { values: [...types.keys()] as string[] };
    const wrong = mismatch(known, type, { ...place, path: `${place.path}.type` });
    return { say: wrong.say };
  }
  let inside: Problem | undefined;
  for (const kind of kinds) {
    const wrong = problem(kind, value, place);
    if (wrong === undefined) return undefined;
    if (!wrong.whole) inside ??= wrong;
  }
  return inside ?? mismatch({ either: kinds }, value, place);
}

function mismatch(kind: Kind, value: unknown, { path, named }: Place): Problem {
  const say = (): string => {
    const texts =
      typeof value === "string" && typeof kind === "object" && "values" in kind ? kind.values.map(String) : [];
    return `${path} must be ${wordsOf(kind, named)}, not ${shown(value)}${texts.length > 0 ? suggestion(value as string, texts) : givenBy(kind) || addressHint(value)}`;
  };
  return { whole: true, say };
}

/** Where to get an object of a kind, for the end of a sentence. */
const givenBy = (kind: Kind): string =>
  typeof kind === "object" && "fields" in kind && kind.from ? `; ${joined(kind.from)} gives one` : "";

const words: Readonly<Record<Kind & string, string>> = {
  string: "a text",
  number: "a number",
  boolean: "true or false",
  bigint: "a bigint",
  symbol: "a symbol",
  function: "a function",
  object: "an object",
  schema: "a schema of zod",
  undefined: "left out",
  null: "null",
  unknown: "given",
};

function wordsOf(kind: Kind, named: NamedKinds): string {
  if (typeof kind === "string") return words[kind];
  if ("named" in kind) return wordsOf(named[kind.named], named);
  if ("values" in kind) return joined(kind.values.map(shown));
  if ("either" in kind) return joined([...new Set(kind.either.map((one) => wordsOf(one, named)))]);
  if ("list" in kind) return "a list";
  if ("tuple" in kind) return `a list of ${kind.tuple.length}`;
  if ("places" in kind) return "a list or a typed array";
  if ("iterable" in kind) return "something to iterate";
  if ("instance" in kind) return withArticle(kind.instance);
  return "an object";
}

const joined = (parts: readonly string[]): string =>
  parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(", ")} or ${parts.at(-1)}`;
