/** Log-probabilities in the two forms of OpenAI's API. */
import type { ServedLogprob } from "../protocol.ts";

/** JSON has no -Infinity; this is what OpenAI's API says of a token that cannot be. */
const finite = (logprob: number): number => Math.max(-9999, logprob);

/** A token's text, or its bytes where these make no characters by themselves: two tokens never have one name. */
function nameOf({ text, bytes }: Pick<ServedLogprob, "text" | "bytes">): string {
  if (!bytes || !text.includes("\ufffd")) return text;
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
}

export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/** Of completions; `offset` is the place of the first token in the answer's text. */
export function completionLogprobs(list: readonly ServedLogprob[], offset: number): CompletionLogprobs {
  const result: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let at = offset;
  for (const one of list) {
    result.tokens.push(nameOf(one));
    result.token_logprobs.push(one.logprob === undefined ? null : finite(one.logprob));
    result.top_logprobs.push(
      one.logprob === undefined
        ? null
        : Object.fromEntries(one.top.map((other) => [nameOf(other), finite(other.logprob)])),
    );
    result.text_offset.push(at);
    if (one.bytes) at += one.text.length; // special tokens are no text
  }
  return result;
}

/** Of chats. */
export const chatLogprobs = (list: readonly ServedLogprob[]): object => ({
  content: list.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) })),
  refusal: null,
});

const entry = ({ text, bytes, logprob }: ServedLogprob | ServedLogprob["top"][number]): object => ({
  token: text,
  logprob: finite(logprob ?? 0),
  bytes: bytes ?? null,
});
