/** A language model of an automaton's walks, trained from scratch with or without codebooks, as a model folder with a part: what the paper's task is measured on. */

import { ensure, VentrisError } from "../../../errors.ts";
import { nameOf, within } from "../../../files.ts";
import { familyOf } from "../../../models/families.ts";
import { fingerprintOf, writePart } from "../../../models/parts.ts";
import { sitesOf } from "../../../models/sites.ts";
import { requireCounts, requirePositive, requireWhole } from "../../../numbers.ts";
import { digestOf } from "../../../training/digest.ts";
import { writeConfigured } from "../../../training/export.ts";
import { type TrainProgress, train } from "../../../training/loop.ts";
import { initialValues } from "../../../training/recipe.ts";
import { linear } from "../../../training/schedule.ts";
import { openWeights } from "../../../weights/index.ts";
import { type Automaton, automatonBatch, automatonVocabulary, beginToken } from "./automaton.ts";
import { statesOf } from "./finetune.ts";
import { type Codebook, codebookKind, partOfCodebooks } from "./part.ts";
import {
  bottlenecksOf,
  type CodebookSites,
  codebookObjective,
  codebooksFromStates,
  initialCodebooks,
} from "./train.ts";

export interface AutomatonModelOptions {
  /** Of the model: the paper has 128 and 4. */
  readonly width: number;
  /** Layers of the model. */
  readonly layers: number;
  /** Where codebooks are; "none": the plain model. */
  readonly sites: CodebookSites | "none";
  /** Codes of each codebook. */
  readonly codes: number;
  /** Codes that stand for a state. */
  readonly k: number;
  /** Walks in a batch. */
  readonly rows: number;
  /** Tokens of a walk. */
  readonly length: number;
  /**
   * Of the plain model, and then of the model with its codebooks, which begin near the plain one's states: the order of the paper's language models. The
   * paper trains this task with codebooks from the start, over many more walks; so does `plainSteps: 0`.
   */
  readonly plainSteps: number;
  /** Of the model with its codebooks. */
  readonly steps: number;
  /** Peak of the learning rate. */
  readonly rate: number;
  /** Of the first weights and of the walks. */
  readonly seed: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told after each step how far the run under way is. Default: nobody is told. */
  readonly onProgress?: (progress: TrainProgress) => void;
}

/** What the benchmark and the reproduction train: minutes of one core. */
export const automatonScale: Omit<AutomatonModelOptions, "sites"> = {
  width: 64,
  layers: 2,
  codes: 512,
  k: 1,
  rows: 16,
  length: 32,
  plainSteps: 4000,
  steps: 2000,
  rate: 4e-3,
  seed: 1,
};

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
 * Trains into `folder`: the model, and its codebooks as the part "codebook". The runs' checkpoints lie below and the same call goes on from them. Returns
 * the loss on walks that were not trained on, with the codebooks and of the plain model that they began from. Errors: `aborted` when the signal came first; those of training.
 */
export async function trainAutomatonModel(
  automaton: Automaton,
  folder: string,
  options: AutomatonModelOptions,
): Promise<{ readonly loss: number; readonly plain: number | undefined }> {
  const { sites, codes, k, rows, length, plainSteps, steps, rate, seed, threads, signal, onProgress } = options;
  requireCounts({ codes, k, rows, length, plainSteps, steps });
  requirePositive({ rate });
  requireWhole({ seed }, 0);
  const json = automatonConfig(options);
  const { family, config } = familyOf(json);
  const values = initialValues(family, config, seed);
  const batch = (index: number) => automatonBatch(automaton, { rows, length }, seed, index);
  const task = { family, config, values, rows, length, threads };
  const run = async (codebooks: readonly Codebook[], name: string, count: number): Promise<number> => {
    const objective = await codebookObjective({ ...task, codebooks, train: "model" });
    try {
      const result = await train({
        objective,
        batches: (index) => batch((name === "plain" ? 2 ** 29 : 0) + index),
        // Walks of numbers that training does not reach.
        evaluation: { batches: Array.from({ length: 4 }, (_, i) => batch(2 ** 30 + i)), every: 250 },
        steps: count,
        schedule: linear({ peak: rate, warmup: Math.min(100, Math.ceil(count / 10)), steps: count, final: rate / 20 }),
        optimiser: { beta2: 0.99, weightDecay: 0.01 },
        seed,
        basis: async () => {
          return { rows, length, rate, sites, codes, k, automaton: await digestOf(JSON.stringify(automaton)) };
        },
        checkpointFolder: within(folder, "training", name),
        signal,
        onProgress,
      });
      if (result.reason !== "steps") throw new VentrisError("aborted", "training the automaton's model was aborted");
      return result.history.findLast((entry) => entry.heldOutLoss !== undefined)!.heldOutLoss!;
    } finally {
      await objective.release();
    }
  };
  const plain = plainSteps > 0 ? await run([], "plain", plainSteps) : undefined;
  const shape = { codes, k, similarity: "inner", aggregate: "sum" } as const;
  const codebooks = sites === "none" ? [] : await begun();
  const loss = sites === "none" ? plain : await run(codebooks, "codebooks", steps);
  ensure(loss !== undefined, "bad_option", "the automaton's model: a plain one has plainSteps alone");

  async function begun(): Promise<Codebook[]> {
    const chosen = { sites: sites as CodebookSites, ...shape };
    if (plainSteps === 0) return initialCodebooks(family, config, chosen, { seed });
    const first = Array.from({ length: 8 }, (_, i) => batch(2 ** 30 + 100 + i).tokens);
    const places = bottlenecksOf(family, config, chosen).map(({ site }) => site);
    return codebooksFromStates(family, config, chosen, await statesOf(task, places, first), seed);
  }
  await writeConfigured(family, config, values, json, folder);
  if (codebooks.length > 0) {
    const source = await openWeights(folder);
    const fingerprint = await fingerprintOf(source).finally(() => source.close());
    await writePart(
      within(folder, "parts", codebookKind),
      { name: nameOf(folder), fingerprint, sites: sitesOf(family, config) },
      { name: codebookKind, ...partOfCodebooks(codebooks) },
    );
  }
  return { loss, plain };
}
