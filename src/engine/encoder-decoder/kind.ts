/** Encoder–decoders as models: checkpoints whose config says that they are. */
import { folderAt } from "../../files.ts";
import { defaultThreads } from "../../runtime/program.ts";
import { readConfig } from "../../weights/index.ts";
import { type ModelKind, requireOnly } from "../method.ts";
import { createEncoderDecoder } from "./index.ts";
import { openTextModel } from "./text-model.ts";

export const encoderDecoderKind: ModelKind = {
  name: "encoder-decoder",
  async open(reference, options, place) {
    const path = await place.path();
    // A file of ours may lie beside such a model.
    if ((await place.format())?.startsWith("ventris")) return undefined;
    const folder = await folderAt(path);
    // What has no config is no matter of this kind, and neither is saying what is wrong with it.
    const config = await readConfig(folder).catch(() => undefined);
    if (config?.model_type !== "t5" && config?.is_encoder_decoder !== true) return undefined;
    requireOnly(reference, "an encoder–decoder", options, ["threads", "profile"]);
    const started = performance.now();
    const { threads = defaultThreads(), profile } = options;
    const model = await openTextModel(path);
    return {
      ...{ name: reference, folder, tokenizer: undefined },
      abilities: { "encoder-decoder": createEncoderDecoder(model, { threads, profile }) },
      secondsToLoad: (performance.now() - started) / 1000,
      parameterCount: [...model.weights.values()].reduce((sum, { length }) => sum + length, 0),
      identity: `${folder} f32 cpu ${threads} threads`,
    };
  },
};
