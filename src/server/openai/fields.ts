/** Fields that completions, chats and responses share, and what they are to a request. What is not listed is refused by name. */
import { z } from "zod";
import { type DecodeOptions, methodChoice, shaperChoice } from "../../calls.ts";
import { requestOptions } from "../../engine/decoding.ts";
import { hostOnlyOptions, variesBySeed } from "../../engine/method.ts";
import { shown, VentrisError } from "../../errors.ts";
import { describeIssues } from "../../issues.ts";
import { findMethod, findShaper } from "../../methods/index.ts";
import { meantBy, suggestion } from "../../names.ts";
import { fieldTold, RequestError } from "../errors.ts";

const { temperature, topP, frequencyPenalty, presencePenalty, logitBias, stop, seed, maxTokens } = requestOptions.shape;

/** Longest prompt, in characters or tokens; far beyond any context. */
export const longestPrompt = 4_000_000;

const id = z.int().min(0);
/** Of many wrong ids the first is told. */
const idList = z
  .array(z.unknown())
  .min(1)
  .max(longestPrompt)
  .superRefine((list, context) => {
    const at = list.findIndex((one) => !Number.isSafeInteger(one) || (one as number) < 0);
    const { error } = id.safeParse(at < 0 ? 0 : list[at], { reportInput: true });
    context.issues.push(...(error?.issues ?? []).map((issue) => ({ ...issue, path: [at, ...issue.path] }) as never));
  });

/**
 * A text, token ids, or a list of at most so many of either. Its first entry says which of these a list is meant to be, and a list that is
 * too long is not looked through.
 */
export const textsField = (text: z.ZodString, most: number) =>
  z.unknown().transform((given, context) => {
    const list = Array.isArray(given) ? (given as readonly unknown[]) : undefined;
    const ids = typeof list?.[0] === "number";
    const kind = !list
      ? text
      : ids
        ? idList
        : z
            .array(Array.isArray(list[0]) ? idList : text)
            .min(1)
            .max(most);
    if (!ids && list && list.length > most) {
      context.issues.push({ code: "too_big", maximum: most, origin: "array", inclusive: true, input: given });
      return z.NEVER;
    }
    const { data, error } = kind.safeParse(given, { reportInput: true });
    if (!error) return data as string | number[] | string[] | number[][];
    context.issues.push(...(error.issues as never[]));
    return z.NEVER;
  });

export const modelField = z.string().min(1).max(500);
export const tokenLimit = maxTokens.unwrap();

export const samplingFields = {
  model: modelField,
  temperature: temperature.unwrap().optional(),
  top_p: topP.unwrap().optional(),
  frequency_penalty: frequencyPenalty.unwrap().optional(),
  presence_penalty: presencePenalty.unwrap().optional(),
  logit_bias: logitBias,
  seed: seed.unwrap().optional(),
  stop: z.union([z.string().min(1), stop.unwrap()]).optional(),
  n: z.int().min(1).max(128).default(1),
  stream: z.boolean().default(false),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).optional(),
  /** Names somebody and asks for nothing. */
  user: z.string().max(1000).optional(),
  decoding: z.record(z.string(), z.json()).optional(),
};

/** Fields of other servers for what is an option in `decoding` here. */
export const otherNames: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ...["top_k", "min_p", "typical_p", "repetition_penalty", "min_tokens", "stop_token_ids"],
    ...["guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar"],
  ].map((field) => [field, `write it as ${meantBy(field, Object.keys(requestOptions.shape))} in decoding`]),
);

/** Of `suffix`. A model that writes from left to right does not look ahead; one that could has no route for it. */
export const fillsElsewhere =
  "what stands between two texts is filled in by a diffusion model, with ventris run --fill, or decode({ fill }) of the library";

type SamplingFields = Partial<z.output<z.ZodObject<typeof samplingFields>>>;

/** A body without its nulls, by which clients say that they leave a field out. */
export const withoutNulls = (body: unknown): unknown =>
  typeof body === "object" && body !== null && !Array.isArray(body)
    ? Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))
    : body;

