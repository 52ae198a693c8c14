/** Who may decode now: so many sequences at once, so many requests that wait for their turn, and beyond that nobody. */
import { whenAborted } from "../aborts.ts";
import { VentrisError } from "../errors.ts";
import { RequestError } from "./errors.ts";

export interface Admission {
  /**
   * Waits for a turn, first come, first served; the returned function ends it. More sequences than there may be at once wait until nothing
   * else is decoded. Errors: 429 with Retry-After where too many wait; `aborted`.
   */
  enter(sequences: number, signal?: AbortSignal): Promise<() => void>;
  /** Sequences that are decoded, and requests that wait. */
  readonly active: number;
  readonly waiting: number;
}

interface Waiting {
  readonly sequences: number;
  admit(): void;
}

export function createAdmission({ maxConcurrent, maxQueue }: { maxConcurrent: number; maxQueue: number }): Admission {
  const queue: Waiting[] = [];
  let active = 0;
  /** Seconds that a turn took lately. */
  let usual = 1;

  function admitNext(): void {
    while (queue.length > 0 && active + queue[0].sequences <= maxConcurrent) queue.shift()!.admit();
  }

  function begin(sequences: number): () => void {
    active += sequences;
    const began = performance.now();
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      active -= sequences;
      usual += 0.1 * ((performance.now() - began) / 1000 - usual);
      admitNext();
    };
  }

  return {
    async enter(wanted, signal) {
      const sequences = Math.min(wanted, maxConcurrent);
      if (queue.length === 0 && active + sequences <= maxConcurrent) return begin(sequences);
      if (queue.length >= maxQueue) {
        const seconds = Math.min(60, Math.max(1, Math.ceil((usual * (queue.length + 1)) / maxConcurrent)));
        throw new RequestError(
          "unavailable",
          `as many requests as may wait do already (${queue.length}); try again in ${seconds} s`,
          {
            status: 429,
            headers: { "Retry-After": String(seconds) },
          },
        );
      }
      return new Promise((resolve, reject) => {
        const one: Waiting = {
          sequences,
          admit() {
            heard();
            resolve(begin(sequences));
          },
        };
        const leave = (): void => {
          queue.splice(queue.indexOf(one), 1);
          reject(new VentrisError("aborted", "the request was aborted while it waited"));
          admitNext(); // a smaller one behind it may fit
        };
        queue.push(one);
        const heard = whenAborted(signal, leave);
      });
    },
    get active() {
      return active;
    },
    get waiting() {
      return queue.length;
    },
  };
}
