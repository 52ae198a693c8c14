/**
 * From what a caller gives to a run: prompts as text, token ids or messages; options checked; results as a whole, as
 * log-probabilities of a given text, or as a vector.
 */

import { requireSignal } from "./aborts.ts";
import { type ConstraintChoice, createConstraint } from "./constraints/index.ts";
import type { Canvas } from "./engine/canvas/canvas.ts";
import {
  readTemplate,
  type Template,
  type TemplateText,
  templateFields,
  templateTokens,
} from "./engine/canvas/template.ts";
import {
  type ContinuationOptions,
  type Continuations,
  type ScoredContinuations,
  scoreContinuations,
} from "./engine/continuations.ts";
import { mostTokens, requestOptions } from "./engine/decoding.ts";
import type { VectorRow } from "./engine/forest.ts";
import { type Method, requireMethod, requireShaperKind, type ShaperKind } from "./engine/method.ts";
import { capabilityWords, type DecodingModel } from "./engine/model.ts";
import { forRequest } from "./engine/remote/decoding.ts";
import { embedRemotely, scoreRemotely } from "./engine/remote/reading.ts";
import { type Run, type RunResult, startRun } from "./engine/run.ts";
import { type ScoredText, scoreTokens } from "./engine/score.ts";
import { requireChain } from "./engine/shapers/chain.ts";
import { parseOptions } from "./engine/shapers/options.ts";
import type { MakeShaper } from "./engine/shapers/shaper.ts";
import { leaseSites } from "./engine/sites/request.ts";
import { traceTokens } from "./engine/sites/text.ts";
import { ensure, requireFlags, requireOptions, shown, shownEnd, telling, VentrisError } from "./errors.ts";
import { checkedObject } from "./given.ts";
import { isObject } from "./json.ts";
import { elsewhere, waysBeside } from "./methods/beside.ts";
import { findMethod, findShaper, methods, shapers as registeredShapers } from "./methods/index.ts";
import { shippedWith } from "./models/shipping.ts";
import { embedWays, meantBy, meantField, requestWays, requireNothingElse, scoreWays } from "./names.ts";
import { requireWhole } from "./numbers.ts";
import type { MethodName, MethodWithOptions, RequestOptions, ShaperName, ShaperWithOptions } from "./options.ts";
import { hasPictures, isPicturePrompt, type PicturePrompt, pictureRows, requireWholePictures } from "./pictures.ts";
import { strictly } from "./strict.ts";
import { requireMessage } from "./text/chat-messages.ts";
import { muchTooLong, requireAtMost } from "./text/most.ts";
import type { ChatMessage, GivenMessage, Tokenizer } from "./text/tokenizer.ts";
import { addressHint, givenFields, isInstance } from "./values.ts";

/** A text, token ids, or the messages of a chat, which the model's template turns into a prompt. */
export type Text = string | readonly number[] | readonly GivenMessage[];

/**
 * The same, or rows: token ids, and vectors that stand for tokens (soft prompts, patches of an image); or, for models with a canvas, a text with
 * blanks: `{ fill: "The old king ___ and then ___." }`; or, for models that see, pictures and texts: `[{ image: "cat.png" }, "What is this?"]`.
 */
export type Prompt = Text | readonly (number | VectorRow)[] | TemplateText | PicturePrompt;

/** A method by name, a method with its options, or one of one's own, made by `defineMethod`. */
export type MethodChoice = MethodName | Without<MethodWithOptions, keyof Method | "method"> | OwnMethod;

/** Each of a union without fields of its neighbours, which TypeScript would take in all of them: `options` beside the name of a method. */
type Without<Choice, Fields extends PropertyKey> = Choice extends unknown
  ? Choice & { [field in Exclude<Fields, keyof Choice>]?: never }
  : never;

/** Names of all fields in a union. */
type FieldsOf<Choice> = Choice extends unknown ? keyof Choice : never;

/** A method that is not in the registry, with its options beside it where it has any. */
// biome-ignore lint/suspicious/noExplicitAny: a method of any options
export type OwnMethod = Method<any> | Without<MethodBesideOptions, FieldsOf<MethodWithOptions>>;

