/** `/v1/completions`: texts continued, several prompts and choices at once, echoed and scored where that is asked for. */

import { randomUUID } from "node:crypto";
import type { Context } from "hono";
import { z } from "zod";
import { emptyCounters } from "../../engine/decoding.ts";
import { plural } from "../../errors.ts";
import type { RouteContext } from "../app.ts";
import { RequestError, readJson } from "../errors.ts";
import type { RunRequest, ServedLogprob } from "../protocol.ts";
import { answer, type Choice, type ChoiceEvent, chunksOf, finishReason, type Rendering, usageOf } from "./answer.ts";
import {
  fillsElsewhere,
  longestPrompt,
  optionsOf,
  otherNames,
  readFields,
  samplingFields,
  seedOf,
  textsField,
  tokenLimit,
} from "./fields.ts";
import { createCompletionLogprobs } from "./logprobs.ts";

const fields = z.strictObject({
  ...samplingFields,
  /** An empty text is decoded from the begin token. */
  prompt: textsField(z.string().max(longestPrompt), 128),
  /** 0: nothing is decoded. */
  max_tokens: z.int().min(0).max(tokenLimit.maxValue!).default(16),
  echo: z.boolean().default(false),
  logprobs: z.int().min(0).max(100).optional(),
});

const unsupported = {
  ...otherNames,
  suffix: fillsElsewhere,
  best_of: "ask for n choices, or name a search in decoding",
};

const mostChoices = 128;

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
  if (prompts.length * n > mostChoices)
    throw new RequestError(
      "bad_option",
      `${plural(prompts.length, "prompt")} of ${plural(n, "choice")} each: ${mostChoices} choices are the most`,
      { param: "n" },
    );
  const requests = prompts.flatMap((given) => {
    const prompt = typeof given === "string" ? { text: given } : given;
    return Array.from({ length: n }, (_, request): RunRequest => ({ model, prompt, options: { ...options, request } }));
  });
  const head = { id: `cmpl-${randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model };
  let scores: ServedLogprob[][] = [];
  const echoOf = (choice: number): Echo => {
    const at = Math.floor(choice / n);
    return echo ? { text: textOf(prompts[at], scores[at]), tokens: scores[at] } : { text: "", tokens: [] };
  };
  const usage = body.stream_options?.include_usage === true;
  return answer(c, context, {
    requests,
    stream,
    headers: { "X-Ventris-Seed": String(seed) },
    fields: { prompt: "prompt", constraint: "decoding.constraint" },
    async events({ signal }) {
      if (!echo && maxTokens > 0) return undefined;
      const top = echo ? logprobs : undefined;
      scores = await context.engine.ask(signal, "score", { model, prompts, top });
      return maxTokens === 0 ? nothing(requests, scores, n) : undefined;
    },
    pieces: (events) =>
      chunksOf(
        events,
        { head, count: requests.length, perPrompt: n, usage },
        rendering(echoOf, logprobs !== undefined),
      ),
    whole: (choices) => ({
      ...head,
      choices: choices.map((choice, index) => whole(choice, index, echoOf(index), logprobs !== undefined)),
      usage: usageOf(
        choices.map((choice) => choice.usage),
        n,
      ),
    }),
  });
}

const promptsOf = (prompt: z.output<typeof fields>["prompt"]): Prompt[] =>
  typeof prompt === "string" || typeof prompt[0] === "number" ? [prompt as Prompt] : (prompt as Prompt[]);

/** No token is wanted: the prompt is all there is. */
async function* nothing(
  requests: readonly RunRequest[],
  prompts: readonly (readonly ServedLogprob[])[],
  n: number,
): AsyncGenerator<ChoiceEvent[], void> {
  yield requests.flatMap((_, choice) => [
    { type: "begin", promptTokens: prompts[Math.floor(choice / n)].length, choice },
    { type: "done", reason: "length", counters: emptyCounters(), choice },
  ]);
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

/** The token that ends a text is told with the others, so that the numbers of tokens and of log-probabilities agree. */
const withEnding = (list: readonly ServedLogprob[], ending: ServedLogprob | undefined): readonly ServedLogprob[] =>
  ending ? [...list, ending] : list;

function whole({ text: said, logprobs, ending, reason }: Choice, index: number, echo: Echo, wanted: boolean): object {
  return {
    index,
    text: echo.text + said,
    logprobs: wanted ? createCompletionLogprobs()(withEnding([...echo.tokens, ...logprobs], ending)) : null,
    finish_reason: finishReason(reason),
  };
}

function rendering(echoOf: (choice: number) => Echo, wanted: boolean): Rendering {
  const readers = new Map<number, ReturnType<typeof createCompletionLogprobs>>();
  const choice = (index: number, said: string, list: readonly ServedLogprob[], reason: string | null): object => {
    const read = readers.get(index) ?? createCompletionLogprobs();
    readers.set(index, read);
    return {
      index,
      text: said,
      logprobs: wanted && list.length > 0 ? read(list) : null,
      finish_reason: reason,
    };
  };
  return {
    begin(index) {
      const echo = echoOf(index);
      return echo.tokens.length > 0 ? choice(index, echo.text, echo.tokens, null) : undefined;
    },
    text: (index, { text: said, logprobs = [] }) => choice(index, said, logprobs, null),
    end: (index, { reason, ending }) => [choice(index, "", withEnding([], ending), finishReason(reason))],
  };
}
