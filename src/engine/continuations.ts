/** Given texts under a request's distributions: what shapers make of the logits at every place, teacher-forced. */
import { ensure } from "../errors.ts";
import { emptyCounters } from "./decoding.ts";
import type { Extension, ForestNode } from "./forest.ts";
import type { DecodingModel } from "./model.ts";
import { logSumExp } from "./shapers/logprobs.ts";
import { editsOfShapers, joinShapers, type MakeShaper, makeShaper, type Shaper } from "./shapers/shaper.ts";
import { leaseSites } from "./sites/request.ts";

/** A context and what may follow it, as tokens. */
export interface Continuations {
  readonly context: readonly number[];
  /** Token lists that each follow the context. */
  readonly options: readonly (readonly number[])[];
}

/** A number for every token of every continuation. */
export interface ScoredContinuations {
  /** Of each option, a number for each of its tokens. */
  readonly scores: readonly (readonly number[])[];
  /** Tokens of the context that were left out on the left, since the longest option would not fit. */
  readonly cut: number;
}

/** How continuations are scored. */
export interface ContinuationOptions {
  /** What else has a say in the distributions, in order. Default: nothing. */
  readonly shapers?: readonly MakeShaper[];
  /** Log-probabilities under what the shapers leave (default), or their logits as they are: sums of contrasts are published so. */
  readonly normalise?: boolean;
  /** Stands for a token that a shaper rules out. Default -1000. */
  readonly masked?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

/** Errors: `bad_option` for an empty context or option and an option longer than the context, `aborted`, and those of shapers and passes. */
export async function scoreContinuations(
  model: DecodingModel,
  { context, options }: Continuations,
  { shapers: makers = [], normalise = true, masked = -1000, signal }: ContinuationOptions = {},
): Promise<ScoredContinuations> {
  ensure(context.length > 0, "bad_option", "continuations: the context is empty");
  ensure(
    options.length > 0 && options.every((option) => option.length > 0),
    "bad_option",
    "continuations: an option is empty",
  );
  const { forest } = model;
  const shapers: Shaper[] = [];
  const stopUsing = model.use();
  try {
    const stream = { seed: 0, request: 0 };
    for (const make of makers) {
      const host = { model, prompt: context, stream, signal, counters: emptyCounters(), emit: () => {} };
      shapers.push(await makeShaper(make, host));
    }
    const fits = Math.min(forest.contextLength, ...shapers.map((shaper) => shaper.contextLength ?? Infinity));
    const longest = Math.max(...options.map((option) => option.length));
    // The last token of an option is only predicted, so that one more than the context fits.
    const cut = Math.max(0, context.length + longest - 1 - fits);
    ensure(cut < context.length, "bad_option", `continuations: ${longest} tokens exceed the context of ${fits}`);
    return { scores: await scoreAll(context.slice(cut)), cut };
  } finally {
    for (const shaper of shapers) await shaper.close?.();
    stopUsing();
  }

  async function scoreAll(kept: readonly number[]): Promise<number[][]> {
    ensure(!signal?.aborted, "aborted", "scoring was aborted");
    const shaped = joinShapers(shapers);
    const beside = shapers.flatMap((shaper) => shaper.taps ?? []);
    const edits = editsOfShapers(shapers);
    const lease = shaped.watch(forest.lease(leaseSites(model.sites(), [], edits, beside)));
    try {
      const { node: root } = await lease.prefill(kept);
      const scores: number[][] = options.map(([first]) => [scoreAt(root, first)]);
      const rows = options.flatMap((option, o) => option.slice(0, -1).map((token, i) => ({ o, i, token })));
      /** The last node of each option so far. */
      const tips: ForestNode[] = options.map(() => root);
      for (let start = 0; start < rows.length; start += forest.maxRows) {
        ensure(!signal?.aborted, "aborted", "scoring was aborted");
        const part = rows.slice(start, start + forest.maxRows);
        const nodes = await lease.extend(
          part.map(({ o, i, token }, k): Extension => {
            const continues = k > 0 && i > 0 && part[k - 1].o === o;
            return { parent: continues ? k - 1 : tips[o], token };
          }),
        );
        for (const [k, { o, i }] of part.entries()) {
          scores[o].push(scoreAt(nodes[k], options[o][i + 1]));
          tips[o] = nodes[k];
        }
      }
      return scores;
    } finally {
      lease.close();
    }

    function scoreAt(node: ForestNode, token: number): number {
      const logits = shaped.logits(node);
      ensure(logits, "internal", "a scored row has no logits");
      if (logits[token] === -Infinity) return masked;
      return normalise ? logits[token] - logSumExp(logits) : logits[token];
    }
  }
}
