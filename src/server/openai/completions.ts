/** `/v1/completions`: texts continued, several prompts and choices at once, echoed and scored where that is asked for. */
import { randomUUID } from "node:crypto";
import type { Context } from "hono";
import { z } from "zod";
import type { RouteContext } from "../app.ts";
import { readJson } from "../errors.ts";
import type { RunRequest, ServedLogprob } from "../protocol.ts";
import { event } from "../sse.ts";
import {
  type Asking,
  asking,
  blame,
  type Choice,
  type ChoiceEvent,
  collect,
  finishReason,
  noUsage,
  runTogether,
  streamed,
  usageOf,
  withCounters,
} from "./answer.ts";
import { longestPrompt, optionsOf, readFields, samplingFields, seedOf, tokenLimit } from "./fields.ts";
import { completionLogprobs } from "./logprobs.ts";

const ids = z.array(z.int().min(0)).min(1).max(longestPrompt);
const text = z.string().min(1).max(longestPrompt);

const fields = z.strictObject({
  ...samplingFields,
  prompt: z.union([text, ids, z.array(text).min(1).max(128), z.array(ids).min(1).max(128)]),
  max_tokens: z.union([z.literal(0), tokenLimit]).default(16),
  echo: z.boolean().default(false),
  logprobs: z.int().min(0).max(100).optional(),
});

const unsupported = {
  suffix: "a causal model does not look ahead",
  best_of: "ask for n choices, or name a search in decoding",
};

type Prompt = string | number[];

export async function completions(c: Context, context: RouteContext): Promise<Response> {
  const body = readFields(fields, await readJson(c.req.raw), unsupported);
  const model = await context.catalogue.find(body.model);
  const { n, echo, logprobs, stream, max_tokens: maxTokens } = body;
  const seed = seedOf(body);
  const options = {
    ...optionsOf(body, seed),
    maxTokens: Math.max(1, maxTokens),
    ...(logprobs !== undefined && { logprobs }),
  };
  const prompts = promptsOf(body.prompt);
  const requests = prompts.flatMap((prompt) =>
    Array.from({ length: n }, (_, request): RunRequest => ({ model, prompt, options: { ...options, request } })),
  );
  const client = asking(context, c.req.raw.signal);
  let leave = (): void => {};
  const end = (): void => {
    client.end();
    leave();
  };
  const head = { id: `cmpl-${randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model };
  const headers = { "X-Ventris-Seed": String(seed) };
  try {
    leave = await context.admission.enter(requests.length, client.signal);
    const echoed =
      echo || maxTokens === 0 ? await scoreAll(context, model, prompts, echo ? logprobs : undefined, client) : [];
    const echoOf = (choice: number): Echo => {
      const at = Math.floor(choice / n);
      return echo ? { text: textOf(prompts[at], echoed[at]), tokens: echoed[at] } : { text: "", tokens: [] };
    };
    // Nothing to decode: the prompt is all there is.
    const events =
      maxTokens === 0
        ? nothing(requests, echoed, n)
        : runTogether(context, requests, stream ? "stream" : "whole", client);
    if (stream) {
      const usage = body.stream_options?.include_usage === true;
      return await streamed(chunks(events, { head, n, usage, logprobs, echoOf, count: requests.length }), headers, end);
    }
    const choices = await collect(events, requests.length);
    end();
    return c.json(
      {
        ...head,
        choices: choices.map((choice, index) => whole(choice, index, echoOf(index), logprobs !== undefined)),
        usage: usageOf(
          choices.map(({ usage }) => usage),
          n,
        ),
      },
      200,
      headers,
    );
  } catch (error) {
    end();
    throw blame(error, { prompt: "prompt", constraint: "decoding.constraint" });
  }
}

const promptsOf = (prompt: z.output<typeof fields>["prompt"]): Prompt[] =>
  typeof prompt === "string" || typeof prompt[0] === "number" ? [prompt as Prompt] : (prompt as Prompt[]);

/** Tokens of the prompts, and their log-probabilities where these are wanted. */
const scoreAll = (
  { engine }: RouteContext,
  model: string,
  prompts: readonly Prompt[],
  top: number | undefined,
  { signal }: Asking,
): Promise<ServedLogprob[][]> =>
  Promise.all(prompts.map((prompt) => engine.ask(signal, "score", { model, prompt, top })));

async function* nothing(
  requests: readonly RunRequest[],
  prompts: readonly (readonly ServedLogprob[])[],
  n: number,
): AsyncGenerator<ChoiceEvent[], void> {
  yield requests.map((_, choice) => ({ type: "begin", promptTokens: prompts[Math.floor(choice / n)].length, choice }));
}

/** A prompt as text: as it was given, or what its tokens stand for. */
function textOf(prompt: Prompt, tokens: readonly ServedLogprob[]): string {
  if (typeof prompt === "string") return prompt;
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(
    Uint8Array.from(tokens.flatMap(({ bytes = [] }) => bytes)),
  );
}

/** What goes before an answer. */
interface Echo {
  readonly text: string;
  readonly tokens: readonly ServedLogprob[];
}

function whole({ text: said, logprobs, reason }: Choice, index: number, echo: Echo, wanted: boolean): object {
  return {
    index,
    text: echo.text + said,
    logprobs: wanted ? completionLogprobs([...echo.tokens, ...logprobs], 0) : null,
    finish_reason: finishReason(reason),
  };
}

interface Chunks {
  readonly head: object;
  readonly n: number;
  readonly count: number;
  readonly usage: boolean;
  readonly logprobs: number | undefined;
  echoOf(choice: number): Echo;
}

async function* chunks(
  events: AsyncIterable<ChoiceEvent[]>,
  { head, n, count, usage, logprobs, echoOf }: Chunks,
): AsyncGenerator<string, void> {
  const usages = Array.from({ length: count }, () => noUsage);
  const offsets = new Array<number>(count).fill(0);
  const ended = new Set<number>();
  const chunk = (index: number, said: string, list: readonly ServedLogprob[], reason: string | null): string => {
    const at = offsets[index];
    offsets[index] += said.length;
    return event({
      ...head,
      choices: [
        {
          index,
          text: said,
          logprobs: logprobs !== undefined && list.length > 0 ? completionLogprobs(list, at) : null,
          finish_reason: reason,
        },
      ],
      ...(usage && { usage: null }),
    });
  };
  for await (const batch of events) {
    let piece = "";
    for (const one of batch) {
      const { choice } = one;
      if (one.type === "begin") {
        usages[choice] = { ...noUsage, promptTokens: one.promptTokens };
        const { text: before, tokens } = echoOf(choice);
        if (tokens.length > 0) piece += chunk(choice, before, tokens, null);
      } else if (one.type === "text") piece += chunk(choice, one.text, one.logprobs ?? [], null);
      else {
        usages[choice] = withCounters(usages[choice], one);
        ended.add(choice);
        piece += chunk(choice, "", [], finishReason(one.reason));
      }
    }
    if (piece) yield piece;
  }
  let last = "";
  for (let choice = 0; choice < count; choice++) if (!ended.has(choice)) last += chunk(choice, "", [], "length");
  if (usage) last += event({ ...head, choices: [], usage: usageOf(usages, n) });
  yield `${last}${event("[DONE]")}`;
}
