/**
 * JSON strings whose content an automaton allows, in every spelling: characters as they are, short escapes and \u escapes with surrogate
 * pairs. Content is what JSON.parse gives, so half a pair counts as a code point of its own.
 */
import { anyText, reaches, step, type TextState } from "../automaton.ts";
import { beginCharacter, createPosition, isNearlyAny, type Position, traitsOf, withinCharacter } from "../position.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const shortEscapes: Readonly<Record<string, number>> = {
  '"': 0x22,
  "\\": 0x5c,
  "/": 0x2f,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
};

const live = (): boolean => true;
const closed: Position = createPosition(
  true,
  () => false,
  () => undefined,
);

/** One position for every state of the content, so that equal places in strings are the same place. */
const opened = new WeakMap<TextState, Position>();
const insides = new WeakMap<TextState, Position>();
const characters = new WeakMap<TextState, Map<number, Position>>();

/** A string from its opening to its closing quote. */
export function jsonString(content: TextState): Position {
  return remember(opened, content, () =>
    createPosition(false, live, (byte) => (byte === QUOTE ? inside(content) : undefined), {
      like: () => (isNearlyAny(content) ? jsonString(anyText) : undefined),
    }),
  );
}

const place = (derive: (byte: number) => Position | undefined): Position => createPosition(false, live, derive);

function remember(table: WeakMap<TextState, Position>, state: TextState, make: () => Position): Position {
  let position = table.get(state);
  if (!position) {
    position = make();
    table.set(state, position);
  }
  return position;
}

function inside(state: TextState): Position {
  return remember(insides, state, () =>
    createPosition(
      false,
      live,
      (byte) => {
        if (byte === QUOTE) return state.accepts ? closed : undefined;
        if (byte === BACKSLASH) return escaped(state);
        if (byte < 0x20) return undefined;
        if (byte < 0x80) return on(state, byte);
        const beginning = beginCharacter(byte);
        return beginning && withinCharacter(state, beginning, on, characters);
      },
      traitsOf(state, inside),
    ),
  );
}

function on(state: TextState, codePoint: number): Position | undefined {
  const next = step(state, codePoint);
  return next && inside(next);
}

function escaped(state: TextState): Position | undefined {
  if (state.edges.length === 0) return undefined;
  return place((byte) => {
    if (byte === 0x75) return digits(state, 0, 0);
    const codePoint = shortEscapes[String.fromCharCode(byte)];
    return codePoint === undefined ? undefined : on(state, codePoint);
  });
}

/** Within the four digits of a \u escape: the units that they may become. */
interface Units {
  readonly low: number;
  readonly high: number;
}
const unitsOf = (value: number, count: number): Units => {
  const width = 16 ** (4 - count);
  return { low: value * width, high: value * width + width - 1 };
};
const cut = ({ low, high }: Units, from: number, to: number): Units | undefined =>
  low <= to && high >= from ? { low: Math.max(low, from), high: Math.min(high, to) } : undefined;

/** The code points that a first half and some second halves make. */
const pairsOf = (first: Units, second: Units): Units => ({
  low: 0x10000 + (first.low - 0xd800) * 0x400 + (second.low - 0xdc00),
  high: 0x10000 + (first.high - 0xd800) * 0x400 + (second.high - 0xdc00),
});
const anySecond: Units = { low: 0xdc00, high: 0xdfff };

function canWrite(state: TextState, units: Units): boolean {
  if (reaches(state, units.low, units.high)) return true;
  const first = cut(units, 0xd800, 0xdbff);
  if (!first) return false;
  const { low, high } = pairsOf(first, anySecond);
  return reaches(state, low, high);
}

const hexValue = (byte: number): number => {
  const value = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(value) ? -1 : value;
};

function digits(state: TextState, value: number, count: number): Position | undefined {
  if (!canWrite(state, unitsOf(value, count))) return undefined;
  if (count === 4) return value >= 0xd800 && value < 0xdc00 ? firstHalf(state, value) : on(state, value);
  return place((byte) => {
    const digit = hexValue(byte);
    return digit < 0 ? undefined : digits(state, value * 16 + digit, count + 1);
  });
}

/** After the first half of a pair: a second half joins it, anything else leaves it alone. */
function firstHalf(state: TextState, first: number): Position {
  const alone = step(state, first);
  return place((byte) => {
    if (byte !== BACKSLASH) return alone && inside(alone).step(byte);
    if (!(alone && alone.edges.length > 0) && !secondHalf(state, first, alone, 0, 0)) return undefined;
    return place((second) => {
      if (second === 0x75) return secondHalf(state, first, alone, 0, 0);
      return alone && escaped(alone)?.step(second);
    });
  });
}

function secondHalf(
  state: TextState,
  first: number,
  alone: TextState | undefined,
  value: number,
  count: number,
): Position | undefined {
  const second = cut(unitsOf(value, count), 0xdc00, 0xdfff);
  if (count === 4) {
    if (second) return on(state, pairsOf({ low: first, high: first }, second).low);
    return alone && digits(alone, value, count);
  }
  const pairs = second && pairsOf({ low: first, high: first }, second);
  const others = [cut(unitsOf(value, count), 0, 0xdbff), cut(unitsOf(value, count), 0xe000, 0xffff)];
  const joined = pairs && reaches(state, pairs.low, pairs.high);
  if (!joined && !(alone && others.some((units) => units && canWrite(alone, units)))) return undefined;
  return place((byte) => {
    const digit = hexValue(byte);
    return digit < 0 ? undefined : secondHalf(state, first, alone, value * 16 + digit, count + 1);
  });
}
