import { setMaxListeners } from "node:events";
import { VentrisError } from "../errors.ts";

/**
 * Runs an action with a signal that the first Ctrl-C (SIGINT) or SIGTERM aborts; a second one ends the process as usual.
 * Errors: those of the action; that something was aborted in words for a command, whose user knows of an interrupt, and of no request.
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
    const ended = cause instanceof VentrisError && cause.code === "aborted" && controller.signal.aborted;
    throw ended ? new VentrisError("aborted", wordsOf(cause), { cause }) : cause;
  } finally {
    release();
  }
}

const wordsOf = ({ message }: VentrisError): string =>
  /^the request was aborted\b/.test(message) ? "interrupted" : message.replace(/\baborted\b/, "interrupted");
