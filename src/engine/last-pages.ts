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
  /** In an order in which every text's pages come one after another. */
  readonly pages: readonly ReadonlyMap<Node, number>[];
  /** Every node's first column, and those of nodes in pages that were begun again. */
  readonly first: readonly Column[];
  readonly again: readonly Column[];
  /** The page that holds a node and its ancestors in its page of the text. */
  pageOf(node: Node): number;
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

/** Places nodes and all their ancestors back to the first page that is full in the arena. */
export function seat(nodes: readonly Node[]): LastPages {
  const pages: Map<Node, number>[] = [];
  const first: Column[] = [];
  const again: Column[] = [];
  const seats = new Map<Node, number>();
  /** Where a node's children can follow: its own page, or the newest in which its page was begun again. */
  const newest = new Map<Node, number>();

  function put(node: Node, page: number, list: Column[]): void {
    list.push({ node, page, column: pages[page].size });
    pages[page].set(node, pages[page].size);
    newest.set(node, page);
  }

  function begin(): number {
    pages.push(new Map());
    return pages.length - 1;
  }

  /** Texts that begin a page share one where they can: it must come after what each of them has before. */
  function beginText({ parent }: Node): number {
    const latest = pages.length - 1;
    const before = (parent && seats.get(parent)) ?? -1;
    return latest > before && pages[latest].size <= mostShared ? latest : begin();
  }

  function add(node: Node): void {
    let page = node.depth % pageSize === 0 ? beginText(node) : newest.get(node.parent!)!;
    if (pages[page].size === pageSize) {
      page = begin();
      for (const ancestor of [...pageOfText(node.parent!)].reverse()) put(ancestor, page, again);
    }
    put(node, page, first);
    seats.set(node, page);
  }

  for (const node of nodes) {
    const missing: Node[] = [];
    for (let at: Node | undefined = node; at && !seats.has(at); at = at.parent) {
      missing.push(at);
      if (at.depth % pageSize === 0 && (at.above?.page ?? 0) >= 0) break;
    }
    for (const at of missing.reverse()) add(at);
  }
  return { pages, first, again, pageOf: (node) => seats.get(node)! };
}
