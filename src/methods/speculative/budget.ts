/** How many nodes to draft: what the machine's pass times and the draft's own confidence say is worth its time. */

import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { type PassCurve, passCurve, passSeconds } from "../../engine/pass-curve.ts";
import type { DraftTree } from "./tree.ts";

export const budgetOption = z
  .int()
  .min(0)
  .max(127)
  .optional()
  .describe(
    "nodes to draft a round; default: chosen from the machine's measured pass times and the draft's confidence",
  );

export interface BudgetController {
  readonly budget: number;
  /** Learns from a round: the estimated acceptance of each drafted node, and the seconds that drafting took. */
  observe(tree: DraftTree, accepted: number, draftSeconds: number): void;
}

/**
 * Chooses the budget m that maximises expected tokens a second,
 *     (1 + sum of the m largest acceptance estimates) / (target pass over m + 1 rows + draft seconds a node * m),
 * with running averages of the estimates by rank, calibrated by what was really accepted. A fixed budget stays as it is.
 */
export async function budgetController(
  decoding: Decoding,
  fixed: number | undefined,
  most = 64,
): Promise<BudgetController> {
  if (fixed !== undefined) return { budget: fixed, observe() {} };
  const curve = await passCurve(decoding.model);
  return decoding.model.state(`draft budget up to ${most}`, () =>
    adaptiveBudget(curve, Math.min(most, decoding.forest.maxRows - 1)),
  );
}

const rate = 0.05;
/** Where drafting does not pay, one round in so many still drafts a little, to notice when it would. */
const probeEvery = 24;
const probeBudget = 4;

export function adaptiveBudget(curve: PassCurve, most: number): BudgetController {
  const estimates = new Float64Array(most).map((_, rank) => 0.7 ** (rank + 1));
  let secondsPerNode = passSeconds(curve, 1) / 20;
  let calibration = 1;
  let best = Math.min(8, most);
  let rounds = 0;
  return {
    get budget() {
      if (best > 0) return best;
      return rounds++ % probeEvery === 0 ? Math.min(probeBudget, most) : 0;
    },
    observe({ values = [] }, accepted, draftSeconds) {
      if (values.length === 0) return;
      const ranked = [...values].sort((a, b) => b - a).slice(0, most);
      ranked.forEach((value, rank) => {
        estimates[rank] += rate * (value - estimates[rank]);
      });
      const expected = ranked.reduce((sum, value) => sum + value, 0);
      calibration += rate * (accepted / Math.max(expected, 0.1) - calibration);
      secondsPerNode += rate * (draftSeconds / values.length - secondsPerNode);
      let sum = 1;
      let bestRate = 1 / passSeconds(curve, 1);
      best = 0;
      for (let m = 1; m <= most; m++) {
        sum += calibration * estimates[m - 1];
        const perSecond = sum / (passSeconds(curve, m + 1) + secondsPerNode * m);
        if (perSecond > bestRate) [bestRate, best] = [perSecond, m];
      }
      // One node beyond the best keeps the next estimate alive, so that the budget can grow again.
      if (best > 0) best = Math.min(best + 1, most);
    },
  };
}
