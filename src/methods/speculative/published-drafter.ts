/** Drafting with trees of a fixed shape for each number of guesses that are known. */
import type { Decoding } from "../../engine/decoding.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { rowsOfLevel } from "./foresight.ts";
import { areFinite, type Foresight, guessLaws } from "./guesses.ts";
import type { SparseTrees } from "./sparse-trees.ts";
import type { Drafter } from "./speculate.ts";
import { addNode, createTree, type DraftTree } from "./tree.ts";

interface Given {
  readonly topK: number;
  /** Whether the trees are of measured accuracies, so that what is expected of them can be said. */
  readonly measured: boolean;
}

/** Errors: none of its own. */
export function publishedDrafter(
  decoding: Decoding,
  foresight: Foresight,
  { states, tokensPerPass, budget }: SparseTrees,
  { topK, measured }: Given,
): Drafter {
  decoding.instrument({ taps: foresight.taps });
  const { endTokens, counters, settings } = decoding;
  const laws = guessLaws(settings.temperature, topK);
  let chains: readonly (readonly ForestNode[])[] = [];
  let rows: readonly number[] = [foresight.levels];
  /** Which node of the state's tree each drafted node is. */
  let origins: number[] = [0];
  let told = false;

  return {
    async propose(round) {
      const guesses = chains.length > 0 ? await foresight.guess(round.tip, chains) : [];
      const known = guesses.slice(0, round.depth);
      const tree: DraftTree & { note?: string } = createTree("chosen");
      origins = [0];
      rows = [foresight.levels];
      if (!told) {
        told = true;
        const trees = `trees of ${budget} nodes and look-ahead rows`;
        tree.note = measured
          ? `${tokensPerPass.toFixed(3)} tokens a pass are expected of ${trees}`
          : `${trees}; how often guesses are right was not measured, and nothing is expected of them`;
      }
      const failed = known.findIndex((logits) => !areFinite(logits));
      if (failed >= 0) {
        counters.failedDrafts = (counters.failedDrafts ?? 0) + 1;
        return { ...tree, note: `guess ${failed + 1} was not finite: nothing is drafted in this round` };
      }
      if (known.length === 0) return tree;
      const state = states[known.length - 1];
      rows = state.rows;
      const expected = known.map((logits, level) => laws.expect(laws.law(logits!), round.race(level + 1)));
      const places = new Map([["", 0]]);
      for (const [i, path] of state.paths.entries()) {
        const parent = places.get(path.slice(0, -1).join());
        const token = expected[path.length - 1].tokens[path[path.length - 1]];
        const ended = parent !== undefined && parent > 0 && endTokens.has(tree.tokens[parent - 1]);
        if (parent === undefined || token === undefined || ended) continue;
        places.set(path.join(), addNode(tree, parent, token));
        origins.push(i + 1);
      }
      return tree;
    },
    ahead(_, tree) {
      return [0, ...tree.tokens.map((_, i) => i + 1)].flatMap((node) =>
        foresight.rows!(rows[origins[node]]).map((chain) => ({ node, rows: chain })),
      );
    },
    observe(_, __, { path }, ___, made) {
      const last = path.at(-1) ?? 0;
      const width = rowsOfLevel(foresight);
      chains = made.slice(last * width, (last + 1) * width).filter((chain) => chain.length > 0);
    },
  };
}
