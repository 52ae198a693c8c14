/**
 * Updates of drafts on recorded positions (Liu et al. 2024, algorithm 1, lines 15 to 19): one AdamW step on the mean divergence over
 * everything recorded since the last step. Runs in a worker thread; nothing here knows of serving.
 */
import { VentrisError } from "../../../errors.ts";
import { familyNamed } from "../../../models/families.ts";
import type { ModelConfig } from "../../../models/family.ts";
import { type AdamWState, adamwState, adamwUpdate, clipScale, euclideanNorm } from "../../../training/adamw.ts";
import { saveCheckpoint } from "../../../training/checkpoint.ts";
import {
  classCount,
  compileDistillation,
  type Distillation,
  type DistillationBatch,
  type Divergence,
} from "../../../training/distillation.ts";
import type { Parameter } from "../../../training/objective.ts";
import { type Example, listedTokens } from "./record.ts";

export interface LearnerOptions {
  readonly divergence: Divergence;
  readonly learningRate: number;
  readonly clip: number;
  readonly threads: number;
}

/** Weights by position in the family's parameters; without moments the optimiser starts afresh. */
export interface DraftState {
  readonly values: readonly Float32Array<ArrayBuffer>[];
  readonly optimiser?: AdamWState;
}

/** New weights, or why the update was discarded: weights and optimiser are then as before. */
export type Update =
  | { readonly loss: number; readonly values: Float32Array<ArrayBuffer>[] }
  | { readonly diverged: string };

export interface Learner {
  /** Takes a draft under a name, or gives a known one other weights. */
  begin(draft: string, state: DraftState): Promise<void>;
  learn(draft: string, examples: readonly Example[]): Promise<Update>;
  /** Writes weights and optimiser as a training checkpoint. Errors: `disk_full`, `unavailable`. */
  save(draft: string, folder: string, record: unknown): Promise<void>;
  close(): Promise<void>;
}

/** Positions of one run of the program; examples with more take several. */
const positionsPerRun = 64;

export function createLearner(config: ModelConfig, options: LearnerOptions): Learner {
  const family = familyNamed(config.architecture);
  const specifications = family.parameters(config);
  const listed = listedTokens(config.vocabularySize);
  const drafts = new Map<string, { parameters: Parameter[]; optimiser: AdamWState }>();
  const programs = new Map<number, Promise<Distillation>>();

  /** Few lengths, so that few programs are compiled. */
  function programFor(tokens: number): Promise<Distillation> {
    let length = 32;
    while (length < tokens) length *= 2;
    length = Math.min(length, config.contextLength);
    let program = programs.get(length);
    if (!program) {
      const { divergence, threads } = options;
      program = compileDistillation(family, config, {
        length,
        positions: positionsPerRun,
        listed,
        divergence,
        threads,
      });
      programs.set(length, program);
    }
    return program;
  }

  function draftNamed(name: string) {
    const draft = drafts.get(name);
    if (!draft) throw new VentrisError("internal", `the learner has no draft "${name}"`);
    return draft;
  }

  /** The mean loss over all positions of the examples, and the sum of its gradients. */
  async function gradientsOf(parameters: Parameter[], examples: readonly Example[]) {
    const weight = 1 / examples.reduce((sum, { positions }) => sum + positions.length, 0);
    const gradients = parameters.map(({ values }) => new Float32Array(values.length));
    let loss = 0;
    for (const example of examples) {
      for (const batch of batchesOf(example, listed, classCount(listed, config.vocabularySize), weight)) {
        const program = await programFor(batch.tokens.length);
        const part = await program.objective(parameters).gradients(batch);
        loss += part.loss;
        part.gradients.forEach((gradient, p) => {
          const sum = gradients[p];
          for (let i = 0; i < sum.length; i++) sum[i] += gradient[i];
        });
      }
    }
    return { loss, gradients };
  }

  async function begin(draft: string, { values, optimiser }: DraftState): Promise<void> {
    const parameters = specifications.map(({ name, shape }, i) => ({ name, shape, values: values[i], decay: false }));
    drafts.set(draft, { parameters, optimiser: optimiser ?? adamwState(parameters) });
  }

  return {
    begin,
    async learn(name, examples) {
      const { parameters, optimiser } = draftNamed(name);
      const { loss, gradients } = await gradientsOf(parameters, examples);
      const norm = euclideanNorm(gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(norm)) return { diverged: `loss ${loss}, gradient norm ${norm}` };
      const before = { values: parameters.map(({ values }) => values.slice()), optimiser: copyOf(optimiser) };
      adamwUpdate(
        parameters,
        gradients,
        optimiser,
        options.learningRate,
        { weightDecay: 0 },
        clipScale(norm, options.clip),
      );
      const values = parameters.map((parameter) => parameter.values.slice());
      if (Number.isFinite(euclideanNorm(values))) return { loss, values };
      await begin(name, before);
      return { diverged: `weights that are not finite after an update with loss ${loss}` };
    },
    async save(name, folder, record) {
      const { parameters, optimiser } = draftNamed(name);
      await saveCheckpoint(folder, {
        step: optimiser.step,
        seed: 0,
        history: [],
        config: record,
        parameters,
        optimiser,
      });
    },
    async close() {
      for (const program of programs.values()) await (await program).release();
    },
  };
}

const copyOf = ({ step, moments }: AdamWState): AdamWState => ({ step, moments: moments.map((m) => m.slice()) });

/** Cuts an example's positions into runs of the program. */
function* batchesOf(
  { tokens, positions, listed, logs }: Example,
  listedCount: number,
  classes: number,
  weight: number,
): Generator<DistillationBatch> {
  for (let from = 0; from < positions.length; from += positionsPerRun) {
    const to = Math.min(from + positionsPerRun, positions.length);
    yield {
      tokens: tokens.subarray(0, positions[to - 1] + 1), // what comes after the last position cannot matter
      positions: positions.subarray(from, to),
      listed: listed.subarray(from * listedCount, to * listedCount),
      logs: logs.subarray(from * classes, to * classes),
      weight,
    };
  }
}
