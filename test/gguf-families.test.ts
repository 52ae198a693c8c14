/** GGUF files of the families, laid out as llama.cpp's converter does it, give the logits of the definition. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { uniform } from "../src/engine/random.ts";
import { open } from "../src/open.ts";
import { type GgufMetadata, type GgufTensor, ggufBytes } from "../src/weights/gguf.fixture.ts";
import { blockLayouts, dequantizeBlocks } from "../src/weights/gguf-blocks.ts";
import { float32ToFloat16 } from "../src/weights/half.ts";
import { families } from "./fixtures/families.ts";
import type { ReferenceTensor } from "./fixtures/reference.ts";
import { type Json, removeModel, writeTinyModel } from "./fixtures/tiny-model.ts";

const tokens = Array.from({ length: 16 }, (_, i) => (i * i * 7 + 3 * i + 5) % 64);

/** llama.cpp's names of the parts of a layer, longest first where one is in another. */
const parts: readonly [string, string][] = [
  ["self_attn.qkv_proj", "attn_qkv"],
  ["attention.query_key_value", "attn_qkv"],
  ["attention.dense", "attn_output"],
  ["self_attn.q_proj", "attn_q"],
  ["self_attn.k_proj", "attn_k"],
  ["self_attn.v_proj", "attn_v"],
  ["self_attn.o_proj", "attn_output"],
  ["self_attn.q_norm", "attn_q_norm"],
  ["self_attn.k_norm", "attn_k_norm"],
  ["mlp.gate_up_proj", "ffn_up"],
  ["mlp.gate_proj", "ffn_gate"],
  ["mlp.up_proj", "ffn_up"],
  ["mlp.down_proj", "ffn_down"],
  ["mlp.dense_h_to_4h", "ffn_up"],
  ["mlp.dense_4h_to_h", "ffn_down"],
  ["input_layernorm", "attn_norm"],
  ["pre_feedforward_layernorm", "ffn_norm"],
  ["post_feedforward_layernorm", "post_ffw_norm"],
];
const outer: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
  "gpt_neox.embed_in": "token_embd",
  "gpt_neox.final_layer_norm": "output_norm",
  embed_out: "output",
};

function nameOf(name: string, architecture: string): string {
  const [, stem, kind] = /^(.*)\.(weight|bias)$/.exec(name)!;
  if (outer[stem]) return `${outer[stem]}.${kind}`;
  const [, layer, part] = /^\w+\.layers\.(\d+)\.(.*)$/.exec(stem)!;
  const afterwards = ["olmo2", "gemma2", "gemma3"].includes(architecture);
  const norm = afterwards ? "post_attention_norm" : "ffn_norm";
  const found = part === "post_attention_layernorm" ? norm : parts.find(([ours]) => ours === part)![1];
  return `blk.${layer}.${found}.${kind}`;
}

/** Which old row stands in a new row's place; undefined: all stay. Pairs that turn stand side by side, kinds of heads together. */
function movedRows(
  name: string,
  rows: number,
  architecture: string,
  heads: number,
): ((row: number) => number) | undefined {
  if (["granite", "smollm3"].includes(architecture) && /[qk]_proj/.test(name)) {
    const dimension = 8;
    return (row) => {
      const within = row % dimension;
      return row - within + (within % 2) * (dimension / 2) + Math.floor(within / 2);
    };
  }
  if (architecture !== "gptneox" || !name.includes("query_key_value")) return undefined;
  const dimension = rows / heads / 3;
  return (row) => {
    const [kind, head] = [Math.floor(row / dimension / heads), Math.floor(row / dimension) % heads];
    return (head * 3 + kind) * dimension + (row % dimension);
  };
}

/** What the converter writes for a tensor: rows in its order, norms as they multiply. */
function converted(
  name: string,
  { shape, data }: ReferenceTensor,
  stored: Stored | undefined,
  architecture: string,
  heads: number,
): Omit<GgufTensor, "name"> {
  const shifted = architecture.startsWith("gemma") && /norm\.weight$/.test(name) ? 1 : 0;
  const bytes = stored?.bytes ?? new Uint8Array(Float32Array.from(data, (x) => x + shifted).buffer);
  const from = movedRows(name, shape[0], architecture, heads);
  const length = bytes.length / shape[0];
  const moved = new Uint8Array(bytes.length);
  for (let row = 0; row < shape[0]; row++) {
    const start = (from?.(row) ?? row) * length;
    moved.set(bytes.subarray(start, start + length), row * length);
  }
  return { type: stored?.type ?? 0, shape: [...shape], bytes: moved };
}

