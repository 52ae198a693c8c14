/**
 * The tokens that a state allows, over the vocabulary's trie. What a lexeme allows within itself depends on the place in it alone, so it is
 * worked out once for every place; only tokens that go on beyond the lexeme's end are walked again with what follows there. Both are
 * kept, and so is the set of every state, which in most texts recur: then a mask costs a look-up.
 */
import type { MachineState, Thread } from "./machine.ts";
import type { Position } from "./position.ts";
import { hasBit, markTokens, type Vocabulary, walk, wordsFor } from "./vocabulary.ts";

/** Where tokens begin in a lexeme at one place of it. */
interface Inside {
  /** Tokens that end within the lexeme, or at an end of it that may be gone beyond. */
  readonly within: TokenSet;
  /** Tokens that end exactly with the lexeme. */
  readonly ending: TokenSet;
  /** Nodes of the trie at which the lexeme may end. */
  readonly ends: Int32Array;
  /** Nodes below these, by their byte: where tokens go on after the lexeme. */
  readonly beyond: readonly (readonly [number, Int32Array])[];
}

/** Few tokens as a list, many as bits. */
type TokenSet = { readonly list: Int32Array } | { readonly bits: Uint32Array };

interface Memory {
  readonly insides: Map<Position, Inside>;
  readonly threads: Map<string, TokenSet>;
  readonly states: Map<number, Uint32Array>;
}

/** Sets kept of each kind; one of 50,000 tokens takes 6 KB. */
const mostKept = 4_000;

const memoryOf = (vocabulary: Vocabulary, owner: unknown): Memory => {
  let memory = vocabulary.memory.get(owner) as Memory | undefined;
  if (!memory) {
    memory = { insides: new Map(), threads: new Map(), states: new Map() };
    if (vocabulary.memory.size > 64) vocabulary.memory.delete(vocabulary.memory.keys().next().value);
    vocabulary.memory.set(owner, memory);
  }
  return memory;
};

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
    if (thread.bytes || "then" in thread.link.symbol) addReading(bits, thread, state, vocabulary, memory);
    else addSet(bits, tokensOf(thread, state, vocabulary, memory));
  }
  return keep(memory.states, state.id, bits);
}

function tokensOf(thread: Thread, { machine }: MachineState, vocabulary: Vocabulary, memory: Memory): TokenSet {
  const key = `${thread.position.id}:${thread.link.id}:${thread.to.id}`;
  const known = memory.threads.get(key);
  if (known) return known;
  const { within, ending, beyond } = insideOf(thread.position, vocabulary, memory);
  const bits = new Uint32Array(wordsFor(vocabulary.size));
  addSet(bits, within);
  addSet(bits, ending);
  const after = beyond.length > 0 ? machine.after(thread, []) : undefined;
  if (after) {
    for (const [byte, nodes] of beyond) {
      const next = after.push(byte);
      if (next) for (const node of nodes) markBelow(vocabulary, node, next, bits);
    }
  }
  return keep(memory.threads, key, compact(bits, vocabulary.size));
}

/** A lexeme whose bytes decide what follows: every way to end it is asked for by itself. */
function addReading(
  bits: Uint32Array,
  thread: Thread,
  { machine }: MachineState,
  vocabulary: Vocabulary,
  memory: Memory,
): void {
  const { within, ends } = insideOf(thread.position, vocabulary, memory);
  addSet(bits, within);
  const { byte, after, first, tokens, depth } = vocabulary;
  for (const node of ends) {
    const read = vocabulary.bytes(tokens[first[node]]).subarray(0, depth[node]);
    const next = machine.after(thread, [...read]);
    if (!next) continue;
    markTokens(vocabulary, node, bits);
    for (let child = node + 1; child < after[node]; child = after[child]) {
      const further = next.push(byte[child]);
      if (further) markBelow(vocabulary, child, further, bits);
    }
  }
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

function insideOf(position: Position, vocabulary: Vocabulary, memory: Memory): Inside {
  const known = memory.insides.get(position);
  if (known) return known;
  const within = new Uint32Array(wordsFor(vocabulary.size));
  const ending = new Uint32Array(within.length);
  const ends: number[] = [];
  walk(vocabulary, 0, position, (at, byte, node) => {
    const next = at.step(byte);
    if (!next) return undefined;
    if (next.accepts) ends.push(node);
    markTokens(vocabulary, node, next.extends ? within : ending);
    return next.extends ? next : undefined;
  });
  const beyond = new Map<number, number[]>();
  for (const node of ends) {
    for (let child = node + 1; child < vocabulary.after[node]; child = vocabulary.after[child]) {
      const nodes = beyond.get(vocabulary.byte[child]);
      if (nodes) nodes.push(child);
      else beyond.set(vocabulary.byte[child], [child]);
    }
  }
  return keep(memory.insides, position, {
    within: compact(within, vocabulary.size),
    ending: compact(ending, vocabulary.size),
    ends: Int32Array.from(ends),
    beyond: [...beyond].map(([byte, nodes]) => [byte, Int32Array.from(nodes)] as const),
  });
}

function compact(bits: Uint32Array, size: number): TokenSet {
  const list: number[] = [];
  const most = size >>> 6;
  for (let word = 0; word < bits.length; word++) {
    if (bits[word] === 0) continue;
    for (let token = word * 32; token < word * 32 + 32; token++) if (hasBit(bits, token)) list.push(token);
    if (list.length > most) return { bits };
  }
  return { list: Int32Array.from(list) };
}

function addSet(target: Uint32Array, set: TokenSet): void {
  if ("bits" in set) for (let word = 0; word < target.length; word++) target[word] |= set.bits[word];
  else for (const token of set.list) target[token >>> 5] |= 1 << (token & 31);
}

/** The allowed tokens of any state, by trying: what recognisers without a way of their own use, and what tests compare with. */
export function tryTokens(state: { push(byte: number): unknown | undefined }, vocabulary: Vocabulary): Uint32Array {
  const bits = new Uint32Array(wordsFor(vocabulary.size));
  walk(vocabulary, 0, state, (at, byte, node) => {
    const next = at.push(byte) as typeof at | undefined;
    if (next) markTokens(vocabulary, node, bits);
    return next;
  });
  return bits;
}
