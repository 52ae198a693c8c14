/** What hooks of methods, drafters, policies and shapers gave, held to what they must give: authors without types learn which hook it was. */
import { ensure, leaveUnheard, shown } from "../errors.ts";

/** Errors: `bad_option` naming the hook, as `the method mine: decode`, and what it must return. */
export function requireReturned(fits: boolean, made: unknown, hook: string, must: string): void {
  if (!fits) leaveUnheard(made);
  ensure(fits, "bad_option", () => {
    const unrun = isGenerator(made) ? ", which nobody runs (it is a function with a star: write it without)" : "";
    return `${hook} returned ${shown(made)}${unrun}; it must return ${must}`;
  });
}

/** Of hooks whose result nobody reads. Errors: `bad_option` for a generator, of which nothing has run. */
export function requireRun(made: unknown, hook: string): void {
  if (made !== undefined) requireReturned(!isGenerator(made), made, hook, "nothing");
}

const isGenerator = (value: unknown): boolean => /Generator\]$/.test(Object.prototype.toString.call(value));

/** Whether a value is an object with these functions. */
export const hasFunctions = (value: unknown, names: readonly string[]): boolean =>
  typeof value === "object" &&
  value !== null &&
  names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");
