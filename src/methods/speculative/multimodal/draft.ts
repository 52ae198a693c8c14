/** The draft of a model that sees as a network of rows, which take a token or a picture's row and the state of the row before it. */
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { greater, input, multiply, parameter, where } from "../../../tensor/index.ts";
import { layerConfig, layerEdits, layerParameters, takerOf } from "../eagle/layer.ts";
import { type RowProgram, rowProgram } from "../row-program.ts";
import { type DraftForm, fusedRows, multimodalKind, multimodalSettings } from "./layer.ts";

type Host = Pick<DecodingModel, "name" | "config" | "family" | "part" | "parameterValues" | "state">;

/** Errors: `unavailable`, `bad_file`; `bad_option` for a part of another kind or model; those of compiling. */
export const openMultimodal = (model: Host, reference: string): Promise<RowProgram & { readonly form: DraftForm }> =>
  model.state(`multimodal ${reference}`, async () => {
    const { family, config } = model;
    const width = config.hiddenSize;
    const part = await model.part(reference, multimodalKind);
    const { card, folder } = part;
    const settings = multimodalSettings.safeParse(card.settings);
    ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error!.issues[0].message}`);
    const { form, pictureScale } = settings.data;
    const take = takerOf(part, model.name);
    const named = (name: string, shape: readonly number[]) => [name, take(name, shape)] as const;
    const values = new Map([
      named("fc.weight", [width, 2 * width]),
      named("fc.bias", [width]),
      ...layerParameters(family, config).map(({ name, shape }) => named(name, shape)),
    ]);
    const fusion = { weight: parameter("fc.weight", [width, 2 * width]), bias: parameter("fc.bias", [width]) };
    const states = input("states", ["rows", width]);
    const [vectors, isPicture] = [input("vectors", ["rows", width]), input("isVector", ["rows", 1])];
    const program = await rowProgram({
      family,
      config: layerConfig(config),
      edits: layerEdits((tokens) => {
        const embeddings = where(greater(isPicture, 0), multiply(vectors, pictureScale), tokens);
        return fusedRows(form, { embeddings, states, isPicture }, fusion);
      }),
      layers: [0],
      state: "layers.0.residual",
      values,
      vectors: true,
      more: (names) => model.parameterValues((name) => names.has(name)),
    });
    return { ...program, form };
  });
