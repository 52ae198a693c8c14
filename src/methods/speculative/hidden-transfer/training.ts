/**
 * Training of hidden transfer (Wu et al. 2024): one matrix a step, from the identity, through the upper layers of the frozen model, by forward KL from
 * the model's own distribution at the same position. The attention of a step's row to the rows of the steps before it is kept, and so is the
 * gradient through them: the steps are trained together.
 */
import { z } from "zod";
import { ensure } from "../../../errors.ts";
import type { Edit } from "../../../models/edits.ts";
import { add, gather, greater, linear, type Tensor, where } from "../../../tensor/index.ts";
import { aheadGraph, aheadLayout, indices, onesWhere } from "../../../training/look-ahead.ts";
import { ofEdits, type PartTask, partKind } from "../../../training/parts.ts";
import { measureLayers } from "./layers.ts";

export const hiddenTransferKind = "hidden-transfer";

export const hiddenTransferSettings = z.strictObject({
  /** For each step, after how many layers its rows begin: rising, as a step's rows look at those of the steps before it. Default: as measured. */
  layers: z.array(z.int().min(1)).min(1).max(16).optional(),
  /** How many there are where layers are measured; default: 3. */
  steps: z.int().min(1).max(16).optional(),
  bias: z.boolean().default(false),
  /** Where a step's state is made from: the last token's own row, or the row of the step before it. */
  source: z.enum(["last", "previous"]).default("last"),
  anchors: z.int().min(1).max(512).default(24),
  /** Where in the texts: drawn anew for each batch, or evenly spaced. */
  places: z.enum(["random", "even"]).default("random"),
  decay: z.number().gt(0).max(1).default(1),
  targets: z.enum(["model", "texts"]).default("model"),
});

/** As cards say them: with the losses that the layers were chosen by, where they were measured. */
export const hiddenTransferCard = hiddenTransferSettings
  .required({ layers: true })
  .extend({ losses: z.array(z.array(z.number())).optional() });

/** Errors: `bad_option` for layers that a model of so many has not, or that fall. */
export function checkTransferLayers(layers: readonly number[], count: number): void {
  for (const [i, layer] of layers.entries()) {
    ensure(
      layer <= count - 1,
      "bad_option",
      `layers: step ${i + 1} is to begin after layer ${layer}, and states of a model of ${count} layers can begin after 1 to ${count - 1}`,
    );
    ensure(
      i === 0 || layer >= layers[i - 1],
      "bad_option",
      `layers: step ${i + 1} is to begin after layer ${layer}, before the step ahead of it (${layers[i - 1]}), whose rows it has to see`,
    );
  }
}

export const siteAfter = (layer: number): string => `layers.${layer - 1}.residual`;

/** [width, width]: what a state is turned by before anything is learned. */
export function identityMatrix(width: number): Float32Array<ArrayBuffer> {
  const matrix = new Float32Array(width * width);
  for (let at = 0; at < width; at++) matrix[at * (width + 1)] = 1;
  return matrix;
}

type Settings = z.output<typeof hiddenTransferSettings>;

function transferGraph(task: PartTask, settings: Settings, layers: readonly number[]) {
  const { family, config, rows, length, seed } = task;
  const { bias, source, anchors, places, decay, targets } = settings;
  const width = config.hiddenSize;
  checkTransferLayers(layers, config.layers);
  const steps = layers.length;
  const ahead = { family, config, rows, length, anchors, places, seed, steps, decay, targets };
  const layout = aheadLayout(ahead);
  const edits = layers.map((layer, i): Edit => {
    const step = i + 1;
    // A step's row is one after the row of the step before it, and the first one's source is the anchor either way.
    const before = indices(layout.stepOf.map((own, at) => (own === step ? at - 1 : at)));
    const from = step > 1 && source === "previous" ? before : layout.anchors;
    const isStep = onesWhere(layout.stepOf.map((own) => own === step));
    return {
      name: `transfer${step}`,
      site: siteAfter(layer),
      parameters: {
        [`weight.${step}`]: { shape: [width, width], values: identityMatrix(width) },
        ...(bias && { [`bias.${step}`]: { shape: [width], values: new Float32Array(width) } }),
      },
      apply: (value, { parameters }) => {
        const state: Tensor = gather(value, from);
        const turned = linear(state, parameters[`weight.${step}`]);
        const moved = bias ? add(turned, parameters[`bias.${step}`]) : turned;
        return { value: where(greater(isStep, 0), moved, value) };
      },
    };
  });
  return { ...ofEdits(edits), ...aheadGraph(ahead, layout, edits) };
}

export const hiddenTransferPart = partKind(hiddenTransferKind, hiddenTransferSettings, async (task, settings) => {
  const { layers, steps, ...others } = settings;
  if (layers !== undefined) {
    ensure(
      steps === undefined || steps === layers.length,
      "bad_option",
      `steps: ${steps} are asked for, and layers names ${layers.length}: give one of the two`,
    );
    return { ...transferGraph(task, settings, layers), stated: { ...others, layers } };
  }
  const measured = await measureLayers(task, steps ?? 3, (tried) => transferGraph(task, settings, tried));
  return { ...transferGraph(task, settings, measured.layers), stated: { ...others, ...measured } };
});
