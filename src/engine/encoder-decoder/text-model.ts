/**
 * Encoder–decoders of the T5 family on disk: a published checkpoint folder, or a small one of ours with whole words for tokens.
 */
import { ensure, VentrisError } from "../../errors.ts";
import { exists, folderAt, readWhole, within } from "../../files.ts";
import { parseJsonObject } from "../../json.ts";
import { readT5Config, readT5Weights, type T5Config, t5Parameters } from "../../models/t5.ts";
import { openTokenizer } from "../../text/index.ts";
import { openCheckpoint, writeFileAtomically, writeSafetensors } from "../../weights/index.ts";

/** Texts as ids; the end mark is the model's own. */
export interface Codec {
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

export interface TextModel {
  readonly config: T5Config;
  readonly weights: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly codec: Codec;
  /** Of the codec: words by id, for a model of ours. */
  readonly vocabulary?: readonly string[];
}

const wordsFile = "words.json";

/** A codec of whole words: 0 pads, 1 ends, 2 stands for what is not known. */
export function wordCodec(vocabulary: readonly string[]): Codec {
  const ids = new Map(vocabulary.map((word, id) => [word, id]));
  return {
    encode: (text) => splitWords(text).map((word) => ids.get(word) ?? 2),
    decode: (list) =>
      list
        .filter((id) => id > 2)
        .map((id) => vocabulary[id] ?? "")
        .join(" "),
  };
}

export const splitWords = (text: string): string[] =>
  text.toLowerCase().match(/[\p{L}\p{N}']+|[^\s\p{L}\p{N}']/gu) ?? [];

/** Of a checkpoint folder or its weight file. Errors: `bad_config`, `bad_file`, `unavailable` as its parts give them. */
export async function openTextModel(path: string): Promise<TextModel> {
  const source = await openCheckpoint(path);
  const folder = await folderAt(path);
  try {
    const config = readT5Config(source.config);
    const weights = await readT5Weights(source, config);
    const list = within(folder, wordsFile);
    if (await exists(list)) {
      const bytes = await readWhole(list, 50_000_000).catch((cause) => {
        throw new VentrisError("bad_file", `${list}: ${cause.message}`, { cause });
      });
      const { words } = parseJsonObject(bytes ?? "", list);
      ensure(
        Array.isArray(words) && words.length === config.vocab_size && words.every((w) => typeof w === "string"),
        "bad_file",
        `${list} must hold the ${config.vocab_size} words of the model`,
      );
      return { config, weights, codec: wordCodec(words), vocabulary: words };
    }
    const tokenizer = await openTokenizer(folder);
    const codec: Codec = {
      encode: (text) => [...tokenizer.encode(text)].filter((id) => id !== config.eos_token_id),
      decode: (ids) => tokenizer.decode(ids.filter((id) => id !== config.pad_token_id && id !== config.eos_token_id)),
    };
    return { config, weights, codec };
  } finally {
    await source.close();
  }
}

export async function saveTextModel(folder: string, { config, weights, vocabulary }: TextModel): Promise<void> {
  ensure(vocabulary, "bad_option", "only a text model of ours is saved: a published one stays in its folder");
  const tensors = t5Parameters(config).map(({ name, shape }) => ({
    name,
    type: "F32" as const,
    shape,
    data: weights.get(name)!,
  }));
  await writeSafetensors(within(folder, "model.safetensors"), tensors, { format: "pt" });
  await writeFileAtomically(within(folder, wordsFile), JSON.stringify({ words: vocabulary }));
  await writeFileAtomically(
    within(folder, "config.json"),
    JSON.stringify(
      { model_type: "t5", architectures: ["T5ForConditionalGeneration"], is_encoder_decoder: true, ...config },
      null,
      2,
    ),
  );
}
