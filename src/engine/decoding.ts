/**
 * One request as its method sees it: the prompt in the forest, the shaped distribution at any node, and `commit`, which turns
 * tokens into output and says when to stop.
 */
import { z } from "zod";
import { ensure } from "../errors.ts";
import { createDetokenizer } from "../text/index.ts";
import { drawFrom } from "./distribution.ts";
import type { Forest, ForestNode, Lease } from "./forest.ts";
import type { Model } from "./model.ts";
import { type Stream, uniform } from "./random.ts";
import { createShaperChain } from "./shapers/chain.ts";
import { logSoftmaxAt, logSumExp, topLogprobs } from "./shapers/logprobs.ts";
import { shapingOptions } from "./shapers/options.ts";
import { createStopper, minTokensStage, stoppingOptions } from "./stopping.ts";
import type { Counters, FinishReason, TokenLogprob, TraceEvent } from "./trace.ts";

export const requestOptions = z.strictObject({
  ...shapingOptions.shape,
  ...stoppingOptions.shape,
  maxTokens: z.int().min(1).max(1_000_000).default(256).describe("longest output, in tokens"),
  seed: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("seed of all random draws; the same seed gives the same output"),
  request: z.int().min(0).default(0).describe("number of the request under its seed: another number, other draws"),
  logprobs: z
    .int()
    .min(0)
    .max(100)
    .optional()
    .describe("report log-probabilities, with this many alternatives a token"),
});
export type RequestOptions = z.input<typeof requestOptions>;
export type RequestSettings = z.output<typeof requestOptions>;

/** A committed token and the node whose distribution it was chosen from. */
export interface Commitment {
  readonly token: number;
  readonly from: ForestNode;
}

export interface Decoding {
  readonly model: Model;
  readonly forest: Forest;
  readonly lease: Lease;
  readonly prompt: readonly number[];
  /** Committed output so far, end token excluded. */
  readonly output: readonly number[];
  readonly settings: RequestSettings;
  readonly stream: Stream;
  readonly signal: AbortSignal | undefined;
  /** Temperature 0. */
  readonly greedy: boolean;
  readonly finished: boolean;
  /** Tokens that may still be committed: by maxTokens and by the context. */
  readonly remaining: number;
  readonly counters: Counters;
  /** The node of the last prompt token, with logits. Runs the prefill when first called. */
  prefill(): Promise<ForestNode>;
  /** The shaped next-token distribution after a node, [vocabulary]. Computed at each call: keep it. */
  shape(node: ForestNode): Float64Array;
  /**
   * The token that plain decoding emits after a node: the most likely one, or the draw with the random number that belongs to the
   * position. Lossless methods that only choose where to look call this too, and so emit the very tokens of plain decoding.
   */
  choose(node: ForestNode): number;
  /** Makes tokens output, in order. Stops at the first that finishes the run; returns how many were taken. */
  commit(tokens: readonly Commitment[]): number;
  emit(event: TraceEvent): void;
  /** Ends the run, for a method that has nothing more to say. */
  finish(reason: FinishReason): void;
}

export interface DecodingParts {
  model: Model;
  prompt: readonly number[];
  settings: RequestSettings;
  signal: AbortSignal | undefined;
  emit(event: TraceEvent): void;
}

export interface Outcome {
  reason: FinishReason;
  stop: string | undefined;
  text: string;
  tokens: readonly number[];
  logprobs: readonly TokenLogprob[] | undefined;
  counters: Counters;
  seconds: { prefill: number; decode: number };
}

