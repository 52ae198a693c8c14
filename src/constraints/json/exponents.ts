/**
 * Numbers so large or so small that JavaScript writes them with an exponent (`1.5e+21`, `3e-7`): which exponents a set has. Those whose
 * numbers are all in it are told apart from those where digits decide, so that digits need remembering for the latter only.
 */
import type { Decimal } from "./decimals.ts";
import { hasNumber, includes, type NumberSet, onlyMultiples } from "./number-sets.ts";

export interface Exponents {
  /** All numbers d.ddd·10^e, 1 ≤ d < 10, are in the set. */
  readonly whole: readonly number[];
  /** Some of them may be. */
  readonly partly: readonly number[];
}

/** Most digits behind the point that JavaScript writes: doubles have 17 in all. */
export const mostDigits = 16;

/** From 10^21 on and below 10^-6; where doubles overflow or lose digits plain decimals have to do. */
const written = [...Array.from({ length: 287 }, (_, i) => i + 21), ...Array.from({ length: 301 }, (_, i) => -i - 7)];

const approximate = ({ digits, scale }: Decimal): number => Number(`${digits}e-${scale}`);

/** Exponents of the positive numbers of a set. */
export function exponentsOf(set: NumberSet): Exponents {
  const ends = set.intervals.map(({ low, high }) => [
    low ? approximate(low) : -Infinity,
    high ? approximate(high) : Infinity,
  ]);
  const step = set.step ? approximate(set.step) : 0;
  const divided = set.step ? dividedPower(set.step) : -Infinity;
  const whole: number[] = [];
  const partly: number[] = [];
  for (const exponent of written) {
    const [from, to] = [10 ** exponent, 10 ** (exponent + 1)];
    // Ends are compared as doubles: near one, digits decide.
    const meets = ends.some(([low, high]) => low < to * 1.1 && high >= from * 0.9);
    if (!meets || step >= to * 1.1) continue;
    const inside = ends.some(([low, high]) => low <= from * 0.9 && high >= to * 1.1);
    const all = inside && set.avoided.length === 0 && exponent - mostDigits >= divided;
    (all ? whole : partly).push(exponent);
  }
  return { whole, partly };
}

/** The least power of ten that is a multiple of a step, and with it all larger ones; infinite where none is. */
function dividedPower({ digits, scale }: Decimal): number {
  let [rest, twos, fives] = [digits, 0, 0];
  for (; rest % 2n === 0n; rest /= 2n) twos += 1;
  for (; rest % 5n === 0n; rest /= 5n) fives += 1;
  return rest === 1n ? Math.max(twos, fives) - scale : Infinity;
}

/** `digits`, of which `fraction` stand behind the point, times 10 to the exponent. */
const scaled = (digits: bigint, fraction: number, exponent: number): Decimal => {
  const scale = fraction - exponent;
  return scale >= 0 ? { digits, scale } : { digits: digits * 10n ** BigInt(-scale), scale: 0 };
};

const writable = new WeakMap<NumberSet, Map<number, NumberSet>>();

/** What of a set is written with an exponent in as many digits as there may be. */
function writableAt(set: NumberSet, exponent: number): NumberSet {
  const known = writable.get(set) ?? new Map<number, NumberSet>();
  writable.set(set, known);
  const found = known.get(exponent) ?? onlyMultiples(set, scaled(1n, mostDigits, exponent));
  known.set(exponent, found);
  return found;
}

/** Whether some number in the set begins with these digits, or is written by them if no more may follow. */
export function hasFar(set: NumberSet, { whole, partly }: Exponents, digits: bigint, fraction: number): boolean {
  return (
    whole.length > 0 ||
    partly.some((exponent) => {
      const [from, to] = [scaled(digits, fraction, exponent), scaled(digits + 1n, fraction, exponent)];
      return hasNumber(writableAt(set, exponent), from, to, true);
    })
  );
}

/** Exponents in the set, of these digits, whose text begins so; `+` or `-` comes first. */
export function matching(
  set: NumberSet,
  { whole, partly }: Exponents,
  digits: bigint,
  fraction: number,
  text: string,
): string[] {
  const textOf = (exponent: number): string => `${exponent < 0 ? "-" : "+"}${Math.abs(exponent)}`;
  return [
    ...whole.map(textOf).filter((one) => one.startsWith(text)),
    ...partly
      .filter((exponent) => textOf(exponent).startsWith(text) && includes(set, scaled(digits, fraction, exponent)))
      .map(textOf),
  ];
}
