/** The public face: `open` a model, `decode` with it. */

import { z } from "zod";
import { requireSignal } from "./aborts.ts";
import {
  type ContinuationScoring,
  continuations,
  type DecodeOptions,
  decode,
  type EmbedOptions,
  embed,
  generate,
  givenTo,
  type Prompt,
  promptTokens,
  requireOpen,
  requirePath,
  type ScoreOptions,
  score,
  type Text,
} from "./calls.ts";
import { type ChatSession, type ChatSessionOptions, createChat } from "./chat.ts";
import { describing } from "./described.ts";
import type { Canvas } from "./engine/canvas/canvas.ts";
import type { Continuations, ScoredContinuations } from "./engine/continuations.ts";
import { requestOptions } from "./engine/decoding.ts";
import type { EncoderDecoder } from "./engine/encoder-decoder/index.ts";
import type { Forest } from "./engine/forest.ts";
import type { ForwardResult } from "./engine/forward/index.ts";
import type { ForwardSequence } from "./engine/forward/input.ts";
import { cacheFormats, type LoadOptions, loadModel } from "./engine/load.ts";
import type { ModelPlace } from "./engine/method.ts";
import { type Capability, createModel, type DecodingModel, type ModelParts } from "./engine/model.ts";
import { type RemoteOptions, remoteOptions } from "./engine/remote/model.ts";
import type { Run, RunResult } from "./engine/run.ts";
import type { ScoredText } from "./engine/score.ts";
import { parseOptions } from "./engine/shapers/options.ts";
import { applyEdits } from "./engine/sites/ready.ts";
import { leaseSites, requireTaps } from "./engine/sites/request.ts";
import { type TextTraceChunk, type TextTraceOptions, traceTokens, writeTrace } from "./engine/sites/text.ts";
import type { Vision } from "./engine/vision.ts";
import { weightFormats } from "./engine/weight-plan.ts";
import { ensure, lateFailures, plural, requireFlags, requireOptions, shown, telling, VentrisError } from "./errors.ts";
import { exists, within } from "./files.ts";
import { checkedObject } from "./given.ts";
import { isObject } from "./json.ts";
import { modelKinds } from "./methods/index.ts";
import type { Pointer } from "./methods/pointing/kind.ts";
import type { FittedFilter } from "./methods/signals/kind.ts";
import type { Edit } from "./models/edits.ts";
import { openWays, requireNothingElse, streaming, suggestion } from "./names.ts";
import { tellingReads } from "./reads.ts";
import { type OpenProgress, type Resolving, resolveModel } from "./references.ts";
import { openSharing, requireShare } from "./sharing/index.ts";
import type { GivenMessage } from "./text/tokenizer.ts";
import { fileFormat } from "./weights/index.ts";
import { requireReference } from "./weights/references.ts";

/** How a model is opened. */
export interface OpenOptions extends LoadOptions, RemoteOptions {
  /**
   * Address of a Redis or Valkey server ("redis://host:6379") through which replicas share what methods learn while they serve; a replica
   * that cannot reach it learns alone. Default: nothing is shared.
   */
  share?: string;
  /** Ends opening between its steps: `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
  /** What opening is doing: a download file by file, then reading and compiling, and converting weights where that is needed. Default: nobody is told. */
  onProgress?: (progress: OpenProgress) => void;
}

/** What kinds of models bring, by the names of their capabilities. */
export interface Abilities {
  readonly forest: Forest;
  readonly canvas: Canvas;
  readonly vision: Vision;
  /** Of pointer networks. */
  readonly pointing: Pointer;
  /** Of fitted filters of signals. */
  readonly filter: FittedFilter;
  /** Of T5 checkpoints. */
  readonly "encoder-decoder": EncoderDecoder;
}

