/**
 * The forest: every autoregressive method grows a tree of tokens over one shared key-value arena. Its one primitive, `extend`,
 * scores any set of new nodes, of any trees, in one forward pass; calls that arrive while a pass runs join the next.
 *
 * A node is a token after its parent's text. The same token below the same parent is the same node, so prompts that share a prefix
 * share its rows, and branches of a tree share their stem. Callers hold nodes through a lease; what nobody holds is kept
 * as a cached prefix while there is room, or freed at once when it was rejected.
 */

import { ensure } from "../errors.ts";
import { reachesOf } from "../models/family.ts";
import { requireCounts } from "../numbers.ts";
import { createLayouts } from "./layout.ts";
import { createLease } from "./lease.ts";
import type { Memory } from "./memory.ts";
import type { Pass } from "./pass.ts";
import { createPump } from "./pump.ts";
import { type AppliedEdit, type LeaseSites, noSites } from "./sites/rows.ts";
import { createTrees } from "./trees.ts";

/** A token in a tree, below all tokens before it. */
export interface ForestNode {
  readonly parent: ForestNode | undefined;
  /** -1 for a row that is a vector. */
  readonly token: number;
  /** Number of tokens before this one: its position. A tree's first token has depth 0. */
  readonly depth: number;
  /** Next-token logits [vocabulary], where they were asked for and while the node is held. */
  readonly logits: Float32Array | undefined;
  /** Values of the model's taps at this token. */
  readonly taps: Readonly<Record<string, Float32Array>> | undefined;
}

/** A vector that stands for a token: an image patch, a part of a soft prompt. */
export interface VectorRow {
  /** Names the contents: below one parent, rows of one name and the same values are one node, shared and cached like tokens. */
  readonly id: string;
  /** [width], in place of a token's embedding. */
  readonly values: Float32Array;
}

/** A row that is computed with the others and then forgotten: no row but those below it sees it, and it is stored nowhere. */
export interface LookAhead {
  /** Default: after its parent. */
  readonly position?: number;
  /** [width], in place of a token's embedding. */
  readonly vector?: Float32Array;
  /**
   * What stands in its row further on: a state that begins at a middle layer is an edit of that site, which may take it from another row
   * of the pass (`placeOf`).
   */
  readonly edits?: readonly AppliedEdit[];
}

/**
 * A node to add: below an existing node, below node number `parent` of the same call, or (undefined) a first token. A look-ahead row sees
 * the text of its parent, which may be another look-ahead row of the call; its node is nobody's but the caller's, and need not be released.
 */
export interface Extension {
  readonly parent: ForestNode | number | undefined;
  readonly token: number | VectorRow;
  readonly ahead?: LookAhead;
  /** Default true. */
  readonly logits?: boolean;
}

/** What the forest's passes cost. */
export interface ForestCounters {
  passes: number;
  rows: number;
  /** Slots looked over, summed over the rows of all passes: what attention costs. */
  attended: number;
  secondsInPasses: number;
}

/** A prompt that was read. */
export interface Prefill {
  readonly node: ForestNode;
  readonly computed: number;
  readonly cached: number;
  readonly passes: number;
}

/** One caller's hold on nodes. Everything it got from `extend` and `prefill` is held until released or closed. */
export interface Lease {
  /** The nodes in the order asked for. Errors: `context_full`, `out_of_memory`, `aborted`, `runtime_failed`. */
  extend(extensions: readonly Extension[]): Promise<ForestNode[]>;
  /**
   * The node of the last token, with logits; the longest cached prefix is reused. `visit` is shown every node of the text, in order, while
   * it is held and, where this lease has taps, with what they read. Errors: as `extend`, and `bad_option` for no tokens.
   */
  prefill(tokens: readonly (number | VectorRow)[], visit?: (nodes: readonly ForestNode[]) => void): Promise<Prefill>;
  /** What its rows have read and rewritten from now on. Edits are for whole texts: they come before the first row. */
  use(sites: LeaseSites): void;
  /** Lets go of nodes. `discard` frees those that nothing else needs; otherwise they stay as cached prefixes. */
  release(nodes: Iterable<ForestNode>, options?: { discard?: boolean }): void;
  /** Lets go of everything and refuses further calls; calls under way fail with `aborted` within one pass. */
  close(): void;
  /** Passes and rows this lease took part in. */
  readonly passes: number;
  readonly rows: number;
}

/** Trees of tokens over one key-value arena: scores any set of new nodes in one pass, for all callers together. */
export interface Forest {
  readonly contextLength: number;
  readonly vocabularySize: number;
  /** Most nodes in one `extend`. */
  readonly maxRows: number;
  readonly counters: Readonly<ForestCounters>;
  /** Slots in use, and those held by some lease. */
  readonly size: number;
  readonly held: number;
  readonly capacity: number;
  /** `sites`: what is read and rewritten in the rows of this lease. */
  lease(sites?: LeaseSites): Lease;
  close(): Promise<void>;
}

/** Sizes of the forest: rows of a pass, slots that are kept. */
export interface ForestOptions {
  /** Most rows in a pass; longer prompts go in chunks. Default 128. */
  maxRows?: number;
  /** Up to this many slots the arena grows rather than drop a cached prefix; beyond, prefixes nobody holds go first. Default 512. */
  cacheSlots?: number;
}

export function createForest(
  pass: Pass,
  memory: Memory,
  { maxRows = 128, cacheSlots = 512 }: ForestOptions = {},
): Forest {
  const { contextLength, vocabularySize } = pass.config;
  const { arena } = memory;
  requireCounts({ maxRows });
  const layouts = createLayouts(memory, { windows: reachesOf(pass.config).windows, evenRows: pass.evenRows });
  const trees = createTrees(arena, cacheSlots, layouts.drop);
  const pump = createPump(pass, trees, layouts, maxRows);
  let closed = false;

  return {
    contextLength,
    vocabularySize,
    maxRows,
    counters: pump.counters,
    get size() {
      return arena.used;
    },
    get held() {
      return trees.held;
    },
    get capacity() {
      return arena.capacity;
    },
    lease(sites = noSites) {
      ensure(!closed, "aborted", "the model was closed");
      return createLease({ pass, trees, layouts, pump, maxRows, isClosed: () => closed }, sites);
    },
    async close() {
      closed = true;
      await pump.idle();
      arena.release();
      await pass.release();
    },
  };
}
