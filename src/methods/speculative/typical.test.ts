/** Typical acceptance against its definition. */
import { expect, test } from "vitest";
import { createDraws } from "./draws.ts";
import { addNode, createTree } from "./tree.ts";
import { entropyOf, typicalAcceptance } from "./typical.ts";

const draws = createDraws({ seed: 1, request: 0 }, 0);

test("the longest path of tokens above min(epsilon, alpha exp(-entropy)), and of these the likeliest", () => {
  const tree = createTree("chosen");
  const [a, b] = [addNode(tree, 0, 1), addNode(tree, 0, 2)];
  const [, below] = [addNode(tree, a, 3), addNode(tree, b, 0)];
  const law = Float64Array.of(0.1, 0.3, 0.5, 0.1);
  const entropy = -[0.1, 0.3, 0.5, 0.1].reduce((sum, p) => sum + p * Math.log(p), 0);
  expect(entropyOf(law)).toBeCloseTo(entropy, 12);
  const threshold = 0.3 * Math.exp(-entropy); // 0.093
  expect(threshold).toBeGreaterThan(0.09);
  const sampleAt = (node: number): number => 10 + node;
  const target = { sampleAt, probabilitiesAt: () => law };
  // All pass at 0.09; the path over the likelier first token wins, and the token is the target's own after it.
  expect(typicalAcceptance({})(tree, target, draws)).toMatchObject({ path: [b, below], token: 10 + below });
  // Above 0.1 only the first level is left.
  expect(typicalAcceptance({ epsilon: 0.2, alpha: 1 })(tree, target, draws).path).toEqual([b]);
  expect(typicalAcceptance({ epsilon: 0.6, alpha: 1 })(tree, target, draws).path).toEqual([b]); // 1 exp(-entropy) = 0.31
  expect(
    typicalAcceptance({ epsilon: 1, alpha: 1 })(
      tree,
      { ...target, probabilitiesAt: () => Float64Array.of(0.25, 0.25, 0.25, 0.25) },
      draws,
    ).path,
  ).toEqual([]);
  // Greedy: the exact rule.
  expect(typicalAcceptance({})(tree, { sampleAt: (node) => (node === 0 ? 1 : 9) }, draws)).toMatchObject({
    path: [a],
    token: 9,
  });
});
