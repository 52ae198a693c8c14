/**
 * ADED (Liu et al. 2024, later Adaptix): drafts without a draft model. A table of tri-gram weights stands in for the target; a
 * tree search over it finds likely continuations; and what was generated is credited in the table, so that drafts improve
 * while serving. The paper's program credits timidly and drafts a fixed number of nodes; by default, this one forgets quickly
 * and drafts what is worth its time. The README has the options that give the published method.
 */
import { defineMethod } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import type { Race } from "../../../engine/race.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { exists, readWhole, within } from "../../../files.ts";
import { economy, most, nodesOf } from "../budget.ts";
import type { Draws } from "../draws.ts";
import { expectedWinners } from "../expectation.ts";
import { freeDraftOutlook } from "../outlook.ts";
import { speculate, type Verifier } from "../speculate.ts";
import { addNode, createTree, type DraftTree } from "../tree.ts";
import { createContexts } from "./contexts.ts";
import { decodeTable } from "./file.ts";
import { adedOptions, defaultContexts, ownTable, refuseContradictions } from "./options.ts";
import { mostVisited, verifyPublished } from "./published.ts";
import {
  type Continuations,
  expandBestFirst,
  type Follow,
  followTable,
  type Price,
  type SearchOptions,
  searchTree,
} from "./search.ts";
import { shareTable } from "./share.ts";
import { createTable, type Row, type TrigramTable } from "./table.ts";
import { updateTable } from "./update.ts";

export { type BuildOptions, createTableBuilder, type TableBuilder } from "./build.ts";
export { decodeTable, encodeTable } from "./file.ts";
export { verifyPublished } from "./published.ts";
export { createTable, type TableOptions, type TrigramTable } from "./table.ts";
export { type UpdateOptions, updateTable } from "./update.ts";

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
  const bounded = { ...options, pathLength: Math.min(options.pathLength ?? 48, depth + 1) };
  const nodes =
    search === "best-first"
      ? expandBestFirst(follow, root, bounded, price)
      : paths === undefined
        ? searchTree(follow, root, bounded, draws, price)
        : mostVisited(searchTree(follow, root, options, draws), { paths, cut, budget });
  return worthDrafting(nodes, price, options);
}

/** The nodes that are reached with the largest probabilities, for as long as they are worth their rows. */
function worthDrafting(
  { tokens, parents, shares, reach }: Continuations,
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

const mostTableBytes = 2 ** 31 - 1;

/** The learning table of a model, for all its requests and, where replicas share, for theirs. Errors: `bad_file`, `unavailable`. */
async function sharedTable(model: DecodingModel, reference: string | undefined): Promise<TrigramTable> {
  const table = await openTable(model, reference);
  return model.sharing ? shareTable(table, model.sharing, () => model.fingerprint()) : table;
}

/** The table that a model begins with. Errors: `bad_file`, `unavailable`. */
async function openTable(model: DecodingModel, reference: string | undefined): Promise<TrigramTable> {
  const facts = { vocabularySize: model.config.vocabularySize, fingerprint: model.tokenizer?.fingerprint ?? "" };
  const path = reference ?? within(model.folder, ownTable);
  if (reference === "empty" || (reference === undefined && !(await exists(path)))) return createTable(facts);
  const bytes = await readWhole(path, mostTableBytes).catch((cause) => {
    throw new VentrisError("unavailable", `table: ${path} cannot be read: ${cause.message}`, { cause });
  });
  ensure(bytes, "bad_file", `table: ${path} is longer than a table can be`);
  return decodeTable(bytes, path, facts);
}

export const aded = defineMethod({
  name: "aded",
  family: "speculative",
  summary: "searches a table of tri-grams that learns from what the target says; needs no draft model",
  source: "Liu et al. 2024, arXiv 2407.12021",
  lossless: ({ verification }) => verification === "race",
  outlook: freeDraftOutlook(() => most),
  options: adedOptions,
  async decode(decoding, options) {
    refuseContradictions(options);
    const budget = nodesOf(decoding, options.budget, most);
    const shared = await decoding.model.state(`aded ${options.table}`, () =>
      sharedTable(decoding.model, options.table),
    );
    const table = options.isolate ? createTable(shared, shared) : shared;
    const { endTokens } = decoding;
    const { price, settle } = await economy(decoding, { budget: options.budget });
    const contexts =
      options.paths === undefined ? createContexts(options.contexts ?? defaultContexts, table.find) : undefined;
    let credited = options.primePrompt ? 0 : Math.max(0, decoding.prompt.length - 16);
    await speculate(
      decoding,
      {
        propose({ text, depth, draws, race }) {
          for (let i = contexts?.length ?? text.length; i < text.length; i++) {
            contexts!.append(text[i], i >= decoding.prompt.length);
          }
          credited = updateTable(table, text, options, credited);
          const after = contexts?.after;
          const follow: Follow | undefined =
            after && !decoding.greedy ? (path) => expectedRow(after(path), race(path.length + 1)) : after;
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

/** By how much the logarithm of what contexts say is off, as the scale of a logistic error; fitted to stories of knossos at 0.6 and 0.9. */
const contextError = 1.2;

/** What may follow, by the chance to win the race at its place. */
function expectedRow(row: Row | undefined, race: Race): Row | undefined {
  if (!row) return row;
  const law = {
    tokens: Int32Array.from(row.tokens),
    probabilities: Float64Array.from(row.weights, (w) => w / row.total),
  };
  const { tokens, probabilities } = expectedWinners(law, 1 / contextError, race);
  return { tokens, weights: probabilities, total: 1 };
}

const publishedVerifier: Verifier = (tree, target, draws) =>
  verifyPublished(tree, (node) => {
    const probabilities = target.probabilitiesAt?.(node);
    return probabilities ? draws.choose("residual", probabilities, 1) : target.sampleAt(node);
  });
