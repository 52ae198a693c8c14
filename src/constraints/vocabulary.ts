import { ensure, leaveUnheard, shown, VentrisError } from "../errors.ts";
import { isInstance } from "../values.ts";

/** More tokens than any vocabulary has. */
const mostTokens = 2 ** 24;

/** A vocabulary as a trie of bytes, flat and in depth-first order: one walk meets every token once and skips what cannot be. */
export interface Vocabulary {
  readonly size: number;
  /** Bytes of a token; none for special tokens, which no constraint allows. */
  bytes(token: number): Uint8Array;
  /** Node 0 is the root. `byte[n]` leads to n, `depth[n]` is its number of bytes, `after[n]` the first node that is not below n. */
  readonly byte: Uint8Array;
  readonly depth: Uint16Array;
  readonly after: Int32Array;
  /** Tokens that end at a node: `tokens[first[n] … first[n + 1])`. */
  readonly first: Int32Array;
  readonly tokens: Int32Array;
  readonly deepest: number;
  /** Tokens of whole printable characters, none of them a quote or a backslash, by their number of characters. */
  readonly plain: Plain;
  /** What constraints remember about this vocabulary. */
  readonly memory: Map<unknown, unknown>;
}

/** Tokens of plain characters, by how many they have, and all other tokens. */
export interface Plain {
  /** Bits of the tokens of at most so many characters: `upTo[n]`; the last entry has all. */
  readonly upTo: readonly Uint32Array[];
  /** The other tokens, as a vocabulary of their own (with the same numbers). */
  readonly others: Vocabulary;
}

/** Tokens 0 to `size` - 1 by their bytes, as constraints look at them. */
export function createVocabulary(size: number, bytesOf: (token: number) => Uint8Array): Vocabulary {
  ensure(Number.isInteger(size) && size >= 0 && size <= mostTokens, "bad_option", () => {
    return `createVocabulary: size must be a whole number from 0 to ${mostTokens}, not ${shown(size)}`;
  });
  const bytes = Array.from({ length: size }, (_, token) => {
    const own: unknown = bytesOf(token);
    leaveUnheard(own);
    ensure(isInstance<Uint8Array>("Uint8Array", own), "bad_option", () => {
      return `createVocabulary: bytesOf(${token}) gives ${shown(own)}, and must give a Uint8Array`;
    });
    return own;
  });
  const characters = bytes.map(plainCharacters);
  let plain: Plain | undefined;
  const vocabulary: Vocabulary = {
    ...createTrie(bytes, [...bytes.keys()]),
    get plain() {
      plain ??= separate(vocabulary, characters);
      return plain;
    },
  };
  return vocabulary;
}

/** How many characters a token has if it is plain; 0 if it is not. */
function plainCharacters(bytes: Uint8Array): number {
  if (bytes.some((byte) => byte < 0x20 || byte === 0x22 || byte === 0x5c || byte === 0x7f)) return 0;
  try {
    return [...new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)].length;
  } catch {
    return 0;
  }
}

function separate({ size, bytes }: Vocabulary, characters: readonly number[]): Plain {
  const most = characters.reduce((longest, count) => Math.max(longest, count), 0);
  const upTo: Uint32Array[] = [new Uint32Array(wordsFor(size))];
  const byCount: number[][] = Array.from({ length: most + 1 }, () => []);
  characters.forEach((count, token) => {
    byCount[count].push(token);
  });
  for (let count = 1; count <= most; count++) {
    const bits = upTo[count - 1].slice();
    for (const token of byCount[count]) bits[token >>> 5] |= 1 << (token & 31);
    upTo.push(bits);
  }
  const all = Array.from({ length: size }, (_, token) => bytes(token));
  const others: Vocabulary = {
    ...createTrie(all, byCount[0]),
    get plain(): Plain {
      return { upTo: [new Uint32Array(wordsFor(size))], others };
    },
  };
  return { upTo, others };
}

