/** Worker thread entry: a learner that answers calls, one after the other. */
import { workerData } from "node:worker_threads";
import { serveThread } from "../../../runtime/thread.ts";
import { createLearner } from "./learner.ts";

/** New weights are handed over, not copied. */
function buffersIn(result: unknown): ArrayBuffer[] {
  const values = (result as { values?: Float32Array<ArrayBuffer>[] } | undefined)?.values;
  return values?.map(({ buffer }) => buffer) ?? [];
}

serveThread(createLearner(workerData.config, workerData.options), buffersIn);