// biome-ignore lint/suspicious/noExplicitAny: a method of any options
type MethodBesideOptions = { method: Method<any>; options?: Readonly<Record<string, unknown>> };

/** A choice that is known at run time alone, of a command line or a file. */
export type NamedMethod = string | ({ name: string } & Readonly<Record<string, unknown>>);

/** As the argument of `decode`, which says whatever is wrong with it. */
export const methodChoice = (choice: NamedMethod): MethodChoice => chosen(choice, "methodChoice") as MethodChoice;

/** A shaper by name, with its options beside the name where it has any, or one of one's own: the function that makes it, or what `defineShaper` gave. */
export type ShaperChoice =
  | ShaperName
  | Without<ShaperWithOptions, keyof ShaperKind | "shaper">
  | MakeShaper
  | OwnShaper;

/** A shaper that is not in the registry, with its options beside it where it has any. */
// biome-ignore lint/suspicious/noExplicitAny: a shaper of any options
export type OwnShaper = ShaperKind<any> | Without<ShaperBesideOptions, FieldsOf<ShaperWithOptions>>;

// biome-ignore lint/suspicious/noExplicitAny: a shaper of any options
type ShaperBesideOptions = { shaper: ShaperKind<any>; options?: Readonly<Record<string, unknown>> };

/** A choice that is known at run time alone, as the argument of `decode`, which says whatever is wrong with it. */
export const shaperChoice = (choice: NamedMethod): ShaperChoice => chosen(choice, "shaperChoice") as ShaperChoice;

/** Nothing would be the default, which nobody chose. */
function chosen(choice: NamedMethod, call: string): NamedMethod {
  ensure(choice !== undefined, "bad_option", `${call} takes a name or { name, …options }, not undefined`);
  return choice;
}

