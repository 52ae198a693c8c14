/** Values as callers give them: of classes of any realm, and fields that are left out by `undefined`. */

/**
 * Of a class of the platform (where the platform has it), or of the class of that name of another realm: a frame or a test runner has classes of
 * its own, whose objects are no instances of ours.
 */
export function isInstance<T>(name: string, value: unknown): value is T {
  const known = (globalThis as Record<string, unknown>)[name];
  if (typeof known !== "function") return true;
  return value instanceof known || Object.prototype.toString.call(value) === `[object ${name}]`;
}

/** An object of a class of the platform, such as a promise, a map or a date, whose fields are no options; one that names itself is a caller's. */
export const isPlatforms = (value: object): boolean =>
  !Object.hasOwn(value, Symbol.toStringTag) && Object.prototype.toString.call(value) !== "[object Object]";

/** An object of nothing but what is written in it, of any realm: no class and no other object lends it fields, which calls that take its own would not see. */
export function isPlain(value: object): boolean {
  const lender = Object.getPrototypeOf(value);
  if (lender === Object.prototype || lender === null) return true;
  return Object.getPrototypeOf(lender) === null && Object.hasOwn(lender, "isPrototypeOf");
}

/** Whether a typed array's memory was given to somebody else, who has it now: it reads as an empty one, and cannot be looked at. */
export function isDetached(value: unknown): boolean {
  if (!ArrayBuffer.isView(value) || value.byteLength > 0) return false;
  try {
    return new Uint8Array(value.buffer) === undefined;
  } catch {
    return true;
  }
}

/** A list whose entries are all such; of one that has gaps the language's own `every` looks at what is there alone. */
export const isListOf = <T>(value: unknown, holds: (item: unknown) => item is T): value is T[] =>
  Array.isArray(value) && Array.from(value).every(holds);

export const isText = (value: unknown): value is string => typeof value === "string";

/** The fields that are given: one that is `undefined` is as good as absent, and must not hide a default. */
export const givenFields = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/** The end of a sentence: empty where finding it runs code of a caller's that throws, as getters and proxies may. */
export function ending(find: () => string): string {
  try {
    return find();
  } catch {
    return "";
  }
}

/** The end of a sentence about an address where a path or name is due: how it is made of it. Empty for anything else. */
export const addressHint = (value: unknown): string =>
  ending(() => {
    const isAddress = typeof value === "object" && isInstance<URL>("URL", value);
    const text = isAddress ? value.href : typeof value === "string" ? value : "";
    if (/^file:/i.test(text)) {
      const path = decodeURIComponent(new URL(text).pathname).replace(/^\/(?=[a-z]:)/i, "");
      return `: as a path it is ${JSON.stringify(path)}${isAddress ? ', and fileURLToPath of "node:url" makes it' : ""}`;
    }
    return isAddress ? `: its text is ${JSON.stringify(text)}` : "";
  });
