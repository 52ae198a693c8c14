import { expect, test } from "vitest";
import type { Decoding } from "../../engine/decoding.ts";
import { VentrisError } from "../../errors.ts";
import { nodesOf } from "./budget.ts";
import { addNode, addPath, childrenOf, createTree, depthsOf, repeatsOf, selectNodes } from "./tree.ts";

const pass = { forest: { maxRows: 8 } } as Decoding;

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

test.each<[name: string, call: () => unknown, message: RegExp]>([
  ["childrenOf", () => childrenOf({ tokens: [1], parents: [9] }), /parents\[0\] is 9, and must be .* from 0 to 0/],
  ["childrenOf", () => childrenOf({ tokens: [1, 2], parents: [0, 2] }), /parents\[1\] is 2/],
  ["childrenOf", () => childrenOf({ tokens: [1], parents: [Number.NaN] }), /parents\[0\] is NaN/],
  ["childrenOf", () => childrenOf({ tokens: [1, 2], parents: [0] }), /1 parents for 2 tokens/],
  ["addNode", () => addNode(createTree("chosen"), 0, Number.NaN), /NaN is no token's number/],
  ["addNode", () => addNode(createTree("chosen"), 0, -1), /-1 is no token's number/],
  ["addNode", () => addNode(createTree("chosen"), 0, 1, Number.NaN), /value must be a number from 0 on, not NaN/],
  ["addNode", () => addNode(createTree("chosen"), 0, 1, 1, -1), /probability must be .* not -1/],
  ["addPath", () => addPath(createTree("chosen"), [1], Number.NaN), /limit must be a whole number from 0 on, not NaN/],
  ["addPath", () => addPath(createTree("chosen"), [0.5]), /0\.5 is no token's number/],
  ["nodesOf", () => nodesOf(pass, -1, 3), /budget must be a whole number from 0 on, not -1/],
  ["nodesOf", () => nodesOf(pass, Number.NaN, 3, "length"), /length must be .* not NaN/],
  ["nodesOf", () => nodesOf(pass, undefined, 0.5), /preferred must be .* not 0\.5/],
])("%s refuses a number that is none of its own (%#)", (_, call, message) => {
  expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});
