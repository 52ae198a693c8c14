import { isDetached, isInstance, isPlain, isPlatforms } from "./values.ts";

/**
 * The one error class. `code` is stable and meant for programs; the message is meant for people and says what is wrong,
 * which option, file or tensor it concerns, and what to do about it.
 */
export type ErrorCode =
  | "aborted"
  | "bad_checkpoint" // a training checkpoint that cannot be resumed from
  | "bad_config" // a model's config.json: unknown architecture, contradiction, a field that changes the maths
  | "bad_file" // truncated, corrupt or inconsistent file; names file and tensor
  | "bad_option" // an option that is unknown, out of range, or cannot be honoured in this combination
  | "bad_shape" // tensor shapes that do not fit; names the operation and both shapes
  | "constraint_dead_end"
  | "context_full" // prompt or output longer than the model's context
  | "disk_full"
  | "out_of_memory" // a configured memory limit was reached
  | "unavailable" // a device, model, tokenizer or optional package this machine does not have
  | "runtime_failed" // ONNX Runtime refused or failed a program
  | "internal"; // an invariant of ours was broken, or a method of one's own failed: always a bug

/** Names and values in messages may come from a file, as long as its author liked. */
const longestMessage = 4000;

/** Everything that goes wrong: `code` is stable, the message says what, which option, and what to do. */
export class VentrisError extends Error {
  override readonly name = "VentrisError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // Written without types, an error may come without a message: it must not become another one.
    const text = String(message ?? code);
    super(text.length > longestMessage ? `${text.slice(0, longestMessage)}…` : text, options);
    this.code = code;
  }
}

/** Throws `VentrisError(code, message)` unless the condition holds. The message is built only on failure. */
export function ensure(condition: unknown, code: ErrorCode, message: string | (() => string)): asserts condition {
  if (!condition) throw new VentrisError(code, typeof message === "string" ? message : message());
}

/** Work that an option asks for: what goes wrong in it is told with the option's name. */
export async function ofOption<T>(option: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof VentrisError) || cause.code === "aborted" || cause.code === "internal") throw cause;
    throw new VentrisError(cause.code, `${option}: ${cause.message}`, { cause });
  }
}

/** What callers without types may give in place of an object of options. Errors: `bad_option`. */
export function requireObject(value: unknown, call: string, what: string, example?: string): void {
  ensure(typeof value === "object" && value !== null && !isPlatforms(value), "bad_option", () => {
    const written = typeof value === "string" && example ? `: write ${example}` : "";
    const advice = isInstance("Promise", value) ? ": await it first" : written;
    return `${call}: ${what} must be an object, not ${shown(value)}${advice}`;
  });
}

/** The same of options, whose fields are their own: what a class or another object lends them would be passed over. Errors: `bad_option`. */
export function requireOptions(value: unknown, call: string, what = "options", example?: string): void {
  requireObject(value, call, what, example);
  ensure(
    isPlain(value as object),
    "bad_option",
    () => `${call}: ${what} must be ${plainWords(value as object, example)}`,
  );
  const hidden = Object.getOwnPropertyNames(value).find(
    (name) => !Object.prototype.propertyIsEnumerable.call(value, name),
  );
  ensure(hidden === undefined, "bad_option", () => {
    return `${call}: ${hidden} of ${what} is not enumerable, and so is not read: write it out`;
  });
}

/** What options must be, for who gave something else, and why. */
export function plainWords(given: object, example?: string): string {
  const { constructor: made } = given;
  const isClass = typeof made === "function" && made !== Object && made.name !== "";
  const lent = isClass ? `an object of the class ${made.name}` : "what an object takes from another";
  return `a plain object${example ? `, such as ${example}` : ""}; ${lent} is not read as options: write it out`;
}

/** The same of what is true, false or left out: a text such as "no" would count as true. Errors: `bad_option` naming the first that is none of these. */
export function requireFlags(flags: Readonly<Record<string, unknown>>, call: string): void {
  for (const [name, flag] of Object.entries(flags))
    ensure(flag === undefined || typeof flag === "boolean", "bad_option", () => {
      return `${call}: ${name} must be true or false, not ${shown(flag)}`;
    });
}

/** The same of a function. Errors: `bad_option`. */
export function requireFunction(value: unknown, call: string, what: string): void {
  ensure(typeof value === "function", "bad_option", () => `${call}: ${what} must be a function, not ${shown(value)}`);
}

/** A value as a message shows it: JSON, cut where it is long, and never an error, however deep the value nests and whatever it does when it is read. */
export function shown(value: unknown): string {
  try {
    return shownAs(value);
  } catch {
    return unreadable;
  }
}

const unreadable = "a value that cannot be read";

