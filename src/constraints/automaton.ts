/**
 * Deterministic automata over code points, built as they are walked. Only live states exist: from each, some accepted text can be
 * reached, so whether a text may still become valid is whether its state is there. Sets of texts are closed under intersection,
 * difference and union; every operation shares the states of its arguments where one of them decides alone.
 */
import { ensure } from "../errors.ts";

export const LAST_CODE_POINT = 0x10ffff;

export interface TextState {
  readonly id: number;
  readonly accepts: boolean;
  /** Disjoint, in ascending order; targets are live. */
  readonly edges: readonly Edge[];
}

export interface Edge<State = TextState> {
  readonly low: number;
  readonly high: number;
  readonly to: State;
}

let states = 0;

/** A class, as there are very many states. */
class LazyState implements TextState {
  readonly id = states++;
  readonly accepts: boolean;
  #derive: (() => readonly Edge[]) | undefined;
  #edges: readonly Edge[] | undefined;

  constructor(accepts: boolean, derive: () => readonly Edge[]) {
    this.accepts = accepts;
    this.#derive = derive;
  }

  get edges(): readonly Edge[] {
    if (!this.#edges) {
      this.#edges = this.#derive!();
      this.#derive = undefined; // what it was worked out from is needed no more
    }
    return this.#edges;
  }
}

const createState = (accepts: boolean, derive: () => readonly Edge[]): TextState => new LazyState(accepts, derive);

/** Where a code point leads; undefined when no accepted text goes on like this. */
export function step(state: TextState, codePoint: number): TextState | undefined {
  const { edges } = state;
  let from = 0;
  let to = edges.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (edges[middle].high < codePoint) from = middle + 1;
    else to = middle;
  }
  return from < edges.length && edges[from].low <= codePoint ? edges[from].to : undefined;
}

/** Whether some code point of a range leads anywhere. */
export const reaches = (state: TextState, low: number, high: number): boolean =>
  state.edges.some((edge) => edge.low <= high && edge.high >= low);

export function accepts(state: TextState | undefined, text: string): boolean {
  let at = state;
  for (const character of text) {
    if (!at) return false;
    at = step(at, character.codePointAt(0)!);
  }
  return at?.accepts ?? false;
}

/** All texts. */
export const anyText: TextState = createState(true, () => [{ low: 0, high: LAST_CODE_POINT, to: anyText }]);

/** A graph whose nodes become states; `known` names a state that a node is the same as. */
interface Graph<Node> {
  key(node: Node): string | number;
  accepts(node: Node): boolean;
  edges(node: Node): readonly Edge<Node>[];
  known?(node: Node): TextState | undefined;
  /** Whether the node can surely reach an accepting one; for the others that is searched. */
  live?(node: Node): boolean;
  /** Names the graph where it is too large. */
  readonly subject: string;
}

/** Most nodes that one question "is there a way to accept" may visit. */
const longestSearch = 100_000;

let allowance = Infinity;

/** Does something during which all such questions together may visit `nodes` nodes: what strangers wrote must not take for ever. */
export function withAllowance<Result>(nodes: number, action: () => Result): Result {
  const before = allowance;
  allowance = Math.min(before, nodes);
  try {
    return action();
  } finally {
    allowance = before === Infinity ? before : before - (nodes - allowance);
  }
}

