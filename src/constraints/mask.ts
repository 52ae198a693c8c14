/**
 * The tokens that a state allows, over the vocabulary's trie. What a lexeme allows within itself depends on the place in it alone, so it is
 * worked out once for every place; only tokens that go on beyond the lexeme's end are walked again with what follows there. Both are
 * kept, and so is the set of every state, which in most texts recur: then a mask costs a look-up.
 */
import { type ConstraintState, pushed } from "./contract.ts";
import type { Machine, MachineState, Terminal, Thread } from "./machine.ts";
import type { Position } from "./position.ts";
import { clearTokens, markTokens, type Vocabulary, walk, wordsFor } from "./vocabulary.ts";

/** Where tokens begin in a lexeme at one place of it. */
interface Inside {
  /** Tokens that end within the lexeme, or at an end of it that may be gone beyond. */
  readonly within: TokenSet;
  /** Tokens that end exactly with the lexeme. */
  readonly ending: TokenSet;
  /** The trie whose nodes `ends` and `beyond` are: all tokens, or those that are not plain. */
  readonly trie: Vocabulary;
  /** Nodes at which the lexeme may end. */
  readonly ends: Int32Array;
  /** Nodes below these, by their byte: where tokens go on after the lexeme. */
  readonly beyond: readonly (readonly [number, Int32Array])[];
}

/** Few tokens as a list, many as bits. */
type TokenSet = { readonly list: Int32Array } | { readonly bits: Uint32Array };

interface Memory {
  readonly threads: Map<string, TokenSet>;
  readonly states: Map<number, Uint32Array>;
}

/** Sets kept of each kind; one of 50,000 tokens takes 6 KB. */
const mostKept = 1_000;
const mostMachines = 16;

/** Places in lexemes that several constraints share, such as those within any string, are worked out once for all of them. */
const insidesKey = Symbol("insides");
/** The same over the whole trie: what other places are compared with. */
const modelsKey = Symbol("models");
/** The same of tokens that are not plain alone. */
const freeKey = Symbol("free");

function insidesOf({ memory }: Vocabulary, key: symbol): Map<Position, Inside> {
  let insides = memory.get(key) as Map<Position, Inside> | undefined;
  if (!insides) {
    insides = new Map();
    memory.set(key, insides);
  }
  return insides;
}

function memoryOf({ memory }: Vocabulary, machine: Machine): Memory {
  const machines = memory as Map<unknown, Memory>;
  let own = machines.get(machine);
  if (!own) {
    own = { threads: new Map(), states: new Map() };
    if (machines.size > mostMachines) machines.delete([...machines.keys()].find((key) => typeof key !== "symbol"));
    machines.set(machine, own);
  }
  return own;
}

function keep<Key, Value>(table: Map<Key, Value>, key: Key, value: Value): Value {
  if (table.size >= mostKept) table.delete(table.keys().next().value as Key);
  table.set(key, value);
  return value;
}

export function allowedTokens(state: MachineState, vocabulary: Vocabulary): Uint32Array {
  const memory = memoryOf(vocabulary, state.machine);
  const known = memory.states.get(state.id);
  if (known) return known;
  const bits = new Uint32Array(wordsFor(vocabulary.size));
  for (const thread of state.threads) {
    if (thread.bytes || "then" in thread.link.symbol) addReading(bits, thread, state, vocabulary);
    else addSet(bits, tokensOf(thread, state, vocabulary, memory));
  }
  return keep(memory.states, state.id, bits);
}

function tokensOf(thread: Thread, { machine }: MachineState, vocabulary: Vocabulary, memory: Memory): TokenSet {
  const key = `${thread.position.id}:${thread.link.id}:${thread.to.id}`;
  const known = memory.threads.get(key);
  if (known) return known;
  const { within, ending, beyond, trie } = insideOf(thread.position, vocabulary);
  const bits = scratch(vocabulary, 0);
  addSet(bits, within);
  addSet(bits, ending);
  const after = beyond.length > 0 ? machine.after(thread, []) : undefined;
  if (after) {
    for (const [byte, nodes] of beyond) {
      const next = after.push(byte);
      if (next) for (const node of nodes) markBelow(trie, node, next, bits);
    }
  }
  return keep(memory.threads, key, compact(bits));
}