/** A model that `open` gave: everything that can be done with it. */
export interface Model extends Omit<DecodingModel, "use" | "forward" | "ability">, AsyncDisposable {
  /** What a kind of model brings under a name of its own: see `Abilities`. Errors: `unavailable` where it has it not. */
  ability<Name extends keyof Abilities>(name: Name): Abilities[Name];
  /** One that `Abilities` does not have: its type is given, and a misspelt name without one does not compile. */
  ability<T>(name: unknown extends T ? never : Capability): T;
  /**
   * Starts decoding from a text, token ids, or the messages of a chat. Errors in the arguments are thrown at once; later ones reject
   * `final` and end the iteration.
   */
  decode(prompt: Prompt, options?: DecodeOptions): Run;
  /** The whole result, for those who want no stream. */
  generate(prompt: Prompt, options?: DecodeOptions): Promise<RunResult>;
  /** Log-probabilities of a given text (nats), token by token. */
  score(text: Text, options?: ScoreOptions): Promise<ScoredText>;
  /**
   * Scores of given continuations of a context, token by token, under the model's distributions as shapers leave them: what likelihood-based
   * questions are answered by.
   */
  continuations(given: Continuations, options?: ContinuationScoring): Promise<ScoredContinuations>;
  /** The mean of a text's final states, scaled to length 1: [width]. */
  embed(text: Text, options?: EmbedOptions): Promise<Float32Array>;
  /** A conversation with the model's chat template. Errors: `unavailable` for a model without one. */
  chat(options?: ChatSessionOptions): ChatSession;
  /**
   * What sites hold at every token of a text of any length, pass by pass. Beyond the context the text begins anew every `window` tokens.
   * Errors in the options are thrown at once; later ones end the iteration.
   */
  trace(text: Text, options: TraceOptions): AsyncIterable<TextTraceChunk>;
  /** The same, written to a safetensors file: tensors "SITE@POSITION". Resolves with the number of tokens. */
  writeTrace(path: string, text: Text, options: TraceOptions): Promise<number>;
  /**
   * A forward pass over one sequence or several in one batch, under any mask. Errors: `bad_option`, `bad_shape`, `context_full`,
   * `runtime_failed`.
   */
  forward(text: Text, options?: ForwardOptions & Omit<ForwardSequence, "tokens">): Promise<ForwardResult>;
  forward(sequences: readonly ForwardSequence[], options?: ForwardOptions): Promise<ForwardResult[]>;
}

/** What is read, rewritten and kept in a forward pass. */
export interface ForwardOptions {
  /** Sites, and readings of edits, of every row (after the selection: of the rows whose logits are wanted). Default: none. */
  readonly taps?: readonly string[];
  /** Changes to values inside the model, as of `decode`. Default: none. */
  readonly edits?: DecodeOptions["edits"];
  /** Return the rows' keys and values: another call's `past`. Default false. */
  readonly keep?: boolean;
}

/** What is read of a text, and what is rewritten meanwhile. */
export interface TraceOptions extends TextTraceOptions {
  /** Changes to values inside the model, as of `decode`. Default: none. */
  edits?: DecodeOptions["edits"];
}

const func = z.custom<() => void>((value) => typeof value === "function", "must be a function");
const openOptions = z.strictObject({
  device: z.enum(["cpu", "webgpu", "cuda"]).optional(),
  threads: z.int().min(1).max(256).optional(),
  profile: z.string().optional(),
  weights: z.enum(weightFormats).optional(),
  keyValues: z.enum(cacheFormats).optional(),
  contextLength: z.int().min(1).optional(),
  memoryLimit: z.number().positive().optional(),
  maxRows: z.int().min(1).optional(),
  cacheSlots: z.int().min(0).optional(),
  taps: z.array(z.string()).optional(),
  edits: z
    .array(
      z.custom<Edit>(
        (value) => typeof value === "object" && value !== null && "site" in value && "apply" in value,
        "must be a module: { name, site, apply }",
      ),
    )
    .optional(),
  lora: z.string().optional(),
  ...remoteOptions,
  share: z.string().min(1).max(4096).optional(),
  signal: z.instanceof(AbortSignal, { error: "must be an AbortSignal" }).optional(),
  onProgress: func.optional(),
} satisfies Record<keyof OpenOptions, z.ZodType>);