/** The state of a node; undefined when nothing is accepted from there. Errors: `bad_option` when telling that takes too long. */
export function build<Node>(graph: Graph<Node>, start: Node): TextState | undefined {
  const made = new Map<string | number, TextState>();
  const live = new Map<string | number, boolean>();
  const stateOf = (node: Node): TextState | undefined => {
    const known = graph.known?.(node);
    if (known) return known;
    const key = graph.key(node);
    const old = made.get(key);
    if (old) return old;
    if (!graph.live?.(node) && !isLive(node)) return undefined;
    const state = createState(graph.accepts(node), () => join(graph.edges(node), stateOf));
    made.set(key, state);
    return state;
  };

  /** Searches for an accepting node. All on the way to it are live; if there is none, all that was visited is dead. */
  function isLive(start: Node): boolean {
    const first = live.get(graph.key(start));
    if (first !== undefined) return first;
    const origin = new Map<string | number, string | number | undefined>([[graph.key(start), undefined]]);
    // By turns the oldest and the latest: depth alone runs round in loops, breadth alone drowns in alternatives. What breadth finds is left
    // to it, so that depth goes on from where it was.
    const waiting: Node[] = [start];
    const latest: Node[] = [start];
    const expanded = new Set<string | number>();
    for (let oldest = 0, deep = true; oldest < waiting.length; deep = !deep) {
      const node = (deep ? latest.pop() : undefined) ?? waiting[oldest++];
      const key = graph.key(node);
      if (expanded.has(key)) continue;
      expanded.add(key);
      if (graph.known?.(node) || graph.accepts(node) || graph.live?.(node) || live.get(key)) {
        for (let at: string | number | undefined = key; at !== undefined; at = origin.get(at)) live.set(at, true);
        return true;
      }
      allowance -= 1;
      ensure(
        origin.size <= longestSearch && allowance > 0,
        "bad_option",
        () => `${graph.subject}: too many cases to decide what can still be completed`,
      );
      for (const { to } of graph.edges(node)) {
        const next = graph.key(to);
        if (origin.has(next) || live.get(next) === false) continue;
        origin.set(next, key);
        waiting.push(to);
        if (deep) latest.push(to);
      }
    }
    for (const key of origin.keys()) live.set(key, false);
    return false;
  }

  return stateOf(start);
}

function join<Node>(edges: readonly Edge<Node>[], stateOf: (node: Node) => TextState | undefined): Edge[] {
  const result: { low: number; high: number; to: TextState }[] = [];
  for (const { low, high, to } of edges) {
    const state = stateOf(to);
    if (!state) continue;
    const last = result.at(-1);
    if (last && last.to === state && last.high === low - 1) last.high = high;
    else result.push({ low, high, to: state });
  }
  return result;
}

type Pair = readonly [TextState | undefined, TextState | undefined];

/** Edges of two states side by side; where one has none, its half is undefined. */
function pairEdges(a: TextState | undefined, b: TextState | undefined): Edge<Pair>[] {
  const result: Edge<Pair>[] = [];
  const left = a?.edges ?? [];
  const right = b?.edges ?? [];
  let i = 0;
  let j = 0;
  let low = 0;
  while (i < left.length || j < right.length) {
    const x = left[i];
    const y = right[j];
    low = Math.max(low, Math.min(x?.low ?? Infinity, y?.low ?? Infinity));
    const inX = x !== undefined && x.low <= low;
    const inY = y !== undefined && y.low <= low;
    let high = Infinity;
    if (x) high = Math.min(high, inX ? x.high : x.low - 1);
    if (y) high = Math.min(high, inY ? y.high : y.low - 1);
    result.push({ low, high, to: [inX ? x.to : undefined, inY ? y.to : undefined] });
    low = high + 1;
    if (x && x.high < low) i += 1;
    if (y && y.high < low) j += 1;
  }
  return result;
}

const pairKey = ([a, b]: Pair): string => `${a?.id},${b?.id}`;

/** Texts of both; undefined when there are none. */
export function intersect(a: TextState | undefined, b: TextState | undefined): TextState | undefined {
  if (!a || !b) return undefined;
  return build<Pair>(
    {
      subject: "texts that two conditions allow",
      key: pairKey,
      accepts: ([x, y]) => x!.accepts && y!.accepts,
      edges: ([x, y]) => pairEdges(x, y).filter(({ to }) => to[0] && to[1]),
      known: ([x, y]) => (x === y || y === anyText ? x : x === anyText ? y : undefined),
    },
    [a, b],
  );
}

/** Texts of the first that are none of the second. */
export function except(a: TextState | undefined, b: TextState | undefined): TextState | undefined {
  if (!a || !b) return a;
  return build<Pair>(
    {
      subject: "texts that one condition allows and another forbids",
      key: pairKey,
      accepts: ([x, y]) => x!.accepts && !y?.accepts,
      edges: ([x, y]) => pairEdges(x, y).filter(({ to }) => to[0]),
      known: ([x, y]) => (y ? undefined : x),
    },
    [a, b],
  );
}

/** Texts of either. */
export function union(a: TextState | undefined, b: TextState | undefined): TextState | undefined {
  if (!a || !b) return a ?? b;
  return build<Pair>(
    {
      subject: "texts of either condition",
      live: () => true,
      key: pairKey,
      accepts: ([x, y]) => (x?.accepts ?? false) || (y?.accepts ?? false),
      edges: ([x, y]) => pairEdges(x, y),
      known: ([x, y]) => (x === anyText || y === anyText ? anyText : !x || x === y ? y : y ? undefined : x),
    },
    [a, b],
  );
}

