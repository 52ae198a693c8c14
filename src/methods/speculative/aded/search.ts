/**
 * The search of ADED: Monte Carlo tree search over the tri-gram table as a stand-in for the target, with the PUCT rule of
 * AlphaZero and MuZero. Constants follow the authors' program. A node is a token below the root, the last of the
 * text; nodes live in flat arrays, at most one is expanded an iteration.
 */

import { ensure } from "../../../errors.ts";
import { requireWhole } from "../../../numbers.ts";
import type { Draws } from "../draws.ts";
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

/** The probability of acceptance that a node must have to be worth a row when so many are drafted; never falls. */
export type Price = (drafted: number) => number;

/** What may follow the root and, after it, these drafted tokens. */
export type Follow = (path: readonly number[]) => Row | undefined;

/** As the table says it: the row of the last pair. */
export function followTable(table: TrigramTable, first: number, second: number): Follow {
  return (path) => {
    const length = path.length;
    if (length === 0) return table.find(first, second);
    return table.find(length === 1 ? second : path[length - 2], path[length - 1]);
  };
}

/** Nodes that may be drafted. Node 0 is the root; parents come before children. */
export interface Continuations {
  /** The root's is the last of the text. */
  readonly tokens: number[];
  readonly parents: number[];
  /** Each node's probability once its parent was accepted; or its part of the visits of its siblings and itself. */
  readonly shares: number[];
  /** Probability of each node's acceptance: the product of its and its ancestors' shares. */
  readonly reach: number[];
}

/** Children of a node are consecutive. */
export interface SearchTree extends Continuations {
  readonly visits: number[];
  /** Sum of the rewards. */
  readonly rewards: number[];
  /** What may follow a node; undefined where nothing is known. */
  rowOf(node: number): Row | undefined;
}

function createNodes(follow: Follow, root: number, price?: Price) {
  const rows: (Row | undefined | null)[] = [null]; // null: not looked up yet
  const tree = {
    tokens: [root],
    parents: [-1],
    visits: [0],
    rewards: [0],
    shares: [1],
    reach: [1],
    priors: [0],
    firstChild: [0], // 0: not expanded
    children: [0],
    pathTo(node: number): number[] {
      const path: number[] = [];
      for (let at = node; at > 0; at = tree.parents[at]) path.push(tree.tokens[at]);
      return path.reverse();
    },
    rowOf(node: number): Row | undefined {
      let row = rows[node];
      if (row === null) {
        row = follow(tree.pathTo(node));
        rows[node] = row;
      }
      return row;
    },
    /**
     * Creates all children that are worth it at once; returns how many. Nodes that are reached more surely would be drafted
     * before a child: their number sets its price.
     */
    expand(node: number): number {
      const row = tree.rowOf(node);
      if (!row) return 0;
      const start = tree.tokens.length;
      for (let i = 0; i < row.tokens.length; i++) {
        const share = row.weights[i] / row.total;
        const reach = tree.reach[node] * share;
        if (price && reach < price(surer(reach))) break; // those that follow are lighter
        rows.push(null);
        tree.tokens.push(row.tokens[i]);
        tree.parents.push(node);
        tree.visits.push(0);
        tree.rewards.push(0);
        tree.shares.push(share);
        tree.reach.push(reach);
        tree.priors.push(row.weights[i]);
        tree.firstChild.push(0);
        tree.children.push(0);
      }
      tree.firstChild[node] = start;
      tree.children[node] = tree.tokens.length - start;
      return tree.children[node];
    },
  };
  function surer(reach: number): number {
    let count = 0;
    for (let node = 1; node < tree.reach.length; node++) if (tree.reach[node] > reach) count++;
    return count;
  }
  return tree;
}

/**
 * Searches below the root token. With `price`, what is not worth a row stays out of the tree, and a subtree with
 * nothing left to expand is not visited again, so that the search ends early where the table is sure.
 */
