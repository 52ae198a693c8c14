/** How far a student's distribution is from its teacher's. */
import { add, exp, log, multiply, reduceL1, reduceSum, subtract, type Tensor } from "../tensor/index.ts";

/**
 * `forward-kl`: D(p || q) = sum p (log p - log q) of teacher p and student q. `reverse-kl`: D(q || p). `jsd`: the mean of D(p || m)
 * and D(q || m) with m = (p + q) / 2 (Agarwal et al. 2024, equation 2, with beta 1/2). `total-variation`: half the sum of |p - q|, which
 * is one less the share of drafted tokens that exact verification accepts (Zhou et al. 2024, corollary 3.1).
 */
export const divergences = ["forward-kl", "reverse-kl", "jsd", "total-variation"] as const;
export type Divergence = (typeof divergences)[number];

/** Of log-probabilities [positions, classes] on both sides: [positions], in nats. */
export function divergenceOf(divergence: Divergence, teacher: Tensor, student: Tensor): Tensor {
  const kl = (from: Tensor, to: Tensor): Tensor => reduceSum(multiply(exp(from), subtract(from, to)), -1);
  if (divergence === "forward-kl") return kl(teacher, student);
  if (divergence === "reverse-kl") return kl(student, teacher);
  if (divergence === "total-variation") return multiply(reduceL1(subtract(exp(teacher), exp(student)), -1), 0.5);
  const mean = log(add(multiply(add(exp(teacher), exp(student)), 0.5), 1e-30)); // two masses of 0 have a mean of 0
  return multiply(add(kl(teacher, mean), kl(student, mean)), 0.5);
}
