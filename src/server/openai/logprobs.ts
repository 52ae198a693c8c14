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

/**
 * Of completions, in the order of the text, for lists that may follow one another: `text_offset` is where a token's text begins in the
 * answer. A character may be spread over tokens, and over lists: each of its tokens is where it begins.
 */
export function createCompletionLogprobs(): (list: readonly ServedLogprob[]) => CompletionLogprobs {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let at = 0;
  return (list) => {
    const result: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const one of list) {
      result.tokens.push(nameOf(one));
      result.token_logprobs.push(one.logprob === undefined ? null : finite(one.logprob));
      result.top_logprobs.push(
        one.logprob === undefined
          ? null
          : Object.fromEntries(one.top.map((other) => [nameOf(other), finite(other.logprob)])),
      );
      result.text_offset.push(at);
      // Special tokens are no text.
      if (one.bytes) at += decoder.decode(Uint8Array.from(one.bytes), { stream: true }).length;
    }
    return result;
  };
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
