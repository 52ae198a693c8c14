/** The public face: `open` a model, `decode` with it. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createConstraint } from "./constraints/index.ts";
import { type RequestOptions, requestOptions } from "./engine/decoding.ts";
import type { VectorRow } from "./engine/forest.ts";
import type { ForwardResult } from "./engine/forward/index.ts";
import type { ForwardSequence } from "./engine/forward/input.ts";
import { type LoadOptions, loadModel } from "./engine/load.ts";
import type { Method } from "./engine/method.ts";
import { createModel, type Model, type ModelParts } from "./engine/model.ts";
import { type Run, startRun } from "./engine/run.ts";
import { parseOptions } from "./engine/shapers/options.ts";
import type { MakeShaper } from "./engine/shapers/shaper.ts";
import { applyEdits } from "./engine/sites/ready.ts";
import { leaseSites } from "./engine/sites/request.ts";
import { type TextTraceChunk, type TextTraceOptions, traceTokens, writeTrace } from "./engine/sites/text.ts";
import { ensure, nearest, VentrisError } from "./errors.ts";
import { findMethod, findShaper, modelKinds } from "./methods/index.ts";
import { siteNamed } from "./models/sites.ts";
import { downloadModel } from "./weights/index.ts";

export type OpenOptions = LoadOptions;

/** A method by name, or with its options beside the name. */
export type MethodChoice = string | ({ name: string } & Record<string, unknown>);

/** A text, or rows: token ids, and vectors that stand for tokens (soft prompts, patches of an image). */
export type Prompt = string | readonly (number | VectorRow)[];

export interface DecodeOptions extends Omit<RequestOptions, "stop"> {
  /** Default: `sample`, or `greedy` at temperature 0. */
  method?: MethodChoice;
  stop?: string | readonly string[];
  /** What else has a say in the distributions, inside whatever method, in order: by name, with options beside the name, or made by you. */
  shapers?: readonly (string | ({ name: string } & Record<string, unknown>) | MakeShaper)[];
  signal?: AbortSignal;
}

export interface OpenModel extends Omit<Model, "use" | "forward">, AsyncDisposable {
  /**
   * Starts decoding from a text or from token ids. Errors in the options are thrown at once; later ones reject `final` and end the
   * iteration.
   */
  decode(prompt: Prompt, options?: DecodeOptions): Run;
  /**
   * What sites hold at every token of a text of any length, pass by pass. Beyond the context the text begins anew every `window` tokens.
   * Errors in the options are thrown at once; later ones end the iteration.
   */
  trace(text: string | readonly number[], options: TraceOptions): AsyncIterable<TextTraceChunk>;
  /** The same, written to a safetensors file: tensors "SITE@POSITION". Resolves with the number of tokens. */
  writeTrace(path: string, text: string | readonly number[], options: TraceOptions): Promise<number>;
  /**
   * A forward pass over one sequence or several in one batch, under any mask. Errors: `bad_option`, `bad_shape`, `context_full`,
   * `runtime_failed`.
   */
  forward(
    tokens: readonly number[],
    options?: ForwardOptions & Omit<ForwardSequence, "tokens">,
  ): Promise<ForwardResult>;
  forward(sequences: readonly ForwardSequence[], options?: ForwardOptions): Promise<ForwardResult[]>;
}

export interface ForwardOptions {
  /** Sites, and readings of edits, of every row (after the selection: of the rows whose logits are wanted). */
  readonly taps?: readonly string[];
  readonly edits?: RequestOptions["edits"];
  /** Return the rows' keys and values: another call's `past`. */
  readonly keep?: boolean;
}

export interface TraceOptions extends TextTraceOptions {
  edits?: RequestOptions["edits"];
}

const shippedFolder = fileURLToPath(new URL("../models/", import.meta.url));

/** Names of the models that ship with the package. */
export async function shippedModels(): Promise<string[]> {
  const entries = existsSync(shippedFolder) ? await readdir(shippedFolder, { withFileTypes: true }) : [];
  return entries
    .filter((e) => e.isDirectory() && existsSync(join(shippedFolder, e.name, "config.json")))
    .map((e) => e.name);
}

