import { ensure } from "../../errors.ts";

/** Errors: `bad_option` naming the first that is no whole number from 1 on. */
export function requireCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts))
    ensure(
      Number.isSafeInteger(count) && count >= 1,
      "bad_option",
      `${name} must be a whole number from 1 on, not ${count}`,
    );
}
