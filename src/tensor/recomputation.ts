/** What gradients compute again rather than keep (Chen et al. 2016). */
import { add, multiply, slice } from "./operations.ts";
import { withInputs } from "./rewrite.ts";
import { type Tensor, topologicalOrder } from "./tensor.ts";

/**
 * A function that gives a node as its gradient may use it: computed anew from the last kept tensor before it, or the node itself after
 * the last kept one. The kept tensor is entered with zero times a gradient added, so that nothing runs before that gradient is there,
 * and the runtime does not see that it computes the same twice.
 */
export function recomputation(
  order: readonly Tensor[],
  keep: readonly Tensor[],
  found: ReadonlyMap<Tensor, Tensor>,
): (node: Tensor) => Tensor {
  /** Nodes that lie behind one kept tensor and lead to the next. */
  const segmentOf = new Map<Tensor, number>();
  for (let i = 1; i < keep.length; i++) {
    const leading = new Set(topologicalOrder([keep[i]]));
    const behind = new Set([keep[i - 1]]);
    for (const node of order) {
      if (!leading.has(node) || behind.has(node) || !node.inputs.some((x) => behind.has(x))) continue;
      behind.add(node);
      segmentOf.set(node, i);
    }
  }
  const made = new Map<number, Map<Tensor, Tensor>>();
  return (node) => {
    const segment = segmentOf.get(node);
    if (segment === undefined) return node;
    let copies = made.get(segment);
    if (!copies) {
      const [entry, g] = [keep[segment - 1], found.get(keep[segment])!];
      const first = g.shape.reduce<Tensor>((x, _, axis) => slice(x, axis, 0, 1), g);
      copies = new Map([[entry, add(entry, multiply(first, 0))]]);
      for (const other of order) if (segmentOf.get(other) === segment) copies.set(other, withInputs(other, copies));
      made.set(segment, copies);
    }
    return copies.get(node)!;
  };
}
