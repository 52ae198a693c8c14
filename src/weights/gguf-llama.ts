/** Llama-family GGUF files seen as Hugging Face checkpoints: the config, the names of tensors and the order of their rows. */
import { ensure, VentrisError } from "../errors.ts";
import { findTensor, type TensorLocation } from "./file-source.ts";
import { type GgufSource, openGguf } from "./gguf.ts";
import { readGgufBlocks } from "./quantize.ts";
import type { WeightSource } from "./source.ts";

const architectures: Readonly<Record<string, string>> = {
  llama: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
};

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

const outerNames: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

const layerNames: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Hugging Face's name of a Llama-family tensor in a GGUF file; undefined when it has none. */
export function huggingFaceName(name: string): string | undefined {
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (layer === undefined) return Object.hasOwn(outerNames, name) ? outerNames[name] : undefined;
  return Object.hasOwn(layerNames, part) ? `model.layers.${layer}.${layerNames[part]}.${kind}` : undefined;
}

/** Frequency divisors of Llama 3's rope scaling, which GGUF stores as a tensor: part of the config, not a weight. */
const ropeFactorsName = "rope_freqs.weight";

function renamed(source: GgufSource, config: Readonly<Record<string, unknown>>): WeightSource {
  const tensors = new Map<string, TensorLocation>();
  for (const [name, tensor] of source.tensors) {
    if (name === ropeFactorsName) continue;
    const newName = huggingFaceName(name);
    ensure(newName, "bad_file", `${source.origin}: tensor ${name} is not known in this architecture`);
    tensors.set(newName, { ...tensor, name: newName });
  }
  const original = new Map([...source.tensors.keys()].map((name) => [huggingFaceName(name), name]));
  const ordered = <T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(name: string, stored: T): T => {
    const heads = permutedHeads(name, config);
    return heads === undefined
      ? stored
      : pairsToHalves(stored, tensors.get(name)!.shape[0], heads, `${source.origin}: tensor ${name}`);
  };
  const originalName = (name: string) => original.get(findTensor(source.origin, tensors, name).name)!;
  const readBytes = async (name: string) => ordered(name, await source.readBytes(originalName(name)));
  return {
    origin: source.origin,
    identity: source.identity,
    tensors,
    readBytes,
    readBlocks: (name) => readGgufBlocks({ origin: source.origin, tensors, readBytes }, name),
    readFloat32: async (name, options) => ordered(name, await source.readFloat32(originalName(name), options)),
    // Rows that the converter moved are not where they are asked for; those are small matrices.
    readRows: async (name, from, to) => {
      if (permutedHeads(name, config) === undefined) return source.readRows!(originalName(name), from, to);
      const { shape } = findTensor(source.origin, tensors, name);
      const values = ordered(name, await source.readFloat32(originalName(name)));
      return values.slice(from * shape[1], to * shape[1]);
    },
    close: source.close,
  };
}

/** Heads of a tensor whose rows llama.cpp's converter reorders: queries and keys of the llama architecture alone. */
function permutedHeads(name: string, config: Readonly<Record<string, unknown>>): number | undefined {
  if (config.model_type !== "llama") return undefined;
  if (/\.q_proj\.\w+$/.test(name)) return config.num_attention_heads as number;
  return /\.k_proj\.\w+$/.test(name) ? (config.num_key_value_heads as number) : undefined;
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

/**
 * The config of a llama, qwen2 or qwen3 file in Hugging Face's fields. Errors: `bad_config` for another architecture, a
 * missing key, or a variant (experts, partial rotary, other rope scalings than none, linear and Llama 3's).
 */
export async function ggufLlamaConfig(source: GgufSource): Promise<Record<string, unknown>> {
  const { origin, metadata, tensors } = source;
  const architecture = metadata["general.architecture"];
  const known = typeof architecture === "string" && Object.hasOwn(architectures, architecture);
  ensure(
    known,
    "bad_config",
    `${origin}: architecture ${String(architecture)} is not supported (${Object.keys(architectures).join(", ")} are)`,
  );
  const value = (key: string) => metadata[`${architecture}.${key}`];
  const number = (key: string, fallback?: number): number => {
    const found = value(key) ?? fallback;
    ensure(
      typeof found === "number" && Number.isFinite(found),
      "bad_config",
      `${origin}: ${architecture}.${key} must be a number, not ${String(found)}`,
    );
    return found;
  };
  const width = number("embedding_length");
  const heads = number("attention.head_count");
  const headDimension = number("attention.key_length", width / heads);
  const refuseUnless = (allowed: boolean, key: string) =>
    ensure(allowed, "bad_config", `${origin}: ${architecture}.${key} = ${String(value(key))} is not supported`);
  refuseUnless(!value("expert_count"), "expert_count");
  refuseUnless(number("rope.dimension_count", headDimension) === headDimension, "rope.dimension_count");
  refuseUnless(number("attention.value_length", headDimension) === headDimension, "attention.value_length");
  refuseUnless(!value("attention.sliding_window"), "attention.sliding_window");
  const ropeScaling = await readRopeScaling(source, value, number, headDimension);
  const [tokens, embeddings] = [metadata["tokenizer.ggml.tokens"], tensors.get("token_embd.weight")];
  return {
    architectures: [architectures[architecture]],
    model_type: architecture,
    vocab_size: embeddings?.shape[0] ?? number("vocab_size", Array.isArray(tokens) ? tokens.length : undefined),
    hidden_size: width,
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv", heads),
    head_dim: headDimension,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: number("attention.layer_norm_rms_epsilon"),
    rope_theta: number("rope.freq_base", 10000),
    ...(ropeScaling && { rope_scaling: ropeScaling }),
    hidden_act: "silu",
    attention_bias: architecture !== "qwen2" && tensors.has("blk.0.attn_q.bias"),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: metadata["tokenizer.ggml.bos_token_id"],
    eos_token_id: metadata["tokenizer.ggml.eos_token_id"],
  };
}

async function readRopeScaling(
  source: GgufSource,
  value: (key: string) => unknown,
  number: (key: string, fallback?: number) => number,
  headDimension: number,
): Promise<Record<string, unknown> | undefined> {
  const type = value("rope.scaling.type") ?? (value("rope.scale_linear") === undefined ? "none" : "linear");
  if (source.tensors.has(ropeFactorsName)) {
    ensure(
      type === "none",
      "bad_config",
      `${source.origin}: rope scaling ${String(type)} together with ${ropeFactorsName}`,
    );
    return llama3Scaling(
      source.origin,
      await source.readFloat32(ropeFactorsName),
      number("rope.freq_base", 10000),
      headDimension,
    );
  }
  if (type === "none") return undefined;
  ensure(
    type === "linear",
    "bad_config",
    `${source.origin}: rope scaling ${String(type)} is not supported (none, linear and Llama 3's are)`,
  );
  return { rope_type: "linear", factor: number("rope.scaling.factor", number("rope.scale_linear", 1)) };
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
