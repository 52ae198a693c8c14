/** The distribution of a nearest-neighbour model (Khandelwal et al. 2020, equation 2). */
import { ensure } from "../../errors.ts";
import type { Recollection } from "./recalling.ts";
import type { Hits } from "./search.ts";

/** Tokens with their probabilities, likeliest first, the lowest id first among equals. */
export interface SparseLaw {
  readonly tokens: Int32Array;
  readonly probabilities: Float64Array;
}

/** Below this a token is not kept. */
const least = 1e-8;

/** The same, to be asked token by token. */
export function neighbourRecollection(hits: Hits, values: Int32Array, temperature: number): Recollection {
  const { tokens, probabilities } = neighbourLaw(hits, values, temperature);
  const known = new Map(Array.from(tokens, (token, i) => [token, probabilities[i]]));
  return { tokens, probability: (token) => known.get(token) ?? 0 };
}

/** Softmax over the found entries of -distance / temperature, summed by token. Sums to 1 but for what is below 1e-8. Errors: `bad_option`. */
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
  ensure(temperature > 0, "bad_option", `temperature must be above 0, not ${temperature}`);
  const shares = distances.map((distance) => Math.exp((distances[0] - distance) / temperature));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / total);
}
