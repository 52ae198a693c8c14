/** The engine's thread: opens models, decodes, and sends what happens. A pass blocks this thread and no other. */
import { parentPort, workerData } from "node:worker_threads";
import type { TimedEvent } from "../engine/trace.ts";
import { VentrisError } from "../errors.ts";
import { type OpenModel, type OpenOptions, open } from "../open.ts";
import type { Calls, FromEngine, PlainError, RunRequest, ToEngine } from "./protocol.ts";

const port = parentPort!;
const { models: openOptions } = workerData as { models: OpenOptions };

/** Open at once, at most: the one that was not used for longest is closed before another is opened. */
const mostModels = 3;
const models = new Map<string, Promise<OpenModel>>();
const running = new Map<number, AbortController>();

function model(name: string): Promise<OpenModel> {
  const known = models.get(name);
  models.delete(name);
  const opened = known ?? open(name, openOptions);
  models.set(name, opened); // last in order: just used
  opened.catch(() => models.delete(name));
  const [oldest] = models.keys();
  if (models.size > mostModels) {
    const closing = models.get(oldest)!;
    models.delete(oldest);
    void closing.then((one) => one.close()).catch(() => {}); // waits for its runs
  }
  return opened;
}

const calls: { [Name in keyof Calls]: (...values: Parameters<Calls[Name]>) => Promise<ReturnType<Calls[Name]>> } = {
  async open(name) {
    const { config, parameterCount, secondsToLoad, forest } = await model(name);
    const { vocabularySize } = config;
    return { name, vocabularySize, contextLength: forest.contextLength, parameters: parameterCount, secondsToLoad };
  },
  async vocabulary(name) {
    const { tokenizer, config } = await model(name);
    return Array.from({ length: config.vocabularySize }, (_, id) =>
      tokenizer && id < tokenizer.vocabularySize
        ? tokenizer.decode([id], { continued: true, special: true })
        : `#${id}`,
    );
  },
  async tokenize(name, text) {
    const { tokenizer } = await model(name);
    if (!tokenizer) throw new VentrisError("unavailable", `the model ${name} has no tokenizer`);
    return tokenizer.encode(text);
  },
  async held() {
    const open = await Promise.allSettled(models.values());
    return open.reduce((sum, one) => sum + (one.status === "fulfilled" ? one.value.forest.held : 0), 0);
  },
};

async function run(id: number, { model: name, prompt, options }: RunRequest): Promise<void> {
  const stop = new AbortController();
  running.set(id, stop);
  // Events of one turn of the loop travel together.
  let waiting: TimedEvent[] = [];
  const started = performance.now();
  const flush = (): void => {
    if (waiting.length > 0) send({ type: "events", id, events: waiting });
    waiting = [];
  };
  try {
    const opened = await model(name);
    for await (const event of opened.decode(prompt, { ...options, signal: stop.signal })) {
      if (waiting.push({ ...event, at: (performance.now() - started) / 1000 }) === 1) setImmediate(flush);
    }
    flush();
    send({ type: "end", id });
  } catch (error) {
    flush();
    send({ type: "end", id, error: plain(error) });
  } finally {
    running.delete(id);
  }
}

const send = (message: FromEngine): void => port.postMessage(message);

const plain = (error: unknown): PlainError => ({
  code: error instanceof VentrisError ? error.code : "unexpected",
  message: error instanceof Error ? error.message : String(error),
});

port.on("message", async (message: ToEngine) => {
  if (message.type === "run") void run(message.id, message.request);
  else if (message.type === "abort") running.get(message.id)?.abort();
  else if (message.type === "call") {
    const { id, name, values } = message;
    const call = calls[name] as (...values: readonly unknown[]) => Promise<unknown>;
    try {
      send({ type: "answer", id, result: await call(...values) });
    } catch (error) {
      send({ type: "answer", id, error: plain(error) });
    }
  } else {
    for (const stop of running.values()) stop.abort();
    for (const one of await Promise.allSettled(models.values()))
      if (one.status === "fulfilled") await one.value.close();
    port.close();
  }
});
