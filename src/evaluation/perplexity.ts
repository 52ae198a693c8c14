/** Perplexity of a model on texts: per token, byte and word, with bootstrap intervals over the documents. */
import { ensure } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Estimate, mapped, ratioOfSums } from "./bootstrap.ts";
import { type Scorer, scoreContinuations } from "./likelihood.ts";
import { documentTokens, keptOverlap, windowsOf } from "./windows.ts";

export type { Estimate } from "./bootstrap.ts";

export interface Perplexity {
  readonly documents: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly words: number;
  /** exp of the mean loss a token, byte, word. */
  readonly perToken: Estimate;
  readonly perByte: Estimate;
  readonly perWord: Estimate;
  /** log2 of the one per byte. */
  readonly bitsPerByte: Estimate;
}

interface Document {
  readonly nats: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly words: number;
}

export interface PerplexityOptions {
  /** Tokens that a token sees at least, where the text is longer than the context; default: half of the context. */
  readonly overlap?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (documents: number) => void;
}

/**
 * Every token of every document is predicted once, from the begin token (or, without one, all but the first) and as much before it as
 * the context holds. Errors: `bad_option` when there is nothing to measure.
 */
export async function measurePerplexity(
  model: Scorer & { readonly tokenizer: Tokenizer },
  texts: AsyncIterable<string> | Iterable<string>,
  { overlap, seed = 0, signal, onProgress }: PerplexityOptions = {},
): Promise<Perplexity> {
  const { contextLength } = model.config;
  const kept = keptOverlap(contextLength, overlap);
  const documents: Document[] = [];
  for await (const text of texts) {
    const whole = documentTokens(model.tokenizer, text);
    if (whole.length < 2) continue;
    const scored = await scoreContinuations(model, windowsOf(whole, contextLength, kept), signal);
    documents.push({
      nats: -scored.reduce((sum, { logprob }) => sum + logprob, 0),
      tokens: whole.length - 1,
      bytes: new TextEncoder().encode(text).length,
      words: text.split(/\s+/).filter((word) => word !== "").length,
    });
    onProgress?.(documents.length);
  }
  ensure(documents.length > 0, "bad_option", "perplexity: the texts hold nothing to predict");
  const column = (of: keyof Document) => documents.map((document) => document[of]);
  const total = (of: keyof Document) => column(of).reduce((a, b) => a + b, 0);
  const rate = (unit: "tokens" | "bytes" | "words") => ratioOfSums(column("nats"), column(unit), seed);
  const [token, byte, word] = [rate("tokens"), rate("bytes"), rate("words")];
  return {
    documents: documents.length,
    tokens: total("tokens"),
    bytes: total("bytes"),
    words: total("words"),
    perToken: mapped(token, Math.exp),
    perByte: mapped(byte, Math.exp),
    perWord: mapped(word, Math.exp),
    bitsPerByte: mapped(byte, (nats) => nats / Math.LN2),
  };
}