/** Errors: `bad_option` for what are no options of `open`, told of the call that they were given to. */
export function requireOpenOptions(options: unknown, call: string): asserts options is OpenOptions {
  const read = (given: unknown): void => {
    requireOptions(given, call);
    parseOptions(openOptions, given as never, call, { ways: openWays });
  };
  tellingReads(call, ["options"], read)(options);
}

/**
 * Opens a shipped model by name, a checkpoint folder or weight file by path, a model of the hub ("org/name"),
 * which is downloaded to the cache folder the first time, or one behind a network ("http://host:port/v1", with `model`).
 * Errors: `unavailable` with the nearest name, and those of loading.
 */
export async function open(reference: string, options: OpenOptions = {}): Promise<Model> {
  return tellingReads("open", ["reference", "options"], openFace)(reference, options);
}

/** Of the calls that a model has here, what their arguments are called. */
const argumentNames: Readonly<Record<string, readonly string[]>> = {
  decode: ["prompt", "options"],
  generate: ["prompt", "options"],
  score: ["text", "options"],
  continuations: ["the first argument", "options"],
  embed: ["text", "options"],
  chat: ["options"],
  trace: ["text", "options"],
  writeTrace: ["path", "text", "options"],
  forward: ["text", "options"],
};

/** Calls that give no promise. */
const answersAtOnce = ["decode", "chat", "trace"];

/** The error of a call with more arguments than it reads, such as a callback; undefined where nothing is passed over. */
function tooMany(call: string, names: readonly string[], given: readonly unknown[]): VentrisError | undefined {
  const others = given.slice(names.length).filter((one) => one !== undefined);
  if (others.length === 0) return undefined;
  const way = others.some((one) => typeof one === "function") ? `: ${streaming}` : "";
  const takes = `${call} takes ${plural(names.length, "argument")} (${names.join(", ")})`;
  return new VentrisError("bad_option", `${takes}, and ${shown(others[0])} is given beside${way}`);
}

async function openFace(reference: string, options: OpenOptions): Promise<Model> {
  requireReference(reference, "open");
  requireOpenOptions(options, "open");
  const model = await openModel(reference, options);
  const calls = {
    decode: (prompt: Prompt, request?: DecodeOptions) => decode(model, prompt, request),
    generate: (prompt: Prompt, request?: DecodeOptions) => generate(model, prompt, request),
    score: (text: Text, scoring?: ScoreOptions) => score(model, text, scoring),
    continuations: (given: Continuations, scoring?: ContinuationScoring) => continuations(model, given, scoring),
    embed: (text: Text, embedding?: EmbedOptions) => embed(model, text, embedding),
    chat: (session?: ChatSessionOptions) => createChat(model, session),
    trace(text: Text, tracing: TraceOptions) {
      requireOpen(model);
      return trace(model, promptTokens(model, text, givenTo("trace")), tracing);
    },
    async writeTrace(path: string, text: Text, tracing: TraceOptions) {
      requireOpen(model);
      requirePath(path, "writeTrace");
      checkTracing(tracing);
      const tokens = promptTokens(model, text, givenTo("writeTrace"));
      await writeTrace(path, trace(model, tokens, tracing), tokens.length);
      return tokens.length;
    },
    forward: forwardOf(model),
  } satisfies Partial<Model>;
  const told = Object.entries(calls).map(([name, call]) => {
    const names = argumentNames[name];
    const counted = (...given: unknown[]): unknown => {
      const refusal = tooMany(name, names, given);
      if (refusal === undefined) return (call as (...all: unknown[]) => unknown)(...given);
      if (answersAtOnce.includes(name)) throw refusal;
      return Promise.reject(refusal);
    };
    return [name, tellingReads(name, names, Object.defineProperty(counted, "length", { value: call.length }))];
  });
  const face = {
    ...(Object.fromEntries(told) as typeof calls),
    get tokenizer() {
      requireOpen(model);
      return model.tokenizer;
    },
    ability: (name: Capability) => checkedAbility(name, model.ability(name)),
    [Symbol.asyncDispose]: model.close,
  } satisfies Partial<Model>;
  // Properties as they are, not their values: what the model lacks is an error when it is asked for, not now.
  const properties = {
    ...Object.getOwnPropertyDescriptors(checkedObject("DecodingModel", model)),
    ...Object.getOwnPropertyDescriptors(face),
  };
  const opened = Object.defineProperties({}, properties) as Model;
  describing(opened, "Model", () => describeModel(model, Object.keys(face)));
  engineModels.set(opened, model);
  return opened;
}

