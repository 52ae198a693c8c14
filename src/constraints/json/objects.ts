/**
 * How an object of a shape may go on: which names may come next with which values, whether it may end, and whether an end can still be
 * reached. Names that the shape lists are followed one by one; all others are one automaton. No name may come twice.
 */
import { ensure } from "../../errors.ts";
import {
  accepts,
  alwaysExtends,
  anyText,
  except,
  intersect,
  listTexts,
  oneOf,
  type TextState,
  union,
} from "../automaton.ts";
import type { Possibility } from "./arrays.ts";
import type { Condition, Conditions } from "./conditions.ts";
import type { ObjectShape, Property } from "./shapes.ts";

export interface ObjectState {
  readonly key: string;
  readonly seen: ReadonlySet<string>;
  /** Needs that are not satisfied yet, beside the required names: by number. */
  readonly pending: readonly number[];
}

export interface ValueChoice {
  readonly condition: Condition;
  readonly next: ObjectState;
}

export interface ObjectCourse {
  readonly start: ObjectState;
  isLive(state: ObjectState): boolean;
  canClose(state: ObjectState): boolean;
  /** Equal for names that are followed by the same. */
  alike(state: ObjectState, name: string): string;
  /** Listed names that may come next. */
  listed(state: ObjectState): readonly string[];
  /** Other names that may come next; undefined for none. `exact`: those that came already are left out. */
  others(state: ObjectState): TextState | undefined;
  /** What the value of a name may be; none where the name must not come. */
  choices(state: ObjectState, name: string): readonly ValueChoice[];
  /** What values of properties may have to satisfy. */
  conditions(): Condition[];
}

/** Up to so many other names are followed one by one. */
const fewNames = 64;
const mostRules = 10;
const mostAssignments = 20_000;

