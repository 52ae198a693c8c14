/**
 * Number literals whose value is in a set. Without a condition every JSON spelling counts that JavaScript reads as a finite number. Integers,
 * and numbers with bounds or multiples, are written as decimals; those that JavaScript writes with an exponent may be written so, too.
 */
import type { TextState } from "../automaton.ts";
import { createPosition, type Position, utf8 } from "../position.ts";
import { compileRegex } from "../regex/compile.ts";
import { at, type Decimal, negative } from "./decimals.ts";
import { exponentsOf, hasFar, matching, mostDigits } from "./exponents.ts";
import {
  allNumbers,
  hasNumber,
  includes,
  integers,
  intersectNumbers,
  type NumberSet,
  onlyMultiples,
  smallIntegers,
} from "./number-sets.ts";

const known = new Map<string, Position>();

/** Numbers in a set that has some. `zeros`: the most that end a number behind its last possible place. */
export function numberLiteral(set: NumberSet, zeros = Infinity): Position {
  const key = `${zeros} ${set.key}`;
  let position = known.get(key);
  if (!position) {
    if (known.size > 1_000) known.clear();
    position = create(set, zeros);
    known.set(key, position);
  }
  return position;
}

/** Exponents of three digits that leave any mantissa finite. */
const large = "([12][0-9]{2}|30[0-7])";
/** So many digits before the point are finite whatever they are, and so many before an exponent of two. */
const [mostWhole, mostBeforeExponent] = [308, 208];
const whole = (most: number): string => `(0|[1-9][0-9]{0,${most - 1}})`;
const regular = (pattern: string): Position => utf8(compileRegex(pattern) as TextState);

function create(set: NumberSet, zeros: number): Position {
  if (set.key === allNumbers.key) {
    const near = `-?${whole(mostWhole)}(\\.[0-9]+)?([eE]-[0-9]+)?`;
    const raised = `-?${whole(mostBeforeExponent)}(\\.[0-9]+)?[eE]\\+?0*[0-9]{1,2}`;
    return regular(`${near}|${raised}|-?[1-9](\\.[0-9]+)?[eE]\\+?0*${large}`);
  }
  if (set.key === integers.key) {
    const pointed = zeros === Infinity ? "(\\.0+)?" : zeros > 0 ? `(\\.0{1,${zeros}})?` : "";
    return regular(`-?${whole(mostWhole)}${pointed}|-?[1-9](\\.[0-9]{1,16})?e\\+(2[1-9]|[3-9][0-9]|${large})`);
  }
  return bounded(set, placesOf(set) + zeros);
}

/** Places behind the point at which something may stand; infinite where there is no last one. */
function placesOf({ step, intervals }: NumberSet): number {
  if (step) return Math.max(0, step.scale);
  const scales = intervals.map(({ low, high }) => (low && high && show(low) === show(high) ? low.scale : Infinity));
  return Math.max(0, ...scales);
}

const show = ({ digits, scale }: Decimal): string => `${digits}e-${scale}`;

/** What has been written. `fraction` is undefined before the point, `exponent` (with its sign) before the e. */
interface Written {
  readonly minus: boolean;
  readonly whole: string;
  readonly fraction: string | undefined;
  readonly exponent?: string;
}

