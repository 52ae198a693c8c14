/** Worker thread entry: a learner that answers calls, one after the other. */
import type { ModelConfig } from "../../../models/family.ts";
import { serveThread, threadData } from "../../../runtime/thread.ts";
import { createLearner, type LearnerOptions } from "./learner.ts";

/** New weights are handed over, not copied. */
function buffersIn(result: unknown): ArrayBuffer[] {
  const values = (result as { values?: Float32Array<ArrayBuffer>[] } | undefined)?.values;
  return values?.map(({ buffer }) => buffer) ?? [];
}

const { config, options } = threadData() as { config: ModelConfig; options: LearnerOptions };
serveThread(createLearner(config, options), buffersIn);
