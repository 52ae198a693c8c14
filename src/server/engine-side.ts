/**
 * The engine's side of what a server and its engine say to each other, whatever carries their messages: opens models, decodes, and tells what
 * happens.
 */
import { joinBytes } from "../bytes.ts";
import {
  type DecodeOptions,
  decodedRows,
  type MethodChoice,
  type Prompt,
  requireWriting,
  withoutLimit,
} from "../calls.ts";
import type { Canvas } from "../engine/canvas/canvas.ts";
import { vocabularyOf } from "../engine/constraining.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure, reasonOf, VentrisError } from "../errors.ts";
import { type Model, type OpenOptions, open } from "../open.ts";
import { hasPictures } from "../pictures.ts";
import { onSharingChange, sharingStatus } from "../sharing/index.ts";
import { muchTooLong } from "../text/most.ts";
import type { ChatMessage } from "../text/tokenizer.ts";
import { chatTokens, toolConstraint } from "../tool-calls.ts";
import { nextTurn } from "../turn.ts";
import type { Calls, ChatPrompt, FromEngine, PlainError, RunMessage, RunRequest, ToEngine, Told } from "./protocol.ts";
import { servedCode, servedCodebooks, servedCodes, servedSearch, servedText } from "./worker-codes.ts";
import { servedMarkov } from "./worker-markov.ts";
import { servedNeurons } from "./worker-neurons.ts";
import { beginOf, outputOf, readAll, scored } from "./worker-output.ts";

/** Open at once, at most: the one that was not used for longest is closed before another is opened. */
const mostModels = 3;

/**
 * Milliseconds between messages, but for the first text of a run. A fast model says several tokens in this time, and a message for each would
 * cost the passes a good part of their processor time; nobody reads faster.
 */
const pace = 40;

/** Tokens of a text whose vector is wanted, which may be many times longer than the context. */
const longestEmbedded = 100_000;

export interface EngineCarrier {
  readonly openOptions: OpenOptions;
  /** Of requests that name none. */
  readonly usualMethod?: MethodChoice;
  readonly send: (message: FromEngine) => void;
  /** After all that this turn still does, and before the next pass. */
  readonly soon: (action: () => void) => void;
  readonly residentBytes: () => number;
  /** A paper's own short run; absent where a page decodes, which has no reproductions. */
  readonly live?: (paper: string, signal: AbortSignal) => Promise<TimedEvent[]>;
}

/** What takes the messages; a message "close" is done when its models are closed. */
export interface EngineSide {
  hear(message: ToEngine): Promise<void>;
}

/** `signal` is of who asked. */
type Answering<Name extends keyof Calls> = (
  signal: AbortSignal,
  ...values: Parameters<Calls[Name]>
) => Promise<ReturnType<Calls[Name]>>;