export interface DecodeOptions extends RequestOptions {
  /** How to decode. Default: `sample`, or `greedy` at temperature 0. */
  method?: MethodChoice;
  /** What else has a say in the distributions, inside whatever method, in order: by name, with options beside the name, or made by you. Default: nothing. */
  shapers?: readonly ShaperChoice[];
  /** Ends the run within one forward pass; `final` then has `finish: "aborted"`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** Who uses a closed model is told at once, whatever is asked of it. Errors: `aborted`. */
export const requireOpen = (model: Pick<DecodingModel, "use">): void => model.use()();

/** Starts decoding. Errors in the arguments are thrown at once. */
export function decode(opened: DecodingModel, prompt: Prompt, options: DecodeOptions = {}): Run {
  requireOpen(opened);
  const model = opened.capabilities.has("remote") ? forRequest(opened) : opened;
  const request = readRequest(model, options, "decode");
  const template = isTemplate(prompt) ? templateOf(model, prompt) : undefined;
  return startRun({
    ...request,
    model,
    prompt: template
      ? templateRows(model, template)
      : isPicturePrompt(prompt) || hasPictures(prompt)
        ? pictureRows(model, prompt)
        : promptRows(model, prompt as RowsPrompt),
    template,
  });
}

/** Options of a request, for who gave something else. */
export const requestExample = "{ maxTokens: 2 }";

const requestNames = Object.keys(requestOptions.shape);

/** What options ask for, with everything filled in. Errors: `bad_option` for what this model cannot honour or nobody knows. */
export function readRequest(model: DecodingModel, options: DecodeOptions, call: string) {
  requireOptions(options, call, "options", requestExample);
  const { method: choice, shapers = [], signal, stop, ...request } = options;
  requireSignal(signal);
  const chosen = resolveMethod(choice, call);
  const method = chosen?.method ?? findMethod(usualMethod(model, request.temperature));
  const settings = parseOptions(
    requestOptions,
    {
      ...method.defaults,
      ...givenFields(request),
      stop: typeof stop === "string" ? [stop] : stop && Array.isArray(stop) ? [...stop] : stop,
    } as RequestOptions & { stop?: string[] } as never,
    call,
    {
      besides: ["method", "shapers", "signal"],
      ways: waysBeside(request, { known: requestNames, ways: requestWays, chosen: chosen?.method }),
    },
  );
  if (settings.constraint) requireConstraint(settings.constraint); // refused at once, and kept for the run
  requireCapabilities(model, method);
  if (!model.capabilities.has("remote"))
    requireChain(settings, { vocabularySize: model.config.vocabularySize, tokenizer: model.tokenizer });
  const methodOptions = parseOptions(method.options, { ...chosen?.options }, method.name, {
    elsewhere: elsewhere(methods, "method", requestNames),
  }) as Record<string, unknown>;
  const making = makersOf(shapers);
  ensure(
    making.length === 0 || !model.capabilities.has("remote"),
    "bad_option",
    "shapers: they change distributions, which stay with the engine behind the network",
  );
  const given = new Set(Object.keys(givenFields({ ...request, stop })));
  return { method, methodOptions, settings, given, shapers: making, signal };
}

/** Errors: what is wrong with the form of the output, told with the option's name. */
function requireConstraint(choice: ConstraintChoice): void {
  try {
    createConstraint(choice);
  } catch (cause) {
    if (!(cause instanceof VentrisError) || /^constraint\b/.test(cause.message)) throw cause;
    throw new VentrisError(cause.code, `constraint: ${cause.message}`, { cause });
  }
}

type PromptReader = Pick<DecodingModel, "name" | "capabilities" | "config" | "tokenizer">;
type RowsPrompt = Exclude<Prompt, TemplateText | PicturePrompt>;

const isTemplate = (prompt: Prompt): prompt is TemplateText =>
  typeof prompt === "object" && prompt !== null && !Array.isArray(prompt) && Object.hasOwn(prompt, "fill");

function templateOf({ tokenizer, name, capabilities }: DecodingModel, given: TemplateText): Template {
  ensure(capabilities.has("canvas"), "bad_option", () => {
    return `fill: the model ${name} has no canvas, it writes from left to right; blanks need a masked diffusion model${shippedWith(["canvas"])}`;
  });
  ensure(tokenizer, "unavailable", `the model ${name} has no tokenizer, and a template is a text`);
  const template = readTemplate(given, tokenizer);
  requireNotRendered(
    tokenizer,
    given.fill,
    { whole: "fill", place: "fill" },
    "a text with blanks has no messages, and decode(messages) answers them",
  );
  return template;
}

/** As the prompt of the run: blanks whose length is to be found count as one mask. */
function templateRows(model: DecodingModel, template: Template): readonly number[] {
  const { maskToken } = model.ability<Canvas>("canvas");
  const lengths = template.lengths.map((length) => length ?? 1);
  return Array.from(templateTokens(template, lengths, maskToken));
}

/** Fills positions in any order, and does not write to the right. */
export const isCanvas = ({ capabilities }: Pick<DecodingModel, "capabilities">): boolean =>
  capabilities.has("canvas") && !capabilities.has("forest");

/**
 * Options of an answer that has no limit, as in a chat: it goes on until it ends, or the context does. A canvas, all of which each pass looks at, has its
 * usual length instead, as that of a request without `maxTokens`.
 */
export const withoutLimit = (model: Pick<DecodingModel, "capabilities">): Pick<DecodeOptions, "maxTokens"> =>
  isCanvas(model) ? {} : { maxTokens: mostTokens };

/** The plain way to decode with a model. */
function usualMethod(model: DecodingModel, temperature: unknown): string {
  if (isCanvas(model)) return "low-confidence";
  return temperature === 0 ? "greedy" : "sample";
}

/** Errors: `bad_option` naming method, model and what is missing. */
function requireCapabilities({ name, capabilities }: DecodingModel, method: Method): void {
  const { needs = ["forest"], suffices } = method;
  const missing = needs.filter((need) => !capabilities.has(need));
  if (suffices?.every((need) => capabilities.has(need))) return;
  ensure(missing.length === 0, "bad_option", () => {
    const has = [...capabilities].join(", ") || "nothing";
    const meant = missing.filter((need) => Object.hasOwn(capabilityWords, need));
    const words = meant.map((need) => `; ${need} stands for ${capabilityWords[need]}`).join("");
    return `the method ${method.name} needs of its model: ${missing.join(", ")}; the model ${name} has: ${has}${words}${shippedWith(missing)}`;
  });
}

function makersOf(shapers: readonly ShaperChoice[]): MakeShaper[] {
  ensure(Array.isArray(shapers), "bad_option", `shapers must be a list, not ${shown(shapers)}`);
  return Array.from(shapers, shaperOf);
}

function shaperOf(choice: ShaperChoice): MakeShaper {
  if (typeof choice === "function") return choice;
  ensure(
    typeof choice === "string" || (typeof choice === "object" && choice !== null),
    "bad_option",
    () => `a shaper must be a name, { name, …options } or one of your own, not ${shown(choice)}`,
  );
  const { kind, given } = chosenShaper(choice);
  const options = parseOptions(kind.options, given as never, kind.name, {
    elsewhere: elsewhere(registeredShapers, "shaper", requestNames),
  });
  return (host) => kind.create(host, options);
}

function chosenShaper(choice: string | object): { kind: ShaperKind; given: object } {
  if (typeof choice === "string") return { kind: findShaper(choice), given: {} };
  if ("shaper" in choice) {
    requireOptions(choice, "shapers", "a shaper", "{ shaper, options }");
    const { shaper, options = {}, ...others } = choice as { shaper: unknown; options?: object };
    requireNothingElse(others, "shapers", ["shaper", "options"]);
    requireOptions(options, "shapers");
    return { kind: ownShaper(shaper), given: options };
  }
  if (Object.values(choice).some((field) => typeof field === "function")) {
    return { kind: ownShaper(choice), given: {} };
  }
  const { name, ...given } = choice as { name?: unknown };
  ensure(
    typeof name === "string",
    "bad_option",
    () => `a shaper has no name: write it as { name: "…", …options }, not ${shown(choice)}`,
  );
  requireOptions(choice, "shapers", "a shaper", '{ name: "dola" }');
  return { kind: findShaper(name), given };
}

function ownShaper(value: unknown): ShaperKind {
  requireShaperKind(value);
  return { ...value, options: strictly(value.options) };
}

/** The whole result, for those who want no stream. Errors reject. */
export async function generate(model: DecodingModel, prompt: Prompt, options?: DecodeOptions): Promise<RunResult> {
  return decode(model, prompt, options).final;
}

function resolveMethod(choice: unknown, call: string): { method: Method; options: object } | undefined {
  if (choice === undefined) return undefined;
  if (typeof choice === "string") return { method: findMethod(choice), options: {} };
  ensure(
    typeof choice === "object" && choice !== null,
    "bad_option",
    () => `method must be a name, { name, …options } or a method made by defineMethod, not ${shown(choice)}`,
  );
  if ("decode" in choice) return { method: ownMethod(choice), options: {} };
  if ("method" in choice) {
    requireOptions(choice, call, "method", "{ method, options }");
    const { method, options = {}, ...others } = choice as { method: Method; options?: object };
    requireNothingElse(others, "method", ["method", "options"]);
    requireOptions(options, "method");
    return { method: ownMethod(method), options };
  }
  const { name, ...options } = choice as { name?: unknown };
  ensure(
    typeof name === "string",
    "bad_option",
    `method has no name: write it as { name: "…", …options }, not ${shown(choice)}`,
  );
  requireOptions(choice, call, "method", '{ name: "dyspec", draft: "pylos" }');
  return { method: findMethod(name), options };
}

/** One of the registry knows what it gives its decoding; one of the caller's own is told what is wrong. */
function ownMethod(value: unknown): Method {
  requireMethod(value);
  if (methods.includes(value)) return value;
  const what = `the method ${value.name}`;
  const { begin } = value;
  const code = "internal";
  return {
    ...value,
    options: telling(`${what}: options`, strictly, { code })(value.options),
    ...(begin && { begin: telling(`${what}: begin`, begin.bind(value), { code }) }),
    async decode(decoding, options) {
      const { signal } = decoding;
      return telling(what, value.decode.bind(value), { code, signal })(checkedObject("Decoding", decoding), options);
    },
  };
}

/** How a text is scored. */
export interface ScoreOptions {
  /** Alternatives reported at each token. Default 0. */
  top?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/**
 * Log-probabilities of a given text (nats), token by token, under the model's own distribution. A text longer than the context is
 * scored in windows that overlap by half. Errors: `bad_option`, `aborted`.
 */
export async function score(model: DecodingModel, text: Text, options: ScoreOptions = {}): Promise<ScoredText> {
  requireOpen(model);
  requireOptions(options, "score");
  const { top = 0, signal, ...others } = options;
  requireNothingElse(others, "score", ["top", "signal"], scoreWays);
  requireSignal(signal);
  requireWhole({ "score: top": top }, 0, 100);
  if (model.capabilities.has("remote")) return scoreRemotely(forRequest(model), text, { top, signal });
  return scoreTokens(model, promptTokens(model, text, givenTo("score")), { top, signal });
}

/** How continuations are scored. */
export interface ContinuationScoring extends Omit<ContinuationOptions, "shapers"> {
  /** What else has a say in the distributions, in order, as of `decode`. Default: nothing. */
  shapers?: readonly ShaperChoice[];
}

/**
 * Scores of given continuations of a context, token by token, under the model's distributions as shapers leave them. A context that is
 * too long is cut on the left. Errors: `bad_option`, `aborted`, and those of the shapers.
 */
export async function continuations(
  model: DecodingModel,
  given: Continuations,
  options: ContinuationScoring = {},
): Promise<ScoredContinuations> {
  requireOpen(model);
  requireOptions(options, "continuations");
  const { shapers = [], normalise, masked, signal, ...others } = options;
  requireNothingElse(others, "continuations", ["shapers", "normalise", "masked", "signal"]);
  requireSignal(signal);
  requireFlags({ normalise }, "continuations");
  ensure(
    masked === undefined || (typeof masked === "number" && !Number.isNaN(masked)),
    "bad_option",
    () => `continuations: masked must be a number, not ${shown(masked)}`,
  );
  requireOptions(given, "continuations", "the first argument", "{ context: [1], options: [[2], [3]] }");
  const { context, options: lists, ...besides } = given;
  requireNothingElse(besides, "continuations", ["context", "options"]);
  requireTokens(model, context, "context");
  ensure(Array.isArray(lists), "bad_option", `continuations: options must be a list, not ${shown(lists)}`);
  ensure(lists.length > 0, "bad_option", "continuations: options is empty: give at least one list of token ids");
  for (const [i, option] of lists.entries()) requireTokens(model, option, `options[${i}]`);
  return scoreContinuations(model, given, { shapers: makersOf(shapers), normalise, masked, signal });
}

/** Errors: `bad_option`. */
function requireTokens(model: DecodingModel, tokens: unknown, field: string): void {
  ensure(
    Array.isArray(tokens),
    "bad_option",
    () => `continuations: ${field} must be a list of token ids, not ${shown(tokens)}; tokenizer.encode makes them`,
  );
  ensure(tokens.length > 0, "bad_option", `continuations: ${field} is empty: it needs a token at least`);
  promptTokens(model, tokens as Text, { call: "continuations", whole: field, place: field });
}

/** How a text is embedded. */
export interface EmbedOptions {
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** The mean of a text's final states, scaled to length 1: [width]. Errors: `bad_option`, `aborted`. */
export async function embed(
  model: DecodingModel,
  text: Text,
  options: EmbedOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  requireOpen(model);
  requireOptions(options, "embed");
  const { signal, ...others } = options;
  requireNothingElse(others, "embed", ["signal"], embedWays);
  requireSignal(signal);
  if (model.capabilities.has("remote")) return embedRemotely(model, text, { signal });
  const tokens = promptTokens(model, text, givenTo("embed"));
  const sites = leaseSites(model.sites(), ["final"], []);
  let sum = new Float64Array(0);
  for await (const { values } of traceTokens(model.forest, tokens, sites, { taps: ["final"], signal }, "embed")) {
    const { values: rows, width } = values.final;
    if (sum.length === 0) sum = new Float64Array(width);
    for (let i = 0; i < rows.length; i++) sum[i % width] += rows[i];
  }
  const norm = Math.sqrt(sum.reduce((total, value) => total + value * value, 0)) || 1;
  return Float32Array.from(sum, (value) => value / norm);
}

/** What is given to a call as a text, in the words of its messages. */
interface Given {
  /** Default: none is named. */
  readonly call?: string;
  readonly whole: string;
  readonly place: string;
}

const asPrompt: Given = { whole: "the prompt", place: "prompt" };

/** The first argument of a call that reads a text and goes on with none. */
export const givenTo = (call: string): Given => ({ call, whole: "the text", place: "text" });

const named = ({ call }: Given, name: string): string => (call === undefined ? name : `${call}: ${name}`);

/**
 * Rows of a prompt; `whole`: however long it is. A canvas may be filled without one. Errors: `bad_option` for what is no prompt, an
 * empty one, an unknown token or a vector of another width; `context_full` for a text that is much too long.
 */
function promptRows(
  model: PromptReader,
  prompt: RowsPrompt,
  given: Given = asPrompt,
  whole = false,
): readonly (number | VectorRow)[] {
  ensure(
    typeof prompt === "string" || Array.isArray(prompt),
    "bad_option",
    () =>
      `${named(given, given.whole)} must be a text, token ids or chat messages, not ${shown(prompt)}${ArrayBuffer.isView(prompt) ? "; Array.from makes a list of it" : templateHint(prompt)}`,
  );
  ensure(prompt.length > 0 || isCanvas(model), "bad_option", () => `${named(given, given.whole)} is empty`);
  // An engine behind a network knows its own context.
  const most = whole || model.capabilities.has("remote") ? undefined : muchTooLong(model.config.contextLength);
  if (typeof prompt === "string") return textTokens(model, prompt, most, given);
  if (prompt.length === 0) return [];
  requireImages(prompt, given);
  const [first] = prompt;
  if (typeof first === "object" && !isRowLike(first)) return chatTokens(model, prompt as readonly ChatMessage[], most);
  const rows = prompt as readonly (number | VectorRow)[];
  requireAtMost(rows.length, most ?? Infinity);
  const placeholder = model.config.vision?.imageToken;
  ensure(placeholder === undefined || !rows.includes(placeholder), "bad_option", () => {
    return `${named(given, given.place)}: the token ${placeholder} stands for a picture, and none is given for it: put the picture's rows there`;
  });
  for (const [i, row] of rows.entries()) requireRow(model, row, `${named(given, given.place)}[${i}]`);
  if (model.config.vision) requireWholePictures(rows, model.config.vision.rows, named(given, given.place));
  return rows;
}

/** Of what has the prompt in it, and of a template whose text is misspelt. */
function templateHint(prompt: unknown): string {
  if (!isObject(prompt)) return "";
  if ("role" in prompt) return "; messages stand in a list, be there only one: [{ role, content }]";
  if (Array.isArray(prompt.messages)) return "; give the list of messages itself, and options behind it";
  if ("prompt" in prompt) return "; the prompt comes first, and options behind it";
  return meantField(prompt, templateFields) ?? "";
}

/** Among pieces of a prompt, one whose picture is misspelt. Errors: `bad_option`. */
function requireImages(pieces: readonly unknown[], given: Given): void {
  for (const [i, piece] of pieces.entries()) {
    if (!isObject(piece) || "role" in piece) continue;
    const field = Object.keys(piece).find((one) => meantBy(one, ["image", "role", "content"]) === "image");
    ensure(field === undefined, "bad_option", () => {
      return `${named(given, given.place)}[${i}]: image is missing; did you mean "image" for ${shown(field)}?`;
    });
  }
}

/** A vector for a row, or what was to be one: a message has a role. */
const isRowLike = (row: object | null): boolean =>
  row !== null && ("values" in row || ("id" in row && !("role" in row)));

const rowFields = ["id", "values"];

/** Of several prompts in a list, which are not taken as one. */
function listHint(row: unknown): string {
  const first: unknown = Array.isArray(row) ? row[0] : row;
  if (typeof first === "string") return "; a list of texts is no prompt: give one text to each call";
  return Array.isArray(row) ? "; a list of prompts is no prompt: give one to each call" : "";
}

function requireRow(
  { config: { vocabularySize, hiddenSize } }: PromptReader,
  row: number | VectorRow,
  place: string,
): void {
  if (typeof row !== "object" || row === null || Array.isArray(row)) {
    const known = typeof row === "number" && Number.isInteger(row) && row >= 0 && row < vocabularySize;
    ensure(known, "bad_option", () => {
      const other = listHint(row);
      return `${place}: ${shown(row)} is not a token id of this model (0 to ${vocabularySize - 1})${other}`;
    });
    return;
  }
  ensure(!("role" in row), "bad_option", `${place}: a chat message stands among token ids: give messages alone`);
  const missing = rowFields.find((field) => !Object.hasOwn(row, field));
  ensure(missing === undefined, "bad_option", () => {
    const meant = meantField(row, [missing!]) ?? ": a row is a token id, or a vector { id, values }";
    return `${place}: ${missing} is missing${meant}`;
  });
  const { id, values, ...others } = row;
  requireNothingElse(others, place, rowFields);
  ensure(typeof id === "string", "bad_option", `${place}: id must be a text, not ${shown(id)}`);
  ensure(
    isInstance("Float32Array", values),
    "bad_option",
    () => `${place}: values must be a Float32Array, not ${shown(values)}`,
  );
  ensure(
    values.length === hiddenSize,
    "bad_option",
    `${place}: the vector ${id} has ${values.length} numbers, not ${hiddenSize}`,
  );
  ensure(values.every(Number.isFinite), "bad_option", `${place}: the vector ${id} has values that are not finite`);
}

/** Errors: what `decode` says of messages at once, as the model's template and its eyes take them. */
export function requireAnswerable(model: DecodingModel, messages: readonly ChatMessage[]): void {
  if (hasPictures(messages)) pictureRows(model, messages);
  else promptRows(model, messages);
}

/** Rows of a text or of ids as `decode` has them, for who decodes the same several times. Errors: as of a prompt. */
export const decodedRows = (model: PromptReader, prompt: string | readonly number[]): readonly (number | VectorRow)[] =>
  promptRows(model, prompt);

/** Ids of a text of any length. Errors: as of a prompt, and for pictures; `unavailable` without a tokenizer or template. */
export function promptTokens(model: DecodingModel, text: Text, given: Given): readonly number[] {
  ensure(!isPicturePrompt(text) && !hasPictures(text), "bad_option", () => {
    return `${named(given, given.whole)} has a picture: ${given.call} takes texts, ids and messages of texts alone; decode, generate and chat take pictures, of models that see`;
  });
  const rows = promptRows(model, text, given, true);
  const vector = rows.findIndex((row) => typeof row !== "number");
  ensure(vector < 0, "bad_option", () => {
    return `${named(given, given.place)}[${vector}]: a vector stands for no token: only tokens can be scored and traced`;
  });
  return rows as readonly number[];
}

function textTokens(
  { tokenizer, name, capabilities }: PromptReader,
  prompt: string,
  most: number | undefined,
  given: Given,
): readonly number[] {
  ensure(tokenizer, "unavailable", () => {
    const takesIds = capabilities.has("forest") || capabilities.has("canvas");
    const instead = takesIds ? `: give ${given.whole} as token ids` : `; what it has: ${[...capabilities].join(", ")}`;
    return `the model ${name} has no tokenizer${instead}`;
  });
  requireNotRendered(tokenizer, prompt, given);
  return tokenizer.encode(prompt, { most });
}

/** A rendered template begins with a special token's text, maybe behind a blank, which would be cut into plain characters. Errors: `bad_option`. */
function requireNotRendered(
  tokenizer: Tokenizer,
  prompt: string,
  given: Given,
  advice = `give the messages themselves to ${given.call ?? "decode"}, or ids (tokenizer.encodeChat(messages); tokenizer.encode(text) for the plain characters)`,
): void {
  const instead = `which would be read as plain characters: ${advice}`;
  const start = prompt.trimStart();
  for (const text of tokenizer.specialTokens?.keys() ?? [])
    ensure(text.trim() === "" || !(prompt.startsWith(text) || start.startsWith(text)), "bad_option", () => {
      return `${named(given, given.whole)} begins with the text of the special token ${text}, ${instead}`;
    });
  // Behind other words a token's text may be meant as such: how a whole conversation begins is not.
  const opening = openingsOf(tokenizer).find((text) => prompt.includes(text));
  ensure(opening === undefined, "bad_option", () => {
    return `${named(given, `behind ${shownEnd(prompt.slice(0, prompt.indexOf(opening!)))} ${given.whole}`)} has messages that a chat template wrote, with special tokens (${shown(opening)}), ${instead}`;
  });
}

/** What a template writes between a question and its answer, and between that and the next question: most begin with the end of a message. */
function betweenMessages(tokenizer: Tokenizer): string[] {
  const said = ["the first question", "its answer", "the second question"];
  try {
    const written = tokenizer.applyChatTemplate?.(
      said.map((content, i) => ({ role: i === 1 ? "assistant" : "user", content }) as ChatMessage),
    );
    const at = said.map((content) => written?.indexOf(content) ?? -1);
    if (written === undefined || at.some((place, i) => place < (at[i - 1] ?? 0))) return [];
    return [
      ...said.slice(1).map((_, i) => written.slice(at[i] + said[i].length, at[i + 1])),
      written.slice(at[2] + said[2].length),
    ]
      .map((text) => text.trim())
      .filter((text) => text !== "");
  } catch {
    return []; // a template may refuse such messages
  }
}

const openings = new WeakMap<Tokenizer, readonly string[]>();

/** What the template of a tokenizer writes before what is said first, and between what is said, as far as special tokens are in it. */
function openingsOf(tokenizer: Tokenizer): readonly string[] {
  const known = openings.get(tokenizer);
  if (known) return known;
  const [said, special] = ["what is said first", [...(tokenizer.specialTokens?.keys() ?? [])]];
  const written = (...messages: ChatMessage[]): string[] => {
    try {
      const [before] = tokenizer.applyChatTemplate?.(messages)?.split(said, 1) ?? [];
      return before !== undefined && special.some((text) => before.includes(text)) ? [before.trim()] : [];
    } catch {
      return []; // a template may refuse such messages
    }
  };
  const user = { role: "user", content: said } as const;
  const asked = { ...user, content: "-" };
  // Templates without a sign for answers begin such a conversation with the begin token alone, which may be meant as text.
  const answered = written({ role: "assistant", content: said }, asked).filter((text) => !special.includes(text));
  const found = [
    ...written(user),
    ...written({ role: "system", content: said }, asked),
    ...answered,
    ...betweenMessages(tokenizer).filter((text) => special.some((one) => text.includes(one) && text !== one)),
  ];
  openings.set(tokenizer, found);
  return found;
}

/** Errors: `bad_option` for what is no list of messages. */
export function requireMessages(messages: unknown): asserts messages is readonly ChatMessage[] {
  ensure(Array.isArray(messages), "bad_option", () => `messages must be a list, not ${shown(messages)}`);
  for (const [i, message] of messages.entries()) requireMessage(message, `messages[${i}]`);
}

function chatTokens(
  { tokenizer, name }: PromptReader,
  messages: readonly ChatMessage[],
  most: number | undefined,
): readonly number[] {
  requireMessages(messages);
  ensure(
    tokenizer?.encodeChat,
    "unavailable",
    `the model ${name} has no chat template: give the prompt as text, written as the model expects it`,
  );
  return tokenizer.encodeChat(messages, { most });
}

/** Where nothing else is asked of a model than texts. Errors: `bad_option` naming what it has instead. */
export function requireWriting(
  { name, capabilities }: { readonly name: string; readonly capabilities: ReadonlySet<string> },
  what: string,
): void {
  const writes = ["forest", "canvas", "remote"].some((one) => capabilities.has(one));
  ensure(writes, "bad_option", () => {
    return `the model ${name} has: ${[...capabilities].join(", ")}; ${what} writes texts token by token`;
  });
}

/** Errors: `bad_option`. */
export function requirePath(value: unknown, call: string): asserts value is string {
  ensure(
    typeof value === "string" && value !== "" && addressHint(value) === "",
    "bad_option",
    () => `${call} takes the path of a file, not ${shown(value)}${addressHint(value)}`,
  );
}
