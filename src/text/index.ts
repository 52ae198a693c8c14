/** Tokenizers, chat templates, streaming text, BPE training. */
export {
  defaultSpecialTokens,
  type TokenizerTraining,
  type TrainedBpe,
  type TrainingProgress,
  trainBpe,
  trainTokenizer,
} from "./bpe-training.ts";
export { createDetokenizer, type Detokenizer } from "./detokenizer.ts";
export { openTok512 } from "./llama2c.ts";
export { openTokenizer, type TokenizerOptions } from "./open-tokenizer.ts";
export { documents, readTexts, recordFields, type TextFile, textLines } from "./text-files.ts";
export type {
  ChatMessage,
  ChatOptions,
  ChatRole,
  ContentPart,
  EncodeOptions,
  GivenMessage,
  TextOptions,
  Tokenizer,
} from "./tokenizer.ts";
