/** Puts a Tokenizer together from what the file formats differ in. */
import { describing } from "../described.ts";
import { ensure, requireFlags, requireOptions, shown } from "../errors.ts";
import { isObject } from "../json.ts";
import { requireNothingElse, tokenizerWays } from "../names.ts";
import { tellingReads } from "../reads.ts";
import { type AddedToken, createAddedTokenSplitter } from "./added-tokens.ts";
import { guardMessages } from "./chat-guard.ts";
import { requireMessage } from "./chat-messages.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { createByteDecoder } from "./detokenizer.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { requireAtMost, requireBound } from "./most.ts";
import type { Normalizer } from "./normalizers.ts";
import type { ChatMessage, ChatOptions, Tokenizer } from "./tokenizer.ts";

export interface TokenizerParts {
  /** For messages: the file or folder. */
  origin: string;
  /** What each id stands for, by id; empty for ids without a token. For added tokens the bytes of their text. */
  pieces: readonly Uint8Array[];
  added: readonly AddedToken[];
  /** What is done to a text before it is cut; undefined where that is nothing. */
  normalize: Normalizer | undefined;
  /**
   * Appends the ids of a normalised text without added tokens. `first` says that it begins the whole text. Errors: `context_full` as soon as
   * it is seen that there are more than `most`.
   */
  encodeSection(text: string, first: boolean, ids: number[], most: number): void;
  /** Ids that the tokenizer's template puts before a text. */
  prefix: readonly number[];
  beginToken: number | undefined;
  endTokens: readonly number[];
  dropsLeadingSpace: boolean;
  /** All else that decides how text is encoded, in any fixed writing: merges or scores, normaliser, pre-tokeniser. */
  rules: string;
  chatTemplate: ChatTemplate | undefined;
  /** Ids that the model gives, where they are more than the pieces: models pad their vocabularies. The others are empty text. */
  outputs?: number;
}

export function assembleTokenizer(parts: TokenizerParts): Tokenizer {
  const { origin, pieces, added, prefix, beginToken, endTokens, dropsLeadingSpace, chatTemplate, normalize } = parts;
  const specialIds = new Set(added.filter((token) => token.special).map((token) => token.id));
  const ordinary = added.filter((token) => !token.special);
  const size = Math.max(pieces.length, parts.outputs ?? 0);
  const nothing = new Uint8Array(0);
  let fingerprint: string | undefined;

  const pieceOf = (id: number): Uint8Array => {
    ensure(
      Number.isInteger(id) && id >= 0 && id < size,
      "bad_option",
      () => `token id ${shown(id)} is outside the vocabulary of ${origin} (${size} ids)`,
    );
    return pieces[id] ?? nothing;
  };
  /** Cuts at those of the tokens that are looked for in the text as it is, then at the others in the normalised text. */
  const encoderFor = (tokens: readonly AddedToken[]) => {
    const split = createAddedTokenSplitter(tokens.filter((token) => !token.normalized));
    const splitNormalized = createAddedTokenSplitter(
      tokens.filter((token) => token.normalized),
      normalize,
    );
    const append = (
      sections: readonly (string | AddedToken)[],
      first: boolean,
      ids: number[],
      most: number,
      next: SectionEncoder,
    ) => {
      for (const [index, section] of sections.entries()) {
        if (typeof section === "string") next(section, first && index === 0, ids, most);
        else ids.push(section.id);
        requireAtMost(ids.length, most);
      }
      return ids;
    };
    const encodeSection: SectionEncoder = (text, first, ids, most) =>
      append(
        splitNormalized(normalize ? normalize(text) : text),
        first && normalize?.dropsStart(text) !== true,
        ids,
        most,
        parts.encodeSection,
      );
    return (text: string, ids: number[], { most = Infinity, first = true } = {}) =>
      append(split(text), first, ids, most, encodeSection);
  };
  const encodeAll = encoderFor(added);
  const encodeOrdinary = encoderFor(ordinary);

  const tokenizer: Tokenizer = {
    vocabularySize: pieces.length,
    beginToken,
    endTokens,
    dropsLeadingSpace,
    specialTokens: new Map(added.filter((token) => token.special).map((token) => [token.content, token.id])),
    get fingerprint() {
      fingerprint ??= fingerprintOf([...pieces, ...factsOf(parts).map((fact) => utf8.encode(fact))]);
      return fingerprint;
    },
    encode(text, options = {}) {
      ensure(typeof text === "string", "bad_option", () => `encode takes a text, not ${shown(text)}`);
      requireOptions(options, "encode");
      const { special, allowSpecial, most, ...others } = options;
      requireNothingElse(others, "encode", ["special", "allowSpecial", "most"], tokenizerWays);
      requireFlags({ special, allowSpecial }, "encode");
      requireBound(most, "encode");
      const ids = (allowSpecial ? encodeAll : encodeOrdinary)(text, special === false ? [] : [...prefix], { most });
      // An applied chat template begins with the begin token's text: a model never saw two.
      const twice = allowSpecial && special !== false && prefix.every((id, i) => ids[prefix.length + i] === id);
      return twice ? ids.slice(prefix.length) : ids;
    },
    decode(ids, options = {}) {
      ensure(Array.isArray(ids), "bad_option", () => `decode takes a list of token ids, not ${shown(ids)}`);
      requireOptions(options, "decode");
      const { special, continued, ...others } = options;
      requireNothingElse(others, "decode", ["special", "continued"], tokenizerWays);
      requireFlags({ special, continued }, "decode");
      const decoder = createByteDecoder(dropsLeadingSpace && !continued);
      const texts = Array.from(ids, (id) => decoder.push(special ? pieceOf(id) : tokenizer.tokenBytes(id)));
      return texts.join("") + decoder.flush();
    },
    tokenBytes: (id) => (specialIds.has(id) ? nothing : pieceOf(id)),
  };
  if (chatTemplate) {
    // The template's own tokens are found before anything is done to the text; those inside messages stay text.
    const splitTemplate = createAddedTokenSplitter(added.filter((token) => token.special));
    tokenizer.applyChatTemplate = (messages, options = {}) => {
      checkChat(messages, options, "applyChatTemplate");
      return chatTemplate(messages, options);
    };
    tokenizer.encodeChat = (messages, given = {}) => {
      checkChat(messages, given, "encodeChat");
      const { most, ...options } = given;
      const guard = guardMessages(messages, options, tokenizer.specialTokens!.keys());
      const ids: number[] = [];
      for (const [index, section] of splitTemplate(chatTemplate(guard.messages, guard.options)).entries()) {
        if (typeof section !== "string") ids.push(section.id);
        else encodeOrdinary(guard.restore(section), ids, { most, first: index === 0 });
      }
      return ids;
    };
  }
  for (const [name, parameters] of Object.entries(parametersOf)) {
    const call = tokenizer[name as keyof typeof parametersOf] as ((...given: unknown[]) => unknown) | undefined;
    if (call) Object.assign(tokenizer, { [name]: tellingReads(name, parameters, call) });
  }
  return describing(tokenizer, "Tokenizer", () => {
    const chats = tokenizer.encodeChat ? ", encodeChat, applyChatTemplate" : "";
    return `a tokenizer of ${tokenizer.vocabularySize} tokens: encode, decode, tokenBytes${chats}`;
  });
}

