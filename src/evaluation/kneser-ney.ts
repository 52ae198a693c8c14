/**
 * An n-gram model with modified Kneser–Ney smoothing, interpolated (Chen and Goodman 1999, section 3; the begin of documents as in Heafield
 * et al. 2013, section 3): what a language model must beat to have learned more than which tokens stand together.
 */

import { ensure } from "../errors.ts";
import { requireCounts } from "../numbers.ts";

export interface NgramOptions {
  /** Tokens of the longest n-gram; default 5. */
  readonly order?: number;
  readonly vocabularySize: number;
  /** Begins every document: it is seen and never predicted. */
  readonly beginToken: number;
}

export interface NgramModel {
  /** Distinct n-grams of each order, from 1. */
  readonly distinct: readonly number[];
  /** For each order, what is taken off n-grams counted once, twice, and more often. */
  readonly discounts: readonly (readonly number[])[];
  /** Natural logarithms of the probabilities of a document's tokens but the first, each given those before it. */
  logProbabilities(document: readonly number[]): Float64Array;
}

/** Where counts of counts say nothing, since there are too few n-grams (Heafield's fallback). */
const fallback = [0.5, 1, 1.5];

/**
 * Counts documents, each with the begin token before its first token. N-grams are nodes of a trie, the node of h w being the child of h by
 * w. Counts are adjusted in the same pass: the longest n-grams and those that begin a document count how often they stand there; the others
 * in how many tokens' company, to the left, they stand, which each new node tells its suffix. Errors: `bad_option` for texts without tokens, or more n-grams than fit.
 */
export async function trainNgrams(
  documents: Iterable<readonly number[]> | AsyncIterable<readonly number[]>,
  { order = 5, vocabularySize, beginToken }: NgramOptions,
): Promise<NgramModel> {
  requireCounts({ "n-grams: order": order });
  const trie = growingTrie();
  let predicted = 0;
  for await (const document of documents) {
    ensure(document[0] === beginToken, "bad_option", "n-grams: a document does not begin with the begin token");
    // Nodes of the n-grams that end at the token before, by their length.
    let ending = [trie.root, trie.child(trie.root, beginToken)];
    for (let at = 1; at < document.length; at++) {
      const now = [trie.root];
      for (let n = 1; n <= Math.min(order, ending.length); n++) {
        const known = trie.size;
        const node = trie.child(ending[n - 1], document[at]);
        if (n === order || n === at + 1) trie.count(node);
        if (node === known && n > 1) trie.count(now[n - 1]);
        now.push(node);
      }
      ending = now.slice(0, order);
      predicted++;
    }
  }
  ensure(predicted > 0, "bad_option", "n-grams: there are no texts to count in");
  return smoothed(trie, order, vocabularySize - 1, beginToken);
}

/** Of each order n: D_k = k - (k + 1) t_1 / (t_1 + 2 t_2) · t_(k+1) / t_k, of the numbers t of n-grams that are counted k times. */
function discountsOf(t: readonly number[]): readonly number[] {
  const share = t[1] / (t[1] + 2 * t[2]);
  const found = [1, 2, 3].map((k) => k - ((k + 1) * share * t[k + 1]) / t[k]);
  return found.every((d, i) => d >= 0 && d <= i + 1) ? found : fallback;
}

