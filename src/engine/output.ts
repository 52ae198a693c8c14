/** What a run has said so far: tokens become output in order, their text follows as it becomes final, and something ends it. */
import { ensure } from "../errors.ts";
import { createDetokenizer, type Tokenizer } from "../text/index.ts";
import type { ForestNode } from "./forest.ts";
import { createStopper, type StoppingOptions } from "./stopping.ts";
import { withTexts } from "./token-text.ts";
import type { BareLogprob, FinishReason, TokenLogprob, TraceEvent } from "./trace.ts";

/** A committed token and the node whose distribution it was chosen from. */
export interface Commitment {
  readonly token: number;
  readonly from: ForestNode;
}

/** One of several texts that a search found. */
export interface Hypothesis {
  readonly text: string;
  readonly tokens: readonly number[];
  /** What the method ranks by. */
  readonly score: number;
  /** Natural log of its probability under the shaped distributions. */
  readonly logprob: number;
  /** Of searches in groups. */
  readonly group?: number;
  /** It ended by itself, and was not cut off. */
  readonly finished: boolean;
}

export interface Output<From extends { readonly token: number } = Commitment> {
  /** The token that ends a text excluded. */
  readonly tokens: readonly number[];
  /** Of `tokens`, where they were asked for. */
  readonly logprobs: readonly TokenLogprob[];
  /** Of the token that ended the text, where they were asked for. */
  readonly ending: TokenLogprob | undefined;
  readonly text: string;
  /** Tokens chosen, the one that ended the text included. */
  readonly generated: number;
  /** Tokens that may still be committed: by maxTokens and by the context, and none once it has ended. */
  readonly remaining: number;
  /** Why it ended, and the stop string if one did; undefined while it goes on. */
  readonly reason: FinishReason | undefined;
  readonly stop: string | undefined;
  /** Of `performance.now()`. */
  readonly endedAt: number | undefined;
  /** Makes tokens output. Stops at the first that ends the run; returns how many were taken. */
  commit(commitments: readonly From[]): number;
  /** Ends it with what is there, if it has not ended yet. */
  end(why: FinishReason): void;
}

export interface OutputParts<From extends { readonly token: number } = Commitment> extends Required<StoppingOptions> {
  tokenizer: Tokenizer | undefined;
  endTokens: readonly number[];
  promptLength: number;
  contextLength: number;
  /** Log-probabilities of a token; absent where nobody asked for them. */
  describe: ((commitment: From) => BareLogprob) | undefined;
  /** Whether nothing else could have been committed; absent where nothing restricts the output. */
  forced?: (commitment: From) => boolean;
  emit(event: TraceEvent): void;
}

/** Errors: `bad_option` for stop strings without a tokenizer. */
export function createOutput<From extends { readonly token: number } = Commitment>(
  parts: OutputParts<From>,
): Output<From> {
  const { tokenizer, endTokens, promptLength, contextLength, describe, forced, emit, ...stopping } = parts;
  ensure(
    tokenizer || stopping.stop.length === 0,
    "bad_option",
    "stop: stop strings need a tokenizer, and this model has none",
  );
  const stopper = createStopper(stopping, endTokens);
  const detokenizer = tokenizer && createDetokenizer(tokenizer, { continued: promptLength > 0 });
  const tokens: number[] = [];
  const logprobs: TokenLogprob[] = [];
  let ending: TokenLogprob | undefined;
  let text = "";
  let generated = 0;
  let reason: FinishReason | undefined;
  let stop: string | undefined;
  let endedAt: number | undefined;

  const remaining = (): number =>
    Math.min(stopping.maxTokens - generated, contextLength - promptLength - generated + 1);

  /** Takes one token: its text as far as it may be shown, and why the output ends with it, if it does. */
  function take(token: number): { text: string; ends?: FinishReason; dropped?: boolean } {
    generated += 1;
    const verdict = stopper.accept(token);
    if (verdict === "stop" || verdict === "end") return { text: "", ends: verdict, dropped: true };
    tokens.push(token);
    const piece = detokenizer ? stopper.push(detokenizer.push(token)) : { text: "" };
    stop = piece.stopped;
    if (stop !== undefined) return { text: piece.text, ends: "stop" };
    if (verdict) return { text: piece.text, ends: verdict };
    return { text: piece.text, ...(remaining() <= 0 && { ends: "context" }) };
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
    endedAt = performance.now();
  }

  return {
    tokens,
    logprobs,
    get ending() {
      return ending;
    },
    get text() {
      return text;
    },
    get generated() {
      return generated;
    },
    get remaining() {
      return reason === undefined ? remaining() : 0;
    },
    get reason() {
      return reason;
    },
    get stop() {
      return stop;
    },
    get endedAt() {
      return endedAt;
    },
    commit(commitments) {
      if (reason) return 0;
      let taken = 0;
      let fresh = "";
      let ends: FinishReason | undefined;
      const first = tokens.length;
      const described: TokenLogprob[] = [];
      const only: number[] = [];
      while (taken < commitments.length && !ends) {
        const commitment = commitments[taken++];
        const piece = take(commitment.token);
        fresh += piece.text;
        ends = piece.ends;
        if (forced && !piece.dropped && forced(commitment)) only.push(tokens.length - 1 - first);
        if (!describe) continue;
        const one = withTexts(describe(commitment), tokenizer);
        if (piece.dropped) ending = one;
        else described.push(one);
      }
      text += fresh;
      logprobs.push(...described);
      if (tokens.length > first) {
        const more = { ...(describe && { logprobs: described }), ...(only.length > 0 && { forced: only }) };
        emit({ type: "tokens", tokens: tokens.slice(first), text: fresh, ...more });
      }
      // Only now: what is still held back comes after the text of these tokens.
      if (ends) end(ends);
      return taken;
    },
    end,
  };
}
