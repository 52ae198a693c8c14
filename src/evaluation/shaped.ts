/** Likelihood under shapers: a contrast, a memory, instead of the model's own distribution. */
import type { ContinuationScoring } from "../calls.ts";
import type { Model } from "../open.ts";
import type { Pair } from "./choice.ts";
import type { Scored } from "./likelihood.ts";

/** Scores pairs as `scoreContinuations` of likelihood.ts does, those of one context together. */
export function shapedScore(model: Pick<Model, "continuations">, options: ContinuationScoring) {
  return async (pairs: readonly Pair[]): Promise<Scored[]> => {
    const byContext = new Map<string, number[]>();
    for (const [i, { context }] of pairs.entries()) {
      const key = context.join();
      byContext.set(key, [...(byContext.get(key) ?? []), i]);
    }
    const result = new Array<Scored>(pairs.length);
    for (const places of byContext.values()) {
      options.signal?.throwIfAborted();
      const given = { context: pairs[places[0]].context, options: places.map((i) => pairs[i].continuation) };
      const { scores, cut } = await model.continuations(given, options);
      for (const [k, i] of places.entries()) result[i] = { logprob: scores[k].reduce((a, b) => a + b, 0), cut };
    }
    return result;
  };
}
