/** The mixture of a model's distribution and a memory's. */
import { logSumExp } from "../../engine/shapers/logprobs.ts";
import type { Recollection } from "./recalling.ts";

/**
 * By the gap between two logarithms, in steps: what ln(e^x + e^y) exceeds the larger by, ln(1 + e^-gap), and its slope, the share of the smaller.
 * With two terms of the series from the nearest step the sum is exact within 1e-9, at a sixth of the time of a logarithm and an exponential.
 */
const [stepsPerUnit, farthest] = [128, 37];
const gaps = Float64Array.from({ length: farthest * stepsPerUnit + 1 }, (_, step) => step / stepsPerUnit);
const excesses = gaps.map((gap) => Math.log1p(Math.exp(-gap)));
const shares = gaps.map((gap) => 1 / (1 + Math.exp(gap)));

/** ln of 0, as published programs have it. */
const nothing = -1e4;

/**
 * ln((1 - λ) p + λ m) [vocabulary] of a model's logits, whose `normaliser` is the ln of the sum of their exponentials, and a memory. λ = 0 gives the
 * very logits, λ = 1 the memory alone. Tokens that both rule out stay out. In logarithms, and with no function called between: this is done for
 * every token of the vocabulary at every token of a text.
 */
export function mixed(
  logits: Float32Array,
  lambda: number,
  memory: Recollection,
  normaliser = logSumExp(logits),
): Float32Array {
  if (lambda === 0) return logits;
  const own = Math.log(1 - lambda) - normaliser;
  const result = new Float32Array(logits.length);
  const { table } = memory;
  if (table) {
    const others = Math.log(lambda) - table.normaliser;
    for (let token = 0; token < result.length; token++) {
      const x = logits[token] + own;
      const y = table.logits[token] + others;
      const gap = x > y ? x - y : y - x;
      const more = x > y ? x : y;
      if (!(gap < farthest)) {
        result[token] = more; // the smaller is beyond the last bit; where both are nothing, the gap is no number
        continue;
      }
      const step = (gap * stepsPerUnit + 0.5) | 0;
      const rest = step / stepsPerUnit - gap;
      const share = shares[step];
      result[token] = more + excesses[step] + rest * share * (1 + 0.5 * rest * (1 - share));
    }
    return result;
  }
  for (let token = 0; token < result.length; token++) {
    result[token] = lambda < 1 || logits[token] === -Infinity ? logits[token] + own : nothing;
  }
  for (const token of Array.from(memory.tokens)) {
    const p = (lambda < 1 ? Math.exp(logits[token] + own) : 0) + lambda * memory.probability(token);
    if (p > 0) result[token] = Math.log(p);
  }
  return result;
}
