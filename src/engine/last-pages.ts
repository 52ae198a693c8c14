/**
 * The last pages of texts: a pass puts them together from rows of earlier passes and its own. Texts that part within a page share
 * its columns, as long as each finds its own rows in order of position among them; where there is no room, the page is begun again.
 */
import { pageSize } from "./arena.ts";
import type { Node } from "./node.ts";

export interface LastPages {
  /** In an order in which every text's pages come one after another. */
  readonly pages: readonly ReadonlyMap<Node, number>[];
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

/** Places nodes and all their ancestors back to the first page that is full in the arena. */
export function seat(nodes: readonly Node[]): LastPages {
  const pages: Map<Node, number>[] = [];
  const seats = new Map<Node, number>();
  /** Where a node's children can follow: its own page, or the newest in which its page was begun again. */
  const newest = new Map<Node, number>();

  function begin(): number {
    pages.push(new Map());
    return pages.length - 1;
  }

  function add(node: Node): void {
    const first = node.depth % pageSize === 0;
    let page = first ? begin() : newest.get(node.parent!)!;
    if (pages[page].size === pageSize) {
      page = begin();
      for (const ancestor of [...pageOfText(node.parent!)].reverse()) {
        pages[page].set(ancestor, pages[page].size);
        newest.set(ancestor, page);
      }
    }
    pages[page].set(node, pages[page].size);
    seats.set(node, page);
    newest.set(node, page);
  }

  for (const node of nodes) {
    const missing: Node[] = [];
    for (let at: Node | undefined = node; at && !seats.has(at); at = at.parent) {
      missing.push(at);
      if (at.depth % pageSize === 0 && (at.above?.page ?? 0) >= 0) break;
    }
    for (const at of missing.reverse()) add(at);
  }
  return { pages, pageOf: (node) => seats.get(node)! };
}
