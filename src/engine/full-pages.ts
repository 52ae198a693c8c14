/**
 * Full pages: when a text has gone past the end of a page, the rows of that page are brought together in a page of the arena, in order of
 * position, if they do not lie so already.
 */
import { type Arena, pageSize } from "./arena.ts";
import { pageOfText } from "./last-pages.ts";
import type { Node } from "./node.ts";

/**
 * Settles all pages that end above a node, as far as they are computed and there is room: what is not settled is put together in
 * each pass. `makeRoom` is to give the arena a free page after another.
 */
export function settlePagesAbove(node: Node, arena: Arena, makeRoom: (after: number) => number | undefined): void {
  const ends: Node[] = [];
  for (let end = node.above; end && end.page < 0; end = end.above) ends.push(end);
  for (const end of ends.reverse()) {
    if (end.pending || !settle(end, arena, makeRoom)) return;
  }
}

function settle(end: Node, arena: Arena, makeRoom: (after: number) => number | undefined): boolean {
  const rows = [...pageOfText(end)].reverse();
  const after = end.above?.page ?? -1; // pages are summed as they lie, so that a text's have to be in order
  const first = rows[0].slot;
  const page = first / pageSize;
  if (Number.isInteger(page) && page > after && rows.every(({ slot }, i) => slot === first + i)) end.page = page;
  else {
    const free = makeRoom(after);
    if (free === undefined) return false;
    const copies: number[] = [];
    rows.forEach((node, i) => {
      const slot = free * pageSize + i;
      arena.allocate(slot);
      arena.copy(node.slot, slot);
      if (node.settled) copies.push(slot);
      else {
        arena.free(node.slot);
        node.slot = slot;
      }
    });
    [end.page, end.copies] = [free, copies];
  }
  for (const node of rows) node.settled = true;
  return true;
}
