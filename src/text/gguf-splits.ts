/**
 * How GGUF's byte-level tokenizers cut texts: `tokenizer.ggml.pre` names it, and the patterns themselves are what the models'
 * own tokenizers use. Each pattern cuts what the ones before it left, at what it finds and at what lies between.
 */

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;
const wordsAndNumbers = (digits: string) =>
  String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const [upper, lower] = [String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`];
/** Marks stay with their letters. */
const wordsWithMarks = String.raw`${contractions}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const wordsByPunctuation = (rest: string) =>
  String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_\x60{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|${rest}|\s+(?!\S)|\s+`;
const casedWords = (digits: string, ending: string) =>
  [
    String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${ending}`,
    String.raw`[^\r\n\p{L}\p{N}]?${upper}+${lower}*${ending}`,
    digits,
    String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ].join("|");

/** Of the Latin, Greek, Cyrillic and other scripts with two cases. */
const casedLetters =
  "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃";
/** All but Han, whose words are cut apart first. */
const otherThanHan = (kinds: string) => String.raw`[${kinds}&&[^\p{Han}]]`;

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

const gpt4o: GgufSplit = { patterns: [casedWords(String.raw`\p{N}{1,3}`, `${contractions}?`)] };
const [digits, kanaAndHan] = [String.raw`\p{N}{1,3}`, "[一-龥぀-ゟ゠-ヿ]+"];
const deepseek3: GgufSplit = {
  patterns: [digits, kanaAndHan, wordsByPunctuation(String.raw` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+`)],
};
/** What is neither space nor punctuation, with the space before it. */
const bloom = String.raw` ?[^\(\s\|.,!?…。，、।۔،\)]+`;
const bailing: GgufSplit = {
  patterns: [
    String.raw`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`,
  ],
};
const tinyAya: GgufSplit = { patterns: [String.raw`\d{1,3}(?=(?:\d{3})*\b)`, ...gpt4o.patterns] };
/** Runs of spaces by powers of two. */
const cascade = [512, 256, 128, 64, 32, 16, 8, 4].map((count) => String.raw`\s{${count}}(?!\S)`).join("|");

/** By name. An unnamed one is `default`, as in llama.cpp. */
export const ggufSplits: Readonly<Record<string, GgufSplit>> = {
  default: { patterns: [String.raw`[\p{P}\$\+<=>\^~\|]+`, words, String.raw`\p{N}+`, "[0-9][0-9][0-9]"] },
  ...Object.fromEntries(
    [
      ...["gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "mpt", "olmo", "jais", "trillion"],
      ...["granite-docling", "modern-bert", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en"],
      ...["jina-v2-es", "jina-v2-de", "jina-v2-code"],
    ].map((name) => [name, gpt2]),
  ),
  ...Object.fromEntries(
    ["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"].map((name) => [
      name,
      digitsFirst,
    ]),
  ),
  ...Object.fromEntries(
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"].map(
      (name) => [name, llama3],
    ),
  ),
  ...Object.fromEntries(
    ["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"].map(
      (name) => [name, qwen2],
    ),
  ),
  ...Object.fromEntries(["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"].map((name) => [name, gpt4])),
  ...Object.fromEntries(["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"].map((name) => [name, gpt4o])),
  ...Object.fromEntries(["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"].map((name) => [name, deepseek3])),
  ...Object.fromEntries(["bailingmoe", "bailingmoe2", "llada-moe"].map((name) => [name, bailing])),
  ...Object.fromEntries(["bloom", "gpt3-finnish", "poro-chat"].map((name) => [name, { patterns: [bloom] }])),
  ...Object.fromEntries(["tiny_aya", "cohere2moe"].map((name) => [name, tinyAya])),
  qwen35: { patterns: [wordsWithMarks] },
  viking: { patterns: [bloom, String.raw`\p{N}`] },
  superbpe: { patterns: [String.raw`\p{N}+`, String.raw`(?=(\d{3})+(?!\d))`] },
  "seed-coder": {
    patterns: [
      String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  "exaone-moe": {
    patterns: [
      String.raw`${contractions}|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`,
    ],
  },
  "jais-2": {
    patterns: [
      String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|${cascade}|\s{1,2}(?!\S)|\s{1}`,
    ],
  },
  ufakzeka: {
    patterns: [String.raw`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`],
  },
  laguna: { patterns: [String.raw`[^\n]+|[\n]+`, ...qwen2.patterns] },
  spark2_5: {
    patterns: [digits, kanaAndHan, wordsByPunctuation(String.raw` ?[\p{P}\p{S}]+|[\r\n]`), String.raw`\p{N}`],
  },
  "kimi-k2": {
    patterns: [
      [
        String.raw`[\p{Han}]+`,
        ...["*,+", "+,*"].map((counts) => {
          const [some, more] = counts.split(",");
          const [capitals, others] = [String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`, String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`];
          const word = `${otherThanHan(capitals)}${some}${otherThanHan(others)}${more}`;
          return String.raw`[^\r\n\p{L}\p{N}]?${word}${contractions}?`;
        }),
        String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
      ].join("|"),
    ],
  },
  youtu: {
    patterns: [
      "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
      casedWords(String.raw`\p{N}`, `${contractions}?`),
    ],
    ignoreMerges: true,
  },
  chameleon: {
    patterns: [
      "<sentinel:[0-9]+>",
      "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
      String.raw`([\t\n]|    |  )`,
      String.raw`\p{N}`,
      String.raw`[\p{P}!-/:-@\[-\x60{-~]`,
      words,
    ],
    addsBegin: true,
  },
  "deepseek-llm": {
    patterns: [
      String.raw`[\r\n]`,
      String.raw`\s?[${casedLetters}]+`,
      String.raw`\s?[!-/:-~！-／：-～‘-‟　-。]+`,
      String.raw`\s+$`,
      "[一-龥ࠀ-一가-퟿]+",
      String.raw`\p{N}+`,
    ],
  },
  tekken: { patterns: [casedWords(String.raw`\p{N}`, "")], ignoreMerges: true, addsBegin: true },
  falcon: { patterns: [String.raw`[\p{P}\$\+<=>\^~\|\x60]+`, words, "[0-9][0-9][0-9]"] },
  "deepseek-coder": {
    patterns: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, "[一-龥ࠀ-一가-퟿]+", String.raw`\p{N}`],
  },
};
