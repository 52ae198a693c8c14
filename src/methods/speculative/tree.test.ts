import { expect, test } from "vitest";
import { VentrisError } from "../../errors.ts";
import { addNode, addPath, childrenOf, createTree, depthsOf, repeatsOf, selectNodes } from "./tree.ts";

test("children stand in draw order and depths count from the root", () => {
  const tree = createTree("sampled", { replacement: true });
  const [a, , b] = [addNode(tree, 0, 5, 0.5), addNode(tree, 0, 5, 0.5), addNode(tree, 0, 6, 0.3)];
  addNode(tree, b, 5, 0.1);
  addNode(tree, a, 9, 0.2);
  expect(childrenOf(tree)).toEqual([[1, 2, 3], [5], [], [4], [], []]);
  expect(depthsOf(tree)).toEqual([0, 1, 1, 1, 2, 2]);
  expect(repeatsOf(tree)).toEqual([false, false, true, false, false, false]);
  for (const parent of [7, -1, 0.5]) expect(() => addNode(tree, parent, 1)).toThrow(VentrisError);
});

test("paths share prefixes and stop at the limit", () => {
  const tree = createTree("chosen", { valued: false });
  addPath(tree, [1, 2, 3]);
  addPath(tree, [1, 4, 3], 4);
  expect([tree.tokens, tree.parents, tree.values]).toEqual([[1, 2, 3, 4], [0, 1, 2, 1], undefined]);
});

test("only chosen trees are pruned, and never below a node that goes", () => {
  const tree = createTree("chosen");
  addPath(tree, [1, 2], Infinity, 0.5);
  addPath(tree, [3], Infinity, 0.25);
  expect(selectNodes(tree, [3, 1])).toMatchObject({ tokens: [3, 1], parents: [0, 0], values: [0.25, 0.5] });
  expect(() => selectNodes(tree, [2])).toThrow(/without its parent/);
  expect(() => selectNodes(createTree("sampled"), [])).toThrow(/must not be pruned/);
});
