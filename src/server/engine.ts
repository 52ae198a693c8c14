/**
 * The serving side of the engine's thread: calls are promises, a run is a stream of trace events. When the thread dies, what was under
 * way fails with `runtime_failed` and the next request starts a new one.
 */
import { Worker } from "node:worker_threads";
import type { TimedEvent } from "../engine/trace.ts";
import { VentrisError } from "../errors.ts";
import type { OpenOptions } from "../open.ts";
import { threadEntry } from "../runtime/thread.ts";
import type { Calls, FromEngine, PlainError, RunRequest, ToEngine } from "./protocol.ts";

export interface Engine {
  call<Name extends keyof Calls>(name: Name, ...values: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>>;
  /** Aborted by the signal, or by leaving the loop. Its end is awaited by neither: the thread frees the nodes within a pass. */
  run(request: RunRequest, signal?: AbortSignal): AsyncIterable<TimedEvent[]>;
  /** Runs under way. */
  readonly active: number;
  close(): Promise<void>;
}

interface Sink {
  events(events: TimedEvent[]): void;
  end(error?: Error): void;
}

export function startEngine(models: OpenOptions = {}): Engine {
  let thread: Worker | undefined;
  let closed = false;
  let ids = 0;
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: unknown): void }>();
  const sinks = new Map<number, Sink>();

  function started(): Worker {
    if (closed) throw new VentrisError("aborted", "the server is stopping");
    if (thread) return thread;
    const worker = new Worker(threadEntry("thread", import.meta.url), { workerData: { models } });
    thread = worker;
    let cause: Error | undefined;
    worker.on("error", (error) => {
      cause = error as Error;
    });
    worker.on("exit", (code) => {
      if (thread === worker) thread = undefined;
      const why = cause?.message ?? `it ended with code ${code}`;
      fail(new VentrisError("runtime_failed", `the engine's thread stopped: ${why}`, { cause }));
    });
    worker.on("message", receive);
    return worker;
  }

  function fail(error: Error): void {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    for (const sink of sinks.values()) sink.end(error);
    sinks.clear();
  }

  function receive(message: FromEngine): void {
    if (message.type === "events") sinks.get(message.id)?.events(message.events);
    else if (message.type === "end") {
      sinks.get(message.id)?.end(message.error && revive(message.error));
      sinks.delete(message.id);
    } else {
      const { id, result, error } = message;
      if (error) waiting.get(id)?.reject(revive(error));
      else waiting.get(id)?.resolve(result);
      waiting.delete(id);
    }
  }

  const send = (message: ToEngine): void => started().postMessage(message);

  async function* run(request: RunRequest, signal?: AbortSignal): AsyncGenerator<TimedEvent[], void> {
    const id = ids++;
    let events: TimedEvent[] = [];
    let ended = false;
    let failure: Error | undefined;
    let wake = (): void => {};
    sinks.set(id, {
      events(more) {
        events = events.length === 0 ? more : events.concat(more);
        wake();
      },
      end(error) {
        ended = true;
        failure = error;
        wake();
      },
    });
    const abort = (): void => {
      if (!ended && thread) thread.postMessage({ type: "abort", id } satisfies ToEngine);
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      send({ type: "run", id, request });
      if (signal?.aborted) abort();
      for (;;) {
        if (events.length > 0) {
          const batch = events;
          events = [];
          yield batch;
        } else if (ended) {
          if (failure) throw failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      abort();
    }
  }

  return {
    call: (name, ...values) =>
      new Promise((resolve, reject) => {
        const id = ids++;
        waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
        try {
          send({ type: "call", id, name, values });
        } catch (error) {
          waiting.delete(id);
          reject(error);
        }
      }),
    run,
    get active() {
      return sinks.size;
    },
    async close() {
      closed = true;
      const worker = thread;
      if (!worker) return;
      const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
      worker.postMessage({ type: "close" } satisfies ToEngine);
      const patience = setTimeout(() => void worker.terminate(), 10_000);
      await exited;
      clearTimeout(patience);
    },
  };
}

const revive = ({ code, message }: PlainError): Error =>
  code === "unexpected" ? new Error(message) : new VentrisError(code, message);
