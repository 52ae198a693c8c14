/** Log-probabilities of texts under a model: what perplexities and multiple choice are made of. */
import type { ForwardSequence } from "../engine/forward/input.ts";
import { ensure } from "../errors.ts";

/** What is asked of a model here; `Model` has it. */
export interface Scorer {
  readonly config: { readonly contextLength: number; readonly vocabularySize: number };
  forward(sequences: readonly ForwardSequence[]): Promise<{ readonly logits: Float32Array }[]>;
}

export interface Scored {
  /** Sum over the continuation's tokens, nats. */
  readonly logprob: number;
  /** Tokens of the context that were left out on the left, since the whole would exceed the model's context. */
  readonly cut: number;
}

/** Rows of one pass: enough to keep the cores busy, few enough for their logits. */
const rowsTogether = 1024;

/**
 * log p(continuation | context) for each pair of token lists, neither empty. Errors: `bad_option` for a continuation longer than the
 * model's context.
 */
export async function scoreContinuations(
  model: Scorer,
  pairs: readonly { readonly context: readonly number[]; readonly continuation: readonly number[] }[],
  signal?: AbortSignal,
): Promise<Scored[]> {
  const { contextLength, vocabularySize } = model.config;
  const laid = pairs.map(({ context, continuation }) => {
    ensure(
      context.length > 0 && continuation.length > 0,
      "bad_option",
      "scoring: a context or a continuation is empty",
    );
    ensure(
      continuation.length <= contextLength,
      "bad_option",
      `scoring: a continuation of ${continuation.length} tokens exceeds the context of ${contextLength}`,
    );
    // The last token is only predicted, so that one more than the context fits.
    const whole = [...context, ...continuation];
    const cut = Math.max(0, whole.length - 1 - contextLength);
    return { tokens: whole.slice(cut, -1), targets: continuation, cut };
  });
  const results = new Array<Scored>(pairs.length);
  // Equal lengths together: a pass is as long as its longest sequence.
  const order = laid.map((_, i) => i).sort((a, b) => laid[a].tokens.length - laid[b].tokens.length);
  for (let at = 0; at < order.length; ) {
    signal?.throwIfAborted();
    const longest = (count: number) => laid[order[at + count - 1]].tokens.length;
    let count = 1;
    while (at + count < order.length && (count + 1) * longest(count + 1) <= rowsTogether) count++;
    const chosen = order.slice(at, at + count);
    const outputs = await model.forward(
      chosen.map((i) => {
        const { tokens, targets } = laid[i];
        const first = tokens.length - targets.length;
        return { tokens, logits: targets.map((_, k) => first + k) };
      }),
    );
    for (const [k, i] of chosen.entries()) {
      const { targets, cut } = laid[i];
      const { logits } = outputs[k];
      let logprob = 0;
      targets.forEach((token, row) => {
        logprob += logProbability(logits.subarray(row * vocabularySize, (row + 1) * vocabularySize), token);
      });
      results[i] = { logprob, cut };
    }
    at += count;
  }
  return results;
}

/** log softmax(logits)[token], summed in float64. */
export function logProbability(logits: Float32Array, token: number): number {
  let largest = -Infinity;
  for (const x of logits) if (x > largest) largest = x;
  let sum = 0;
  for (const x of logits) sum += Math.exp(x - largest);
  return logits[token] - largest - Math.log(sum);
}
