/**
 * Drafting without a second model: the pass that verifies one draft also guesses the tokens after the next, at every node that may turn out
 * the last one accepted. Guesses are read off the node itself (heads) or off look-ahead rows below it, and none of them knows what stands
 * between: a tree of them has one distribution a level. Methods differ in where the guesses come from, and share what follows.
 */
import type { Decoding } from "../../engine/decoding.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { type AcceptanceEstimate, type Chances, createAcceptanceEstimate, ownChances } from "./acceptance.ts";
import { type Economy, economy, most, nodesOf } from "./budget.ts";
import { createDrafting } from "./drafting.ts";
import { areFinite, type Foresight, guessLaws } from "./guesses.ts";
import { levelCurves } from "./levels.ts";
import type { AheadChain, Drafter } from "./speculate.ts";
import { growTopK } from "./top-k/index.ts";
import { createTree, type DraftTree, selectNodes } from "./tree.ts";

export interface ForesightOptions {
  /** Nodes to draft a round; undefined: what is worth its cost. */
  readonly budget?: number;
  /** By what a guess is trusted: its own probability, or its rank alone, as trees of one fixed shape do. */
  readonly by: "probability" | "rank";
  /** Whether how often guesses are right is measured, or their own probabilities are believed. */
  readonly estimate: "measured" | "draft";
  /** Likeliest tokens of a guess that can be drafted. */
  readonly topK: number;
}

/** What the levels' guesses are worth: measured on texts of the model's own, and learned from as a request goes on. */
export interface LevelChances extends Chances {
  observe(tree: DraftTree, path: readonly number[]): void;
  /** Expected tokens beyond the next that the first so many guesses yield. */
  worth(levels: number): number;
}

/** Children that a level is taken to have where it is asked what it is worth. */
const usualWidth = 3;

export function levelChances(estimates: readonly AcceptanceEstimate[], by: "probability" | "rank"): LevelChances {
  const at = (depth: number): AcceptanceEstimate => estimates[Math.min(depth, estimates.length) - 1];
  const ofRank = (rank: number, depth: number): number => at(depth).ofRank(rank);
  return {
    ofProbability: (probability, rank, depth) =>
      by === "rank" ? ofRank(rank, depth) : at(depth).ofProbability(probability, rank),
    ofRank,
    observe(tree, path) {
      for (const [i, estimate] of estimates.entries()) estimate.observe(tree, path, i + 1);
    },
    worth(levels) {
      let [reached, total] = [1, 0];
      for (let depth = 1; depth <= levels; depth++) {
        let hit = 0;
        for (let rank = 0; rank < usualWidth; rank++) hit += ofRank(rank, depth);
        reached *= Math.min(1, hit);
        total += reached;
      }
      return total;
    },
  };
}

/** A drafter of trees that grow where guesses are likeliest right, with look-ahead rows where they are likeliest needed. */
export async function foresightDrafter(
  decoding: Decoding,
  foresight: Foresight,
  { budget, by, estimate, topK }: ForesightOptions,
): Promise<Drafter> {
  decoding.instrument({ taps: foresight.taps });
  const { model, settings, endTokens, counters } = decoding;
  const { temperature } = settings;
  const { levels } = foresight;
  const measured = estimate === "measured";
  const laws = guessLaws(temperature, topK);
  const curves = measured ? await levelCurves(model, foresight, { temperature, topK }, decoding.signal) : undefined;
  const estimates = Array.from({ length: levels }, (_, i) =>
    createAcceptanceEstimate("chosen", curves && { chosen: curves[i], sampled: curves[i] }),
  );
  const learned = levelChances(estimates, by);
  const chances: Chances = measured || by === "rank" ? learned : ownChances;
  const money = await economy(decoding, { budget });
  const limit = nodesOf(decoding, budget, most);
  /** Look-ahead rows of the tip, once a round has made some; nodes that need none are asked at any time. */
  let chains: readonly (readonly ForestNode[])[] | undefined = foresight.rows ? undefined : [];
  let asked: readonly AheadChain[] = [];

  return {
    async propose(round) {
      const guesses = chains && limit > 0 ? await foresight.guess(round.tip, chains) : [];
      const known = guesses.slice(0, round.depth);
      const failed = known.findIndex((logits) => !areFinite(logits));
      if (failed >= 0) counters.failedDrafts = (counters.failedDrafts ?? 0) + 1;
      const usable = failed < 0 ? known : [];
      if (usable.length === 0 || limit === 0) {
        const note = failed < 0 ? undefined : `guess ${failed + 1} was not finite: nothing is drafted in this round`;
        return { ...createTree("chosen"), ...(note !== undefined && { note }) };
      }
      const guessed = usable.map((logits) => laws.law(logits!));
      const depths = [0];
      const drafting = createDrafting({
        kind: "chosen",
        draws: round.draws,
        depth: usable.length,
        endTokens,
        chances,
        expect: (law, depth) => laws.expect(law, round.race(depth)),
        async score(tree, nodes) {
          for (let node = depths.length; node <= tree.tokens.length; node++) {
            depths[node] = depths[tree.parents[node - 1]] + 1;
          }
          return nodes.map((node) => guessed[depths[node]]);
        },
      });
      // Half of a fixed budget is for look-ahead rows. Of 1 there is a node in one round and a row in the next.
      const nodes = foresight.rows && budget !== undefined ? Math.max(1, Math.floor(limit / 2)) : limit;
      const kept = await growTopK(drafting, {
        budget: nodes,
        width: nodes,
        economy: foresight.rows ? behindRows(money, foresight) : money,
      });
      return selectNodes(drafting.tree, kept);
    },
    ahead(_, tree) {
      asked = foresight.rows ? aheadOf(tree, foresight, learned, money, limit) : [];
      return asked;
    },
    observe(_, tree, { path }, __, made) {
      const last = path.at(-1) ?? 0;
      learned.observe(tree, path);
      if (foresight.rows) {
        const own = made.filter((chain, i) => asked[i].node === last && chain.length > 0);
        chains = own.length > 0 ? own : undefined;
      }
      const cost = asked.reduce((sum, { rows }) => sum + costOfChain(foresight, rows.length), 0);
      money.settle(path.length + 1, tree.tokens.length + Math.round(cost), 0);
    },
  };
}

