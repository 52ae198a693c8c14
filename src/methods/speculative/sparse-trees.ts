/**
 * The dynamic sparse trees of parallel prompt decoding (Chen et al. 2024, section 4). State d: so many guesses are known. Its tree T_d has the
 * rank paths of depth <= d with the best products of accuracies; every node, as it may turn out the last one accepted, has look-ahead rows of its own,
 * whose number is the state that follows. Which numbers are best is a matter of the Markov chain over the states.
 */
import { type PassCurve, passSeconds } from "../../engine/pass-curve.ts";

export interface StateTree {
  /** Ranks from the root down, parents first. */
  readonly paths: readonly (readonly number[])[];
  /** Expected accepted candidates. */
  readonly accepted: number;
  /** Probability that a node is the last one accepted, index 0 = the root. */
  readonly last: readonly number[];
  /** Look-ahead rows (levels) of each node, index 0 = the root. */
  readonly rows: readonly number[];
}

export interface SparseTrees {
  /** Index d - 1: of state d. */
  readonly states: readonly StateTree[];
  /** Share of the passes in each state. */
  readonly shares: readonly number[];
  /** Expected tokens a pass. */
  readonly tokensPerPass: number;
  /** Nodes and rows, beside the root and its own rows. */
  readonly budget: number;
}

/** Chances that the guess of a level (from the nearest) of each rank is the token. */
export type Accuracies = readonly (readonly number[])[];

/** The `count` rank paths of at most this depth with the best products, parents first; and what they are worth. */
export function bestPaths(accuracies: Accuracies, depth: number, count: number): { path: number[]; score: number }[] {
  const chosen: { path: number[]; score: number }[] = [];
  const open: { path: number[]; score: number }[] = [];
  /** The first child of a path, and its next sibling: everything is reached once, and never before what is worth more. */
  const push = (path: number[], base: number): void => {
    const score = base * (accuracies[path.length - 1]?.[path[path.length - 1]] ?? 0);
    if (path.length <= depth && score > 0) open.push({ path, score });
  };
  push([0], 1);
  while (chosen.length < count && open.length > 0) {
    let best = 0;
    for (let i = 1; i < open.length; i++) if (open[i].score > open[best].score) best = i;
    const [next] = open.splice(best, 1);
    chosen.push(next);
    const { path, score } = next;
    const rank = path[path.length - 1];
    push([...path.slice(0, -1), rank + 1], score / accuracies[path.length - 1][rank]);
    push([...path, 0], score);
  }
  return chosen;
}

interface Unpruned {
  readonly paths: number[][];
  readonly accepted: number;
  readonly last: number[];
}

function treeOf(accuracies: Accuracies, depth: number, count: number): Unpruned {
  const found = bestPaths(accuracies, depth, count);
  // Guesses that were never right where they were measured are tried by one node all the same.
  const chosen = found.length > 0 ? found : [{ path: [0], score: 0 }];
  const places = new Map([["", 0]]);
  const last = [1];
  for (const [i, { path, score }] of chosen.entries()) {
    places.set(path.join(), i + 1);
    last.push(score);
    last[places.get(path.slice(0, -1).join())!] -= score;
  }
  return { paths: chosen.map(({ path }) => path), accepted: chosen.reduce((sum, { score }) => sum + score, 0), last };
}

/**
 * Rows for the nodes of a tree: all of them at first, then those go whose loss, the chance that the node is the last one accepted times what
 * the state is worth over the one below, is least, until nodes and rows fit the budget. A node keeps one; the root keeps all.
 */
export function pruneRows(last: readonly number[], worth: readonly number[], budget: number, width = 1): number[] {
  const states = worth.length - 1;
  const rows = last.map(() => states);
  let used = (last.length - 1) * (1 + states * width);
  while (used > budget) {
    let best = -1;
    let least = Infinity;
    for (let node = 1; node < rows.length; node++) {
      const loss = last[node] * (worth[rows[node]] - worth[rows[node] - 1]);
      if (rows[node] > 1 && loss < least) [best, least] = [node, loss];
    }
    if (best < 0) break;
    rows[best] -= 1;
    used -= width;
  }
  return rows;
}

