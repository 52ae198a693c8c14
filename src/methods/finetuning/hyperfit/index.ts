/**
 * Hyperfitting (Carlsson et al. 2025): fine-tune all weights on a small set of equally long sequences until the training loss is almost
 * zero (Adam at a small constant rate, no decay, no warm-up, a new order every epoch), then decode greedily. The result is a model like any
 * other; what is special is how far the training goes. The early-stopped control comes from the same run.
 */
import { permutation } from "../../../engine/random.ts";
import { ensure, plural } from "../../../errors.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import { requireCounts, requirePositive, requireWhole, requireWithin } from "../../../numbers.ts";
import { adamwState, adamwUpdate } from "../../../training/adamw.ts";
import { nextTokenObjective, type Values } from "../../../training/next-token.ts";

export { type CitationOptions, citationBlocker } from "./citations.ts";

export interface HyperfitOptions {
  /** Passes over the sequences; the paper takes 20. */
  readonly epochs: number;
  /** Constant. The paper's 1e-6 is for a thousand million parameters; a few million want about 5e-4. */
  readonly learningRate: number;
  /** Sequences of a step; the paper takes 8. */
  readonly batch: number;
  /** Label smoothing, for the control that trains as long without reaching zero. */
  readonly smoothing?: number;
  /** Of the orders. */
  readonly seed?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onEpoch?: (epoch: Epoch) => void;
}

export interface Epoch {
  readonly epoch: number;
  /** Mean over the epoch's steps, and over the validation sequences after it; nats a token. */
  readonly trainingLoss: number;
  readonly validationLoss: number;
}

export interface Hyperfitted {
  readonly values: Values;
  readonly epochs: readonly Epoch[];
  /** The weights after the epoch whose validation loss was lowest (0: the original). */
  readonly early: { readonly values: Values; readonly epoch: number };
}

type Sequences = readonly (readonly number[])[];

/**
 * Trains a copy of the weights; `values` stays as it is. Sequences are token ids [length + 1], all equally long. Errors: `bad_option` for
 * fewer sequences than a batch, of which nothing would be trained; `runtime_failed` when the loss is no longer finite.
 */
export async function hyperfit(
  { family, config, values }: { family: Family; config: ModelConfig; values: Values },
  sequences: Sequences,
  validation: Sequences,
  options: HyperfitOptions,
): Promise<Hyperfitted> {
  const { epochs, learningRate, batch, smoothing, seed = 0, threads, signal, onEpoch } = options;
  requireCounts({ "hyperfitting: epochs": epochs, "hyperfitting: batch": batch });
  requirePositive({ "hyperfitting: learningRate": learningRate });
  if (smoothing !== undefined) requireWithin({ "hyperfitting: smoothing": smoothing }, 0, 1);
  requireWhole({ "hyperfitting: seed": seed }, 0);
  const length = (sequences[0]?.length ?? 0) - 1;
  ensure(
    sequences.length >= batch,
    "bad_option",
    `hyperfitting: one batch of ${batch} is more than ${plural(sequences.length, "sequence")}; nothing would be trained`,
  );
  const even = [...sequences, ...validation].every((sequence) => sequence.length === length + 1);
  ensure(even && length >= 1, "bad_option", "hyperfitting: the sequences must be equally long, two tokens or more");
  const trained = new Map([...values].map(([name, stored]) => [name, stored.slice()]));
  const objective = await nextTokenObjective(family, config, trained, { rows: batch, length, threads, smoothing });
  const batchOf = (chosen: Sequences) => ({ tokens: Int32Array.from(chosen.flat()), rows: batch, length });
  const validate = async (): Promise<number> => {
    const count = Math.floor(validation.length / batch);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += await objective.loss(batchOf(validation.slice(i * batch, (i + 1) * batch)));
    return count > 0 ? sum / count : Number.NaN;
  };
  try {
    const state = adamwState(objective.parameters);
    const done: Epoch[] = [];
    let best = { loss: await validate(), epoch: 0, values: new Map(values) as Map<string, Float32Array<ArrayBuffer>> };
    for (let epoch = 1; epoch <= epochs; epoch++) {
      const order = permutation(sequences.length, { seed, request: epoch });
      const steps = Math.floor(sequences.length / batch); // the last, partial batch is left out
      let sum = 0;
      for (let step = 0; step < steps; step++) {
        signal?.throwIfAborted();
        const chosen = order.slice(step * batch, (step + 1) * batch).map((i) => sequences[i]);
        const { loss, gradients } = await objective.gradients(batchOf(chosen));
        ensure(
          Number.isFinite(loss),
          "runtime_failed",
          `hyperfitting diverged in epoch ${epoch}, step ${step}: loss ${loss}`,
        );
        adamwUpdate(objective.parameters, gradients, state, learningRate, { weightDecay: 0 });
        sum += loss;
      }
      const entry = { epoch, trainingLoss: sum / steps, validationLoss: await validate() };
      if (entry.validationLoss < best.loss) {
        const copy = new Map([...trained].map(([name, stored]) => [name, stored.slice()]));
        best = { loss: entry.validationLoss, epoch, values: copy };
      }
      done.push(entry);
      onEpoch?.(entry);
    }
    return { values: trained, epochs: done, early: { values: best.values, epoch: best.epoch } };
  } finally {
    await objective.release();
  }
}

/** Token ids of texts cut to `length + 1`; shorter ones are left out, and one of two that begin with the same 13 tokens. */
export function equalSequences(
  texts: readonly (readonly number[])[],
  length: number,
): { sequences: number[][]; skipped: number } {
  const seen = new Set<string>();
  const sequences: number[][] = [];
  for (const tokens of texts) {
    const key = tokens.slice(0, 13).join();
    if (tokens.length <= length || seen.has(key)) continue;
    seen.add(key);
    sequences.push(tokens.slice(0, length + 1));
  }
  return { sequences, skipped: texts.length - sequences.length };
}
