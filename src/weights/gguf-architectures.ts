/**
 * What the architectures of GGUF files are called at Hugging Face: models, tensors and fields; and how llama.cpp's converter lays out
 * what it changes. Fields that a file does not have are those that llama.cpp takes for it.
 */
import { ensure, shown } from "../errors.ts";
import { suggestion } from "../names.ts";

/** Reads `ARCHITECTURE.KEY` of a file's header. Errors: `bad_config` for what is no number. */
export interface GgufFields {
  value(key: string): unknown;
  number(key: string, fallback?: number): number;
  /** Undefined where the key is missing or 0, as llama.cpp has it. */
  positive(key: string): number | undefined;
}

/** Sizes that all architectures have. */
export interface GgufShape {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly headDimension: number;
}

export interface GgufArchitecture {
  /** Hugging Face's name of the model, and `model_type` where it is not the architecture. */
  readonly model: string;
  readonly type?: string;
  /** Names that are not Llama's, in layers and outside of them; null: the architecture has no such tensor. */
  readonly layer?: Readonly<Record<string, string | null>>;
  readonly outer?: Readonly<Record<string, string>>;
  /**
   * Rows that the converter moves: "pairs", within each head the two that turn together stand side by side; "kinds", queries of all heads
   * stand before keys, and these before values, instead of head by head.
   */
  readonly moved?: "pairs" | "kinds";
  /** Norms are stored as they multiply; Hugging Face stores them less one. */
  readonly shiftedNorms?: true;
  /** Only the first dimensions of a head may turn. */
  readonly partial?: true;
  /** Fields of its own, which may replace common ones. */
  readonly fields?: (read: GgufFields, shape: GgufShape) => Readonly<Record<string, unknown>>;
}

/** llama.cpp's own rule: the largest size of a generation divides the width by its heads, the others have the head's dimension. */
const queryScalar = ({ width, layers, heads, headDimension }: GgufShape, largest: number): number =>
  layers === largest ? width / heads : headDimension;

const sandwich = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
};
const gelu = { hidden_act: undefined, hidden_activation: "gelu_pytorch_tanh" };

export const ggufArchitectures: Readonly<Record<string, GgufArchitecture>> = {
  llama: { model: "LlamaForCausalLM", moved: "pairs" },
  qwen2: { model: "Qwen2ForCausalLM" },
  qwen3: { model: "Qwen3ForCausalLM" },
  granite: {
    model: "GraniteForCausalLM",
    moved: "pairs",
    fields: ({ positive }, { headDimension }) => ({
      embedding_multiplier: positive("embedding_scale") ?? 1,
      residual_multiplier: positive("residual_scale") ?? 1,
      attention_multiplier: positive("attention.scale") ?? headDimension ** -0.5,
      logits_scaling: positive("logit_scale") ?? 1,
    }),
  },
  olmo2: {
    model: "Olmo2ForCausalLM",
    layer: {
      attn_norm: null,
      ffn_norm: null,
      post_attention_norm: "post_attention_layernorm",
      post_ffw_norm: "post_feedforward_layernorm",
    },
  },
  // Which layers do not turn is no field of the file.
  smollm3: { model: "SmolLM3ForCausalLM", moved: "pairs", fields: () => ({ no_rope_layer_interval: 4 }) },
  phi3: {
    model: "Phi3ForCausalLM",
    partial: true,
    layer: {
      attn_q: null,
      attn_k: null,
      attn_v: null,
      ffn_gate: null,
      attn_qkv: "self_attn.qkv_proj",
      ffn_up: "mlp.gate_up_proj",
    },
    fields: ({ positive }) => ({
      sliding_window: positive("attention.sliding_window") ?? null,
      original_max_position_embeddings: positive("rope.scaling.original_context_length"),
    }),
  },
  gemma: { model: "GemmaForCausalLM", shiftedNorms: true, fields: () => gelu },
  gemma2: {
    model: "Gemma2ForCausalLM",
    shiftedNorms: true,
    layer: sandwich,
    fields: ({ number, positive }, shape) => ({
      ...gelu,
      query_pre_attn_scalar: queryScalar(shape, 46),
      sliding_window: positive("attention.sliding_window") ?? 4096,
      attn_logit_softcapping: number("attn_logit_softcapping", 50),
      final_logit_softcapping: number("final_logit_softcapping", 30),
    }),
  },
  gemma3: {
    model: "Gemma3ForCausalLM",
    type: "gemma3_text",
    shiftedNorms: true,
    layer: sandwich,
    fields: ({ number, positive }, shape) => ({
      ...gelu,
      query_pre_attn_scalar: queryScalar(shape, 62),
      sliding_window: positive("attention.sliding_window") ?? null,
      sliding_window_pattern: 6,
      rope_theta: number("rope.freq_base", 10000),
      rope_local_base_freq: number("rope.freq_base_swa", 10000),
      final_logit_softcapping: positive("final_logit_softcapping") ?? null,
    }),
  },
  gptneox: {
    model: "GPTNeoXForCausalLM",
    type: "gpt_neox",
    moved: "kinds",
    partial: true,
    outer: {
      "token_embd.weight": "gpt_neox.embed_in.weight",
      "output_norm.weight": "gpt_neox.final_layer_norm.weight",
      "output_norm.bias": "gpt_neox.final_layer_norm.bias",
      "output.weight": "embed_out.weight",
    },
    layer: {
      attn_norm: "input_layernorm",
      attn_qkv: "attention.query_key_value",
      attn_output: "attention.dense",
      ffn_norm: "post_attention_layernorm",
      ffn_up: "mlp.dense_h_to_4h",
      ffn_down: "mlp.dense_4h_to_h",
      attn_q: null,
      attn_k: null,
      attn_v: null,
      attn_q_norm: null,
      attn_k_norm: null,
      ffn_gate: null,
    },
    fields: ({ value, number }, { headDimension }) => ({
      hidden_act: "gelu",
      attention_bias: undefined,
      head_dim: undefined,
      num_key_value_heads: undefined,
      rms_norm_eps: undefined,
      layer_norm_eps: number("attention.layer_norm_epsilon"),
      rope_theta: undefined,
      rotary_emb_base: number("rope.freq_base", 10000),
      rotary_pct: number("rope.dimension_count", headDimension) / headDimension,
      partial_rotary_factor: undefined,
      use_parallel_residual: value("use_parallel_residual") ?? true,
    }),
  },
};

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

/** Hugging Face's name of a tensor in a GGUF file; undefined when its architecture has none. Errors: `bad_option` for an unknown architecture. */
export function huggingFaceName(name: string, architecture = "llama"): string | undefined {
  ensure(Object.hasOwn(ggufArchitectures, architecture), "bad_option", () => {
    const known = Object.keys(ggufArchitectures);
    return `huggingFaceName: the architecture ${shown(architecture)} is not known${suggestion(architecture, known)} (known: ${known.join(", ")})`;
  });
  const own = ggufArchitectures[architecture];
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (layer === undefined) {
    const names = own.outer ?? outerNames;
    return Object.hasOwn(names, name) ? names[name] : undefined;
  }
  const names: Readonly<Record<string, string | null>> = { ...layerNames, ...own.layer };
  const found = Object.hasOwn(names, part) ? names[part] : null;
  return found === null ? undefined : `${own.outer ? "gpt_neox" : "model"}.layers.${layer}.${found}.${kind}`;
}
