/**
 * Sets of numbers that JSON Schema can describe: intervals with closed ends, multiples of one number, and no multiples of others. An open
 * end is the neighbouring double as JavaScript writes it, so that no text rounds to a value beyond.
 */
import { at, compareDecimals, type Decimal, decimalOf, leastCommonMultiple, negative, neighbour } from "./decimals.ts";

/** Undefined ends are infinite. */
export interface Interval {
  readonly low?: Decimal;
  readonly high?: Decimal;
}

export interface NumberSet {
  readonly key: string;
  /** Sorted and disjoint. */
  readonly intervals: readonly Interval[];
  readonly step?: Decimal;
  readonly avoided: readonly Decimal[];
}

const show = (value: Decimal | undefined): string => (value ? `${value.digits}e-${value.scale}` : "");

function numberSet(intervals: readonly Interval[], step?: Decimal, avoided: readonly Decimal[] = []): NumberSet {
  const ends = intervals.map(({ low, high }) => `${show(low)}..${show(high)}`);
  return { key: `${ends}/${show(step)}!${avoided.map(show)}`, intervals, step, avoided };
}

export const allNumbers: NumberSet = numberSet([{}]);
export const integers: NumberSet = numberSet([{}], { digits: 1n, scale: 0 });

export const atLeast = (value: number): NumberSet => numberSet([{ low: decimalOf(value) }]);
export const atMost = (value: number): NumberSet => numberSet([{ high: decimalOf(value) }]);
export const above = (value: number): NumberSet => atLeast(neighbour(value, 1));
export const below = (value: number): NumberSet => atMost(neighbour(value, -1));
export const multiplesOf = (value: number): NumberSet => numberSet([{}], decimalOf(value));
export function exactly(values: readonly number[]): NumberSet {
  const sorted = [...new Set(values.map((value) => value + 0))].sort((a, b) => a - b).map(decimalOf);
  return numberSet(sorted.map((value) => ({ low: value, high: value })));
}

const later = (a: Decimal | undefined, b: Decimal | undefined): Decimal | undefined =>
  a && b ? (compareDecimals(a, b) >= 0 ? a : b) : (a ?? b);
const earlier = (a: Decimal | undefined, b: Decimal | undefined): Decimal | undefined =>
  a && b ? (compareDecimals(a, b) <= 0 ? a : b) : (a ?? b);
const isProper = ({ low, high }: Interval): boolean => !low || !high || compareDecimals(low, high) <= 0;

export function intersectNumbers(a: NumberSet, b: NumberSet): NumberSet | undefined {
  const intervals: Interval[] = [];
  for (let i = 0, j = 0; i < a.intervals.length && j < b.intervals.length; ) {
    const [x, y] = [a.intervals[i], b.intervals[j]];
    const both: Interval = { low: later(x.low, y.low), high: earlier(x.high, y.high) };
    if (isProper(both)) intervals.push(both);
    if (y.high === undefined || (x.high !== undefined && compareDecimals(x.high, y.high) <= 0)) i += 1;
    else j += 1;
  }
  const step = a.step && b.step ? leastCommonMultiple(a.step, b.step) : (a.step ?? b.step);
  const set = numberSet(intervals, step, [...new Map([...a.avoided, ...b.avoided].map((n) => [show(n), n])).values()]);
  return hasNumber(set, undefined, undefined) ? set : undefined;
}

/** What of a set is a multiple of a number, too; it may be nothing. */
export const onlyMultiples = (set: NumberSet, of: Decimal): NumberSet => ({
  ...set,
  step: set.step ? leastCommonMultiple(set.step, of) : of,
});

/** From here on doubles do not have every integer. */
const exactIntegers = 2 ** 53;
const withinExact = (times: number): Interval[] => {
  const end = decimalOf(Math.min(exactIntegers * times, Number.MAX_VALUE));
  return [{ low: negative(end), high: end }];
};

/** Integers that doubles have exactly. */
export const smallIntegers: NumberSet = numberSet(withinExact(1), { digits: 1n, scale: 0 });

