/** An object in a worker thread: calls of its methods become messages, answered in order; the thread's death becomes an error. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { type ErrorCode, ensure, VentrisError } from "../errors.ts";

interface Call {
  readonly id: number;
  readonly method: string;
  readonly values: readonly unknown[];
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { code: ErrorCode; message: string };
}

/** What a thread serves: methods whose arguments and results can be cloned, `close` last of all. */
export interface Threaded {
  close(): Promise<void>;
}

type Method<Face, Name extends keyof Face> = Face[Name] extends (...values: infer Values) => Promise<infer Result>
  ? { values: Values; result: Result }
  : never;

export interface Thread<Face> {
  call<Name extends keyof Face & string>(
    method: Name,
    ...values: Method<Face, Name>["values"]
  ): Promise<Method<Face, Name>["result"]>;
  /** Ends the thread after the calls under way. */
  close(): Promise<void>;
  /** Ends it now: calls under way fail. */
  kill(): void;
}

/** The module `name` beside `from` as a thread's entry. Node cannot run TypeScript there: from sources, the built file is taken. */
export function threadEntry(name: string, from: string): URL {
  const url = new URL(from.endsWith(".ts") ? `${name}.ts` : `${name}.js`, from);
  const built = new URL(url.href.replace(/\/src\/(?!.*\/src\/)(.*)\.ts$/, "/dist/$1.js"));
  ensure(existsSync(built), "unavailable", () => `${fileURLToPath(built)} is missing: run \`npm run build\``);
  return built;
}

/**
 * Starts the module `name` beside `from` (an `import.meta.url`) in a thread, with `data` as its worker data and a heap of so many
 * `megabytes`. Calls under way when the thread dies, and later ones, fail; `onDeath` is called once.
 */
export function startThread<Face extends Threaded>(
  { name, from, what, megabytes }: { name: string; from: string; what: string; megabytes?: number },
  data: unknown,
  onDeath: (cause: Error) => void = () => {},
): Thread<Face> {
  const resourceLimits = megabytes === undefined ? undefined : { maxOldGenerationSizeMb: megabytes };
  const worker = new Worker(threadEntry(name, from), { workerData: data, resourceLimits });
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: unknown): void }>();
  let calls = 0;
  let dead: Error | undefined;
  let closing = false;
  worker.unref(); // it keeps the process alive only while a call is under way

  const die = (cause: Error): void => {
    if (dead) return;
    dead = cause;
    for (const { reject } of waiting.values()) reject(cause);
    waiting.clear();
    if (!closing) onDeath(cause);
  };
  worker.on("error", (cause) => die(cause as Error));
  worker.on("exit", (code) => die(new VentrisError("runtime_failed", `${what} ended with code ${code}`)));
  worker.on("message", ({ id, result, error }: Answer) => {
    const call = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0 && !closing) worker.unref();
    if (error) call?.reject(new VentrisError(error.code, error.message));
    else call?.resolve(result);
  });

  const send = (method: string, values: readonly unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (dead) return reject(dead);
      const id = calls++;
      worker.ref();
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, method, values } satisfies Call);
    });

  return {
    call: (method, ...values) => send(method, values) as Promise<never>,
    async close() {
      if (dead) return;
      closing = true;
      const exited = new Promise((resolve) => worker.once("exit", resolve));
      await send("close", []);
      await exited;
    },
    kill() {
      closing = true;
      void worker.terminate();
    },
  };
}

/** What the thread was started with. */
export const threadData = (): unknown => workerData;

/** The thread's side: serves `object`, whose results hand over the buffers that `transfers` finds in them, until it is closed. */
export function serveThread<Face extends Threaded>(
  object: Face,
  transfers: (result: unknown) => ArrayBuffer[] = () => [],
): void {
  const port = parentPort!;
  const answer = async ({ id, method, values }: Call): Promise<void> => {
    let result: unknown;
    try {
      result = await (object[method as keyof Face] as (...values: unknown[]) => Promise<unknown>)(...values);
    } catch (error) {
      const code = error instanceof VentrisError ? error.code : "internal";
      port.postMessage({ id, error: { code, message: (error as Error).message } } satisfies Answer);
      return;
    }
    port.postMessage({ id, result } satisfies Answer, transfers(result));
    if (method === "close") port.close();
  };
  let last: Promise<void> = Promise.resolve();
  port.on("message", (call: Call) => {
    last = last.then(() => answer(call));
  });
}
