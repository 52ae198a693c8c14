/** Sparse trees against exhaustive search, their Markov chain against a simulation, and the choice of a budget. */
import { expect, test, vi } from "vitest";
import type { Decoding } from "../../engine/decoding.ts";
import { uniform } from "../../engine/random.ts";
import { count, emptyCurve } from "./acceptance.ts";
import type { Economy } from "./budget.ts";
import { behindRows, costOfLevels } from "./foresight.ts";
import type { Foresight } from "./guesses.ts";
import { measuredAccuracies, rowDrafter } from "./row-drafter.ts";
import { bestPaths, fitTrees, pruneRows, rowsOfState, steadyState, treesOfBudget } from "./sparse-trees.ts";
import type { Round } from "./speculate.ts";

/** A machine on which a further row takes a tenth of a pass. */
const machine = { model: "", rows: [1, 64], seconds: [1e-3, 1e-3 * (1 + 63 * 0.1)] };
vi.mock(import("../../engine/pass-curve.ts"), async (original) => ({
  ...(await original()),
  passCurve: async () => machine,
}));

const accuracies = [
  [0.5, 0.15, 0.08, 0.04],
  [0.35, 0.12, 0.06, 0.03],
  [0.25, 0.1, 0.05, 0.02],
];

test("the best paths are those of the largest products, parents first", () => {
  const all: { path: number[]; score: number }[] = [];
  const visit = (path: number[], score: number): void => {
    if (path.length > 0) all.push({ path, score });
    if (path.length < 3) {
      for (const [rank, p] of accuracies[path.length].entries()) visit([...path, rank], score * p);
    }
  };
  visit([], 1);
  all.sort((a, b) => b.score - a.score);
  for (const count of [1, 5, 20]) {
    const best = bestPaths(accuracies, 3, count);
    expect(best.map(({ score }) => score)).toEqual(all.slice(0, count).map(({ score }) => expect.closeTo(score, 12)));
    const seen = new Set([""]);
    for (const { path } of best) {
      expect(seen.has(path.slice(0, -1).join())).toBe(true);
      seen.add(path.join());
    }
  }
  expect(bestPaths(accuracies, 2, 100).every(({ path }) => path.length <= 2)).toBe(true);
  expect(bestPaths([[1], [0]], 2, 5)).toEqual([{ path: [0], score: 1 }]); // what is never right is left out
});

test("rows go where their loss is least, and every node keeps one", () => {
  const last = [0.3, 0.4, 0.2, 0.1];
  const worth = [0, 0.5, 0.8, 0.9];
  expect(pruneRows(last, worth, 12)).toEqual([3, 3, 3, 3]);
  // First the third row of the least likely node (0.1 · 0.1), then of the next, and so on.
  expect(pruneRows(last, worth, 11)).toEqual([3, 3, 3, 2]);
  expect(pruneRows(last, worth, 10)).toEqual([3, 3, 2, 2]);
  expect(pruneRows(last, worth, 1)).toEqual([3, 1, 1, 1]);
});

