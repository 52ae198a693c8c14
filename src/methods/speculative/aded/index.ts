/**
 * ADED (Liu et al. 2024, later Adaptix): drafts without a draft model. A table of tri-gram weights stands in for the target; a
 * tree search over it finds likely continuations; and what was generated is credited in the table, so that drafts improve
 * while serving. The paper's program credits timidly and drafts a fixed number of nodes; by default, this one forgets quickly
 * and drafts what is worth its time. The README has the options that give the published method.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import type { Model } from "../../../engine/model.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { budgetOption, economy, most } from "../budget.ts";
import { verifications } from "../draft-model.ts";
import type { Draws } from "../draws.ts";
import { speculate, type Verifier } from "../speculate.ts";
import { addNode, createTree, type DraftTree } from "../tree.ts";
import { createContexts } from "./contexts.ts";
import { decodeTable } from "./file.ts";
import { mostVisited, verifyPublished } from "./published.ts";
import {
  type Candidates,
  expandBestFirst,
  type Follow,
  followTable,
  type Price,
  type SearchOptions,
  searchTree,
} from "./search.ts";
import { createTable, type TrigramTable } from "./table.ts";

export { type BuildOptions, createTableBuilder, type TableBuilder } from "./build.ts";
export { decodeTable, encodeTable } from "./file.ts";
export { verifyPublished } from "./published.ts";
export { createTable, type TableOptions, type TrigramTable } from "./table.ts";

export interface UpdateOptions {
  /** Added to the weight of a tri-gram; 0: the table does not learn. */
  step?: number;
  /** Part of a pair's weights that is lost before one of its tri-grams is credited, so that the latest continuation wins. */
  forget?: number;
  /** No weight is raised above this. */
  maximumWeight?: number;
  /** Credit the tri-grams among this many last tokens again in every call; without it each tri-gram is credited once. */
  window?: number;
}

/**
 * Section 3, run first in every round: credits the tri-grams of the text from position `from` on, or those in the window.
 * Returns where the next call should go on.
 */
export function updateTable(
  table: TrigramTable,
  context: ArrayLike<number>,
  options: UpdateOptions = {},
  from = 0,
): number {
  const { step = 1, forget = 0.5, maximumWeight = 3, window } = options;
  ensure(
    step >= 0 && forget >= 0 && forget <= 1 && maximumWeight > 0,
    "bad_option",
    `step and maximumWeight must be positive and forget a part of 1, not ${step}, ${maximumWeight}, ${forget}`,
  );
  ensure(
    window === undefined || (Number.isInteger(window) && window >= 0),
    "bad_option",
    `window must be a whole number, not ${window}`,
  );
  const end = Math.max(from, context.length - 2);
  if (step === 0) return end;
  for (let i = window === undefined ? from : Math.max(0, context.length - window); i < context.length - 2; i++) {
    table.credit(context[i], context[i + 1], context[i + 2], step, maximumWeight, 1 - forget);
  }
  return end;
}

export interface AdedOptions extends SearchOptions {
  /** "best-first": no search; whatever is reached with the largest probability is expanded. */
  search?: "puct" | "best-first";
  /** Draft this many most visited paths of the search, the empty one counted, as published; default: what is worth its row. */
  paths?: number;
  /** How the published draft is cut when it is too large. */
  cut?: "trie" | "repo";
  /** Nodes, at most. */
  budget?: number;
  /** What a node must promise; default: nothing, so that as many are drafted as the budget allows. */
  price?: Price;
  /** What may follow; default: as the table says it. */
  follow?: Follow;
  /** Levels that can still be used. */
  depth?: number;
  /** Tokens that end the text: nothing is proposed after them. */
  endTokens?: ReadonlySet<number>;
}

/** Nodes below this probability of acceptance are not worth looking at, whatever a row costs. */
const leastReach = 0.01;

/**
 * Sections 1 and 2: the draft after `context`, whose last token is the root. Empty when nothing is known to follow. A node's
 * probability is its share of what may follow its parent, or of the visits where paths are drafted.
 */
export function draftFromTable(
  table: TrigramTable,
  context: ArrayLike<number>,
  options: AdedOptions,
  draws: Draws,
): DraftTree {
  const { search = "puct", paths, cut = "trie", budget = most, depth = Infinity } = options;
  ensure(
    search === "puct" || paths === undefined,
    "bad_option",
    "paths: best-first makes no visits to choose paths by",
  );
  ensure(cut === "trie" || paths !== undefined, "bad_option", "cut: only a draft of paths is cut; give paths too");
  const [first, root] = [context[context.length - 2], context[context.length - 1]];
  const { follow = followTable(table, first, root), price: priceOf = () => 0 } = options;
  if (context.length < 2 || depth < 1 || budget === 0) return createTree("chosen");
  const prices: number[] = []; // asked for often in a round, in which they do not change
  const least = paths === undefined ? leastReach : 0;
  const price = (drafted: number) =>
    (prices[drafted] ??= drafted < budget ? Math.max(least, priceOf(drafted)) : Infinity);
  const within = { ...options, pathLength: Math.min(options.pathLength ?? 48, depth + 1) };
  const nodes =
    search === "best-first"
      ? expandBestFirst(follow, root, within, price)
      : paths === undefined
        ? searchTree(follow, root, within, draws, price)
        : mostVisited(searchTree(follow, root, options, draws), { paths, cut, budget });
  return worthDrafting(nodes, price, options);
}

