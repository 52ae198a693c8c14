/** Pointer networks as models: safetensors files of ours, by their metadata. */
import { createFileKind } from "../../engine/method.ts";
import { tellingReads } from "../../reads.ts";
import type { Point } from "./geometry.ts";
import { openPointing, type Pointed, type PointingModel, type PointOptions, point, pointingFormat } from "./index.ts";

/** What a model with the capability `pointing` brings. */
export interface Pointer extends PointingModel {
  /** See `point`. */
  point(points: readonly Point[], options?: PointOptions): Promise<Pointed>;
}

export const pointingKind = createFileKind({
  name: "pointer network",
  fileFormat: pointingFormat,
  async load(path) {
    const model = await openPointing(path);
    const ask = (points: readonly Point[], how?: PointOptions): Promise<Pointed> => point(model, points, how);
    const pointing: Pointer = { ...model, point: tellingReads("point", ["points", "options"], ask) };
    const parameterCount = [...model.weights.values()].reduce((sum, { values }) => sum + values.length, 0);
    return { abilities: { pointing }, parameterCount };
  },
});
