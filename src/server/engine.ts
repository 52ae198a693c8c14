/**
 * The serving side of the engine's process: calls are promises, a run is a stream of events. When the process dies (killed for its memory,
 * a fault of native code), what was under way fails with `runtime_failed`, and another is started.
 */

import { type ChildProcess, fork } from "node:child_process";
import { whenAborted } from "../aborts.ts";
import type { NamedMethod } from "../calls.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { VentrisError } from "../errors.ts";
import { createFeed, type Feed } from "../feed.ts";
import type { OpenOptions } from "../open.ts";
import { threadEntry } from "../runtime/thread.ts";
import type { SharingStatus } from "../sharing/index.ts";
import type {
  Calls,
  Detail,
  FromEngine,
  OutputEvent,
  PlainError,
  RunMessage,
  RunRequest,
  ToEngine,
  Told,
} from "./protocol.ts";

export interface Engine {
  call<Name extends keyof Calls>(name: Name, ...values: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>>;
  /** The same for somebody who may go away before it is answered. */
  ask<Name extends keyof Calls>(
    signal: AbortSignal | undefined,
    name: Name,
    ...values: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>>;
  /** Aborted by the signal, or by leaving the loop. Its end is awaited by neither: the process frees the nodes within a pass. */
  run(request: RunRequest, signal?: AbortSignal): AsyncIterable<TimedEvent[]>;
  /** The same as a client of text is told of it, as it comes or in one piece. */
  output(request: RunRequest, detail: "stream" | "whole", signal?: AbortSignal): AsyncGenerator<OutputEvent[], void>;
  /** Runs under way. */
  readonly active: number;
  /** Of its process; undefined while none runs. */
  readonly pid: number | undefined;
  /** What is learned, with other replicas: undefined where nothing is shared, or no model is open yet. */
  readonly sharing: SharingStatus | undefined;
  /** How often its process died and was started again. */
  readonly restarts: number;
  close(): Promise<void>;
}

/** A process that dies sooner than this after its start is started again by the next request only. */
const steady = 5000;
/**
 * The space for young objects is what V8 lets it grow to from the start, in megabytes: it would else grow and shrink with the load, by more
 * memory than all that requests leave behind. Small, for it is used over and over and shall stay in the processor's caches.
 */
const steadyHeap = ["--min-semi-space-size=4", "--max-semi-space-size=4"];
/** Time that runs under way have to end when the engine closes. */
const patience = 10_000;

/**
 * Runs that begin together are told to the process together, so that their prompts share passes from the first on: it would else begin to read the
 * first one's alone, on cores that the others still need to arrive. Milliseconds without another one, and in all.
 */
const [quiet, longest] = [1, 8];

export interface EngineOptions {
  /** Models that are opened whenever the process starts. */
  readonly warm?: readonly string[];
  /** How requests that name no method are decoded, by models that grow trees of tokens. */
  readonly method?: NamedMethod;
  /** The store through which replicas share what they learn. */
  readonly share?: string;
}

export function startEngine(models: OpenOptions = {}, { warm = [], method, share = "" }: EngineOptions = {}): Engine {
  let worker: ChildProcess | undefined;
  let closed = false;
  let restarts = 0;
  let sharing: SharingStatus | undefined;
  let ids = 0;
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: unknown): void }>();
  const sinks = new Map<number, Feed<Told>>();
  let beginning: RunMessage[] = [];

  function started(): ChildProcess {
    if (closed) throw new VentrisError("aborted", "the server is stopping");
    if (worker) return worker;
    // Its standard output would be taken for the server's.
    const said = [models, ...(method ? [method] : [])].map((value) => JSON.stringify(value));
    const child = fork(threadEntry("worker", import.meta.url), said, {
      serialization: "advanced",
      execArgv: steadyHeap,
      env: { ...process.env, VENTRIS_SHARE: share },
      stdio: ["ignore", 2, 2, "ipc"],
    });
    worker = child;
    const began = performance.now();
    child.on("message", receive);
    child.on("error", (cause) => ended(child, cause.message, began));
    child.on("exit", (code, signal) =>
      ended(child, signal ? `it was ended by ${signal}` : `it ended with code ${code}`, began),
    );
    return child;
  }