/** The nodes that are reached with the largest probabilities, for as long as they are worth their rows. */
function worthDrafting(
  { tokens, parents, shares, reach }: Candidates,
  price: (drafted: number) => number,
  { depth = Infinity, endTokens }: AdedOptions,
): DraftTree {
  // Reach never rises along a path, and parents come first: whatever is kept is a tree.
  const order = tokens.map((_, node) => node).sort((a, b) => reach[b] - reach[a] || a - b);
  const draft = createTree("chosen");
  const places: number[] = [0];
  const depths = [0];
  for (const node of order) {
    if (node === 0) continue;
    if (reach[node] < price(draft.tokens.length)) break;
    const parent = parents[node];
    if (places[parent] === undefined || depths[parent] >= depth) continue;
    if (parent > 0 && endTokens?.has(tokens[parent])) continue;
    places[node] = addNode(draft, places[parent], tokens[node], reach[node], shares[node]);
    depths[node] = depths[parent] + 1;
  }
  return draft;
}

/** Longer ones know loops and quotations, shorter ones are the table's business. */
const defaultContexts = [12, 6, 3];

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
  lossless: ({ verification }) => verification === "race",
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
    primePrompt: z.boolean().default(false).describe("credit all tri-grams of the prompt, not only its last 16 tokens"),
    verification: z
      .enum(verifications)
      .default("race")
      .describe("published: the authors' sampling, which is NOT lossless"),
    contexts: z
      .array(z.int().min(1).max(64))
      .max(8)
      .optional()
      .describe(
        `lengths of the contexts in the text itself that are asked before the table, in tokens; default: ${defaultContexts.join(", ")}; published: none`,
      ),
    budget: budgetOption,
    iterations: z.int().min(1).max(2000).default(150).describe("rounds of the tree search, at most"),
    pathLength: z.int().min(2).max(128).default(48).describe("longest path of the search, in pairs; published: 4"),
    paths: z
      .int()
      .min(1)
      .max(500)
      .optional()
      .describe(
        "most visited paths that become the draft, published: 24; default: the nodes that are worth their time",
      ),
    c1: z.number().min(0).default(32).describe("exploration constant"),
    c2: z.number().positive().default(8).describe("exploration constant"),
    search: z
      .enum(["puct", "best-first"])
      .default("puct")
      .describe("best-first: no search, the most probable nodes first"),
    reward: z.enum(["path-weight", "repo"]).default("path-weight").describe("repo: the authors' program's reward"),
    cut: z.enum(["trie", "repo"]).default("trie").describe("repo: the authors' program's cut of too many paths"),
    step: z.number().min(0).default(1).describe("weight added to a seen tri-gram, published: 0.04; 0: no learning"),
    forget: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe("part of a pair's weights lost when one of its tri-grams is credited; published: 0"),
    maximumWeight: z.number().positive().default(3).describe("no weight is raised above this"),
    window: z
      .int()
      .min(0)
      .max(4096)
      .optional()
      .describe("last tokens whose tri-grams are credited anew each round, published: 16; default: each of them once"),
  }),
  async decode(decoding, options) {
    const shared = await decoding.model.state(`aded ${options.table}`, () => openTable(decoding.model, options.table));
    const table = options.isolate ? createTable(shared, shared) : shared;
    const { endTokens } = decoding;
    const { price, settle } = await economy(decoding, { budget: options.budget });
    ensure(
      options.paths === undefined || !options.contexts?.length,
      "bad_option",
      "contexts: a draft of the most visited paths is made from the table alone",
    );
    const contexts =
      options.paths === undefined ? createContexts(options.contexts ?? defaultContexts, table.find) : undefined;
    const budget = Math.min(options.budget ?? most, decoding.forest.maxRows - 1);
    let credited = options.primePrompt ? 0 : Math.max(0, decoding.prompt.length - 16);
    await speculate(
      decoding,
      {
        propose({ text, depth, draws }) {
          for (let i = contexts?.length ?? text.length; i < text.length; i++) {
            contexts!.append(text[i], i >= decoding.prompt.length);
          }
          credited = updateTable(table, text, options, credited);
          const follow = contexts?.after;
          return draftFromTable(table, text, { ...options, budget, price, follow, depth, endTokens }, draws);
        },
        observe(_, tree, { path }) {
          settle(path.length + 1, tree.tokens.length, 0);
        },
      },
      options.verification === "race" ? undefined : publishedVerifier,
    );
  },
});

const publishedVerifier: Verifier = (tree, target, draws) =>
  verifyPublished(tree, (node) => {
    const probabilities = target.probabilitiesAt?.(node);
    return probabilities ? draws.choose("residual", probabilities, 1) : target.sampleAt(node);
  });