function createTrie(bytes: readonly Uint8Array[], chosen: readonly number[]): Omit<Vocabulary, "plain"> {
  const order = chosen.filter((token) => bytes[token].length > 0).sort((a, b) => compare(bytes[a], bytes[b]));
  const total = order.reduce((sum, token) => sum + bytes[token].length, 1);
  const byte = new Uint8Array(total);
  const depth = new Uint16Array(total);
  const after = new Int32Array(total);
  const first = new Int32Array(total + 1);
  const tokens = new Int32Array(order.length);
  let nodes = 1;
  let path: number[] = [];
  let previous: Uint8Array = new Uint8Array();
  order.forEach((token, i) => {
    const own = bytes[token];
    let shared = 0;
    while (shared < own.length && shared < previous.length && own[shared] === previous[shared]) shared += 1;
    for (const node of path.slice(shared)) after[node] = nodes;
    path = path.slice(0, shared);
    for (let k = shared; k < own.length; k++) {
      byte[nodes] = own[k];
      depth[nodes] = k + 1;
      first[nodes] = i;
      path.push(nodes);
      nodes += 1;
    }
    tokens[i] = token;
    previous = own;
  });
  for (const node of path) after[node] = nodes;
  after[0] = nodes;
  first[nodes] = order.length;
  return {
    size: bytes.length,
    bytes: (token) => bytes[token],
    byte: byte.slice(0, nodes),
    depth: depth.slice(0, nodes),
    after: after.slice(0, nodes),
    first: first.slice(0, nodes + 1),
    tokens,
    deepest: order.reduce((most, token) => Math.max(most, bytes[token].length), 0),
    memory: new Map(),
  };
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** The node that some bytes lead to from a node; undefined where no token goes on like this. */
export function nodeAt(vocabulary: Vocabulary, bytes: Iterable<number>, from = 0): number | undefined {
  let node = from;
  for (const wanted of bytes) {
    let child = node + 1;
    while (child < vocabulary.after[node] && vocabulary.byte[child] !== wanted) child = vocabulary.after[child];
    if (child >= vocabulary.after[node]) return undefined;
    node = child;
  }
  return node;
}

/**
 * Walks the tokens below a node in depth-first order. `enter` says what a node's parent's state becomes by its byte; where it is
 * undefined, all below is skipped.
 */
export function walk<State>(
  vocabulary: Vocabulary,
  root: number,
  start: State,
  enter: (state: State, byte: number, node: number) => State | undefined,
): void {
  const { byte, depth, after } = vocabulary;
  const end = after[root];
  const base = depth[root];
  const states: State[] = [start];
  for (let node = root + 1; node < end; ) {
    const level = depth[node] - base;
    const next = enter(states[level - 1], byte[node], node);
    if (next === undefined) node = after[node];
    else {
      states[level] = next;
      node += 1;
    }
  }
}

/** Words of 32 bits that a mask over so many tokens has. */
export function wordsFor(size: number): number {
  if (Number.isInteger(size) && size >= 0 && size <= mostTokens) return (size + 31) >>> 5; // asked for in every row
  throw new VentrisError(
    "bad_option",
    `wordsFor: size must be a whole number from 0 to ${mostTokens}, not ${shown(size)}`,
  );
}

/** Sets the bits of all tokens that end at a node. */
export function markTokens({ first, tokens }: Vocabulary, node: number, bits: Uint32Array): void {
  for (let i = first[node]; i < first[node + 1]; i++) bits[tokens[i] >>> 5] |= 1 << (tokens[i] & 31);
}

/** Clears the bits of all tokens that end at some nodes. */
export function clearTokens({ first, tokens }: Vocabulary, from: number, to: number, bits: Uint32Array): void {
  for (let i = first[from]; i < first[to]; i++) bits[tokens[i] >>> 5] &= ~(1 << (tokens[i] & 31));
}

/** Whether a token's bit is set in a mask; of tokens beyond the mask none is. Errors: `bad_option` for what is no token's id. */
export function hasBit(bits: Uint32Array, token: number): boolean {
  if (token >>> 0 === token) return ((bits[token >>> 5] >>> (token & 31)) & 1) === 1;
  throw new VentrisError("bad_option", `hasBit: token must be a whole number from 0 on, not ${shown(token)}`);
}
