/** The serving side of the learner's thread: calls become messages, and the thread's death becomes an error. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { type ErrorCode, ensure, VentrisError } from "../../../errors.ts";
import type { ModelConfig } from "../../../models/family.ts";
import type { Learner, LearnerOptions } from "./learner.ts";

export interface Call {
  readonly id: number;
  readonly method: keyof Learner;
  readonly values: readonly unknown[];
}

export interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { code: ErrorCode; message: string };
}

/** Node cannot run TypeScript in a worker: from sources, the built file of the same name is started. */
export function workerEntry(name: string): URL {
  const url = new URL(import.meta.url.endsWith(".ts") ? `${name}.ts` : `${name}.js`, import.meta.url);
  const built = new URL(url.href.replace(/\/src\/(?!.*\/src\/)(.*)\.ts$/, "/dist/$1.js"));
  ensure(existsSync(built), "unavailable", () => `${fileURLToPath(built)} is missing: run \`npm run build\``);
  return built;
}

/** A learner in a thread of its own. Calls under way when the thread dies, and later ones, fail; `onDeath` is called once. */
export function startLearnerThread(
  config: ModelConfig,
  options: LearnerOptions,
  onDeath: (cause: Error) => void,
): Learner {
  const worker = new Worker(workerEntry("thread"), { workerData: { config, options } });
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
  worker.on("exit", (code) => die(new VentrisError("runtime_failed", `the learner's thread ended with code ${code}`)));
  worker.on("message", ({ id, result, error }: Answer) => {
    const call = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0 && !closing) worker.unref();
    if (error) call?.reject(new VentrisError(error.code, error.message));
    else call?.resolve(result);
  });

  const call = <Result>(method: keyof Learner, ...values: unknown[]): Promise<Result> =>
    new Promise<Result>((resolve, reject) => {
      if (dead) return reject(dead);
      const id = calls++;
      worker.ref();
      waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      worker.postMessage({ id, method, values } satisfies Call);
    });

  return {
    begin: (draft, state) => call("begin", draft, state),
    learn: (draft, examples) => call("learn", draft, examples),
    save: (draft, folder, record) => call("save", draft, folder, record),
    async close() {
      if (dead) return;
      closing = true;
      const exited = new Promise((resolve) => worker.once("exit", resolve));
      await call("close");
      await exited;
    },
  };
}
