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

/** Mean of ln(1 / E): what stands for the noise of tokens that are not listed. */
const meanGumbel = 0.5772;

/**
 * The listed tokens in the order in which `law` wins the race, each with the chance that the target is won by it, too. What the listed
 * probabilities lack of 1 runs as one token, which is left out. A token's sum is ln p - ln E (Gumbel's form of the race); `sharpness`
 * is 1 over the scale of the error in ln p: of a draft model's law at a temperature, temperature / `logitError`.
 */
export function expectedWinners(law: SparseDistribution, sharpness: number, race: Race): SparseDistribution {
  const { tokens, probabilities } = law;
  const sums = Float64Array.from(tokens, (token, i) => sharpness * Math.log(probabilities[i] / arrival(race, token)));
  const order = [...sums.keys()].sort((a, b) => sums[b] - sums[a] || a - b);
  let rest = 1;
  for (const probability of probabilities) rest -= probability;
  const others = rest > 1e-6 ? sharpness * (Math.log(rest) + meanGumbel) : -Infinity;
  const most = Math.max(others, sums[order[0]]);
  let total = exponential(others - most);
  const chances = Float64Array.from(order, (i) => {
    const chance = exponential(sums[i] - most);
    total += chance;
    return chance;
  });
  return { tokens: Int32Array.from(order, (i) => tokens[i]), probabilities: chances.map((chance) => chance / total) };
}
