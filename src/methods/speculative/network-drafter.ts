/** Drafting with a small network beside the model: it follows the text row by row, and scores the nodes of draft trees. */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { type SparseDistribution, topKSoftmax } from "../../engine/distribution.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { createAcceptanceEstimate } from "./acceptance.ts";
import { type Economy, economy } from "./budget.ts";
import { proposalOf } from "./draft-model.ts";
import { createDrafting, type Drafting } from "./drafting.ts";
import { areFinite } from "./guesses.ts";
import type { NetworkRow, RowProgram } from "./row-program.ts";
import type { Drafter } from "./speculate.ts";
import { createTree, type DraftTree, selectNodes } from "./tree.ts";

/** Options of methods that draft by a network's passes beside the model. */
export const networkOptions = {
  depth: z
    .int()
    .min(1)
    .max(32)
    .optional()
    .describe(
      "most passes of the draft in a round, which is how far ahead it can look: fewer cost less where far drafts are rarely right; default: as many as are worth their time",
    ),
  topK: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe(
      "how many of the draft's likeliest tokens can be drafted below a node: fewer cost less time; the output does not depend on it",
    ),
};

export interface NetworkDrafting {
  readonly budget: number | undefined;
  readonly topK: number;
  /** Text before this position has no row. */
  readonly first: number;
  /** The row of a token of the text. */
  row(text: readonly number[], at: number): NetworkRow;
  /** The row of a drafted token below a row of the cache, whose state is given. */
  below(token: number, position: number, parent: number, state: Float32Array): NetworkRow;
  /** Grows the tree; returns the nodes to keep, for `selectNodes`. */
  grow(drafting: Drafting, economy: Economy): Promise<number[]>;
  /** Told the target's nodes from the root down the accepted path; `root` is the root's position. */
  observe?(root: number, nodes: readonly ForestNode[]): void;
}

/** Rows of text that go through the network at once. */
const chunk = 128;

/** A drafter of chosen trees. */
export async function networkDrafter(
  decoding: Decoding,
  program: RowProgram,
  options: NetworkDrafting,
): Promise<Drafter> {
  const { budget, topK, first, row, below, grow } = options;
  const { endTokens, counters, settings, signal } = decoding;
  const proposal = proposalOf(settings.temperature, { draft: "", draftTopK: topK }, "race");
  const estimate = createAcceptanceEstimate("chosen");
  const money = await economy(decoding, { budget, draftPass: () => program.seconds() });
  const cache = program.cache();
  let committed = 0;
  let drafting: Drafting | undefined;
  let passes = 0;

  return {
    get passes() {
      return passes;
    },
    async propose(round) {
      const { text } = round;
      /** Logits and states by tree node, and the row of the cache. */
      const known: { logits: Float32Array; state: Float32Array; at: number }[] = [];
      const depths = [0];
      let failed = false;
      cache.cut(committed);

      async function scoreText(): Promise<void> {
        for (let at = first + committed; at < text.length; at = first + committed) {
          if (signal?.aborted) return;
          const rows = text.slice(at, at + chunk).map((_, i) => row(text, at + i));
          const { logits, states } = await cache.run(rows);
          passes += 1;
          committed = cache.size;
          const last = rows.length - 1;
          known[0] = { logits: logits[last], state: states[last], at: committed - 1 };
        }
      }
      drafting = createDrafting({
        kind: "chosen",
        draws: round.draws,
        depth: round.depth,
        endTokens,
        chances: estimate,
        expect: proposal.expect(round),
        async score(tree, nodes) {
          for (let node = depths.length; node <= tree.tokens.length; node++) {
            depths[node] = depths[tree.parents[node - 1]] + 1;
          }
          if (nodes.includes(0)) await scoreText();
          const drafted = nodes.filter((node) => node !== 0);
          if (drafted.length > 0) {
            const before = cache.size;
            const { logits, states } = await cache.run(
              drafted.map((node) => {
                const parent = known[tree.parents[node - 1]];
                return below(tree.tokens[node - 1], text.length - 1 + depths[node], parent.at, parent.state);
              }),
            );
            passes += 1;
            for (const [i, node] of drafted.entries())
              known[node] = { logits: logits[i], state: states[i], at: before + i };
          }
          return nodes.map((node): SparseDistribution => {
            const logits = known[node]?.logits;
            if (areFinite(logits)) return topKSoftmax(logits, proposal.draftTemperature, topK);
            failed = true;
            return { tokens: new Int32Array(0), probabilities: new Float64Array(0) };
          });
        },
      });
      const kept = await grow(drafting, money);
      if (!failed) return selectNodes(drafting.tree, kept);
      counters.failedDrafts = (counters.failedDrafts ?? 0) + 1;
      return { ...createTree("chosen"), note: "the draft's numbers were not finite: nothing is drafted in this round" };
    },
    observe(round, tree: DraftTree, { path }, nodeOf) {
      estimate.observe(tree, path);
      options.observe?.(
        round.text.length - 1,
        [0, ...path].map((node) => nodeOf(node)!),
      );
      money.settle(path.length + 1, tree.tokens.length, drafting?.passes ?? 0);
    },
  };
}
