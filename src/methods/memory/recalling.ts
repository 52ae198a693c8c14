/** What all memories of a language model share as shapers: a state is read at a site, recalled from, and mixed into the distribution. */
import { z } from "zod";
import type { ForestNode } from "../../engine/forest.ts";
import { logSumExp, topLogprobs } from "../../engine/shapers/logprobs.ts";
import type { Shaper, ShaperHost } from "../../engine/shapers/shaper.ts";
import type { MemoryPassage } from "../../engine/trace.ts";
import { ensure } from "../../errors.ts";
import { mixed } from "./mixture.ts";

export const lambdaOption = z
  .number()
  .min(0)
  .max(1)
  .default(0.25)
  .describe(
    "share of the memory in the mixture, the model has the rest: raise it for text like the memory's, lower it for other text; ventris memory evaluate finds the best; 0 is the model alone",
  );

/** What a memory says after a text. */
export interface Recollection {
  probability(token: number): number;
  /** Its likeliest tokens, likeliest first; without a table, all that it knows of. */
  readonly tokens: ArrayLike<number>;
  /** Logits of every token, and the ln of the sum of their exponentials. */
  readonly table?: { readonly logits: Float32Array; readonly normaliser: number };
  /** Where it comes from, for a token that was chosen. */
  passages?(): readonly MemoryPassage[];
}

export interface RecallParts {
  readonly name: string;
  /** Where states are read, and their width. */
  readonly site: string;
  readonly width: number;
  readonly lambda: number;
  /** Of states [rows, width], one for each. The result must not depend on what is recalled beside it. */
  recall(states: Float32Array): Promise<readonly Recollection[]>;
}

const mostShown = 4;

export function recallingShaper(host: ShaperHost, { name, site, width, lambda, recall }: RecallParts): Shaper {
  if (lambda === 0) return { name };
  const recalled = new WeakMap<ForestNode, Recollection>();
  const mixtures = new WeakMap<ForestNode, { before: Float32Array; after: Float32Array; normaliser: number }>();
  return {
    name,
    taps: [site],
    async prepare(nodes) {
      const states = new Float32Array(nodes.length * width);
      for (const [i, { taps }] of nodes.entries()) {
        ensure(taps?.[site], "internal", `a row has no reading of ${site}`);
        states.set(taps[site], i * width);
      }
      const found = await recall(states);
      for (const [i, node] of nodes.entries()) recalled.set(node, found[i]);
    },
    logits(node, logits) {
      const memory = recalled.get(node);
      ensure(memory, "internal", `${name} was not asked about a node before its distribution was wanted`);
      const normaliser = logSumExp(logits);
      const after = mixed(logits, lambda, memory, normaliser);
      mixtures.set(node, { before: logits, after, normaliser });
      return after;
    },
    chosen(node, token) {
      const [memory, mixture] = [recalled.get(node), mixtures.get(node)];
      if (!memory || !mixture) return;
      const { before, after, normaliser } = mixture;
      const own = topLogprobs(before, mostShown, normaliser).map((one) => one.token);
      const tokens = [...new Set([...own, ...Array.from(memory.tokens).slice(0, mostShown), token])];
      host.emit({
        type: "memory",
        name,
        position: node.depth + 1,
        token,
        lambda,
        tokens,
        before: tokens.map((t) => Math.exp(before[t] - normaliser)),
        memory: tokens.map((t) => memory.probability(t)),
        after: tokens.map((t) => Math.exp(after[t])),
        ...(memory.passages && { passages: [...memory.passages()] }),
      });
    },
  };
}
