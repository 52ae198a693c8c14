/** Failures as clients get them: `{ error: { message, type, param, code } }`, as OpenAI's clients read it, with a status. */
import type { z } from "zod";
import { wellFormed } from "../bytes.ts";
import { shown, VentrisError } from "../errors.ts";
import { describeIssues, joined } from "../issues.ts";
import { faultOf, isObject } from "../json.ts";
import { privateFolders } from "./places.ts";

export type Status = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 415 | 417 | 429 | 431 | 500 | 503;

/** An error that knows the field it is about, or a status of its own. */
export class RequestError extends VentrisError {
  readonly param: string | undefined;
  readonly status: Status | undefined;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    code: VentrisError["code"],
    message: string,
    { param, status, headers = {} }: { param?: string; status?: Status; headers?: Record<string, string> } = {},
  ) {
    super(code, message);
    this.param = param;
    this.status = status;
    this.headers = headers;
  }
}

/** What is wrong with what an answer must be: a schema, tools, another constraint. */
export class FormError extends VentrisError {}

/** Wrong options, each by its name, so that a form can say it at the field and a client gets it in one piece. */
export class OptionError extends RequestError {
  readonly fields: readonly {
    readonly where: "method" | "request";
    readonly option: string;
    readonly message: string;
  }[];
  constructor(fields: OptionError["fields"]) {
    super("bad_option", joined(fields.map(({ option, message }) => `${option}: ${message}`)), {
      param: fields[0]?.option,
    });
    this.fields = fields;
  }
}

/** Whether it is about what an answer must be: found in the trial, or by the decoding. */
export const isOfForm = (error: VentrisError): boolean =>
  error instanceof FormError || /^constraint\b/.test(error.message);

/** What is to be said at fields of a form. */
export const fieldsOf = (error: unknown): OptionError["fields"] | undefined =>
  error instanceof OptionError
    ? error.fields
    : error instanceof VentrisError && isOfForm(error)
      ? [{ where: "request", option: "constraint", message: error.message }]
      : undefined;

const statusOf: Readonly<Partial<Record<VentrisError["code"], Status>>> = {
  bad_option: 400,
  bad_shape: 400,
  context_full: 400,
  constraint_dead_end: 400,
  unavailable: 404,
  aborted: 503,
  out_of_memory: 503,
  runtime_failed: 503,
};

const typeOf = (status: Status): string =>
  status === 401
    ? "authentication_error"
    : status === 429
      ? "rate_limit_error"
      : status >= 500
        ? "server_error"
        : "invalid_request_error";

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
    readonly fields?: OptionError["fields"];
  };
}

/** Faults of what lies here, not of a request. */
const ofHost = new Set<VentrisError["code"]>(["bad_file", "bad_config", "bad_checkpoint", "disk_full"]);
/** What a request says may stand in these, and says nothing of this machine. */
const ofRequest = new Set<VentrisError["code"]>(["bad_option", "bad_shape", "context_full"]);

/** Whether a message names a place on this machine, which is no client's business. */
const namesPlace = ({ code, message }: VentrisError): boolean =>
  ofHost.has(code)
    ? /[\\/]/.test(message)
    : !ofRequest.has(code) && privateFolders.some((folder) => message.includes(folder));

/** What a failure is to a client. One that nobody foresaw, or that names places here, goes to the server's output, and its client learns that alone. */
export function answerOf(error: unknown): {
  status: Status;
  body: ErrorBody;
  headers: Readonly<Record<string, string>>;
} {
  const known = error instanceof VentrisError && error.code !== "internal";
  const telling = known && !namesPlace(error);
  if (!known) console.error(error);
  else if (!telling) console.error(`${error.code}: ${error.message}`);
  const code = known ? error.code : "internal";
  const {
    param,
    status = statusOf[code as VentrisError["code"]] ?? 500,
    headers = {},
  } = error instanceof RequestError ? error : ({} as Partial<RequestError>);
  const message = telling
    ? error.message
    : `${known ? "something that the server needs cannot be used" : "unexpected failure"}; see the server's output`;
  const fields = telling && fieldsOf(error) ? { fields: fieldsOf(error) } : {};
  return { status, body: { error: { message, type: typeOf(status), param: param ?? null, code, ...fields } }, headers };
}

