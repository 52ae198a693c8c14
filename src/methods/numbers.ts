import { ensure } from "../errors.ts";

/** Errors: `bad_option` naming the first that is no whole number from 1 on. */
export function requireCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts))
    ensure(
      Number.isSafeInteger(count) && count >= 1,
      "bad_option",
      `${name} must be a whole number from 1 on, not ${count}`,
    );
}

/** Errors: `bad_option` naming the first that is no number of a range, both ends in it. */
export function requireWithin(numbers: Readonly<Record<string, number>>, least: number, most = Number.MAX_VALUE): void {
  for (const [name, number] of Object.entries(numbers)) {
    ensure(number >= least && number <= most, "bad_option", () => {
      return `${name} must be a number ${most === Number.MAX_VALUE ? `from ${least} on` : `in [${least}, ${most}]`}, not ${number}`;
    });
  }
}
