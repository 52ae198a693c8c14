/** Worker thread entry: a learner that answers messages, one after the other. */
import { parentPort, workerData } from "node:worker_threads";
import { VentrisError } from "../../../errors.ts";
import { createLearner, type Learner } from "./learner.ts";
import type { Answer, Call } from "./worker.ts";

const port = parentPort!;
const learner: Learner = createLearner(workerData.config, workerData.options);
let last: Promise<void> = Promise.resolve();
port.on("message", (call: Call) => {
  last = last.then(() => answer(call));
});

async function answer({ id, method, values }: Call): Promise<void> {
  let result: unknown;
  try {
    result = await (learner[method] as (...values: unknown[]) => Promise<unknown>)(...values);
  } catch (error) {
    const code = error instanceof VentrisError ? error.code : "internal";
    port.postMessage({ id, error: { code, message: (error as Error).message } } satisfies Answer);
    return;
  }
  port.postMessage({ id, result } satisfies Answer, buffersIn(result));
  if (method === "close") port.close();
}

/** New weights are handed over, not copied. */
function buffersIn(result: unknown): ArrayBuffer[] {
  const values = (result as { values?: Float32Array<ArrayBuffer>[] } | undefined)?.values;
  return values?.map(({ buffer }) => buffer) ?? [];
}