  function ended(child: ChildProcess, why: string, began: number): void {
    if (worker !== child) return;
    worker = undefined;
    const error = new VentrisError("runtime_failed", `the engine's process stopped: ${why}`);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    for (const sink of sinks.values()) sink.end(error);
    sinks.clear();
    beginning = [];
    if (closed) return;
    restarts += 1;
    if (performance.now() - began > steady) warmUp();
  }

  function receive(message: FromEngine): void {
    if (message.type === "events") for (const [id, events] of message.runs) sinks.get(id)?.push(events);
    else if (message.type === "end") {
      sinks.get(message.id)?.end(message.error && revive(message.error));
      sinks.delete(message.id);
    } else if (message.type === "sharing") sharing = message.status;
    else {
      const { id, result, error } = message;
      if (error) waiting.get(id)?.reject(revive(error));
      else waiting.get(id)?.resolve(result);
      waiting.delete(id);
    }
  }

  // A process that is gone is told of by its exit.
  const send = (message: ToEngine): void => void started().send(message, () => {});

  function begin(run: RunMessage): void {
    started(); // if that fails, it does at once
    beginning.push(run);
    if (beginning.length > 1) return;
    const since = performance.now();
    const look = (known: number): void => {
      if (beginning.length > known && performance.now() - since < longest) setTimeout(look, quiet, beginning.length);
      else if (beginning.length > 0) {
        send({ type: "runs", runs: beginning });
        beginning = [];
      }
    };
    setTimeout(look, quiet, 1);
  }

  function abandon(id: number): void {
    const kept = beginning.filter((run) => run.id !== id);
    if (kept.length < beginning.length) {
      beginning = kept;
      sinks.get(id)?.end(new VentrisError("aborted", "the request was aborted before it began"));
      sinks.delete(id);
      return;
    }
    if (worker?.connected) worker.send({ type: "abort", id } satisfies ToEngine, () => {});
  }

  async function* run(request: RunRequest, detail: Detail, signal?: AbortSignal): AsyncGenerator<Told[], void> {
    const id = ids++;
    const feed = createFeed<Told>();
    const abort = (): void => {
      if (!feed.over) abandon(id);
    };
    let heard = (): void => {};
    try {
      begin({ id, request, detail });
      sinks.set(id, feed);
      heard = whenAborted(signal, abort);
      yield* feed.batches();
    } finally {
      heard();
      abort();
    }
  }

  const ask: Engine["ask"] = async (signal, name, ...values) => {
    const id = ids++;
    let heard = (): void => {};
    try {
      send({ type: "call", id, name, values });
      return await new Promise((resolve, reject) => {
        waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
        heard = whenAborted(signal, () => abandon(id));
      });
    } finally {
      heard();
    }
  };
  const call: Engine["call"] = (name, ...values) => ask(undefined, name, ...values);

  function warmUp(): void {
    for (const name of warm) call("open", name).catch(() => {}); // its requests will say why
  }

  return {
    call,
    ask,
    run: (request, signal) => run(request, "trace", signal) as AsyncGenerator<TimedEvent[], void>,
    output: (request, detail, signal) => run(request, detail, signal) as AsyncGenerator<OutputEvent[], void>,
    get active() {
      return sinks.size;
    },
    get pid() {
      return worker?.pid;
    },
    get sharing() {
      return sharing;
    },
    get restarts() {
      return restarts;
    },
    async close() {
      closed = true;
      const child = worker;
      if (!child) return;
      for (const { id } of beginning) abandon(id);
      const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      child.send({ type: "close" } satisfies ToEngine, () => {});
      const timer = setTimeout(() => child.kill("SIGKILL"), patience);
      await exited;
      clearTimeout(timer);
    },
  };
}

const revive = ({ code, message }: PlainError): Error =>
  code === "unexpected" ? new Error(message) : new VentrisError(code, message);
