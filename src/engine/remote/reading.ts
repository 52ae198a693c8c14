/** Given texts under a model behind a network: their log-probabilities, by echo, and their vectors. */
import { z } from "zod";
import { ensure, shown, VentrisError } from "../../errors.ts";
import type { DecodingModel } from "../model.ts";
import { describedScore, type ScoredText, type ScoredToken } from "../score.ts";
import type { Remote } from "./model.ts";
import { inOrder } from "./pieces.ts";
import type { RemoteVocabulary } from "./vocabulary.ts";

interface Asking {
  readonly top?: number;
  readonly signal?: AbortSignal;
}

const most = 2_000_000;
const name = z.string().max(1 << 20);
const value = z.number().max(1e-3).nullable();
const echoed = z.object({
  choices: z
    .array(
      z.object({
        text: name,
        logprobs: z.object({
          tokens: z.array(name).max(most),
          token_logprobs: z.array(value).max(most),
          top_logprobs: z.array(z.record(name, value).nullable()).max(most).nullish(),
        }),
      }),
    )
    .min(1),
});
const embedded = z.object({
  data: z
    .array(
      z.object({
        embedding: z
          .array(z.number())
          .min(1)
          .max(1 << 17),
      }),
    )
    .length(1),
});

/** Errors: `bad_option` for what is no text; `unavailable` for an engine that gives none; those of asking. */
function read<Schema extends z.ZodType>(
  schema: Schema,
  answer: unknown,
  remote: Remote,
  what: string,
): z.output<Schema> {
  const { data, error } = schema.safeParse(answer);
  if (data === undefined)
    throw new VentrisError(
      "unavailable",
      `the engine behind ${remote.client.url} gives no ${what}: ${error?.issues[0].message} at ${error?.issues[0].path.join(".")}`,
    );
  return data as z.output<Schema>;
}

function textOf(model: DecodingModel, text: unknown, call: string): string {
  ensure(typeof text === "string" && text !== "", "bad_option", () => {
    return `${call}: the model ${model.name} is behind a network, and is given texts, not ids or messages`;
  });
  return text as string;
}

/** The engine's own tokens; its first has no log-probability. `model`: as one request has it. */
export async function scoreRemotely(
  model: DecodingModel,
  given: unknown,
  { top = 0, signal }: Asking,
): Promise<ScoredText> {
  const remote = model.ability<Remote>("remote");
  const prompt = textOf(model, given, "score");
  const vocabulary = model.tokenizer as RemoteVocabulary;
  const body = { model: remote.model, prompt, echo: true, max_tokens: 0, logprobs: top, ...remote.body };
  const answer = await remote.client.ask("/completions", body, signal);
  const { choices } = read(echoed, answer, remote, "log-probabilities of prompts (echo with logprobs)");
  const { tokens: names, token_logprobs: values, top_logprobs: tops } = choices[0].logprobs;
  // An engine that does not know of echo continues the text, and scores what it says itself.
  ensure(choices[0].text === prompt, "unavailable", () => {
    return `the engine behind ${remote.client.url} gives no log-probabilities of prompts: it was to echo the text, and said ${shown(choices[0].text.slice(0, 100))}`;
  });
  ensure(names.length === values.length && names.length >= 2, "bad_option", () => {
    return `score: the text has ${names.length} tokens there, and the first follows nothing`;
  });
  const tokens = names.map((text, i): ScoredToken => {
    const others = inOrder(Object.entries(tops?.[i] ?? {})).map((one) => ({
      token: vocabulary.idOf(one.text),
      ...one,
    }));
    const logprob = i === 0 ? undefined : (values[i] ?? -Infinity);
    return { token: vocabulary.idOf(text), text, logprob, ...(top > 0 && i > 0 && { top: others }) };
  });
  const logprob = tokens.reduce((sum, one) => sum + (one.logprob ?? 0), 0);
  return describedScore({ tokens, logprob, perplexity: Math.exp(-logprob / (tokens.length - 1)) });
}

export async function embedRemotely(
  model: DecodingModel,
  given: unknown,
  { signal }: Asking,
): Promise<Float32Array<ArrayBuffer>> {
  const remote = model.ability<Remote>("remote");
  const body = { model: remote.model, input: textOf(model, given, "embed") };
  const { data } = read(embedded, await remote.client.ask("/embeddings", body, signal), remote, "embeddings");
  const { embedding } = data[0];
  const norm = Math.sqrt(embedding.reduce((sum, x) => sum + x * x, 0)) || 1;
  return Float32Array.from(embedding, (x) => x / norm);
}
