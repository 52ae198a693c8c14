/**
 * ADED (Liu et al. 2024, later Adaptix): drafts without a draft model. A table of tri-gram weights stands in for the target; a
 * tree search over it finds likely continuations; and what was generated is credited in the table, so that drafts improve
 * while serving. Where the authors' program and this one differ, an option named "repo" gives theirs.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import type { Model } from "../../../engine/model.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { budgetOption } from "../budget.ts";
import { createDrafting } from "../drafting.ts";
import { type Draws, sum } from "../draws.ts";
import { speculate, type Verifier } from "../speculate.ts";
import { growTopK } from "../top-k/index.ts";
import { addPath, createTree, type DraftTree, depthsOf, selectNodes } from "../tree.ts";
import { decodeTable } from "./file.ts";
import { verifyPublished } from "./published.ts";
import { type SearchOptions, type SearchTree, searchTable } from "./search.ts";
import type { TrigramTable } from "./table.ts";
import { createTable } from "./table.ts";

export { type BuildOptions, createTableBuilder, type TableBuilder } from "./build.ts";
export { decodeTable, encodeTable } from "./file.ts";
export { verifyPublished } from "./published.ts";
export { createTable, type TableOptions, type TrigramTable } from "./table.ts";

export interface UpdateOptions {
  /** Added to the weight of each tri-gram in the window, once per round; 0: the table does not learn. */
  step?: number;
  /** No weight is raised above this. */
  maximumWeight?: number;
  /** The last tokens of the text that are credited. */
  window?: number;
}

/**
 * Section 3, run first in every round: credits the tri-grams among the last tokens of the text. The window slides, so that a
 * tri-gram is credited once per round for as long as it is inside.
 */
export function updateTable(table: TrigramTable, context: ArrayLike<number>, options: UpdateOptions = {}): void {
  const { step = 0.04, maximumWeight = 3, window = 16 } = options;
  ensure(
    step >= 0 && maximumWeight > 0,
    "bad_option",
    `step and maximumWeight must be positive, not ${step}, ${maximumWeight}`,
  );
  ensure(Number.isInteger(window) && window >= 0, "bad_option", `window must be a whole number, not ${window}`);
  if (step === 0) return;
  for (let i = Math.max(0, context.length - window); i + 2 < context.length; i++) {
    table.credit(context[i], context[i + 1], context[i + 2], step, maximumWeight);
  }
}

export interface AdedOptions extends SearchOptions {
  /** "best-first": no search; the continuations with the largest products of normalised weights. */
  search?: "puct" | "best-first";
  /** Most visited paths that become drafts, the empty one counted. */
  paths?: number;
  /** Nodes to draft, at most. */
  budget?: number;
  /**
   * How too large a draft is cut. "trie": the least visited leaves go. "repo": paths go, the one with the most distinct
   * tokens first, until the paths' distinct tokens add up to the budget.
   */
  cut?: "trie" | "repo";
  /** Levels that can still be used. */
  depth?: number;
  /** Tokens that end the text: nothing is proposed after them. */
  endTokens?: ReadonlySet<number>;
}

/** Sections 1 and 2: the draft tree after `context`, whose last token is the root. Empty when the last pair is unknown. */
export async function draftFromTable(
  table: TrigramTable,
  context: ArrayLike<number>,
  options: AdedOptions,
  draws: Draws,
): Promise<DraftTree> {
  const { search = "puct", budget = 64, cut = "trie", depth = Infinity, endTokens } = options;
  const [first, second] = [context[context.length - 2], context[context.length - 1]];
  if (context.length < 2 || !table.find(first, second)) return createTree("chosen");
  if (search === "best-first") return bestFirst(table, first, second, options, draws);

  const paths = mostVisited(searchTable(table, first, second, options, draws), options);
  const usable = (path: number[]) => {
    const end = path.findIndex((token) => endTokens?.has(token));
    return path.slice(0, end < 0 ? depth : Math.min(depth, end + 1));
  };
  const tree = createTree("chosen");
  if (cut === "trie") {
    for (const { tokens, share } of paths) addPath(tree, usable(tokens), Infinity, share);
    for (const { tokens, next } of paths)
      if (next) addPath(tree, usable([...tokens, next.token]), Infinity, next.share);
  } else {
    for (const { tokens, share } of cutPaths(paths, budget)) addPath(tree, usable(tokens), Infinity, share);
  }
  // Shares never rise along a path, and parents were added first: the nodes of the largest shares are a tree.
  const nodes = tree.tokens.map((_, i) => i + 1).sort((a, b) => tree.values![b - 1] - tree.values![a - 1] || a - b);
  const depths = depthsOf(tree);
  return selectNodes(
    tree,
    nodes.slice(0, budget).sort((a, b) => depths[a] - depths[b] || a - b),
  );
}

interface Path {
  tokens: number[];
  /** Share of all visits that passed the path's last node. */
  share: number;
  /** The heaviest successor of the path's last pair, with its part of the share. */
  next?: { token: number; share: number };
}

