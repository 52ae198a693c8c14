/** The distribution of a nearest-neighbour model (Khandelwal et al. 2020, equation 2), and its mixture with a language model's. */
import { exponential } from "../../engine/distribution.ts";
import { logSumExp } from "../../engine/shapers/logprobs.ts";
import type { Hits } from "./search.ts";

/** Tokens with their probabilities, likeliest first, the lowest id first among equals. */
export interface SparseLaw {
  readonly tokens: Int32Array;
  readonly probabilities: Float64Array;
}

/** Below this a token is not kept. */
const least = 1e-8;

/** The same, to be asked token by token. */
export function neighbourRecollection(hits: Hits, values: Int32Array, temperature: number) {
  const { tokens, probabilities } = neighbourLaw(hits, values, temperature);
  const known = new Map(Array.from(tokens, (token, i) => [token, probabilities[i]]));
  return { tokens, probability: (token: number): number => known.get(token) ?? 0 };
}

/** Softmax over the found entries of -distance / temperature, summed by token. Sums to 1 but for what is below 1e-8. */
export function neighbourLaw({ indices, distances }: Hits, values: Int32Array, temperature: number): SparseLaw {
  const shares = sharesOf(distances, temperature);
  const sums = new Map<number, number>();
  indices.forEach((entry, i) => {
    sums.set(values[entry], (sums.get(values[entry]) ?? 0) + shares[i]);
  });
  const kept = [...sums].filter(([, p]) => p > least).sort(([a, p], [b, q]) => q - p || a - b);
  return { tokens: Int32Array.from(kept, ([token]) => token), probabilities: Float64Array.from(kept, ([, p]) => p) };
}

/** The share of each found entry; the nearest distance is taken off first, so that nothing underflows as a whole. */
export function sharesOf(distances: Float64Array, temperature: number): Float64Array {
  const shares = distances.map((distance) => Math.exp((distances[0] - distance) / temperature));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / total);
}

/** ln of 0, as published programs have it. */
const nothing = -1e4;

/**
 * ln((1 - λ) p + λ m) [vocabulary] of a model's logits and a memory's probability of each token. λ = 0 gives the very logits, λ = 1 the memory alone.
 * Tokens that both rule out stay out.
 */
export function mixed(logits: Float32Array, lambda: number, memory: (token: number) => number): Float32Array {
  if (lambda === 0) return logits;
  const normaliser = logSumExp(logits);
  const result = new Float32Array(logits.length);
  for (let token = 0; token < logits.length; token++) {
    const own = lambda === 1 ? 0 : (1 - lambda) * exponential(Math.min(0, logits[token] - normaliser));
    const p = own + lambda * memory(token);
    result[token] = p > 0 ? Math.log(p) : logits[token] === -Infinity ? -Infinity : nothing;
  }
  return result;
}
