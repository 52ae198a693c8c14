/** How well a draft foresees its model: what the rules of speculative decoding accept on given texts. */
import { ensure } from "../errors.ts";
import { familyNamed } from "../models/families.ts";
import type { ModelConfig } from "../models/family.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { documentTokens, keptOverlap, windowsOf } from "../text/windows.ts";
import { type Estimate, ratioOfSums } from "./bootstrap.ts";
import type { Scorer } from "./likelihood.ts";

export interface DraftMeasurement {
  readonly documents: number;
  readonly positions: number;
  /** Mean over the positions of the sum over tokens of min(p, q): the chance that a drafted token is accepted (Leviathan et al. 2023, theorem 3.5). */
  readonly acceptance: Estimate;
  /** Share of positions whose most likely tokens are the same: what greedy decoding accepts. */
  readonly agreement: Estimate;
  /** Mean of D(p || q), nats. */
  readonly divergence: Estimate;
}

export interface DraftOptions {
  /** Of both distributions; default 1. */
  readonly temperature?: number;
  readonly overlap?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (documents: number) => void;
}

type Compared = Scorer & { readonly tokenizer: Tokenizer };

/**
 * Compares the next-token distributions p of the model and q of the draft at every position of the texts. Errors: `bad_option` where they
 * have different vocabularies, or there is nothing to measure.
 */
export async function measureDraft(
  model: Compared,
  draft: Compared,
  texts: AsyncIterable<string> | Iterable<string>,
  { temperature = 1, overlap, seed = 0, signal, onProgress }: DraftOptions = {},
): Promise<DraftMeasurement> {
  const { vocabularySize } = model.config;
  ensure(
    draft.config.vocabularySize === vocabularySize && draft.tokenizer.fingerprint === model.tokenizer.fingerprint,
    "bad_option",
    "the draft has another tokenizer than the model, so that their tokens cannot be compared",
  );
  const contextLength = Math.min(model.config.contextLength, draft.config.contextLength);
  const kept = keptOverlap(contextLength, overlap);
  const [positions, accepted, agreed, divergence]: number[][] = [[], [], [], []];
  for await (const text of texts) {
    const tokens = documentTokens(model.tokenizer, text);
    if (tokens.length < 2) continue;
    const sums = { overlap: 0, agreed: 0, divergence: 0 };
    for (const { context, continuation } of windowsOf(tokens, contextLength, kept)) {
      signal?.throwIfAborted();
      const whole = [...context, ...continuation.slice(0, -1)];
      const logits = continuation.map((_, i) => context.length - 1 + i);
      const [{ logits: of }] = await model.forward([{ tokens: whole, logits }]);
      const [{ logits: by }] = await draft.forward([{ tokens: whole, logits }]);
      for (let row = 0; row < continuation.length; row++) {
        const at = row * vocabularySize;
        const found = compareRows(
          of.subarray(at, at + vocabularySize),
          by.subarray(at, at + vocabularySize),
          temperature,
        );
        sums.overlap += found.overlap;
        sums.agreed += found.agrees ? 1 : 0;
        sums.divergence += found.divergence;
      }
    }
    positions.push(tokens.length - 1);
    accepted.push(sums.overlap);
    agreed.push(sums.agreed);
    divergence.push(sums.divergence);
    onProgress?.(positions.length);
  }
  ensure(positions.length > 0, "bad_option", "draft: the texts hold nothing to predict");
  return {
    documents: positions.length,
    positions: positions.reduce((a, b) => a + b),
    acceptance: ratioOfSums(accepted, positions, seed),
    agreement: ratioOfSums(agreed, positions, seed),
    divergence: ratioOfSums(divergence, positions, seed),
  };
}

/** Of p = softmax(of / temperature) and q likewise: the sum of minima, whether both have the same maximum (the first of equals), D(p || q). */
export function compareRows(of: Float32Array, by: Float32Array, temperature: number) {
  const [p, q] = [normalised(of, temperature), normalised(by, temperature)];
  let [overlap, divergence] = [0, 0];
  for (let i = 0; i < of.length; i++) {
    const [x, y] = [of[i] / temperature - p.log, by[i] / temperature - q.log];
    const mass = Math.exp(x);
    overlap += Math.min(mass, Math.exp(y));
    if (mass > 0) divergence += mass * (x - y);
  }
  return { overlap, agrees: p.best === q.best, divergence };
}

/** The most likely token, and the logarithm of the sum of exponentials, in float64. */
function normalised(logits: Float32Array, temperature: number): { best: number; log: number } {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let sum = 0;
  for (const x of logits) sum += Math.exp((x - logits[best]) / temperature);
  return { best, log: logits[best] / temperature + Math.log(sum) };
}

/** Multiply-adds that the matrices of a model take for a token: a table of rows that are only looked up costs none. */
export function workPerToken(config: ModelConfig): number {
  let work = 0;
  for (const { name, shape } of familyNamed(config.architecture).parameters(config)) {
    const looked = /\bwpe\b/.test(name) || (!config.tied && /\b(embed_tokens|embed_in|wte)\b/.test(name));
    if (shape.length === 2 && !looked) work += shape[0] * shape[1];
  }
  return work;
}
