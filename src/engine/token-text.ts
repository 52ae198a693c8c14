/** Texts of single tokens, for log-probabilities and traces. */
import { eventWords } from "../described.ts";
import type { Tokenizer } from "../text/index.ts";
import type { BareLogprob, TokenLogprob, TraceEvent } from "./trace.ts";

const known = new WeakMap<Tokenizer, (string | undefined)[]>();

/**
 * What one token says by itself: special tokens by their names; bytes that make no character alone are U+FFFD, ids that are none (a row
 * that is a vector) nothing.
 */
export function tokenText(tokenizer: Tokenizer | undefined, token: number): string {
  if (!tokenizer || !(token >= 0 && token < tokenizer.vocabularySize)) return "";
  let texts = known.get(tokenizer);
  if (!texts) {
    texts = [];
    known.set(tokenizer, texts);
  }
  texts[token] ??= tokenizer.decode([token], { special: true, continued: true });
  return texts[token];
}

export const withTexts = ({ top, ...one }: BareLogprob, tokenizer: Tokenizer | undefined): TokenLogprob => ({
  ...one,
  text: tokenText(tokenizer, one.token),
  ...(top && { top: top.map((other) => ({ ...other, text: tokenText(tokenizer, other.token) })) }),
});

/** An event as its readers see it: with the request's number, and the text of tokens beside their ids. */
export function annotate(event: TraceEvent, request: number, tokenizer: Tokenizer | undefined): TraceEvent {
  const ids =
    event.type === "start"
      ? event.prompt
      : event.type === "constraint"
        ? event.rejected
        : "tokens" in event && event.tokens;
  const texts = tokenizer && Array.isArray(ids) && ids.length > 0 && ids.map((id) => tokenText(tokenizer, id));
  const one = tokenizer && (event.type === "verify" || event.type === "constraint") ? event.token : undefined;
  return {
    __proto__: eventWords,
    ...event,
    request,
    ...(texts && { texts }),
    ...(one !== undefined && { text: tokenText(tokenizer, one) }),
  } as unknown as TraceEvent;
}
