/** Writes a Hugging Face Llama checkpoint as a GGUF v3 file that llama.cpp runs. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { formats } from "./blocks.mjs";
import { cache } from "./random.mjs";
import { openSafetensors, writeFile } from "./safetensors.mjs";
import { headWidth, llamaTensors } from "./shapes.mjs";
import { syntheticTokenizer, tokenizerMetadata } from "./tokenizer.mjs";

/** @typedef {{ type: "uint32" | "float32", value: number } | { type: "bool", value: boolean } | { type: "string", value: string } | { type: "strings", value: string[] } | { type: "int32s", value: number[] }} Value */
/** @typedef {Record<string, Value>} Metadata */
/** @typedef {import("./shapes.mjs").LlamaConfig} LlamaConfig */

/** Tensor data and each tensor in it begin on multiples of this many bytes (the format's default). */
const alignment = 32;
/** llama.cpp's `general.file_type`, for display only. */
const fileTypes = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7 };

/**
 * The GGUF file of a checkpoint folder, written beside it on first use.
 * @param {string} folder @param {import("./blocks.mjs").GgufType} type of all matrices; norms stay F32
 */
export function ggufOf(folder, type) {
  const path = join(folder, `model-${type}.gguf`);
  if (!existsSync(path)) exportGguf(folder, path, type);
  return path;
}

/**
 * The GGUF file of a shipped model, written into the benchmarks' cache with its tokenizer, and again when the model changes.
 * @param {string} folder @param {import("./blocks.mjs").GgufType} type
 */
