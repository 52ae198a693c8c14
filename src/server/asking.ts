/** Who asks: one that waits for its turn, goes away at some time, and is not kept waiting for ever. */
import { whenAborted } from "../aborts.ts";
import { VentrisError } from "../errors.ts";
import type { RouteContext } from "./app.ts";
import { RequestError } from "./errors.ts";

export interface Asking {
  /** Aborted when the client has gone, its time is over, or `end` was called. */
  readonly signal: AbortSignal;
  /** Why nothing more comes. */
  explain(): VentrisError;
  /** Ends its turn. May be called more than once. */
  end(): void;
}

/** Waits for a turn for so many sequences. Errors: those of the admission. */
export async function asking(
  { requestSeconds, admission }: RouteContext,
  sequences: number,
  client: AbortSignal,
): Promise<Asking> {
  const own = new AbortController();
  const gone = (): void => own.abort();
  const heard = whenAborted(client, gone);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    own.abort();
  }, requestSeconds * 1000);
  let leave = (): void => {};
  const asked: Asking = {
    signal: own.signal,
    explain: () =>
      late
        ? new RequestError("aborted", `the request took longer than ${requestSeconds} s`, {
            status: 408,
            headers: { "x-should-retry": "false" },
          })
        : new VentrisError("aborted", "the server is stopping, or the client has gone"),
    end() {
      clearTimeout(timer);
      heard();
      own.abort(); // of runs that ended there is nothing to abort
      leave();
    },
  };
  try {
    leave = await admission.enter(sequences, own.signal);
    return asked;
  } catch (error) {
    asked.end();
    throw late ? asked.explain() : error;
  }
}
