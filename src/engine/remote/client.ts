/**
 * Requests to an engine behind a network: how long one may take, how often it is tried, how many are under way, and what all of them may
 * cost. Whatever comes back is a stranger's: its length is bounded before it is kept, and its shape is checked before it is used.
 */
import { whenAborted } from "../../aborts.ts";
import { ensure, shown, VentrisError } from "../../errors.ts";
import { delay } from "../../turn.ts";
import type { Endpoint, EndpointChoice } from "./endpoints.ts";

/** How patient calls to an engine behind a network are, and what they may spend. */
export interface RemoteLimits {
  /** Seconds without a byte after which a request has failed, 300 at most. Default 60. */
  readonly timeout?: number;
  /** How often a request is tried anew that failed before its first token. Default 2. */
  readonly retries?: number;
  /** Requests under way at once. Default 8. */
  readonly concurrency?: number;
  /** What the model may cost while it is open; default: no limit. */
  readonly budget?: { readonly requests?: number; readonly tokens?: number };
}

/** What was spent since the model was opened. */
export interface Spending {
  requests: number;
  /** Tries that failed and were repeated. */
  retries: number;
  /** Tokens that were received. */
  tokens: number;
}

export interface RemoteClient {
  readonly url: string;
  readonly spent: Readonly<Spending>;
  /** Of several engines that serve one model: what each has done. */
  readonly endpoints?: readonly Readonly<Endpoint>[];
  /**
   * Events of an answer, parsed; it is left early by leaving the loop. `told` hears which of several engines was chosen. Errors: `bad_option` for what the engine refuses, with its words;
   * `unavailable` for an engine that cannot be reached or has not what is asked for, and for a budget that is spent; `runtime_failed` for
   * an answer that is none; `aborted`.
   */
  stream(
    path: string,
    body: object,
    signal?: AbortSignal,
    told?: (choice: EndpointChoice) => void,
  ): AsyncGenerator<unknown, void>;
  /** A whole answer. Errors: the same. */
  ask(
    path: string,
    body: object | undefined,
    signal?: AbortSignal,
    told?: (choice: EndpointChoice) => void,
  ): Promise<unknown>;
  /** Counts tokens that were received. Errors: `unavailable` for one beyond the budget. */
  count(tokens: number): void;
  close(): void;
}

/** An event, and a whole answer, hold a few hundred kilobytes at most; both bounds are far beyond. */
const [longestEvent, longestAnswer, longestError] = [4 * 2 ** 20, 64 * 2 ** 20, 64 * 2 ** 10];
/** Seconds: the first pause before another try, which doubles, and the longest, whatever the engine asks for. */
export const firstPause = 0.25;
const longestPause = 30;

/** Waits before another try. Errors: `aborted`. */
export async function pause(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(Math.min(longestPause, seconds) * 1000, signal).catch((cause) => {
    throw new VentrisError("aborted", "the request was aborted", { cause });
  });
}

export const nothingSpent = (): Spending => ({ requests: 0, retries: 0, tokens: 0 });

type Budget = NonNullable<RemoteLimits["budget"]>;

const isSpent = (what: keyof Budget, limit: number | undefined, url: string) => (): string =>
  `the budget of ${limit} ${what} for ${url} is spent: open it with a larger one`;

/** Whether another request may be sent. Errors: `unavailable`. */
function afford(spent: Spending, budget: Budget, url: string): void {
  for (const what of ["requests", "tokens"] as const) {
    const limit = budget[what];
    ensure(limit === undefined || spent[what] < limit, "unavailable", isSpent(what, limit, url));
  }
}

/** Errors: `unavailable`. */
export function countTokens(spent: Spending, tokens: number, { tokens: limit }: Budget, url: string): void {
  spent.tokens += tokens;
  ensure(limit === undefined || spent.tokens <= limit, "unavailable", isSpent("tokens", limit, url));
}

