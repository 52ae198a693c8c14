/**
 * What replicas share through: a place of named values that all of them reach. Three operations are all that is asked of it, so that
 * whatever keeps bytes under names will do; `redis.ts` is the one that there is.
 */

/** Errors of all: `unavailable` where it cannot be reached, `runtime_failed` for what it answered with a refusal (it is full, it forbids). */
export interface Store {
  /** The value's first `most` bytes: a longer one is never taken into memory. Undefined: nothing is there. */
  get(key: string, most: number): Promise<Uint8Array | undefined>;
  /** Keeps a value for so many seconds. False: with `absent`, there was one already, and it stays. */
  put(
    key: string,
    value: Uint8Array,
    options: { readonly seconds: number; readonly absent?: boolean },
  ): Promise<boolean>;
  /** A number above all that were given for this key, to whomever. They stay below 2^53, also where the store forgot them. */
  next(key: string): Promise<number>;
  close(): void;
}

/** Who looks for the newest number of a key reads it as a value of at most so many bytes. */
export const longestNumber = 20;

/** Where numbers of a key begin: with the clock, so that after a store has lost them they do not begin below those that are known. */
export const firstNumber = (): number => Date.now() * 1000;

/** Clocks of replicas may be so far apart, and no number is ahead of all of them: what somebody wrote there is none. */
const skew = 3600 * 1e6;

/** 0 where there is none that can be believed. */
export function readNumber(bytes: Uint8Array | undefined): number {
  const number = Number(new TextDecoder().decode(bytes ?? new Uint8Array(0)));
  return Number.isSafeInteger(number) && number > 0 && number < firstNumber() + skew ? number : 0;
}