/** Errors: `bad_option` with the field as `param`. */
export function readFields<Schema extends z.ZodType>(
  schema: Schema,
  body: unknown,
  unsupported: Readonly<Record<string, string>> = {},
): z.output<Schema> {
  const given = withoutNulls(body);
  if (typeof given === "object" && given !== null) {
    for (const [field, why] of Object.entries(unsupported)) {
      if (Object.hasOwn(given, field))
        throw new RequestError("bad_option", `${field} is not supported${why && `: ${why}`}`, { param: field });
    }
  }
  const { data, error } = schema.safeParse(given, { reportInput: true });
  if (!error) return data as z.output<Schema>;
  const message = describeIssues(error.issues, schema).replaceAll("there is no option", "there is no field");
  throw new RequestError("bad_option", message, { param: fieldTold(message, error.issues) });
}

/** A seed where none is given: told to the client, who can ask for the same again. */
export const seedOf = ({ seed: given }: { seed?: number }): number =>
  given ?? crypto.getRandomValues(new Uint32Array(1))[0];

/** Options of a request. Errors: `bad_option`. */
export function optionsOf(fields: SamplingFields, seedOfRequest: number): Omit<DecodeOptions, "signal"> {
  const { stream, stream_options: streaming } = fields;
  if (streaming && !stream) {
    throw new RequestError("bad_option", "stream_options is for streams: set stream", { param: "stream_options" });
  }
  const { method, request, shapers } = readDecoding(fields.decoding);
  if (method && fields.n !== undefined && fields.n > 1) requireChoices(method);
  const named: Omit<DecodeOptions, "signal"> = {
    temperature: fields.temperature,
    topP: fields.top_p,
    frequencyPenalty: fields.frequency_penalty,
    presencePenalty: fields.presence_penalty,
    logitBias: fields.logit_bias,
    stop: typeof fields.stop === "string" ? [fields.stop] : fields.stop,
  };
  return {
    ...Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined)),
    ...request,
    seed: seedOfRequest,
    ...(method && { method: methodChoice(method) }),
    ...(shapers && { shapers: shapers.map(shaperChoice) }),
  };
}

/** Errors: `bad_option` for several choices of a search that has one answer. */
function requireChoices({ name, ...given }: NonNullable<ReadDecoding["method"]>): void {
  const method = findMethod(name);
  if (!variesBySeed(method, method.options.parse(given))) {
    const message = `n: the method ${name} finds one text, whatever the seed: all choices would be that one`;
    throw new RequestError("bad_option", message, { param: "n" });
  }
}

/** Options of requests that no field of OpenAI's says, and that one answer can honour. */
const beside = requestOptions
  .omit({
    ...{ temperature: true, topP: true, frequencyPenalty: true, presencePenalty: true, logitBias: true, stop: true },
    ...{ seed: true, request: true, maxTokens: true, logprobs: true, taps: true },
  })
  .partial();

/** Options of requests that fields of the body say. */
const bodyFields: Readonly<Record<string, string>> = {
  ...{ temperature: "temperature", topP: "top_p", seed: "seed", stop: "stop", logitBias: "logit_bias" },
  ...{ frequencyPenalty: "frequency_penalty", presencePenalty: "presence_penalty", maxTokens: "max_tokens" },
  ...{ logprobs: "logprobs", request: "n" },
};

/** Options of requests that are said elsewhere, or that no answer has a place for. */
const elsewhere: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.entries(bodyFields).map(([option, field]) => [option, `the body's own field ${field} says it`]),
  ),
  taps: "answers have no place for what taps read; runs of /api/runs have",
};

