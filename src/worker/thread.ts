/** The worker's side of `ventris/worker`: one model, opened and used as a page asks. */
import { requireWriting } from "../calls.ts";
import { VentrisError } from "../errors.ts";
import { type Model, open } from "../open.ts";
import { setPage } from "../shipped.browser.ts";
import { type Answer, browserLocks, type CallName, type Request } from "./protocol.ts";

const scope = globalThis as unknown as {
  readonly name: string;
  postMessage(message: Answer): void;
  onmessage: (event: { data: Request }) => void;
};

let model: Model | undefined;
const running = new Map<number, AbortController>();

const aborted = async <T>(id: number, action: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const own = new AbortController();
  running.set(id, own);
  try {
    return await action(own.signal);
  } finally {
    running.delete(id);
  }
};

const opened = (): Model => {
  if (!model) throw new VentrisError("bad_option", "the worker's model is closed");
  return model;
};

/** Calls by what the page calls them. */
const called: Record<CallName, (values: readonly never[], signal: AbortSignal) => Promise<unknown>> = {
  generate: ([prompt, options], signal) => opened().generate(prompt, { ...(options as object), signal }),
  score: ([text, options]) => opened().score(text, options),
  continuations: ([given, options]) => opened().continuations(given, options),
  embed: ([text, options]) => opened().embed(text, options),
  forward: ([tokens, options]) => opened().forward(tokens, options),
  encode: async ([text]) => opened().tokenizer?.encode(text),
  decodeTokens: async ([tokens]) => opened().tokenizer?.decode(tokens),
};

async function answer(request: Request): Promise<unknown> {
  const { id } = request;
  switch (request.type) {
    case "open":
      void browserLocks()?.request(request.life, () => new Promise(() => {}));
      setPage(request.page, request.models);
      model = await aborted(id, (signal) =>
        open(request.reference, {
          ...request.options,
          signal,
          onProgress: (progress) => scope.postMessage({ id, type: "progress", progress }),
        }),
      );
      requireWriting(model, "what runs in a worker");
      return {
        name: model.name,
        parameterCount: model.parameterCount,
        secondsToLoad: model.secondsToLoad,
        contextLength: model.config.contextLength,
        vocabularySize: model.config.vocabularySize,
        capabilities: [...model.capabilities],
      };
    case "decode":
      return aborted(id, async (signal) => {
        const run = opened().decode(request.prompt as string, { ...request.options, signal });
        const tell = async () => {
          for await (const event of run) scope.postMessage({ id, type: "event", event });
        };
        const say = async () => {
          for await (const text of run.text) scope.postMessage({ id, type: "text", text });
        };
        const [result] = await Promise.all([run.final, tell(), say()]);
        return result;
      });
    case "call":
      return aborted(id, (signal) => called[request.name](request.values as never[], signal));
    case "abort":
      running.get(request.of)?.abort();
      return undefined;
    case "close":
      for (const own of running.values()) own.abort();
      await model?.close();
      model = undefined;
  }
}

async function hear({ data: request }: { data: Request }): Promise<void> {
  const { id } = request;
  try {
    scope.postMessage({ id, type: "result", result: await answer(request) });
  } catch (error) {
    const code = error instanceof VentrisError ? error.code : "internal";
    scope.postMessage({ id, type: "error", code, message: (error as Error).message });
  }
}

// The runtime starts its threads from the script that it is in. Where a bundler put all into one script, that is this one.
if (scope.name.startsWith("em-pthread")) void import("onnxruntime-web/wasm");
else scope.onmessage = hear;
