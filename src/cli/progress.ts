/** Opening a model with a line of progress, as all commands do it. */

import { formatBytes } from "../bytes.ts";
import { type Model, type OpenOptions, open } from "../open.ts";
import type { OpenProgress } from "../references.ts";
import { interruptible } from "./interruptible.ts";
import { showProgress } from "./output.ts";

export const progressOfOpening =
  (model: string) =>
  (progress: OpenProgress): void => {
    if (progress.stage === "load") showProgress(`loading ${model}`);
    else if (progress.stage === "convert")
      showProgress(`converting ${model}: ${formatBytes(progress.done)} of ${formatBytes(progress.total)}`);
    else showProgress(`downloading ${progress.file}: ${formatBytes(progress.done)} of ${formatBytes(progress.total)}`);
  };

/** Ctrl-C ends it, and takes the line away. Errors: those of `open`. */
export const openShown = (model: string, options: OpenOptions = {}): Promise<Model> =>
  interruptible((signal) => open(model, { ...options, signal, onProgress: progressOfOpening(model) }));
