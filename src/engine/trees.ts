/**
 * The nodes of a forest: who holds them, where they lie in the arena, and what goes when room is needed. The same token below the
 * same parent is the same node. What nobody holds is kept as a cached prefix while there is room, or freed at once when it was rejected.
 */
import { ensure } from "../errors.ts";
import { type Arena, pageSize } from "./arena.ts";
import { settlePagesAbove } from "./full-pages.ts";
import { Node, type NodeKey } from "./node.ts";

export interface Trees {
  /** Nodes that some lease holds. */
  readonly held: number;
  childOf(parent: Node | undefined, key: NodeKey, world: string): Node | undefined;
  addChild(parent: Node | undefined, key: NodeKey, world: string): Node;
  hold(node: Node): void;
  /** `discard` frees a node that nothing else needs; otherwise it stays as a cached prefix. */
  letGo(node: Node, discard: boolean): void;
  remove(node: Node): void;
  /** After a pass: a node that nobody holds any more drops what the pass gave it, and stays as a cached prefix. */
  settle(node: Node): void;
  /** Gives a node its slot, and writes what a pass is to look at above it. Errors: `out_of_memory`. */
  place(node: Node): void;
  writeThrough(node: Node | undefined): void;
  /** Brings full pages above a node together in the arena: see `settlePagesAbove`. */
  settlePages(node: Node): void;
}

/** Up to `cacheSlots` the arena grows rather than drop a cached prefix. `reclaim` gives memory of copies back, if there are any. */
export function createTrees(arena: Arena, cacheSlots: number, reclaim: () => boolean): Trees {
  /** First tokens of texts, of each world. */
  const worlds = new Map<string, Map<NodeKey, Node>>();
  /** Leaves nobody holds, the longest unheld first. */
  const evictable = new Set<Node>();
  let held = 0;

  const isIdle = (node: Node): boolean => node.holds === 0 && !node.pending && !node.gone && !node.children?.size;

  function hold(node: Node): void {
    if (node.holds === 0) held += 1;
    node.holds += 1;
    evictable.delete(node);
  }

  function letGo(node: Node, discard: boolean): void {
    node.holds -= 1;
    if (node.holds > 0) return;
    held -= 1;
    forget(node);
    if (discard && isIdle(node)) remove(node);
    else keepAsPrefix(node);
  }

  function forget(node: Node): void {
    node.scored = undefined;
    node.taps = undefined;
  }

  function keepAsPrefix(node: Node): void {
    writeThrough(node);
    if (isIdle(node)) evictable.add(node);
  }

  /**
   * Writes a node and its ancestors to the arena, where a pass is to look at them or nobody holds them any more. Most drafted
   * nodes are rejected before, and cost no copying. A node that is written has only ancestors that are.
   */
  function writeThrough(node: Node | undefined): void {
    for (let at = node; at?.unwritten; at = at.parent) {
      arena.write(at.unwritten, at.slot);
      at.unwritten = undefined;
    }
  }

  function remove(node: Node): void {
    const { parent } = node;
    (parent ? parent.children! : node.roots!).delete(node.key);
    evictable.delete(node);
    node.gone = true;
    if (node.slot >= 0) arena.free(node.slot);
    node.slot = -1;
    for (const slot of node.copies) arena.free(slot);
    node.unwritten = undefined;
    if (parent && isIdle(parent)) evictable.add(parent);
    if (arena.used === 0) arena.shrink();
  }

  /** First tokens of one world; worlds that hold nothing are forgotten. */
  function rootsOf(world: string): Map<NodeKey, Node> {
    const known = worlds.get(world);
    if (known) return known;
    for (const [name, texts] of worlds) if (texts.size === 0) worlds.delete(name);
    const roots = new Map<NodeKey, Node>();
    worlds.set(world, roots);
    return roots;
  }

  function childOf(parent: Node | undefined, key: NodeKey, world: string): Node | undefined {
    return (parent ? parent.children : worlds.get(world))?.get(key);
  }

  function addChild(parent: Node | undefined, key: NodeKey, world: string): Node {
    const roots = parent ? undefined : rootsOf(world);
    const node = new Node(parent, key, { roots });
    roots?.set(key, node);
    if (parent) {
      if (parent.children) parent.children.set(key, node);
      else parent.children = new Map([[key, node]]);
      evictable.delete(parent);
    }
    return node;
  }

  function settle(node: Node): void {
    // A look-ahead row is its caller's alone: nothing is kept of it here.
    if (node.holds > 0 || node.ahead) return;
    forget(node);
    keepAsPrefix(node);
  }

  /** Next to its parent's slot where that is free. */
  function place(node: Node): void {
    const preferred = preferredSlot(node);
    let slot = arena.allocate(preferred);
    if (slot === undefined) {
      const [oldest] = evictable;
      if (oldest && arena.capacity >= cacheSlots) remove(oldest);
      else {
        try {
          arena.grow(arena.capacity + 1);
        } catch (error) {
          if (reclaim()) {
            place(node);
            return;
          }
          if (!oldest) throw error;
          remove(oldest);
        }
      }
      slot = arena.allocate(preferred);
      ensure(slot !== undefined, "internal", "room was made in the arena, and it is still full");
    }
    node.slot = slot;
  }

  /** Where a text's rows would lie in order, page by page: then no page of it has to be put together. */
  function preferredSlot({ parent, depth }: Node): number {
    const next = parent ? parent.slot + 1 : 0;
    if (depth % pageSize > 0 || (parent && next % pageSize === 0)) return next;
    const page = arena.freePage(parent ? Math.floor(parent.slot / pageSize) : -1);
    return page === undefined ? next : page * pageSize;
  }

  /** A page of the arena for rows that are to lie together. Like single slots, cached prefixes give way to it where the arena is large. */
  function freePage(after: number): number | undefined {
    const found = arena.freePage(after);
    if (found !== undefined) return found;
    if (arena.capacity >= cacheSlots) {
      // Whole texts, the longest unheld first. Growing instead would keep all that was ever cached.
      for (const node of evictable) {
        for (let at: Node | undefined = node; at && evictable.has(at); at = at.parent) remove(at);
        const freed = arena.freePage(after);
        if (freed !== undefined) return freed;
      }
    }
    // Where all that is free lies before the text's last page, the next one stays open rather than make a large arena larger.
    if (arena.capacity >= 2 * Math.max(cacheSlots, arena.used)) return undefined;
    try {
      arena.grow((Math.ceil(arena.capacity / pageSize) + 1) * pageSize);
    } catch {
      return undefined;
    }
    return arena.freePage(after);
  }

  return {
    get held() {
      return held;
    },
    childOf,
    addChild,
    hold,
    letGo,
    remove,
    settle,
    place,
    writeThrough,
    settlePages: (node) => settlePagesAbove(node, arena, freePage),
  };
}
