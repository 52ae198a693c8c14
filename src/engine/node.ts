/** The forest's own view of its nodes, and of the calls whose rows wait for a pass. */
import type { VentrisError } from "../errors.ts";
import { type Entry, pageSize } from "./arena.ts";
import type { ForestNode } from "./forest.ts";
import type { AppliedEdit } from "./sites/rows.ts";

/** Stands where a token would in a row that is a vector. */
export const notAToken = -1;

/** What a row is below its parent: a token, or the name of a vector. */
export type NodeKey = number | string;

export class Node implements ForestNode {
  readonly parent: Node | undefined;
  readonly key: NodeKey;
  readonly depth: number;
  /** Where its row stands, as the model sees it. */
  readonly position: number;
  /** A look-ahead row: in no tree, never stored. */
  readonly ahead: boolean;
  /** 0: its row begins as a token or a vector; N: after N layers. */
  readonly begins: number;
  slot = -1;
  /** What a pass computed for this node, until its keys and values are in the arena; see `writeThrough`. */
  unwritten: Entry | undefined = undefined;
  /** The nearest ancestor that ends a page of this text. */
  readonly above: Node | undefined;
  /** Of a node that ends a page: the page of the arena that holds its text's rows in order; -1: none does yet. */
  page = -1;
  /** Slots of that page that copy rows which live elsewhere. */
  copies: readonly number[] = [];
  /** Whether the slot is part of such a page, and the row has to stay there. */
  settled = false;
  scored: ScoredRow | undefined = undefined;
  taps: Record<string, Float32Array> | undefined = undefined;
  /** What went wrong in an edit here: values that are not finite, for instance. */
  broken: VentrisError | undefined = undefined;
  /** Where a first token of a text is found again. */
  readonly roots: Map<NodeKey, Node> | undefined;
  holds = 0;
  children: Map<NodeKey, Node> | undefined = undefined;
  /** The pass that will compute this node. */
  pending: Job | undefined = undefined;
  gone = false;

  constructor(
    parent: Node | undefined,
    key: NodeKey,
    { roots, position, begins }: { roots?: Map<NodeKey, Node>; position?: number; begins?: number } = {},
  ) {
    this.parent = parent;
    this.key = key;
    this.roots = roots;
    this.ahead = begins !== undefined;
    this.begins = begins ?? 0;
    this.depth = parent ? parent.depth + 1 : 0;
    this.position = position ?? this.depth;
    this.above = parent && (parent.depth + 1) % pageSize === 0 ? parent : parent?.above;
  }

  get token(): number {
    return typeof this.key === "number" ? this.key : notAToken;
  }

  get logits(): Float32Array | undefined {
    if (!this.scored) return undefined;
    const { values, row, rows } = this.scored;
    const size = values.length / rows;
    return values.subarray(row * size, (row + 1) * size);
  }
}

/** Logits of one row among those that a pass returned. Nodes refer to them, as most drafted nodes go before anyone looks. */
interface ScoredRow {
  readonly values: Float32Array;
  readonly row: number;
  readonly rows: number;
}

export interface Row {
  readonly node: Node;
  logits: boolean;
  readonly store: boolean;
  /** What is to be kept with the node. */
  taps: readonly string[];
  readonly edits: readonly AppliedEdit[];
}

/** The full pages that a lease's lane holds, by the nodes that end them; the lane is taken when the first shared pass needs one. */
export interface Path {
  lane: number;
  /** The lease has ended: rows of it that others wait for take no lane any more, as nobody would give it back. */
  left: boolean;
  readonly pages: Node[];
}

/** Rows of one `extend` call that wait for a pass. A row whose node has a slot already is computed for its logits only. */
export interface Job {
  readonly rows: Row[];
  readonly path: Path;
  readonly done: Promise<void>;
  finish(error?: unknown): void;
  cancelled: boolean;
}
