/**
 * Self-speculative decoding (Zhang et al. 2023): the model drafts for itself with some of its attention and feed-forward blocks left out, and the whole of
 * it verifies. Which blocks go is measured once: the one whose loss changes the model's choices least goes first, and of all these choices the one with
 * the best expected speed is kept.
 */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { budgetOption, most, nodesOf } from "../budget.ts";
import { networkDrafter, networkOptions } from "../network-drafter.ts";
import { networkOutlook } from "../outlook.ts";
import { type RowProgram, rowProgram } from "../row-program.ts";
import { speculate } from "../speculate.ts";
import { growTopK } from "../top-k/index.ts";
import { type Block, blocksOf, measuredSkips, skipEdits } from "./skipping.ts";

/** Errors: `bad_option` for a block that the model has not, or none left. */
async function openShortened(model: DecodingModel, skip: readonly string[]): Promise<RowProgram> {
  const { family, config } = model;
  const all = blocksOf(config);
  for (const name of skip) {
    ensure(
      all.includes(name as Block),
      "bad_option",
      `skip: ${name} is no block; there are ${all[0]}, ${all[1]} … ${all.at(-1)}`,
    );
  }
  ensure(new Set(skip).size < all.length, "bad_option", "skip: nothing is left of the model: leave some blocks in");
  return model.state(`shortened ${[...skip].sort().join()}`, () =>
    rowProgram({
      family,
      config,
      edits: skipEdits(config, skip as Block[]),
      layers: Array.from({ length: config.layers }, (_, i) => i).filter((i) => !skip.includes(`attention.${i}`)),
      values: new Map(),
      more: (names) => model.parameterValues((name) => names.has(name)),
    }),
  );
}

export const selfSpeculative = defineMethod({
  name: "self-speculative",
  family: "speculative",
  summary: "the model drafts for itself with some of its blocks left out; no training, no second model",
  source: "Zhang et al. 2023, Draft & Verify, arXiv 2309.08168",
  lossless: true,
  outlook: networkOutlook(async (model, { skip }, signal) =>
    (await openShortened(model, skip ?? (await measuredSkips(model, signal)))).seconds(),
  ),
  options: z.strictObject({
    skip: z
      .array(z.string().max(40))
      .max(512)
      .optional()
      .describe(
        "blocks that the draft leaves out, as attention.N and mlp.N with layers from 0: more make it faster and more often wrong; default: chosen by a measurement, once for the model",
      )
      .meta({ examples: [["attention.2", "mlp.3"]] }),
    budget: budgetOption,
    width: z
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe("how many nodes go through one pass of the draft: 1 drafts a chain, more a tree, with a dearer pass"),
    ...networkOptions,
  }),
  async decode(decoding, { skip, width, depth: passes, ...options }) {
    const { model } = decoding;
    const left = skip ?? (await measuredSkips(model, decoding.signal));
    const program = await openShortened(model, left);
    const budget = nodesOf(decoding, options.budget, most);
    const drafter = await networkDrafter(decoding, program, {
      budget: options.budget,
      topK: options.topK,
      first: 0,
      row: (text, at) => ({ token: text[at], position: at, parent: at - 1 }),
      below: (token, position, parent) => ({ token, position, parent }),
      grow: (drafting, economy) => growTopK(drafting, { budget, width, maximumPasses: passes, economy }),
    });
    await speculate(decoding, drafter);
  },
});
