/** Text to token ids and back; the contract that models, methods and faces rely on. */
export interface Tokenizer {
  /** Number of ids; every id is in [0, vocabularySize). */
  readonly vocabularySize: number;
  readonly beginToken: number | undefined;
  /** Ids that end a text. */
  readonly endTokens: readonly number[];
  /** A stable hash of vocabulary and merges: two models may share drafts only when it is equal. */
  readonly fingerprint: string;
  /** Ids of a text. `special` (default true) adds the begin token where the tokenizer's own template does. */
  encode(text: string, options?: { special?: boolean }): number[];
  /** Text of ids; ill-formed UTF-8 becomes U+FFFD. Special tokens are left out unless `special`. */
  decode(ids: readonly number[], options?: { special?: boolean }): string;
  /** The bytes that one id stands for (empty for special tokens). */
  tokenBytes(id: number): Uint8Array;
  /** Applies the chat template; undefined when the checkpoint has none. */
  applyChatTemplate?(messages: readonly { role: string; content: string }[], options?: { addGenerationPrompt?: boolean }): string;
}
