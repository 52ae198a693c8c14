/**
 * Training of a model that sees, from pixels to answers: the next token's cross entropy over texts in which pictures' rows stand among tokens,
 * with gradients through the projector and the vision tower.
 */
import { ensure } from "../../errors.ts";
import { scoresOf } from "../../models/attention.ts";
import type { Edit } from "../../models/edits.ts";
import type { Family, MakeParameter, ModelConfig } from "../../models/family.ts";
import { textGraph } from "../../models/graph.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { visionParameters, visionRows } from "../../models/vision/tower.ts";
import type { Value } from "../../runtime/program.ts";
import {
  add,
  constant,
  crossEntropy,
  divide,
  gather,
  greater,
  input,
  logSumExp,
  multiply,
  reduceMean,
  reduceSum,
  reshape,
  slice,
  subtract,
  type Tensor,
  where,
} from "../../tensor/index.ts";
import { graphObjective } from "../graph-objective.ts";
import { modelParameters, type Values } from "../next-token.ts";
import type { Objective } from "../objective.ts";
import { int64 } from "../parts.ts";

/** Texts with pictures among their tokens. */
export interface SeeingBatch {
  /** Texts, and tokens of each that are predicted. */
  readonly rows: number;
  readonly length: number;
  /** [rows, length + 1]; where a picture's row stands, the token is not looked at. */
  readonly tokens: Int32Array;
  /** [rows, length + 1]: the number of the picture's row that stands there, counted over all pictures of the batch; -1 for tokens. */
  readonly places: Int32Array;
  /** [rows, length]: how much each target counts; their mean is 1. */
  readonly weights: Float32Array;
  /** [pictures, channels, size, size], resized and normalised. */
  readonly pixels: Float32Array;
  /** [rows, length, length]: how much a token is to look at each other, for `SeeingShape.grounding`; a row of zeros: nothing is asked. */
  readonly looks?: Float32Array;
  readonly [extra: string]: unknown;
}

export interface SeeingShape {
  readonly rows: number;
  readonly length: number;
  readonly pictures: number;
  /** What is trained: the whole model (default), or the text model alone while the tower and the projector stay as they are. */
  readonly trains?: "all" | "text";
  /**
   * An attention head that is shown where to look: words at what they speak of. Without it a small model hardly learns to find a thing by what
   * it is, only by where. `share` is how much its cross entropy counts beside that of the answers.
   */
  readonly grounding?: { readonly layer: number; readonly head: number; readonly share: number };
}

/** Cross entropy of where a head looks, [rows * length, heads * dimension] queries and keys as attention compares them. */
function groundingLoss(
  { heads, keyValueHeads, headDimension }: ModelConfig,
  { rows, length }: SeeingShape,
  head: number,
  [queries, keys]: readonly Tensor[],
): Tensor {
  const one = (all: Tensor, number: number): Tensor =>
    reshape(slice(all, 1, number * headDimension, (number + 1) * headDimension), [rows, length, headDimension]);
  const future = Float32Array.from({ length: length * length }, (_, i) =>
    i % length > Math.floor(i / length) ? -1e9 : 0,
  );
  const products = scoresOf(one(queries, head), one(keys, Math.floor((head * keyValueHeads) / heads)));
  const looks = input("looks", [rows, length, length]);
  const asked = reduceSum(looks, -1);
  const each = subtract(
    multiply(asked, logSumExp(add(products, constant(future, [1, length, length])))),
    reduceSum(multiply(looks, products), -1),
  );
  return divide(reduceSum(each), add(reduceSum(asked), 1e-6));
}

/** Puts pictures' rows [rows of all pictures, width] where "places" says, into the first `length` tokens of each text. */
export const pictureEdit = (pictures: Tensor, places: Tensor, isPicture: Tensor): Edit => ({
  name: "pictures",
  site: "embed.tokens",
  apply: (value) => ({ value: where(greater(isPicture, 0), gather(pictures, places), value) }),
});

/** The graph of a batch's pictures, and the edit that puts them into the texts. */
export function picturesOf(config: ModelConfig, { rows, length, pictures }: SeeingShape, parameter: MakeParameter) {
  const { vision } = config;
  ensure(vision, "bad_config", "training: this model has no vision tower");
  const { channels, imageSize } = vision;
  const seen = visionRows(vision, input("pixels", [pictures, channels, imageSize, imageSize]), parameter);
  const places = input("places", [rows * length], "int64");
  return { seen, edit: pictureEdit(seen, places, input("isPicture", [rows * length, 1])) };
}

/** What `picturesOf` reads of a batch. */
export function pictureFeeds(config: ModelConfig, shape: SeeingShape, batch: SeeingBatch): Record<string, Value> {
  const { rows, length, pictures } = shape;
  const { channels, imageSize } = config.vision!;
  const size = rows * length;
  const at = (i: number): number => batch.places[Math.floor(i / length) * (batch.length + 1) + (i % length)];
  return {
    pixels: { data: batch.pixels, dims: [pictures, channels, imageSize, imageSize] },
    places: int64(
      Array.from({ length: size }, (_, i) => Math.max(0, at(i))),
      [size],
    ),
    isPicture: { data: Float32Array.from({ length: size }, (_, i) => (at(i) >= 0 ? 1 : 0)), dims: [size, 1] },
  };
}

/** Trains the model's parameters in place. Errors: `bad_shape` for a batch of another size; those of compiling. */
export async function seeingObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: SeeingShape & { readonly threads?: number },
): Promise<Objective<SeeingBatch> & { release(): Promise<void> }> {
  const { rows, length, threads, trains = "all", grounding } = options;
  const size = rows * length;
  const eyes = new Set(trains === "text" ? visionParameters(config.vision!).map(({ name }) => name) : []);
  const parameter = parameterMaker();
  const { edit } = picturesOf(config, options, parameter);
  const taps = grounding ? ["queries", "keys"].map((name) => `layers.${grounding.layer}.attention.${name}`) : [];
  const { logits, readings } = textGraph(family, config, {
    rows,
    length,
    instruments: { taps, edits: [edit] },
    parameter,
  });
  const each = crossEntropy(logits, input("targets", [size], "int64"));
  const answers = reduceMean(multiply(each, input("weights", [size])));
  const looking =
    grounding &&
    groundingLoss(
      config,
      options,
      grounding.head,
      taps.map((tap) => readings[tap]),
    );
  return graphObjective<SeeingBatch>({
    loss: looking ? add(answers, multiply(looking, grounding.share)) : answers,
    measured: answers,
    trained: modelParameters(family, config, values).filter(({ name }) => !eyes.has(name)),
    fixed: new Map([...eyes].map((name) => [name, values.get(name)!])),
    threads,
    feeds(batch) {
      const fits = batch.tokens.length === rows * (length + 1) && batch.weights.length === size;
      ensure(fits, "bad_shape", `a batch must hold ${rows} x ${length + 1} tokens, not ${batch.tokens.length}`);
      const column = (shift: number): number[] =>
        Array.from(
          { length: size },
          (_, i) => batch.tokens[Math.floor(i / length) * (length + 1) + shift + (i % length)],
        );
      return {
        ...pictureFeeds(config, options, batch),
        tokens: int64(column(0), [rows, length]),
        targets: int64(column(1), [size]),
        weights: { data: batch.weights, dims: [size] },
        ...(batch.looks && { looks: { data: batch.looks, dims: [rows, length, length] } }),
      };
    },
  });
}
