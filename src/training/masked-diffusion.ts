/**
 * The objective of masked diffusion (LLaDA, Nie et al. 2025, equation 3): of a text whose tokens were each masked with probability t, the
 * masked ones are predicted, and each counts 1 / t, which makes the loss an unbiased estimate of a bound on -log p(text) at every t.
 */
import { ensure } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import { concat, crossEntropy, input, multiply, reduceMean, reshape, slice, type Tensor } from "../tensor/index.ts";
import { graphObjective } from "./graph-objective.ts";
import { type LanguageModelObjective, modelParameters, type NextTokenOptions, type Values } from "./next-token.ts";
import type { TokenBatch } from "./objective.ts";

/**
 * Batches hold whole texts (of `tokens` the last column is not looked at) and `weights`: what the prediction for a position counts, above
 * 0 where it is masked. Errors: `bad_option` for a model without a mask token, and what goes with next tokens alone.
 */
export async function maskedDiffusionObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: NextTokenOptions,
): Promise<LanguageModelObjective> {
  const { rows, length, threads, profile, recompute = false } = options;
  const { diffusion } = config;
  ensure(diffusion, "bad_option", `masked diffusion: ${config.architecture} has no mask token`);
  for (const name of ["teacher", "lora", "documents", "smoothing"] as const)
    ensure(!options[name], "bad_option", `masked diffusion: ${name} goes with training on next tokens`);
  const fits = length <= config.contextLength;
  ensure(fits, "bad_option", `training length ${length} exceeds the context of ${config.contextLength}`);
  const size = rows * length;
  const between = recompute
    ? ["embed", ...Array.from({ length: config.layers }, (_, i) => `layers.${i}.residual`)]
    : [];
  const graph = textGraph(family, config, { rows, length, instruments: { taps: between, edits: [] } });
  const logits = diffusion.shift ? shifted(graph.logits, rows, length) : graph.logits;
  const losses = crossEntropy(logits, input("targets", [size], "int64"));
  return graphObjective<TokenBatch>({
    loss: reduceMean(multiply(losses, input("weights", [size]))),
    trained: modelParameters(family, config, values),
    fixed: new Map(),
    feeds({ tokens, weights }) {
      const whole = tokens.length === rows * (length + 1) && weights?.length === size;
      ensure(whole, "bad_shape", `a batch must hold ${rows} x ${length + 1} tokens and ${size} weights`);
      const [inputs, targets] = [new BigInt64Array(size), new BigInt64Array(size)];
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < length; i++) {
          const at = row * length + i;
          targets[at] = BigInt(tokens[row * (length + 1) + i]);
          inputs[at] = weights![at] > 0 ? BigInt(diffusion.maskToken) : targets[at];
        }
      }
      return {
        tokens: { data: inputs, dims: [rows, length] },
        targets: { data: targets, dims: [size] },
        weights: { data: weights!, dims: [size] },
      };
    },
    keep: between.map((name) => graph.readings[name]),
    threads,
    profile,
  });
}

/** Each text's rows one later: the prediction for a position stands one row before it. The first row stays where it is. */
function shifted(logits: Tensor, rows: number, length: number): Tensor {
  const vocabulary = logits.shape[1];
  const texts = reshape(logits, [rows, length, vocabulary]);
  const moved = concat([slice(texts, 1, 0, 1), slice(texts, 1, 0, length - 1)], 1);
  return reshape(moved, [rows * length, vocabulary]);
}
