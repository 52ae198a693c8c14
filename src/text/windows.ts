/** A document in windows of a model's context, in which each token is predicted once. */
import { ensure } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Window {
  readonly context: readonly number[];
  /** What is predicted, token by token. */
  readonly continuation: readonly number[];
}

/** Errors: `bad_option`. */
export function keptOverlap(contextLength: number, overlap: number | undefined): number {
  const kept = overlap ?? Math.floor(contextLength / 2);
  ensure(kept >= 1 && kept < contextLength, "bad_option", `the overlap ${kept} must lie in [1, ${contextLength - 1}]`);
  return kept;
}

/** The tokens of a document, after the begin token where there is one: it is what the first token is predicted from. */
export function documentTokens(
  { beginToken, encode }: Pick<Tokenizer, "beginToken" | "encode">,
  text: string,
): number[] {
  const ids = encode(text, { special: false });
  return beginToken === undefined ? ids : [beginToken, ...ids];
}

export interface Stretch {
  readonly tokens: readonly number[];
  /** How many of them, at the start, are not the document's own here: a begin token. */
  readonly lead: number;
  /** Where the first of its own stands in the document. */
  readonly from: number;
}

/** A document in stretches of at most `length` tokens that share none, the later ones after a begin token where there is one. */
export function* stretchesOf(document: readonly number[], length: number, beginToken?: number): Generator<Stretch> {
  for (let from = 0; from < document.length; ) {
    const lead = from > 0 && beginToken !== undefined && length > 1 ? [beginToken] : [];
    const own = document.slice(from, from + length - lead.length);
    yield { tokens: [...lead, ...own], lead: lead.length, from };
    from += own.length;
  }
}

/** Of the first window everything is predicted; of later ones what the overlap leaves: `kept` tokens are seen at least. */
export function windowsOf(tokens: readonly number[], contextLength: number, kept: number): Window[] {
  const windows: Window[] = [];
  for (let at = 1; at < tokens.length; ) {
    const end = Math.min(tokens.length, at + (at === 1 ? contextLength : contextLength - kept));
    windows.push({
      context: tokens.slice(Math.max(0, end - 1 - contextLength), at),
      continuation: tokens.slice(at, end),
    });
    at = end;
  }
  return windows;
}