/** An ability, whose methods refuse what is not of their declared types. */
const checkedAbility = (name: string, ability: unknown): unknown =>
  Object.entries(checkedObject("Abilities", { [name]: ability }))[0][1];

/** What it is and can do, for who prints it. */
function describeModel(
  { name, capabilities, parameterCount, ...model }: DecodingModel,
  calls: readonly string[],
): string {
  if (!capabilities.has("forward")) return `the model ${name}: ${[...capabilities].join(", ")}`;
  const { architecture, contextLength } = model.config;
  const count = parameterCount.toLocaleString("en");
  return `the model ${name} (${architecture}, ${count} parameters, a context of ${contextLength} tokens): ${calls.join(", ")}`;
}

const engineModels = new WeakMap<Model, DecodingModel>();

/** What methods and measurements see of a model that `open` gave. Errors: `bad_option` for an object of another origin. */
export function engineModel(opened: Model): DecodingModel {
  const model = engineModels.get(opened);
  ensure(model, "bad_option", "this model was not opened by open(…)");
  return model;
}

/**
 * A companion (a draft) alternates with its model. Threads that wait by spinning would take the cores from the other one's pass, so
 * a draft beside it has one thread, which suffices for the small models that drafts are. It has 8-bit weights: between its passes the larger
 * model empties the processor's caches, so that reading them anew is most of its time, and whatever a draft proposes is verified. A peer,
 * whose numbers count, is opened as the model itself was.
 */
async function openModel(
  reference: string,
  { signal, onProgress: hear, share, ...options }: OpenOptions,
): Promise<DecodingModel> {
  const late = lateFailures();
  const onProgress = hear && late.of(telling("open: onProgress", hear, { signal }));
  const { device, maxRows, memoryLimit } = options;
  if (share !== undefined) await requireShare(share);
  let parts: Omit<ModelParts, "openCompanion"> | undefined;
  const place = placeOf(reference, { signal, onProgress });
  for (const kind of modelKinds) parts ??= await kind.open(reference, { ...options, share, signal }, place);
  if (!parts) {
    const [path, format] = [await place.path(), await place.format()];
    ensure(!format?.startsWith("ventris"), "bad_file", () => {
      return `${path} says that it holds "${format}", which is no model that this version opens`;
    });
    onProgress?.({ stage: "load" });
    parts = await loadModel(path, reference, options, (done, total) => {
      ensure(!signal?.aborted, "aborted", `opening ${reference} was aborted`);
      onProgress?.({ stage: "convert", done, total });
    });
  }
  const model = createModel({
    ...parts,
    ...(share !== undefined && { sharing: await openSharing(share) }),
    async openCompanion(other, role) {
      if (role === "draft") return openModel(other, { device, maxRows, memoryLimit, weights: "int8", threads: 1 });
      const { taps: _, edits: __, lora: ___, ...same } = options;
      const adapter = await exists(within(other, "adapter_config.json"));
      return adapter ? openModel(reference, { ...same, lora: other }) : openModel(other, same);
    },
  });
  try {
    if (signal?.aborted)
      throw new VentrisError("aborted", `opening ${reference} was aborted`, { cause: signal.reason });
    return late.unless(model);
  } catch (error) {
    await model.close();
    throw error;
  }
}

function placeOf(reference: string, how: Resolving): ModelPlace {
  let path: Promise<string> | undefined;
  let format: Promise<string | undefined> | undefined;
  const place: ModelPlace = {
    path() {
      path ??= resolveModel(reference, how);
      return path;
    },
    format() {
      format ??= place.path().then(fileFormat);
      return format;
    },
  };
  return place;
}