export function createObjectCourse(
  shape: ObjectShape,
  { all, and }: Conditions,
  { possible, settled }: Possibility,
): ObjectCourse {
  const { least, most } = shape;
  const isRequired = ({ names, value }: Property): boolean => names.listed?.size === 1 && value === all;
  const required = new Set(shape.needs.filter(isRequired).flatMap(({ names }) => [...names.listed!]));
  const needs = shape.needs.filter((need) => !isRequired(need));
  const open = shape.rules.filter(({ names }) => !names.listed);
  const ruled = new Map<string, Condition[]>();
  for (const { names, value } of shape.rules) {
    for (const name of names.listed ?? []) {
      const values = ruled.get(name);
      if (values) values.push(value);
      else ruled.set(name, [value]);
    }
  }
  const listed = new Set([...ruled.keys(), ...[...shape.needs].flatMap(({ names }) => [...(names.listed ?? [])])]);

  /** Asked for only where it matters: many schemas hang together through properties that need not be there. */
  let others: { readonly names: TextState | undefined; readonly growing: boolean } | undefined;
  function otherNames(): { readonly names: TextState | undefined; readonly growing: boolean } {
    if (others) return others;
    let names = remainingNames();
    const few = names && listTexts(names, fewNames);
    if (few) {
      for (const name of few) listed.add(name);
      names = undefined;
    }
    const found = { names, growing: alwaysExtends(names, 20_000) };
    if (settled()) others = found;
    return found;
  }

  const bases = new Map<string, Condition>();
  function baseOf(name: string): Condition {
    let base = bases.get(name);
    if (!base) {
      base = and([...(ruled.get(name) ?? []), ...open.flatMap(({ names, value }) => (names.has(name) ? [value] : []))]);
      if (listed.has(name) || bases.size < 1_000) bases.set(name, base);
    }
    return base;
  }

  /** Names that are not listed and whose value can be something. */
  function remainingNames(): TextState | undefined {
    const closed = open.some(
      ({ names: { allBut }, value }) => allBut && [...allBut].every((name) => listed.has(name)) && !possible(value),
    );
    if (closed) return undefined;
    let left = except(anyText, oneOf(listed));
    const useful = open.filter(({ value }) => value !== all);
    const subsets: Property[][] = [];
    for (const one of useful) {
      // Whatever one rule or several together make impossible is no name for a property.
      const fresh = [[one], ...subsets.filter((s) => s.length < 3).map((s) => [...s, one])];
      ensure(useful.length <= mostRules, "bad_option", `more than ${mostRules} patterns for names at once`);
      for (const subset of fresh) {
        if (possible(and(subset.map(({ value }) => value)))) subsets.push(subset);
        else left = except(left, subset.map(({ names }) => names.automaton()).reduce(intersect));
      }
    }
    return left;
  }

  const stateOf = (seen: ReadonlySet<string>, pending: readonly number[]): ObjectState => ({
    key: `${[...seen].sort().map((name) => JSON.stringify(name))}|${pending}`,
    seen,
    pending,
  });

  /** Whether a listed name could come at all, whatever came before. */
  const isUsable = (name: string): boolean => possible(baseOf(name));
  let usableNames: readonly string[] | undefined;
  function usable(): readonly string[] {
    if (usableNames) return usableNames;
    otherNames();
    const found = [...listed].filter(isUsable);
    if (settled()) usableNames = found;
    return found;
  }

  const live = new Map<string, boolean>();
  function isLive(state: ObjectState): boolean {
    let value = live.get(state.key);
    if (value === undefined) {
      value = decide(state);
      if (value || settled()) live.set(state.key, value);
    }
    return value;
  }

  function decide({ seen, pending }: ObjectState): boolean {
    let missing = 0;
    for (const name of required) {
      if (seen.has(name)) continue;
      if (!isUsable(name)) return false;
      missing += 1;
    }
    const extra = pending.length === 0 ? 0 : fewestExtra(seen, pending);
    if (extra === undefined || seen.size + missing + extra > most) return false;
    if (seen.size + missing + extra >= least || otherNames().names) return true;
    return seen.size + usable().filter((name) => !seen.has(name)).length >= least;
  }

  /** The fewest names beyond the required ones that satisfy what is pending; undefined when nothing does. */
  function fewestExtra(seen: ReadonlySet<string>, pending: readonly number[]): number | undefined {
    let best: number | undefined;
    let steps = 0;
    const candidates = usable();
    const assign = (i: number, used: Map<string, Condition[]>, fresh: readonly (readonly number[])[]): void => {
      steps += 1;
      ensure(steps <= mostAssignments, "bad_option", "too many conditions on some property at once");
      if (best !== undefined && (most === Infinity || best === 0)) return;
      if (i === pending.length) {
        const extra = fresh.length + [...used.keys()].filter((name) => !required.has(name)).length;
        if (best === undefined || extra < best) best = extra;
        return;
      }
      const need = needs[pending[i]];
      if (namesMeeting([pending[i]])) assign(i + 1, used, [...fresh, [pending[i]]]);
      fresh.forEach((group, g) => {
        const joined = [...group, pending[i]];
        if (namesMeeting(joined)) assign(i + 1, used, fresh.with(g, joined));
      });
      for (const name of candidates) {
        if (seen.has(name) || !need.names.has(name)) continue;
        const together = [...(used.get(name) ?? []), need.value];
        if (!possible(and([baseOf(name), ...together]))) continue;
        assign(i + 1, new Map(used).set(name, together), fresh);
      }
    };
    assign(0, new Map(), []);
    return best;
  }

  const meeting = new Map<string, TextState | undefined>();
  /** Other names whose value can satisfy some needs at once. */
  function namesMeeting(numbers: readonly number[]): TextState | undefined {
    const key = `${numbers}`;
    if (meeting.has(key)) return meeting.get(key);
    const value = and(numbers.map((number) => needs[number].value));
    let names = possible(value) ? otherNames().names : undefined;
    for (const number of numbers) names = intersect(names, needs[number].names.automaton());
    const ruling: { names: TextState | undefined; value: Condition }[] = [];
    for (const rule of open) {
      if (rule.value === all) continue;
      const own = { names: rule.names.automaton(), value: rule.value };
      for (const { names: overlap, value: other } of [
        { names: own.names, value: own.value },
        ...ruling.map((r) => ({ names: intersect(r.names, own.names), value: and([r.value, own.value]) })),
      ]) {
        if (!possible(and([value, other]))) names = except(names, overlap);
      }
      ruling.push(own);
    }
    if (settled()) meeting.set(key, names);
    return names;
  }

  function choices(state: ObjectState, name: string): ValueChoice[] {
    if (state.seen.has(name)) return [];
    const { names: other } = otherNames();
    if (listed.has(name) ? !isUsable(name) : !accepts(other, name)) return [];
    const base = baseOf(name);
    const seen = new Set(state.seen).add(name);
    let ways: { conditions: Condition[]; pending: number[] }[] = [{ conditions: [base], pending: [...state.pending] }];
    for (const number of state.pending) {
      const { names, value } = needs[number];
      if (!names.has(name)) continue;
      ways = ways.flatMap((way) => {
        const claimed = {
          conditions: [...way.conditions, value],
          pending: way.pending.filter((one) => one !== number),
        };
        return value === all ? [claimed] : [claimed, way];
      });
    }
    return ways.flatMap(({ conditions, pending }) => {
      const condition = and(conditions);
      const next = stateOf(seen, pending);
      return possible(condition) && isLive(next) ? [{ condition, next }] : [];
    });
  }

  const matches = new Map<string, string>();
  /** Which rules and needs a name that is not listed falls under: what its value may be depends on nothing else. */
  function matchedBy(name: string): string {
    let found = matches.get(name);
    if (found === undefined) {
      found = [...open, ...needs].flatMap(({ names }, i) => (names.has(name) ? [i] : [])).join();
      if (matches.size < 10_000) matches.set(name, found);
    }
    return found;
  }

  const nextNames = new Map<string, readonly string[]>();
  return {
    start: stateOf(
      new Set(),
      needs.map((_, i) => i),
    ),
    isLive,
    canClose: ({ seen, pending }) =>
      seen.size >= least && seen.size <= most && pending.length === 0 && [...required].every((name) => seen.has(name)),
    alike: ({ seen }, name) => (listed.has(name) || seen.has(name) ? `name ${name}` : `others ${matchedBy(name)}`),
    listed(state) {
      let found = nextNames.get(state.key);
      if (!found) {
        // Where nothing is pending and any number may come, a further name leaves a live object live.
        const free = state.pending.length === 0 && most === Infinity && isLive(state);
        found = usable().filter((name) => !state.seen.has(name) && (free || choices(state, name).length > 0));
        if (settled()) nextNames.set(state.key, found);
      }
      return found;
    },
    others(state) {
      const { names: other, growing } = otherNames();
      if (!other) return undefined;
      // Another name that satisfies no need is as good as any.
      const spare = stateOf(new Set(state.seen).add(unheardOf(state.seen)), state.pending);
      let names: TextState | undefined = isLive(spare) ? other : pendingNames(state);
      const came = [...state.seen].filter((name) => !listed.has(name));
      if (!growing && came.length > 0) names = except(names, oneOf(came));
      return names;
    },
    choices,
    conditions() {
      const names = usable();
      return [
        ...names.map(baseOf),
        ...(otherNames().names ? open.map(({ value }) => value) : []),
        ...needs.flatMap((need) => [
          need.value,
          ...names.filter((name) => need.names.has(name)).map((name) => and([baseOf(name), need.value])),
        ]),
      ];
    },
  };

  /** Where no name is to spare: those that satisfy something, alone or several needs at once. */
  function pendingNames(state: ObjectState): TextState | undefined {
    const { pending } = state;
    ensure(pending.length <= 6, "bad_option", "too many conditions on some property at once");
    const seen = new Set(state.seen).add(unheardOf(state.seen));
    let names: TextState | undefined;
    for (let chosen = 1; chosen < 2 ** pending.length; chosen++) {
      const satisfied = pending.filter((_, i) => (chosen >> i) & 1);
      const rest = pending.filter((_, i) => !((chosen >> i) & 1));
      if (isLive(stateOf(seen, rest))) names = union(names, namesMeeting(satisfied));
    }
    return names;
  }

  /** A stand-in for a name that is not listed. */
  function unheardOf(seen: ReadonlySet<string>): string {
    let name = "\ud800";
    while (seen.has(name) || listed.has(name)) name += "\ud800";
    return name;
  }
}
