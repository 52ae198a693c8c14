/**
 * `ventris/worker`: the model of a page in a worker of its own, so that the page stays responsive while it decodes. Prompts, options and
 * results are those of `open` in "ventris", as far as they are data: a function cannot cross to another thread.
 */
import { whenAborted } from "../aborts.ts";
import type { ContinuationScoring, DecodeOptions, EmbedOptions, Prompt, ScoreOptions, Text } from "../calls.ts";
import { describedRun, describing, eventWords, readAsText } from "../described.ts";
import type { Continuations, ScoredContinuations } from "../engine/continuations.ts";
import type { ForwardResult } from "../engine/forward/index.ts";
import type { Run, RunResult } from "../engine/run.ts";
import type { ScoredText } from "../engine/score.ts";
import type { TraceEvent } from "../engine/trace.ts";
import { ensure, requireFunction, requireOptions, telling, VentrisError } from "../errors.ts";
import type { OpenOptions } from "../open.ts";
import { tellingReads } from "../reads.ts";
import { modelsFolder, pageAddress } from "../shipped.browser.ts";
import { requireReference } from "../weights/references.ts";
import { type Answer, browserLocks, type CallName, type Request, type WorkerFacts } from "./protocol.ts";
import { startWorker, type WebWorker } from "./start.ts";

export type { DecodeOptions, OpenOptions, Run, RunResult, WorkerFacts };

export interface WorkerModel extends WorkerFacts, AsyncDisposable {
  /** Errors in the arguments reject `final`. */
  decode(prompt: Prompt, options?: DecodeOptions): Run;
  generate(prompt: Prompt, options?: DecodeOptions): Promise<RunResult>;
  score(text: Text, options?: ScoreOptions): Promise<ScoredText>;
  continuations(given: Continuations, options?: ContinuationScoring): Promise<ScoredContinuations>;
  embed(text: Text, options?: EmbedOptions): Promise<Float32Array>;
  forward(tokens: readonly number[]): Promise<ForwardResult>;
  /** Tokens of a text. */
  encode(text: string): Promise<number[]>;
  /** The text of tokens. */
  decodeTokens(tokens: readonly number[]): Promise<string>;
  /** Ends runs under way, and the worker. */
  close(): Promise<void>;
}

type Waiting = {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  hear?(answer: Answer): void;
};

/** A request without its number. */
type Asked = Request extends infer One ? (One extends Request ? Omit<One, "id"> : never) : never;

/**
 * Opens a model in a worker of its own. Errors: those of `open`; `bad_option` for options that are functions; `unavailable` where there are
 * no workers; `runtime_failed` when the worker ends by itself, then and from then on.
 */
export async function open(reference: string, options: OpenOptions = {}): Promise<WorkerModel> {
  return tellingReads("open", ["reference", "options"], openIn)(reference, options);
}

