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

/** The fields that are given: one that is `undefined` is as good as absent, and must not hide a default. */
export const givenFields = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