/** ASCII letters only: what keywords and names of SQL are compared by. */
export const lowerCase = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/** Exactly these texts; undefined for none. `ignoreCase`: ASCII letters in either case. */
export function oneOf(texts: Iterable<string>, { ignoreCase = false } = {}): TextState | undefined {
  interface Branch {
    readonly name: number;
    ends: boolean;
    readonly below: Map<number, Branch>;
  }
  let names = 0;
  const branch = (): Branch => ({ name: names++, ends: false, below: new Map() });
  const root = branch();
  let some = false;
  for (const given of texts) {
    const text = ignoreCase ? lowerCase(given) : given;
    let at = root;
    for (const character of text) {
      const point = character.codePointAt(0)!;
      let next = at.below.get(point);
      if (!next) {
        next = branch();
        at.below.set(point, next);
      }
      at = next;
    }
    at.ends = true;
    some = true;
  }
  if (!some) return undefined;
  return build<Branch>(
    {
      subject: "a list of texts",
      live: () => true,
      key: ({ name }) => name,
      accepts: ({ ends }) => ends,
      edges: ({ below }) =>
        [...below]
          .flatMap(([point, to]) => {
            const forms = ignoreCase && point >= 0x61 && point <= 0x7a ? [point, point - 32] : [point];
            return forms.map((form) => ({ low: form, high: form, to }));
          })
          .sort((a, b) => a.low - b.low),
    },
    root,
  );
}

/** Texts of at least `least` and at most `most` code points. */
export function ofLength(least: number, most: number): TextState | undefined {
  if (least > most) return undefined;
  return build<number>(
    {
      subject: "lengths",
      live: () => true,
      key: (count) => count,
      accepts: (count) => count >= least,
      edges: (count) => (count < most ? [{ low: 0, high: LAST_CODE_POINT, to: count + 1 }] : []),
      known: (count) => (most === Infinity && count >= least ? anyText : undefined),
    },
    0,
  );
}

/** Whether every text that the automaton accepts can be made longer into another one that it accepts. */
export function alwaysExtends(state: TextState | undefined, limit = 2_000): boolean {
  if (!state) return false;
  const seen = new Set([state]);
  for (const at of seen) {
    if (seen.size > limit || (at.accepts && at.edges.length === 0)) return false;
    for (const { to } of at.edges) seen.add(to);
  }
  return true;
}

/** The accepted texts if they are at most `limit`; undefined if there are more. */
export function listTexts(state: TextState | undefined, limit: number): string[] | undefined {
  const texts: string[] = [];
  let visits = 0;
  const walk = (at: TextState, text: string): boolean => {
    visits += 1;
    if (visits > limit * 64) return false;
    if (at.accepts && texts.push(text) > limit) return false;
    for (const { low, high, to } of at.edges) {
      if (high - low > limit) return false;
      for (let point = low; point <= high; point++) if (!walk(to, text + String.fromCodePoint(point))) return false;
    }
    return true;
  };
  if (state && state.edges.length > 0 && state.edges[0].to === state) return undefined;
  return !state || walk(state, "") ? texts : undefined;
}

/** How many texts the automaton accepts, or `limit` if there are more. */
export function countTexts(start: TextState | undefined, limit: number): number {
  if (!start) return 0;
  const known = new Map<TextState, number>();
  /** The way to the state at hand, and by how many texts it can be gone. Each of them begins some accepted text. */
  const way: { readonly state: TextState; readonly ways: number; edge: number; texts: number }[] = [];
  const onWay = new Set<TextState>();
  const enter = (state: TextState, ways: number): void => {
    way.push({ state, ways, edge: 0, texts: state.accepts ? 1 : 0 });
    onWay.add(state);
  };
  enter(start, 1);
  for (let at = way.at(-1); at; at = way.at(-1)) {
    if (at.texts >= limit || at.ways >= limit) return limit;
    const edge = at.state.edges[at.edge];
    if (!edge) {
      known.set(at.state, at.texts);
      onWay.delete(at.state);
      way.pop();
      continue;
    }
    // A state that comes again on the way leads to endlessly many texts.
    if (onWay.has(edge.to)) return limit;
    const width = edge.high - edge.low + 1;
    const texts = known.get(edge.to);
    if (texts === undefined) enter(edge.to, at.ways * width);
    else {
      at.texts += texts * width;
      at.edge += 1;
    }
  }
  return known.get(start)!;
}