/** `words`: tokens that can be predicted, over which what unigrams leave is spread evenly. */
function smoothed(trie: Trie, order: number, words: number, beginToken: number): NgramModel {
  const { counts, parents, depths } = trie.finished();
  const countsOfCounts = Array.from({ length: order + 1 }, () => [0, 0, 0, 0, 0]);
  const distinct = new Array<number>(order).fill(0);
  for (let node = 1; node < trie.size; node++) {
    if (counts[node] === 0) continue; // the begin token by itself
    distinct[depths[node] - 1]++;
    if (counts[node] <= 4) countsOfCounts[depths[node]][counts[node]]++;
  }
  const discounts = countsOfCounts.map(discountsOf);
  const discount = (node: number): number => discounts[depths[node]][Math.min(counts[node], 3) - 1];
  // Of each context: what its continuations count, and what is taken off them and goes to the shorter context.
  const [totals, left] = [new Float64Array(trie.size), new Float64Array(trie.size)];
  for (let node = 1; node < trie.size; node++) {
    if (counts[node] === 0) continue;
    totals[parents[node]] += counts[node];
    left[parents[node]] += discount(node);
  }

  /** `contexts`: nodes of what stands before, by length; longer ones may be missing. */
  function probability(contexts: readonly (number | undefined)[], token: number): number {
    let p = 1 / words;
    for (const context of contexts) {
      if (context === undefined || totals[context] === 0) break;
      const node = trie.find(context, token);
      const own = node === undefined || counts[node] === 0 ? 0 : counts[node] - discount(node);
      p = (own + left[context] * p) / totals[context];
    }
    return p;
  }
  return {
    distinct,
    discounts: discounts.slice(1),
    logProbabilities(document) {
      const result = new Float64Array(Math.max(0, document.length - 1));
      let ending: (number | undefined)[] = [trie.root, trie.find(trie.root, beginToken)];
      for (let at = 1; at < document.length; at++) {
        const token = document[at];
        result[at - 1] = Math.log(probability(ending.slice(0, order), token));
        const longer = ending.map((node) => (node === undefined ? undefined : trie.find(node, token)));
        ending = [trie.root, ...longer].slice(0, order);
      }
      return result;
    },
  };
}

interface Trie {
  readonly root: number;
  readonly size: number;
  /** The child by a token, made when it is not there: then it is the number that `size` was. */
  child(parent: number, token: number): number;
  find(parent: number, token: number): number | undefined;
  count(node: number): void;
  finished(): { counts: Uint32Array; parents: Uint32Array; depths: Uint8Array };
}

const mostNodes = 2 ** 27;

/** Nodes in flat arrays, found by a hash of parent and token. */
function growingTrie(): Trie {
  let [parents, tokens, counts] = [new Uint32Array(1024), new Uint32Array(1024), new Uint32Array(1024)];
  let depths = new Uint8Array(1024);
  let slots = new Uint32Array(4096); // a node's number, 0 for none: the root is nobody's child
  let size = 1;
  const place = (parent: number, token: number): number => {
    let slot = (Math.imul(parent, 0x9e3779b1) ^ Math.imul(token + 1, 0x85ebca6b)) >>> 0;
    slot = Math.imul(slot ^ (slot >>> 15), 0x2c1b3c6d) >>> 0;
    slot &= slots.length - 1;
    while (slots[slot] !== 0 && (parents[slots[slot]] !== parent || tokens[slots[slot]] !== token))
      slot = (slot + 1) & (slots.length - 1);
    return slot;
  };
  const grow = (): void => {
    ensure(size < mostNodes, "bad_option", `n-grams: the texts hold more than ${mostNodes} of them`);
    const longer = <A extends Uint32Array | Uint8Array>(array: A, next: A): A => {
      next.set(array);
      return next;
    };
    const room = 2 * parents.length;
    parents = longer(parents, new Uint32Array(room));
    tokens = longer(tokens, new Uint32Array(room));
    counts = longer(counts, new Uint32Array(room));
    depths = longer(depths, new Uint8Array(room));
    slots = new Uint32Array(4 * room);
    for (let node = 1; node < size; node++) slots[place(parents[node], tokens[node])] = node;
  };
  return {
    root: 0,
    get size() {
      return size;
    },
    child(parent, token) {
      let slot = place(parent, token);
      if (slots[slot] !== 0) return slots[slot];
      if (size === parents.length) {
        grow();
        slot = place(parent, token);
      }
      parents[size] = parent;
      tokens[size] = token;
      depths[size] = depths[parent] + 1;
      slots[slot] = size;
      return size++;
    },
    find(parent, token) {
      const node = slots[place(parent, token)];
      return node === 0 ? undefined : node;
    },
    count(node) {
      counts[node]++;
    },
    finished: () => ({ counts, parents, depths }),
  };
}
