/** GGUF files of the families, laid out as llama.cpp's converter does it, give the logits of the definition. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { open } from "../src/open.ts";
import { type GgufMetadata, type GgufTensor, ggufBytes } from "../src/weights/gguf.fixture.ts";
import { families } from "./fixtures/families.ts";
import type { ReferenceTensor } from "./fixtures/reference.ts";
import { type Json, removeModel, writeTinyModel } from "./fixtures/tiny-model.ts";

const tokens = Array.from({ length: 24 }, (_, i) => (i * i * 7 + 3 * i + 5) % 64);

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

/** New rows of a tensor from numbers of old ones. */
function rowsFrom({ shape, data }: ReferenceTensor, from: (row: number) => number): ReferenceTensor {
  const width = data.length / shape[0];
  const values = Float32Array.from(data, (_, i) => data[from(Math.floor(i / width)) * width + (i % width)]);
  return { shape, data: values };
}

/** What the converter does to values: pairs that turn side by side, kinds of heads together, norms as they multiply. */
function converted(name: string, tensor: ReferenceTensor, architecture: string, heads: number): ReferenceTensor {
  const { shape, data } = tensor;
  if (["granite", "smollm3"].includes(architecture) && /[qk]_proj/.test(name)) {
    const dimension = 8;
    return rowsFrom(tensor, (row) => {
      const within = row % dimension;
      return row - within + (within % 2) * (dimension / 2) + Math.floor(within / 2);
    });
  }
  if (architecture === "gptneox" && name.includes("query_key_value")) {
    const dimension = shape[0] / heads / 3;
    return rowsFrom(tensor, (row) => {
      const [kind, head] = [Math.floor(row / dimension / heads), Math.floor(row / dimension) % heads];
      return (head * 3 + kind) * dimension + (row % dimension);
    });
  }
  if (architecture.startsWith("gemma") && /norm\.weight$/.test(name))
    return { shape, data: Float32Array.from(data, (x) => x + 1) };
  return tensor;
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

test.each(Object.entries(cases))(
  "%s",
  async (architecture, { family, config: changes, metadata = {}, factors = {} }) => {
    const tiny = await writeTinyModel({ config: { ...families[family], ...changes } as Json });
    const { config } = tiny;
    const number = (name: string): number => config[name] as number;
    const tensors: GgufTensor[] = [...tiny.weights].map(([name, tensor]) => {
      const { shape, data } = converted(name, tensor, architecture, number("num_attention_heads"));
      const bytes = new Uint8Array(Float32Array.from(data).buffer);
      return { name: nameOf(name, architecture), type: 0, shape: [...shape], bytes };
    });
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
    await using model = await open(path, { threads: 1, weights: "f32" });
    const lease = model.forest.lease();
    const { node } = await lease.prefill(tokens);
    const wanted = tiny.logits(tokens).at(-1)!;
    wanted.forEach((x, i) => {
      expect(Math.abs(x - node.logits![i])).toBeLessThan(1e-4);
    });
    lease.close();
    await removeModel(tiny);
  },
);
