/**
 * One machine for every recogniser with structure: lexemes (automata over bytes) in sequences, and rules whose productions are made when
 * they are first needed. A state is a set of threads, each a place in a lexeme, what follows it, and a set of places to return to; threads that
 * differ only in where they return are one (a graph-structured stack, Tomita 1985), so ambiguity costs no more than the grammar's size.
 * Everything is interned: the same situation is the same object, whatever the position in the text, and what was worked out once is kept.
 *
 * Rules must not be left-recursive, and everything must be able to end; the makers of grammars see to both.
 */
import { ensure } from "../errors.ts";
import type { Constraint, ConstraintState } from "./contract.ts";
import { allowedTokens } from "./mask.ts";
import type { Position } from "./position.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface Terminal {
  readonly kind: "terminal";
  readonly start: Position;
  /** What follows, where that depends on the bytes of the lexeme; undefined refuses them. */
  readonly then?: (bytes: Uint8Array) => Link | undefined;
  /** Lexemes of one key are followed by the same for so many bytes as `reach` says: behind them what they were may matter. */
  readonly alike?: { readonly key: (bytes: Uint8Array) => unknown; readonly reach: number };
}

export interface Rule {
  readonly kind: "rule";
  readonly name: string;
  /** Called once. */
  readonly productions: () => readonly Sequence[];
}

export type GrammarSymbol = Terminal | Rule;

/** Symbols one after the other; `end` is none. */
export type Sequence = Link | undefined;
export interface Link {
  readonly id: number;
  readonly symbol: GrammarSymbol;
  readonly next: Sequence;
}

let links = 0;

/** Equal situations are found by identity: make a sequence once and keep it. */
export const sequence = (...symbols: readonly GrammarSymbol[]): Sequence =>
  symbols.reduceRight<Sequence>((next, symbol) => ({ id: links++, symbol, next }), undefined);

export const terminal = (start: Position): Terminal => ({ kind: "terminal", start });

/** A rule whose productions are made at its first use. */
export function rule(name: string, make: () => readonly Sequence[]): Rule {
  let made: readonly Sequence[] | undefined;
  return {
    kind: "rule",
    name,
    productions() {
      made ??= make();
      return made;
    },
  };
}

/** Where to go on after a rule: any of the list. None: the end of the text. */
interface Returns {
  readonly id: number;
  readonly list: readonly Return[];
}
interface Return {
  readonly id: number;
  readonly rest: Link;
  readonly to: Returns;
}

/** The bytes of a lexeme so far, the latest first. */
interface Bytes {
  readonly byte: number;
  readonly before: Bytes | undefined;
}

export interface Thread {
  readonly id: number;
  readonly position: Position;
  /** Begins with the terminal that is being read. */
  readonly link: Link;
  readonly to: Returns;
  readonly bytes: Bytes | undefined;
}

export interface MachineState extends ConstraintState {
  readonly id: number;
  readonly threads: readonly Thread[];
  readonly machine: Machine;
  push(byte: number): MachineState | undefined;
}

export interface Machine {
  readonly start: MachineState;
  /** Where a thread's lexeme ends and what follows begins; undefined when it must not end so. `bytes` are those beyond the thread's own. */
  after(thread: Thread, bytes: Iterable<number>): MachineState | undefined;
  /** The lexeme of a thread, with further bytes. */
  read(thread: Thread, bytes: Iterable<number>): Uint8Array;
}

interface Gathering {
  /** By place and link: where to return to. `more`: where several threads meet. */
  readonly threads: Map<
    string,
    { position: Position; link: Link; to: Returns; more?: Set<Return>; bytes: Bytes | undefined; ends: boolean }
  >;
  readonly visited: Set<string>;
  complete: boolean;
}

/** A class, as there are very many states. */
class State implements MachineState {
  readonly id: number;
  readonly threads: readonly Thread[];
  readonly complete: boolean;
  readonly machine: Machine;
  readonly #advance: (threads: readonly Thread[], byte: number) => MachineState | undefined;
  #next: Map<number, MachineState | null> | undefined;

  constructor(
    id: number,
    threads: readonly Thread[],
    complete: boolean,
    machine: Machine,
    advance: (threads: readonly Thread[], byte: number) => MachineState | undefined,
  ) {
    this.id = id;
    this.threads = threads;
    this.complete = complete;
    this.machine = machine;
    this.#advance = advance;
  }

  push(byte: number): MachineState | undefined {
    this.#next ??= new Map();
    let found = this.#next.get(byte);
    if (found === undefined) {
      found = this.#advance(this.threads, byte) ?? null;
      this.#next.set(byte, found);
    }
    return found ?? undefined;
  }

  allowed(vocabulary: Vocabulary): Uint32Array {
    return allowedTokens(this, vocabulary);
  }
}