/** The most visited nodes as the tokens from the root to them, most visited first; the root itself is counted and left out. */
function mostVisited({ count, tokens, parents, visits, rows }: SearchTree, { paths = 24 }: AdedOptions): Path[] {
  const order = Array.from({ length: count }, (_, node) => node).sort((a, b) => visits[b] - visits[a] || a - b);
  const kept = order.slice(0, paths).filter((node) => node !== 0);
  return kept.map((node) => {
    const path: number[] = [];
    for (let up = node; up !== 0; up = parents[up]) path.unshift(tokens[up]);
    const share = visits[node] / visits[0];
    const row = rows[node];
    // The quotient first: it is at most 1, so that rounding never lifts a share above its parent's.
    const next = row && {
      token: row.tokens[0],
      share: share * (row.weights[0] / sum(Float64Array.from(row.weights))),
    };
    return { tokens: path, share, next };
  });
}

/** The authors' cut: extended paths without duplicates, of which the one with the most distinct tokens goes until they fit. */
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

/** The same table without search: the top-k tree with each row's normalised weights as the draft's distribution. */
async function bestFirst(
  table: TrigramTable,
  first: number,
  second: number,
  { budget = 64, depth = Infinity, endTokens }: AdedOptions,
  draws: Draws,
): Promise<DraftTree> {
  const drafting = createDrafting({
    kind: "chosen",
    draws,
    depth,
    endTokens,
    async score(tree, nodes) {
      const tokenAt = (node: number) => (node === 0 ? second : tree.tokens[node - 1]);
      return nodes.map((node) => {
        const row = table.find(node === 0 ? first : tokenAt(tree.parents[node - 1]), tokenAt(node));
        const weights = Float64Array.from(row?.weights ?? []);
        const total = sum(weights);
        return { tokens: Int32Array.from(row?.tokens ?? []), probabilities: weights.map((weight) => weight / total) };
      });
    },
  });
  return selectNodes(drafting.tree, await growTopK(drafting, { budget, width: budget }));
}

/** A model's own table, used when no other is named. */
const ownTable = "trigrams.bin";

/** The learning table of a model, shared by all its requests. Errors: `bad_file`, `unavailable`. */
async function openTable(model: Model, reference: string | undefined): Promise<TrigramTable> {
  const facts = { vocabularySize: model.config.vocabularySize, fingerprint: model.tokenizer?.fingerprint ?? "" };
  const path = reference ?? join(model.folder, ownTable);
  if (reference === "empty" || (reference === undefined && !existsSync(path))) return createTable(facts);
  const bytes = await readFile(path).catch((cause) => {
    throw new VentrisError("unavailable", `table: ${path} cannot be read: ${cause.message}`, { cause });
  });
  return decodeTable(bytes, path, facts);
}

export const aded = defineMethod({
  name: "aded",
  family: "speculative",
  summary: "searches a table of tri-grams that learns from what the target says; needs no draft model",
  source: "Liu et al. 2024, arXiv 2407.12021",
  lossless: ({ verification }) => verification === "exact",
  options: z.strictObject({
    table: z
      .string()
      .min(1)
      .optional()
      .describe(`tri-gram table to start from, or "empty"; default: the model's own ${ownTable}, else empty`),
    isolate: z
      .boolean()
      .default(false)
      .describe("learn for this request only, so that no text passes between conversations"),
    primePrompt: z.boolean().default(false).describe("credit all tri-grams of the prompt once, not only its last ones"),
    verification: z
      .enum(["exact", "published"])
      .default("exact")
      .describe("published: the authors' sampling, which is NOT lossless"),
    budget: budgetOption,
    iterations: z.int().min(1).max(2000).default(60).describe("rounds of the tree search"),
    paths: z.int().min(1).max(500).default(24).describe("most visited paths that become drafts"),
    pathLength: z.int().min(2).max(16).default(4).describe("longest path of the search, in pairs"),
    c1: z.number().min(0).default(32).describe("exploration constant"),
    c2: z.number().positive().default(8).describe("exploration constant"),
    search: z
      .enum(["puct", "best-first"])
      .default("puct")
      .describe("best-first: no search, the largest products of weights"),
    reward: z.enum(["path-weight", "repo"]).default("path-weight").describe("repo: the authors' program's reward"),
    cut: z.enum(["trie", "repo"]).default("trie").describe("repo: the authors' program's cut of too large drafts"),
    step: z
      .number()
      .min(0)
      .default(0.04)
      .describe("weight added to a seen tri-gram each round; 0: the table does not learn"),
    maximumWeight: z.number().positive().default(3).describe("no weight is raised above this"),
    window: z.int().min(0).max(4096).default(16).describe("last tokens whose tri-grams are credited each round"),
  }),
  async decode(decoding, options) {
    const shared = await decoding.model.state(`aded ${options.table}`, () => openTable(decoding.model, options.table));
    const table = options.isolate ? createTable(shared, shared) : shared;
    const endTokens = new Set(decoding.model.tokenizer?.endTokens ?? decoding.model.config.endTokens);
    if (options.primePrompt) updateTable(table, decoding.prompt, { ...options, window: decoding.prompt.length });
    await speculate(
      decoding,
      {
        async propose({ text, depth, draws }) {
          updateTable(table, text, options);
          const { budget = 16 } = options;
          if (budget === 0) return createTree("chosen");
          return draftFromTable(table, text, { ...options, budget, depth, endTokens }, draws);
        },
      },
      options.verification === "exact" ? undefined : publishedVerifier,
    );
  },
});

const publishedVerifier: Verifier = (tree, target, draws) =>
  verifyPublished(tree, (node) => {
    const probabilities = target.probabilitiesAt?.(node);
    return probabilities ? draws.choose("residual", probabilities, 1) : target.sampleAt(node);
  });
