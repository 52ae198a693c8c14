/**
 * How often verification accepts what a draft model proposes. A draft's own word says which tokens are likelier to be accepted, but
 * not how likely: a token drawn with probability q is accepted with min(1, p/q), which for a good draft is far above q. So
 * acceptance is measured for a pair of models and a temperature (`judge.ts`), and a request adds what it sees itself.
 */
import { z } from "zod";
import { rising } from "../../engine/isotonic.ts";
import { childrenOf, type DraftTree } from "./tree.ts";

/** Trials and their successes (both may be fractions), one entry a class. */
interface Counts {
  tried: number[];
  accepted: number[];
}

/** Of one kind of tree. */
export interface AcceptanceCounts {
  /**
   * By the probability a child was proposed with once its parent was accepted and its earlier siblings were not; for first, second and
   * later children apart: that the first was rejected says that target and draft differ here.
   */
  byProbability: Counts[];
  /** By a child's place among its siblings. */
  byRank: Counts;
}

export type AcceptanceCurve = Record<DraftTree["kind"], AcceptanceCounts>;

/** How likely verification accepts a node's n-th child (from 0); in sampled trees, once it is tried. */
export interface Chances {
  /** Of a child proposed with this probability, so many levels below the root: rises with it. */
  ofProbability(probability: number, rank: number, depth: number): number;
  /** Of a child whose token is not known yet. */
  ofRank(rank: number, depth: number): number;
}

/** The same whatever the level. */
export interface AcceptanceEstimate extends Chances {
  ofProbability(probability: number, rank: number): number;
  ofRank(rank: number): number;
  /** Learns from a verification of a tree with probabilities; `depth`: from the children at this level below the root alone. */
  observe(tree: DraftTree, path: readonly number[], depth?: number): void;
}

/** Lower ends of the classes of probability: near 1, where a long draft hangs on it, they are told apart more finely. */
const lowerEnds = [0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005, 0];
const classes = lowerEnds.length;
export const classOf = (probability: number): number => {
  let index = 0;
  while (probability < lowerEnds[index]) index += 1;
  return index;
};
export const ranks = 16;
const places = 3;
export const placeOf = (rank: number): number => Math.min(rank, places - 1);

const emptyCounts = (size: number): Counts => ({ tried: new Array(size).fill(0), accepted: new Array(size).fill(0) });
const emptyKind = (): AcceptanceCounts => ({
  byProbability: Array.from({ length: places }, () => emptyCounts(classes)),
  byRank: emptyCounts(ranks),
});
export const emptyCurve = (): AcceptanceCurve => ({ sampled: emptyKind(), chosen: emptyKind() });

/** What a measured curve may weigh against what the request itself shows, in trials of a class. */
const mostPriorTrials = 30;
/** Weight, in trials, of what is known without the class: a tree prefers what looks best, and so what chance made look best. */
const priorTrials = 6;

/** Takes the draft at its word (the assumption of DySpec, section 3): for comparisons, and where nothing was measured. */
export const ownChances = { ofProbability: (probability: number) => probability, ofRank: () => 1 } satisfies Chances;

/** An estimate that starts from a measured curve, `most` trials of each class, or from the draft's own probabilities. */
export function createAcceptanceEstimate(
  kind: DraftTree["kind"],
  curve?: AcceptanceCurve,
  most = mostPriorTrials,
): AcceptanceEstimate {
  const start = (counts: Counts | undefined, size: number, guess: (index: number) => number): Counts => {
    const result = emptyCounts(size);
    for (let i = 0; i < size; i++) {
      const tried = counts?.tried[i] ?? 0;
      const scale = Math.min(1, most / Math.max(tried, 1));
      result.tried[i] = priorTrials + tried * scale;
      result.accepted[i] = priorTrials * guess(i) + (counts?.accepted[i] ?? 0) * scale;
    }
    return result;
  };
  const measured = curve?.[kind];
  const byProbability = Array.from({ length: places }, (_, place) => {
    const counts = measured?.byProbability[place];
    // Chosen tokens are accepted about as often as their probability says; drawn ones about equally often.
    const overall =
      counts && kind === "sampled" ? total(counts.accepted) / Math.max(total(counts.tried), 1) : undefined;
    return start(counts, classes, (index) => overall ?? (lowerEnds[index] + (lowerEnds[index - 1] ?? 1)) / 2);
  });
  const byRank = start(measured?.byRank, ranks, (rank) => 0.6 / (rank + 1));
  const rates: (number[] | undefined)[] = [];
  return {
    ofProbability(probability, rank) {
      if (probability <= 0) return 0;
      const place = placeOf(rank);
      const { tried, accepted } = byProbability[place];
      // Classes stand in falling order of probability.
      rates[place] ??= rising(tried.map((trials, i) => accepted[i] / trials).reverse(), [...tried].reverse()).reverse();
      return rates[place][classOf(probability)];
    },
    ofRank: (rank) => byRank.accepted[Math.min(rank, ranks - 1)] / byRank.tried[Math.min(rank, ranks - 1)],
    observe(tree, path, depth) {
      const children = childrenOf(tree);
      for (let node = 0, level = 0; children[node].length > 0; level++) {
        const hit = children[node].indexOf(path[level]);
        // Drawn children are tried one after another; of chosen ones, each is the target's token or not.
        const tried = tree.kind === "sampled" && hit >= 0 ? hit + 1 : children[node].length;
        for (let rank = 0; rank < tried && (depth ?? level + 1) === level + 1; rank++) {
          const success = rank === hit ? 1 : 0;
          count(byProbability[placeOf(rank)], classOf(tree.probabilities![children[node][rank] - 1]), 1, success);
          count(byRank, Math.min(rank, ranks - 1), 1, success);
        }
        if (hit < 0) break;
        node = path[level];
      }
      rates.length = 0;
    },
  };
}

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

export function count({ tried, accepted }: Counts, index: number, weight: number, success: number): void {
  tried[index] += weight;
  accepted[index] += weight * success;
}

/** A measured curve as it is kept. */
const countsSchema = (size: number) => {
  const numbers = z.array(z.number().min(0).max(1e6)).length(size);
  return z.strictObject({ tried: numbers, accepted: numbers });
};
export const kindSchema = z.strictObject({
  byProbability: z.array(countsSchema(classes)).length(places),
  byRank: countsSchema(ranks),
});
export const curveSchema = z.strictObject({ sampled: kindSchema, chosen: kindSchema });
