/** The registry of what decodes signals, for faces: apart from that of text methods, so that neither loads the other. */

export {
  type Estimate,
  type Filter,
  type FilterCounters,
  type FilterData,
  type FilterMethod,
  type FilterParameters,
  type FitContext,
  filterAll,
  type PreparedData,
  type Trajectory,
} from "./signals/filter.ts";
export { filters, findFilter } from "./signals/filters.ts";
export { type Features, type FilterModel, type FitOptions, fitFilter, openFilter, smoothAll } from "./signals/fit.ts";
export { pickColumns, readNumber, type Table } from "./signals/formats/columns.ts";
export { readTable, type SignalTableOptions } from "./signals/formats/table.ts";
export { type Matrix, matrix, selectRows } from "./signals/matrix.ts";
export { loadFilter, loadState, saveFilter, saveState } from "./signals/model-file.ts";
export { posteriorEvents } from "./signals/posterior-events.ts";
export { type Scores, score } from "./signals/scores.ts";
export { type TrajectoryPicture, trajectorySvg } from "./signals/trajectory-svg.ts";