/** Errors: `bad_option`. */
export async function readJson(request: Request): Promise<unknown> {
  const coding = request.headers.get("content-encoding") ?? "identity";
  if (coding.toLowerCase() !== "identity")
    throw new RequestError("bad_option", `a body with Content-Encoding ${coding} is not read: send it plain`, {
      status: 415,
    });
  let bytes: ArrayBuffer;
  try {
    bytes = await request.arrayBuffer();
  } catch (cause) {
    if ((cause as Error).name === "BodyLimitError") throw cause; // told by the limit itself
    throw notArrived(cause as Error);
  }
  const text = textOf(bytes);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new RequestError("bad_option", `the body is not valid JSON: ${faultOf(text, (cause as Error).message)}`);
  }
  requireReadable(body);
  if (!isObject(body)) throw new RequestError("bad_option", `the body must be a JSON object, not ${shown(body)}`);
  return body;
}

/** Of who went away, or whose connection broke, before the body was here whole. */
export const notArrived = ({ message }: Error): RequestError =>
  new RequestError("aborted", `the body did not arrive: ${message}`, { status: 400 });

/** Bytes that are no text would else become other characters than were sent. Errors: `bad_option`. */
function textOf(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new RequestError("bad_option", "the body is not UTF-8");
  }
}

/** Far beyond what any field holds, and far from what fills a stack. */
const deepest = 500;

/**
 * Whatever reads a body may recurse into it, passes over a key `__proto__` (what a schema says of a property of that name, for instance), and
 * takes half a character for another one. Level by level, so that this itself needs no stack. Errors: `bad_option`.
 */
function requireReadable(body: unknown): void {
  const isNested = (value: unknown): value is object => typeof value === "object" && value !== null;
  /** The keys that lead to a value, the last one first. */
  type Way = { readonly key: PropertyKey; readonly before: Way } | undefined;
  const pathOf = (way: Way): PropertyKey[] => (way ? [...pathOf(way.before), way.key] : []);
  let level = [body]
    .filter(isNested)
    .map((value) => ({ value, field: undefined as string | undefined, way: undefined as Way }));
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > deepest) throw new RequestError("bad_option", `the body nests deeper than ${deepest} levels`);
    const inner: typeof level = [];
    for (const { value, field: within, way } of level) {
      if (Object.hasOwn(value, "__proto__")) {
        const param = writtenPath(pathOf({ key: "__proto__", before: way }));
        throw new RequestError(
          "bad_option",
          `${param}: a key of this name is not read, and has to be called otherwise`,
          {
            param,
          },
        );
      }
      const look = (one: unknown, field: string | undefined, key: PropertyKey): void => {
        if (isNested(one)) inner.push({ value: one, field, way: { key, before: way } });
        else if (typeof one === "string" && !wellFormed(one))
          throw new RequestError("bad_option", `${field}: a text has half a surrogate pair`, { param: field });
      };
      if (Array.isArray(value)) for (const [i, one] of value.entries()) look(one, within, i);
      else
        for (const [key, one] of Object.entries(value)) {
          look(key, within ?? "the body", key);
          look(one, within ?? key, key);
        }
    }
    level = inner;
  }
}

/** What a body must be. Errors: `bad_option` with the field as `param`. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const { data, error } = schema.safeParse(body, { reportInput: true });
  if (!error) return data as z.output<Schema>;
  const message = describeIssues(error.issues, schema);
  throw new RequestError("bad_option", message, { param: fieldTold(message, error.issues) });
}

/** The field that a message about these issues names: of several, or of one of several forms, that is not always where the first lies. */
export function fieldTold(message: string, issues: readonly z.core.$ZodIssue[]): string | undefined {
  const [, key, where] =
    /^there is no (?:field|option) "([\w-]+)"(?: in ([\w-]+(?:\.[\w-]+|\[\d+\])*))?/.exec(message) ?? [];
  if (key !== undefined) return where === undefined ? key : `${where}.${key}`;
  const [, field] = /^([\w-]+(?:\.[\w-]+|\[\d+\])*)(?:: | must | is missing)/.exec(message) ?? [];
  return field !== undefined && field !== "options" ? field : fieldOf(issues[0]);
}

/** `messages[0].role`; of an unknown field, its name. */
function fieldOf(issue: z.core.$ZodIssue | undefined): string | undefined {
  if (!issue) return undefined;
  const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0]] : issue.path;
  return writtenPath(path) || undefined;
}

const writtenPath = (path: readonly PropertyKey[]): string =>
  path.map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`)).join("");
