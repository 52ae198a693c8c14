/**
 * The last pages of texts: a pass puts them together from rows of earlier passes and its own. Texts that part within a page share
 * its columns, as long as each finds its own rows in order of position among them; where there is no room, the page is begun again.
 */
import { pageSize } from "./arena.ts";
import type { Node } from "./node.ts";

export interface Column {
  readonly node: Node;
  readonly page: number;
  readonly column: number;
}

export interface LastPages {
  /** Columns in use of each page, in an order in which every text's pages come one after another. */
  readonly sizes: readonly number[];
  /** Every node's first column, and those of nodes in pages that were begun again. */
  readonly first: readonly Column[];
  readonly again: readonly Column[];
  /** The column of a node in the page that holds it and its ancestors in its page of the text. */
  seatOf(node: Node): Column;
  /** The column of a node in some page that holds it. */
  columnIn(page: number, node: Node): number;
}

/** The nodes whose rows a row looks at in one page of its text, the last one first. */
export function* pageOfText(last: Node): Generator<Node> {
  for (let at: Node | undefined = last; at; at = at.parent) {
    yield at;
    if (at.depth % pageSize === 0) return;
  }
}

/** A page that is fuller is soon begun again for texts that begin in it. */
const mostShared = 40;

interface Seat extends Column {
  /** Where a node's children can follow: its own page, or the newest in which its page was begun again. */
  newest: number;
}

/** Places nodes and all their ancestors back to the first page that is full in the arena. Every step does this: it makes one object a node. */
export function seat(nodes: readonly Node[]): LastPages {
  const sizes: number[] = [];
  const first: Seat[] = [];
  const again: Column[] = [];
  const seats = new Map<Node, Seat>();
  /** Columns in pages that were begun again. */
  const copies: Map<Node, number>[] = [];

  function begin(): number {
    sizes.push(0);
    return sizes.length - 1;
  }

  function beginAgain(parent: Node): number {
    const page = begin();
    copies[page] = new Map();
    for (const ancestor of [...pageOfText(parent)].reverse()) {
      copies[page].set(ancestor, sizes[page]);
      again.push({ node: ancestor, page, column: sizes[page] });
      seats.get(ancestor)!.newest = page;
      sizes[page] += 1;
    }
    return page;
  }

  /** Texts that begin a page share one where they can: it must come after what each of them has before. */
  function beginText(before: Seat | undefined): number {
    const latest = sizes.length - 1;
    return latest > (before?.page ?? -1) && sizes[latest] <= mostShared ? latest : begin();
  }

  const missing: Node[] = [];
  for (const node of nodes) {
    for (let at: Node | undefined = node; at && !seats.has(at); at = at.parent) {
      missing.push(at);
      if (at.depth % pageSize === 0 && (at.above?.page ?? 0) >= 0) break;
    }
    let before = missing.length > 0 ? seats.get(missing[missing.length - 1].parent!) : undefined;
    for (let at = missing.pop(); at; at = missing.pop()) {
      let page = at.depth % pageSize === 0 ? beginText(before) : before!.newest;
      if (sizes[page] === pageSize) page = beginAgain(at.parent!);
      before = { node: at, page, column: sizes[page], newest: page };
      sizes[page] += 1;
      first.push(before);
      seats.set(at, before);
    }
  }
  return {
    sizes,
    first,
    again,
    seatOf: (node) => seats.get(node)!,
    columnIn(page, node) {
      const own = seats.get(node)!;
      return own.page === page ? own.column : copies[page].get(node)!;
    },
  };
}
