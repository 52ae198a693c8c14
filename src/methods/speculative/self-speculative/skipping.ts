/** Blocks of a model that can be left out, what is left then, and which of them are worth leaving out. */

import { z } from "zod";
import { whenAborted } from "../../../aborts.ts";
import { argmax, drawFrom, softmax } from "../../../engine/distribution.ts";
import { measured } from "../../../engine/measurement.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { uniform } from "../../../engine/random.ts";
import { applyEdits } from "../../../engine/sites/ready.ts";
import type { Edit } from "../../../models/edits.ts";
import type { ModelConfig } from "../../../models/family.ts";
import type { Tensor } from "../../../tensor/index.ts";

/** The attention or the feed-forward half of a layer. */
export type Block = `attention.${number}` | `mlp.${number}`;

export const blocksOf = ({ layers }: ModelConfig): Block[] =>
  Array.from({ length: layers }, (_, i): Block[] => [`attention.${i}`, `mlp.${i}`]).flat();

/** Edits after which a program has these blocks no more: what they would add is not added, and so not computed. */
export function skipEdits(config: ModelConfig, skip: readonly Block[]): Edit[] {
  let residual: Tensor | undefined;
  const follow = (site: string, block: Block | undefined): Edit => ({
    name: `without ${site}`,
    site,
    apply(value) {
      if (block && skip.includes(block)) return { value: residual! };
      residual = value;
      return {};
    },
  });
  return [
    follow("embed", undefined),
    ...Array.from({ length: config.layers }, (_, i) => [
      follow(`layers.${i}.attention.residual`, `attention.${i}`),
      follow(`layers.${i}.residual`, `mlp.${i}`),
    ]).flat(),
  ];
}

/** Expected tokens over seconds of chains of the best length: alpha is right so often, a draft pass costs so much of a whole one. */
export function chainSpeed(alpha: number, cost: number): number {
  let best = 1;
  for (let length = 1; length <= 16; length++) {
    const tokens = alpha >= 1 ? length + 1 : (1 - alpha ** (length + 1)) / (1 - alpha);
    best = Math.max(best, tokens / (cost * length + 1));
  }
  return best;
}

const [textTokens, openingTokens] = [160, 32];

/** The blocks that leave most speed, kept in the cache folder. Errors: `aborted`. */
export function measuredSkips(model: DecodingModel, signal?: AbortSignal): Promise<Block[]> {
  const blocks = blocksOf(model.config);
  const schema = z.array(z.enum(blocks as [Block, ...Block[]]));
  const measure = (until: AbortSignal) => measureSkips(model, until);
  return measured(model, { folder: "acceptance", of: ["skips 1", model.identity], schema, measure }, signal);
}

async function measureSkips(model: DecodingModel, signal: AbortSignal): Promise<Block[]> {
  const { config, forest, forward } = model;
  const text = await ownText(model, Math.min(textTokens, forest.contextLength - 1), signal);
  const blocks = blocksOf(config);
  const siteOf = (block: Block): string => {
    const [kind, layer] = block.split(".");
    return `layers.${layer}.${kind}.output`;
  };
  const logitsWithout = async (skip: readonly Block[]): Promise<Float32Array> => {
    signal.throwIfAborted();
    // All of them are in the program, at 1 or 0: one program serves every choice.
    const edits = blocks.map((block) => ({
      site: siteOf(block),
      at: "all" as const,
      scale: skip.includes(block) ? 0 : 1,
    }));
    const [{ logits }] = await forward.run([{ tokens: text }], {
      taps: [],
      edits: applyEdits(model.sites(), edits),
      keep: false,
    });
    return logits;
  };
  const choices = (logits: Float32Array): number[] =>
    Array.from({ length: text.length - openingTokens }, (_, i) => {
      const row = openingTokens + i;
      return argmax(logits.subarray(row * config.vocabularySize, (row + 1) * config.vocabularySize));
    });
  const whole = choices(await logitsWithout([]));
  const agreement = async (skip: readonly Block[]): Promise<number> => {
    const own = choices(await logitsWithout(skip));
    return own.filter((token, i) => token === whole[i]).length / own.length;
  };
  const { hiddenSize: width, feedForward, heads, keyValueHeads, headDimension, vocabularySize } = config;
  const weight = { attention: width * headDimension * 2 * (heads + keyValueHeads), mlp: 3 * width * feedForward };
  const sizeOf = (block: Block): number => weight[block.split(".")[0] as keyof typeof weight];
  const total = blocks.reduce((sum, block) => sum + sizeOf(block), width * vocabularySize);
  let skipped: Block[] = [];
  let best: { skip: Block[]; speed: number } = { skip: [blocks[blocks.length - 2]], speed: 0 };
  while (skipped.length < blocks.length - 2) {
    let next: { skip: Block[]; alpha: number } | undefined;
    for (const block of blocks.filter((b) => !skipped.includes(b))) {
      const skip = [...skipped, block];
      const alpha = await agreement(skip);
      if (!next || alpha > next.alpha) next = { skip, alpha };
    }
    skipped = next!.skip;
    const cost = 1 - skipped.reduce((sum, block) => sum + sizeOf(block), 0) / total;
    const speed = chainSpeed(next!.alpha, cost);
    if (speed > best.speed) best = { skip: skipped, speed };
    if (next!.alpha < 0.2) break;
  }
  return best.skip;
}

/** A text that the model draws at temperature 1. */
async function ownText(model: DecodingModel, length: number, signal: AbortSignal): Promise<number[]> {
  const lease = model.forest.lease();
  const close = (): void => lease.close();
  const heard = whenAborted(signal, close);
  try {
    const tokens = [model.tokenizer?.beginToken ?? model.config.beginToken ?? 0];
    let { node } = await lease.prefill(tokens);
    while (tokens.length < length) {
      const u = uniform({ seed: 0, request: 0 }, tokens.length, "sample");
      tokens.push(drawFrom(softmax(node.logits!, 1), u));
      const [next] = await lease.extend([{ parent: node, token: tokens[tokens.length - 1] }]);
      lease.release([node]);
      node = next;
    }
    return tokens;
  } finally {
    heard();
    lease.close();
  }
}
