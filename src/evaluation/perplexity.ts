/** Perplexity of a model on texts: per token, byte and word, with bootstrap intervals over the documents. */
import { ensure } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { documentTokens, keptOverlap, windowsOf } from "../text/windows.ts";
import { type Estimate, mapped, ratioOfSums } from "./bootstrap.ts";
import type { NgramModel } from "./kneser-ney.ts";
import { type Scorer, scoreContinuations } from "./likelihood.ts";

export type { Estimate } from "./bootstrap.ts";

export interface Perplexity extends Rates {
  readonly documents: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly words: number;
  /** The same tokens under the n-grams of `PerplexityOptions.baseline`, and how many nats a byte the model needs less. */
  readonly baseline?: Rates & { readonly gain: Estimate };
}

export interface Rates {
  /** exp of the mean loss a token, byte, word. */
  readonly perToken: Estimate;
  readonly perByte: Estimate;
  readonly perWord: Estimate;
  /** log2 of the one per byte. */
  readonly bitsPerByte: Estimate;
}

interface Document {
  readonly nats: number;
  /** Of the baseline; 0 without one. */
  readonly others: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly words: number;
}

export interface PerplexityOptions {
  /** Tokens that a token sees at least, where the text is longer than the context; default: half of the context. */
  readonly overlap?: number;
  readonly seed?: number;
  /** Of the same tokenizer. */
  readonly baseline?: NgramModel;
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
  { overlap, seed = 0, baseline, signal, onProgress }: PerplexityOptions = {},
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
      others: baseline ? -baseline.logProbabilities(whole).reduce((a, b) => a + b, 0) : 0,
      tokens: whole.length - 1,
      bytes: new TextEncoder().encode(text).length,
      words: text.split(/\s+/).filter((word) => word !== "").length,
    });
    onProgress?.(documents.length);
  }
  ensure(documents.length > 0, "bad_option", "perplexity: the texts hold nothing to predict");
  const column = (of: keyof Document) => documents.map((document) => document[of]);
  const total = (of: keyof Document) => column(of).reduce((a, b) => a + b, 0);
  const rates = (nats: readonly number[]): Rates => {
    const rate = (unit: "tokens" | "bytes" | "words") => ratioOfSums(nats, column(unit), seed);
    const byte = rate("bytes");
    return {
      perToken: mapped(rate("tokens"), Math.exp),
      perByte: mapped(byte, Math.exp),
      perWord: mapped(rate("words"), Math.exp),
      bitsPerByte: mapped(byte, (nats) => nats / Math.LN2),
    };
  };
  const less = documents.map(({ nats, others }) => others - nats);
  return {
    documents: documents.length,
    tokens: total("tokens"),
    bytes: total("bytes"),
    words: total("words"),
    ...rates(column("nats")),
    ...(baseline && { baseline: { ...rates(column("others")), gain: ratioOfSums(less, column("bytes"), seed) } }),
  };
}
