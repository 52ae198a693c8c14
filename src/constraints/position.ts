/** Places in a lexeme: what a constraint steps through byte by byte. Only live places exist. */
import { anyText, LAST_CODE_POINT, ofLength, reaches, step, type TextState } from "./automaton.ts";

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
  /** A place that goes on as this one does for as many characters as there is room for. */
  readonly freely?: Position;
  /** A place that many share and that this one is like: most bytes lead from both to one and the same place. */
  readonly like?: Position;
}

export interface Room {
  readonly characters: number;
  readonly exactly: boolean;
  /** Whether the text may end here and after each of them (true), or after none (false); undefined: after some. */
  readonly ends?: boolean;
}

let positions = 0;

/** What a place knows beside its steps. */
interface Traits {
  readonly room?: () => Room;
  readonly freely?: () => Position | undefined;
  readonly like?: () => Position | undefined;
}

/** A class, as there are hundreds of thousands of places, and what is shared costs none of them anything. */
class Place implements Position {
  readonly id = positions++;
  readonly accepts: boolean;
  readonly #extends: () => boolean;
  readonly #derive: (byte: number) => Position | undefined;
  readonly #traits: Traits | undefined;
  /** Most places are never stepped from, and the others by few bytes: sixteen at a time. */
  #next: (Position | null | undefined)[][] | undefined;

  constructor(
    accepts: boolean,
    extendsOn: () => boolean,
    derive: (byte: number) => Position | undefined,
    traits: Traits | undefined,
  ) {
    this.accepts = accepts;
    this.#extends = extendsOn;
    this.#derive = derive;
    this.#traits = traits;
  }

  get extends(): boolean {
    return this.#extends();
  }

  get room(): Room | undefined {
    return this.#traits?.room?.();
  }

  get freely(): Position | undefined {
    return this.#traits?.freely?.();
  }

  get like(): Position | undefined {
    return this.#traits?.like?.();
  }

  step(byte: number): Position | undefined {
    this.#next ??= [];
    this.#next[byte >>> 4] ??= [];
    const own = this.#next[byte >>> 4];
    let found = own[byte & 15];
    if (found === undefined) {
      found = this.#derive(byte) ?? null;
      own[byte & 15] = found;
    }
    return found ?? undefined;
  }
}

/** A place whose steps are worked out once each. */
export const createPosition = (
  accepts: boolean,
  extendsOn: () => boolean,
  derive: (byte: number) => Position | undefined,
  traits?: Traits,
): Position => new Place(accepts, extendsOn, derive, traits);

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

/**
 * The place within a character that has begun, of which `whole` makes a place once it is there. Where all that it may become leads to one
 * state the place is shared by everything that leads there.
 */
export function withinCharacter(
  state: TextState,
  beginning: Beginning,
  whole: (state: TextState, codePoint: number) => Position | undefined,
  shared: WeakMap<TextState, Map<number, Position>>,
): Position | undefined {
  if (!canBecome(state, beginning)) return undefined;
  const make = (): Position =>
    createPosition(
      false,
      () => true,
      (byte) => {
        const next = continueCharacter(beginning, byte);
        if (!next) return undefined;
        return next.missing > 0 ? withinCharacter(state, next, whole, shared) : whole(state, next.low);
      },
    );
  const { low, high, missing } = beginning;
  const only = state.edges.find((edge) => edge.low <= low && edge.high >= high)?.to;
  if (!only) return make();
  let own = shared.get(only);
  if (!own) {
    own = new Map();
    shared.set(only, own);
  }
  const key = (low * 0x110000 + high) * 4 + missing;
  let position = own.get(key);
  if (!position) {
    position = make();
    own.set(key, position);
  }
  return position;
}

/** Whether a state goes on with a character that has begun. */
export function canBecome(state: TextState, { low, high }: Beginning): boolean {
  if (high < 0xd800 || low > 0xdfff) return reaches(state, low, high);
  return (low < 0xd800 && reaches(state, low, 0xd7ff)) || (high > 0xdfff && reaches(state, 0xe000, high));
}

const rooms = new WeakMap<TextState, Room>();
const farthest = 256;

const coversAll = ({ edges }: TextState): boolean => {
  let next = 0;
  for (const { low, high } of edges) {
    if (low !== next) return false;
    next = high + 1;
  }
  return next > LAST_CODE_POINT;
};

/** Room without end, by whether a text may end everywhere in it. */
const endless = [true, false, undefined].map((ends): Room => ({ characters: farthest, exactly: false, ends }));

/** How many characters may follow whatever they are, up to 256, and whether none more may. */
export function roomOf(state: TextState): Room {
  const known = rooms.get(state);
  if (known) return known;
  const seen = new Set([state]);
  let room: Room | undefined;
  let level = [state];
  /** One state after every number of characters. */
  let single = true;
  let ends: boolean | undefined = state.accepts;
  for (let characters = 0; !room && characters < farthest && seen.size < 4_000; characters++) {
    single &&= level.length === 1;
    if (level.some(({ accepts }) => accepts !== ends)) ends = undefined;
    const narrow = level.find((at) => !coversAll(at));
    if (narrow) room = { characters, exactly: single && narrow.edges.length === 0, ends };
    const next: TextState[] = [];
    for (const at of level) {
      for (const { to } of at.edges) {
        if (seen.has(to)) continue;
        seen.add(to);
        next.push(to);
      }
    }
    if (next.length === 0) room ??= endless.find((one) => one.ends === ends);
    level = next;
  }
  room ??= { characters: seen.size < 4_000 ? farthest : 0, exactly: false, ends };
  rooms.set(state, room);
  return room;
}

/** As many characters as there may ever be room for, without an end among them. */
const unfinished = ofLength(2 * farthest, Infinity)!;

/** What a state is like for as many characters as there is room for. */
export function freelyLike(state: TextState): TextState | undefined {
  const { ends } = roomOf(state);
  return ends === undefined ? undefined : ends ? anyText : unfinished;
}

/** Whether most texts lead from a state to where anything may follow. */
export const isNearlyAny = (state: TextState): boolean =>
  state !== anyText && state.edges.some(({ to, low, high }) => to === anyText && high - low >= 0x10ff);

/** The traits of places within texts. */
export const traitsOf = (state: TextState, place: (state: TextState) => Position): Traits => ({
  room: () => roomOf(state),
  freely() {
    const other = freelyLike(state);
    return other && place(other);
  },
  like: () => (isNearlyAny(state) ? place(anyText) : undefined),
});

const plain = new WeakMap<TextState, Position>();
const characters = new WeakMap<TextState, Map<number, Position>>();

/** The texts of an automaton as they stand, in UTF-8. */
export function utf8(state: TextState): Position {
  const known = plain.get(state);
  if (known) return known;
  const whole = (from: TextState, codePoint: number): Position | undefined => {
    const next = step(from, codePoint);
    return next && utf8(next);
  };
  const position = createPosition(
    state.accepts,
    () => state.edges.length > 0,
    (byte) => {
      if (byte < 0x80) return whole(state, byte);
      const beginning = beginCharacter(byte);
      return beginning && withinCharacter(state, beginning, whole, characters);
    },
    traitsOf(state, utf8),
  );
  plain.set(state, position);
  return position;
}