/** A matrix in blocks. */
interface Stored {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/**
 * ggml's numbers of the types, where their scale d lies (and dmin behind it, `lowest` times as large, so that values lie around zero), and how
 * much larger than d values are.
 */
const blockTypes = {
  Q4_K: { type: 12, d: 0, size: 220, lowest: 7.5 },
  Q6_K: { type: 14, d: 208, size: 1350 },
  Q5_K: { type: 13, d: 0, size: 440, lowest: 15.5 },
  Q3_K: { type: 11, d: 108, size: 42 },
  Q8_0: { type: 8, d: 0, size: 73 },
  Q2_K: { type: 10, d: 80, size: 12, lowest: 1.5 },
  IQ4_XS: { type: 23, d: 0, size: 1250 },
  Q5_0: { type: 6, d: 0, size: 9 },
  Q4_0: { type: 2, d: 0, size: 4.6 },
} as const;

/** Random blocks for a matrix whose values shall be as large as `data`: their bytes and what they stand for. */
function inBlocks(
  kind: keyof typeof blockTypes,
  { data }: ReferenceTensor,
  seed: number,
): Stored & { values: Float32Array } {
  const { type, d, size, ...more } = blockTypes[kind];
  const { elements, bytes: length } = blockLayouts[kind];
  const deviation = Math.sqrt(Array.from(data).reduce((sum, x) => sum + x * x, 0) / data.length);
  const bytes = new Uint8Array((data.length / elements) * length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = 256 * uniform({ seed, request: type }, i, "data");
  const halves = new DataView(
    float32ToFloat16(Float32Array.of(deviation / size, ("lowest" in more ? more.lowest : 0) * (deviation / size)))
      .buffer,
  );
  for (let block = 0; block < bytes.length; block += length) {
    new DataView(bytes.buffer).setUint16(block + d, halves.getUint16(0, true), true);
    if ("lowest" in more) new DataView(bytes.buffer).setUint16(block + d + 2, halves.getUint16(2, true), true);
  }
  return { type, bytes, values: dequantizeBlocks(kind, bytes) };
}

interface Case {
  readonly family: string;
  /** What the file cannot say otherwise. */
  readonly config?: Json;
  readonly metadata?: GgufMetadata;
  readonly factors?: Readonly<Record<string, readonly number[]>>;
}

const phi = "phi3 with LongRoPE, turned in part";
const ofPhi = families[phi].rope_scaling as { short_factor: number[]; long_factor: number[] };
const cases: Readonly<Record<string, Case>> = {
  granite: {
    family: "granite",
    metadata: { embedding_scale: 3, residual_scale: 0.22, "attention.scale": 0.3, logit_scale: 0.8 },
  },
  olmo2: { family: "olmo2" },
  smollm3: { family: "smollm3", config: { no_rope_layers: undefined } },
  qwen3: {
    family: "qwen3 with YaRN",
    metadata: {
      "rope.scaling.type": "yarn",
      "rope.scaling.factor": 4,
      "rope.scaling.original_context_length": 40,
      "rope.scaling.finetuned": true,
    },
  },
  phi3: {
    family: phi,
    config: { sliding_window: 9 },
    metadata: {
      "rope.dimension_count": 6,
      "rope.scaling.original_context_length": 100,
      "rope.scaling.attn_factor": Math.sqrt(1 + Math.log(1.6) / Math.log(100)),
      "attention.sliding_window": 9,
    },
    factors: { rope_factors_short: ofPhi.short_factor, rope_factors_long: ofPhi.long_factor },
  },
  gemma: { family: "gemma" },
  gemma2: {
    family: "gemma2",
    config: { query_pre_attn_scalar: 16 },
    metadata: { attn_logit_softcapping: 2, final_logit_softcapping: 5, "attention.sliding_window": 7 },
  },
  gemma3: {
    family: "gemma3",
    config: { query_pre_attn_scalar: 16, num_hidden_layers: 7, sliding_window_pattern: 6, rope_local_base_freq: 10000 },
    metadata: { "attention.sliding_window": 6, "rope.scaling.type": "linear", "rope.scaling.factor": 8 },
  },
  gptneox: { family: "pythia", metadata: { "rope.dimension_count": 4, use_parallel_residual: true } },
};

/** Rows of 256, as blocks of K-quants have them; heads keep their sizes. */
function wide(config: Json): Json {
  const {
    num_attention_heads: heads,
    num_key_value_heads: keys,
    head_dim: dimension,
  } = config as Record<string, number>;
  const more = 256 / (heads * (dimension ?? 32 / heads));
  return {
    ...config,
    hidden_size: 256,
    intermediate_size: 256,
    num_attention_heads: heads * more,
    ...(keys !== undefined && { num_key_value_heads: keys * more }),
  };
}

async function check(
  architecture: string,
  { family, config: changes, metadata = {}, factors = {} }: Case,
  quantised: boolean,
) {
  const small = { ...families[family], ...changes } as Json;
  const blocks = new Map<string, Stored>();
  const kinds = Object.keys(blockTypes) as (keyof typeof blockTypes)[];
  const tiny = await writeTinyModel({
    config: quantised ? wide(small) : small,
    tensors(tensors) {
      if (!quantised) return;
      for (const [name, tensor] of tensors) {
        if (tensor.shape.length !== 2) continue;
        // Rows that move do so as they are stored, too.
        const kind = /[qk]_proj|query_key_value/.test(name) ? "Q4_0" : kinds[blocks.size % kinds.length];
        const stored = inBlocks(kind, tensor, blocks.size);
        blocks.set(name, stored);
        tensors.set(name, { ...tensor, data: stored.values });
      }
    },
  });
  const { config } = tiny;
  const number = (name: string): number => config[name] as number;
  const tensors: GgufTensor[] = [...tiny.weights].map(([name, tensor]) => ({
    name: nameOf(name, architecture),
    ...converted(name, tensor, blocks.get(name), architecture, number("num_attention_heads")),
  }));
  for (const [name, values] of Object.entries(factors))
    tensors.push({
      name: `${name}.weight`,
      type: 0,
      shape: [values.length],
      bytes: new Uint8Array(Float32Array.from(values).buffer),
    });
  const neox = architecture === "gptneox";
  const keys = {
    block_count: number("num_hidden_layers"),
    context_length: number("max_position_embeddings"),
    embedding_length: number("hidden_size"),
    feed_forward_length: number("intermediate_size"),
    "attention.head_count": number("num_attention_heads"),
    ...(neox
      ? { "attention.layer_norm_epsilon": 1e-5 }
      : {
          "attention.head_count_kv": number("num_key_value_heads"),
          "attention.layer_norm_rms_epsilon": 1e-5,
          "rope.freq_base": number("rope_theta"),
        }),
    ...(config.head_dim !== undefined && {
      "attention.key_length": number("head_dim"),
      "attention.value_length": number("head_dim"),
    }),
    ...metadata,
  };
  const header = Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value]);
  const path = join(tiny.folder, "tiny.gguf");
  await writeFile(path, ggufBytes({ "general.architecture": architecture, ...Object.fromEntries(header) }, tensors));
  const wanted = tiny.logits(tokens).at(-1)!;
  const logits = async (weights: "f32" | "auto") => {
    await using model = await open(path, { threads: 1, weights });
    const lease = model.forest.lease();
    const { node } = await lease.prefill(tokens);
    const logits = node.logits!.slice();
    lease.close();
    return logits;
  };
  const most = (found: Float32Array): number => Math.max(...wanted.map((x, i) => Math.abs(x - found[i])));
  expect(most(await logits("f32"))).toBeLessThan(1e-4);
  // Multiplied as they are stored, where the runtime can: it rounds what it multiplies them with.
  const spread = Math.max(...wanted) - Math.min(...wanted);
  if (quantised) expect(most(await logits("auto"))).toBeLessThan(0.01 * spread);
  await removeModel(tiny);
}

test.each(Object.entries(cases))("%s", (architecture, given) => check(architecture, given, false));

test.each(Object.entries(cases))("%s in blocks of many kinds", (architecture, given) =>
  check(architecture, given, true),
);
