/**
 * Tokens of an engine behind a network, which names them by their texts and never by ids: they are numbered as they come, for one request.
 * A prompt is one such token, whatever it holds.
 */
import { joinBytes } from "../../bytes.ts";
import { ensure } from "../../errors.ts";
import type { ChatMessage, Tokenizer } from "../../text/index.ts";

export type RemotePrompt = string | readonly ChatMessage[];

export interface RemoteVocabulary extends Tokenizer {
  /** The id of a token with this text. */
  idOf(text: string): number;
  /** What a prompt of `encode` or `encodeChat` was. */
  promptOf(id: number): RemotePrompt;
}

/** The token that ends a text: it says nothing. */
export const remoteEnd = 0;

export function createRemoteVocabulary(name: string): RemoteVocabulary {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const known = new Map<string, number>();
  const texts: string[] = [""];
  const chats = new Map<number, readonly ChatMessage[]>();
  const add = (text: string): number => texts.push(text) - 1;
  function idOf(text: string): number {
    let id = known.get(text);
    if (id === undefined) {
      id = add(text);
      known.set(text, id);
    }
    return id;
  }
  const bytes = (id: number): Uint8Array => encoder.encode(texts[id]);
  return {
    get vocabularySize() {
      return texts.length;
    },
    beginToken: undefined,
    endTokens: [remoteEnd],
    fingerprint: `behind a network: ${name}`,
    encode: (text) => [add(text)],
    decode: (ids) => decoder.decode(joinBytes(ids.map(bytes))),
    tokenBytes: bytes,
    encodeChat(messages, options = {}) {
      ensure(!options.tools?.length, "bad_option", "tools: the engine's own chat template would have to write them");
      const id = add("");
      chats.set(id, messages);
      return [id];
    },
    idOf,
    promptOf: (id) => chats.get(id) ?? texts[id],
  };
}
