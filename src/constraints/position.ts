/** Places in a lexeme: what a constraint steps through byte by byte. Only live places exist. */
import { LAST_CODE_POINT, reaches, step, type TextState } from "./automaton.ts";

export interface Position {
  readonly id: number;
  /** The lexeme may end here. */
  readonly accepts: boolean;
  /** Some byte leads on. */
  readonly extends: boolean;
  /** Undefined when no lexeme goes on with this byte. */
  step(byte: number): Position | undefined;
  /**
   * So many printable characters, other than quotes and backslashes, may follow here whatever they are, and stay within the lexeme; none
   * more may, where `exactly`. Undefined: that is not known.
   */
  readonly room?: Room;
}

export interface Room {
  readonly characters: number;
  readonly exactly: boolean;
}

let positions = 0;

/** A place whose steps are worked out once each. */
export function createPosition(
  accepts: boolean,
  extendsOn: () => boolean,
  derive: (byte: number) => Position | undefined,
  room?: () => Room,
): Position {
  let next: (Position | null | undefined)[] | undefined; // most places are never stepped from
  return {
    id: positions++,
    accepts,
    get extends() {
      return extendsOn();
    },
    get room() {
      return room?.();
    },
    step(byte) {
      next ??= new Array<Position | null | undefined>(256).fill(undefined);
      let found = next[byte];
      if (found === undefined) {
        found = derive(byte) ?? null;
        next[byte] = found;
      }
      return found ?? undefined;
    },
  };
}

/** A character that has begun: the code points it may become, and how many bytes are missing. */
export interface Beginning {
  readonly low: number;
  readonly high: number;
  readonly missing: number;
}

/** What the first byte of a character beyond ASCII says; undefined for a byte that begins none. Surrogates are no characters. */
export function beginCharacter(byte: number): Beginning | undefined {
  if (byte >= 0xc2 && byte < 0xe0) return { low: (byte & 0x1f) << 6, high: ((byte & 0x1f) << 6) | 0x3f, missing: 1 };
  if (byte >= 0xe0 && byte < 0xf0) {
    const low = (byte & 0x0f) << 12;
    return { low: Math.max(low, 0x800), high: low | 0xfff, missing: 2 };
  }
  if (byte >= 0xf0 && byte < 0xf5) {
    const low = (byte & 0x07) << 18;
    return { low: Math.max(low, 0x10000), high: Math.min(low | 0x3ffff, LAST_CODE_POINT), missing: 3 };
  }
  return undefined;
}

/** The next byte of a character; undefined where UTF-8 has no such character. */
export function continueCharacter({ low, high, missing }: Beginning, byte: number): Beginning | undefined {
  if ((byte & 0xc0) !== 0x80) return undefined;
  const shift = 6 * (missing - 1);
  // `low` may have been raised to the least code point of this length: its upper bits alone say what came before.
  const base = ((high >> (shift + 6)) << (shift + 6)) | ((byte & 0x3f) << shift);
  const from = Math.max(low, base);
  const to = Math.min(high, base + (1 << shift) - 1);
  if (from > to || (from >= 0xd800 && to <= 0xdfff)) return undefined;
  return { low: from, high: to, missing: missing - 1 };
}

/** Whether a state goes on with a character that has begun. */
export function canBecome(state: TextState, { low, high }: Beginning): boolean {
  if (high < 0xd800 || low > 0xdfff) return reaches(state, low, high);
  return (low < 0xd800 && reaches(state, low, 0xd7ff)) || (high > 0xdfff && reaches(state, 0xe000, high));
}

const rooms = new WeakMap<TextState, Room>();
const farthest = 256;
const endlessRoom: Room = { characters: farthest, exactly: false };

const coversAll = ({ edges }: TextState): boolean => {
  let next = 0;
  for (const { low, high } of edges) {
    if (low !== next) return false;
    next = high + 1;
  }
  return next > LAST_CODE_POINT;
};

/** How many characters may follow whatever they are, up to 256, and whether none more may. */
export function roomOf(state: TextState): Room {
  const known = rooms.get(state);
  if (known) return known;
  const seen = new Set([state]);
  let room: Room = { characters: farthest, exactly: false };
  let level = [state];
  /** One state after every number of characters. */
  let single = true;
  for (let characters = 0; level.length > 0 && characters < farthest && seen.size < 4_000; characters++) {
    single &&= level.length === 1;
    const narrow = level.find((at) => !coversAll(at));
    if (narrow) {
      room = { characters, exactly: single && narrow.edges.length === 0 };
      break;
    }
    const next: TextState[] = [];
    for (const at of level) {
      for (const { to } of at.edges) {
        if (seen.has(to)) continue;
        seen.add(to);
        if (rooms.get(to) === endlessRoom) continue;
        next.push(to);
      }
    }
    if (next.length === 0) room = endlessRoom;
    level = next;
  }
  if (seen.size >= 4_000) room = { characters: 0, exactly: false };
  // Where nothing narrow can be reached from here, nothing can from further on.
  if (room === endlessRoom) for (const one of seen) rooms.set(one, endlessRoom);
  else rooms.set(state, room);
  return room;
}

const plain = new WeakMap<TextState, Position>();

/** The texts of an automaton as they stand, in UTF-8. */
export function utf8(state: TextState): Position {
  const known = plain.get(state);
  if (known) return known;
  const position = createPosition(
    state.accepts,
    () => state.edges.length > 0,
    (byte) => {
      if (byte >= 0x80) return within(state, beginCharacter(byte));
      const next = step(state, byte);
      return next && utf8(next);
    },
    () => roomOf(state),
  );
  plain.set(state, position);
  return position;
}

function within(state: TextState, beginning: Beginning | undefined): Position | undefined {
  if (!beginning || !canBecome(state, beginning)) return undefined;
  return createPosition(
    false,
    () => true,
    (byte) => {
      const next = continueCharacter(beginning, byte);
      if (!next) return undefined;
      if (next.missing > 0) return within(state, next);
      const target = step(state, next.low);
      return target && utf8(target);
    },
  );
}
