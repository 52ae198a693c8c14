/**
 * Several engines that serve one model, as one client: each request goes to the engine that a bandit chooses, and to another when that one
 * fails before its first word. Which one answers changes no law, for all serve the same model; what the bandit learns from is the time that
 * tokens took.
 */
import { ensure } from "../../errors.ts";
import {
  countTokens,
  firstPause,
  isPassing,
  pause,
  type RemoteClient,
  type RemoteLimits,
  type Spending,
} from "./client.ts";
import { readEvent } from "./pieces.ts";

/** What one engine has done since the model was opened. */
export interface Endpoint {
  readonly url: string;
  /** Requests that went there. */
  requests: number;
  failures: number;
  /** Of the answers that came as a stream. */
  tokens: number;
  seconds: number;
}

/** What a choice among engines may look at. */
export interface EndpointRequest {
  /** Characters of what is asked. */
  readonly length: number;
  /** Tokens that are wanted; undefined where the answer is no text. */
  readonly tokens: number | undefined;
  /** An engine that may be chosen: its number, and how many requests of this model are under way there. */
  readonly candidates: readonly { readonly endpoint: number; readonly waiting: number }[];
}

/** A choice among engines. One of `served`, `failed` and `dropped` is called in the end. */
export interface EndpointDecision {
  /** Place in `candidates`. */
  readonly chosen: number;
  /** Of each candidate: the foretold loss, or a score; and how likely it was. */
  readonly predicted: readonly number[];
  readonly probabilities: readonly number[];
  served(tokens: number, seconds: number): void;
  failed(): void;
  dropped(): void;
}

export type EndpointChooser = (request: EndpointRequest) => EndpointDecision;

/** By which policy, with its options, among how many engines. Errors: `bad_option` for what is no policy. */
export type MakeEndpointChooser = (endpoints: number, policy: EndpointPolicy) => EndpointChooser;

/** A bandit policy by name, with options beside it. */
export type EndpointPolicy = string | { readonly name: string; readonly [option: string]: unknown };

/** What went where, for the trace. */
export interface EndpointChoice extends Pick<EndpointDecision, "chosen" | "predicted" | "probabilities"> {
  readonly urls: readonly string[];
}

/** `clients` try a request once, and share one account of what was spent. */
export function createEndpoints(
  clients: readonly RemoteClient[],
  spent: Spending,
  { retries = 2, concurrency = 8, budget = {} }: RemoteLimits,
  choose: EndpointChooser,
): RemoteClient {
  const arms = clients.map((client) => ({
    client,
    waiting: 0,
    record: { url: client.url, requests: 0, failures: 0, tokens: 0, seconds: 0 } as Endpoint,
  }));
  type Arm = (typeof arms)[number];
  const closing = new AbortController();

  /** Among those that were not tried for this request, and have room where one has. */
  function decide(tried: ReadonlySet<Arm>, path: string, body: object | undefined) {
    const fresh = arms.filter((arm) => !tried.has(arm));
    const open = fresh.filter(({ waiting }) => waiting < concurrency);
    // Before anything is known all are alike, and the first is taken: it had better be an idle one.
    const candidates = (open.length > 0 ? open : fresh).sort((a, b) => a.waiting - b.waiting);
    const decision = choose({
      length: body ? JSON.stringify(body).length : 0,
      tokens: wantedTokens(path, body),
      candidates: candidates.map((arm) => ({ endpoint: arms.indexOf(arm), waiting: arm.waiting })),
    });
    const choice: EndpointChoice = { ...decision, urls: candidates.map(({ client }) => client.url) };
    return { arm: candidates[decision.chosen], decision, choice };
  }

  /** Seconds are those spent waiting for the engine: what a reader does between two events is its own matter. */
  async function* timed(
    { record }: Arm,
    events: AsyncGenerator<unknown, void>,
    decision: EndpointDecision,
    path: string,
  ): AsyncGenerator<unknown, void> {
    let [seconds, tokens] = [0, 0];
    try {
      for (;;) {
        const began = performance.now();
        const { done, value } = await events.next();
        seconds += (performance.now() - began) / 1000;
        if (done) break;
        tokens += tokensOf(value, path);
        yield value;
      }
    } finally {
      await events.return();
      record.tokens += tokens;
      record.seconds += seconds;
      if (tokens > 0) decision.served(tokens, seconds);
    }
  }

  /** Tries until one engine begins to answer, all of them before one a second time. */
  async function* answered(
    path: string,
    body: object | undefined,
    signal: AbortSignal | undefined,
    told: ((choice: EndpointChoice) => void) | undefined,
    ask: (arm: Arm, decision: EndpointDecision) => AsyncGenerator<unknown, void>,
  ): AsyncGenerator<unknown, void> {
    const tried = new Set<Arm>();
    for (let attempt = 0; ; attempt++) {
      const { arm, decision, choice } = decide(tried, path, body);
      told?.(choice);
      tried.add(arm);
      arm.record.requests += 1;
      arm.waiting += 1;
      let began = false;
      try {
        for await (const value of ask(arm, decision)) {
          began = true;
          yield value;
        }
        return;
      } catch (error) {
        if (!isPassing(error)) throw error;
        arm.record.failures += 1;
        decision.failed();
        if (began || attempt >= Math.max(retries, arms.length - 1)) throw error;
        spent.retries += 1;
        if (tried.size < arms.length) continue;
        tried.clear();
        const seconds = error.retryAfter ?? firstPause * 2 ** ((attempt + 1) / arms.length - 1);
        await pause(seconds, AbortSignal.any([closing.signal, ...(signal ? [signal] : [])]));
      } finally {
        decision.dropped(); // where nothing was learnt
        arm.waiting -= 1;
      }
    }
  }

  const url = clients.map((client) => client.url).join(", ");
  return {
    url,
    spent,
    endpoints: arms.map(({ record }) => record),
    stream: (path, body, signal, told) =>
      answered(path, body, signal, told, (arm, decision) =>
        timed(arm, arm.client.stream(path, body, signal), decision, path),
      ),
    async ask(path, body, signal, told) {
      const whole = async function* ({ client, record }: Arm, decision: EndpointDecision) {
        const began = performance.now();
        const answer = await client.ask(path, body, signal);
        const seconds = (performance.now() - began) / 1000;
        const tokens = tokensOf(answer, path);
        record.tokens += tokens;
        record.seconds += seconds;
        if (tokens > 0) decision.served(tokens, seconds);
        yield answer;
      };
      for await (const answer of answered(path, body, signal, told, whole)) return answer;
      ensure(false, "internal", "an answer was neither given nor refused");
    },
    count: (tokens) => countTokens(spent, tokens, budget, url),
    close() {
      closing.abort();
      for (const { client } of arms) client.close();
    },
  };
}

const isText = (path: string): boolean => path.endsWith("/completions");

function wantedTokens(path: string, body: object | undefined): number | undefined {
  const { max_tokens: tokens } = (body ?? {}) as { max_tokens?: unknown };
  return isText(path) && typeof tokens === "number" ? tokens : undefined;
}

function tokensOf(event: unknown, path: string): number {
  if (!isText(path)) return 0;
  try {
    const { pieces } = readEvent(event, path.includes("chat") ? "chat" : "completion");
    return pieces.reduce((sum, one) => sum + one.tokens, 0);
  } catch {
    return 0; // its reader says what is wrong with it
  }
}