/** `most`: digits behind the point of what has no exponent. */
function bounded(set: NumberSet, most: number): Position {
  // What is to be no multiple must not be rounded to one when it is read: it has no more digits than doubles keep, is a small integer, or
  // is a fraction far enough from every multiple.
  const rounds = set.avoided.length > 0;
  const small = rounds ? intersectNumbers(set, smallIntegers) : undefined;
  const ends = [...set.intervals, ...(small?.intervals ?? [])].flatMap(({ low, high }) =>
    [low, high].filter((end) => end !== undefined),
  );
  const steps = [...(set.step ? [set.step] : []), ...set.avoided];
  const longest = ends.reduce((most, end) => Math.max(most, wholeDigits(end)), 1);
  /** Longer ones JavaScript reads as infinite. */
  const mostLong = Math.max(mostWhole, longest);
  const finest = [...ends, ...steps].reduce((most, { scale }) => Math.max(most, scale), 0);
  /** How many digits there are behind the point matters up to here. */
  const counted = Math.max(finest, most === Infinity ? 0 : most);
  /** So many digits before the point leave every bound behind, and so many more make every multiple reachable. */
  const room = steps.reduce((most, { digits }) => Math.max(most, `${digits}`.length), 0) + 2;
  const enough = longest + room;
  const positions = new Map<string, Position | null>();
  const far = [exponentsOf(set), exponentsOf(mirror(set))];
  const farOf = (minus: boolean) => far[minus ? 1 : 0];
  const signed = (minus: boolean): NumberSet => (minus ? mirror(set) : set);

  /** Whether digits can be followed by an exponent, at once or after further digits. */
  const canBeFar = ({ minus, whole, fraction = "" }: Written): boolean =>
    /^[1-9]$/.test(whole) &&
    fraction.length <= mostDigits &&
    farOf(minus).whole.length + farOf(minus).partly.length > 0;

  /** What the exponents that may follow depend on. */
  function farKey(written: Written): string {
    const { minus, whole, fraction, exponent } = written;
    if (exponent === undefined && !canBeFar(written)) return "";
    const digits = farOf(minus).partly.length > 0 ? `${whole}.${fraction ?? ""}` : "";
    return `e${exponent ?? fraction?.length}:${digits}`;
  }

  /** Equal keys go on alike: places relative to the bounds, and remainders. */
  function keyOf(written: Written): string {
    const { minus, whole, fraction } = written;
    if (written.exponent !== undefined) return `${minus}${farKey(written)}`;
    const digits = BigInt(`${whole}${fraction ?? ""}` || "0");
    const tail = fraction === undefined ? 0 : Math.min(fraction.length, counted + 1);
    const places = ends.map((end) => place(end, minus, whole, fraction));
    const rests = steps.map((width) =>
      fraction && fraction.length > width.scale ? `${digits}` : digits % width.digits,
    );
    const kept = rounds ? `${Math.min(`${digits}`.length, keptDigits + 2)},${trimmed(digits).length}` : "";
    const length = fraction === undefined ? whole.length : Math.min(whole.length, longest + 1);
    const form = whole === "" ? "" : whole === "0" ? "0" : length;
    return `${minus}${form}.${fraction === undefined ? "" : tail}:${places}:${rests}:${kept}${farKey(written)}`;
  }

  /** Whether some continuation is in the set, the text as it stands included. */
  function isLive(written: Written): boolean {
    const { minus, whole, fraction, exponent } = written;
    const own = signed(minus);
    const ownSmall = small && (minus ? mirror(small) : small);
    const has = (from: Decimal, to: Decimal): boolean =>
      rounds
        ? hasNumber(onGrid(own, from), from, to, true) ||
          (ownSmall !== undefined && hasNumber(ownSmall, from, to, true))
        : hasNumber(own, from, to, true);
    if (whole === "") return minus ? hasNumber(own, zero, undefined) : hasNumber(set, undefined, undefined);
    const digits = BigInt(`${whole}${fraction ?? ""}`);
    const behind = fraction?.length ?? 0;
    if (exponent !== undefined) return matching(own, farOf(minus), digits, behind, exponent).length > 0;
    if (canBeFar(written) && hasFar(own, farOf(minus), digits, behind)) return true;
    if (behind > most || (fraction !== undefined && most === 0)) return false;
    if (
      rounds &&
      fraction &&
      includes(own, { digits, scale: behind }) &&
      isKept(written, digits, { digits, scale: behind })
    )
      return true;
    if (fraction !== undefined || whole === "0") {
      return has({ digits, scale: behind }, { digits: digits + 1n, scale: behind });
    }
    const furthest = Math.min(mostLong, Math.max(enough, whole.length + room));
    for (let more = 0; whole.length + more <= furthest; more++) {
      const width = 10n ** BigInt(more);
      if (has({ digits: digits * width, scale: 0 }, { digits: (digits + 1n) * width, scale: 0 })) return true;
    }
    return false;
  }

  function isKept({ whole, fraction }: Written, digits: bigint, value: Decimal): boolean {
    if (!rounds || trimmed(digits).length <= keptDigits || (small && includes(small, value))) return true;
    return fraction !== undefined && set.avoided.every((n) => isFar(value, n, whole.length));
  }

  function positionAt(written: Written): Position | undefined {
    const key = keyOf(written);
    let position = positions.get(key);
    if (position === undefined) {
      position = isLive(written) ? make(written) : null;
      positions.set(key, position);
    }
    return position ?? undefined;
  }

  function make(written: Written): Position {
    const { minus, whole, fraction, exponent } = written;
    const digits = BigInt(`${whole}${fraction ?? ""}` || "0");
    if (exponent !== undefined) {
      const ways = matching(signed(minus), farOf(minus), digits, fraction?.length ?? 0, exponent);
      return createPosition(
        ways.includes(exponent),
        () => ways.some((way) => way !== exponent),
        (byte) => positionAt({ ...written, exponent: exponent + String.fromCharCode(byte) }),
      );
    }
    const value = { digits: minus ? -digits : digits, scale: fraction?.length ?? 0 };
    const accepts =
      whole !== "" && fraction !== "" && value.scale <= most && includes(set, value) && isKept(written, digits, value);
    return createPosition(
      accepts,
      () => true,
      (byte) => {
        const character = String.fromCharCode(byte);
        if (character === "-") return whole === "" && !minus ? positionAt({ ...written, minus: true }) : undefined;
        if (character === ".") {
          return whole !== "" && fraction === undefined ? positionAt({ ...written, fraction: "" }) : undefined;
        }
        if (character === "e") {
          return fraction !== "" && canBeFar(written) ? positionAt({ ...written, exponent: "" }) : undefined;
        }
        if (!/[0-9]/.test(character)) return undefined;
        if (fraction !== undefined) return positionAt({ ...written, fraction: fraction + character });
        return whole === "0" || whole.length === mostLong
          ? undefined
          : positionAt({ ...written, whole: whole + character });
      },
    );
  }

  return positionAt({ minus: false, whole: "", fraction: undefined })!;
}

