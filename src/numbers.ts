import { ensure, shown } from "./errors.ts";

/** Errors: `bad_option` naming the first that is no whole number of a range, both ends in it. */
export function requireWhole(
  numbers: Readonly<Record<string, number>>,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): void {
  for (const [name, number] of Object.entries(numbers))
    ensure(Number.isSafeInteger(number) && number >= least && number <= most, "bad_option", () => {
      return `${name} must be a whole number from ${least} ${most === Number.MAX_SAFE_INTEGER ? "on" : `to ${most}`}, not ${shown(number)}`;
    });
}

/** Errors: `bad_option` naming the first that is no whole number from 1 on. */
export const requireCounts = (counts: Readonly<Record<string, number>>): void => requireWhole(counts, 1);

/** Errors: `bad_option` naming the list and the first of its entries that is no index of `count` things. */
export function requireIndices(name: string, indices: ArrayLike<number>, count: number): void {
  for (let at = 0; at < indices.length; at++)
    ensure(Number.isInteger(indices[at]) && indices[at] >= 0 && indices[at] < count, "bad_option", () => {
      return `${name}[${at}] is ${shown(indices[at])}, and must be a whole number from 0 to ${count - 1}`;
    });
}

/** Errors: `bad_option` naming the first that is no number of a range, both ends in it. */
export function requireWithin(numbers: Readonly<Record<string, number>>, least: number, most = Number.MAX_VALUE): void {
  for (const [name, number] of Object.entries(numbers)) {
    ensure(typeof number === "number" && number >= least && number <= most, "bad_option", () => {
      return `${name} must be a number ${most === Number.MAX_VALUE ? `from ${least} on` : `in [${least}, ${most}]`}, not ${shown(number)}`;
    });
  }
}

/** Errors: `bad_option` naming the first that is no finite number above 0, such as a learning rate must be. */
export function requirePositive(numbers: Readonly<Record<string, number>>): void {
  for (const [name, number] of Object.entries(numbers))
    ensure(Number.isFinite(number) && number > 0, "bad_option", () => {
      return `${name} must be a number above 0, not ${shown(number)}`;
    });
}
