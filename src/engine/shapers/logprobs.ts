/** Log-probabilities (natural) under the model's own distribution, before any shaping. */
import { ensure } from "../../errors.ts";
import { exponential } from "../distribution.ts";

/** ln of the sum of exp(logits). Errors: `runtime_failed` on NaN, +Infinity or no finite logit. */
export function logSumExp(logits: ArrayLike<number>): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += exponential(logits[i] - max);
  ensure(
    sum >= 1 && sum < Infinity,
    "runtime_failed",
    "the model produced logits that are NaN or have no finite entry",
  );
  return max + Math.log(sum);
}

/** Log-probability of one token; -Infinity for a logit of -Infinity. Pass `normaliser` to share one sum among calls. */
export function logSoftmaxAt(logits: ArrayLike<number>, token: number, normaliser = logSumExp(logits)): number {
  return Math.min(0, logits[token] - normaliser);
}

/**
 * The n most likely tokens with their raw log-probabilities, best first, lowest id first among equals; fewer when fewer
 * have a finite logit.
 */
export function topLogprobs(
  logits: ArrayLike<number>,
  n: number,
  normaliser = logSumExp(logits),
): { token: number; raw: number }[] {
  const top: number[] = [];
  if (n <= 0) return [];
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token];
    if (logit === -Infinity || (top.length === n && logit <= logits[top[n - 1]])) continue;
    let place = top.length < n ? top.length : n - 1;
    for (; place > 0 && logits[top[place - 1]] < logit; place--) top[place] = top[place - 1];
    top[place] = token;
  }
  return top.map((token) => ({ token, raw: logSoftmaxAt(logits, token, normaliser) }));
}
