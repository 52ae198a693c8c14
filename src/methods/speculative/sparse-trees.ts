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

/**
 * How the chain over the states goes on after a pass that accepts nothing. `direct`: as decoding does, to the state of the root's rows.
 * `published`: as the authors' program reckons, by a pass of its own before it, which accepts nothing either.
 */
export type Expectation = "direct" | "published";

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
  /** Nodes by how many rows they have, by their chances: the next to lose one of equally many is the first, or the last where a row does harm. */
  const having: number[][] = worth.map(() => []);
  having[states] = [...last.keys()].slice(1).sort((a, b) => last[a] - last[b] || a - b);
  const gain = (count: number): number => worth[count] - worth[count - 1];
  const next = (count: number): number => (gain(count) >= 0 ? 0 : having[count].length - 1);
  for (let used = (last.length - 1) * (1 + states * width); used > budget; used -= width) {
    let from = 0;
    let least = Infinity;
    for (let count = 2; count <= states; count++) {
      if (having[count].length === 0) continue;
      const loss = last[having[count][next(count)]] * gain(count);
      if (loss < least) [from, least] = [count, loss];
    }
    if (from === 0) break;
    const [node] = having[from].splice(next(from), 1);
    const fewer = having[from - 1];
    fewer.splice(fewer.findLastIndex((other) => last[other] <= last[node]) + 1, 0, node);
    rows[node] = from - 1;
  }
  return rows;
}

/**
 * Shares of the passes in each state: where the chain comes to rest. After a pass that accepts nothing the root's rows are there, all of
 * them. The published chain's passes between have what is left of 1.
 */
export function steadyState(
  states: readonly Pick<StateTree, "last" | "rows">[],
  expectation: Expectation = "direct",
): number[] {
  const count = states.length;
  const all = states.map(({ last, rows }) => {
    const to = new Array<number>(count + 1).fill(0);
    for (const [node, chance] of last.entries())
      to[node === 0 && expectation === "published" ? 0 : rows[node]] += chance;
    return to;
  });
  // Index 0 is the pass between, which leads to all of the root's rows.
  const moves = [[...new Array<number>(count).fill(0), 1], ...all];
  let shares = [0, ...new Array<number>(count).fill(1 / count)];
  for (let [round, moved] = [0, 1]; round < 500 && moved > 1e-15; round++) {
    const next = new Array<number>(count + 1).fill(0);
    for (const [from, share] of shares.entries())
      for (const [to, chance] of moves[from].entries()) next[to] += share * chance;
    moved = next.reduce((most, share, i) => Math.max(most, Math.abs(share - shares[i])), 0);
    shares = next.map((share, i) => (share + shares[i]) / 2); // half a step: chains that alternate come to rest, too
  }
  return shares.slice(1);
}

/** The states of these trees, index d - 1. Errors: none; what does not fit the budget has a row for every node all the same. */
function treesOfSizes(
  trees: readonly Unpruned[],
  budget: number,
  width: number,
  expectation: Expectation,
): SparseTrees {
  const worth = [0, ...trees.map(({ accepted }) => accepted)];
  const states = trees.map((tree) => ({ ...tree, rows: pruneRows(tree.last, worth, budget, width) }));
  const shares = steadyState(states, expectation);
  const accepted = states.reduce((sum, state, i) => sum + shares[i] * state.accepted, 0);
  return { states, shares, tokensPerPass: 1 + accepted, budget };
}

/** Nodes of the tree of the first state, as published. */
const firstSize = 10;
/** Sizes of a further state that are tried. */
const tried = 6;
/** The authors' program tries all of them; so does the published expectation up to so many, which 3 states of up to 288 nodes and rows have. */
const triedAsPublished = 72;

/** The best trees of a budget: sizes between an even share of rows and a row a node, all states but the first searched together. */
export function treesOfBudget(
  accuracies: Accuracies,
  budget: number,
  width = 1,
  expectation: Expectation = "direct",
): SparseTrees {
  const count = accuracies.length;
  const most = Math.max(1, Math.floor(budget / (1 + width)));
  const least = Math.max(1, Math.ceil(budget / (count * width + 1)));
  const all = most - least + 1;
  const steps = expectation === "published" && all <= triedAsPublished ? Math.max(1, all - 1) : tried - 1;
  const sizesToTry = [
    ...new Set(Array.from({ length: steps + 1 }, (_, i) => Math.round(least + ((most - least) * i) / steps))),
  ];
  const first = treeOf(accuracies, 1, Math.min(firstSize, most));
  /** By state, from the second, and by size. */
  const trees = accuracies.slice(1).map((_, i) => sizesToTry.map((size) => treeOf(accuracies, i + 2, size)));
  let best: SparseTrees | undefined;
  const search = (chosen: readonly Unpruned[]): void => {
    if (chosen.length < count) {
      for (const tree of trees[chosen.length - 1]) search([...chosen, tree]);
      return;
    }
    const found = treesOfSizes(chosen, budget, width, expectation);
    if (!best || found.tokensPerPass > best.tokensPerPass) best = found;
  };
  // Four states and more share one size: the search would grow with its power.
  if (count <= 3) search([first]);
  else for (const i of sizesToTry.keys()) search([first, ...trees.map((ofSizes) => ofSizes[i])]);
  return best!;
}

/** Rows of a pass in a state, all of them, or what they cost in whole rows: by what the look-ahead rows of a node with so many levels do. */
export const rowsOfState = (
  { paths, rows }: Pick<StateTree, "paths" | "rows">,
  ofLevels = (levels: number): number => levels,
): number => 1 + paths.length + rows.reduce((sum, levels) => sum + ofLevels(levels), 0);

const budgets = [2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64];

export interface Fitting {
  /** Nodes and rows; undefined: what gives most tokens a second. */
  readonly budget?: number;
  /** Rows that a level takes. */
  readonly width: number;
  /** What the look-ahead rows of a node with so many levels cost, in whole rows; default: each is one. */
  cost?(levels: number): number;
  readonly curve?: PassCurve;
  readonly most: number;
  readonly expectation?: Expectation;
}

/** The trees of a budget, or of the budget whose tokens a pass over seconds a pass is largest on this machine. */
export function fitTrees(
  accuracies: Accuracies,
  { budget, width, cost = (levels) => width * levels, curve, most, expectation = "direct" }: Fitting,
): SparseTrees {
  if (budget !== undefined || !curve)
    return treesOfBudget(accuracies, Math.max(1 + width, budget ?? most), width, expectation);
  const secondsOf = (state: Pick<StateTree, "paths" | "rows">): number => passSeconds(curve, rowsOfState(state, cost));
  let best: { trees: SparseTrees; rate: number } | undefined;
  for (const limit of budgets.filter((b) => b >= 1 + width && b <= Math.max(1 + width, most))) {
    const trees = treesOfBudget(accuracies, limit, width, expectation);
    // What the shares lack of 1 are passes with the root and its rows alone.
    let [seconds, between] = [0, 1];
    for (const [i, state] of trees.states.entries()) {
      seconds += trees.shares[i] * secondsOf(state);
      between -= trees.shares[i];
    }
    seconds += Math.max(0, between) * secondsOf({ paths: [], rows: [accuracies.length] });
    const rate = trees.tokensPerPass / seconds;
    if (!best || rate > best.rate) best = { trees, rate };
  }
  return best!.trees;
}