async function openIn(reference: string, options: OpenOptions): Promise<WorkerModel> {
  requireReference(reference, "open");
  requireOptions(options, "open");
  const { signal, onProgress: hear, ...rest } = options;
  if (hear !== undefined) requireFunction(hear, "open", "onProgress");
  const onProgress = hear && telling("open: onProgress", hear, { signal });
  ensure(!signal?.aborted, "aborted", `opening ${reference} was aborted`);
  const worker = startWorker();
  const waiting = new Map<number, Waiting>();
  let [numbers, dead]: [number, VentrisError | undefined] = [0, undefined];
  const die = (error: VentrisError): void => {
    dead ??= error;
    for (const { reject } of waiting.values()) reject(dead);
    waiting.clear();
    worker.terminate();
  };
  worker.onmessage = ({ data: answer }) => {
    const call = waiting.get(answer.id);
    if (answer.type !== "result" && answer.type !== "error") {
      try {
        call?.hear?.(answer);
      } catch (error) {
        waiting.delete(answer.id);
        call?.reject(error);
      }
      return;
    }
    waiting.delete(answer.id);
    if (answer.type === "result") call?.resolve(answer.result);
    else call?.reject(new VentrisError(answer.code, answer.message));
  };
  worker.onerror = ({ message }) => die(ended(message ?? "its script could not be loaded"));

  function ask(request: Asked, signal?: AbortSignal, hear?: Waiting["hear"]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (dead) return reject(dead);
      const id = numbers++;
      const abort = () => send(worker, { id: numbers++, type: "abort", of: id });
      let end = (): void => {};
      const settling =
        (settle: (value: unknown) => void) =>
        (value: unknown): void => {
          end();
          settle(value);
        };
      waiting.set(id, { resolve: settling(resolve), reject: settling(reject), hear });
      try {
        send(worker, { ...request, id } as Request);
      } catch (error) {
        waiting.delete(id);
        return reject(error);
      }
      end = whenAborted(signal, abort);
    });
  }
  const call = (name: CallName, values: unknown[], signal?: AbortSignal) => ask({ type: "call", name, values }, signal);

  /** What crosses has lost its class, and what that lent it. */
  const reading =
    (name: CallName) =>
    async (...values: unknown[]): Promise<unknown> => {
      if (values[1] !== undefined) requireOptions(values[1], name);
      return call(name, values);
    };

  const life = `ventris worker ${Math.random()}`;
  const request = {
    type: "open",
    reference,
    options: rest,
    page: pageAddress(),
    models: modelsFolder(),
    life,
  } as const;
  let facts: WorkerFacts;
  try {
    facts = (await ask(request, signal, (answer) => {
      if (answer.type === "progress") onProgress?.(answer.progress);
    })) as WorkerFacts;
  } catch (error) {
    worker.terminate();
    throw error;
  }
  // Ours as soon as the worker is gone, also where no message tells of that.
  void browserLocks()?.request(life, async () => die(ended("it is gone; the browser may have had too little memory")));

  async function close(): Promise<void> {
    if (dead) return;
    await ask({ type: "close" }).catch(() => {});
    die(new VentrisError("bad_option", `the model ${facts.name} is closed`));
  }
  const model: WorkerModel = {
    ...facts,
    decode: tellingReads("decode", ["prompt", "options"], (prompt, options = {}) => {
      const begin = async (own: AbortSignal, hear: (answer: Answer) => void): Promise<unknown> => {
        requireOptions(options, "decode");
        const { signal: _, ...rest } = options;
        return ask({ type: "decode", prompt, options: rest }, own, hear);
      };
      return startRun(facts.name, begin, options?.signal);
    }),
    generate: tellingReads("generate", ["prompt", "options"], async (prompt, options = {}) => {
      requireOptions(options, "generate");
      const { signal, ...rest } = options;
      return call("generate", [prompt, rest], signal) as Promise<RunResult>;
    }),
    score: reading("score") as WorkerModel["score"],
    continuations: reading("continuations") as WorkerModel["continuations"],
    embed: reading("embed") as WorkerModel["embed"],
    forward: (...values) => call("forward", values) as Promise<ForwardResult>,
    encode: (...values) => call("encode", values) as Promise<number[]>,
    decodeTokens: (...values) => call("decodeTokens", values) as Promise<string>,
    close,
    [Symbol.asyncDispose]: close,
  };
  return describing(
    model,
    "Model",
    () =>
      `the model ${facts.name} in a worker: ${Object.keys(model)
        .filter((key) => typeof model[key as keyof WorkerModel] === "function")
        .join(", ")}`,
  );
}

const ended = (how: string): VentrisError =>
  new VentrisError("runtime_failed", `the worker that decodes has ended: ${how}. Open the model again`);

function send(worker: WebWorker, request: Request): void {
  try {
    worker.postMessage(request);
  } catch (cause) {
    throw new VentrisError(
      "bad_option",
      `what was given cannot cross to the worker (${(cause as Error).message}): functions and methods of one's own want open of "ventris", in the page or in a worker of yours`,
      { cause },
    );
  }
}

/** A run whose events and pieces of text come as messages. */
function startRun(
  name: string,
  begin: (signal: AbortSignal, hear: (answer: Answer) => void) => Promise<unknown>,
  signal: AbortSignal | undefined,
): Run {
  const own = new AbortController();
  const abort = (): void => own.abort();
  const heard = whenAborted(signal, abort);
  const [events, pieces] = [channel<TraceEvent>(abort), channel<string>(abort)];
  const whole = begin(own.signal, (answer) => {
    if (answer.type === "event") events.add(Object.setPrototypeOf(answer.event, eventWords));
    if (answer.type === "text") pieces.add(answer.text);
  }) as Promise<RunResult>;
  // What words lend to results and events does not come with a message.
  const final = whole.then(readAsText);
  const done = (failure?: unknown): void => {
    heard();
    for (const one of [events, pieces]) one.end(failure);
  };
  final.then(() => done(), done); // whoever only iterates is told there
  const iterate = () => events.all[Symbol.asyncIterator]();
  return describedRun(
    { final, abort, text: pieces.all, [Symbol.asyncIterator]: iterate },
    `a run on ${name} in a worker: iterate it or its text, or await its final result`,
  );
}

/** Values that come one by one, for as many readers as there are; one that leaves early calls `left`. */
function channel<T>(left: () => void) {
  const values: T[] = [];
  let [over, failure]: [boolean, unknown] = [false, undefined];
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    for (const go of waiting) go();
    waiting = [];
  };
  async function* read(): AsyncGenerator<T, void> {
    let whole = false;
    try {
      for (let at = 0; ; ) {
        while (at < values.length) yield values[at++];
        if (over) break;
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
      whole = true;
      if (failure !== undefined) throw failure;
    } finally {
      if (!whole) left();
    }
  }
  return {
    add(value: T) {
      values.push(value);
      wake();
    },
    end(cause?: unknown) {
      [over, failure] = [true, cause];
      wake();
    },
    all: { [Symbol.asyncIterator]: read } as AsyncIterable<T>,
  };
}
