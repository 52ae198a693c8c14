/** What a decoding method is to the registry, the engine and every face. */
import { z } from "zod";
import { checked, type Kind } from "../arguments.ts";
import { ensure, requireOptions, shown, telling } from "../errors.ts";
import { folderOf } from "../files.ts";
import { didYouMean, shownFields } from "../names.ts";
import { tellingReads } from "../reads.ts";
import { type Decoding, type DecodingParts, type Outcome, type RequestOptions, requestOptions } from "./decoding.ts";
import { requireReturned } from "./hooks.ts";
import type { LoadOptions } from "./load.ts";
import { type Capability, capabilityNames, type DecodingModel, type ModelParts } from "./model.ts";
import type { RemoteOptions } from "./remote/model.ts";
import { parseOptions } from "./shapers/options.ts";
import type { Shaper, ShaperHost } from "./shapers/shaper.ts";

const families = [
  "plain",
  "speculative",
  "search",
  "constrained",
  "diffusion",
  "contrast",
  "memory",
  "choice",
] as const;

/** What a decoding method is to the registry, the engine and every face. */
export interface Method<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly family: (typeof families)[number];
  /** One line for listings. */
  readonly summary: string;
  /** Where it was published; undefined for what needs no source. */
  readonly source?: string;
  /**
   * Whether its output is distributed exactly as plain sampling (greedy: is identical); a function when options decide.
   */
  readonly lossless: boolean | ((options: z.output<Schema>) => boolean);
  /**
   * Of lossless methods: whether a seed gives the very text of plain sampling with these options; default: it does. Otherwise only the
   * distribution is the same.
   */
  readonly repeats?: (options: z.output<Schema>) => boolean;
  /**
   * Whether seed and request number change its text at temperatures above 0; default: they do. A search for the likeliest text always
   * says the same.
   */
  readonly varies?: (options: z.output<Schema>) => boolean;
  /** What it can gain over plain decoding, by what is measured on this machine; absent of methods that are not there for speed. */
  readonly outlook?: (
    model: DecodingModel,
    options: z.output<Schema>,
    conditions: { temperature: number; signal?: AbortSignal },
  ) => Promise<Outlook>;
  /** Capabilities that its model must have; default: a forest. */
  readonly needs?: readonly Capability[];
  /** What does instead of them: `remote`, where it can do with texts as an engine behind a network draws them. */
  readonly suffices?: readonly Capability[];
  /** What a request's own options are unless it says otherwise: temperature 0 of what is published without sampling. */
  readonly defaults?: Readonly<Partial<RequestOptions>>;
  /** Options, with defaults and descriptions: command-line flags, server fields and documentation come from here. */
  readonly options: Schema;
  /** What a request is to it; default: `createDecoding`, the prompt in the forest. Errors: `bad_option` for what it cannot honour. */
  begin?(parts: DecodingParts): Decoding & { outcome(): Outcome; close(): void };
  /** Decodes until `decoding.finished`. Errors pass through to the run. */
  decode(decoding: Decoding, options: z.output<Schema>): Promise<void>;
}

/** What a method can gain with a model on this machine. */
export interface Outlook {
  /** Expected speed, as a multiple of plain decoding's, on texts like the model's own; undefined where the text decides. */
  readonly speedUp?: number;
  /** The same were every draft right: no text is faster. */
  readonly most: number;
  /** The times that it follows from were taken while other programs kept the processors busy. Default: they were not. */
  readonly disturbed?: boolean;
  /** The figures that it follows from, and what would help: clauses without a stop. */
  readonly because: string;
  readonly advice: string;
}

/**
 * Marks an option that opens folders, writes files or sets limits for all requests: the host of the library decides it, never a request
 * that came over a network. Readers of the JSON Schema find it as `hostOnly`.
 */
export const hostOnly = <Schema extends z.ZodType>(schema: Schema): Schema => schema.meta({ hostOnly: true });

/** Names of a method's options that a server must refuse in requests. */
export const hostOnlyOptions = ({ options }: Pick<Method, "options">): string[] =>
  Object.entries<z.ZodType>(options.shape)
    .filter(([, schema]) => isHostOnly(schema))
    .map(([name]) => name);

/** The mark may stand inside of what makes an option one that can be left out. */
const isHostOnly = (schema: z.ZodType): boolean =>
  schema.meta()?.hostOnly === true ||
  ((schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) && isHostOnly(schema.unwrap() as z.ZodType));

