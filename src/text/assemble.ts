/** Puts a Tokenizer together from what the file formats differ in. */
import { ensure } from "../errors.ts";
import { type AddedToken, createAddedTokenSplitter } from "./added-tokens.ts";
import { guardMessages } from "./chat-guard.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { createByteDecoder } from "./detokenizer.ts";
import { fingerprintOf } from "./fingerprint.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface TokenizerParts {
  /** For messages: the file or folder. */
  origin: string;
  /** What each id stands for, by id; empty for ids without a token. For added tokens the bytes of their text. */
  pieces: readonly Uint8Array[];
  added: readonly AddedToken[];
  /** Appends the ids of a text without added tokens. `section` counts the texts between added tokens. */
  encodeSection(text: string, section: number, ids: number[]): void;
  /** Ids that the tokenizer's template puts before a text. */
  prefix: readonly number[];
  beginToken: number | undefined;
  endTokens: readonly number[];
  dropsLeadingSpace: boolean;
  /** Merges or scores in any fixed writing: with the pieces they decide how text is encoded. */
  rules: string;
  chatTemplate: ChatTemplate | undefined;
}

export function assembleTokenizer(parts: TokenizerParts): Tokenizer {
  const { origin, pieces, added, prefix, beginToken, endTokens, dropsLeadingSpace, chatTemplate } = parts;
  const special = new Set(added.filter((token) => token.special).map((token) => token.id));
  const splitAtAll = createAddedTokenSplitter(added);
  const splitAtOrdinary = createAddedTokenSplitter(added.filter((token) => !token.special));
  const nothing = new Uint8Array(0);
  let fingerprint: string | undefined;

  const pieceOf = (id: number): Uint8Array => {
    ensure(
      Number.isInteger(id) && id >= 0 && id < pieces.length,
      "bad_option",
      () => `token id ${id} is outside the vocabulary of ${origin} (${pieces.length} ids)`,
    );
    return pieces[id];
  };
  const encodeSections = (sections: readonly (string | AddedToken)[], ids: number[]) => {
    for (const [index, section] of sections.entries()) {
      if (typeof section === "string") parts.encodeSection(section, index, ids);
      else ids.push(section.id);
    }
    return ids;
  };

  const tokenizer: Tokenizer = {
    vocabularySize: pieces.length,
    beginToken,
    endTokens,
    dropsLeadingSpace,
    specialTokens: new Map(added.filter((token) => token.special).map((token) => [token.content, token.id])),
    get fingerprint() {
      fingerprint ??= fingerprintOf(
        [...pieces, Uint32Array.from(special).sort(), new TextEncoder().encode(parts.rules)].map(
          (part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
        ),
      );
      return fingerprint;
    },
    encode: (text, options = {}) =>
      encodeSections(
        (options.allowSpecial ? splitAtAll : splitAtOrdinary)(text),
        options.special === false ? [] : [...prefix],
      ),
    decode(ids, options = {}) {
      const decoder = createByteDecoder(dropsLeadingSpace && !options.continued);
      const texts = ids.map((id) => decoder.push(options.special ? pieceOf(id) : tokenizer.tokenBytes(id)));
      return texts.join("") + decoder.flush();
    },
    tokenBytes: (id) => (special.has(id) ? nothing : pieceOf(id)),
  };
  if (chatTemplate) {
    tokenizer.applyChatTemplate = chatTemplate;
    tokenizer.encodeChat = (messages, options) => {
      const guard = guardMessages(messages, tokenizer.specialTokens!.keys());
      const sections = splitAtAll(chatTemplate(guard.messages, options));
      return encodeSections(
        sections.map((section) => (typeof section === "string" ? guard.restore(section) : section)),
        [],
      );
    };
  }
  return tokenizer;
}