/**
 * Opens a shipped model by name, a checkpoint folder or weight file by path, or a model of the hub ("org/name"),
 * which is downloaded to the cache folder the first time.
 * Errors: `unavailable` with the nearest name, and those of loading.
 */
export async function open(reference: string, options: OpenOptions = {}): Promise<OpenModel> {
  const model = await openModel(reference, options);
  const face = {
    decode: (prompt: Prompt, request?: DecodeOptions) => decode(model, prompt, request),
    trace: (text: string | readonly number[], tracing: TraceOptions) =>
      trace(model, promptTokens(model, text), tracing),
    async writeTrace(path: string, text: string | readonly number[], tracing: TraceOptions) {
      const tokens = promptTokens(model, text);
      const all = model.sites();
      const widths = new Map(tracing.taps.map((tap) => [tap, siteNamed(all, tap).width]));
      await writeTrace(path, trace(model, tokens, tracing), tokens.length, widths);
      return tokens.length;
    },
    forward: forwardOf(model),
    [Symbol.asyncDispose]: model.close,
  } satisfies Partial<OpenModel>;
  // Properties as they are, not their values: what the model lacks is an error when it is asked for, not now.
  const properties = { ...Object.getOwnPropertyDescriptors(model), ...Object.getOwnPropertyDescriptors(face) };
  return Object.defineProperties({}, properties) as OpenModel;
}

/**
 * A companion (a draft) alternates with its model. Threads that wait by spinning would take the cores from the other one's pass, so
 * a companion has one thread, which suffices for the small models that drafts are. It has 8-bit weights: between its passes the larger
 * model empties the processor's caches, so that reading them anew is most of its time, and whatever a draft proposes is verified.
 */
async function openModel(reference: string, options: OpenOptions): Promise<Model> {
  const { device, maxRows, memoryLimit } = options;
  let parts: Omit<ModelParts, "openCompanion"> | undefined;
  for (const kind of modelKinds) parts ??= await kind.open(reference, options);
  parts ??= await loadModel(await resolveModel(reference), reference, options);
  return createModel({
    ...parts,
    openCompanion: (other) => openModel(other, { device, maxRows, memoryLimit, weights: "int8", threads: 1 }),
  });
}

/** Where a model reference leads. Errors: `unavailable`. */
export async function resolveModel(reference: string): Promise<string> {
  const shipped = await shippedModels();
  if (shipped.includes(reference)) return join(shippedFolder, reference);
  if (existsSync(reference)) return isAbsolute(reference) ? reference : join(process.cwd(), reference);
  const meant = nearest(reference, shipped);
  if (/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(reference)) return downloadModel(reference);
  throw new VentrisError(
    "unavailable",
    `no model "${reference}": it is neither a shipped model (${shipped.join(", ") || "none"}), nor a file or folder here${meant ? `; did you mean "${meant}"?` : ""}`,
  );
}

function forwardOf(model: Model): OpenModel["forward"] {
  return (async (given: readonly number[] | readonly ForwardSequence[], options: ForwardOptions = {}) => {
    const { taps = [], edits, keep = false, ...rest } = options as ForwardOptions & Omit<ForwardSequence, "tokens">;
    const single = typeof given[0] !== "object";
    const sequences = single
      ? [{ tokens: given as readonly number[], ...rest }]
      : (given as readonly ForwardSequence[]);
    const applied = applyEdits(model.sites(), checkedEdits(edits, "forward"));
    leaseSites(model.sites(), taps, applied); // refuses what is unknown
    const results = await model.forward.run(sequences, { taps, edits: applied, keep });
    return single ? results[0] : results;
  }) as OpenModel["forward"];
}

const checkedEdits = (edits: RequestOptions["edits"], subject: string) =>
  parseOptions(requestOptions.pick({ edits: true }), { edits }, subject).edits ?? [];