/** Of a method, as the interface has them; those that may be missing end in a question mark. */
const fields: Readonly<Record<string, Kind>> = {
  name: "string",
  family: { values: families },
  summary: "string",
  "source?": "string",
  lossless: { either: ["boolean", "function"] },
  "repeats?": "function",
  "varies?": "function",
  "outlook?": "function",
  "needs?": { list: "string" },
  "suffices?": { list: "string" },
  "defaults?": "object",
  options: "object",
  "begin?": "function",
  decode: "function",
};
const fieldNames = Object.keys(fields).map((field) => field.replace("?", ""));

const requireFields = checked("method", (_: unknown): void => {}, [["method", { fields }]], {});

/** Errors: `bad_option` for what is no method. */
export function requireMethod(value: unknown): asserts value is Method {
  const { name, decode, options } = (value ?? {}) as { [field in keyof Method]?: unknown };
  const whole = typeof name === "string" && typeof decode === "function" && isSchema(options);
  ensure(whole, "bad_option", () => {
    return `method: one of your own has a name, options (a schema: z.strictObject({ … })) and a function decode; see defineMethod. Given: ${shownFields(value, fieldNames)}`;
  });
  const extra = Object.keys(value as object).find((field) => !fieldNames.includes(field));
  ensure(extra === undefined, "bad_option", () => {
    return `method: ${name} has a field ${shown(extra)} that methods have not${didYouMean(extra!, fieldNames)} Fields: ${fieldNames.join(", ")}`;
  });
  requireFields(value);
  for (const list of ["needs", "suffices"] as const)
    for (const [i, capability] of ((value as Method)[list] ?? []).entries())
      ensure(capabilityNames.includes(capability), "bad_option", () => {
        return `the method ${name}: ${list}[${i}]: no model has ${shown(capability)}${didYouMean(capability, capabilityNames)} Capabilities: ${capabilityNames.join(", ")}`;
      });
  ensure(name !== "", "bad_option", "method: name is empty: traces and messages name a method by it");
  const { defaults } = value as Method;
  if (defaults === undefined) return;
  requireOptions(defaults, `the method ${name}`, "defaults");
  parseOptions(requestOptions, defaults as z.input<typeof requestOptions>, `the method ${name}: defaults,`);
}

/** What a hook says of options; without the hook, what holds unless it says otherwise. Errors: `bad_option`. */
function answered(method: Method, hook: "lossless" | "repeats" | "varies", options: object): boolean {
  const said = method[hook] ?? true;
  if (typeof said !== "function") return said;
  const where = `the method ${method.name}: ${hook}`;
  const answer = telling(where, said, { code: "internal" })(options as never);
  requireReturned(typeof answer === "boolean", answer, where, "true or false");
  return answer;
}

/** Whether a method with these options, parsed, decodes as plain sampling does. Errors: `bad_option` for hooks that do not say so. */
export const isLossless = (method: Method, options: object): boolean => answered(method, "lossless", options);

/** Whether a seed gives the text of plain sampling, too. See `Method.repeats`. */
export const repeatsPlain = (method: Method, options: object): boolean => answered(method, "repeats", options);

/** Whether seed and request number change its text. See `Method.varies`. */
export const variesBySeed = (method: Method, options: object): boolean => answered(method, "varies", options);

/** What a method that has an outlook can gain. Errors: `bad_option` for what is no outlook, and those of the method. */
export async function methodOutlook(
  method: Method,
  ...given: Parameters<NonNullable<Method["outlook"]>>
): Promise<Outlook> {
  const where = `the method ${method.name}: outlook`;
  const outlook: unknown = await telling(where, method.outlook!, { code: "internal" })(...given);
  const { speedUp, most, because, advice } = (outlook ?? {}) as { [field in keyof Outlook]?: unknown };
  const isNumber = (value: unknown): boolean => typeof value === "number" && !Number.isNaN(value);
  const whole =
    isNumber(most) &&
    (speedUp === undefined || isNumber(speedUp)) &&
    [because, advice].every((text) => typeof text === "string");
  requireReturned(
    whole,
    outlook,
    where,
    "{ speedUp, most, because, advice }: numbers, the first if it is known, and texts",
  );
  return outlook as Outlook;
}

const isSchema = (value: unknown): boolean => typeof value === "object" && value !== null && "shape" in value;

/** Keeps a method's option types while it is defined. Errors: `bad_option` for what is no method. */
export function defineMethod<Schema extends z.ZodObject>(method: Method<Schema>): Method<Schema> {
  tellingReads("defineMethod", ["method"], (given: unknown) => requireMethod(given))(method);
  return method;
}

