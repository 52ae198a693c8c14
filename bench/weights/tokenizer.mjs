/** Tokenizers for checkpoints without one of their own, and the tokenizer section of a GGUF file. */

/** GPT-2's byte alphabet: printable bytes stand for themselves, the others for characters from 256 on. */
const alphabet = (() => {
  /** @type {string[]} */
  const characters = [];
  let spare = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    characters.push(String.fromCharCode(printable ? byte : spare++));
  }
  return characters;
})();

/**
 * A valid byte-level BPE tokenizer.json of any size from 256: the bytes, then all pairs of bytes, then pair and byte.
 * @param {number} size
 */
export function syntheticTokenizer(size) {
  const tokens = [...alphabet];
  /** @type {[string, string][]} */
  const merges = [];
  for (let k = 0; tokens.length < size; k++) {
    const left = tokens[k < 65536 ? k >> 8 : 256 + ((k - 65536) >> 8)];
    const right = alphabet[k & 255];
    merges.push([left, right]);
    tokens.push(left + right);
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

const tokenTypes = { normal: 1, control: 3, userDefined: 4, unused: 5 };

/**
 * The `tokenizer.ggml.*` keys for a byte-level BPE tokenizer.json. Benchmarks pass token ids, so that the way text is cut
 * before BPE (`pre`) does not matter; llama.cpp only needs a name it knows.
 * @param {any} tokenizer the parsed tokenizer.json
 * @param {import("./shapes.mjs").LlamaConfig} config
 * @returns {import("./gguf.mjs").Metadata}
 */
export function tokenizerMetadata(tokenizer, config) {
  if (tokenizer.model?.type !== "BPE")
    throw new Error(`only BPE tokenizers can be exported, not ${tokenizer.model?.type}`);
  const tokens = Array.from({ length: config.vocab_size }, (_, id) => `[UNUSED_${id}]`);
  const types = new Array(config.vocab_size).fill(tokenTypes.unused);
  for (const [token, id] of Object.entries(tokenizer.model.vocab)) {
    tokens[/** @type {number} */ (id)] = token;
    types[/** @type {number} */ (id)] = tokenTypes.normal;
  }
  for (const { id, content, special } of tokenizer.added_tokens ?? []) {
    tokens[id] = content;
    types[id] = special ? tokenTypes.control : tokenTypes.userDefined;
  }
  if (tokens.length !== config.vocab_size)
    throw new Error(`the tokenizer has ids beyond the vocabulary of ${config.vocab_size}`);
  const end = Array.isArray(config.eos_token_id) ? config.eos_token_id[0] : config.eos_token_id;
  return {
    "tokenizer.ggml.model": { type: "string", value: "gpt2" },
    "tokenizer.ggml.pre": { type: "string", value: "gpt-2" },
    "tokenizer.ggml.tokens": { type: "strings", value: tokens },
    "tokenizer.ggml.token_type": { type: "int32s", value: types },
    "tokenizer.ggml.merges": {
      type: "strings",
      value: tokenizer.model.merges.map((/** @type {string | string[]} */ merge) =>
        typeof merge === "string" ? merge : merge.join(" "),
      ),
    },
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
    ...(typeof config.bos_token_id === "number" && {
      "tokenizer.ggml.bos_token_id": { type: "uint32", value: config.bos_token_id },
    }),
    ...(typeof end === "number" && { "tokenizer.ggml.eos_token_id": { type: "uint32", value: end } }),
  };
}