/** Decimals of so many digits are written again as they were when doubles have read them. */
const keptDigits = 15;
/** Without zeros at the end. */
const trimmed = (digits: bigint): string => `${digits}`.replace(/0+$/, "");

/** Whether no rounding to a double makes a value with so many digits before the point a multiple. */
function isFar(value: Decimal, of: Decimal, before: number): boolean {
  const scale = Math.max(value.scale, of.scale);
  const [rest, width] = [magnitude({ digits: at(value, scale), scale }) % at(of, scale), at(of, scale)];
  const distance = rest < width - rest ? rest : width - rest;
  return distance * 2n ** 53n > 10n ** BigInt(before + scale);
}

/** Of what begins like `from`, that with no more digits than are kept. */
function onGrid(set: NumberSet, from: Decimal): NumberSet {
  const spare = keptDigits - (from.digits === 0n ? 0 : `${from.digits}`.length);
  const places = from.scale + spare;
  const grid = places >= 0 ? { digits: 1n, scale: places } : { digits: 10n ** BigInt(-places), scale: 0 };
  return onlyMultiples(set, grid);
}

const zero: Decimal = { digits: 0n, scale: 0 };
const mirrors = new WeakMap<NumberSet, NumberSet>();

function mirror(set: NumberSet): NumberSet {
  let mirrored = mirrors.get(set);
  if (!mirrored) {
    const intervals = set.intervals
      .map(({ low, high }) => ({ low: high && negative(high), high: low && negative(low) }))
      .reverse();
    mirrored = { ...set, intervals };
    mirrors.set(set, mirrored);
  }
  return mirrored;
}

const magnitude = ({ digits }: Decimal): bigint => (digits < 0n ? -digits : digits);
const wholeDigits = (end: Decimal): number => `${magnitude(end) / 10n ** BigInt(end.scale)}`.length;

/** How what is written stands to a bound: `<`, `=` or `>` as far as both go, and by how many digits before the point. */
function place(end: Decimal, minus: boolean, whole: string, fraction: string | undefined): string {
  if (minus !== end.digits < 0n && end.digits !== 0n) return "";
  const length = wholeDigits(end);
  if (fraction === undefined) {
    if (whole.length > length) return ">";
    const start = `${magnitude(end) / 10n ** BigInt(end.scale)}`.slice(0, whole.length);
    return whole < start ? "<" : whole > start ? ">" : "=";
  }
  const scale = Math.max(end.scale, fraction.length);
  const own = BigInt(whole + fraction) * 10n ** BigInt(scale - fraction.length);
  const bound =
    (at({ digits: magnitude(end), scale: end.scale }, scale) / 10n ** BigInt(scale - fraction.length)) *
    10n ** BigInt(scale - fraction.length);
  return own < bound ? "<" : own > bound ? ">" : "=";
}