/** A kind of model that is no transformer checkpoint: a filter of signals, a recurrent network, a model behind a network. */
export interface ModelKind {
  readonly name: string;
  /** Of kinds that are one safetensors file of ours: what its metadata say. */
  readonly fileFormat?: string;
  /** The parts of the model that a reference names; undefined: it is not of this kind. Errors: those of loading one that is. */
  open(
    reference: string,
    options: KindOptions,
    place: ModelPlace,
  ): Promise<Omit<ModelParts, "openCompanion"> | undefined>;
}

/** Where a reference leads, looked up once for all kinds that ask. */
export interface ModelPlace {
  /** Of its files, downloaded first where that is to be done. */
  path(): Promise<string>;
  /** See `fileFormat`. */
  format(): Promise<string | undefined>;
}

/** What `open` was told. */
export type KindOptions = LoadOptions & RemoteOptions & { share?: string; signal?: AbortSignal };

/** The first of the options that were given which is of this sort. */
export const givenOption = (
  options: KindOptions,
  isSought: (name: keyof KindOptions) => boolean,
): keyof KindOptions | undefined =>
  (Object.keys(options) as (keyof KindOptions)[]).find((name) => options[name] !== undefined && isSought(name));

/** Refuses options that mean nothing to a kind of model. Errors: `bad_option` naming the first. */
export function requireOnly(
  reference: string,
  kind: string,
  options: KindOptions,
  known: readonly (keyof KindOptions)[],
): void {
  const idle = givenOption(options, (name) => name !== "signal" && !known.includes(name));
  ensure(idle === undefined, "bad_option", `${idle}: it means nothing to ${reference}, which is ${kind}`);
}

/** What a kind of model that is one safetensors file of ours is made of. */
export interface FileKind {
  readonly name: string;
  readonly fileFormat: string;
  /** Its abilities, and how many numbers it learnt. */
  load(path: string): Promise<Pick<ModelParts, "abilities" | "parameterCount">>;
}

export const createFileKind = ({ name, fileFormat, load }: FileKind): ModelKind => ({
  name,
  fileFormat,
  async open(reference, options, place) {
    if ((await place.format()) !== fileFormat) return undefined;
    requireOnly(reference, `a ${name}`, options, []);
    const path = await place.path();
    const started = performance.now();
    const loaded = await load(path);
    const secondsToLoad = (performance.now() - started) / 1000;
    return {
      ...{ name: reference, folder: folderOf(path), tokenizer: undefined, identity: path, secondsToLoad },
      ...loaded,
    };
  },
});

/** A shaper as registry and faces know it: contrast, memories and the like, by name and options. */
export interface ShaperKind<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  /** One line for listings. */
  readonly summary: string;
  readonly source?: string;
  readonly options: Schema;
  /** Errors: `bad_option` for what this model cannot honour. */
  create(host: ShaperHost, options: z.output<Schema>): Shaper | Promise<Shaper>;
}

/** Errors: `bad_option` for what is no kind of shaper. */
export function requireShaperKind(value: unknown): asserts value is ShaperKind {
  const { name, create, options } = (value ?? {}) as { [field in keyof ShaperKind]?: unknown };
  const whole = typeof name === "string" && typeof create === "function" && isSchema(options);
  ensure(whole, "bad_option", () => {
    return `shaper: one of your own is a function that returns it, () => ({ name, logits … }), or has a name, options (a schema: z.strictObject({ … })) and a function create; see defineShaper. Given: ${shownFields(value, shaperKindFields)}`;
  });
  const extra = Object.keys(value as object).find((field) => !shaperKindFields.includes(field));
  ensure(extra === undefined, "bad_option", () => {
    return `shaper: ${name} has a field ${shown(extra)} that shapers have not${didYouMean(extra!, shaperKindFields)} Fields: ${shaperKindFields.join(", ")}`;
  });
  requireShaperFields(value);
}

const shaperFields: Readonly<Record<string, Kind>> = {
  name: "string",
  summary: "string",
  "source?": "string",
  options: "object",
  create: "function",
};
const shaperKindFields = Object.keys(shaperFields).map((field) => field.replace("?", ""));

const requireShaperFields = checked("shaper", (_: unknown): void => {}, [["shaper", { fields: shaperFields }]], {});

/** Keeps a shaper's option types while it is defined. Errors: `bad_option` for what is no kind of shaper. */
export function defineShaper<Schema extends z.ZodObject>(kind: ShaperKind<Schema>): ShaperKind<Schema> {
  tellingReads("defineShaper", ["kind"], (given: unknown) => requireShaperKind(given))(kind);
  return kind;
}
