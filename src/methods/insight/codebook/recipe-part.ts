/** Codebooks as what a recipe trains, on a base that stays as it is: they begin near its own states on the recipe's texts. */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import { partKind } from "../../../training/parts.ts";
import { aggregates, losses, similarities } from "./bottleneck.ts";
import { statesOf } from "./finetune.ts";
import { codebookKind, partOfCodebooks } from "./part.ts";
import { bottlenecksOf, codebookGraph, codebookSites, codebooksFromStates, nextTokenFeeds } from "./train.ts";

export const codebookSettings = z.strictObject({
  /** Attention heads, feed-forward outputs or both, of all layers; or sites by name, with codebooks side by side at each. */
  sites: z
    .union([
      z.enum(codebookSites),
      z.array(z.strictObject({ site: z.string().max(200), groups: z.int().min(1).max(4096) })).min(1),
    ])
    .default("attention"),
  codes: z.int().min(1).max(65_536).default(1024),
  k: z.int().min(1).max(256).default(8),
  similarity: z.enum(similarities).default("inner"),
  aggregate: z.enum(aggregates).default("sum"),
  loss: z.enum(losses).default("aeloss"),
  /** Of the pull on the model's states, with `vqvae` and `fullaeloss`. */
  beta: z.number().positive().optional(),
  /** Of the reconstruction. */
  weight: z.number().positive().optional(),
});

/** Batches that states for the first codes come from: numbers that training does not reach. */
const [firstBatch, firstBatches] = [2 ** 30, 16];

export const codebookPart = partKind(codebookKind, codebookSettings, async (task, settings) => {
  const { family, config, rows, length, seed, batch } = task;
  const { loss, beta, weight, ...shape } = settings;
  const sites = bottlenecksOf(family, config, shape).map(({ site }) => site);
  ensure(new Set(sites).size === sites.length, "bad_option", "codebooks: a site is named twice");
  const first = Array.from({ length: firstBatches }, (_, i) => batch(firstBatch + i).tokens);
  const codebooks = codebooksFromStates(family, config, shape, await statesOf(task, sites, first), seed);
  const graph = codebookGraph({ family, config, codebooks, rows, length, loss, beta, weight });
  const part = partOfCodebooks(codebooks);
  return {
    sites: part.sites,
    stated: part.settings,
    tensors: part.tensors,
    trained: graph.trained,
    loss: graph.loss,
    measured: graph.measured,
    feeds: nextTokenFeeds,
  };
});
