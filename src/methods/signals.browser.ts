/** What decodes signals, in a page: all but the reading of recordings, whose formats are files of a disk. */
import { VentrisError } from "../errors.ts";

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
export { type Matrix, matrix, selectRows } from "./signals/matrix.ts";
export { loadFilter, loadState, saveFilter, saveState } from "./signals/model-file.ts";
export { posteriorEvents } from "./signals/posterior-events.ts";
export { type Scores, score } from "./signals/scores.ts";
export { type TrajectoryPicture, trajectorySvg } from "./signals/trajectory-svg.ts";

/** Errors: `unavailable`, always. */
export async function readTable(): Promise<never> {
  throw new VentrisError(
    "unavailable",
    "readTable reads files, which a page has not: give numbers, as matrix(rows, columns, values)",
  );
}
