/** Work that several requests wait for, such as a measurement: it goes on while one of them does, and ends with the last that leaves. */
import { whenAborted } from "../aborts.ts";
import { VentrisError } from "../errors.ts";

/**
 * Each call waits for the same work, which the first one starts, until its own signal. What the work gives is kept; a failure is not,
 * so that the next call tries again. Errors: `aborted` by the caller's signal, and those of the work.
 */
export function shareWork<T>(work: (signal: AbortSignal) => Promise<T>): (signal?: AbortSignal) => Promise<T> {
  let current: { result: Promise<T>; controller: AbortController; waiting: number; done: boolean } | undefined;

  function start(): NonNullable<typeof current> {
    const controller = new AbortController();
    const started = { result: work(controller.signal), controller, waiting: 0, done: false };
    const forget = (): void => {
      if (current === started) current = undefined;
    };
    started.result.then(() => {
      started.done = true;
    }, forget);
    return started;
  }

  return async (signal) => {
    if (signal?.aborted) throw aborted();
    current ??= start();
    const mine = current;
    mine.waiting += 1;
    let heard = (): void => {};
    const left = new Promise<never>((_, reject) => {
      heard = whenAborted(signal, () => reject(aborted()));
    });
    try {
      return await Promise.race([mine.result, left]);
    } finally {
      heard();
      mine.waiting -= 1;
      if (mine.waiting === 0 && !mine.done) {
        mine.controller.abort();
        if (current === mine) current = undefined;
      }
    }
  };
}

const aborted = (): VentrisError => new VentrisError("aborted", "the request was aborted");
