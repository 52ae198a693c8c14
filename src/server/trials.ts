/**
 * Constraints of strangers, judged in threads before an engine sees them. What passes a first, short trial is judged at once; the rest waits
 * for a second thread, so that nobody's schema holds up the trial of another's for longer than the short one takes.
 */

import { createHash } from "node:crypto";
import { whenAborted } from "../aborts.ts";
import { shareWork } from "../engine/shared-work.ts";
import { VentrisError } from "../errors.ts";
import { startThread, type Thread } from "../runtime/thread.ts";
import { FormError } from "./errors.ts";
import type { FlatTokens, PlainError } from "./protocol.ts";
import { type Form, mostVocabularies, type Trial, type Verdict } from "./trial-face.ts";

export interface Trials {
  /** Errors: those of the constraint; `bad_option` for one that takes longer than the limit, or more memory; `aborted`. */
  seconds(model: string, form: Form, signal?: AbortSignal): Promise<number>;
  close(): void;
}

/** Seconds of the first trial, within which almost every honest schema is compiled. */
const short = 1;
const megabytes = 1024;
/** Verdicts that are kept. */
const most = 512;
/** Limits for which a constraint that took too long is refused untried. Others may have kept the machine busy, so not for ever. */
const refused = 30;

/** `tokensOf`: the tokens of a model; undefined for one without a tokenizer. */
export function createTrials(limit: number, tokensOf: (model: string) => Promise<FlatTokens | undefined>): Trials {
  const lanes = [limit, Math.min(short, limit)].map((seconds) => createLane(seconds, tokensOf));
  const [patient, quick] = lanes;
  const verdicts = new Map<string, (signal?: AbortSignal) => Promise<Verdict>>();

  function verdictOn(model: string, form: Form): (signal?: AbortSignal) => Promise<Verdict> {
    const key = createHash("sha256")
      .update(JSON.stringify([model, form]))
      .digest("base64");
    const known = verdicts.get(key);
    verdicts.delete(key);
    const work =
      known ??
      shareWork(async (signal) => {
        const verdict = (await quick.judge(model, form, signal)) ?? (await patient.judge(model, form, signal));
        if (!verdict) setTimeout(() => verdicts.delete(key), refused * limit * 1000).unref();
        const message = `constraint: compiling it takes longer than the ${limit} s that this server gives to one`;
        return verdict ?? { error: { code: "bad_option", message } satisfies PlainError };
      });
    verdicts.set(key, work); // last in order: just used
    if (verdicts.size > most) verdicts.delete(verdicts.keys().next().value!);
    return work;
  }

  return {
    async seconds(model, form, signal) {
      const verdict = await verdictOn(model, form)(signal);
      if ("seconds" in verdict) return verdict.seconds;
      const { code, message } = verdict.error;
      throw code === "unexpected" ? new Error(message) : new FormError(code, message);
    },
    close() {
      for (const { close } of lanes) close();
    },
  };
}

interface Lane {
  /** One after the other. Undefined: it took longer than the lane's limit. Errors: `aborted`. */
  judge(model: string, form: Form, signal: AbortSignal): Promise<Verdict | undefined>;
  close(): void;
}

function createLane(limit: number, tokensOf: (model: string) => Promise<FlatTokens | undefined>): Lane {
  let thread: Thread<Trial> | undefined;
  /** Models whose tokens it has, the latest last. */
  let learned: string[] = [];
  let last: Promise<unknown> = Promise.resolve();

  async function ready(model: string): Promise<Thread<Trial>> {
    const tokens = thread && learned.includes(model) ? undefined : await tokensOf(model);
    const entry = { name: "trial", from: import.meta.url, what: "the thread that tries constraints", megabytes };
    thread ??= startThread<Trial>(entry, undefined, forget);
    if (!tokens) return thread;
    const learning = thread;
    await learning.call("learn", model, tokens);
    learned = [...learned, model].slice(-mostVocabularies);
    return learning;
  }

  function forget(): void {
    thread = undefined;
    learned = [];
  }

  function stop(): void {
    const stopped = thread;
    forget();
    stopped?.kill();
  }

  async function judge(model: string, form: Form, signal: AbortSignal): Promise<Verdict | undefined> {
    const aborted = (): void => {
      if (signal.aborted) throw new VentrisError("aborted", "the request was aborted");
    };
    aborted();
    const trying = await ready(model);
    aborted();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      stop();
    }, limit * 1000);
    const heard = whenAborted(signal, stop);
    try {
      return await trying.call("judge", model, form);
    } catch (error) {
      aborted();
      if (late) return undefined;
      if ((error as { code?: unknown }).code !== "ERR_WORKER_OUT_OF_MEMORY") throw error;
      return { error: { code: "bad_option", message: `constraint: compiling it takes more than ${megabytes} MB` } };
    } finally {
      clearTimeout(timer);
      heard();
    }
  }

  return {
    judge(model, form, signal) {
      const turn = last.then(() => judge(model, form, signal));
      last = turn.catch(() => {});
      return turn;
    },
    close: stop,
  };
}
