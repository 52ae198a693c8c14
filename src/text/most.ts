/** How many tokens a text may have, for those who have no room for more. */
import { ensure, shown } from "../errors.ts";

/**
 * Tokens after which a prompt is not read on: it cannot fit, and reading megabytes would hold up whatever else is decoded. One that is not so
 * long is read to its end, for whoever gave it wants to know by how much it is too long.
 */
export const muchTooLong = (contextLength: number): number => 4 * contextLength;

/** Errors: `context_full`. */
export function requireAtMost(count: number, most: number): void {
  ensure(
    count <= most,
    "context_full",
    () => `the prompt has more than ${most} tokens, far more than there is room for`,
  );
}

/** Errors: `bad_option` for a bound that is none: nothing is more than NaN. */
export function requireBound(most: unknown, call: string): void {
  const isBound = most === undefined || most === Infinity || (Number.isSafeInteger(most) && (most as number) >= 0);
  ensure(isBound, "bad_option", () => `${call}: most must be a whole number from 0 on, not ${shown(most)}`);
}
