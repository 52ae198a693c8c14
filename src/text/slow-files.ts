/**
 * Tokenizers in the files that were there before tokenizer.json: `vocab.json` and `merges.txt`, with `added_tokens.json`,
 * `special_tokens_map.json` and the `added_tokens_decoder` of tokenizer_config.json beside them. How such a tokenizer cuts texts is in
 * no file, only in the name of its class.
 */
import { shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";

type Json = Record<string, unknown>;

const byteLevel = (add_prefix_space: boolean, use_regex: boolean): Json => ({
  type: "ByteLevel",
  add_prefix_space,
  use_regex,
});

/** Qwen's pattern, as its own tokenizer has it. */
const qwenPattern = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

interface Style {
  normalizer: Json | null;
  preTokenizer: (addsSpace: boolean) => Json;
}

const styles: Readonly<Record<string, Style>> = {
  gpt2: { normalizer: null, preTokenizer: (addsSpace) => byteLevel(addsSpace, true) },
  qwen2: {
    normalizer: { type: "NFC" },
    preTokenizer: () => ({
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: qwenPattern }, behavior: "Isolated", invert: false },
        byteLevel(false, false),
      ],
    }),
  },
};

const styleOfClass: Readonly<Record<string, keyof typeof styles>> = {
  GPT2Tokenizer: "gpt2",
  CodeGenTokenizer: "gpt2",
  Qwen2Tokenizer: "qwen2",
};
const styleOfModel: Readonly<Record<string, keyof typeof styles>> = {
  gpt2: "gpt2",
  gpt_neo: "gpt2",
  gptj: "gpt2",
  codegen: "gpt2",
  phi: "gpt2",
  opt: "gpt2",
  qwen2: "qwen2",
  qwen3: "qwen2",
};

/** Tokens that files beside the vocabulary add, as tokenizer.json would list them. Errors: `bad_file` naming the file and the token. */
export function listedTokens(files: { added: Json | undefined; config: Json; folder: string }): Json[] {
  const { added, config, folder } = files;
  const fail = (message: string): never => {
    throw new VentrisError("bad_file", `${folder}: ${message}`);
  };
  const tokens = new Map<string, Json>();
  const { added_tokens_decoder: decoder, additional_special_tokens: others } = config;
  if (decoder !== undefined && !isObject(decoder)) fail("tokenizer_config.json: added_tokens_decoder is not an object");
  for (const [id, token] of Object.entries(isObject(decoder) ? decoder : {})) {
    if (!isObject(token) || typeof token.content !== "string") {
      return fail(`tokenizer_config.json: added_tokens_decoder gives ${shown(token)} for the id ${id.slice(0, 20)}`);
    }
    tokens.set(token.content, { ...token, id: Number(id) });
  }
  for (const [content, id] of Object.entries(added ?? {})) {
    const known = tokens.get(content);
    if (known && known.id !== id)
      fail(`added_tokens.json gives ${shown(content)} the id ${shown(id)}, tokenizer_config.json ${shown(known.id)}`);
    tokens.set(content, { special: false, ...known, content, id });
  }
  const roles = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"].map(
    (role) => config[role],
  );
  for (const value of [...roles, ...(Array.isArray(others) ? others : [])]) {
    const flags = isObject(value) ? value : { content: value };
    const known = typeof flags.content === "string" ? tokens.get(flags.content) : undefined;
    if (known) tokens.set(known.content as string, { ...known, ...flags, id: known.id, special: true });
  }
  return [...tokens.values()].sort((a, b) => Number(a.id) - Number(b.id));
}

/**
 * `vocab.json` and `merges.txt` as a tokenizer.json. Errors: `bad_file` when neither the tokenizer's class nor the model's type tells how
 * it cuts texts, or an added token contradicts the vocabulary.
 */
export function slowTokenizerJson(files: {
  vocabulary: Json;
  merges: string;
  listed: readonly Json[];
  config: Json;
  model: Json;
  folder: string;
}): Json {
  const { vocabulary, merges, listed, config, model, folder } = files;
  const fail = (message: string): never => {
    throw new VentrisError("bad_file", `${folder}: ${message}`);
  };
  const style = styles[styleName(config, model, fail)];
  const vocab: Json = { ...vocabulary };
  const contentOf = new Map(Object.entries(vocabulary).map(([content, id]) => [id, content]));
  for (const { content, id } of listed) {
    const [name, holder] = [content as string, contentOf.get(id)];
    const contradicts = Object.hasOwn(vocab, name) ? vocab[name] !== id : holder !== undefined;
    if (contradicts) fail(`the added token ${shown(name)} has the id ${shown(id)}, which contradicts vocab.json`);
    vocab[name] = id;
    contentOf.set(id, name);
  }
  const end = "<|endoftext|>";
  const named = listed.some(({ content }) => content === end);
  return {
    added_tokens: [...(end in vocab && !named ? [{ id: vocab[end], content: end, special: true }] : []), ...listed],
    normalizer: style.normalizer,
    pre_tokenizer: style.preTokenizer(config.add_prefix_space === true),
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab,
      // The first line may be a version comment.
      merges: merges.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version")),
    },
  };
}

function styleName(config: Json, model: Json, fail: (message: string) => never): keyof typeof styles {
  const stated = config.tokenizer_class;
  if (stated !== undefined && stated !== null && stated !== "PreTrainedTokenizerFast") {
    const name = String(stated).slice(0, 100).replace(/Fast$/, "");
    if (Object.hasOwn(styleOfClass, name)) return styleOfClass[name];
    return fail(
      `vocab.json and merges.txt of a ${name} are not supported (of ${Object.keys(styleOfClass).join(", ")} they are): convert it to tokenizer.json`,
    );
  }
  const type = model.model_type;
  if (type === undefined || type === null) return "gpt2"; // whose files these are by their names
  if (typeof type === "string" && Object.hasOwn(styleOfModel, type)) return styleOfModel[type];
  return fail(
    `vocab.json and merges.txt do not say how the tokenizer of a ${shown(type)} model cuts texts: convert it to tokenizer.json, or name its tokenizer_class in tokenizer_config.json`,
  );
}
