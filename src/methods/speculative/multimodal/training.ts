/**
 * Training of the draft (Lin et al. 2025, section 3): from the frozen model's states and the rows of its input it foretells the next states, by
 * smooth L1, and what the model's head makes of them, which counts a tenth; over rows whose foretold state says a word of an answer.
 */
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { Edit } from "../../../models/edits.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import { textGraph } from "../../../models/graph.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import type { PartTensor } from "../../../models/parts.ts";
import {
  add,
  constant,
  gather,
  greater,
  input,
  logSoftmax,
  multiply,
  parameter,
  reduceSum,
  where,
} from "../../../tensor/index.ts";
import { divergenceOf } from "../../../training/divergence.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import type { Values } from "../../../training/next-token.ts";
import type { Objective, Parameter } from "../../../training/objective.ts";
import { int64 } from "../../../training/parts.ts";
import { layerConfig, layerEdits } from "../eagle/layer.ts";
import { initialDraft, smoothDistance } from "../eagle/objective.ts";
import type { DraftBatch } from "./examples.ts";
import { type DraftForm, fusedRows } from "./layer.ts";

export interface DraftTraining {
  /** Texts of a batch, and the draft's rows of each. */
  readonly rows: number;
  readonly length: number;
  readonly form: DraftForm;
  readonly seed: number;
  /** See `multimodalSettings`; default 1. */
  readonly pictureScale?: number;
  /** What the states and the distributions count in the loss. Default 1 and 0.1. */
  readonly states?: number;
  readonly distributions?: number;
  /** Width of the even noise on the states, times 512 and over the texts' length. Default 0.2; training alone. */
  readonly noise?: number;
  readonly threads?: number;
}

export interface DraftObjective extends Objective<DraftBatch> {
  /** What is written as the part, as it then is. */
  readonly tensors: ReadonlyMap<string, PartTensor>;
  release(): Promise<void>;
}

/** The draft's names within the graph: the model's own parameters keep theirs. */
const scope = "multimodal/";

/** Numbers of the noise, which batches read from different places on. */
const noiseNumbers = 1 << 20;

/** `values` are the model's own, which stay as they are. Errors: `bad_option`, those of compiling; `bad_shape` for a batch of another size. */
export async function draftObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: DraftTraining,
): Promise<DraftObjective> {
  const { rows, length, form, seed, pictureScale = 1, states = 1, distributions = 0.1, noise = 0.2, threads } = options;
  ensure(
    states + distributions > 0,
    "bad_option",
    "training: nothing is learned: states and distributions both count 0",
  );
  const width = config.hiddenSize;
  const size = rows * length;
  const tensors = initialDraft(family, config, values, { seed, bias: true });
  const fusion = {
    weight: parameter(`${scope}fc.weight`, [width, 2 * width]),
    bias: parameter(`${scope}fc.bias`, [width]),
  };
  const given = add(input("given", [size, width]), input("noise", [size, width]));
  const wanted = input("wanted", [size, width]);
  const isPicture = input("isPicture", [size, 1]);
  const seen = gather(input("pictures", ["pictureRows", width]), input("places", [size], "int64"));
  const pictures = multiply(seen, pictureScale);
  const [shared, own] = [parameterMaker(), parameterMaker(scope)];
  const draft = textGraph(family, layerConfig(config), {
    rows,
    length,
    instruments: {
      taps: ["layers.0.residual"],
      edits: layerEdits((tokens) => {
        const embeddings = where(greater(isPicture, 0), pictures, tokens);
        return fusedRows(form, { embeddings, states: given, isPicture }, fusion);
      }),
    },
    parameter: (name, shape) => (tensors.has(name) ? own : shared)(name, shape),
  });
  const smooth = smoothDistance(draft.readings["layers.0.residual"], wanted);
  // What the model's own head makes of its own states.
  const head: Edit = { name: "wanted", site: "final", apply: () => ({ value: wanted }) };
  const taught = textGraph(family, layerConfig(config), {
    rows,
    length,
    tokens: constant(new BigInt64Array(size), [rows, length]),
    instruments: { taps: [], edits: [head] },
    parameter: shared,
  });
  const soft = divergenceOf("forward-kl", logSoftmax(taught.logits), logSoftmax(draft.logits));
  const loss = reduceSum(
    multiply(input("counted", [size]), add(multiply(smooth, states), multiply(soft, distributions))),
  );
  const trained = [...tensors].map(
    ([name, { shape, values: stored }]): Parameter => ({ name: scope + name, shape, values: stored, decay: false }),
  );
  const even = Float32Array.from(
    { length: Math.max(noiseNumbers, 2 * size * width) },
    (_, i) => (uniform({ seed, request: 1 }, i, "data") - 0.5) * ((noise * 512) / length),
  );
  const none = new Float32Array(size * width);
  /** Training alone: what is measured on held-out batches has none. */
  function noiseOf({ number }: DraftBatch): Float32Array {
    if (number === undefined || noise === 0) return none;
    const from = Math.floor(uniform({ seed, request: 2 }, number, "data") * (even.length - size * width));
    return even.subarray(from, from + size * width);
  }
  const objective = await graphObjective<DraftBatch>({
    loss,
    trained,
    fixed: values,
    threads,
    feeds(batch) {
      const fits = batch.next.length === size && batch.given.length === size * width;
      ensure(fits, "bad_shape", `a batch must hold ${rows} x ${length} rows, not ${batch.next.length}`);
      return {
        tokens: int64(batch.next, [rows, length]),
        given: { data: batch.given, dims: [size, width] },
        wanted: { data: batch.wanted, dims: [size, width] },
        noise: { data: noiseOf(batch), dims: [size, width] },
        pictures: { data: batch.pictures, dims: [batch.pictures.length / width, width] },
        places: int64(
          batch.places.map((place) => Math.max(0, place)),
          [size],
        ),
        isPicture: { data: Float32Array.from(batch.places, (place) => (place >= 0 ? 1 : 0)), dims: [size, 1] },
        counted: { data: batch.counted, dims: [size] },
      };
    },
  });
  return { ...objective, tensors };
}