/** Options whose field has a name of its own, where a message speaks of them and does not quote. `limit`: the field that says how long an answer is. */
export const inFieldNames = (message: string, limit = bodyFields.maxTokens): string =>
  message.replace(/(?<!["'.\w])[a-z]+[A-Z]\w*(?!["'\w])/g, (word) =>
    word === "maxTokens" ? limit : Object.hasOwn(bodyFields, word) ? bodyFields[word] : word,
  );

/**
 * The field that a message of the engine is about: it begins with the option's name, or with the method's and then the option's; or it
 * speaks of an option that the request has.
 */
export function optionNamed(
  message: string,
  { method: choice, shapers, ...request }: RequestedOptions,
): string | undefined {
  const { name, ...given } = (typeof choice === "object" ? choice : { name: choice }) as { name?: string };
  const method = name === undefined ? undefined : findMethod(name);
  const own: readonly string[] = Object.keys(method?.options.shape ?? {});
  const fieldFor = (option: string): string | undefined => {
    if (own.includes(option) || Object.hasOwn(beside.shape, option)) return `decoding.${option}`;
    return Object.hasOwn(bodyFields, option) ? bodyFields[option] : undefined;
  };
  const words: readonly string[] = message.match(/[\w-]+/g) ?? [];
  const [first = "", second = ""] = words;
  const begins = first === name || first === "decode" || first === "the" ? second : first;
  const spoken = [...Object.keys(given), ...Object.keys(request)].find((option) => words.includes(option));
  const shaper = shapers?.some((one) => typeof one === "object" && "name" in one && one.name === first);
  return (
    fieldFor(begins) ??
    (shaper ? "decoding.shapers" : undefined) ??
    (spoken && fieldFor(spoken)) ??
    (words.slice(0, 4).includes(name ?? "") ? "decoding.method" : undefined)
  );
}

type RequestedOptions = Omit<DecodeOptions, "signal">;

interface ReadDecoding {
  readonly method?: { name: string } & Record<string, unknown>;
  readonly request: Record<string, unknown>;
  readonly shapers?: ({ name: string } & Record<string, unknown>)[];
}

/** The field `decoding`: a method by name, its options, further options of the request, and shapers. Errors: `bad_option`. */
export function readDecoding(decoding: Readonly<Record<string, unknown>> = {}): ReadDecoding {
  const { method: name, shapers, ...given } = decoding;
  const refuse = (field: string, message: string): never => {
    throw new RequestError("bad_option", `decoding.${field}: ${message}`, { param: `decoding.${field}` });
  };
  const method = name === undefined ? undefined : about("method", () => findMethod(textOf(name, "method", refuse)));
  const own = method?.options.shape ?? {};
  const ofMethod: Record<string, unknown> = {};
  const request: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(given)) {
    if (Object.hasOwn(own, field)) ofMethod[field] = value;
    else if (Object.hasOwn(beside.shape, field)) request[field] = value;
    else {
      const top = Object.hasOwn(elsewhere, field) ? elsewhere[field] : undefined;
      if (top) refuse(field, top);
      const known = [...Object.keys(own), ...Object.keys(beside.shape), "method", "shapers"];
      const who = method
        ? `neither the method ${method.name} nor a request has it`
        : "a request has no such option, and no method is named";
      refuse(field, `${who}${suggestion(field, known)}`);
    }
  }
  if (method) check(method, ofMethod, refuse);
  checked(beside, request, refuse);
  return {
    ...(method && { method: { name: method.name, ...ofMethod } }),
    request,
    ...(shapers !== undefined && { shapers: readShapers(shapers, refuse) }),
  };
}

type Refuse = (field: string, message: string) => never;

/** Shapers as a request lists them, by name or with options beside it. Errors: those of `refuse`, and `bad_option` for a name that is not there. */
export function readShapers(shapers: unknown, refuse: Refuse): NonNullable<ReadDecoding["shapers"]> {
  if (!Array.isArray(shapers))
    return refuse("shapers", `must be a list of names, or of objects with a name and options, not ${shown(shapers)}`);
  return shapers.map((shaper: unknown) => {
    const { name, ...options } = (typeof shaper === "string" ? { name: shaper } : (shaper ?? {})) as { name?: unknown };
    const kind = about("shapers", () => findShaper(textOf(name, "shapers", refuse)));
    check(kind, options, (field, message) => refuse("shapers", `${kind.name}: ${field}: ${message}`));
    return { name: kind.name, ...options };
  });
}

/** Errors: `bad_option` for options that only the host may decide, and for wrong ones. */
function check(kind: { name: string; options: z.ZodObject }, given: Record<string, unknown>, refuse: Refuse): void {
  for (const name of hostOnlyOptions(kind)) {
    if (name in given) refuse(name, `only the host of ${kind.name} decides this option, no request`);
  }
  checked(kind.options, given, refuse);
}

function checked(schema: z.ZodType, given: Record<string, unknown>, refuse: Refuse): void {
  const { error } = schema.safeParse(given, { reportInput: true });
  if (!error) return;
  const message = describeIssues(error.issues, schema);
  const field = fieldTold(message, error.issues) ?? "";
  // The field is said by whom it is refused.
  refuse(field, message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message);
}

const textOf = (value: unknown, field: string, refuse: Refuse): string =>
  typeof value === "string"
    ? value
    : refuse(field, `must be a name${field === "method" ? "; its options stand beside it in decoding" : ""}`);

function about<T>(field: string, find: () => T): T {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof VentrisError)) throw error;
    throw new RequestError(error.code, error.message, { param: `decoding.${field}` });
  }
}