/** Of the calls that are given what callers wrote themselves. */
const parametersOf = {
  encode: ["text", "options"],
  decode: ["ids", "options"],
  applyChatTemplate: ["messages", "options"],
  encodeChat: ["messages", "options"],
};

/** Errors: `bad_option`. */
function checkChat(messages: readonly ChatMessage[], options: ChatOptions, call: string): void {
  ensure(Array.isArray(messages), "bad_option", () => `${call}: messages must be a list, not ${shown(messages)}`);
  const gap = Array.from(messages, isObject).indexOf(false);
  ensure(gap < 0, "bad_option", () => {
    return `${call}: messages[${gap}] must be a message, such as { role: "user", content: "Hi" }, not ${shown(messages[gap])}`;
  });
  // As they are given: templates get them without what is undefined.
  for (const [i, message] of messages.entries()) requireMessage(message, `messages[${i}]`);
  requireOptions(options, call);
  const { addGenerationPrompt, tools, most, ...others } = options;
  requireNothingElse(others, call, ["addGenerationPrompt", "tools", "most"], tokenizerWays);
  requireFlags({ addGenerationPrompt }, call);
  ensure(
    tools === undefined || Array.isArray(tools),
    "bad_option",
    () => `${call}: tools must be a list, not ${shown(tools)}`,
  );
  requireBound(most, call);
}

const utf8 = new TextEncoder();

/** What a draft must share with its target beside the pieces: how both cut a text, and the tokens that begin, end and are hidden. */
function factsOf({ added, prefix, beginToken, endTokens, dropsLeadingSpace, rules }: TokenizerParts): string[] {
  const flags = added.map(({ content, ...token }) => JSON.stringify([token.id, token])).sort();
  return [...flags, JSON.stringify([prefix, beginToken ?? null, endTokens, dropsLeadingSpace]), rules];
}

type SectionEncoder = TokenizerParts["encodeSection"];