/** A lexeme whose bytes decide what follows: every way to end it is asked for by itself. */
function addReading(bits: Uint32Array, thread: Thread, { machine }: MachineState, vocabulary: Vocabulary): void {
  const { within, ends, trie } = insideOf(thread.position, vocabulary);
  addSet(bits, within);
  if (ends.length === 0) return;
  const { alike } = thread.link.symbol as Terminal;
  const states = new Map<unknown, MachineState | undefined>();
  const { byte, after, first, tokens, depth } = trie;
  for (const node of ends) {
    const read = trie.bytes(tokens[first[node]]).subarray(0, depth[node]);
    let next: MachineState | undefined;
    // What follows is the same for lexemes that are alike, but for tokens that go far beyond them.
    const key = alike?.key(machine.read(thread, read));
    if (key === undefined) next = machine.after(thread, read);
    else {
      if (!states.has(key)) states.set(key, machine.after(thread, read));
      next = states.get(key);
    }
    if (!next) continue;
    markTokens(trie, node, bits);
    const deepest = key === undefined ? Infinity : depth[node] + alike!.reach;
    let exact = key === undefined ? next : undefined;
    for (let child = node + 1; child < after[node]; child = after[child]) {
      let further = next.push(byte[child]);
      if (further && goesBeyond(trie, child, deepest)) {
        exact ??= machine.after(thread, read);
        further = exact?.push(byte[child]);
      }
      if (further) markBelow(trie, child, further, bits);
    }
  }
}

/** Whether a token at a node or below it is longer than so many bytes. */
function goesBeyond({ depth, after }: Vocabulary, node: number, deepest: number): boolean {
  for (let at = node; at < after[node]; at++) if (depth[at] > deepest) return true;
  return false;
}

function markBelow(vocabulary: Vocabulary, node: number, state: MachineState, bits: Uint32Array): void {
  markTokens(vocabulary, node, bits);
  if (vocabulary.after[node] === node + 1) return;
  walk(vocabulary, node, state, (at, byte, child) => {
    const next = at.push(byte);
    if (next) markTokens(vocabulary, child, bits);
    return next;
  });
}

function insideOf(position: Position, vocabulary: Vocabulary): Inside {
  const insides = insidesOf(vocabulary, insidesKey);
  const known = insides.get(position);
  if (known) return known;
  return keep(insides, position, placed(position, vocabulary));
}

function placed(position: Position, vocabulary: Vocabulary): Inside {
  const { like } = position;
  if (like && like !== position) return differing(position, like, vocabulary);
  const { room, freely } = position;
  const { upTo, others } = vocabulary.plain;
  // Plain tokens need no walk where every character may follow, up to some number.
  if (!room || !(room.exactly || room.characters >= upTo.length - 1)) return walked(position, vocabulary);
  // The other tokens need none either where they all fit in, whatever follows.
  if (freely && freely !== position && room.characters >= others.deepest) {
    const models = insidesOf(vocabulary, freeKey);
    const model = models.get(freely) ?? keep(models, freely, walked(freely, vocabulary, 0));
    const within = scratch(vocabulary, 0);
    addSet(within, model.within);
    upTo[Math.min(room.characters, upTo.length - 1)].forEach((word, i) => {
      within[i] |= word;
    });
    return { ...model, within: compact(within) };
  }
  return walked(position, vocabulary, room.characters);
}

/** By a walk over the trie. `free`: so many characters may follow whatever they are, so that plain tokens are left out of it. */
function walked(position: Position, vocabulary: Vocabulary, free?: number): Inside {
  const { plain } = vocabulary;
  const trie = free === undefined ? vocabulary : plain.others;
  const within = scratch(vocabulary, 0);
  const ending = scratch(vocabulary, 1);
  if (free !== undefined) within.set(plain.upTo[Math.min(free, plain.upTo.length - 1)]);
  const ends: number[] = [];
  walk(trie, 0, position, (at, byte, node) => {
    const next = at.step(byte);
    if (!next) return undefined;
    if (next.accepts) ends.push(node);
    markTokens(trie, node, next.extends ? within : ending);
    return next.extends ? next : undefined;
  });
  return createInside(trie, within, ending, ends);
}

