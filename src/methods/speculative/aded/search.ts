/**
 * The search of ADED: Monte Carlo tree search over the tri-gram table as a stand-in for the target, with the PUCT rule of
 * AlphaZero and MuZero. Constants follow the authors' program. A node is a token below the root pair, its pair being its
 * parent's token and its own; nodes live in flat arrays, at most one is expanded an iteration.
 */
import { ensure } from "../../../errors.ts";
import { type Draws, sum } from "../draws.ts";
import type { Row, TrigramTable } from "./table.ts";

export interface SearchOptions {
  iterations?: number;
  /** Exploration: score = W/n + (c1 + ln((N + c2 + 1) / c2)) * prior * sqrt(N) / (1 + n). */
  c1?: number;
  c2?: number;
  /** Longest path in pairs, the root's counted. */
  pathLength?: number;
  /**
   * "path-weight": 1 + the weights along the path. "repo": what the authors' program computes, which looks up each pair's
   * own second token instead of the one that follows, so that the reward is nearly always 1.
   */
  reward?: "path-weight" | "repo";
}

/** Node 0 is the root; children of a node are consecutive. */
export interface SearchTree {
  readonly count: number;
  /** The second token of each node's pair. */
  readonly tokens: Int32Array;
  readonly parents: Int32Array;
  readonly visits: Int32Array;
  /** Sum of the rewards. */
  readonly rewards: Float64Array;
  /** Successors of each node's pair; undefined where the table does not know it. */
  readonly rows: readonly (Row | undefined)[];
}

/** Searches below the pair (first, second). Memory: iterations * the table's successors nodes. */
export function searchTable(
  table: TrigramTable,
  first: number,
  second: number,
  options: SearchOptions,
  draws: Pick<Draws, "choose">,
): SearchTree {
  const { iterations = 150, c1 = 32, c2 = 8, pathLength = 4, reward = "path-weight" } = options;
  const inRange = (value: number, least: number, most: number) =>
    Number.isInteger(value) && value >= least && value <= most;
  ensure(inRange(iterations, 1, 10_000), "bad_option", `iterations must be 1 to 10000, not ${iterations}`);
  ensure(inRange(pathLength, 2, 32), "bad_option", `pathLength must be 2 to 32, not ${pathLength}`);
  ensure(c1 >= 0 && c2 > 0, "bad_option", `c1 must be at least 0 and c2 above 0, not ${c1} and ${c2}`);

  const most = 1 + iterations * table.successors;
  const tokens = new Int32Array(most);
  const parents = new Int32Array(most).fill(-1);
  const visits = new Int32Array(most);
  const rewards = new Float64Array(most);
  const priors = new Float64Array(most);
  const firstChild = new Int32Array(most); // 0: not expanded
  const weights = new Float64Array(table.successors); // of one row
  const rows: (Row | undefined)[] = [table.find(first, second)];
  tokens[0] = second;
  let count = 1;

  /** The child with the best score; the first of equals, and any unvisited one before all visited ones. */
  function bestChild(node: number, children: number): number {
    const exploration = (c1 + Math.log((visits[node] + c2 + 1) / c2)) * Math.sqrt(visits[node]);
    let best = -1;
    let bestScore = -Infinity;
    for (let child = firstChild[node]; child < firstChild[node] + children; child++) {
      const n = visits[child];
      if (n === 0) return child;
      const score = rewards[child] / n + (exploration * priors[child]) / (1 + n);
      if (score > bestScore) [best, bestScore] = [child, score];
    }
    return best;
  }

  /** Creates all children at once and returns the last. */
  function expand(node: number, row: Row): number {
    firstChild[node] = count;
    for (let i = 0; i < row.tokens.length; i++, count++) {
      tokens[count] = row.tokens[i];
      priors[count] = row.weights[i];
      parents[count] = node;
      rows[count] = table.find(tokens[node], tokens[count]);
    }
    return count - 1;
  }

  const weightIn = (row: Row, token: number) => {
    for (let i = 0; i < row.tokens.length; i++) if (row.tokens[i] === token) return row.weights[i];
    return 0;
  };

  for (let iteration = 0; iteration < iterations; iteration++) {
    let node = 0;
    let pairs = 1;
    let total = 1;
    // Select, and expand the first node without children.
    for (let row = rows[0]; row && pairs < pathLength; row = rows[node], pairs++) {
      const expanded = firstChild[node] !== 0;
      const child = expanded ? bestChild(node, row.tokens.length) : expand(node, row);
      total += reward === "repo" ? weightIn(row, tokens[node]) : priors[child];
      node = child;
      if (!expanded) {
        pairs++;
        break;
      }
    }
    // Roll out by the weights; what is passed here does not enter the tree.
    let last = tokens[node];
    for (let row = rows[node]; row && pairs < pathLength; pairs++) {
      for (let i = 0; i < weights.length; i++) weights[i] = row.weights[i] ?? 0;
      const drawn = draws.choose("search", weights, sum(weights));
      total += reward === "repo" ? weightIn(row, last) : row.weights[drawn];
      const next = row.tokens[drawn];
      row = table.find(last, next);
      last = next;
    }
    for (let up = node; up >= 0; up = parents[up]) {
      visits[up]++;
      rewards[up] += total;
    }
  }
  return { count, tokens, parents, visits, rewards, rows };
}
