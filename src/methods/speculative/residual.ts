/** What is left of the target's distribution while children drawn from a draft's are tried one after another. */
import type { SparseDistribution } from "../../engine/distribution.ts";
import { sum } from "./draws.ts";

export interface Residual {
  /** R[y] / q[y] for the entry of the draft's distribution: the child is accepted with this probability (1 and more: always). */
  ratio(entry: number): number;
  /** The child was rejected: R becomes norm(max(R - q, 0)), and without replacement q loses the child. */
  reject(entry: number): void;
  /** R over the whole vocabulary, up to its norm, which is `mass`. */
  weights(): { weights: Float64Array; mass: number };
}

/** `target` [V] sums to 1 and is only read; `replacement`: siblings are drawn independently. */
export function createResidual(
  target: Float64Array,
  { tokens, probabilities }: SparseDistribution,
  replacement: boolean,
): Residual {
  // R differs from p, up to its norm, on the draft's support only: `kept` is R there, `outside` is p's mass elsewhere.
  // Masses are sums of what is left, never differences from 1, so that they stay exact when little is left.
  const dense = target.slice();
  let kept = Float64Array.from(tokens, (token) => dense[token]);
  for (const token of tokens) dense[token] = 0;
  const outside = sum(dense);
  let keptMass = outside + sum(kept);
  const proposal = probabilities.slice();
  return {
    ratio: (entry) => kept[entry] / keptMass / (proposal[entry] / sum(proposal)),
    reject(entry) {
      const scale = keptMass / sum(proposal);
      const residual = kept.map((mass, i) => Math.max(mass - proposal[i] * scale, 0));
      residual[entry] = 0; // by the rule too, up to rounding: it was rejected, so its R was below its q
      const residualMass = outside + sum(residual);
      // Nothing left means that R and q agree everywhere, where rejection has probability 0 but for rounding: R stays.
      if (residualMass > 0) [kept, keptMass] = [residual, residualMass];
      if (!replacement) proposal[entry] = 0;
    },
    weights() {
      for (let i = 0; i < tokens.length; i++) dense[tokens[i]] = kept[i];
      return { weights: dense, mass: keptMass };
    },
  };
}
