/** What decodes signals, as programs and pages have it alike. */

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
} from "./filter.ts";
export { filters, findFilter } from "./filters.ts";
export { type Features, type FilterModel, type FitOptions, fitFilter, openFilter, smoothAll } from "./fit.ts";
export { pickColumns, readNumber, type Table } from "./formats/columns.ts";
export { type Matrix, matrix, selectRows } from "./matrix.ts";
export { loadFilter, loadState, saveFilter, saveState } from "./model-file.ts";
export { posteriorEvents } from "./posterior-events.ts";
export { type Scores, score } from "./scores.ts";
export { type TrajectoryPicture, trajectorySvg } from "./trajectory-svg.ts";
