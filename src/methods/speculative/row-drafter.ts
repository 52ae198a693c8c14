/** Which tree methods with look-ahead rows draft: one that follows the text and the machine, or their papers' of a fixed shape. */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { passCurve } from "../../engine/pass-curve.ts";
import { ensure } from "../../errors.ts";
import { type AcceptanceCounts, createAcceptanceEstimate, ranks } from "./acceptance.ts";
import { budgetOption, nodesOf } from "./budget.ts";
import { costOfLevels, type ForesightOptions, foresightDrafter, rowsOfLevel } from "./foresight.ts";
import type { Foresight } from "./guesses.ts";
import { levelCurves } from "./levels.ts";
import { refuseOptions } from "./options.ts";
import { publishedDrafter } from "./published-drafter.ts";
import { type Accuracies, type Expectation, fitTrees } from "./sparse-trees.ts";
import type { Drafter } from "./speculate.ts";

export const rowOptions = {
  budget: budgetOption.describe(
    "drafted tokens and look-ahead rows in a round, together: the rows from which the next round's tokens are guessed count, and take about half; default: as many as the measured pass times and their chances make worth while",
  ),
  tree: z
    .enum(["adaptive", "published"])
    .default("adaptive")
    .describe(
      "adaptive: nodes and look-ahead rows where the text makes them worth their cost; published: the paper's sparse trees, from measured accuracies by its Markov chain, of `budget` nodes and rows, or as many as the machine's pass times make best",
    ),
  expectation: z
    .enum(["direct", "published"])
    .optional()
    .describe(
      'of tree: "published", how the Markov chain that chooses the trees reckons a pass that accepts nothing: direct: as decoding goes on, with all rows of the root; published: with a pass of its own after it, as the authors\' program does, whose trees come out so to the node; default: direct',
    ),
};

type Options = ForesightOptions & {
  readonly tree: "adaptive" | "published";
  readonly expectation?: Expectation;
};

/** Errors: `bad_option` for an expectation without the trees that it is about, a budget that does not fit a pass, or one too small for the published trees. */
export async function rowDrafter(decoding: Decoding, foresight: Foresight, options: Options): Promise<Drafter> {
  const { budget, topK, estimate, tree, expectation } = options;
  if (tree === "adaptive") refuseOptions(options, ["expectation"], 'tree: "adaptive"');
  if (tree === "adaptive" || budget === 0) return foresightDrafter(decoding, foresight, options);
  const { model, settings, signal, forest } = decoding;
  const { temperature } = settings;
  const { levels } = foresight;
  const width = rowsOfLevel(foresight);
  ensure(
    budget === undefined || budget > width,
    "bad_option",
    `budget: ${budget} is too small for tree: "published", whose nodes have look-ahead rows of their own: ask for at least ${1 + width}, or 0 for plain decoding`,
  );
  const root = levels * width;
  nodesOf(decoding, budget === undefined ? undefined : budget + root, 0);
  const measured = estimate === "measured";
  const curves = measured ? await levelCurves(model, foresight, { temperature, topK }, signal) : undefined;
  const accuracies = measuredAccuracies(levels, Math.min(10, ranks, topK), curves);
  const curve = budget === undefined ? await passCurve(model, signal) : undefined;
  const cost = (count: number): number => costOfLevels(foresight, count);
  const trees = fitTrees(accuracies, { budget, width, cost, curve, most: forest.maxRows - 1 - root, expectation });
  return publishedDrafter(decoding, foresight, trees, { topK, measured: curves?.every(wasTried) ?? false });
}

/** Whether guesses of a level were judged: those that are not finite never are, and a context may end before any. */
const wasTried = ({ byRank }: AcceptanceCounts): boolean => byRank.tried.some((trials) => trials > 0);

/** Chances of the guesses of each level and rank. Nothing is learnt within a request here, so what was measured counts in full. */
export function measuredAccuracies(levels: number, most: number, curves?: readonly AcceptanceCounts[]): Accuracies {
  return Array.from({ length: levels }, (_, i) => {
    const curve = curves && { chosen: curves[i], sampled: curves[i] };
    const estimated = createAcceptanceEstimate("chosen", curve, Infinity);
    let left = 1;
    return Array.from({ length: most }, (_, rank) => {
      const chance = Math.min(left, estimated.ofRank(rank));
      left -= chance;
      return chance;
    });
  });
}
