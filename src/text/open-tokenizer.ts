/** Opens the tokenizer of a checkpoint, whichever files it comes in. */
import { ensure, requireObject, requireOptions, shown, VentrisError } from "../errors.ts";
import { exists, folderOf, nameOf, within } from "../files.ts";
import { decodeUtf8, isObject } from "../json.ts";
import { requireNothingElse } from "../names.ts";
import { modelsFolder } from "../shipped.ts";
import { addressHint } from "../values.ts";
import { warnOnce } from "../warnings.ts";
import { openGguf } from "../weights/gguf.ts";
import { findWeights } from "../weights/open.ts";
import { assembleTokenizer } from "./assemble.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { readIfPresent, readJsonIfPresent } from "./files.ts";
import { readGgufTokenizer, requireAgreement } from "./gguf-tokenizer.ts";
import { readLlama2cTokenizer } from "./llama2c.ts";
import { listedTokens, slowTokenizerJson } from "./slow-files.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";

type Json = Record<string, unknown>;

/** What is known of the model that the tokenizer is for. */
export interface TokenizerOptions {
  /** Ids that the model gives: those beyond the tokenizer's are empty text, and end tokens beyond them are none. Default: the tokenizer's own number. */
  outputs?: number;
  /** The header of the GGUF file that is opened, where somebody has read it already. Default: it is read. */
  metadata?: Readonly<Record<string, unknown>>;
}

/**
 * The tokenizer of a folder, its `tokenizer.json` or a weight file. In a GGUF file: its own, with which a tokenizer beside it must agree. In a folder:
 * `tokenizer.json`, or `vocab.json` and `merges.txt` with what is added beside them, or llama2.c's `tokenizer.bin` or `tok512.bin`;
 * begin and end tokens and the chat template from `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json`,
 * `config.json` and `chat_template.jinja`.
 * Errors: `unavailable` when there is none (names what was looked for), `bad_file` for a file that is truncated, corrupt or
 * of an unsupported kind, or contradicts another. Patterns of a foreign tokenizer run as regular expressions: open only files you trust
 * with your time.
 */
export async function openTokenizer(path: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
  requireOptions(options, "openTokenizer");
  const { outputs, metadata, ...others } = options;
  requireNothingElse(others, "openTokenizer", ["outputs", "metadata"]);
  ensure(typeof path === "string" && path !== "" && addressHint(path) === "", "bad_option", () => {
    return `openTokenizer takes the path of a folder, its tokenizer.json or a weight file, not ${shown(path)}${addressHint(path)}`;
  });
  ensure(outputs === undefined || (Number.isSafeInteger(outputs) && outputs > 0), "bad_option", () => {
    return `openTokenizer: outputs must be a whole number from 1 on, not ${shown(outputs)}`;
  });
  if (metadata !== undefined) requireObject(metadata, "openTokenizer", "metadata");
  const weights = await findWeights(path).catch(() => undefined);
  const folder = weights === path || nameOf(path) === "tokenizer.json" ? folderOf(path) : path;
  const own = weights?.endsWith(".gguf")
    ? await readGgufTokenizer(metadata ?? (await metadataOf(weights)), weights, options)
    : undefined;
  const beside = await openBeside(folder, outputs);
  if (!own || !weights) {
    if (beside) return beside.tokenizer;
    throw new VentrisError("unavailable", await whatIsMissing(folder));
  }
  if (!beside) return own;
  requireAgreement(own, weights, beside.tokenizer, beside.origin);
  return beside.tokenizer; // it comes with the settings that lie beside it
}

async function metadataOf(path: string): Promise<Readonly<Record<string, unknown>>> {
  const source = await openGguf(path);
  await source.close();
  return source.metadata;
}

async function openBeside(
  folder: string,
  outputs: number | undefined,
): Promise<{ tokenizer: Tokenizer; origin: string } | undefined> {
  const path = (name: string) => within(folder, name);
  const [stated, roles, generation, model] = await Promise.all(
    ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"].map(
      async (name) => (await readJsonIfPresent(path(name))) ?? {},
    ),
  );
  const config = { ...roles, ...stated };
  const settings = { folder, config, generation, model, outputs };
  const added = await readJsonIfPresent(path("added_tokens.json"));
  const json = await readJsonIfPresent(path("tokenizer.json"));
  if (json) {
    const origin = path("tokenizer.json");
    const listed = listedTokens({ added, config, folder });
    return { tokenizer: await fromJson(withListed(json, listed), origin, settings), origin };
  }
  const [vocabulary, merges] = await Promise.all([
    readJsonIfPresent(path("vocab.json")),
    readIfPresent(path("merges.txt")),
  ]);
  if (vocabulary && merges) {
    const origin = path("vocab.json");
    const written = slowTokenizerJson({
      vocabulary,
      merges: decodeUtf8(merges, path("merges.txt")),
      listed: listedTokens({ added, config, folder }),
      config,
      model,
      folder,
    });
    return { tokenizer: await fromJson(written, origin, settings), origin };
  }
  for (const name of llama2cNames) {
    const bytes = await readIfPresent(path(name));
    if (bytes) return { tokenizer: readLlama2cTokenizer(bytes, path(name), outputs), origin: path(name) };
  }
  return undefined;
}

/** Tokens that the files beside tokenizer.json have and it has not. */
function withListed(json: Json, listed: readonly Json[]): Json {
  const there: unknown[] = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const known = new Set(there.map((token) => (isObject(token) ? token.content : undefined)));
  const missing = listed.filter(({ content }) => !known.has(content));
  return missing.length === 0 || (json.added_tokens !== undefined && there !== json.added_tokens)
    ? json
    : { ...json, added_tokens: [...there, ...missing] };
}

async function whatIsMissing(folder: string): Promise<string> {
  if (!(await exists(folder))) {
    const shipped = within(modelsFolder(), folder);
    const name = nameOf(folder);
    const isShipped = !folder.includes("/") && (await exists(shipped).catch(() => false));
    return isShipped
      ? `there is no folder ${folder} here, and openTokenizer takes a folder; that of the model which ships with Ventris is ${shown(shipped)}, and open(${shown(name)}) gives it as tokenizer of the model`
      : `there is no folder ${folder}; the tokenizer of a model that has a name comes with the model: (await open(name)).tokenizer`;
  }
  const sentencePiece = (await readIfPresent(within(folder, "tokenizer.model"))) !== undefined;
  return `${folder} has no tokenizer: looked for tokenizer.json, vocab.json with merges.txt, ${llama2cNames.join(", ")}.${
    sentencePiece ? " It has a tokenizer.model (SentencePiece), which must be converted to tokenizer.json first." : ""
  }`;
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
  const idOf = (name: string | undefined) => {
    const id = parts.added.find((token) => token.content === name)?.id;
    if (name !== undefined && id === undefined)
      warnOnce(`${origin}: the token ${shown(name)} that a setting beside it names is not there`);
    return id;
  };
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
  const file = within(folder, "chat_template.jinja");
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
