/** Events of a streamed completion or chat as pieces of text, with the log-probabilities that the engine gave. */
import { z } from "zod";
import { shown, VentrisError } from "../../errors.ts";

export interface Piece {
  readonly text: string;
  /** Natural log under the engine's own distribution; undefined where it gave none. */
  readonly logprob: number | undefined;
  /** The likeliest tokens there, where they were asked for, in order. */
  readonly top: readonly { readonly text: string; readonly logprob: number }[];
  /** How many tokens it is: more than one where the engine's own are not told apart. */
  readonly tokens: number;
}

export interface Answered {
  readonly pieces: readonly Piece[];
  /** The token that ended the text, where the engine tells of it. */
  readonly ending?: Piece;
  /** Why the text ends here; undefined where it goes on. */
  readonly finish: "end" | "length" | undefined;
}

const text = z.string().max(1 << 20);
const logprob = z.number().max(1e-3).nullable();
const finish = z.string().max(100).nullish();
const entry = z.object({ token: text, logprob });
const content = z.array(entry.extend({ top_logprobs: z.array(entry).max(1000).nullish() })).max(100_000);
/**
 * Of completions. Alternatives are numbers by name; engines differ in what they give at the first token, and llama.cpp's server gives the form
 * of chats.
 */
const completion = z.object({
  text,
  finish_reason: finish,
  logprobs: z
    .union([
      z.object({
        tokens: z.array(text).max(100_000),
        token_logprobs: z.array(logprob).max(100_000),
        top_logprobs: z.array(z.record(text, logprob).nullable()).max(100_000).nullish(),
      }),
      z.object({ content }),
    ])
    .nullish(),
});
const chat = z.object({
  delta: z.object({ content: text.nullish() }),
  finish_reason: finish,
  logprobs: z.object({ content: content.nullish() }).nullish(),
});
type Token = Omit<Piece, "tokens">;
type Logprobs = z.output<typeof completion>["logprobs"] | z.output<typeof chat>["logprobs"];

function tokensOf(logprobs: Logprobs): Token[] | undefined {
  if (!logprobs) return undefined;
  if ("tokens" in logprobs) {
    const { tokens, token_logprobs: values, top_logprobs: tops } = logprobs;
    return tokens.map((name, i) => ({
      text: name,
      logprob: values[i] ?? undefined,
      top: inOrder(Object.entries(tops?.[i] ?? {})),
    }));
  }
  return logprobs.content?.map(({ token, logprob: own, top_logprobs: top }) => ({
    text: token,
    logprob: own ?? undefined,
    top: inOrder((top ?? []).map((one) => [one.token, one.logprob])),
  }));
}

/** Alternatives as they are said, likeliest first. */
export const inOrder = (said: readonly (readonly [string, number | null])[]): Token["top"] =>
  said
    .map(([text, logprob]) => ({ text, logprob: logprob ?? -Infinity }))
    .sort((a, b) => b.logprob - a.logprob || (a.text < b.text ? -1 : 1));

const chunk = <Choice extends z.ZodType>(choice: Choice) =>
  z.object({ choices: z.array(choice).max(16), error: z.unknown().optional() });
const [completionChunk, chatChunk] = [chunk(completion), chunk(chat)];

/** What an event says of the one choice that was asked for. Errors: `runtime_failed` for one that is none, and for one of a failure. */
export function readEvent(event: unknown, kind: "completion" | "chat"): Answered {
  const failure = (event as { error?: { message?: unknown } } | null)?.error;
  if (failure) throw failed(`it failed on the way: ${shown(failure.message ?? failure)}`);
  if (kind === "chat") {
    const { data, error } = chatChunk.safeParse(event);
    if (error)
      throw failed(`an event is no part of a chat: ${error.issues[0].message} at ${error.issues[0].path.join(".")}`);
    const [choice] = data.choices;
    if (!choice) return { pieces: [], finish: undefined };
    const tokens = tokensOf(choice.logprobs);
    return { pieces: piecesOf(choice.delta.content ?? "", tokens), finish: ending(choice.finish_reason) };
  }
  const choice = completionOf(event);
  if (!choice) return { pieces: [], finish: undefined };
  const [pieces, finish] = [piecesOf(choice.text, tokensOf(choice.logprobs)), ending(choice.finish_reason)];
  // Without a stop text, what ends a text and says nothing is the token for that.
  const silent = finish === "end" && choice.text === "" && pieces.length === 1;
  return silent ? { pieces: [], ending: pieces[0], finish } : { pieces, finish };
}

function completionOf(event: unknown): z.output<typeof completion> | undefined {
  const { data, error } = completionChunk.safeParse(event);
  if (error)
    throw failed(
      `an event is no part of a completion: ${error.issues[0].message} at ${error.issues[0].path.join(".")}`,
    );
  return data.choices[0];
}

/** What may come at a place: names with natural logs, likeliest first, and the name of the token that was drawn. */
export interface Listing {
  readonly drawn: string;
  readonly top: readonly { readonly text: string; readonly logprob: number }[];
}

/** Of a whole completion of one token; undefined where nothing is listed. Errors: `runtime_failed` for what is no completion. */
export function readListing(answer: unknown): Listing | undefined {
  const first = tokensOf(completionOf(answer)?.logprobs)?.[0];
  return first && first.top.length > 0 ? { drawn: first.text, top: first.top } : undefined;
}

const failed = (message: string): VentrisError => new VentrisError("runtime_failed", `the engine's answer: ${message}`);

/** Tokens where their texts are the event's text; else, as where one ends within a character, all in one. */
function piecesOf(whole: string, tokens: readonly Token[] = []): Piece[] {
  if (tokens.length > 0 && tokens.map((token) => token.text).join("") === whole)
    return tokens.map((token) => ({ ...token, tokens: 1 }));
  if (whole === "" && tokens.length === 0) return [];
  const values = tokens.map((token) => token.logprob);
  const sum = tokens.length > 0 ? values.reduce<number | undefined>(added, 0) : undefined;
  return [{ text: whole, logprob: sum, top: [], tokens: Math.max(1, tokens.length) }];
}

const added = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b;

function ending(reason: string | null | undefined): Answered["finish"] {
  if (reason === null || reason === undefined || reason === "") return undefined;
  if (reason === "stop" || reason === "length") return reason === "stop" ? "end" : "length";
  throw failed(`it ended for a reason that no text of a model ends for: ${shown(reason)}`);
}
