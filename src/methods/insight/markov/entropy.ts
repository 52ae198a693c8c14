/**
 * What a head's distributions say (sections 1 to 3 of our reading): how far they are from deterministic, what states tell of the next token, and whether stated
 * uncertainty equals loss. All in nats; rows are distributions, and 0 · ln 0 = 0.
 */
import { softmax } from "../../../engine/distribution.ts";
import { ensure } from "../../../errors.ts";
import { requireIndices } from "../../../numbers.ts";
import { requireLength, requireRows, requireSameTokens, requireShares } from "./checks.ts";
import { columnMeans, type Rows, rowOf } from "./rows.ts";

/** A divergence of Markov categories: Kullback–Leibler, total variation, or Rényi's of an order that is not 1. */
export type Divergence = "kl" | "total-variation" | { readonly renyi: number };

/**
 * Categorical entropy D(diag(q) ‖ q ⊗ q), between "draw once and copy" and "draw twice" (Perrone 2022), in closed form: Shannon's entropy, Gini and Simpson's 1 - Σ q²,
 * or Rényi's entropy of order 2 - α. 0 just where q is deterministic. Errors: `bad_shape` for an entry that is no share.
 */
export function categoricalEntropy(q: ArrayLike<number>, divergence: Divergence = "kl"): number {
  requireShares(q);
  let sum = 0;
  if (divergence === "kl") {
    for (let v = 0; v < q.length; v++) if (q[v] > 0) sum -= q[v] * Math.log(q[v]);
    return Math.max(0, sum);
  }
  if (divergence === "total-variation") {
    for (let v = 0; v < q.length; v++) sum += q[v] * q[v];
    return Math.max(0, 1 - sum);
  }
  const { renyi } = divergence;
  ensure(Number.isFinite(renyi) && renyi >= 0 && renyi !== 1, "bad_option", () => {
    return `the order of Rényi's divergence is ${renyi}, and must be 0 or more and not 1 (which is "kl")`;
  });
  for (let v = 0; v < q.length; v++) if (q[v] > 0) sum += q[v] ** (2 - renyi);
  return Math.max(0, Math.log(sum) / (renyi - 1));
}

/** KL(p ‖ q). Infinite where q leaves out what p has. Errors: `bad_shape` for distributions of different lengths, and for entries that are no shares. */
export function klDivergence(p: ArrayLike<number>, q: ArrayLike<number>): number {
  requireSameTokens(p, q);
  requireShares(p);
  requireShares(q);
  let sum = 0;
  for (let v = 0; v < p.length; v++) if (p[v] > 0) sum += p[v] * Math.log(p[v] / q[v]);
  return Math.max(0, sum);
}

/** Jensen-Shannon divergence of two distributions, nats. Errors: `bad_shape` for distributions of different lengths, and for entries that are no shares. */
export function jensenShannon(p: ArrayLike<number>, q: ArrayLike<number>): number {
  requireSameTokens(p, q);
  requireShares(p);
  requireShares(q);
  let sum = 0;
  for (let v = 0; v < p.length; v++) {
    const middle = (p[v] + q[v]) / 2;
    if (p[v] > 0) sum += 0.5 * p[v] * Math.log(p[v] / middle);
    if (q[v] > 0) sum += 0.5 * q[v] * Math.log(q[v] / middle);
  }
  return Math.max(0, sum);
}

/** Softmax of logits, in float64; a logit of -∞ is a token that cannot be. Errors: `bad_shape` for one that is NaN, or none that is finite. */
export function lawOf(logits: ArrayLike<number>): Float64Array {
  let most = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < logits.length; v++) most = Math.max(most, logits[v]);
  ensure(Number.isFinite(most), "bad_shape", "logits: there is no finite largest one, or one is not a number");
  return softmax(logits);
}

const meanEntropy = (q: Rows): number => {
  let sum = 0;
  for (let row = 0; row < q.count; row++) sum += categoricalEntropy(rowOf(q, row)) / q.count;
  return sum;
};

/**
 * I(H; W) = mean KL(q_c ‖ q̄) = H(q̄) - mean H(q_c): what a state tells of the token that the model itself predicts from it. The mean q̄ is of these contexts, which
 * makes the figure too small where they are few. Errors: `bad_option` for rows that are no matrix; `bad_shape` for such as are no distributions.
 */
