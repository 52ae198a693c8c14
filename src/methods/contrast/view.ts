/** A next-token law as contrasts read it: logits, and what makes log-probabilities of them. All sums are in float64. */
import { logSumExp } from "../../engine/shapers/logprobs.ts";
import { VentrisError } from "../../errors.ts";

export interface View {
  /** [vocabulary]. */
  readonly logits: ArrayLike<number>;
  /** ln of the sum of exp(logits). */
  readonly normaliser: number;
}

/** Errors: `runtime_failed` naming whose logits are NaN, infinite or all absent. */
export function viewOf(logits: ArrayLike<number>, whose: string): View {
  try {
    return { logits, normaliser: logSumExp(logits) };
  } catch (cause) {
    if (!(cause instanceof VentrisError)) throw cause;
    throw new VentrisError("runtime_failed", `${whose} gave logits that are NaN or have no finite entry`, { cause });
  }
}

export const logProbability = ({ logits, normaliser }: View, token: number): number => logits[token] - normaliser;

/** As the amateur's side of a difference: a token that it rules out would else win by an infinite margin. */
export const flooredLogProbability = (view: View, token: number): number =>
  Math.max(lowest, logProbability(view, token));
const lowest = -50;

/**
 * Adaptive plausibility (Li et al. 2022, section 3.3): the tokens, ascending, that the expert gives at least `alpha` times the probability of its
 * best; all that it does not rule out for 0. The best token is always among them.
 */
export function plausibleTokens({ logits }: View, alpha: number): number[] {
  let best = -Infinity;
  for (let token = 0; token < logits.length; token++) if (logits[token] > best) best = logits[token];
  const bound = alpha === 0 ? -Infinity : best + Math.log(alpha);
  const kept: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (logits[token] >= bound && logits[token] > -Infinity) kept.push(token);
  }
  return kept;
}

/** How far two laws are apart, with M their mean: `standard` is the mean of KL(p||M) and KL(q||M); `reversed` of KL(M||p) and KL(M||q). */
export const divergences = ["reversed", "standard"] as const;
export type Divergence = (typeof divergences)[number];

/** Jensen-Shannon divergence of two laws, nats. */
export function divergence(p: View, q: View, kind: Divergence): number {
  let sum = 0;
  for (let token = 0; token < p.logits.length; token++) {
    const [logP, logQ] = [logProbability(p, token), logProbability(q, token)];
    const [a, b] = [Math.exp(logP), Math.exp(logQ)];
    const mean = (a + b) / 2;
    if (mean === 0) continue;
    const logMean = Math.log(mean);
    if (kind === "reversed") sum += mean * (logMean - (Math.max(logP, rarest) + Math.max(logQ, rarest)) / 2);
    else sum += ((a > 0 ? a * (logP - logMean) : 0) + (b > 0 ? b * (logQ - logMean) : 0)) / 2;
  }
  return sum;
}
/** A token that one law rules out makes the reversed divergence infinite, whatever else there is. */
const rarest = -1e4;
