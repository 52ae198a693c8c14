/**
 * The studio as a static site, which `ventris studio --static` writes: what a server would say once and for all lies in files beside the page,
 * and what it would decode is decoded here, by the engine in a worker.
 */
import type { TimedEvent } from "../../../src/engine/trace.ts";
import { createFeed, type Feed } from "../../../src/feed.ts";
import type { FromPageEngine, ToPageEngine } from "../../../src/server/page.ts";
import type { Calls, PlainError } from "../../../src/server/protocol.ts";
import { ApiError, type FieldError } from "./errors.ts";
import { bytes } from "./figures.ts";

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

type Answer<Name extends keyof Calls> = Promise<ReturnType<Calls[Name]>>;

const beside = (path: string): string => new URL(path, document.baseURI).href;
const failure = ({ code, message, fields = [] }: PlainError & { fields?: readonly FieldError[] }): ApiError =>
  new ApiError(code, message, fields);

function openSite({ version, models }: { version: string; models: readonly string[] }) {
  let doing = $state("");
  let worker: Worker | undefined;
  let ids = 0;
  const waiting = new Map<number, Waiting>();
  const running = new Map<number, Feed<TimedEvent>>();

  function engine(): Worker {
    if (worker) return worker;
    const started = new Worker(beside("engine/studio.js"), { type: "module" });
    started.onmessage = ({ data }: { data: FromPageEngine }) => hear(data);
    started.onerror = ({ message }) =>
      lose(`the worker that decodes has ended${message ? `: ${message}` : ""}. Ask again to start another`);
    worker = started;
    doing = "the engine is being loaded";
    const begin: ToPageEngine = { type: "begin", page: document.baseURI, folder: beside("models"), models };
    started.postMessage(begin);
    return started;
  }

  /** What was under way fails; the next request starts another worker. */
  function lose(why: string): void {
    worker?.terminate();
    worker = undefined;
    doing = "";
    const error = new ApiError("runtime_failed", why);
    for (const { reject } of waiting.values()) reject(error);
    for (const feed of running.values()) feed.end(error);
    waiting.clear();
    running.clear();
  }

  function hear(message: FromPageEngine): void {
    if (message.type === "progress") {
      const { progress } = message;
      if (progress.stage === "load") doing = "preparing the model";
      else {
        const share = `${bytes(progress.done)} of ${bytes(progress.total)} of the model`;
        doing = `${share} are ${progress.stage === "convert" ? "converted" : "here"}`;
      }
      return;
    }
    doing = "";
    if (message.type === "events")
      for (const [id, events] of message.runs) running.get(id)?.push(events as TimedEvent[]);
    else if (message.type === "end") {
      running.get(message.id)?.end(message.error && failure(message.error));
      running.delete(message.id);
    } else if (message.type === "answer") {
      const asked = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error) asked?.reject(failure(message.error));
      else asked?.resolve(message.result);
    }
  }

  const say = (message: ToPageEngine): void => engine().postMessage(message);
  const stopped = (): Error => new DOMException("stopped", "AbortError");

  return {
    version,
    models,
    /** What is being prepared; empty while nothing is. */
    get doing(): string {
      return doing;
    },
    /** The file with what the server would answer to a path. */
    file(path: string): string {
      const name = path.replace(/^\/api\//, "");
      const kind = name.endsWith("/trace") ? ".jsonl" : /\.\w+$/.test(name) ? "" : ".json";
      return beside(`data/${name}${kind}`);
    },
    call<Name extends keyof Calls>(
      signal: AbortSignal | undefined,
      name: Name,
      ...values: Parameters<Calls[Name]>
    ): Answer<Name> {
      const id = ids++;
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(stopped());
        const abort = (): void => {
          say({ type: "abort", id });
          waiting.delete(id);
          reject(stopped());
        };
        signal?.addEventListener("abort", abort, { once: true });
        const end =
          <T>(settle: (value: T) => void) =>
          (value: T): void => {
            signal?.removeEventListener("abort", abort);
            settle(value);
          };
        waiting.set(id, { resolve: end(resolve as (result: unknown) => void), reject: end(reject) });
        say({ type: "call", id, name, values });
      });
    },
    /** A run's events as they come, in batches. The signal ends it. */
    async *run(body: object, signal: AbortSignal): AsyncGenerator<TimedEvent[]> {
      const id = ids++;
      const feed = createFeed<TimedEvent>();
      const abort = (): void => {
        if (feed.over) return;
        say({ type: "abort", id });
        running.delete(id);
        feed.end(stopped());
      };
      signal.addEventListener("abort", abort, { once: true });
      try {
        running.set(id, feed);
        say({ type: "ask", id, body });
        if (signal.aborted) abort();
        yield* feed.batches();
      } finally {
        signal.removeEventListener("abort", abort);
        abort();
      }
    },
  };
}

const written = document.querySelector<HTMLMetaElement>('meta[name="ventris-site"]')?.content;
export const site = written === undefined ? undefined : openSite(JSON.parse(written));

/** Of the engine: browsers let threads share memory only in pages that are isolated from others. */
export const threads = globalThis.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;

/** Where the server does not isolate the page, a service worker of the site does, and the page is loaded once more. */
export async function isolate(): Promise<void> {
  if (!site || crossOriginIsolated || !isSecureContext || !navigator.serviceWorker) return;
  const tried = "ventris isolated";
  try {
    await navigator.serviceWorker.register(beside("isolate.js"));
    await navigator.serviceWorker.ready;
    if (sessionStorage.getItem(tried)) return;
    sessionStorage.setItem(tried, "tried");
    location.reload();
  } catch {
    // Then there is one thread, as the page says.
  }
}
