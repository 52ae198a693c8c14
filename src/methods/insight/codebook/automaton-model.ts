/** A language model of an automaton's walks, trained from scratch with or without codebooks, as a model folder with a part: what the paper's task is measured on. */
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { VentrisError } from "../../../errors.ts";
import { familyOf } from "../../../models/families.ts";
import { fingerprintOf, writePart } from "../../../models/parts.ts";
import { sitesOf } from "../../../models/sites.ts";
import { writeConfigured } from "../../../training/export.ts";
import { type TrainProgress, train } from "../../../training/loop.ts";
import { initialValues } from "../../../training/recipe.ts";
import { linear } from "../../../training/schedule.ts";
import { openWeights } from "../../../weights/index.ts";
import { type Automaton, automatonBatch, automatonVocabulary, beginToken } from "./automaton.ts";
import { codebookKind, partOfCodebooks } from "./part.ts";
import { type CodebookSites, codebookObjective, initialCodebooks } from "./train.ts";

export interface AutomatonModelOptions {
  /** Of the model: the paper has 128 and 4. */
  readonly width: number;
  readonly layers: number;
  /** Where codebooks are; "none": the plain model. */
  readonly sites: CodebookSites | "none";
  readonly codes: number;
  readonly k: number;
  readonly rows: number;
  readonly length: number;
  readonly steps: number;
  readonly rate: number;
  readonly seed: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
}

/** Four heads, a feed-forward of four widths, a rotary Llama: as near to the paper's GPT-NeoX as this engine's families are. */
export const automatonConfig = ({
  width,
  layers,
  length,
}: Pick<AutomatonModelOptions, "width" | "layers" | "length">) => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: automatonVocabulary,
  hidden_size: width,
  num_hidden_layers: layers,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  intermediate_size: 4 * width,
  max_position_embeddings: Math.max(128, length),
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  bos_token_id: beginToken,
  eos_token_id: null,
});

/**
 * Trains into `folder`: the model, and its codebooks as the part "codebook". The run's checkpoint lies below and the same call goes on from it. Returns
 * the loss on walks that were not trained on. Errors: `aborted` when the signal came first; those of training.
 */
export async function trainAutomatonModel(
  automaton: Automaton,
  folder: string,
  options: AutomatonModelOptions,
): Promise<{ readonly loss: number }> {
  const { sites, codes, k, rows, length, steps, rate, seed, threads, signal, onProgress } = options;
  const json = automatonConfig(options);
  const { family, config } = familyOf(json);
  const values = initialValues(family, config, seed);
  const shape = { codes, k, similarity: "inner", aggregate: "sum" } as const;
  const codebooks = sites === "none" ? [] : initialCodebooks(family, config, { sites, ...shape }, { seed });
  const objective = await codebookObjective({
    family,
    config,
    values,
    codebooks,
    train: "model",
    rows,
    length,
    threads,
  });
  const batch = (index: number) => automatonBatch(automaton, { rows, length }, seed, index);
  try {
    const result = await train({
      objective,
      batches: batch,
      // Walks of numbers that training does not reach.
      evaluation: { batches: Array.from({ length: 4 }, (_, i) => batch(2 ** 30 + i)), every: 250 },
      steps,
      schedule: linear({ peak: rate, warmup: Math.min(100, Math.ceil(steps / 10)), steps, final: rate / 20 }),
      optimiser: { weightDecay: 0.01 },
      clip: 1,
      seed,
      checkpointFolder: join(folder, "training"),
      signal,
      onProgress,
    });
    if (result.reason !== "steps") throw new VentrisError("aborted", "training the automaton's model was aborted");
    await mkdir(folder, { recursive: true });
    await writeConfigured(family, config, values, json, folder);
    if (codebooks.length > 0) {
      const source = await openWeights(folder);
      const fingerprint = await fingerprintOf(source).finally(() => source.close());
      await writePart(
        join(folder, "parts", codebookKind),
        { name: basename(folder), fingerprint, sites: sitesOf(family, config) },
        { name: codebookKind, ...partOfCodebooks(codebooks) },
      );
    }
    return { loss: result.history.findLast((entry) => entry.heldOutLoss !== undefined)!.heldOutLoss! };
  } finally {
    await objective.release();
  }
}
