/**
 * The dynamic programme of Sequoia (section 3.1): the tree of a given size and depth with the most expected accepted tokens,
 * when the b-th child of any node is the accepted one with probability p[b].
 */
import { ensure } from "../../../errors.ts";

/** Node i + 1 hangs below `parents[i]`, 0 being the root; in level order, siblings in draw order. */
export interface Shape {
  readonly parents: number[];
  /** Expected accepted tokens per round, the token that the target adds included. */
  readonly expected: number;
}

export interface Shapes {
  /** The best shape with at most `size` drafted nodes on at most `depth` levels, within what the table was made for. */
  shape(size: number, depth: number): Shape;
}

/**
 * E[m][l][b]: the most a tree of m nodes (its root counted) can expect with l levels left below its root, which has exactly
 * b children; best(m, l) is the largest over b.
 *   E[1][l][0] = 1
 *   E[m][l][b] = max over y of E[y][l][b-1] + p[b] * best(m - y, l - 1)
 * The b-th child's own tree has m - y nodes. Time O(size² · depth · width), memory O(size · depth · width).
 */
export function createShapes(acceptance: readonly number[], size: number, depth: number): Shapes {
  ensure(
    acceptance.length > 0 && acceptance.every((p) => p >= 0 && p <= 1),
    "bad_option",
    `acceptance must be probabilities, not [${acceptance.join(", ")}]`,
  );
  const inRange = (value: number, most: number) => Number.isInteger(value) && value >= 0 && value <= most;
  ensure(inRange(size, 768), "bad_option", `a draft tree has 0 to 768 nodes, not ${size}`);
  ensure(inRange(depth, 64), "bad_option", `a draft tree has 0 to 64 levels, not ${depth}`);
  const width = Math.min(acceptance.length, 32);
  const largest = size + 1;
  const at = (m: number, level: number, b: number) => (m * (depth + 1) + level) * (width + 1) + b;
  const expected = new Float64Array(at(largest, depth, width) + 1).fill(-Infinity);
  /** The y that the maximum took. */
  const split = new Int32Array(expected.length);
  /** best(m, l) and the b that it took. */
  const best = new Float64Array((largest + 1) * (depth + 1)).fill(-Infinity);
  const bestCount = new Int32Array(best.length);

  for (let level = 0; level <= depth; level++) {
    for (let m = 1; m <= largest; m++) {
      if (m === 1) expected[at(1, level, 0)] = 1;
      for (let b = 1; b <= width && level > 0; b++) {
        let most = -Infinity;
        let mostAt = 0;
        for (let y = 1; y < m; y++) {
          const value = expected[at(y, level, b - 1)] + acceptance[b - 1] * best[(m - y) * (depth + 1) + level - 1];
          if (value > most) [most, mostAt] = [value, y];
        }
        expected[at(m, level, b)] = most;
        split[at(m, level, b)] = mostAt;
      }
      const summary = m * (depth + 1) + level;
      for (let b = 0; b <= width; b++) {
        if (expected[at(m, level, b)] > best[summary])
          [best[summary], bestCount[summary]] = [expected[at(m, level, b)], b];
      }
    }
  }

  return {
    shape(wanted, levels) {
      ensure(wanted <= size && levels <= depth, "internal", "a Sequoia table was asked beyond what it was made for");
      // A narrow or shallow table cannot always place every node: take the best size that it can.
      let m = 1;
      for (let other = 1; other <= wanted + 1; other++) {
        if (best[other * (depth + 1) + levels] > best[m * (depth + 1) + levels]) m = other;
      }
      const parents: number[] = [];
      const queue = [{ node: 0, m, level: levels }];
      for (const { node, m, level } of queue) {
        const sizes: number[] = [];
        for (let b = bestCount[m * (depth + 1) + level], left = m; b > 0; b--) {
          const rest = split[at(left, level, b)];
          sizes.unshift(left - rest);
          left = rest;
        }
        for (const size of sizes) queue.push({ node: parents.push(node), m: size, level: level - 1 });
      }
      return { parents, expected: best[m * (depth + 1) + levels] };
    },
  };
}

/**
 * The shape with the most expected tokens per second: `draftTime` per level, and `targetTime(rows)` for the target's pass
 * over the drafted nodes and the root. Seconds, or any other unit. An empty shape means that drafting does not pay.
 */
export function bestShape(
  shapes: Shapes,
  size: number,
  depth: number,
  draftTime: number,
  targetTime: (rows: number) => number,
): Shape {
  let best: Shape = { parents: [], expected: 1 };
  let bestRate = 1 / targetTime(1);
  for (let levels = 1; levels <= depth; levels++) {
    for (let nodes = levels; nodes <= size; nodes++) {
      const shape = shapes.shape(nodes, levels);
      const rate = shape.expected / (levels * draftTime + targetTime(shape.parents.length + 1));
      if (rate > bestRate) [best, bestRate] = [shape, rate];
    }
  }
  return best;
}
