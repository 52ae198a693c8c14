/** Filters of signals as models: safetensors files of ours, by their metadata. */
import { createFileKind } from "../../engine/method.ts";
import { tellingReads } from "../../reads.ts";
import type { Filter, Trajectory } from "./filter.ts";
import type { FilterModel } from "./fit.ts";
import type { Matrix } from "./matrix.ts";

/** What the metadata of their files say. */
export const filterFormat = "ventris filter 1";

/** What a model with the capability `filter` brings. */
export interface FittedFilter {
  readonly model: FilterModel;
  /** Before its first bin: for signals that come one bin at a time. */
  start(): Filter;
  /** The estimates of a whole recording [bins, n]. Errors: `bad_shape`. */
  follow(observations: Matrix): Trajectory;
  /** The same with what came later known, too. Errors: `bad_option` for a method whose estimates cannot be smoothed. */
  smooth(observations: Matrix): Trajectory;
}

export const filterKind = createFileKind({
  name: "filter of signals",
  fileFormat: filterFormat,
  async load(path) {
    // Whoever opens a language model does not read the filters' code.
    const { filterAll, findFilter, loadFilter, openFilter, smoothAll } = await import("./everywhere.ts");
    const model = await loadFilter(path);
    const method = findFilter(model.method);
    const start = (): Filter => openFilter(method, model);
    const filter: FittedFilter = {
      model,
      start,
      follow: tellingReads("follow", ["observations"], (observations) => filterAll(start(), observations)),
      smooth: tellingReads("smooth", ["observations"], (observations) => smoothAll(method, model, observations)),
    };
    const parameterCount = Object.values(model.parameters.arrays).reduce((sum, { data }) => sum + data.length, 0);
    return { abilities: { filter }, parameterCount };
  },
});
