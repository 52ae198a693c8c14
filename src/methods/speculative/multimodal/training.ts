/**
 * Training of the draft (Lin et al. 2025, section 3): from the frozen model's states and the rows of its input it foretells the next states, by
 * smooth L1, and what the model's head makes of them, which counts a tenth; over rows whose foretold state says a word of an answer.
 */
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import { textGraph } from "../../../models/graph.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import type { PartTensor } from "../../../models/parts.ts";
import {
  add,
  constant,
  gather,
  input,
  logSoftmax,
  multiply,
  parameter,
  reduceSum,
  stopGradient,
} from "../../../tensor/index.ts";
import { divergenceOf } from "../../../training/divergence.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import type { Values } from "../../../training/next-token.ts";
import type { Objective, Parameter } from "../../../training/objective.ts";
import { int64 } from "../../../training/parts.ts";
import { pictureFeeds, picturesOf, type SeeingBatch, type SeeingShape } from "../../../training/seeing/objective.ts";
import { layerConfig, layerEdits } from "../eagle/layer.ts";
import { initialDraft, rowsFrom, smoothDistance } from "../eagle/objective.ts";
import { type DraftForm, fusedRows } from "./layer.ts";

export interface DraftTraining extends SeeingShape {
  readonly form: DraftForm;
  readonly seed: number;
  /** What the states and the distributions count in the loss. Default 1 and 0.1. */
  readonly states?: number;
  readonly distributions?: number;
  /** Width of the even noise on the states, over 512 and divided by the texts' length. Default 0.2; training alone. */
  readonly noise?: number;
  readonly threads?: number;
}

export interface DraftObjective extends Objective<SeeingBatch> {
  /** What is written as the part, as it then is. */
  readonly tensors: ReadonlyMap<string, PartTensor>;
  release(): Promise<void>;
}

/** The draft's names within the graph: the model's own parameters keep theirs. */
const scope = "multimodal/";

/** `values` are the model's own, which stay as they are. Errors: `bad_option`, those of compiling. */
export async function draftObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: DraftTraining,
): Promise<DraftObjective> {
  const { rows, length, form, seed, states = 1, distributions = 0.1, noise = 0.2, threads } = options;
  ensure(
    states + distributions > 0,
    "bad_option",
    "training: nothing is learned: states and distributions both count 0",
  );
  ensure(length >= 3, "bad_option", `training: a draft needs texts longer than ${length} tokens`);
  const width = config.hiddenSize;
  const seen = length - 1;
  const size = rows * seen;
  const tensors = initialDraft(family, config, values, { seed, bias: true });
  const shared = parameterMaker();
  const { edit } = picturesOf(config, options, shared);
  const base = textGraph(family, config, {
    rows,
    length,
    instruments: { taps: ["final", "embed"], edits: [edit] },
    parameter: shared,
  });
  const given = stopGradient(gather(base.readings.final, rowsFrom(0, options)));
  const wanted = stopGradient(gather(base.readings.final, rowsFrom(1, options)));
  const next = stopGradient(gather(base.readings.embed, rowsFrom(1, options)));
  const fusion = {
    weight: parameter(`${scope}fc.weight`, [width, 2 * width]),
    bias: parameter(`${scope}fc.bias`, [width]),
  };
  const own = parameterMaker(scope);
  const noisy = add(given, input("noise", [size, width]));
  const isPicture = input("isNextPicture", [size, 1]);
  const draft = textGraph(family, layerConfig(config), {
    rows,
    length: seen,
    tokens: constant(new BigInt64Array(size), [rows, seen]), // the embeddings are given
    instruments: {
      taps: ["layers.0.residual"],
      edits: layerEdits(() => fusedRows(form, { embeddings: next, states: noisy, isPicture }, fusion)),
    },
    parameter: (name, shape) => (tensors.has(name) ? own : shared)(name, shape),
  });
  const smooth = smoothDistance(draft.readings["layers.0.residual"], wanted);
  const taught = logSoftmax(stopGradient(gather(base.logits, rowsFrom(1, options))));
  const soft = divergenceOf("forward-kl", taught, logSoftmax(draft.logits));
  const counted = input("counted", [size]);
  const loss = reduceSum(multiply(counted, add(multiply(smooth, states), multiply(soft, distributions))));
  const trained = [...tensors].map(
    ([name, { shape, values: stored }]): Parameter => ({ name: scope + name, shape, values: stored, decay: false }),
  );
  const objective = await graphObjective<SeeingBatch>({
    loss,
    trained,
    fixed: values,
    threads,
    feeds(batch) {
      const fits = batch.tokens.length === rows * (length + 1) && batch.weights.length === rows * length;
      ensure(fits, "bad_shape", `a batch must hold ${rows} x ${length + 1} tokens, not ${batch.tokens.length}`);
      const at = (i: number, shift: number): number => Math.floor(i / seen) * (length + 1) + (i % seen) + shift;
      const tokens = Array.from(
        { length: rows * length },
        (_, i) => batch.tokens[Math.floor(i / length) * (length + 1) + (i % length)],
      );
      const counts = Float32Array.from({ length: size }, (_, i) =>
        batch.weights[Math.floor(i / seen) * length + (i % seen) + 1] > 0 ? 1 : 0,
      );
      const all = counts.reduce((a, b) => a + b, 0);
      const request = (batch.number as number | undefined) ?? 0;
      const scale = (noise * 512) / length;
      return {
        ...pictureFeeds(config, options, batch),
        tokens: int64(tokens, [rows, length]),
        isNextPicture: {
          data: Float32Array.from({ length: size }, (_, i) => (batch.places[at(i, 1)] >= 0 ? 1 : 0)),
          dims: [size, 1],
        },
        noise: {
          data: Float32Array.from(
            { length: size * width },
            (_, i) => (uniform({ seed, request }, i, "data") - 0.5) * scale,
          ),
          dims: [size, width],
        },
        counted: { data: counts.map((x) => x / Math.max(1, all)), dims: [size] },
      };
    },
  });
  return { ...objective, tensors };
}