/** A lexeme that may end here, of those whose bytes matter. */
interface End {
  readonly link: Link;
  readonly to: Returns;
  readonly bytes: Bytes | undefined;
  /** What follows one that it is alike. */
  readonly like: MachineState | undefined;
}

/**
 * A state within lexemes that may end at every byte, as names may: what follows is worked out only where a byte comes that can follow, which
 * lexemes that are alike have in common.
 */
class EndingState implements MachineState {
  readonly id: number;
  readonly complete: boolean;
  readonly machine: Machine;
  readonly #within: MachineState;
  readonly #ends: readonly End[];
  readonly #expand: () => MachineState;
  #whole: MachineState | undefined;

  constructor(id: number, within: MachineState, ends: readonly End[], expand: () => MachineState) {
    this.id = id;
    this.complete = within.complete || ends.some(({ like }) => like?.complete);
    this.machine = within.machine;
    this.#within = within;
    this.#ends = ends;
    this.#expand = expand;
  }

  get #all(): MachineState {
    this.#whole ??= this.#expand();
    return this.#whole;
  }

  get threads(): readonly Thread[] {
    return this.#all.threads;
  }

  push(byte: number): MachineState | undefined {
    const leaves = this.#whole ?? this.#ends.some(({ like }) => like?.push(byte));
    return (leaves ? this.#all : this.#within).push(byte);
  }

  allowed(vocabulary: Vocabulary): Uint32Array {
    return allowedTokens(this.#all, vocabulary);
  }
}

/** Steps one byte may take through rules; beyond, the grammar is refused rather than run on. */
const mostSteps = 200_000;
/** Interned situations beyond which all are forgotten: only speed is lost. */
const mostRemembered = 200_000;

export function createMachine(top: Sequence, subject: string): Machine {
  let ids = 0;
  const returns = new Map<string, Return>();
  const sets = new Map<string, Returns>();
  const threads = new Map<string, Thread>();
  const statesByKey = new Map<string, MachineState>();
  const closures = new Map<string, MachineState>();
  const likes = new Map<string, MachineState | undefined>();
  const done: Returns = { id: ids++, list: [] };

  const setOf = (list: readonly Return[]): Returns => {
    const sorted = list.length > 1 ? [...list].sort((a, b) => a.id - b.id) : list;
    return intern(sets, sorted.map(({ id }) => id).join(), () => ({ id: ids++, list: sorted }));
  };
  const returnTo = (rest: Link, to: Returns): Returns =>
    setOf([intern(returns, `${rest.id}:${to.id}`, () => ({ id: ids++, rest, to }))]);

  const gather = (): Gathering => ({ threads: new Map(), visited: new Set(), complete: false });

  /** Everything that can begin at a sequence, with what returns from it. */
  function enter(start: Sequence, back: Returns, into: Gathering): void {
    const stack: [Sequence, Returns][] = [[start, back]];
    for (let item = stack.pop(); item; item = stack.pop()) {
      const [link, to] = item;
      const key = `${link?.id}:${to.id}`;
      if (into.visited.has(key)) continue;
      into.visited.add(key);
      ensure(into.visited.size <= mostSteps, "bad_option", () => {
        return `${subject}: one byte opens more than ${mostSteps} ways to go on; the grammar is too ambiguous`;
      });
      if (!link) {
        if (to === done) into.complete = true;
        for (const { rest, to: further } of to.list) stack.push([rest, further]);
      } else if (link.symbol.kind === "terminal") {
        const { start: position, then } = link.symbol;
        add(into, position, link, to, undefined);
        if (position.accepts && !then) stack.push([link.next, to]);
      } else {
        const next = link.next ? returnTo(link.next, to) : to;
        for (const production of link.symbol.productions()) stack.push([production, next]);
      }
    }
  }

  function add(into: Gathering, position: Position, link: Link, to: Returns, bytes: Bytes | undefined): void {
    if (!position.extends) return;
    const key = `${position.id}:${link.id}${bytes ? `:${to.id}` : ""}`;
    const old = into.threads.get(key);
    if (!old) {
      into.threads.set(key, { position, link, to, bytes, ends: to === done });
      return;
    }
    if (to === old.to) return;
    old.more ??= new Set(old.to.list);
    for (const one of to.list) old.more.add(one);
    old.ends ||= to === done;
  }

  function settle({ threads: gathered, complete }: Gathering): MachineState | undefined {
    if (gathered.size === 0 && !complete) return undefined;
    const own: Thread[] = [];
    for (const { position, link, to, more, bytes, ends } of gathered.values()) {
      // The end of the text and a return may both follow: two threads, as the end is no return.
      const returns = more && more.size > to.list.length ? setOf([...more]) : to;
      if (returns.list.length > 0) own.push(threadAt(position, link, returns, bytes));
      if (ends) own.push(threadAt(position, link, done, bytes));
    }
    return stateOf(
      own.sort((a, b) => a.id - b.id),
      complete,
    );
  }

  function threadAt(position: Position, link: Link, to: Returns, bytes: Bytes | undefined): Thread {
    const make = (): Thread => ({ id: ids++, position, link, to, bytes });
    return bytes ? make() : intern(threads, `${position.id}:${link.id}:${to.id}`, make);
  }

  function forget(): void {
    for (const table of [returns, sets, threads, statesByKey, closures, likes]) table.clear();
  }

  const stateOf = (own: readonly Thread[], complete: boolean): MachineState => {
    // Threads that keep their bytes are never met again, and neither is a state that has one.
    if (own.some(({ bytes }) => bytes)) return new State(ids++, own, complete, machine, advance);
    if (statesByKey.size > mostRemembered) forget();
    const key = `${complete ? "." : ""}${own.map(({ id }) => id).join()}`;
    return intern(statesByKey, key, () => new State(ids++, own, complete, machine, advance));
  };

  function advance(own: readonly Thread[], byte: number): MachineState | undefined {
    // Within a lexeme, which is where most bytes are, there is nothing to be gathered.
    if (own.length === 1) {
      const [{ position, link, to, bytes }] = own;
      const moved = position.step(byte);
      if (!moved) return undefined;
      if (!moved.accepts) {
        const { then } = link.symbol as Terminal;
        return moved.extends ? stateOf([threadAt(moved, link, to, then && { byte, before: bytes })], false) : undefined;
      }
    }
    const into = gather();
    const ends: End[] = [];
    for (const { position, link, to, bytes } of own) {
      const moved = position.step(byte);
      if (!moved) continue;
      const { then, alike } = link.symbol as Terminal;
      const read = then && { byte, before: bytes };
      add(into, moved, link, to, read);
      if (!moved.accepts) continue;
      if (alike && moved.extends) ends.push({ link, to, bytes: read, like: behindLike(link, to, read) });
      else leave(link, to, read, into);
    }
    if (ends.length === 0) return settle(into);
    const within = settle(into)!;
    return new EndingState(ids++, within, ends, () => {
      const all = gather();
      all.complete = within.complete;
      for (const { position, link, to, bytes } of within.threads) add(all, position, link, to, bytes);
      for (const { link, to, bytes } of ends) leave(link, to, bytes, all);
      return settle(all)!;
    });
  }

  /** What follows the first lexeme that this one is alike. */
  function behindLike(link: Link, to: Returns, bytes: Bytes | undefined): MachineState | undefined {
    const key = `${link.id}:${to.id}:${(link.symbol as Terminal).alike!.key(written(bytes))}`;
    if (!likes.has(key)) {
      if (likes.size > mostRemembered) likes.clear();
      const into = gather();
      leave(link, to, bytes, into);
      likes.set(key, settle(into));
    }
    return likes.get(key);
  }

  function leave(link: Link, to: Returns, bytes: Bytes | undefined, into: Gathering): void {
    const { then } = link.symbol as Terminal;
    if (!then) {
      enter(link.next, to, into);
      return;
    }
    const follows = then(written(bytes));
    if (follows) enter(follows, link.next ? returnTo(link.next, to) : to, into);
  }

  const machine: Machine = {
    get start() {
      const into = gather();
      enter(top, done, into);
      const state = settle(into);
      ensure(state, "bad_option", `${subject}: nothing satisfies it`);
      return state;
    },
    after({ link, to, bytes }, further) {
      const { then } = link.symbol as Terminal;
      const key = `${link.id}:${to.id}`;
      const known = then ? undefined : closures.get(key);
      if (known) return known;
      const into = gather();
      leave(link, to, longer(bytes, further), into);
      const state = settle(into);
      if (state && !then) closures.set(key, state);
      return state;
    },
    read: ({ bytes }, further) => written(longer(bytes, further)),
  };
  return machine;
}

function intern<Value>(table: Map<string, Value>, key: string, make: () => Value): Value {
  let value = table.get(key);
  if (value === undefined) {
    value = make();
    table.set(key, value);
  }
  return value;
}

function longer(bytes: Bytes | undefined, further: Iterable<number>): Bytes | undefined {
  let before = bytes;
  for (const byte of further) before = { byte, before };
  return before;
}

function written(bytes: Bytes | undefined): Uint8Array {
  const result: number[] = [];
  for (let at = bytes; at; at = at.before) result.push(at.byte);
  return Uint8Array.from(result.reverse());
}

/** A constraint from a machine. Errors: `bad_option` when nothing satisfies it. */
export function machineConstraint(name: string, top: Sequence, tight = true): Constraint {
  return { name, tight, start: createMachine(top, name).start };
}