/** What is in none of a set, as a union. Where doubles are too coarse to tell, all numbers count as multiples: there validators say so, too. */
export function complementNumbers({ intervals, step, avoided }: NumberSet): NumberSet[] {
  const gaps: Interval[] = [];
  let low: Decimal | undefined;
  let open = true;
  for (const interval of intervals) {
    if (interval.low) {
      const gap = { low, high: decimalOf(neighbour(numberOf(interval.low), -1)) };
      if (isProper(gap)) gaps.push(gap);
    }
    open = interval.high !== undefined;
    if (interval.high) low = decimalOf(neighbour(numberOf(interval.high), 1));
  }
  if (open) gaps.push({ low });
  const parts = [
    ...(step ? [numberSet(withinExact(numberOf(step)), undefined, [step])] : []),
    ...avoided.map((n) => numberSet([{}], n)),
  ];
  return [...(gaps.length > 0 ? [numberSet(gaps)] : []), ...parts];
}

const numberOf = ({ digits, scale }: Decimal): number => Number(`${digits}e-${scale}`);

const isMultiple = (value: Decimal, of: Decimal): boolean => {
  const scale = Math.max(value.scale, of.scale);
  return at(value, scale) % at(of, scale) === 0n;
};

/** Candidates tried where multiples are to be no multiples of others. */
const mostTried = 1_000;

/** Whether the set has a number from `from` (included) to `to` (included, or not with `open`). */
export function hasNumber(set: NumberSet, from: Decimal | undefined, to: Decimal | undefined, open = false): boolean {
  return set.intervals.some((interval) => {
    const low = later(interval.low, from);
    const high = earlier(interval.high, to);
    const isOpen = open && high !== undefined && to !== undefined && compareDecimals(high, to) === 0;
    if (low && high) {
      const order = compareDecimals(low, high);
      if (order > 0 || (order === 0 && isOpen)) return false;
      if (order === 0) return includes(set, low);
    }
    if (!set.step) return true; // a stretch of reals has numbers that are no multiples of anything
    const scale = Math.max(set.step.scale, low?.scale ?? 0, high?.scale ?? 0);
    const width = at(set.step, scale);
    // Without a lower end one may as well start from the upper one, or from zero, and look downwards.
    const up = low !== undefined || high === undefined;
    const anchor = low ? at(low, scale) : high ? at(high, scale) : 0n;
    let value = up ? ceiling(anchor, width) : -ceiling(-anchor, width);
    for (let tried = 0; tried < mostTried; tried++) {
      if (high && up && (isOpen ? value >= at(high, scale) : value > at(high, scale))) return false;
      const candidate = { digits: value, scale };
      const skipped = !up && isOpen && value === at(high!, scale);
      if (!skipped && !set.avoided.some((n) => isMultiple(candidate, n))) return true;
      value += up ? width : -width;
    }
    return false;
  });
}

function ceiling(value: bigint, width: bigint): bigint {
  const rest = ((value % width) + width) % width;
  return rest === 0n ? value : value + width - rest;
}

export function includes({ intervals, step, avoided }: NumberSet, value: Decimal): boolean {
  const inside = intervals.some(
    ({ low, high }) => (!low || compareDecimals(low, value) <= 0) && (!high || compareDecimals(value, high) <= 0),
  );
  return inside && (!step || isMultiple(value, step)) && !avoided.some((n) => isMultiple(value, n));
}

/** How many different doubles some sets have together, or `limit` if there are more. */
export function countNumbers(sets: readonly NumberSet[], limit: number): number {
  const found = new Set<number>();
  for (const set of sets) {
    for (const value of members(set)) {
      if (value === undefined || found.size >= limit) return limit;
      found.add(value);
    }
  }
  return Math.min(found.size, limit);
}

/** The numbers of a set in order, as doubles; undefined where they have no end. */
function* members(set: NumberSet): Generator<number | undefined> {
  const { intervals, step } = set;
  for (const { low, high } of intervals) {
    if (!low || !high) {
      if (hasNumber(set, low, high)) yield undefined;
      continue;
    }
    const scale = Math.max(low.scale, high.scale, step?.scale ?? 0);
    if (step) {
      const width = at(step, scale);
      for (let digits = ceiling(at(low, scale), width); digits <= at(high, scale); digits += width) {
        if (includes(set, { digits, scale })) yield numberOf({ digits, scale });
      }
    } else {
      for (let value = numberOf(low); value <= numberOf(high); value = neighbour(value, 1)) {
        if (includes(set, decimalOf(value))) yield value;
      }
    }
  }
}
