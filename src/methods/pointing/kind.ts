/** Pointer networks as models: safetensors files of ours, by their metadata. */
import { type ModelKind, requireOnly } from "../../engine/method.ts";
import { folderOf } from "../../files.ts";
import { fileFormat } from "../../weights/index.ts";
import type { Point } from "./geometry.ts";
import { openPointing, type Pointed, type PointingModel, type PointOptions, point, pointingFormat } from "./index.ts";

/** What a model with the capability `pointing` brings. */
export interface Pointer extends PointingModel {
  /** See `point`. */
  point(points: readonly Point[], options?: PointOptions): Pointed;
}

export const pointingKind: ModelKind = {
  name: "pointer network",
  fileFormat: pointingFormat,
  async open(reference, options, locate) {
    const path = await locate();
    if ((await fileFormat(path)) !== pointingFormat) return undefined;
    requireOnly(reference, "a pointer network", options, []);
    const started = performance.now();
    const model = await openPointing(path);
    const pointer: Pointer = { ...model, point: (points, how) => point(model, points, how) };
    return {
      ...{ name: reference, folder: folderOf(path), tokenizer: undefined },
      abilities: { pointing: pointer },
      secondsToLoad: (performance.now() - started) / 1000,
      parameterCount: [...model.weights.values()].reduce((sum, { values }) => sum + values.length, 0),
      identity: path,
    };
  },
};
