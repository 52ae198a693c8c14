/** Tokenizers, chat templates, streaming text, BPE training. */
export {
  defaultSpecialTokens,
  type TokenizerTraining,
  type TrainedBpe,
  type TrainingProgress,
  trainBpe,
  trainTokenizer,
} from "./bpe-training.ts";
export { type EncodedCorpus, encodeCorpus } from "./corpus.ts";
export { createDetokenizer, type Detokenizer } from "./detokenizer.ts";
export { decodeUtf8 } from "./files.ts";
export { openTok512 } from "./llama2c.ts";
export { openTokenizer } from "./open-tokenizer.ts";
export { readTexts } from "./text-files.ts";
export type { ChatMessage, ChatOptions, Tokenizer } from "./tokenizer.ts";
