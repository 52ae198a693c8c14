/** Opens the tokenizer of a checkpoint folder, whichever files it comes in. */
import { join } from "node:path";
import { VentrisError } from "../errors.ts";
import { decodeUtf8, isObject } from "../json.ts";
import { assembleTokenizer } from "./assemble.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { readIfPresent, readJsonIfPresent } from "./files.ts";
import { readLlama2cTokenizer } from "./llama2c.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";

type Json = Record<string, unknown>;

/**
 * The tokenizer of a folder: `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`, or llama2.c's `tokenizer.bin` or
 * `tok512.bin`; begin and end tokens and the chat template from `tokenizer_config.json`, `generation_config.json`,
 * `config.json` and `chat_template.jinja`.
 * Errors: `unavailable` when there is none (names what was looked for), `bad_file` for a file that is truncated, corrupt or
 * of an unsupported kind. Patterns of a foreign tokenizer.json run as regular expressions: open only files you trust with
 * your time.
 */
export async function openTokenizer(folder: string, options: { outputs?: number } = {}): Promise<Tokenizer> {
  const { outputs } = options;
  const path = (name: string) => join(folder, name);
  const [config, generation, model] = await Promise.all(
    ["tokenizer_config.json", "generation_config.json", "config.json"].map(
      async (name) => (await readJsonIfPresent(path(name))) ?? {},
    ),
  );
  const json = await readJsonIfPresent(path("tokenizer.json"));
  if (json) return fromJson(json, path("tokenizer.json"), { folder, config, generation, model, outputs });

  const [vocabulary, merges] = await Promise.all([
    readJsonIfPresent(path("vocab.json")),
    readIfPresent(path("merges.txt")),
  ]);
  if (vocabulary && merges) {
    const written = gpt2TokenizerJson(vocabulary, decodeUtf8(merges, path("merges.txt")));
    return fromJson(written, path("vocab.json"), { folder, config, generation, model, outputs });
  }
  for (const name of llama2cNames) {
    const bytes = await readIfPresent(path(name));
    if (bytes) return readLlama2cTokenizer(bytes, path(name));
  }
  const sentencePiece = (await readIfPresent(path("tokenizer.model"))) !== undefined;
  throw new VentrisError(
    "unavailable",
    `${folder} has no tokenizer: looked for tokenizer.json, vocab.json with merges.txt, ${llama2cNames.join(", ")}.${
      sentencePiece ? " It has a tokenizer.model (SentencePiece), which must be converted to tokenizer.json first." : ""
    }`,
  );
}

const llama2cNames = ["tokenizer.bin", "tok512.bin"];

interface Settings {
  folder: string;
  /** tokenizer_config.json, generation_config.json and config.json, empty where absent. */
  config: Json;
  generation: Json;
  model: Json;
  outputs: number | undefined;
}

async function fromJson(json: Json, origin: string, settings: Settings): Promise<Tokenizer> {
  const { config, generation, model, outputs } = settings;
  const parts = readTokenizerJson(json, origin, specialNames(config));
  const idOf = (name: string | undefined) => parts.added.find((token) => token.content === name)?.id;
  const isKnown = (id: unknown): id is number =>
    Number.isInteger(id) && (id as number) >= 0 && (id as number) < parts.pieces.length;

  // A bos_token of null is a statement too: there is none, whatever config.json says.
  const beginToken =
    "bos_token" in config
      ? idOf(tokenName(config.bos_token))
      : [generation.bos_token_id, model.bos_token_id].find(isKnown);
  const endTokens = [generation.eos_token_id, model.eos_token_id, idOf(tokenName(config.eos_token))]
    .flat()
    .filter(isKnown)
    .filter((id) => id < (outputs ?? Infinity));
  return assembleTokenizer({
    ...parts,
    origin,
    outputs,
    prefix: adjustPrefix(parts.prefix, beginToken, config.add_bos_token),
    beginToken,
    endTokens: [...new Set(endTokens)],
    chatTemplate: await readChatTemplate(settings, origin),
  });
}

/** `add_bos_token`, where a configuration states it, overrides the template of tokenizer.json, as in Transformers. */
function adjustPrefix(prefix: readonly number[], beginToken: number | undefined, stated: unknown): readonly number[] {
  if (typeof stated !== "boolean" || beginToken === undefined) return prefix;
  const others = prefix.filter((id) => id !== beginToken);
  return stated ? [beginToken, ...others] : others;
}

/** Special tokens are given as text or as an object with `content`. */
function tokenName(value: unknown): string | undefined {
  const name = isObject(value) ? value.content : value;
  return typeof name === "string" ? name : undefined;
}

function specialNames(config: Json): string[] {
  return ["bos_token", "eos_token", "unk_token", "pad_token"].flatMap((key) => tokenName(config[key]) ?? []);
}

async function readChatTemplate({ folder, config }: Settings, origin: string): Promise<ChatTemplate | undefined> {
  const file = join(folder, "chat_template.jinja");
  const bytes = await readIfPresent(file);
  const source = bytes ? decodeUtf8(bytes, file) : namedTemplate(config.chat_template);
  if (source === undefined) return undefined;
  const variables = ["bos_token", "eos_token", "unk_token", "pad_token"].flatMap((key) => {
    const name = tokenName(config[key]);
    return name === undefined ? [] : [[key, name]];
  });
  // Loaded only here: most runs need no templates, and start-up counts.
  const { compileChatTemplate } = await import("./chat-template.ts");
  return compileChatTemplate(source, bytes ? file : origin, Object.fromEntries(variables));
}

/** One template, or a list of {name, template} of which "default" is meant. */
function namedTemplate(value: unknown): string | undefined {
  if (!Array.isArray(value)) return typeof value === "string" ? value : undefined;
  const entry = value.find((candidate) => isObject(candidate) && candidate.name === "default");
  return typeof entry?.template === "string" ? entry.template : undefined;
}

/** GPT-2's two files as a tokenizer.json. The first line of merges.txt may be a version comment. */
function gpt2TokenizerJson(vocabulary: Json, merges: string): Json {
  const end = "<|endoftext|>";
  return {
    added_tokens: end in vocabulary ? [{ id: vocabulary[end], content: end, special: true }] : [],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab: vocabulary,
      merges: merges.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version")),
    },
  };
}