export function createEngineSide(carrier: EngineCarrier): EngineSide {
  const { openOptions, usualMethod, send, soon, residentBytes } = carrier;
  const models = new Map<string, Promise<Model>>();
  const running = new Map<number, AbortController>();
  onSharingChange((status) => send({ type: "sharing", status }));

  function model(name: string): Promise<Model> {
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

  /** Those that are open by now. */
  async function openModels(): Promise<Model[]> {
    const settled = await Promise.allSettled(models.values());
    return settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  }

  /** Of those that have one: a diffusion model has none. */
  const openForests = async (): Promise<Model["forest"][]> =>
    (await openModels()).filter(({ capabilities }) => capabilities.has("forest")).map(({ forest }) => forest);

  const openCanvases = async (): Promise<Canvas[]> =>
    (await openModels())
      .filter(({ capabilities }) => capabilities.has("canvas"))
      .map((model) => model.ability<Canvas>("canvas"));

  const calls: { [Name in keyof Calls]: Answering<Name> } = {
    async open(_, name) {
      const opened = await model(name);
      const { parameterCount: parameters, secondsToLoad, capabilities, tokenizer } = opened;
      requireWriting(opened, "what is served");
      const { vocabularySize, contextLength } = opened.config;
      const chats = tokenizer?.encodeChat !== undefined;
      return { name, vocabularySize, contextLength, parameters, secondsToLoad, chats, capabilities: [...capabilities] };
    },
    async vocabulary(_, name) {
      const { tokenizer, config } = await model(name);
      return Array.from({ length: config.vocabularySize }, (_, id) =>
        tokenizer && id < tokenizer.vocabularySize
          ? tokenizer.decode([id], { continued: true, special: true })
          : `#${id}`,
      );
    },
    async tokens(_, name) {
      const { tokenizer, config } = await model(name);
      if (!tokenizer) return undefined;
      const { bytes, size } = vocabularyOf(tokenizer, config.vocabularySize);
      const all = Array.from({ length: size }, (_, token) => bytes(token));
      return { bytes: joinBytes(all), lengths: Uint16Array.from(all, ({ length }) => length) };
    },
    async tokenize(_, name, text) {
      return tokenizerOf(await model(name)).encode(text);
    },
    codebooks: async (_, name) => servedCodebooks(await model(name)),
    codes: async (_, name, place) => servedCodes(await model(name), place),
    code: async (_, name, place) => servedCode(await model(name), place),
    codedText: async (signal, name, place, text) => servedText(await model(name), place, text, signal),
    findCodes: async (_, name, expression) => servedSearch(await model(name), expression),
    async markov(signal, name, { what, reference }) {
      const other = reference === undefined ? undefined : await model(reference);
      return servedMarkov(await model(name), { what, reference: other }, signal);
    },
    neurons: async (signal, name, word) => servedNeurons((await model(name)).folder, word, signal),
    async live(signal, paper) {
      ensure(
        carrier.live,
        "unavailable",
        "without a server there is no run of the reproductions: ventris studio has them",
      );
      return carrier.live(paper, signal);
    },
    score: async (signal, request) => scored(await model(request.model), request, signal),
    async embed(signal, name, texts) {
      const opened = await model(name);
      const ids: (readonly number[])[] = [];
      for (const text of texts) {
        ids.push(typeof text === "string" ? tokenizerOf(opened).encode(text, { most: longestEmbedded }) : text);
        await nextTurn(); // others are decoded meanwhile
        ensure(!signal.aborted, "aborted", "the request was aborted");
      }
      const vectors = await readAll(ids, (tokens) => opened.embed(tokens, { signal }));
      return { vectors, tokens: sum(ids.map(({ length }) => length)) };
    },
    held: async () => sum((await openForests()).map(({ held }) => held)),
    async statistics() {
      const [forests, canvases] = [await openForests(), await openCanvases()];
      const counters = [...forests, ...canvases].map((one) => one.counters);
      const { sent = 0, received = 0, failures = 0, refused = 0 } = sharingStatus() ?? {};
      const total = (value: (forest: Model["forest"]) => number): number => sum(forests.map(value));
      return {
        passes: sum(counters.map(({ passes }) => passes)),
        rows: sum(counters.map(({ rows }) => rows)),
        secondsInPasses: sum(counters.map(({ secondsInPasses }) => secondsInPasses)),
        held: total(({ held }) => held),
        size: total(({ size }) => size),
        capacity: total(({ capacity }) => capacity),
        residentBytes: residentBytes(),
        sharingSent: sent,
        sharingReceived: received,
        sharingFailures: failures,
        sharingRefused: refused,
      };
    },
  };

  const read = oncePerPrompt();

  /** Events of all runs that wait to be sent: what happens meanwhile travels in one message. */
  let waiting = new Map<number, Told[]>();
  let flushed = Number.NEGATIVE_INFINITY;
  let scheduled: "soon" | "later" | undefined;

  function tell(id: number, event: Told): void {
    const events = waiting.get(id);
    if (events) join(events, event);
    else waiting.set(id, [event]);
    const wait = event.type === "begin" ? 0 : pace - (performance.now() - flushed);
    if (wait <= 0 && scheduled !== "soon") {
      scheduled = "soon"; // after all that this turn still does, and before the next pass
      soon(flush);
    } else if (!scheduled) {
      scheduled = "later";
      setTimeout(flush, wait);
    }
  }

  function flush(): void {
    scheduled = undefined;
    if (waiting.size === 0) return;
    flushed = performance.now();
    send({ type: "events", runs: [...waiting] });
    waiting = new Map();
  }

  async function run({ id, request, detail }: RunMessage): Promise<void> {
    const stop = new AbortController();
    running.set(id, stop);
    const started = performance.now();
    try {
      const opened = await model(request.model);
      const decoding = opened.decode(read(opened, request.prompt), optionsOf(request, opened, stop.signal));
      if (detail === "trace") {
        for await (const event of decoding) tell(id, { ...event, at: (performance.now() - started) / 1000 });
      } else for await (const event of outputOf(opened, decoding, detail)) tell(id, event);
      flush();
      send({ type: "end", id });
    } catch (error) {
      flush();
      send({ type: "end", id, error: plainError(error) });
    } finally {
      running.delete(id);
    }
  }

  function optionsOf({ options, tools, unlimited }: RunRequest, opened: Model, signal: AbortSignal): DecodeOptions {
    const method = options.method ?? (opened.capabilities.has("forest") ? usualMethod : undefined);
    const constraint = tools && toolConstraint(tools);
    const limit = unlimited && withoutLimit(opened);
    return { ...limit, ...options, ...(method && { method }), ...(constraint && { constraint }), signal };
  }

  async function hear(message: ToEngine): Promise<void> {
    if (message.type === "runs") for (const one of message.runs) void run(one);
    else if (message.type === "abort") running.get(message.id)?.abort();
    else if (message.type === "call") {
      const { id, name, values } = message;
      const call = calls[name] as (signal: AbortSignal, ...values: readonly unknown[]) => Promise<unknown>;
      const stop = new AbortController();
      running.set(id, stop);
      try {
        send({ type: "answer", id, result: await call(stop.signal, ...values) });
      } catch (error) {
        send({ type: "answer", id, error: plainError(error) });
      } finally {
        running.delete(id);
      }
    } else {
      for (const stop of running.values()) stop.abort();
      for (const one of await openModels()) await one.close();
    }
  }
  return { hear };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function tokenizerOf({ tokenizer, name }: Model): NonNullable<Model["tokenizer"]> {
  if (!tokenizer) throw new VentrisError("unavailable", `the model ${name} has no tokenizer`);
  return tokenizer;
}

/** Several choices have one prompt, and to read a long one holds up all else: what it is to a model, or its error, is kept while it is. */
function oncePerPrompt(): typeof promptOf {
  const known = new WeakMap<object, WeakMap<Model, () => Prompt>>();
  return (opened, prompt) => {
    const models = known.get(prompt) ?? new WeakMap<Model, () => Prompt>();
    known.set(prompt, models);
    const found = models.get(opened);
    if (found) return found();
    try {
      const made = promptOf(opened, prompt);
      models.set(opened, () => made);
      return made;
    } catch (error) {
      models.set(opened, () => {
        throw error;
      });
      throw error;
    }
  };
}

/** Texts and messages become ids here; a template may be given tools. */
function promptOf(opened: Model, prompt: RunRequest["prompt"]): Prompt {
  if (!("messages" in prompt)) {
    const given = "text" in prompt ? prompt.text : prompt;
    if (given.length === 0 && opened.capabilities.has("forest")) return beginOf(opened);
    return opened.capabilities.has("remote") ? given : decodedRows(opened, given);
  }
  const { tokenizer, name } = opened;
  ensure(tokenizer?.encodeChat, "bad_option", `the model ${name} has no chat template: ask for completions instead`);
  if (hasPictures(prompt.messages)) return picturesOf(prompt);
  return chatTokens(tokenizer, prompt.messages, prompt.tools, muchTooLong(opened.config.contextLength));
}

/** Messages with pictures, which come with the request: a path would be one of this machine's files. Errors: `bad_option`. */
function picturesOf({ messages, tools = [] }: ChatPrompt): readonly ChatMessage[] {
  ensure(tools.length === 0, "bad_option", "tools: beside pictures there can be none");
  for (const [m, { content }] of messages.entries())
    for (const [i, part] of (Array.isArray(content) ? content : []).entries())
      ensure((part as { type?: unknown })?.type !== "image", "bad_option", () => {
        return `messages[${m}].content[${i}]: a picture is given as { type: "image_url", image_url: { url: "data:image/…" } }`;
      });
  return messages as readonly ChatMessage[];
}

/** Text that goes on is one event. */
function join(events: Told[], event: Told): void {
  const last = events[events.length - 1];
  if (last.type !== "text" || event.type !== "text") {
    events.push(event);
    return;
  }
  const { text, tokens, logprobs } = event;
  // Text that was held back comes at the end by itself: its tokens were told before.
  const all = last.logprobs || logprobs ? [...(last.logprobs ?? []), ...(logprobs ?? [])] : undefined;
  events[events.length - 1] = {
    type: "text",
    text: last.text + text,
    tokens: last.tokens + tokens,
    ...(all && { logprobs: all }),
  };
}

/** As it travels. */
export const plainError = (error: unknown): PlainError => ({
  code: error instanceof VentrisError ? error.code : "unexpected",
  message: reasonOf(error),
});