/** By what is different from a place that this one is like: a walk that ends wherever both come to one place. */
function differing(position: Position, like: Position, vocabulary: Vocabulary): Inside {
  const models = insidesOf(vocabulary, modelsKey);
  const model = models.get(like) ?? keep(models, like, walked(like, vocabulary));
  const within = scratch(vocabulary, 0);
  const ending = scratch(vocabulary, 1);
  addSet(within, model.within);
  addSet(ending, model.ending);
  const { after } = vocabulary;
  const ends: number[] = [];
  let kept = 0;
  const replace = (from: number, to: number): void => {
    for (; kept < model.ends.length && model.ends[kept] < to; kept++) {
      if (model.ends[kept] < from) ends.push(model.ends[kept]);
    }
    clearTokens(vocabulary, from, to, within);
    clearTokens(vocabulary, from, to, ending);
  };
  walk<readonly [Position, Position | undefined]>(vocabulary, 0, [position, like], ([own, other], byte, node) => {
    const next = own.step(byte);
    const model = other?.step(byte);
    if (next === model) return undefined;
    replace(node, next?.extends ? node + 1 : after[node]);
    if (!next) return undefined;
    if (next.accepts) ends.push(node);
    markTokens(vocabulary, node, next.extends ? within : ending);
    return next.extends ? [next, model] : undefined;
  });
  ends.push(...model.ends.subarray(kept));
  return createInside(vocabulary, within, ending, ends);
}

function createInside(trie: Vocabulary, within: Uint32Array, ending: Uint32Array, ends: readonly number[]): Inside {
  const beyond = new Map<number, number[]>();
  for (const node of ends) {
    for (let child = node + 1; child < trie.after[node]; child = trie.after[child]) {
      const nodes = beyond.get(trie.byte[child]);
      if (nodes) nodes.push(child);
      else beyond.set(trie.byte[child], [child]);
    }
  }
  return {
    within: compact(within),
    ending: compact(ending),
    trie,
    ends: Int32Array.from(ends),
    beyond: [...beyond].map(([byte, nodes]) => [byte, Int32Array.from(nodes)] as const),
  };
}

function popcount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

const scratches = new Map<string, Uint32Array>();

/** Cleared bits for work that does not outlast a call: most sets are small in the end. */
function scratch({ size }: Vocabulary, number: 0 | 1): Uint32Array {
  const key = `${number}:${size}`;
  let bits = scratches.get(key);
  if (!bits) {
    bits = new Uint32Array(wordsFor(size));
    scratches.set(key, bits);
  }
  return bits.fill(0);
}

function compact(bits: Uint32Array): TokenSet {
  let count = 0;
  for (let word = 0; word < bits.length; word++) count += popcount(bits[word]);
  if (count > bits.length >>> 1) return { bits: bits.slice() };
  const list = new Int32Array(count);
  let at = 0;
  for (let word = 0; word < bits.length; word++) {
    for (let rest = bits[word]; rest !== 0; rest &= rest - 1) list[at++] = word * 32 + 31 - Math.clz32(rest & -rest);
  }
  return { list };
}

function addSet(target: Uint32Array, set: TokenSet): void {
  if ("bits" in set) for (let word = 0; word < target.length; word++) target[word] |= set.bits[word];
  else for (const token of set.list) target[token >>> 5] |= 1 << (token & 31);
}

/**
 * The allowed tokens of any state, by trying: what recognisers without a way of their own use, and what tests compare with. Errors:
 * `bad_option` for what a state of one's own gives in place of the next, or throws.
 */
export function tryTokens(state: Pick<ConstraintState, "push">, vocabulary: Vocabulary): Uint32Array {
  const bits = new Uint32Array(wordsFor(vocabulary.size));
  walk(vocabulary, 0, state, (at, byte, node) => {
    const next = pushed(at, byte);
    if (next) markTokens(vocabulary, node, bits);
    return next;
  });
  return bits;
}
