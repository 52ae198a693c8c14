/**
 * What the authors' program does where this one does better, kept for comparison: how it makes a draft of the most visited paths
 * of the search, and the verification that it uses when sampling. The latter is NOT lossless: what it emits is not
 * distributed as the target. It draws an independent token for every candidate and position, so that candidates which share a
 * prefix get several chances, takes the longest match, and after a mismatch discards the token drawn and draws another.
 */
import { addPath, childrenOf, createTree, type DraftTree } from "../tree.ts";
import type { Verdict } from "../verify.ts";
import type { Continuations, SearchTree } from "./search.ts";

interface Path {
  tokens: number[];
  /** Share of all visits that passed the path's last node. */
  share: number;
  /** The heaviest successor of the path's last pair, with its part of the share. */
  next?: { token: number; share: number };
}

interface PublishedDraft {
  /** How many of the most visited paths, the empty one counted. */
  paths: number;
  /**
   * How a too large draft is cut. "trie": later, by the caller, the least visited leaves. "repo": paths go, the one with the
   * most distinct tokens first, until the paths' distinct tokens add up to the budget.
   */
  cut: "trie" | "repo";
  budget: number;
}

/** Section 2: the most visited paths, each extended by its heaviest successor, as one tree; its shares are those of visits. */
export function mostVisited(search: SearchTree, { paths: count, cut, budget }: PublishedDraft): Continuations {
  const paths = pathsOf(search, count);
  const tree = createTree("chosen");
  if (cut === "repo") {
    for (const { tokens, share } of cutPaths(paths, budget)) addPath(tree, tokens, Infinity, share);
  } else {
    for (const { tokens, share } of paths) addPath(tree, tokens, Infinity, share);
    for (const { tokens, next } of paths) if (next) addPath(tree, [...tokens, next.token], Infinity, next.share);
  }
  const visited = [1, ...tree.values!];
  const nodes: Continuations = {
    tokens: [search.tokens[0], ...tree.tokens],
    parents: [-1, ...tree.parents],
    shares: [1],
    reach: [1],
  };
  for (let node = 1; node < visited.length; node++) {
    const parent = nodes.parents[node];
    nodes.shares.push(visited[node] / visited[parent]);
    nodes.reach.push(nodes.reach[parent] * nodes.shares[node]);
  }
  return nodes;
}

/** The most visited nodes as the tokens from the root to them, most visited first; the root itself is counted and left out. */
function pathsOf({ tokens, parents, visits, rowOf }: SearchTree, count: number): Path[] {
  const order = Array.from(tokens, (_, node) => node).sort((a, b) => visits[b] - visits[a] || a - b);
  const kept = order.slice(0, count).filter((node) => node !== 0);
  return kept.map((node) => {
    const path: number[] = [];
    for (let up = node; up !== 0; up = parents[up]) path.unshift(tokens[up]);
    const share = visits[node] / visits[0];
    const row = rowOf(node);
    // The quotient first: it is at most 1, so that rounding never lifts a share above its parent's.
    const next = row && { token: row.tokens[0], share: share * (row.weights[0] / row.total) };
    return { tokens: path, share, next };
  });
}

/** Extended paths without duplicates, of which the one with the most distinct tokens goes until they fit. */
function cutPaths(paths: Path[], budget: number): Path[] {
  const distinct = new Map<string, Path>();
  for (const { tokens, share, next } of paths) {
    const path = next ? [...tokens, next.token] : tokens;
    if (!distinct.has(path.join())) distinct.set(path.join(), { tokens: path, share });
  }
  const kept = [...distinct.values()];
  const sizes = kept.map(({ tokens }) => new Set(tokens).size);
  while (sizes.reduce((total, size) => total + size, 0) > budget) {
    const longest = sizes.lastIndexOf(Math.max(...sizes));
    kept.splice(longest, 1);
    sizes.splice(longest, 1);
  }
  return kept;
}

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
  const reasons = best.map(() => "in the candidate with the longest match");
  const token = sampleAt(best[best.length - 1] ?? 0);
  return { path: best, token, reasons: [...reasons, "drawn afresh (published rule, not lossless)"] };
}
