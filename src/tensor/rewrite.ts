/** New graphs made of old ones. Tensors never change: what depends on a replaced node is made again, the rest is shared. */
import { createTensor, requireTensor, type Tensor, topologicalOrder } from "./tensor.ts";

/**
 * The outputs with some nodes replaced: `replace` is given every node, its inputs already in their new form, and returns what stands
 * in its place, or nothing to keep it. Errors: `bad_option` where that is no tensor.
 */
export function rewrite(outputs: readonly Tensor[], replace: (node: Tensor) => Tensor | undefined): Tensor[] {
  const made = new Map<Tensor, Tensor>();
  for (const node of topologicalOrder(outputs)) {
    const renewed = withInputs(node, made);
    const replaced = replace(renewed) ?? renewed;
    requireTensor(replaced, "rewrite: what replace gives");
    made.set(node, replaced);
  }
  return outputs.map((output) => made.get(output)!);
}

/** The node on what `made` has for its inputs; the node itself when that is nothing new. */
export function withInputs(node: Tensor, made: ReadonlyMap<Tensor, Tensor>): Tensor {
  const inputs = node.inputs.map((x) => made.get(x) ?? x);
  if (inputs.every((x, i) => x === node.inputs[i])) return node;
  return createTensor(node.operation, inputs, node.shape, node.type, node.attributes);
}
