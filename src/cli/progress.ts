/** What opening a model is doing, as a line of progress. */
import type { OpenProgress } from "../references.ts";
import { showProgress } from "./output.ts";
import { formatBytes } from "./table.ts";

export const progressOfOpening =
  (model: string) =>
  (progress: OpenProgress): void => {
    if (progress.stage === "load") showProgress(`loading ${model}`);
    else showProgress(`downloading ${progress.file}: ${formatBytes(progress.done)} of ${formatBytes(progress.total)}`);
  };
