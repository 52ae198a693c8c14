/** Perplexity of a model on texts: per token, byte and word, with bootstrap intervals over the documents. */
import { uniform } from "../engine/random.ts";
import { ensure } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Scorer, scoreContinuations } from "./likelihood.ts";

export interface Estimate {
  readonly value: number;
  /** 95 %, over the documents. */
  readonly interval: readonly [number, number];
}

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
  const kept = overlap ?? Math.floor(contextLength / 2);
  ensure(kept >= 1 && kept < contextLength, "bad_option", `the overlap ${kept} must lie in [1, ${contextLength - 1}]`);
  const documents: Document[] = [];
  for await (const text of texts) {
    const { tokenizer } = model;
    const ids = tokenizer.encode(text, { special: false });
    const whole = tokenizer.beginToken === undefined ? ids : [tokenizer.beginToken, ...ids];
    if (whole.length < 2) continue;
    const pairs: { context: number[]; continuation: number[] }[] = [];
    for (let at = 1; at < whole.length; ) {
      // Of the first window everything is predicted; of later ones what the overlap leaves.
      const end = Math.min(whole.length, at + (at === 1 ? contextLength : contextLength - kept));
      pairs.push({
        context: whole.slice(Math.max(0, end - 1 - contextLength), at),
        continuation: whole.slice(at, end),
      });
      at = end;
    }
    const scored = await scoreContinuations(model, pairs, signal);
    documents.push({
      nats: -scored.reduce((sum, { logprob }) => sum + logprob, 0),
      tokens: whole.length - 1,
      bytes: new TextEncoder().encode(text).length,
      words: text.split(/\s+/).filter((word) => word !== "").length,
    });
    onProgress?.(documents.length);
  }
  ensure(documents.length > 0, "bad_option", "perplexity: the texts hold nothing to predict");
  const total = (of: keyof Document) => documents.reduce((sum, document) => sum + document[of], 0);
  const rate = (unit: "tokens" | "bytes" | "words") => ratioOfSums(documents, "nats", unit, seed);
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

const mapped = ({ value, interval: [low, high] }: Estimate, map: (x: number) => number): Estimate => ({
  value: map(value),
  interval: [map(low), map(high)],
});

/** A ratio of sums with its percentile bootstrap interval (1000 resamples of the documents). */
function ratioOfSums(
  documents: readonly Document[],
  over: keyof Document,
  under: keyof Document,
  seed: number,
): Estimate {
  const ratio = (pick: (i: number) => Document): number => {
    let [top, bottom] = [0, 0];
    for (let i = 0; i < documents.length; i++) {
      const document = pick(i);
      top += document[over];
      bottom += document[under];
    }
    return top / bottom;
  };
  const resamples = Array.from({ length: 1000 }, (_, request) =>
    ratio((i) => documents[Math.floor(uniform({ seed, request }, i, "data") * documents.length)]),
  ).sort((a, b) => a - b);
  return { value: ratio((i) => documents[i]), interval: [resamples[25], resamples[974]] };
}
