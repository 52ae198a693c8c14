/** GGUF files seen as Hugging Face checkpoints: the config, the names of tensors and the order of their rows. */
import { ensure, shown, VentrisError } from "../errors.ts";
import { findTensor, type TensorLocation } from "./file-source.ts";
import { type GgufSource, openGguf } from "./gguf.ts";
import { type GgufFields, ggufArchitectures, huggingFaceName } from "./gguf-architectures.ts";
import { readGgufBlocks } from "./quantize.ts";
import type { WeightSource } from "./source.ts";

export interface GgufModel extends WeightSource {
  /** As the `config.json` of the Hugging Face checkpoint would be. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/**
 * Opens a GGUF file under Hugging Face's names. Errors: as `openGguf`; `bad_config` for an architecture or a variant that
 * the names do not cover; `bad_file` for a tensor that is none of the architecture's.
 */
export async function openGgufModel(path: string): Promise<GgufModel> {
  const source = await openGguf(path);
  try {
    const config = await ggufLlamaConfig(source);
    return { ...renamed(source, config), config, metadata: source.metadata };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Frequency divisors of rope scalings, which GGUF stores as tensors: part of the config, not weights. */
const ropeFactorsName = "rope_freqs.weight";
const longFactorNames = { short: "rope_factors_short.weight", long: "rope_factors_long.weight" };
const noWeights: readonly string[] = [ropeFactorsName, ...Object.values(longFactorNames)];

function renamed(source: GgufSource, config: Readonly<Record<string, unknown>>): WeightSource {
  const architecture = source.metadata["general.architecture"] as string;
  const { moved, shiftedNorms } = ggufArchitectures[architecture];
  const tensors = new Map<string, TensorLocation>();
  const original = new Map<string, string>();
  for (const [name, tensor] of source.tensors) {
    if (noWeights.includes(name)) continue;
    const newName = huggingFaceName(name, architecture);
    ensure(newName, "bad_file", `${source.origin}: tensor ${name} is not known in this architecture`);
    tensors.set(newName, { ...tensor, name: newName });
    original.set(newName, name);
  }
  const heads = (name: string): number | undefined => {
    if (moved === "pairs" && /\.q_proj\.\w+$/.test(name)) return config.num_attention_heads as number;
    if (moved === "pairs" && /\.k_proj\.\w+$/.test(name)) return config.num_key_value_heads as number;
    return moved === "kinds" && /\.query_key_value\.\w+$/.test(name)
      ? (config.num_attention_heads as number)
      : undefined;
  };
  const ordered = <T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(name: string, stored: T): T => {
    const count = heads(name);
    if (count === undefined) return stored;
    const move = moved === "pairs" ? pairsToHalves : kindsToHeads;
    return move(stored, tensors.get(name)!.shape[0], count, `${source.origin}: tensor ${name}`);
  };
  const originalName = (name: string) => original.get(findTensor(source.origin, tensors, name).name)!;
  const readBytes = async (name: string) => ordered(name, await source.readBytes(originalName(name)));
  return {
    origin: source.origin,
    identity: source.identity,
    tensors,
    readBytes,
    readBlocks: (name) => readGgufBlocks({ origin: source.origin, tensors, readBytes }, name),
    async readFloat32(name, options) {
      const values = ordered(name, await source.readFloat32(originalName(name), options));
      return shiftedNorms && /norm\.weight$/.test(name) ? values.map((x) => x - 1) : values;
    },
    // Rows that the converter moved are not where they are asked for; those are small matrices.
    readRows: async (name, from, to) => {
      if (heads(name) === undefined) return source.readRows!(originalName(name), from, to);
      const { shape } = findTensor(source.origin, tensors, name);
      const values = ordered(name, await source.readFloat32(originalName(name)));
      return values.slice(from * shape[1], to * shape[1]);
    },
    close: source.close,
  };
}

/** Rows of queries of all heads, then keys, then values, to those of a head together. */
function kindsToHeads<T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  stored: T,
  rows: number,
  heads: number,
  where: string,
): T {
  const perHead = rows / (3 * heads);
  ensure(Number.isInteger(perHead), "bad_file", `${where}: ${rows} rows do not fit ${heads} heads of three kinds`);
  const rowLength = stored.length / rows;
  const result = stored.slice() as T;
  const span = perHead * rowLength;
  for (let kind = 0; kind < 3; kind++) {
    for (let head = 0; head < heads; head++) {
      const from = (kind * heads + head) * span;
      result.set(stored.subarray(from, from + span), (head * 3 + kind) * span);
    }
  }
  return result;
}

/**
 * Within each head llama.cpp keeps the two rows that rotate together side by side (2i, 2i + 1), Hugging Face half a head
 * apart (i, i + d / 2). Rows are moved as they are stored, so this serves values and quantised blocks alike.
 */
function pairsToHalves<T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  stored: T,
  rows: number,
  heads: number,
  where: string,
): T {
  const perHead = rows / heads;
  ensure(
    Number.isInteger(perHead) && perHead % 2 === 0,
    "bad_file",
    `${where}: ${rows} rows do not fit ${heads} heads`,
  );
  const rowLength = stored.length / rows;
  const result = stored.slice() as T;
  for (let row = 0; row < rows; row++) {
    const within = row % perHead;
    const pair = within % (perHead / 2);
    const half = Math.floor(within / (perHead / 2));
    const from = row - within + 2 * pair + half;
    result.set(stored.subarray(from * rowLength, (from + 1) * rowLength), row * rowLength);
  }
  return result;
}

/** Keys that change the mathematics, where nothing here reads them and they say something. */
const weighty =
  /softcapping|_scale$|\.scale$|sliding|swa|temperature|clamp|alibi|expert|ssm|shared|rope\.scaling|sections|causal|rank/;

/**
 * The config of a file of a known architecture in Hugging Face's fields. Errors: `bad_config` for another architecture, a missing key,
 * or a variant (experts, rope scalings and keys of the architecture that are not known).
 */
export async function ggufLlamaConfig(source: GgufSource): Promise<Record<string, unknown>> {
  const { origin, metadata, tensors } = source;
  const architecture = metadata["general.architecture"];
  const known = typeof architecture === "string" && Object.hasOwn(ggufArchitectures, architecture);
  ensure(known, "bad_config", () => {
    return `${origin}: architecture ${shown(architecture)} is not supported (${Object.keys(ggufArchitectures).join(", ")} are)`;
  });
  const own = ggufArchitectures[architecture];
  const read = new Set<string>();
  const value = (key: string) => {
    read.add(`${architecture}.${key}`);
    return metadata[`${architecture}.${key}`];
  };
  const number = (key: string, fallback?: number): number => {
    const found = value(key) ?? fallback;
    ensure(
      typeof found === "number" && Number.isFinite(found),
      "bad_config",
      `${origin}: ${architecture}.${key} must be a number, not ${shown(found)}`,
    );
    return found;
  };
  const positive = (key: string): number | undefined => number(key, 0) || undefined;
  const fields: GgufFields = { value, number, positive };
  const width = number("embedding_length");
  const heads = number("attention.head_count");
  const headDimension = number("attention.key_length", width / heads);
  const turned = number("rope.dimension_count", headDimension);
  const refuseUnless = (allowed: boolean, key: string) =>
    ensure(allowed, "bad_config", () => `${origin}: ${architecture}.${key} = ${shown(value(key))} is not supported`);
  refuseUnless(!value("expert_count"), "expert_count");
  refuseUnless(turned === headDimension || own.partial === true, "rope.dimension_count");
  refuseUnless(number("attention.value_length", headDimension) === headDimension, "attention.value_length");
  const layers = number("block_count");
  const ropeScaling = await readRopeScaling(source, fields, turned);
  const [tokens, embeddings] = [metadata["tokenizer.ggml.tokens"], tensors.get("token_embd.weight")];
  const config = {
    architectures: [own.model],
    model_type: own.type ?? architecture,
    vocab_size: embeddings?.shape[0] ?? number("vocab_size", Array.isArray(tokens) ? tokens.length : undefined),
    hidden_size: width,
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv", heads),
    head_dim: headDimension,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: number("attention.layer_norm_rms_epsilon", own.outer ? 0 : undefined),
    rope_theta: number("rope.freq_base", 10000),
    ...(turned !== headDimension && { partial_rotary_factor: turned / headDimension }),
    ...(ropeScaling && { rope_scaling: ropeScaling }),
    hidden_act: "silu",
    attention_bias: architecture !== "qwen2" && tensors.has("blk.0.attn_q.bias"),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: metadata["tokenizer.ggml.bos_token_id"],
    eos_token_id: metadata["tokenizer.ggml.eos_token_id"],
    ...own.fields?.(fields, { width, layers, heads, headDimension }),
  };
  for (const [key, said] of Object.entries(metadata)) {
    if (!key.startsWith(`${architecture}.`) || read.has(key) || !weighty.test(key) || !said) continue;
    ensure(key.endsWith(".rope.scaling.finetuned") || key.endsWith(".attention.causal"), "bad_config", () => {
      return `${origin}: ${key.slice(0, 100)} = ${shown(said)} is not supported`;
    });
  }
  return config;
}

async function readRopeScaling(
  source: GgufSource,
  { value, number, positive }: GgufFields,
  dimension: number,
): Promise<Record<string, unknown> | undefined> {
  const type = value("rope.scaling.type") ?? (value("rope.scale_linear") === undefined ? "none" : "linear");
  const { short, long } = longFactorNames;
  if (source.tensors.has(short) || source.tensors.has(long)) {
    ensure(type === "none" || type === "longrope", "bad_config", () => {
      return `${source.origin}: rope scaling ${shown(type)} together with ${long}`;
    });
    const factors = async (name: string) => Array.from(await source.readFloat32(name));
    const temperature = positive("rope.scaling.attn_factor");
    return {
      rope_type: "longrope",
      short_factor: await factors(short),
      long_factor: await factors(long),
      ...(temperature && { attention_factor: temperature }),
    };
  }
  if (source.tensors.has(ropeFactorsName)) {
    ensure(
      type === "none",
      "bad_config",
      () => `${source.origin}: rope scaling ${shown(type)} together with ${ropeFactorsName}`,
    );
    const divisors = await source.readFloat32(ropeFactorsName);
    return llama3Scaling(source.origin, divisors, number("rope.freq_base", 10000), dimension);
  }
  if (type === "none") return undefined;
  const factor = () => number("rope.scaling.factor", number("rope.scale_linear", 1));
  if (type === "yarn") {
    const optional = {
      beta_fast: positive("rope.scaling.yarn_beta_fast"),
      beta_slow: positive("rope.scaling.yarn_beta_slow"),
    };
    return {
      rope_type: "yarn",
      factor: factor(),
      original_max_position_embeddings: number("rope.scaling.original_context_length"),
      // llama.cpp multiplies the paper's temperature by it.
      attention_factor: (positive("rope.scaling.attn_factor") ?? 1) * (0.1 * Math.log(Math.max(1, factor())) + 1),
      ...Object.fromEntries(Object.entries(optional).filter(([, given]) => given !== undefined)),
    };
  }
  ensure(type === "linear", "bad_config", () => {
    return `${source.origin}: rope scaling ${shown(type)} is not supported (none, linear, yarn, longrope and Llama 3's are)`;
  });
  return { rope_type: "linear", factor: factor() };
}

/**
 * Llama 3's rope scaling from its divisors. GGUF keeps the divisors but not the four parameters they came from; every
 * Llama 3 model has these three and differs in the factor alone, which is the divisor of the longest wave.
 */
function llama3Scaling(
  origin: string,
  divisors: Float32Array,
  theta: number,
  headDimension: number,
): Record<string, unknown> {
  const [lowFrequency, highFrequency, originalLength] = [1, 4, 8192];
  const factor = divisors.at(-1) ?? 1;
  const matches = divisors.every((divisor, i) => {
    const wave = 2 * Math.PI * theta ** ((2 * i) / headDimension);
    const share = (originalLength / wave - lowFrequency) / (highFrequency - lowFrequency);
    const smooth = Math.min(1, Math.max(0, share));
    return Math.abs(divisor * ((1 - smooth) / factor + smooth) - 1) < 1e-3;
  });
  if (!matches || divisors.length !== headDimension / 2) {
    throw new VentrisError(
      "bad_config",
      `${origin}: ${ropeFactorsName} does not hold Llama 3's rope scaling, the only one supported in this form`,
    );
  }
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: lowFrequency,
    high_freq_factor: highFrequency,
    original_max_position_embeddings: originalLength,
  };
}