export function createDecoding({
  model,
  prompt,
  settings,
  signal,
  emit,
}: DecodingParts): Decoding & { outcome(): Outcome; close(): void } {
  const { forest, tokenizer, config } = model;
  const { seed, request, logprobs: alternatives, maxTokens, ...rest } = settings;
  const shaping = Object.fromEntries(
    Object.keys(shapingOptions.shape).map((key) => [key, rest[key as keyof typeof rest]]),
  );
  const endTokens = tokenizer?.endTokens.length ? tokenizer.endTokens : config.endTokens;
  const chain = createShaperChain(shaping, config.vocabularySize, tokenizer, {
    minTokens: minTokensStage(settings.minTokens, [...endTokens, ...settings.stopTokens]),
  });
  ensure(
    tokenizer || settings.stop.length === 0,
    "bad_option",
    "stop: stop strings need a tokenizer, and this model has none",
  );
  const stopper = createStopper(
    { stop: settings.stop, stopTokens: settings.stopTokens, maxTokens, minTokens: settings.minTokens },
    endTokens,
  );
  const detokenizer = tokenizer && createDetokenizer(tokenizer, { continued: prompt.length > 0 });
  const lease = forest.lease();
  const stream: Stream = { seed, request };
  const output: number[] = [];
  const collected: TokenLogprob[] = [];
  let text = "";
  let reason: FinishReason | undefined;
  let stop: string | undefined;
  let prefilled: Promise<ForestNode> | undefined;
  let prefillPasses = 0;
  let prefillSeconds = 0;
  let decodeStarted = performance.now();
  let decodeSeconds = 0;
  const counters: Counters = {
    passes: 0,
    rows: 0,
    prefillTokens: 0,
    cachedTokens: 0,
    generated: 0,
    tokensPerPass: 0,
    drafted: 0,
    accepted: 0,
    draftPasses: 0,
    constraintChecks: 0,
  };

  function contextOf(node: ForestNode) {
    const position = node.depth + 1;
    if (!chain.needsHistory) return { history: [], promptLength: prompt.length, position, stream };
    const history = new Array<number>(position);
    for (let at: ForestNode | undefined = node; at; at = at.parent) history[at.depth] = at.token;
    return { history, promptLength: prompt.length, position, stream };
  }

  function logitsOf(node: ForestNode): Float32Array {
    ensure(node.logits, "internal", "a distribution was asked for at a node without logits");
    return node.logits;
  }

  const shape = (node: ForestNode): Float64Array => chain.shape(logitsOf(node), contextOf(node));

  function describe({ token, from }: Commitment): TokenLogprob {
    const logits = logitsOf(from);
    const normaliser = logSumExp(logits);
    const shaped = Math.log(shape(from)[token]);
    const top = alternatives ? { top: topLogprobs(logits, alternatives, normaliser) } : {};
    return { token, raw: logSoftmaxAt(logits, token, normaliser), shaped, ...top };
  }

  function end(why: FinishReason): void {
    if (reason) return;
    reason = why;
    const tail = stop === undefined && detokenizer ? stopper.push(detokenizer.flush()) : { text: "", stopped: stop };
    if (tail.stopped !== undefined && why !== "aborted") [reason, stop] = ["stop", tail.stopped];
    const last = tail.text + (tail.stopped === undefined ? stopper.flush() : "");
    if (last) {
      text += last;
      emit({ type: "tokens", tokens: [], text: last });
    }
    decodeSeconds = (performance.now() - decodeStarted) / 1000;
  }

  function updateCounters(): void {
    counters.passes = lease.passes;
    counters.rows = lease.rows;
    const decodePasses = lease.passes - prefillPasses;
    // The first token comes from the prefill's last pass, so that plain decoding has exactly one token a pass.
    counters.tokensPerPass = decodePasses > 0 ? (counters.generated - 1) / decodePasses : counters.generated;
  }

  return {
    model,
    forest,
    lease,
    prompt,
    output,
    settings,
    stream,
    signal,
    greedy: chain.greedy,
    counters,
    get finished() {
      if (signal?.aborted) end("aborted");
      return reason !== undefined;
    },
    get remaining() {
      return Math.min(maxTokens - counters.generated, forest.contextLength - prompt.length - counters.generated + 1);
    },
    prefill() {
      prefilled ??= (async () => {
        const started = performance.now();
        const { node, computed, cached, passes } = await lease.prefill(prompt);
        prefillPasses = lease.passes;
        counters.prefillTokens = computed;
        counters.cachedTokens = cached;
        prefillSeconds = (performance.now() - started) / 1000;
        decodeStarted = performance.now();
        emit({ type: "prefill", tokens: computed, cached, passes, seconds: prefillSeconds });
        return node;
      })();
      return prefilled;
    },
    shape,
    choose(node) {
      if (chain.greedy) return chain.choose(logitsOf(node), contextOf(node));
      return drawFrom(shape(node), uniform(stream, node.depth + 1, "sample"));
    },
    commit(commitments) {
      let taken = 0;
      let fresh = "";
      const tokens: number[] = [];
      const described: TokenLogprob[] = [];
      for (const commitment of commitments) {
        if (reason) break;
        const { token } = commitment;
        taken += 1;
        counters.generated += 1;
        const verdict = stopper.accept(token);
        if (verdict === "stop" || verdict === "end") {
          // The token that ends a text is no part of it.
          end(verdict);
          break;
        }
        output.push(token);
        tokens.push(token);
        if (alternatives !== undefined) described.push(describe(commitment));
        if (detokenizer) {
          const piece = stopper.push(detokenizer.push(token));
          fresh += piece.text;
          if (piece.stopped !== undefined) stop = piece.stopped;
        }
        if (stop !== undefined) break;
        if (verdict === "length" || commitment.from.depth + 2 > forest.contextLength) break;
      }
      text += fresh;
      collected.push(...described);
      updateCounters();
      if (tokens.length > 0) {
        emit({ type: "tokens", tokens, text: fresh, ...(alternatives !== undefined && { logprobs: described }) });
      }
      if (!reason) {
        if (stop !== undefined) end("stop");
        else if (counters.generated >= maxTokens) end("length");
        else if (prompt.length + counters.generated > forest.contextLength) end("context");
      }
      return taken;
    },
    emit,
    finish: end,
    outcome() {
      ensure(reason, "internal", "the method returned before its run was finished");
      updateCounters();
      return {
        reason,
        stop,
        text,
        tokens: output,
        logprobs: alternatives === undefined ? undefined : collected,
        counters,
        seconds: { prefill: prefillSeconds, decode: decodeSeconds },
      };
    },
    close: () => lease.close(),
  };
}