test("the chain's shares are those of a simulation, and so are the tokens a pass", () => {
  const trees = treesOfBudget(accuracies, 16);
  expect(trees.shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
  let state = 3;
  let tokens = 0;
  const [passes, visits] = [60_000, [0, 0, 0]];
  for (let pass = 0; pass < passes; pass++) {
    const { paths, rows } = trees.states[state - 1];
    visits[state - 1] += 1;
    // The token of a level is the guess of rank r with its accuracy: at most one path of the tree is followed.
    const right = accuracies.map((ranks, level) => {
      const u = uniform({ seed: 5, request: level }, pass, "data");
      return ranks.findIndex((_, rank) => u < ranks.slice(0, rank + 1).reduce((a, b) => a + b, 0));
    });
    let accepted = 0;
    let node = 0;
    for (const [i, path] of paths.entries()) {
      if (path.length > accepted && path.every((rank, level) => right[level] === rank))
        [accepted, node] = [path.length, i + 1];
    }
    tokens += 1 + accepted;
    state = rows[node];
  }
  for (const [i, count] of visits.entries()) expect(count / passes).toBeCloseTo(trees.shares[i], 2);
  expect(tokens / passes).toBeCloseTo(trees.tokensPerPass, 1);
  expect(steadyState([{ last: [1], rows: [1] }])).toEqual([1]);
});

test("the published expectation, with a pass of its own after one that accepts nothing, gives the published trees", () => {
  /** Accuracies that the authors' trees for Vicuna 13B and 7B were made of, as their nodes' chances tell them. */
  const ofAuthors = {
    large: [
      [0.5181, 0.1446, 0.0704, 0.0381, 0.0248, 0.0195, 0.013, 0.012, 0.0087, 0.0082],
      [0.2941, 0.1459, 0.0873, 0.0577, 0.0386, 0.0324, 0.0251, 0.0205, 0.0155, 0.0134],
      [0.1794, 0.1257, 0.0833, 0.0626, 0.0456, 0, 0, 0, 0, 0],
    ],
    small: [
      [0.4834, 0.1434, 0.0736, 0.0454, 0.0309, 0.0215, 0.0166, 0.0132, 0.0093, 0.0084],
      [0.2626, 0.1456, 0.0811, 0.0576, 0.0428, 0.0323, 0.0257, 0.0215, 0.019, 0.0155],
      [0.1641, 0.1176, 0.0809, 0.0578, 0.0459, 0.0367, 0.0313, 0.0232, 0.0237, 0.0179],
    ],
  };
  const sizes = (of: keyof typeof ofAuthors, budget: number, expectation?: "published") =>
    treesOfBudget(ofAuthors[of], budget, 1, expectation).states.map(({ paths }) => paths.length);
  expect(sizes("large", 40, "published")).toEqual([10, 14, 15]);
  expect(sizes("large", 40)).toEqual([10, 14, 14]);
  expect(sizes("large", 60, "published")).toEqual([10, 20, 20]); // the paper's table
  expect(sizes("small", 105, "published")).toEqual([10, 33, 34]); // the paper's table
  // The chain by hand: one state, left half of the time; a pass between follows each that accepts nothing.
  const half = [{ last: [0.5, 0.5], rows: [1, 1] }];
  expect(steadyState(half)[0]).toBeCloseTo(1, 9);
  expect(steadyState(half, "published")[0]).toBeCloseTo(2 / 3, 9);
  expect(treesOfBudget([[0.5]], 2).tokensPerPass).toBeCloseTo(1.5, 9);
  expect(treesOfBudget([[0.5]], 2, 1, "published").tokensPerPass).toBeCloseTo(4 / 3, 9);
});

test("pruned trees beat rows given at random, and more rows everywhere, at equal rows", () => {
  const budget = 20;
  const best = treesOfBudget(accuracies, budget);
  const naive = [1, 2, 3].map((rows) => Math.floor(budget / (1 + rows)));
  for (const [i, size] of naive.entries()) {
    const states = accuracies.map((_, depth) => {
      const chosen = bestPaths(accuracies, depth + 1, size);
      const places = new Map([["", 0], ...chosen.map(({ path }, at) => [path.join(), at + 1] as const)]);
      const last = [1, ...chosen.map(({ score }) => score)];
      for (const { path, score } of chosen) last[places.get(path.slice(0, -1).join())!] -= score;
      return {
        last,
        rows: last.map((_, node) => (node === 0 ? 3 : i + 1)),
        accepted: chosen.reduce((s, { score }) => s + score, 0),
      };
    });
    const shares = steadyState(states);
    expect(best.tokensPerPass).toBeGreaterThanOrEqual(
      1 + states.reduce((sum, s, at) => sum + shares[at] * s.accepted, 0) - 1e-9,
    );
  }
  for (const state of best.states) expect(rowsOfState(state) - 4).toBeLessThanOrEqual(budget);
});

test("the budget is that of the most tokens a second: small where rows are dear, large where they are free", () => {
  const curve = (perRow: number) => ({ model: "", rows: [1, 64], seconds: [1e-3, 1e-3 * (1 + 63 * perRow)] });
  const fitted = (perRow: number) => fitTrees(accuracies, { width: 1, curve: curve(perRow), most: 60 });
  expect(fitted(1).budget).toBe(2);
  expect(fitted(1e-4).budget).toBeGreaterThan(40);
  expect(fitted(0.02).budget).toBeLessThan(fitted(1e-4).budget);
  expect(fitTrees(accuracies, { width: 1, budget: 12, most: 60 }).budget).toBe(12);
  // Levels of no use, and guesses that are never right.
  const zeros = treesOfBudget(
    [
      [0, 0],
      [0, 0],
    ],
    8,
  );
  expect(zeros.tokensPerPass).toBe(1);
  expect(zeros.states.map(({ paths }) => paths)).toEqual([[[0]], [[0]]]); // a chain of one node
});

test("rows that begin at a middle layer cost less, and an ensemble's more, where the budget is fitted", () => {
  const curve = machine;
  const fitted = (cost?: (levels: number) => number) =>
    fitTrees(accuracies, { width: 1, cost, curve, most: 60 }).budget;
  expect(fitted((levels) => levels / 6)).toBeGreaterThan(fitted());
  expect(fitted((levels) => 4 * levels)).toBeLessThan(fitted((levels) => levels / 6));
  const [state] = treesOfBudget(accuracies, 12).states;
  const levels = state.rows.reduce((a, b) => a + b, 0);
  expect(rowsOfState(state, (count) => count / 2)).toBe(1 + state.paths.length + levels / 2);
});

test("the published trees of a method are fitted by what its rows cost", async () => {
  const decoding = {
    model: {},
    settings: { temperature: 0 },
    forest: { maxRows: 64 },
    endTokens: new Set(),
    counters: {},
    instrument() {},
  } as unknown as Decoding;
  const nodesAndRows = async (cost?: (level: number) => number): Promise<number> => {
    const foresight: Foresight = {
      identity: "",
      levels: 3,
      rows: (count) => [Array(count).fill({})],
      cost,
      guess: () => [],
    };
    const options = { by: "probability", estimate: "draft", topK: 64, tree: "published" } as const;
    const drafter = await rowDrafter(decoding, foresight, options);
    const { note } = (await drafter.propose({ depth: 4 } as Round)) as { note?: string };
    return Number(/trees of (\d+) nodes/.exec(note!)![1]);
  };
  expect(await nodesAndRows(() => 1 / 6)).toBeGreaterThan(await nodesAndRows());
});

test("prices of nodes count the root's own rows by what their layers and their number cost", () => {
  const money: Economy = { limit: 64, price: (drafted) => (drafted < 64 ? 1 + drafted : Infinity), settle() {} };
  const foresight = (levels: number, width: number, cost?: (level: number) => number): Foresight => ({
    identity: "",
    levels,
    rows: (count) => Array.from({ length: width }, () => Array.from({ length: count }, () => ({}))),
    cost,
    guess: () => [],
  });
  expect(behindRows(money, foresight(3, 1)).price(2)).toBe(1 + 2 + 3);
  expect(behindRows(money, foresight(3, 2)).price(2)).toBe(1 + 2 + 6);
  // After layers 3, 3 and 4 of six.
  const late = foresight(3, 1, (level) => [3, 3, 2][level] / 6);
  expect(costOfLevels(late, 3)).toBeCloseTo(8 / 6, 12);
  expect(behindRows(money, late).price(2)).toBe(1 + 2 + 1);
  expect(behindRows(money, late).price(60)).toBe(62);
  expect(behindRows(money, late).price(61)).toBe(Infinity); // the three rows have to find room
  expect(behindRows(money, foresight(16, 16)).price(0)).toBeLessThan(Infinity); // though not all of so many
});

test("trees are built of the accuracies that were measured, not of what was supposed before", () => {
  const curves = accuracies.map((ofRanks) => {
    const { chosen } = emptyCurve();
    for (const [rank, share] of [...ofRanks, 0, 0, 0, 0, 0, 0].entries()) count(chosen.byRank, rank, 500, share);
    return chosen;
  });
  for (const [level, chances] of measuredAccuracies(3, 10, curves).entries()) {
    for (const [rank, chance] of chances.entries()) {
      expect(Math.abs(chance - (accuracies[level][rank] ?? 0)), `level ${level}, rank ${rank}`).toBeLessThan(0.006);
    }
  }
  expect(measuredAccuracies(1, 2)[0][0]).toBeCloseTo(0.6, 12); // nothing measured: the guess
});
