import { setMaxListeners } from "node:events";
import { VentrisError } from "../errors.ts";

/**
 * Runs an action with a signal that the first Ctrl-C (SIGINT) or SIGTERM aborts; a second one ends the process as usual.
 * Errors: those of the action; the engine's, that its request was aborted, in words for a command, which may have made none.
 */
export async function interruptible<T>(action: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // any number of requests may listen to it
  const stop = () => {
    release();
    controller.abort();
  };
  const release = () => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    return await action(controller.signal);
  } catch (cause) {
    const engines = cause instanceof VentrisError && /^the request was aborted\b/.test(cause.message);
    throw engines && controller.signal.aborted ? new VentrisError("aborted", "interrupted", { cause }) : cause;
  } finally {
    release();
  }
}
