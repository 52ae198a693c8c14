/** The draft of a model that sees as a network of rows, which take a token or a picture's row and the state of the row before it. */
import type { Model } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { greater, input, parameter, where } from "../../../tensor/index.ts";
import { layerConfig, layerParameters } from "../eagle/layer.ts";
import { type RowProgram, rowProgram } from "../row-program.ts";
import { fusedRows, multimodalEdits, multimodalKind, multimodalSettings } from "./layer.ts";

type Host = Pick<Model, "name" | "config" | "family" | "part" | "parameterValues" | "state">;

/** Errors: `unavailable`, `bad_file`; `bad_option` for a part of another kind or model; those of compiling. */
export const openMultimodal = (model: Host, reference: string): Promise<RowProgram> =>
  model.state(`multimodal ${reference}`, async () => {
    const { family, config } = model;
    const width = config.hiddenSize;
    const { card, folder, tensors } = await model.part(reference, multimodalKind);
    const settings = multimodalSettings.safeParse(card.settings);
    ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error!.issues[0].message}`);
    const take = (name: string, shape: readonly number[]): readonly [string, Float32Array] => {
      const found = tensors.get(name);
      ensure(found?.shape.join() === shape.join(), "bad_file", () => {
        return `${folder}: ${name} ${found ? `has shape [${found.shape}]` : "is missing"}, and ${model.name} asks for [${shape}]`;
      });
      return [name, found.values];
    };
    const values = new Map([
      take("fc.weight", [width, 2 * width]),
      take("fc.bias", [width]),
      ...layerParameters(family, config).map(({ name, shape }) => take(name, shape)),
    ]);
    const fusion = { weight: parameter("fc.weight", [width, 2 * width]), bias: parameter("fc.bias", [width]) };
    const states = input("states", ["rows", width]);
    const [vectors, isPicture] = [input("vectors", ["rows", width]), input("isVector", ["rows", 1])];
    return rowProgram({
      family,
      config: layerConfig(config),
      edits: multimodalEdits((tokens) => {
        const embeddings = where(greater(isPicture, 0), vectors, tokens);
        return fusedRows(settings.data.form, { embeddings, states, isPicture }, fusion);
      }),
      layers: [0],
      state: "layers.0.residual",
      values,
      vectors: true,
      more: (names) => model.parameterValues((name) => names.has(name)),
    });
  });
