/**
 * Hidden transfer (Wu et al. 2024): after a middle layer, a matrix turns the last token's state into the states of tokens that are not there yet. Their
 * rows go through the remaining layers, looking at the text and at each other, and are read by the model's own head. Every drafted node has such
 * rows of its own; they exist in the upper layers alone, and cost nothing below.
 */
import { z } from "zod";
import type { ForestNode, LookAhead } from "../../../engine/forest.ts";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure, ofOption } from "../../../errors.ts";
import { within } from "../../../files.ts";
import type { Edit } from "../../../models/edits.ts";
import { add, gather, greater, linear, reshape, where } from "../../../tensor/index.ts";
import { fileIdentity } from "../../../weights/index.ts";
import { foresightOptions, foresightOutlook, levelsOf } from "../foresight-options.ts";
import type { Foresight } from "../guesses.ts";
import { refuseOptions } from "../options.ts";
import { rowDrafter, rowOptions } from "../row-drafter.ts";
import { speculate } from "../speculate.ts";
import { acceptanceOptions, isLossless, typicalAcceptance } from "../typical.ts";
import { checkTransferLayers, hiddenTransferCard, hiddenTransferKind, siteAfter } from "./training.ts";

interface Transfers {
  readonly identity: string;
  readonly layers: readonly number[];
  /** One look-ahead row a step. */
  readonly rows: readonly LookAhead[];
}

/** Errors: `unavailable`, `bad_file`; `bad_option` for a part of another model, or layers that it has not. */
export const openTransfers = (
  model: Pick<DecodingModel, "config" | "part" | "state">,
  reference: string,
): Promise<Transfers> =>
  model.state(`hidden transfer ${reference}`, async () => {
    const { card, folder, tensors } = await model.part(reference, hiddenTransferKind);
    const settings = hiddenTransferCard.safeParse(card.settings);
    ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error?.issues[0].message}`);
    const { layers, bias, source } = settings.data;
    const { hiddenSize: width, layers: count } = model.config;
    checkTransferLayers(layers, count);
    const nothing = new Float32Array(width);
    const rows = layers.map((layer, i): LookAhead => {
      const matrix = tensors.get(`weight.${i + 1}`);
      const shift = tensors.get(`bias.${i + 1}`);
      const fits = matrix?.shape.join() === `${width},${width}` && (!bias || shift?.shape.join() === `${width}`);
      ensure(
        fits,
        "bad_file",
        `${folder}: step ${i + 1} wants weight.${i + 1} [${width}, ${width}]${bias ? ` and bias.${i + 1} [${width}]` : ""}`,
      );
      const edit = transferEdit(i + 1, layer, matrix!.values, bias ? shift!.values : undefined);
      const above = source === "previous" ? 1 : i + 1;
      return {
        edits: [{ edit, inputs: ({ node, placeOf }) => sourceOf(ancestor(node!, above), placeOf, edit.site, nothing) }],
      };
    });
    return {
      identity: `${card.base.fingerprint} ${await fileIdentity(within(folder, "part.safetensors"))}`,
      layers,
      rows,
    };
  });

function ancestor(node: ForestNode, above: number): ForestNode {
  let at = node;
  for (let i = 0; i < above; i++) at = at.parent!;
  return at;
}

/** In this pass, as a rule; a node that another request has had computed already is in none, but its state was read. */
function sourceOf(
  node: ForestNode,
  placeOf: (node: ForestNode) => number | undefined,
  site: string,
  nothing: ArrayLike<number>,
): Record<string, ArrayLike<number>> {
  const place = placeOf(node);
  if (place !== undefined) return { source: [place], known: [0], state: nothing };
  const state = node.taps?.[site];
  ensure(state, "internal", "a state that is to be transferred was neither computed nor read");
  return { source: [0], known: [1], state };
}

/** Begins a row after a layer with the state of another row of the pass, turned. */
export function transferEdit(
  step: number,
  layer: number,
  weight: Float32Array<ArrayBuffer>,
  bias?: Float32Array<ArrayBuffer>,
): Edit {
  const width = Math.sqrt(weight.length);
  return {
    name: `transfer${step}`,
    site: siteAfter(layer),
    begins: true,
    parameters: {
      weight: { shape: [width, width], values: weight },
      ...(bias && { bias: { shape: [width], values: bias } }),
    },
    inputs: { source: { type: "int64", shape: [1] }, known: { shape: [1] }, state: { shape: [width] } },
    apply(value, { parameters, inputs }) {
      const found = gather(value, reshape(inputs.source, [-1]));
      const turned = linear(where(greater(inputs.known, 0), inputs.state, found), parameters.weight);
      return { value: bias ? add(turned, parameters.bias) : turned };
    },
  };
}

export function transferForesight({ identity, layers, rows }: Transfers, levels: number, depth: number): Foresight {
  return {
    identity: `hidden-transfer ${levels} ${identity}`,
    levels,
    taps: [...new Set(layers.map(siteAfter))],
    rows: (count) => [rows.slice(0, count)],
    cost: (level) => (depth - layers[level]) / depth,
    guess: (_, [chain]) => chain.map(({ logits }) => logits),
  };
}

export const hiddenTransfer = defineMethod({
  name: "hidden-transfer",
  family: "speculative",
  summary: "states of tokens that are not there yet go through the upper layers and guess ahead; no second model",
  source: "Wu et al. 2024, hidden transfer, arXiv 2404.12022",
  lossless: isLossless,
  outlook: foresightOutlook(async (model, { transfers }) => (await openTransfers(model, transfers)).layers.length),
  options: z.strictObject({
    transfers: hostOnly(
      z
        .string()
        .default("hidden-transfer")
        .describe("the trained matrices: a part beside the model by its name, or the folder of one"),
    ),
    ...foresightOptions,
    ...rowOptions,
    ...acceptanceOptions,
  }),
  async decode(decoding, options) {
    const { acceptance } = options;
    if (acceptance === "exact") refuseOptions(options, ["epsilon", "alpha"], 'acceptance "exact"');
    const { model } = decoding;
    const transfers = await ofOption("transfers", () => openTransfers(model, options.transfers));
    const levels = levelsOf(options.levels, transfers.layers.length, `transfers ${options.transfers}`);
    const drafter = await rowDrafter(decoding, transferForesight(transfers, levels, model.config.layers), options);
    await speculate(decoding, drafter, acceptance === "typical" ? typicalAcceptance(options) : undefined);
  },
});
