/** The draft of a model as a network of rows, which take a token and the state of the token before it, and give its own. */
import type { DecodingModel } from "../../../engine/model.ts";
import { input, parameter } from "../../../tensor/index.ts";
import { type RowProgram, rowProgram } from "../row-program.ts";
import { fused, layerConfig, layerEdits, readEagle } from "./layer.ts";

type Host = Pick<DecodingModel, "name" | "config" | "family" | "part" | "parameterValues" | "state">;

/** Errors: `unavailable`, `bad_file`; `bad_option` for a part of another model; those of compiling. */
export const openEagle = (model: Host, reference: string): Promise<RowProgram> =>
  model.state(`eagle ${reference}`, async () => {
    const { family, config } = model;
    const width = config.hiddenSize;
    const { weight, bias, normed, layer } = await readEagle(model, reference);
    const values = new Map([...layer, ["fc.weight", weight], ...(bias ? [["fc.bias", bias] as const] : [])]);
    const fusion = {
      weight: parameter("fc.weight", [width, 2 * width]),
      ...(bias && { bias: parameter("fc.bias", [width]) }),
    };
    const states = input("states", ["rows", width]);
    return rowProgram({
      family,
      config: layerConfig(config),
      edits: layerEdits((tokens) => fused(tokens, states, fusion), normed),
      layers: [0],
      state: "layers.0.residual",
      values,
      more: (names) => model.parameterValues((name) => names.has(name)),
    });
  });
