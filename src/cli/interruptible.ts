import { setMaxListeners } from "node:events";

/**
 * Runs an action with a signal that the first Ctrl-C (SIGINT) or SIGTERM aborts; a second one ends the process as usual.
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
  } finally {
    release();
  }
}