export function ggufInCache(folder, type) {
  const changed = Math.round(statSync(join(folder, "model.safetensors")).mtimeMs);
  const target = join(cache, `${basename(folder)}-${changed}`);
  const path = join(target, `model-${type}.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(target, { recursive: true });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    if (existsSync(join(folder, name))) copyFileSync(join(folder, name), join(target, name));
  }
  exportGguf(folder, path, type);
  return path;
}

/**
 * Reads config.json, model.safetensors and, when there is one, tokenizer.json. Peaks at one piece of one tensor.
 * @param {string} folder @param {string} path @param {import("./blocks.mjs").GgufType} type
 */
export function exportGguf(folder, path, type) {
  /** @type {LlamaConfig & { model_type: string }} */
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  if (config.model_type !== "llama" || config.rope_scaling) {
    throw new Error(`${folder}: only plain Llama checkpoints without rope scaling can be exported`);
  }
  const tokenizerPath = join(folder, "tokenizer.json");
  const tokenizer = existsSync(tokenizerPath)
    ? JSON.parse(readFileSync(tokenizerPath, "utf8"))
    : syntheticTokenizer(config.vocab_size);
  const source = openSafetensors(join(folder, "model.safetensors"));
  const tensors = llamaTensors(config).map(({ name, shape }) => {
    if (String(source.tensors[name]?.shape) !== String(shape)) {
      throw new Error(`${folder}: ${name} should have shape [${shape}], it has [${source.tensors[name]?.shape}]`);
    }
    const format = formats[shape.length === 1 ? "F32" : type];
    if (shape[shape.length - 1] % format.values !== 0)
      throw new Error(`${folder}: the rows of ${name} are no multiple of ${format.values}`);
    return { source: name, name: ggufName(name), shape, format, rows: rowOrder(name, config) };
  });
  writeFile(path, function* () {
    yield header(tensors, { ...llamaMetadata(config, type), ...tokenizerMetadata(tokenizer, config) });
    for (const tensor of tensors) yield* tensorPieces(source, tensor);
  });
  source.close();
}

/** @typedef {{ source: string, name: string, shape: number[], format: typeof formats.F32, rows: number[] | undefined }} Tensor */

/** @param {Tensor} tensor */
const byteLength = ({ shape, format }) => (shape.reduce((a, b) => a * b, 1) / format.values) * format.bytes;
/** @param {number} length */
const padding = (length) => (alignment - (length % alignment)) % alignment;

/** @param {ReturnType<typeof openSafetensors>} source @param {Tensor} tensor */
function* tensorPieces(source, tensor) {
  const { shape, format, rows } = tensor;
  const [count, columns = 1] = shape;
  if (rows) {
    const values = source.readRows(tensor.source, 0, count);
    const ordered = new Float32Array(values.length);
    for (const [to, from] of rows.entries())
      ordered.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
    yield format.encode(ordered);
  } else {
    const step = Math.max(1, Math.floor((1 << 22) / columns));
    for (let first = 0; first < count; first += step) {
      yield format.encode(source.readRows(tensor.source, first, Math.min(step, count - first)));
    }
  }
  yield new Uint8Array(padding(byteLength(tensor)));
}

/**
 * Hugging Face rotates the two halves of a head against each other, llama.cpp neighbouring pairs: the rows of the query and
 * key projections are interleaved within each head. Row `to` of the file is row `rowOrder[to]` of the checkpoint.
 * @param {string} name @param {LlamaConfig} config
 */
function rowOrder(name, config) {
  const heads = name.includes("q_proj")
    ? config.num_attention_heads
    : name.includes("k_proj")
      ? config.num_key_value_heads
      : 0;
  if (heads === 0) return undefined;
  const head = headWidth(config);
  return Array.from({ length: heads * head }, (_, row) => {
    const within = row % head;
    return row - within + (within % 2) * (head / 2) + (within >> 1);
  });
}

/** @param {string} name */
function ggufName(name) {
  const parts = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    lm_head: "output",
    "model.layers.": "blk.",
    input_layernorm: "attn_norm",
    post_attention_layernorm: "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  };
  return Object.entries(parts).reduce((renamed, [from, to]) => renamed.replace(from, to), name);
}

/** @param {LlamaConfig} config @param {import("./blocks.mjs").GgufType} type @returns {Metadata} */
function llamaMetadata(config, type) {
  /** @param {number} value @returns {Value} */
  const integer = (value) => ({ type: "uint32", value });
  /** @param {number} value @returns {Value} */
  const real = (value) => ({ type: "float32", value });
  return {
    "general.architecture": { type: "string", value: "llama" },
    "general.file_type": integer(fileTypes[type]),
    "general.quantization_version": integer(2),
    "llama.vocab_size": integer(config.vocab_size),
    "llama.context_length": integer(config.max_position_embeddings),
    "llama.embedding_length": integer(config.hidden_size),
    "llama.block_count": integer(config.num_hidden_layers),
    "llama.feed_forward_length": integer(config.intermediate_size),
    "llama.attention.head_count": integer(config.num_attention_heads),
    "llama.attention.head_count_kv": integer(config.num_key_value_heads),
    "llama.attention.key_length": integer(headWidth(config)),
    "llama.attention.value_length": integer(headWidth(config)),
    "llama.attention.layer_norm_rms_epsilon": real(config.rms_norm_eps),
    "llama.rope.dimension_count": integer(headWidth(config)),
    "llama.rope.freq_base": real(config.rope_theta),
  };
}

/** Magic, version, counts, key-value pairs, tensor descriptions (dimensions innermost first), padding. @param {Tensor[]} tensors @param {Metadata} metadata */
function header(tensors, metadata) {
  /** @type {Buffer[]} */
  const parts = [Buffer.from("GGUF"), uint32(3), uint64(tensors.length), uint64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) parts.push(string(key), encodeValue(value));
  let offset = 0;
  for (const tensor of tensors) {
    parts.push(string(tensor.name), uint32(tensor.shape.length), ...[...tensor.shape].reverse().map(uint64));
    parts.push(uint32(tensor.format.id), uint64(offset));
    offset += byteLength(tensor) + padding(byteLength(tensor));
  }
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, Buffer.alloc(padding(bytes.length))]);
}

/** A value with its type number before it. @param {Value} entry */
function encodeValue(entry) {
  switch (entry.type) {
    case "uint32":
      return Buffer.concat([uint32(4), uint32(entry.value)]);
    case "float32": {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(entry.value);
      return Buffer.concat([uint32(6), bytes]);
    }
    case "bool":
      return Buffer.concat([uint32(7), Buffer.from([entry.value ? 1 : 0])]);
    case "string":
      return Buffer.concat([uint32(8), string(entry.value)]);
    case "strings":
      return Buffer.concat([uint32(9), uint32(8), uint64(entry.value.length), ...entry.value.map(string)]);
    case "int32s":
      return Buffer.concat([
        uint32(9),
        uint32(5),
        uint64(entry.value.length),
        Buffer.from(Int32Array.from(entry.value).buffer),
      ]);
  }
}

/** @param {number} value */
function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** @param {number} value */
function uint64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** @param {string} text */
function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint64(bytes.length), bytes]);
}
