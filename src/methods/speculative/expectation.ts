/**
 * What a draft expects of the target: which tokens win the race at a position, likeliest first. A draft's logits are the target's but
 * for an error. Where the noise of the race is known, so are the sums that the race compares, again but for that error; and the
 * clearer a token leads among them, the surer it is the target's too. Without noise, at temperature 0, that is the draft's
 * likeliest tokens. The order is the order in which the draft's own race is won: its first k are a sample without replacement.
 */
import type { SparseDistribution } from "../../engine/distribution.ts";
import { exponential } from "../../engine/distribution.ts";
import { arrival, type Race } from "../../engine/race.ts";

/** By how much a draft's logits are off, as the scale of a logistic error; fitted to pylos before knossos, at temperatures from 0.4 to 1. */
export const logitError = 0.6;

/**
 * `draft`: the draft's own law at `temperature`. A token's sum is ln q - ln E (Gumbel's form of the race); in units of logits it is
 * `temperature` times that.
 */
export function expectedWinners(draft: SparseDistribution, temperature: number, race: Race): SparseDistribution {
  const sums = Array.from(
    draft.tokens,
    (token, i) => (temperature / logitError) * Math.log(draft.probabilities[i] / arrival(race, token)),
  );
  const order = [...sums.keys()].sort((a, b) => sums[b] - sums[a] || a - b);
  const weights = Float64Array.from(order, (i) => exponential(sums[i] - sums[order[0]]));
  let total = 0;
  for (const weight of weights) total += weight;
  return {
    tokens: Int32Array.from(order, (i) => draft.tokens[i]),
    probabilities: weights.map((weight) => weight / total),
  };
}
