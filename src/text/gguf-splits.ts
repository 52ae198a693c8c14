/**
 * How GGUF's byte-level tokenizers cut texts: `tokenizer.ggml.pre` names it, and the patterns themselves are what the models'
 * own tokenizers use. Each pattern cuts what the ones before it left, at what it finds and at what lies between.
 */

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;
const wordsAndNumbers = (digits: string) =>
  String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const [upper, lower] = [String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`];
const casedWords = (digits: string, ending: string) =>
  [
    String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${ending}`,
    String.raw`[^\r\n\p{L}\p{N}]?${upper}+${lower}*${ending}`,
    digits,
    String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ].join("|");

export interface GgufSplit {
  patterns: readonly string[];
  /** A piece that is a token is taken whole. */
  ignoreMerges?: boolean;
  /** Texts begin with the begin token unless the file says otherwise. */
  addsBegin?: boolean;
}

const gpt2: GgufSplit = { patterns: [words] };
const digitsFirst: GgufSplit = { patterns: [String.raw`\p{N}`, words] };
const llama3: GgufSplit = { patterns: [wordsAndNumbers(String.raw`\p{N}{1,3}`)], ignoreMerges: true, addsBegin: true };
const qwen2: GgufSplit = { patterns: [wordsAndNumbers(String.raw`\p{N}`)] };
const gpt4: GgufSplit = { patterns: [wordsAndNumbers(String.raw`\p{N}{1,3}`)] };

/** By name. An unnamed one is `default`, as in llama.cpp. */
export const ggufSplits: Readonly<Record<string, GgufSplit>> = {
  default: { patterns: [String.raw`[\p{P}\$\+<=>\^~\|]+`, words, String.raw`\p{N}+`, "[0-9][0-9][0-9]"] },
  ...Object.fromEntries(
    ["gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "mpt", "olmo", "jais"].map((name) => [name, gpt2]),
  ),
  ...Object.fromEntries(
    ["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"].map((name) => [
      name,
      digitsFirst,
    ]),
  ),
  ...Object.fromEntries(
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"].map((name) => [
      name,
      llama3,
    ]),
  ),
  ...Object.fromEntries(["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"].map((name) => [name, qwen2])),
  ...Object.fromEntries(["dbrx", "smaug-bpe", "chatglm-bpe"].map((name) => [name, gpt4])),
  "gpt-4o": { patterns: [casedWords(String.raw`\p{N}{1,3}`, `${contractions}?`)] },
  llama4: { patterns: [casedWords(String.raw`\p{N}{1,3}`, `${contractions}?`)] },
  tekken: { patterns: [casedWords(String.raw`\p{N}`, "")], ignoreMerges: true, addsBegin: true },
  falcon: { patterns: [String.raw`[\p{P}\$\+<=>\^~\|\x60]+`, words, "[0-9][0-9][0-9]"] },
  "deepseek-coder": {
    patterns: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, "[一-龥ࠀ-一가-퟿]+", String.raw`\p{N}`],
  },
};