/** Shares of the passes in each state: where the chain comes to rest. After a pass that accepts nothing the root's rows are there, all of them. */
export function steadyState(states: readonly Pick<StateTree, "last" | "rows">[]): number[] {
  const count = states.length;
  const moves = states.map(({ last, rows }) => {
    const to = new Array<number>(count).fill(0);
    for (const [node, chance] of last.entries()) to[rows[node] - 1] += chance;
    return to;
  });
  let shares = new Array<number>(count).fill(1 / count);
  for (let round = 0; round < 500; round++) {
    const next = new Array<number>(count).fill(0);
    for (const [from, share] of shares.entries())
      for (const [to, chance] of moves[from].entries()) next[to] += share * chance;
    shares = next.map((share, i) => (share + shares[i]) / 2); // half a step: chains that alternate come to rest, too
  }
  return shares;
}

/** The trees of one choice of sizes, index d - 1. Errors: none; what does not fit the budget has a row for every node all the same. */
function treesOfSizes(accuracies: Accuracies, sizes: readonly number[], budget: number, width: number): SparseTrees {
  const trees = sizes.map((size, i) => treeOf(accuracies, i + 1, size));
  const worth = [0, ...trees.map(({ accepted }) => accepted)];
  const states = trees.map((tree) => ({ ...tree, rows: pruneRows(tree.last, worth, budget, width) }));
  const shares = steadyState(states);
  const accepted = states.reduce((sum, state, i) => sum + shares[i] * state.accepted, 0);
  return { states, shares, tokensPerPass: 1 + accepted, budget };
}

/** Nodes of the tree of the first state, as published. */
const firstSize = 10;
/** Sizes of a further state that are tried. */
const tried = 6;

/** The best trees of a budget: sizes between an even share of rows and a row a node, all states but the first searched together. */
export function treesOfBudget(accuracies: Accuracies, budget: number, width = 1): SparseTrees {
  const count = accuracies.length;
  const most = Math.max(1, Math.floor(budget / (1 + width)));
  const least = Math.max(1, Math.ceil(budget / (count * width + 1)));
  const sizesToTry = [
    ...new Set(Array.from({ length: tried }, (_, i) => Math.round(least + ((most - least) * i) / (tried - 1)))),
  ];
  let best: SparseTrees | undefined;
  const search = (sizes: number[]): void => {
    if (sizes.length < count) {
      for (const size of sizes.length === 0 ? [Math.min(firstSize, most)] : sizesToTry) search([...sizes, size]);
      return;
    }
    const trees = treesOfSizes(accuracies, sizes, budget, width);
    if (!best || trees.tokensPerPass > best.tokensPerPass) best = trees;
  };
  // Four states and more share one size: the search would grow with its power.
  if (count <= 3) search([]);
  else {
    for (const size of sizesToTry) {
      const trees = treesOfSizes(
        accuracies,
        accuracies.map((_, i) => (i === 0 ? Math.min(firstSize, most) : size)),
        budget,
        width,
      );
      if (!best || trees.tokensPerPass > best.tokensPerPass) best = trees;
    }
  }
  return best!;
}

/** Rows of a pass in a state, all of them. */
export const rowsOfState = ({ paths, rows }: StateTree, width = 1): number =>
  1 + paths.length + width * rows.reduce((sum, levels) => sum + levels, 0);

const budgets = [2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64];

export interface Fitting {
  /** Nodes and rows; undefined: what gives most tokens a second. */
  readonly budget?: number;
  /** Rows that a level takes. */
  readonly width: number;
  readonly curve?: PassCurve;
  readonly most: number;
}

/** The trees of a budget, or of the budget whose tokens a pass over seconds a pass is largest on this machine. */
export function fitTrees(accuracies: Accuracies, { budget, width, curve, most }: Fitting): SparseTrees {
  if (budget !== undefined || !curve) return treesOfBudget(accuracies, Math.max(1 + width, budget ?? most), width);
  let best: { trees: SparseTrees; rate: number } | undefined;
  for (const limit of budgets.filter((b) => b >= 1 + width && b <= Math.max(1 + width, most))) {
    const trees = treesOfBudget(accuracies, limit, width);
    const seconds = trees.states.reduce(
      (sum, state, i) => sum + trees.shares[i] * passSeconds(curve, rowsOfState(state, width)),
      0,
    );
    const rate = trees.tokensPerPass / seconds;
    if (!best || rate > best.rate) best = { trees, rate };
  }
  return best!.trees;
}
