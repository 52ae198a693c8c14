/** How an array of a shape may go on: what the next item may be, whether it may end, and whether an end can still be reached. */
import { ensure } from "../../errors.ts";
import { countTexts, except, oneOf } from "../automaton.ts";
import type { Condition, Conditions } from "./conditions.ts";
import { complementNumbers, countNumbers, exactly, intersectNumbers } from "./number-sets.ts";
import type { ArrayShape } from "./shapes.ts";

export interface ArrayState {
  readonly key: string;
  /** Items so far, as far as they matter. */
  readonly index: number;
  /** How many items satisfied each count, as far as that matters. */
  readonly counted: readonly number[];
  /** Items so far, as JSON, where they must differ. */
  readonly seen: readonly string[];
}

export interface ItemChoice {
  readonly condition: Condition;
  /** The state after such an item; `item` is its JSON, where items must differ. */
  next(item?: string): ArrayState;
}

/** What `possible.ts` answers; a "no" may be kept only where it is settled. */
export interface Possibility {
  possible(condition: Condition): boolean;
  settled(): boolean;
}

export interface ArrayCourse {
  readonly start: ArrayState;
  readonly unique: boolean;
  canClose(state: ArrayState): boolean;
  /** Ways to go on from which an end can be reached. */
  choices(state: ArrayState): readonly ItemChoice[];
  isLive(state: ArrayState): boolean;
  /** What items may have to satisfy. */
  conditions(): Condition[];
}

const mostStates = 100_000;
/** Alternatives for one item, two for every `contains`. */
const mostCounts = 8;

export function createArrayCourse(
  shape: ArrayShape,
  { all, and, not, values, valuesOf }: Conditions,
  { possible, settled }: Possibility,
): ArrayCourse {
  const { items, rest, counts, least, most } = shape;
  const unique = shape.unique && most > 1;
  ensure(counts.length <= mostCounts, "bad_option", `more than ${mostCounts} contains at once`);
  const relevant = Math.max(items.length, least, most === Infinity ? 0 : most, ...counts.map(({ from }) => from));

  const at = (index: number, counted: readonly number[], seen: readonly string[]): ArrayState => {
    const capped = Math.min(index, relevant);
    return { key: `${capped}:${counted}:${JSON.stringify(seen)}`, index: capped, counted, seen };
  };

  /** Why items cannot be kept different here; undefined where they can. */
  function whyNotUnique(): string | undefined {
    if (items.length > 0 || counts.length > 0) return "together with prefixItems or contains is not supported";
    const { arrays, objects } = valuesOf(rest);
    if (arrays.length === 0 && objects.length === 0) return undefined;
    return "is supported for items that are texts, numbers, booleans or null, not for arrays or objects";
  }

  let enough: boolean | undefined;
  /** Whether there are as many different items as there must be. */
  function hasEnough(): boolean {
    const { words, numbers, text } = valuesOf(rest);
    enough ??= words.length + countTexts(text, least) + countNumbers(numbers, least) >= least;
    return enough;
  }

  /** Items that are none of those there. */
  function without(condition: Condition, seen: readonly string[]): Condition {
    if (seen.length === 0) return condition;
    const parsed = seen.map((item) => JSON.parse(item) as unknown);
    return values(() => {
      const given = valuesOf(condition);
      const texts = parsed.filter((item) => typeof item === "string");
      const numbers = parsed.filter((item) => typeof item === "number");
      const others = complementNumbers(exactly(numbers));
      return {
        ...given,
        words: given.words.filter((word) => !seen.includes(word)),
        text: texts.length > 0 ? except(given.text, oneOf(texts)) : given.text,
        numbers:
          numbers.length > 0
            ? given.numbers.flatMap((set) => others.flatMap((other) => intersectNumbers(set, other) ?? []))
            : given.numbers,
      };
    });
  }

  const known = new Map<string, readonly ItemChoice[]>();

  /** What the next item may be, dead ends included. */
  function candidates(state: ArrayState): { condition: Condition; next: ArrayState }[] {
    if (state.index >= most) return [];
    const own = items[state.index] ?? rest;
    const base = unique ? without(own, state.seen) : own;
    let ways: { conditions: Condition[]; counted: number[] }[] = [{ conditions: [base], counted: [...state.counted] }];
    counts.forEach((count, i) => {
      if (state.index < count.from) return;
      const done = state.counted[i];
      if (count.most === Infinity && done >= count.least) return;
      ways = ways.flatMap(({ conditions, counted }) => {
        const yes = {
          conditions: [...conditions, count.what],
          counted: counted.map((value, j) => (j === i ? value + 1 : value)),
        };
        // Without an upper limit an item that satisfies the count by chance does no harm.
        const no = { conditions: count.most === Infinity ? conditions : [...conditions, not(count.what)], counted };
        return [...(done < count.most ? [yes] : []), ...(count.what === all ? [] : [no])];
      });
    });
    return ways.flatMap(({ conditions, counted }) => {
      const condition = and(conditions);
      return possible(condition) ? [{ condition, next: at(state.index + 1, counted, state.seen) }] : [];
    });
  }

  const canClose = ({ index, counted }: ArrayState): boolean =>
    index >= least && counts.every((count, i) => counted[i] >= count.least && counted[i] <= count.most);

  const live = new Map<string, boolean>();

  function isLive(start: ArrayState): boolean {
    const old = live.get(start.key);
    if (old !== undefined) return old;
    // Items that differ leave as many values as are needed, if there ever were enough.
    if (unique && !whyNotUnique()) return keep(start, start.index <= most && hasEnough());
    if (counts.length === 0) return keep(start, isPlainLive(start));
    const origin = new Map<string, string | undefined>([[start.key, undefined]]);
    const stack = [start];
    for (let state = stack.pop(); state; state = stack.pop()) {
      if (canClose(state) || live.get(state.key)) {
        for (let key: string | undefined = state.key; key !== undefined; key = origin.get(key)) live.set(key, true);
        return true;
      }
      ensure(origin.size < mostStates, "bad_option", "contains with too many items to count");
      for (const { next } of candidates(state)) {
        if (origin.has(next.key) || live.get(next.key) === false) continue;
        origin.set(next.key, state.key);
        stack.push(next);
      }
    }
    if (settled()) for (const key of origin.keys()) live.set(key, false);
    return false;
  }

  function keep({ key }: ArrayState, value: boolean): boolean {
    if (value || settled()) live.set(key, value);
    return value;
  }

  function isPlainLive({ index }: ArrayState): boolean {
    if (least > most) return false;
    for (let i = index; i < Math.min(least, items.length); i++) if (!possible(items[i])) return false;
    return least <= Math.max(index, items.length) || possible(rest);
  }

  return {
    start: at(
      0,
      counts.map(() => 0),
      [],
    ),
    unique,
    canClose,
    isLive,
    conditions() {
      const refused = unique ? whyNotUnique() : undefined;
      ensure(!refused, "bad_option", `uniqueItems ${refused}`);
      const each = [...items, rest];
      return [
        ...each,
        ...counts.flatMap(({ what }) => each.flatMap((item) => [and([item, what]), and([item, not(what)])])),
      ];
    },
    choices(state) {
      let found = known.get(state.key);
      if (!found) {
        found = candidates(state)
          .filter(({ next }) => isLive(next))
          .map(({ condition, next }) => ({
            condition,
            next: (item) => (item === undefined ? next : at(next.index, next.counted, [...next.seen, item])),
          }));
        if (settled()) known.set(state.key, found);
      }
      return found;
    },
  };
}
