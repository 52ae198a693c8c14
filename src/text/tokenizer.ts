/** Text to token ids and back; the contract that models, methods and faces rely on. */
import type { usualRoles } from "./chat-messages.ts";

export interface Tokenizer {
  /** Number of ids; every id is in [0, vocabularySize). */
  readonly vocabularySize: number;
  readonly beginToken: number | undefined;
  /** Ids that end a text. */
  readonly endTokens: readonly number[];
  /** A stable hash of vocabulary and merges: two models may share drafts only when it is equal. */
  readonly fingerprint: string;
  /** Special tokens by their text (`<|mask|>`, `<|im_end|>` …); they are reached by id, never by user text. */
  readonly specialTokens?: ReadonlyMap<string, number>;
  /** SentencePiece style: the first token carries a space that is no part of the text. */
  readonly dropsLeadingSpace?: boolean;
  /**
   * Ids of a text. `special` (default true) adds the begin token where the tokenizer's own template does; an end token of
   * the template is left out, for the text is there to be continued. `allowSpecial` (default false) turns the text of
   * special tokens into their ids; without it such text is encoded as the plain characters it consists of. A text that so begins with the begin
   * token (as an applied chat template may) gets no second one. Errors: `context_full` for a text
   * of more than `most` ids, as soon as that is seen, which may take a small part of the time for all of it.
   */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Text of ids; ill-formed UTF-8 becomes U+FFFD. Special tokens are left out unless `special`. `continued` says that the
   * ids go on from earlier ones, so that a leading space is part of the text.
   */
  decode(ids: readonly number[], options?: TextOptions): string;
  /** The bytes that one id stands for (empty for special tokens). */
  tokenBytes(id: number): Uint8Array;
  /**
   * Applies the chat template; undefined when the checkpoint has none. Errors: `bad_option` naming what the template would drop, or
   * its own refusal; `bad_file` when it fails.
   */
  applyChatTemplate?(messages: readonly GivenMessage[], options?: ChatOptions): string;
  /** Ids of the applied template. Its own special tokens count; the same strings inside a message stay plain text. */
  encodeChat?(messages: readonly GivenMessage[], options?: ChatOptions): number[];
}

/** Who speaks. Templates may have words for further roles; one that a template has none for is refused. */
export type ChatRole = (typeof usualRoles)[number] | (string & Record<never, never>);

/** As in OpenAI's API: text, parts, or nothing beside tool calls. Whatever other fields there are reach the template as they are. */
export interface ChatMessage {
  role: ChatRole;
  content?: string | readonly ContentPart[] | null;
  [field: string]: unknown;
}

/** A part of a message: a text, a picture, or what else a template knows. */
export interface ContentPart {
  /** "text", or what the template knows beside it. */
  type: string;
  text?: string;
  [field: string]: unknown;
}

/** A message or a part of one however its type was declared: an interface of a caller's own has no index signature, which those above ask for. */
export type GivenMessage =
  | ChatMessage
  | {
      readonly role: ChatRole;
      readonly content?: string | readonly (ContentPart | { readonly type: string })[] | null;
    };

/** How a text becomes ids. */
export interface EncodeOptions {
  /** Whether the begin token is added where the tokenizer's own template adds it. Default true. */
  special?: boolean;
  /** Whether the texts of special tokens become their ids; else they are plain characters. Default false. */
  allowSpecial?: boolean;
  /** Tokens at most: a longer text is refused with the error `context_full`. Default: no bound. */
  most?: number;
}

/** How ids become a text. */
export interface TextOptions {
  /** Whether the texts of special tokens are written, too. Default false. */
  special?: boolean;
  /** Whether the ids go on from others, so that a space before the first word is kept. Default false. */
  continued?: boolean;
}

/** How a chat template is applied. */
export interface ChatOptions {
  /** Ends with the words that open the assistant's answer (default true). */
  addGenerationPrompt?: boolean;
  /** Descriptions of tools (JSON), for templates that know how to write them. Default: none. */
  tools?: readonly unknown[];
  /** Tokens at most: a longer text is refused, as by `encode`. Default: no bound. */
  most?: number;
}
