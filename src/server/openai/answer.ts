/** Runs of one request: its turn, its choices side by side, its end when the client goes away or its time is over. */

import type { Context } from "hono";
import { whenAborted } from "../../aborts.ts";
import type { FinishReason } from "../../engine/trace.ts";
import { VentrisError } from "../../errors.ts";
import type { RouteContext } from "../app.ts";
import { type Asking, asking } from "../asking.ts";
import { answerOf, isOfForm, RequestError } from "../errors.ts";
import type { OutputEvent, RunRequest, ServedLogprob } from "../protocol.ts";
import { event, eventStream } from "../sse.ts";
import { inFieldNames, optionNamed } from "./fields.ts";

/** A choice that is whole. */
export interface Choice {
  readonly text: string;
  readonly logprobs: readonly ServedLogprob[];
  /** Of the token that ended the text. */
  readonly ending?: ServedLogprob;
  readonly reason: FinishReason;
  readonly usage: Usage;
}

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export type ChoiceEvent = OutputEvent & { readonly choice: number };

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
  const heard = whenAborted(signal, leave);
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
      // Aborted before it was decoded at all: why is known here alone.
      const aborted = signal.aborted && error instanceof VentrisError && error.code === "aborted";
      failure ??= aborted ? explain() : error;
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
    heard();
    stop.abort();
  }
}

/** All choices, whole. */
export async function collect(events: AsyncIterable<ChoiceEvent[]>, choices: number): Promise<Choice[]> {
  const texts = Array.from({ length: choices }, () => ({
    text: "",
    logprobs: [] as ServedLogprob[],
    ending: undefined as ServedLogprob | undefined,
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
      if (one.type === "done") {
        const usage = withCounters(choice.usage, one);
        [choice.reason, choice.ending, choice.usage] = [one.reason, one.ending, usage];
      }
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

/** What a route makes of its runs. */
export interface Answering {
  readonly requests: readonly RunRequest[];
  readonly stream: boolean;
  readonly headers: Record<string, string>;
  /** Events of the runs where these are not simply run: what must come before, what stands for them. */
  readonly events?: (client: Asking) => Promise<AsyncIterable<ChoiceEvent[]> | undefined>;
  pieces(events: AsyncIterable<ChoiceEvent[]>): AsyncGenerator<string, void>;
  whole(choices: readonly Choice[]): object;
  /** Of a stream that had begun. */
  readonly failed?: (error: unknown) => string;
  /** Fields of the body that errors of the engine may be about. */
  readonly fields: { readonly constraint?: string; readonly prompt: string; readonly limit?: string };
}

/** Waits for the request's turn, and answers: as a stream that begins with its first text, or as a whole. */
export async function answer(c: Context, context: RouteContext, answering: Answering): Promise<Response> {
  const { requests, stream, headers, fields } = answering;
  const client = await asking(context, requests.length, c.req.raw.signal);
  const { end } = client;
  try {
    const events =
      (await answering.events?.(client)) ?? runTogether(context, requests, stream ? "stream" : "whole", client);
    if (stream) {
      // It begins only once its first piece is there, so that what is wrong with a request is still an error with a status.
      const pieces = answering.pieces(events);
      const first = await pieces.next();
      const { failed = (error) => event(answerOf(error).body) } = answering;
      return eventStream({ pieces, first, failed, end }, headers);
    }
    const choices = await collect(events, requests.length);
    end();
    return c.json(answering.whole(choices), 200, headers);
  } catch (error) {
    end();
    throw blame(error, fields, requests[0].options);
  }
}

/** How the events of one choice become objects in `choices`. */
export interface Rendering {
  begin(choice: number): object | undefined;
  text(choice: number, event: Extract<OutputEvent, { type: "text" }>): object | undefined;
  end(choice: number, event: Extract<OutputEvent, { type: "done" }>): readonly object[];
}

/** Chunks of completions and of chats, the usage behind them where it is wanted, and the mark of the end. */
export async function* chunksOf(
  events: AsyncIterable<ChoiceEvent[]>,
  { head, count, perPrompt, usage }: { head: object; count: number; perPrompt: number; usage: boolean },
  rendering: Rendering,
): AsyncGenerator<string, void> {
  const usages = Array.from({ length: count }, () => noUsage);
  const chunk = (choice: object | undefined): string =>
    choice ? event({ ...head, choices: [choice], ...(usage && { usage: null }) }) : "";
  for await (const batch of events) {
    let piece = "";
    for (const one of batch) {
      const { choice } = one;
      if (one.type === "begin") {
        usages[choice] = { ...noUsage, promptTokens: one.promptTokens };
        piece += chunk(rendering.begin(choice));
      } else if (one.type === "text") piece += chunk(rendering.text(choice, one));
      else {
        usages[choice] = withCounters(usages[choice], one);
        piece += rendering.end(choice, one).map(chunk).join("");
      }
    }
    if (piece) yield piece;
  }
  const last = usage ? event({ ...head, choices: [], usage: usageOf(usages, perPrompt) }) : "";
  yield `${last}${event("[DONE]")}`;
}

/** Errors that the engine found in a request, with the field they are about. */
export function blame(error: unknown, fields: Answering["fields"], options: RunRequest["options"] = {}): unknown {
  if (!(error instanceof VentrisError) || error instanceof RequestError) return error;
  const { code, message } = error;
  const [, place] = /^(messages\[\d+\][.\w[\]]*)/.exec(message) ?? [];
  const param =
    (/^tools\b/.test(message) ? "tools" : undefined) ??
    (isOfForm(error) ? fields.constraint : undefined) ??
    (fields.prompt === "messages" ? place : undefined) ??
    (code === "context_full" || /^(the )?(prompt|messages)\b/.test(message) ? fields.prompt : undefined) ??
    (/has no chat template\b|^the model \S+ has no forest\b/.test(message) ? "model" : undefined) ??
    (code === "bad_option" ? optionNamed(message, options) : undefined) ??
    (/^the model (.* )?has no site/.test(message) && options.edits ? "decoding.edits" : undefined) ??
    (/^(\w+: )?no part "/.test(message) ? "decoding.method" : undefined) ??
    (message.startsWith("the method") ? "decoding" : undefined);
  const told = ofClient.has(code) ? inFieldNames(message, fields.limit) : message;
  const named = param === "max_tokens" && fields.limit ? fields.limit : param;
  return named === undefined && told === message ? error : new RequestError(code, told, { param: named });
}

/** Errors that speak of what a request says. */
const ofClient = new Set<VentrisError["code"]>(["bad_option", "context_full"]);