function shownAs(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (isInstance<RegExp>("RegExp", value) || typeof value === "number") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (isInstance<Promise<unknown>>("Promise", value)) return "a Promise that was not awaited";
  if (/Generator\]$/.test(Object.prototype.toString.call(value))) return "a generator";
  if (isDetached(value)) return `${withArticle((value as object).constructor.name)} whose memory was transferred`;
  if (ArrayBuffer.isView(value))
    return `${withArticle(value.constructor.name)} of ${(value as Uint8Array).length ?? value.byteLength}`;
  let json: string;
  try {
    json = JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? `${inner}n` : inner)) ?? String(value);
  } catch (error) {
    const nests = error instanceof RangeError || /circular|cyclic/.test(reasonOf(error));
    return nests ? "a value that nests too deeply to be shown" : unreadable;
  }
  // Of what has no fields to show, its class says more than two braces.
  const says = json !== "{}" && !(typeof value === "object" && json.startsWith('"'));
  const kind: unknown = says ? Object : (value as object).constructor;
  if (typeof kind === "function" && kind !== Object) return withArticle(kind.name);
  return json.length > longestShown ? `${json.slice(0, longestShown)}…` : json;
}

/** Where a text stands, in quotes: of a long one its end, to which messages point. */
export const shownEnd = (text: string): string =>
  JSON.stringify(text.length > longestShown ? `…${text.slice(-longestShown)}` : text);

/** `a Map`, `an Int32Array`; `a Uint8Array`, as it is spoken. */
export const withArticle = (name: string): string => `${/^[aeio]/i.test(name) ? "an" : "a"} ${name}`;

/** `1 token`, `2 tokens`. */
export const plural = (count: number, one: string, several = `${one}s`): string =>
  `${count} ${count === 1 ? one : several}`;

/** Why something failed, by what it threw, whatever that is. */
export const reasonOf = (thrown: unknown): string => {
  const message = typeof thrown === "string" ? thrown : (thrown as Error | null | undefined)?.message;
  return typeof message === "string" ? message : shown(thrown);
};

/** How a caller's function fails. */
export interface Failing {
  /** Of what it throws that is no error of ours. Default: `bad_option`. */
  readonly code?: ErrorCode;
  /** Its reason, thrown by the function, is the end that was asked for: `aborted`. */
  readonly signal?: AbortSignal;
}

/** The error of a caller's function that failed: it names the function, and what was thrown is its cause. An error of ours is told as it is. */
export function failureOf(what: string, cause: unknown, { code = "bad_option", signal }: Failing = {}): VentrisError {
  if (cause instanceof VentrisError) return cause;
  if (signal?.aborted === true && cause === signal.reason)
    return new VentrisError("aborted", `${what}: it was aborted`, { cause });
  return new VentrisError(code, `${what} failed: ${reasonOf(cause)}`, { cause });
}

/** A caller's function, or one that waits for something, whose failure is told with its name. Errors of it: those of `failureOf`. */
export function telling<Given extends unknown[], Made>(
  what: string,
  call: (...given: Given) => Made,
  failing?: Failing,
): (...given: Given) => Made {
  const fail = (cause: unknown): never => {
    throw failureOf(what, cause, failing);
  };
  return function (this: unknown, ...given) {
    try {
      const made = Reflect.apply(call, this, given);
      return made instanceof Promise ? (made.catch(fail) as Made) : made;
    } catch (cause) {
      return fail(cause);
    }
  };
}

/** What functions that are told of something promise, for which nobody waits: of what fails in them the call they were given to is told. */
export interface LateFailures {
  of<Given extends unknown[]>(call: (...given: Given) => unknown): (...given: Given) => unknown;
  /** The result of the call. Errors: the first of theirs until now. */
  unless<Result>(result: Result): Result;
}

export function lateFailures(): LateFailures {
  let failure: { readonly error: unknown } | undefined;
  let isOver = false;
  return {
    of<Given extends unknown[]>(call: (...given: Given) => unknown) {
      const later = function (this: unknown, ...given: Given): unknown {
        const made: unknown = Reflect.apply(call, this, given);
        if (!(made instanceof Promise)) return made;
        void made.catch((error) => {
          if (isOver) throw error; // nobody is left to be told
          failure ??= { error };
        });
        return undefined;
      };
      return Object.defineProperty(later, "name", { value: call.name });
    },
    unless(result) {
      isOver = true;
      if (failure) throw failure.error;
      return result;
    },
  };
}

/** Of an answer that is about to be refused: where it is a promise, nobody is left to hear that it fails, and that would end the process. */
export function leaveUnheard(answer: unknown): void {
  if (answer instanceof Promise) answer.catch(() => {});
}

/** What a caller's function gave back, and what it must give. Errors: `bad_option` naming the function. */
export function requireAnswer(holds: boolean, answer: unknown, call: string, wanted: string): void {
  if (holds) return;
  leaveUnheard(answer);
  throw new VentrisError("bad_option", `${call} gave ${shown(answer)}, and must give ${wanted}`);
}

const longestShown = 200;
