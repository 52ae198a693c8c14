/**
 * Typical acceptance (Cai et al. 2024, Medusa, section 2.3.1): a drafted token is kept when the target finds it likely enough for how sure it
 * is, p(token) > min(epsilon, alpha · exp(-entropy)); of the longest such paths the likeliest is taken. NOT lossless: likely tokens come more
 * often than the target would say them. At temperature 0 it is the exact rule, as the target is then one token.
 */
import { z } from "zod";
import type { Verifier } from "./speculate.ts";
import { childrenOf } from "./tree.ts";
import { verify } from "./verify.ts";

export const acceptanceOptions = {
  acceptance: z
    .enum(["exact", "typical"])
    .default("exact")
    .describe(
      "exact: plain sampling's own tokens; typical: the published rule, which keeps what is likely enough and so changes the distribution (lossy; the same at temperature 0)",
    ),
  epsilon: z
    .number()
    .gt(0)
    .max(1)
    .optional()
    .describe(
      "of typical acceptance: a drafted token that is likelier than this is kept: lower keeps more and strays further from the model; default: 0.09",
    ),
  alpha: z
    .number()
    .gt(0)
    .max(1)
    .optional()
    .describe(
      "of typical acceptance: a drafted token that is likelier than this times exp(-entropy) is kept, which lowers the bar where the model is unsure; lower keeps more; default: 0.3",
    ),
};

export interface Typical {
  readonly acceptance: "exact" | "typical";
  readonly epsilon?: number;
  readonly alpha?: number;
}

export const isLossless = ({ acceptance }: Typical): boolean => acceptance === "exact";

export function typicalAcceptance({ epsilon = 0.09, alpha = 0.3 }: Omit<Typical, "acceptance">): Verifier {
  return (tree, target, draws) => {
    const { probabilitiesAt } = target;
    if (!probabilitiesAt) return verify(tree, target, draws);
    const children = childrenOf(tree);
    let best: { path: number[]; score: number } = { path: [], score: 0 };
    const visit = (node: number, path: number[], score: number): void => {
      const longer = path.length - best.path.length;
      if (longer > 0 || (longer === 0 && score > best.score)) best = { path, score };
      if (children[node].length === 0) return;
      const law = probabilitiesAt(node);
      const least = Math.min(epsilon, alpha * Math.exp(-entropyOf(law)));
      for (const child of children[node]) {
        const probability = law[tree.tokens[child - 1]];
        if (probability > least) visit(child, [...path, child], score + Math.log(probability));
      }
    };
    visit(0, [], 0);
    const { path } = best;
    const reasons = path.map(() => "likely enough for how sure the target is (typical acceptance, not lossless)");
    return { path, token: target.sampleAt(path.at(-1) ?? 0), reasons: [...reasons, "the target's own draw"] };
  };
}

/** Nats. */
export function entropyOf(law: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < law.length; i++) if (law[i] > 0) sum -= law[i] * Math.log(law[i]);
  return sum;
}
