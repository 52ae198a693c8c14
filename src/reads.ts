/**
 * What callers give may run code of theirs where it is read: a getter, or a proxy. What that throws is told with the place where it stands, as
 * what their functions throw is; the place is looked for when something has failed, so that reading costs nothing.
 */
import { failureOf, reasonOf, VentrisError } from "./errors.ts";
import { isPlatforms } from "./values.ts";

/** A call whose arguments have these names. Errors: `bad_option` for what reading one of them throws, naming the place, with the thrown one as its cause. */
export function tellingReads<Given extends unknown[], Made>(
  call: string,
  names: readonly string[],
  work: (...given: Given) => Made,
): (...given: Given) => Made {
  const told = function (this: unknown, ...given: Given): Made {
    const fail = (cause: unknown): never => {
      throw readFailure(call, names, given, cause) ?? cause;
    };
    try {
      const made = Reflect.apply(work, this, given);
      return made instanceof Promise ? (made.catch(fail) as Made) : made;
    } catch (cause) {
      return fail(cause);
    }
  };
  return Object.defineProperties(told, { name: { value: call }, length: { value: work.length } });
}

/** The error of what reading an argument threw; undefined where none of them throws this. */
export function readFailure(
  call: string,
  names: readonly string[],
  given: readonly unknown[],
  cause: unknown,
): VentrisError | undefined {
  if (cause instanceof VentrisError) return undefined;
  for (const [i, value] of given.entries()) {
    const name = names[Math.min(i, names.length - 1)] ?? "";
    const place = placeThatThrows(value, name, cause);
    // Options are told by their own names.
    if (place !== undefined) return failureOf(`${call}: ${place.replace(/^options\./, "")}`, cause);
  }
  return undefined;
}

/** What a caller writes is hardly deeper; what lies deeper was mostly made by calls of ours. */
const deepest = 8;

/** So many fields are read in search of a place. */
const mostReads = 100_000;

/** Where reading a value, or something in it, throws this; undefined where nothing does. */
export function placeThatThrows(value: unknown, path: string, thrown: unknown): string | undefined {
  const seen = new Set<object>();
  let reads = 0;

  function within(inner: unknown, at: string, depth: number): string | undefined {
    if (Object(inner) !== inner || depth > deepest || seen.has(inner as object)) return undefined;
    seen.add(inner as object);
    let keys: readonly PropertyKey[];
    try {
      keys = keysOf(inner as object);
    } catch {
      return at; // of a proxy
    }
    for (const key of keys) {
      if (++reads > mostReads) return undefined;
      const place = placeOf(at, key);
      let field: unknown;
      try {
        field = (inner as Record<PropertyKey, unknown>)[key];
      } catch (error) {
        // Other fields may fail for other reasons, as those of a model that has them not.
        if (Object.is(error, thrown) || reasonOf(error) === reasonOf(thrown)) return place;
        continue;
      }
      const found = within(field, place, depth + 1);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  return within(value, path, 0);
}

function placeOf(at: string, key: PropertyKey): string {
  if (typeof key === "symbol") return at;
  if (typeof key === "number") return `${at}[${key}]`;
  return at === "" ? key : `${at}.${key}`;
}

/**
 * Its own fields, and what its class computes; what is looked at in any object first. A function is looked at as a whole: its fields are no
 * options. Throws where a proxy's traps do.
 */
function keysOf(value: object): PropertyKey[] {
  if (typeof value === "function") {
    void (value instanceof Object && (value as { name?: unknown }).name);
    return [];
  }
  if (ArrayBuffer.isView(value)) return [];
  if (Array.isArray(value)) return [...value.keys()];
  const own = Reflect.ownKeys(value);
  for (const key of own) Object.getOwnPropertyDescriptor(value, key);
  void ("" in value);
  const lent: PropertyKey[] = [];
  for (let lender = Object.getPrototypeOf(value); lender && !isShared(lender); lender = Object.getPrototypeOf(lender))
    for (const [key, { get }] of Object.entries(Object.getOwnPropertyDescriptors(lender))) if (get) lent.push(key);
  return isPlatforms(value) ? [] : [Symbol.toStringTag, ...own, ...lent];
}

const isShared = (lender: object): boolean => Object.getPrototypeOf(lender) === null;