function trace(model: Model, tokens: readonly number[], options: TraceOptions): AsyncGenerator<TextTraceChunk, void> {
  const edits = applyEdits(model.sites(), checkedEdits(options.edits, "trace"));
  const sites = leaseSites(model.sites(), options.taps, edits);
  return traceTokens(model.forest, tokens, sites, options);
}

function decode(model: Model, prompt: Prompt, options: DecodeOptions = {}): Run {
  const { method: choice, signal, stop, shapers = [], ...request } = options;
  const settings = parseOptions(
    requestOptions,
    { ...withMethodDefaults(request, choice), stop: typeof stop === "string" ? [stop] : stop && [...stop] },
    "decode",
  );
  if (settings.constraint) createConstraint(settings.constraint); // refused at once, and kept for the run
  const { name, ...given } =
    typeof choice === "object" ? choice : { name: choice ?? (settings.temperature === 0 ? "greedy" : "sample") };
  const method = findMethod(name);
  requireCapabilities(model, method);
  const methodOptions = parseOptions(method.options, given, method.name) as Record<string, unknown>;
  const making = shapers.map(shaperOf);
  const rows = promptRows(model, prompt);
  return startRun({ model, method, methodOptions, prompt: rows, settings, shapers: making, signal });
}

/** Errors: `bad_option` naming method, model and what is missing. */
function requireCapabilities({ name, capabilities }: Model, { name: method, needs = ["forest"] }: Method): void {
  const missing = needs.filter((need) => !capabilities.has(need));
  ensure(missing.length === 0, "bad_option", () => {
    const has = [...capabilities].join(", ") || "nothing";
    return `the method ${method} needs of its model: ${missing.join(", ")}; the model ${name} has: ${has}`;
  });
}

function shaperOf(choice: NonNullable<DecodeOptions["shapers"]>[number]): MakeShaper {
  if (typeof choice === "function") return choice;
  const { name, ...given } = typeof choice === "string" ? { name: choice } : choice;
  const kind = findShaper(name);
  const options = parseOptions(kind.options, given, name);
  return (host) => kind.create(host, options);
}

/** `greedy` means temperature 0 unless something else is asked for, which it then refuses. */
function withMethodDefaults(request: RequestOptions, choice: MethodChoice | undefined): RequestOptions {
  const name = typeof choice === "object" ? choice.name : choice;
  return name === "greedy" && request.temperature === undefined ? { ...request, temperature: 0 } : request;
}

/** Rows of a prompt. Errors: `bad_option` when it is empty, a token is unknown or a vector has another width. */
function promptRows(model: Model, prompt: Prompt): readonly (number | VectorRow)[] {
  if (typeof prompt === "string") return promptTokens(model, prompt);
  ensure(prompt.length > 0, "bad_option", "the prompt is empty");
  const { vocabularySize, hiddenSize } = model.config;
  for (const row of prompt) {
    if (typeof row === "number") {
      const known = Number.isInteger(row) && row >= 0 && row < vocabularySize;
      ensure(known, "bad_option", `prompt: ${row} is not a token id of this model (0 to ${vocabularySize - 1})`);
      continue;
    }
    ensure(typeof row?.id === "string", "bad_option", "prompt: a row is a token id, or a vector with an id");
    const { length } = row.values;
    ensure(
      length === hiddenSize,
      "bad_option",
      `prompt: the vector ${row.id} has ${length} numbers, not ${hiddenSize}`,
    );
    ensure(
      row.values.every(Number.isFinite),
      "bad_option",
      `prompt: the vector ${row.id} has values that are not finite`,
    );
  }
  return prompt;
}

/** Ids of a text. Errors: `bad_option` when it is empty, `unavailable` for a model without a tokenizer. */
function promptTokens(model: Model, prompt: string | readonly number[]): readonly number[] {
  if (typeof prompt !== "string") return promptRows(model, prompt) as readonly number[];
  ensure(prompt.length > 0, "bad_option", "the prompt is empty");
  ensure(model.tokenizer, "unavailable", `the model ${model.name} has no tokenizer: give the prompt as token ids`);
  return model.tokenizer.encode(prompt);
}