/** `spent`: the account of clients that share a budget. */
export function createClient(
  url: string,
  apiKey: string | undefined,
  limits: RemoteLimits,
  spent: Spending = nothingSpent(),
): RemoteClient {
  const { timeout = 60, retries = 2, concurrency = 8, budget = {} } = limits;
  const closing = new AbortController();
  const turns = createTurns(concurrency);

  /** One try. The response's head has come, with a good status; `touch` says that something came. */
  async function once(path: string, body: object | undefined, signal: AbortSignal, touch: () => void) {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (apiKey !== undefined) headers.Authorization = `Bearer ${apiKey}`;
    const response = await fetch(url + path, {
      method: body ? "POST" : "GET",
      headers,
      ...(body && { body: JSON.stringify(body) }),
      redirect: "error", // a key is for the address that it was given for
      signal,
    });
    touch();
    if (response.ok && response.body) return response.body;
    throw await refusal(url + path, response);
  }

  /** Bytes of the answer, after as many tries as are allowed. */
  async function* bytesOf(path: string, body: object | undefined, outer?: AbortSignal): AsyncGenerator<Uint8Array> {
    const signals = [closing.signal, ...(outer ? [outer] : [])];
    const leave = await turns.enter(AbortSignal.any(signals));
    try {
      for (let attempt = 0; ; attempt++) {
        afford(spent, budget, url);
        spent.requests += 1;
        const late = new AbortController();
        let timer: ReturnType<typeof setTimeout> | undefined;
        const touch = (): void => {
          clearTimeout(timer);
          timer = setTimeout(() => late.abort(), timeout * 1000);
        };
        touch();
        let began = false;
        try {
          const answer = await once(path, body, AbortSignal.any([late.signal, ...signals]), touch);
          let length = 0;
          for await (const bytes of answer as unknown as AsyncIterable<Uint8Array>) {
            touch();
            began = true;
            length += bytes.length;
            ensure(
              length <= longestAnswer,
              "runtime_failed",
              () => `${url}${path} answered with more than ${longestAnswer} bytes`,
            );
            clearTimeout(timer); // how long the reader takes is its own matter
            yield bytes;
            touch();
          }
          return;
        } catch (error) {
          const failure = explain(error, url + path, { late: late.signal.aborted, timeout, signals });
          if (began || attempt >= retries || !isPassing(failure)) throw failure;
          spent.retries += 1;
          await pause(failure.retryAfter ?? firstPause * 2 ** attempt, AbortSignal.any(signals));
        } finally {
          clearTimeout(timer);
          late.abort(); // of an answer that was left, nothing more is to come
        }
      }
    } finally {
      leave();
    }
  }

  return {
    url,
    spent,
    async *stream(path, body, signal) {
      const decoder = new TextDecoder();
      let rest = "";
      for await (const bytes of bytesOf(path, body, signal)) {
        rest += decoder.decode(bytes, { stream: true });
        const lines = rest.split(/\r?\n/);
        rest = lines.pop()!;
        ensure(rest.length <= longestEvent, "runtime_failed", `${url}${path}: an event is longer than ${longestEvent}`);
        for (const line of lines) {
          if (!line.startsWith("data:")) continue; // comments, names of events
          const data = line.slice(5).trim();
          if (data === "[DONE]") return;
          yield parsed(data, url + path);
        }
      }
    },
    async ask(path, body, signal) {
      const decoder = new TextDecoder();
      let text = "";
      for await (const bytes of bytesOf(path, body, signal)) text += decoder.decode(bytes, { stream: true });
      return parsed(text, url + path);
    },
    count: (tokens) => countTokens(spent, tokens, budget, url),
    close: () => closing.abort(),
  };
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new VentrisError("runtime_failed", `${where} answered with what is no JSON: ${shown(text.slice(0, 100))}`);
  }
}

/** A failure that knows when to come back. */
class RemoteError extends VentrisError {
  readonly passing: boolean;
  readonly retryAfter: number | undefined;
  constructor(
    code: VentrisError["code"],
    message: string,
    { passing = false, retryAfter, cause }: { passing?: boolean; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(code, message, { cause });
    this.passing = passing;
    this.retryAfter = retryAfter;
  }
}

/** Whether another try may succeed. */
export const isPassing = (error: unknown): error is RemoteError => error instanceof RemoteError && error.passing;

/** What a status that is no success means, in the engine's own words where it has some. */
async function refusal(where: string, response: Response): Promise<RemoteError> {
  const { status } = response;
  const text = (await beginningOf(response)).trim();
  let words = text.slice(0, 500);
  try {
    const { error, message, detail } = JSON.parse(text);
    const said = typeof error === "object" && error !== null ? error.message : (error ?? message ?? detail);
    if (typeof said === "string") words = said.slice(0, 1000);
  } catch {
    // Its first words will do.
  }
  const passing = status === 408 || status === 429 || status >= 500;
  const absent = passing || status === 404 || status === 401 || status === 403;
  const code = response.ok ? "runtime_failed" : absent ? "unavailable" : "bad_option";
  const seconds = secondsOf(response.headers.get("retry-after"));
  const hint = status === 401 || status === 403 ? " (open(url, { apiKey }) gives a key)" : "";
  return new RemoteError(code, `${where} answered ${status}: ${words || response.statusText}${hint}`, {
    passing,
    ...(seconds >= 0 && { retryAfter: seconds }),
  });
}

/** What `Retry-After` says: seconds, or a date. */
function secondsOf(after: string | null): number {
  if (after === null) return Number.NaN;
  const seconds = Number(after);
  return Number.isNaN(seconds) ? Math.max(0, Date.parse(after) - Date.now()) / 1000 : seconds;
}

/** Of a body that may be of any length. */
async function beginningOf({ body }: Response): Promise<string> {
  if (!body) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const bytes of body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(bytes, { stream: true });
      if (text.length > longestError) break;
    }
  } catch {
    // A refusal that was cut off is one all the same.
  }
  return text;
}

function explain(
  error: unknown,
  where: string,
  { late, timeout, signals }: { late: boolean; timeout: number; signals: readonly AbortSignal[] },
): VentrisError & { retryAfter?: number } {
  if (signals.some(({ aborted }) => aborted)) return new VentrisError("aborted", "the request was aborted");
  if (late) return new RemoteError("unavailable", `${where} said nothing for ${timeout} s`, { passing: true });
  if (error instanceof VentrisError) return error;
  const cause = (error as Error).cause as Error | undefined;
  const why = cause?.message || (error as Error).message;
  return new RemoteError("unavailable", `${where} cannot be reached: ${why}`, { passing: true, cause: error });
}

/** First come, first served; so many at once. */
function createTurns(most: number) {
  let active = 0;
  const queue: (() => void)[] = [];
  const leave = (): void => {
    const next = queue.shift();
    if (next) next();
    else active -= 1;
  };
  return {
    async enter(signal: AbortSignal): Promise<() => void> {
      ensure(!signal.aborted, "aborted", "the request was aborted");
      if (active < most) active += 1;
      else {
        await new Promise<void>((resolve, reject) => {
          const admit = (): void => {
            heard();
            resolve();
          };
          const give = (): void => {
            queue.splice(queue.indexOf(admit), 1);
            reject(new VentrisError("aborted", "the request was aborted"));
          };
          queue.push(admit);
          const heard = whenAborted(signal, give);
        });
      }
      return leave;
    },
  };
}
