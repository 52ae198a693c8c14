/** A run as a client of text is told of it, and texts with their log-probabilities. */
import type { Run } from "../engine/run.ts";
import type { TokenLogprob } from "../engine/trace.ts";
import { ensure, VentrisError } from "../errors.ts";
import type { Model } from "../open.ts";
import { muchTooLong } from "../text/most.ts";
import type { Detail, OutputEvent, ScoreRequest, ServedLogprob } from "./protocol.ts";

/** What a run says, as text. Errors: those of the run. */
export async function* outputOf(model: Model, run: Run, detail: Detail): AsyncGenerator<OutputEvent, void> {
  let text = "";
  let tokens = 0;
  let logprobs: ServedLogprob[] | undefined;
  let promptTokens: number | undefined;
  for await (const event of run) {
    if (event.type === "start") promptTokens = event.prompt.length;
    if (event.type === "tokens") {
      text += event.text;
      tokens += event.tokens.length;
      if (event.logprobs) logprobs = [...(logprobs ?? []), ...event.logprobs.map((one) => servedLogprob(model, one))];
    }
    // Only now: until here a request may still turn out to be wrong.
    if (promptTokens !== undefined && (event.type === "tokens" || event.type === "finish")) {
      yield { type: "begin", promptTokens };
      promptTokens = undefined;
    }
    const says = text !== "" || logprobs !== undefined;
    if (says && (event.type === "finish" || (event.type === "tokens" && detail === "stream"))) {
      yield { type: "text", text, tokens, ...(logprobs && { logprobs }) };
      [text, tokens, logprobs] = ["", 0, undefined];
    }
    if (event.type === "finish") {
      const { reason, counters, ending } = event;
      yield { type: "done", reason, counters, ...(ending && { ending: servedLogprob(model, ending) }) };
    }
  }
}

const servedLogprob = (model: Model, { token, text, raw, top = [] }: TokenLogprob): ServedLogprob => ({
  text,
  ...bytesOf(model, token),
  logprob: raw,
  top: top.map((other) => ({ text: other.text, ...bytesOf(model, other.token), logprob: other.raw })),
});

function bytesOf({ tokenizer }: Model, token: number): { bytes?: number[] } {
  if (!tokenizer || token < 0 || token >= tokenizer.vocabularySize) return {};
  const bytes = tokenizer.tokenBytes(token);
  return bytes.length > 0 ? { bytes: Array.from(bytes) } : {};
}

/** Tokens whose keys and values are held at once for texts that are only read. */
const heldAtOnce = 2048;

/**
 * Reads several texts, so many at a time that they share passes and hold no more than a few of them would: a long text goes alone. In the
 * order of the texts.
 */
export async function readAll<Result>(
  texts: readonly (readonly number[])[],
  read: (tokens: readonly number[]) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  while (results.length < texts.length) {
    const from = results.length;
    let to = from + 1;
    let held = texts[from].length;
    while (to < texts.length && held + texts[to].length <= heldAtOnce) held += texts[to++].length;
    results.push(...(await Promise.all(texts.slice(from, to).map(read))));
  }
  return results;
}

/** What an empty prompt is decoded from. Errors: `bad_option` for a model without a begin token. */
export function beginOf({ tokenizer, name }: Model): readonly number[] {
  const begin = tokenizer?.beginToken;
  ensure(
    begin !== undefined,
    "bad_option",
    `the prompt is empty, and the model ${name} has no begin token to decode from`,
  );
  return [begin];
}

/** Of each text its own tokens; the first follows nothing and has no log-probability. Errors: `context_full`, and those of scoring. */
export async function scored(
  model: Model,
  { prompts, top }: ScoreRequest,
  signal: AbortSignal,
): Promise<ServedLogprob[][]> {
  const { tokenizer, forest, name } = model;
  if (!tokenizer) throw new VentrisError("unavailable", `the model ${name} has no tokenizer: nothing can be echoed`);
  const texts = prompts.map((prompt) => {
    if (prompt.length === 0) return beginOf(model);
    return typeof prompt === "string" ? tokenizer.encode(prompt, { most: muchTooLong(forest.contextLength) }) : prompt;
  });
  for (const { length } of texts) {
    if (length <= forest.contextLength) continue;
    throw new VentrisError("context_full", `the prompt has ${length} tokens; the context has ${forest.contextLength}`);
  }
  const bare = (token: number): ServedLogprob => {
    const text = tokenizer.decode([token], { special: true, continued: true });
    return { text, ...bytesOf(model, token), logprob: undefined, top: [] };
  };
  if (top === undefined) return texts.map((ids) => ids.map(bare));
  return readAll(texts, async (ids) => {
    if (ids.length < 2) return ids.map(bare);
    const { tokens } = await model.score(ids, { top, signal });
    return tokens.map(({ token, text, logprob, top: others = [] }) => ({
      text,
      ...bytesOf(model, token),
      logprob,
      // A rounding above 0 is none, as of the token itself: who compares the two finds them equal.
      top: others.map((one) => ({ text: one.text, ...bytesOf(model, one.token), logprob: Math.min(0, one.logprob) })),
    }));
  });
}