export function statePredictionInformation(q: Rows): number {
  return Math.max(0, categoricalEntropy(columnMeans(q)) - meanEntropy(q));
}

/** Of a model's loss: what is the source's own, and what the model adds. Needs the source's true distributions. */
export interface LossSplit {
  /** E[-ln q(w)] = entropy + divergence. */
  readonly loss: number;
  /** Mean H(p_c). */
  readonly entropy: number;
  /** Mean KL(p_c ‖ q_c). */
  readonly divergence: number;
}

/** The mean loss of stated distributions, split into the truth's entropy and the divergence from it, in nats. Errors: `bad_option` for rows that are no matrix; `bad_shape` for other contexts, or no distributions. */
export function splitLoss(p: Rows, q: Rows): LossSplit {
  checkAlike(p, q);
  let [entropy, divergence, loss] = [0, 0, 0];
  for (let row = 0; row < p.count; row++) {
    const [truth, stated] = [rowOf(p, row), rowOf(q, row)];
    entropy += categoricalEntropy(truth) / p.count;
    divergence += klDivergence(truth, stated) / p.count;
    for (let v = 0; v < p.width; v++) if (truth[v] > 0) loss -= (truth[v] * Math.log(stated[v])) / p.count;
  }
  return { loss, entropy, divergence };
}

/** Loss on the tokens that came minus mean stated entropy: above 0 a model is surer than it is right, below less sure. 0 is necessary for calibration, not enough. Errors: `bad_option` for rows that are no matrix, and for tokens that they have not. */
export function calibrationGap(q: Rows, tokens: ArrayLike<number>): number {
  requireRows("q", q);
  requireLength("tokens", tokens, q.count, () => "q");
  requireIndices("tokens", tokens, q.width);
  let loss = 0;
  for (let row = 0; row < q.count; row++) loss -= Math.log(rowOf(q, row)[tokens[row]]) / q.count;
  return loss - meanEntropy(q);
}

/**
 * Two sets of contexts (topics, sources): mean Jensen–Shannon divergence between their distributions, and the mean distance of their states between the sets over that within them. Errors: `bad_option` for
 * rows that are no matrix, and for a set of one state; `bad_shape` for other widths, or no distributions.
 */
export function representationDivergence(
  a: { readonly q: Rows; readonly states: Rows },
  b: { readonly q: Rows; readonly states: Rows },
): { readonly divergence: number; readonly distance: number } {
  checkAlike(a.q, b.q, false);
  checkAlike(a.states, b.states, false);
  for (const { states } of [a, b])
    ensure(states.count > 1, "bad_option", "representationDivergence: one state has no distance within its set");
  let divergence = 0;
  for (let i = 0; i < a.q.count; i++)
    for (let j = 0; j < b.q.count; j++)
      divergence += jensenShannon(rowOf(a.q, i), rowOf(b.q, j)) / (a.q.count * b.q.count);
  const mean = (x: Rows, y: Rows, same: boolean): number => {
    let [sum, count] = [0, 0];
    for (let i = 0; i < x.count; i++)
      for (let j = same ? i + 1 : 0; j < y.count; j++) {
        const [u, v] = [rowOf(x, i), rowOf(y, j)];
        let squares = 0;
        for (let at = 0; at < x.width; at++) squares += (u[at] - v[at]) ** 2;
        sum += Math.sqrt(squares);
        count++;
      }
    return sum / count;
  };
  const within = (mean(a.states, a.states, true) + mean(b.states, b.states, true)) / 2;
  return { divergence, distance: mean(a.states, b.states, false) / within };
}

/** Errors: `bad_option` for rows that are no matrix; `bad_shape` for such as are of other widths or counts. */
export function checkAlike(a: Rows, b: Rows, counts = true): void {
  requireRows("a", a);
  requireRows("b", b);
  ensure(
    a.width === b.width && (!counts || a.count === b.count),
    "bad_shape",
    `rows of [${a.count}, ${a.width}] and of [${b.count}, ${b.width}] do not belong to the same contexts`,
  );
}