/** What a look-ahead row of a level costs, in whole rows. */
const costOf = ({ cost }: Foresight, level: number): number => cost?.(level) ?? 1;

/** The same of a chain with so many levels. */
function costOfChain(foresight: Foresight, levels: number): number {
  let cost = 0;
  for (let level = 0; level < levels; level++) cost += costOf(foresight, level);
  return cost;
}

/** Rows that a level has: of an ensemble more than one. */
export const rowsOfLevel = (foresight: Foresight): number => foresight.rows!(1).length;

/** What all look-ahead rows of a node with so many levels cost, in whole rows. */
export const costOfLevels = (foresight: Foresight, levels: number): number =>
  rowsOfLevel(foresight) * costOfChain(foresight, levels);

/** Prices of nodes that come after the root's own look-ahead rows, to which no more than half of the room is left. */
export function behindRows(money: Economy, foresight: Foresight): Economy {
  const width = rowsOfLevel(foresight);
  const levels = Math.min(foresight.levels, Math.floor(money.limit / 2 / width));
  const rows = width * levels;
  const cost = Math.round(costOfLevels(foresight, levels));
  return {
    ...money,
    price(drafted, passes) {
      if (money.price(0) === 0) return money.price(drafted, passes);
      return drafted + rows < money.limit ? money.price(drafted + cost, passes) : Infinity;
    },
  };
}

/**
 * Look-ahead rows by what they may bring: a node is the last one accepted with the probability that it is reached and none of its children
 * is, and its guesses are worth something only then. The best row goes first, while it is worth its price and there is room.
 */
function aheadOf(
  tree: DraftTree,
  foresight: Foresight,
  chances: LevelChances,
  money: Economy,
  limit: number,
): AheadChain[] {
  const size = tree.tokens.length;
  const last = [1, ...tree.values!];
  for (let node = 1; node <= size; node++) last[tree.parents[node - 1]] -= tree.values![node - 1];
  const counts = new Array<number>(size + 1).fill(0);
  const steps = Array.from({ length: foresight.levels }, (_, i) => chances.worth(i + 1) - chances.worth(i));
  const width = rowsOfLevel(foresight);
  /** In the pass, and what they cost in whole rows. */
  let [rows, spent] = [size, size];
  for (;;) {
    let best = -1;
    let gain = 0;
    for (let node = 0; node <= size; node++) {
      const level = counts[node];
      const more = level < steps.length ? (Math.max(0, last[node]) * steps[level]) / costOf(foresight, level) : 0;
      if (more > gain) [best, gain] = [node, more];
    }
    if (best < 0 || rows + width > limit || gain < width * money.price(Math.round(spent))) break;
    spent += width * costOf(foresight, counts[best]);
    counts[best] += 1;
    rows += width;
  }
  return counts.flatMap((levels, node) =>
    levels > 0 ? foresight.rows!(levels).map((chain) => ({ node, rows: chain })) : [],
  );
}
