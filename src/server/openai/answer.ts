/** Runs of one request: its turn, its choices side by side, its end when the client goes away or its time is over. */
import type { FinishReason } from "../../engine/trace.ts";
import { VentrisError } from "../../errors.ts";
import type { RouteContext } from "../app.ts";
import { answerOf, RequestError } from "../errors.ts";
import type { OutputEvent, RunRequest, ServedLogprob } from "../protocol.ts";
import { event, eventStream } from "../sse.ts";

/** A choice that is whole. */
export interface Choice {
  readonly text: string;
  readonly logprobs: readonly ServedLogprob[];
  readonly reason: FinishReason;
  readonly usage: Usage;
}

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export type ChoiceEvent = OutputEvent & { readonly choice: number };

/** A client that waits, and for how long it may. */
export interface Asking {
  readonly signal: AbortSignal;
  /** Why nothing more comes. */
  explain(): VentrisError;
  end(): void;
}

export function asking({ requestSeconds }: RouteContext, client: AbortSignal): Asking {
  const own = new AbortController();
  const leave = (): void => own.abort();
  client.addEventListener("abort", leave, { once: true });
  if (client.aborted) leave();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    own.abort();
  }, requestSeconds * 1000);
  return {
    signal: own.signal,
    explain: () =>
      late
        ? new RequestError("aborted", `the request took longer than ${requestSeconds} s`, {
            status: 408,
            headers: { "x-should-retry": "false" },
          })
        : new VentrisError("aborted", "the server is stopping, or the client has gone"),
    end() {
      clearTimeout(timer);
      client.removeEventListener("abort", leave);
    },
  };
}

/** Runs side by side; the first failure ends them all. Leaving the loop does, too. */
export async function* runTogether(
  { engine, metrics }: RouteContext,
  requests: readonly RunRequest[],
  detail: "stream" | "whole",
  { signal, explain }: Asking,
): AsyncGenerator<ChoiceEvent[], void> {
  const began = performance.now();
  const stop = new AbortController();
  const leave = (): void => stop.abort();
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  let events: ChoiceEvent[] = [];
  let failure: unknown;
  let left = requests.length;
  let spoken = false;
  let wake = (): void => {};
  const follow = async (request: RunRequest, choice: number): Promise<void> => {
    let promptTokens = 0;
    try {
      for await (const batch of engine.output(request, detail, stop.signal)) {
        for (const one of batch) {
          if (one.type === "begin") promptTokens = one.promptTokens;
          if (one.type === "text" && !spoken) {
            spoken = true;
            metrics.firstText(request.model, (performance.now() - began) / 1000);
          }
          if (one.type === "done") metrics.decoded(request.model, one.counters, promptTokens);
          if (one.type === "done" && one.reason === "aborted") throw explain();
          events.push({ ...one, choice });
        }
        wake();
      }
    } catch (error) {
      failure ??= error;
      stop.abort();
    } finally {
      left -= 1;
      wake();
    }
  };
  try {
    requests.forEach((request, choice) => void follow(request, choice));
    for (;;) {
      if (failure) throw failure;
      if (events.length > 0) {
        const batch = events;
        events = [];
        yield batch;
      } else if (left === 0) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    signal.removeEventListener("abort", leave);
    stop.abort();
  }
}

/** All choices, whole. */
export async function collect(events: AsyncIterable<ChoiceEvent[]>, choices: number): Promise<Choice[]> {
  const texts = Array.from({ length: choices }, () => ({
    text: "",
    logprobs: [] as ServedLogprob[],
    reason: "aborted" as FinishReason,
    usage: noUsage,
  }));
  for await (const batch of events) {
    for (const one of batch) {
      const choice = texts[one.choice];
      if (one.type === "begin") choice.usage = { ...choice.usage, promptTokens: one.promptTokens };
      if (one.type === "text") {
        choice.text += one.text;
        choice.logprobs.push(...(one.logprobs ?? []));
      }
      if (one.type === "done") [choice.reason, choice.usage] = [one.reason, withCounters(choice.usage, one)];
    }
  }
  return texts;
}

export const noUsage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

export const withCounters = (usage: Usage, { counters }: Extract<OutputEvent, { type: "done" }>): Usage => ({
  ...usage,
  cachedTokens: counters.cachedTokens,
  completionTokens: counters.generated,
});

/** Of several choices of one prompt: its tokens count once. `prompts`: how many choices each prompt has. */
export function usageOf(choices: readonly Usage[], perPrompt: number): object {
  const sum = (value: (usage: Usage) => number, list = choices): number =>
    list.reduce((total, one) => total + value(one), 0);
  const first = choices.filter((_, i) => i % perPrompt === 0);
  const prompt = sum(({ promptTokens }) => promptTokens, first);
  const completion = sum(({ completionTokens }) => completionTokens);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(({ cachedTokens }) => cachedTokens, first) },
  };
}

/** OpenAI's words for why a text ended. */
export const finishReason = (reason: FinishReason): "stop" | "length" =>
  reason === "stop" || reason === "end" ? "stop" : "length";

/**
 * A stream of events that begins only once its first piece is there, so that what is wrong with a request is still an error with a status.
 * Failures after that are events themselves. `end` is called once, whatever happens.
 */
export async function streamed(
  pieces: AsyncGenerator<string, void>,
  headers: Record<string, string>,
  end: () => void,
  failed: (error: unknown) => string = (error) => event(answerOf(error).body),
): Promise<Response> {
  let first: IteratorResult<string, void>;
  try {
    first = await pieces.next();
  } catch (error) {
    end();
    throw error;
  }
  async function* all(): AsyncGenerator<string, void> {
    try {
      if (first.done) return;
      yield first.value;
      yield* pieces;
    } catch (error) {
      yield failed(error);
    } finally {
      end();
    }
  }
  return eventStream(all(), headers);
}

/** Errors that the engine found in a request, with the field they are about. */
export function blame(error: unknown, fields: { readonly constraint?: string; readonly prompt: string }): unknown {
  if (!(error instanceof VentrisError) || error instanceof RequestError) return error;
  const { code, message } = error;
  const aboutConstraint = /^(constraint|JSON schema|tools|regex|grammar)\b/i.test(message);
  const param = aboutConstraint
    ? fields.constraint
    : code === "context_full" || /prompt|messages/.test(message)
      ? fields.prompt
      : undefined;
  return param === undefined ? error : new RequestError(code, message, { param });
}
