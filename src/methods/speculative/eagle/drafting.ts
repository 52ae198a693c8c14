/** Drafting from the model's own states, as EAGLE does it: what it and its form for models that see share beside their drafts. */
import { z } from "zod";
import type { Decoding } from "../../../engine/decoding.ts";
import { ensure } from "../../../errors.ts";
import { budgetOption, most, nodesOf } from "../budget.ts";
import { networkDrafter, networkOptions } from "../network-drafter.ts";
import type { NetworkRow, RowProgram } from "../row-program.ts";
import { type Round, speculate } from "../speculate.ts";
import { growTopK } from "../top-k/index.ts";

const site = "final";

export const treeOptions = {
  budget: budgetOption,
  width: z
    .int()
    .min(1)
    .max(64)
    .default(8)
    .describe("how many nodes go through one pass of the draft: more grow a broader tree, with a dearer pass"),
  ...networkOptions,
};

export interface TreeOptions {
  readonly budget?: number;
  readonly width: number;
  readonly depth?: number;
  readonly topK: number;
  /** What the draft reads of a prompt: all of its rows (default), or its tokens alone, without rows that are vectors and their positions. */
  readonly reads?: "rows" | "tokens";
}

/** Decodes with trees of this draft, whose rows pair a token, or a row of the prompt that is a vector, with the state before it. */
export async function decodeFromStates(
  decoding: Decoding,
  program: RowProgram,
  { width, depth: passes, reads = "rows", ...options }: TreeOptions,
): Promise<void> {
  const { rows } = decoding;
  decoding.instrument({ taps: [site] });
  /** The model's states, position by position; what follows the tip is not known yet. */
  const states: Float32Array[] = [];
  await decoding.prefill((nodes) => {
    for (const { depth, taps } of nodes) {
      const state = taps?.[site];
      ensure(state, "internal", "a row of the prompt has no state");
      states[depth] = state;
    }
  });
  const budget = nodesOf(decoding, options.budget, most);
  /** Positions that the draft reads of the prompt; after it all are read. */
  const read = [...rows.keys()].filter((at) => reads === "rows" || typeof rows[at] === "number");
  const left = rows.length - read.length;
  const drafter = await networkDrafter(decoding, program, {
    budget: options.budget,
    topK: options.topK,
    first: 1,
    row(text, at): NetworkRow {
      const own = read[at] ?? at + left;
      const given = rows[own];
      const place = { state: states[own - 1], position: at - 1, parent: at - 2 };
      return typeof given === "object" ? { token: 0, vector: given.values, ...place } : { token: text[at], ...place };
    },
    below: (token, position, parent, state): NetworkRow => ({ token, state, position: position - 1, parent }),
    grow: (drafting, economy) => growTopK(drafting, { budget, width, maximumPasses: passes, economy }),
    observe(root, nodes) {
      for (const [i, node] of nodes.entries()) states[root + i] = node.taps![site];
    },
  });
  if (left === 0) return speculate(decoding, drafter);
  const tokensOf = (round: Round): Round => ({
    ...round,
    text: [...read.map((at) => round.text[at]), ...round.text.slice(rows.length)],
  });
  await speculate(decoding, {
    get passes() {
      return drafter.passes;
    },
    propose: (round) => drafter.propose(tokensOf(round)),
    observe: drafter.observe,
  });
}
