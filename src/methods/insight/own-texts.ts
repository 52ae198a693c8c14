/** Texts that a model writes itself: what to look inside on where nobody gave any. */
import { ensure } from "../../errors.ts";
import type { Tokenizer } from "../../text/index.ts";

/** What of an open model this needs. */
export interface Writing {
  readonly tokenizer: Tokenizer | undefined;
  decode(
    prompt: readonly number[],
    options: {
      temperature: number;
      minTokens: number;
      maxTokens: number;
      seed: number;
      request: number;
      signal?: AbortSignal;
    },
  ): { readonly final: Promise<{ readonly tokens: readonly number[] }> };
}

export interface OwnTextsOptions {
  readonly count?: number;
  /** Of each, beside its opening. */
  readonly tokens?: number;
  /** Texts begin with them in turn. */
  readonly openings?: readonly string[];
  /** Default 1, the model's own distribution; lower reads better. */
  readonly temperature?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** Token ids of `count` sampled texts with their openings. Errors: `bad_option` without a tokenizer; those of decoding. */
export async function ownTexts(
  model: Writing,
  { count = 64, tokens = 96, openings = ["Once upon a time"], temperature = 1, seed = 0, signal }: OwnTextsOptions = {},
): Promise<number[][]> {
  const { tokenizer } = model;
  ensure(tokenizer, "bad_option", "the model has no tokenizer, so that it cannot begin a text");
  const begins = openings.map((opening) => [...tokenizer.encode(opening)]);
  const runs = Array.from({ length: count }, async (_, request) => {
    const begin = begins[request % begins.length];
    const options = { temperature, minTokens: tokens, maxTokens: tokens, seed, request, signal };
    return [...begin, ...(await model.decode(begin, options).final).tokens];
  });
  return Promise.all(runs);
}
