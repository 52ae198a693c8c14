/**
 * Early exits, the baseline that shows what the upper layers bring hidden transfer: the same matrices make the states of tokens that are not there yet, from
 * the same state and layer, but the model's own norm and output matrix read them at once. No row goes on, and no step sees another.
 */
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { within } from "../../../files.ts";
import type { Edit } from "../../../models/edits.ts";
import { textGraph } from "../../../models/graph.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import {
  add,
  concat,
  gather,
  input,
  linear,
  logSoftmax,
  multiply,
  parameter,
  parametersOf,
  reduceMean,
  stopGradient,
} from "../../../tensor/index.ts";
import { divergenceOf } from "../../../training/divergence.ts";
import { aheadLayout, indices } from "../../../training/look-ahead.ts";
import { columns, int64, ofEdits, partKind } from "../../../training/parts.ts";
import { fileIdentity } from "../../../weights/index.ts";
import type { Foresight } from "../guesses.ts";
import { partProgram } from "../part-program.ts";
import { checkTransferLayers, hiddenTransferSettings, identityMatrix, siteAfter } from "./training.ts";

/** What is asked of a model here; an open model has it. */
type Host = Pick<DecodingModel, "config" | "family" | "state" | "part" | "parameterValues">;

export const earlyExitKind = "early-exit";

const earlyExitSettings = hiddenTransferSettings.pick({ layers: true, anchors: true }).required({ layers: true });

/** Trained where transfers are, for what they are: the model's own distributions at the anchors' next places, which are evenly spaced. */
export const earlyExitPart = partKind(earlyExitKind, earlyExitSettings, (task, { layers, anchors }) => {
  const { family, config, rows, length, seed } = task;
  const width = config.hiddenSize;
  checkTransferLayers(layers, config.layers);
  const shape = { family, config, rows, length, seed, anchors, steps: layers.length };
  const layout = aheadLayout({ ...shape, places: "even", decay: 1, targets: "model" });
  const { whole, rowsOf } = layout;
  const { anchorOf } = layout.even;
  /** The anchors in a batch without blocks; each has one row of a step. */
  const places = rowsOf(1).map((at) => Math.floor(at / whole) * length + (anchorOf[at] % whole));
  const edits = layers.map(
    (layer, i): Edit => ({
      name: `exit${i + 1}`,
      site: siteAfter(layer),
      parameters: { [`weight.${i + 1}`]: { shape: [width, width], values: identityMatrix(width) } },
      apply: (value, { parameters, readout }) => ({
        readings: { logits: readout(linear(gather(value, indices(places)), parameters[`weight.${i + 1}`])) },
      }),
    }),
  );
  const { logits, readings } = textGraph(family, config, {
    rows,
    length,
    instruments: { taps: edits.map(({ name }) => `${name}.logits`), edits },
  });
  const losses = edits.map(({ name }, i) => {
    const taught = stopGradient(gather(logits, indices(places.map((at) => at + i + 1))));
    return reduceMean(divergenceOf("forward-kl", logSoftmax(taught), logSoftmax(readings[`${name}.logits`])));
  });
  return {
    ...ofEdits(edits),
    loss: multiply(losses.reduce(add), 1 / losses.length),
    feeds: (batch) => ({ tokens: int64(columns(batch, 0, length), [rows, length]) }),
  };
});

/** Guesses read off the node itself. Errors: as `openTransfers`. */
export const openEarlyExits = (model: Host, reference: string): Promise<Foresight & { close(): Promise<void> }> =>
  model.state(`early exits ${reference}`, async () => {
    const { card, folder, tensors } = await model.part(reference, earlyExitKind);
    const settings = earlyExitSettings.safeParse(card.settings);
    ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error?.issues[0].message}`);
    const { layers } = settings.data;
    const { config, family } = model;
    const { hiddenSize: width, vocabularySize } = config;
    checkTransferLayers(layers, config.layers);
    const values = new Map<string, Float32Array>();
    const states = layers.map((_, i) => {
      const name = `weight.${i + 1}`;
      const matrix = tensors.get(name);
      const fits = matrix?.shape.join() === `${width},${width}`;
      ensure(fits, "bad_file", `${folder}: step ${i + 1} wants ${name} [${width}, ${width}]`);
      values.set(name, matrix!.values);
      return linear(input(`state.${i + 1}`, [1, width]), parameter(name, [width, width]));
    });
    const logits = family.readout(config, parameterMaker(), concat(states, 0));
    const used = parametersOf(logits);
    for (const [name, data] of await model.parameterValues((name) => used.has(name))) values.set(name, data);
    const program = await partProgram({ logits }, values);
    return {
      identity: `early-exit ${card.base.fingerprint} ${await fileIdentity(within(folder, "part.safetensors"))}`,
      levels: layers.length,
      taps: [...new Set(layers.map(siteAfter))],
      async guess({ taps }) {
        const given = layers.map((layer, i): [string, { data: Float32Array; dims: number[] }] => {
          const data = taps?.[siteAfter(layer)];
          ensure(data, "internal", "the state that an exit is read off is not there");
          return [`state.${i + 1}`, { data, dims: [1, width] }];
        });
        const data = (await program.run(Object.fromEntries(given))).logits.data as Float32Array;
        return layers.map((_, i) => data.subarray(i * vocabularySize, (i + 1) * vocabularySize));
      },
      close: program.close,
    };
  });
