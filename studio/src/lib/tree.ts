/** Where the nodes of a drafted tree are drawn: a column a level, and no two branches across each other. */
export interface PlacedNode {
  /** 0 is the root. */
  readonly node: number;
  readonly parent: number;
  readonly depth: number;
  /** In rows, 0 being the uppermost. */
  readonly row: number;
}

export interface PlacedTree {
  readonly nodes: readonly PlacedNode[];
  readonly depth: number;
  readonly rows: number;
}

/** `parents[i]` is the parent of node i + 1, as in the trace. Children keep their order; a parent stands at its first child's row. */
export function placeTree(parents: readonly number[]): PlacedTree {
  const children: number[][] = Array.from({ length: parents.length + 1 }, () => []);
  for (const [i, parent] of parents.entries()) children[parent]?.push(i + 1);
  const nodes: PlacedNode[] = [];
  let rows = 0;
  let deepest = 0;
  // Trees may be as deep as their budget: a stack of our own instead of recursion.
  const pending = [{ node: 0, parent: -1, depth: 0, first: true }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, parent, depth, first } = next;
    if (!first) rows += 1;
    deepest = Math.max(deepest, depth);
    nodes.push({ node, parent, depth, row: rows });
    const below = children[node].map((child, i) => ({ node: child, parent: node, depth: depth + 1, first: i === 0 }));
    pending.push(...below.reverse());
  }
  return { nodes, depth: deepest, rows: rows + 1 };
}