/** Errors: `bad_option`. */
function checkTracing(options: TraceOptions): void {
  requireOptions(options, "trace");
  const { taps, edits: _, window: __, signal, ...others } = options;
  requireNothingElse(others, "trace", ["taps", "edits", "window", "signal"]);
  requireSignal(signal);
  requireTaps(taps, "trace");
}

const logitsWords: readonly string[] = ["all", "last", "none"];
const sequenceOptions = ["mask", "positions", "past", "embeddings", "logits"] as const;

/** Errors: `bad_option`. */
function checkForward(given: unknown, options: ForwardOptions): void {
  requireOptions(options, "forward");
  const { taps, edits: _, keep, ...others } = options as ForwardOptions & Record<string, unknown>;
  ensure(
    Array.isArray(given) || (ArrayBuffer.isView(given) && !(given instanceof DataView)),
    "bad_option",
    `forward takes a text, token ids, messages, or a list of { tokens }, not ${shown(given)}`,
  );
  const single = typeof (given as readonly unknown[])[0] !== "object";
  requireFlags({ keep }, "forward");
  if (taps !== undefined) requireTaps(taps, "forward");
  if (!single) requireNothingElse(others, "forward", ["taps", "edits", "keep"]);
  for (const one of single ? [{ tokens: given, ...others }] : (given as readonly unknown[])) {
    requireOptions(one, "forward", "a sequence", "{ tokens: [1, 2] }");
    const { tokens, mask: _m, positions: _p, past: _k, embeddings: _e, logits, ...rest } = one as ForwardSequence;
    requireNothingElse(
      rest,
      "forward",
      single ? ["taps", "edits", "keep", ...sequenceOptions] : ["tokens", ...sequenceOptions],
    );
    ensure(
      Array.isArray(tokens) || ArrayBuffer.isView(tokens),
      "bad_option",
      `forward: tokens must be a list of ids, not ${shown(tokens)}`,
    );
    ensure(
      logits === undefined || Array.isArray(logits) || logitsWords.includes(logits as string),
      "bad_option",
      () =>
        `forward: logits must be "all", "last", "none" or a list of rows, not ${shown(logits)}${typeof logits === "string" ? suggestion(logits, logitsWords) : ""}`,
    );
  }
}

/** A text or messages, rather than ids or sequences of them. */
const isWritten = (text: Text | readonly ForwardSequence[]): text is string | readonly GivenMessage[] =>
  typeof text === "string" || (Array.isArray(text) && isObject(text[0]) && "role" in text[0]);

function forwardOf(model: DecodingModel): Model["forward"] {
  return (async (text: Text | readonly ForwardSequence[], options: ForwardOptions = {}) => {
    requireOpen(model);
    const given = isWritten(text) ? promptTokens(model, text, givenTo("forward")) : text;
    checkForward(given, options);
    const { taps = [], edits, keep = false, ...rest } = options as ForwardOptions & Omit<ForwardSequence, "tokens">;
    const single = typeof given[0] !== "object";
    const sequences = single
      ? [{ tokens: given as readonly number[], ...rest }]
      : (given as readonly ForwardSequence[]);
    const applied = applyEdits(model.sites(), checkedEdits(edits, "forward"), model.config.contextLength);
    leaseSites(model.sites(), taps, applied); // refuses what is unknown
    const results = await model.forward.run(sequences, { taps, edits: applied, keep });
    return single ? results[0] : results;
  }) as Model["forward"];
}

const checkedEdits = (edits: DecodeOptions["edits"], subject: string) =>
  parseOptions(requestOptions.pick({ edits: true }), { edits } as never, subject).edits ?? [];

function trace(
  model: DecodingModel,
  tokens: readonly number[],
  options: TraceOptions,
): AsyncGenerator<TextTraceChunk, void> {
  checkTracing(options);
  const edits = applyEdits(model.sites(), checkedEdits(options.edits, "trace"), model.config.contextLength);
  const sites = leaseSites(model.sites(), options.taps, edits);
  return traceTokens(model.forest, tokens, sites, options);
}
