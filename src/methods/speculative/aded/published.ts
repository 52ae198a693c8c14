/**
 * The verification that the authors' program uses when sampling. NOT lossless: what it emits is not distributed as the target.
 * It draws an independent token for every candidate and position, so that candidates which share a prefix get several chances,
 * takes the longest match, and after a mismatch discards the token drawn and draws another. Kept for comparison only.
 */
import { childrenOf, type DraftTree } from "../tree.ts";
import type { Verdict } from "../verify.ts";

/**
 * `sampleAt` draws from the target after a node, independently at each call. Of several longest matches the first counts, as
 * in the program, whose candidates are the tree's leaves.
 */
export function verifyPublished(tree: DraftTree, sampleAt: (node: number) => number): Verdict {
  const children = childrenOf(tree);
  let best: number[] = [];
  for (let leaf = 1; leaf <= tree.tokens.length; leaf++) {
    if (children[leaf].length > 0) continue;
    const candidate: number[] = [];
    for (let node = leaf; node !== 0; node = tree.parents[node - 1]) candidate.unshift(node);
    const mismatch = candidate.findIndex((node, i) => sampleAt(candidate[i - 1] ?? 0) !== tree.tokens[node - 1]);
    const matched = mismatch < 0 ? candidate : candidate.slice(0, mismatch);
    if (matched.length > best.length) best = matched;
  }
  const reasons = best.map((node) => `${tree.tokens[node - 1]}: in the candidate with the longest match`);
  const token = sampleAt(best[best.length - 1] ?? 0);
  return { path: best, token, reasons: [...reasons, `${token} drawn afresh (published rule, not lossless)`] };
}