export function searchTree(
  follow: Follow,
  root: number,
  options: SearchOptions,
  draws: Pick<Draws, "choose">,
  price?: Price,
): SearchTree {
  const { iterations = 150, c1 = 32, c2 = 8, pathLength = 4, reward = "path-weight" } = checked(options);
  const tree = createNodes(follow, root, price);
  const { tokens, parents, visits, rewards, priors, firstChild, children, rowOf, pathTo } = tree;
  /** Nodes below which nothing is left to expand. */
  const finished: boolean[] = [];

  /** The child with the best score; the first of equals, and any unvisited one before all visited ones. */
  function bestChild(node: number): number {
    const exploration = (c1 + Math.log((visits[node] + c2 + 1) / c2)) * Math.sqrt(visits[node]);
    let best = -1;
    let bestScore = -Infinity;
    for (let child = firstChild[node]; child < firstChild[node] + children[node]; child++) {
      if (finished[child]) continue;
      const n = visits[child];
      if (n === 0) return child;
      const score = rewards[child] / n + (exploration * priors[child]) / (1 + n);
      if (score > bestScore) [best, bestScore] = [child, score];
    }
    return best;
  }

  /** Marks a node that cannot grow, and what that finishes above it. */
  function finish(node: number): void {
    for (let at = node; at >= 0; at = parents[at]) {
      for (let child = firstChild[at]; child < firstChild[at] + children[at]; child++) if (!finished[child]) return;
      finished[at] = true;
    }
  }

  for (let iteration = 0; iteration < iterations && !finished[0]; iteration++) {
    let node = 0;
    let pairs = 1;
    let total = 1;
    const step = (child: number) => {
      total += reward === "repo" ? weightIn(rowOf(node)!, tokens[node]) : priors[child];
      node = child;
      pairs++;
    };
    // Select, and expand the first node without children, going on with the last one created.
    while (pairs < pathLength && children[node] > 0) step(bestChild(node));
    do {
      if (pairs < pathLength && tree.expand(node) > 0) step(firstChild[node] + children[node] - 1);
      else if (price) finish(node);
      // Where only one successor is worth it there is nothing to choose: the search goes straight on.
    } while (price && !finished[node] && children[parents[node]] === 1);
    // Roll out by the weights; what is passed here does not enter the tree. A search that ends by itself can do without.
    const path = price ? [] : pathTo(node);
    for (let row = price ? undefined : rowOf(node); row && pairs < pathLength; pairs++) {
      const drawn = draws.choose("search", Float64Array.from(row.weights), row.total);
      total += reward === "repo" ? weightIn(row, path.at(-1) ?? root) : row.weights[drawn];
      path.push(row.tokens[drawn]);
      row = follow(path);
    }
    for (let up = node; up >= 0; up = parents[up]) {
      visits[up]++;
      rewards[up] += total;
    }
  }
  return tree;
}

/** The same without search: expands whatever is reached with the largest probability. */
export function expandBestFirst(follow: Follow, root: number, options: SearchOptions, price: Price): SearchTree {
  const { iterations = 150, pathLength = 4 } = checked(options);
  const tree = createNodes(follow, root, price);
  const frontier = [0];
  const depths = [0];
  for (let iteration = 0; iteration < iterations && frontier.length > 0; iteration++) {
    let best = 0;
    for (let i = 1; i < frontier.length; i++) if (tree.reach[frontier[i]] > tree.reach[frontier[best]]) best = i;
    const node = frontier[best];
    frontier.splice(best, 1);
    if (depths[node] + 1 >= pathLength) continue;
    const count = tree.expand(node);
    for (let child = tree.firstChild[node]; child < tree.firstChild[node] + count; child++) {
      frontier.push(child);
      depths[child] = depths[node] + 1;
    }
  }
  return tree;
}

function checked(options: SearchOptions): SearchOptions {
  const { iterations = 150, c1 = 32, c2 = 8, pathLength = 4 } = options;
  requireWhole({ iterations }, 1, 10_000);
  requireWhole({ pathLength }, 2, 128);
  ensure(c1 >= 0 && c2 > 0, "bad_option", `c1 must be at least 0 and c2 above 0, not ${c1} and ${c2}`);
  return options;
}

function weightIn(row: Row, token: number): number {
  for (let i = 0; i < row.tokens.length; i++) if (row.tokens[i] === token) return row.weights[i];
  return 0;
}
