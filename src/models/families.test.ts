import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { gpt2Config, llamaConfig } from "../../test/fixtures/tiny-model.ts";
import { VentrisError } from "../errors.ts";
import { familyOf } from "./families.ts";

function refusal(config: unknown): VentrisError {
  try {
    familyOf(config);
  } catch (error) {
    expect(error).toBeInstanceOf(VentrisError);
    expect((error as VentrisError).code).toBe("bad_config");
    return error as VentrisError;
  }
  throw new Error("it was not refused");
}

describe("fields of published configs", () => {
  it.each([
    // distilgpt2, and what other trainers and libraries leave in a config.json
    [gpt2Config, { id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 }, task_specific_params: { x: 1 } }],
    [llamaConfig, { num_labels: 2, problem_type: "x", finetuning_task: "mnli", torchscript: true, is_decoder: true }],
    [llamaConfig, { pruned_heads: {}, tokenizer_class: "LlamaTokenizer", unsloth_version: "2025.1", prefix: null }],
    [llamaConfig, { temperature: 0.6, top_p: 0.9, do_sample: true, max_length: 4096, rope_interleaved: false }],
    [llamaConfig, { is_encoder_decoder: false, add_cross_attention: false, cross_attention_hidden_size: null }],
  ])("that say nothing of the mathematics are passed over in silence", (base, fields) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    expect(familyOf({ ...base, ...fields }).config).toEqual(familyOf(base).config);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it("that are unknown are told once when their names say nothing of the mathematics", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    for (let i = 0; i < 2; i++) familyOf({ ...llamaConfig, trained_by: "somebody", wandb_run: 7 });
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0][0]).toMatch(/"trained_by", "wandb_run"/);
    warn.mockRestore();
  });

  it.each<[object, RegExp]>([
    [{ pruned_heads: { 0: [1] } }, /pruned_heads/],
    [{ embedding_multiplier: 12 }, /embedding_multiplier/],
    [{ final_logit_softcapping: 30 }, /final_logit_softcapping/],
    [{ no_rope_layers: [1, 0] }, /no_rope_layers/],
    [{ attn_temperature_tuning: 4 }, /attn_temperature_tuning/],
    [{ use_qk_norm: true }, /use_qk_norm/],
    [{ ropeTheta: 5 }, /ropeTheta/],
    [{ rope_interleaved: true }, /rope_interleaved/],
    [{ is_encoder_decoder: true }, /is_encoder_decoder/],
    [{ sliding_window: 8 }, /sliding_window = 8 is not supported/],
    [{ text_config: { hidden_size: 64 } }, /text_config/],
    [{ hiden_size: 32 }, /hiden_size.*did you mean "hidden_size/],
    [{ rms_norm_esp: 1 }, /did you mean "rms_norm_eps/],
  ])("that may matter are refused: %j", (fields, message) => {
    expect(refusal({ ...llamaConfig, ...fields }).message).toMatch(message);
  });

  it("of any length, depth and number take no time", () => {
    let deep: unknown = [];
    for (let i = 0; i < 50_000; i++) deep = [deep];
    const started = performance.now();
    expect(refusal({ ...llamaConfig, hidden_size: deep }).message.length).toBeLessThan(1000);
    expect(refusal({ ...llamaConfig, ["x".repeat(2_000_000)]: 1 }).message.length).toBeLessThan(4100);
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`field${i}`, 1]));
    expect(refusal({ ...llamaConfig, ...many }).message).toMatch(/unknown fields/);
    expect(performance.now() - started).toBeLessThan(3000);
  });
});

/** Fields that the published configs of a family have beside those that others have, too. */
const usual = {
  attention_dropout: 0.0,
  initializer_range: 0.02,
  torch_dtype: "bfloat16",
  transformers_version: "4.52.0",
  use_cache: true,
};
const pairs = (count: number, value = 1.5) => Array.from({ length: count }, () => value);
const sizes = (hidden: number, inner: number, layers: number, heads: number, shared: number) => ({
  hidden_size: hidden,
  intermediate_size: inner,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: shared,
});

const published: Readonly<Record<string, object>> = {
  "granite-3.3-2b": {
    ...usual,
    ...sizes(2048, 8192, 40, 32, 8),
    architectures: ["GraniteForCausalLM"],
    model_type: "granite",
    attention_bias: false,
    attention_multiplier: 0.015625,
    bos_token_id: 0,
    embedding_multiplier: 12.0,
    eos_token_id: 0,
    hidden_act: "silu",
    logits_scaling: 8.0,
    max_position_embeddings: 131072,
    mlp_bias: false,
    pad_token_id: 0,
    residual_multiplier: 0.22,
    rms_norm_eps: 1e-5,
    rope_scaling: null,
    rope_theta: 10000000.0,
    tie_word_embeddings: true,
    vocab_size: 49159,
  },
  "OLMo-2-1B": {
    ...usual,
    ...sizes(2048, 8192, 16, 16, 16),
    architectures: ["Olmo2ForCausalLM"],
    model_type: "olmo2",
    attention_bias: false,
    eos_token_id: 100257,
    hidden_act: "silu",
    max_position_embeddings: 4096,
    pad_token_id: 100277,
    rms_norm_eps: 1e-6,
    rope_scaling: null,
    rope_theta: 500000,
    tie_word_embeddings: false,
    vocab_size: 100352,
  },
  "SmolLM3-3B": {
    ...usual,
    ...sizes(2048, 11008, 36, 16, 4),
    architectures: ["SmolLM3ForCausalLM"],
    model_type: "smollm3",
    attention_bias: false,
    bos_token_id: null,
    eos_token_id: 128012,
    hidden_act: "silu",
    layer_types: Array.from({ length: 36 }, () => "full_attention"),
    max_position_embeddings: 65536,
    max_window_layers: 28,
    mlp_bias: false,
    no_rope_layer_interval: 4,
    no_rope_layers: Array.from({ length: 36 }, (_, i) => ((i + 1) % 4 === 0 ? 0 : 1)),
    pad_token_id: 128004,
    pretraining_tp: 2,
    rms_norm_eps: 1e-6,
    rope_scaling: null,
    rope_theta: 5000000.0,
    sliding_window: null,
    use_sliding_window: false,
    vocab_size: 128256,
  },
  "Qwen3-0.6B, with YaRN": {
    ...usual,
    ...sizes(1024, 3072, 28, 16, 8),
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    attention_bias: false,
    bos_token_id: 151643,
    eos_token_id: 151645,
    head_dim: 128,
    hidden_act: "silu",
    max_position_embeddings: 40960,
    max_window_layers: 28,
    rms_norm_eps: 1e-6,
    rope_scaling: { rope_type: "yarn", factor: 4.0, original_max_position_embeddings: 32768 },
    rope_theta: 1000000,
    sliding_window: null,
    tie_word_embeddings: true,
    use_sliding_window: false,
    vocab_size: 151936,
  },
  "pythia-70m": {
    architectures: ["GPTNeoXForCausalLM"],
    model_type: "gpt_neox",
    bos_token_id: 0,
    eos_token_id: 0,
    hidden_act: "gelu",
    hidden_size: 512,
    initializer_range: 0.02,
    intermediate_size: 2048,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 2048,
    num_attention_heads: 8,
    num_hidden_layers: 6,
    rotary_emb_base: 10000,
    rotary_pct: 0.25,
    tie_word_embeddings: false,
    torch_dtype: "float16",
    transformers_version: "4.24.0",
    use_cache: true,
    use_parallel_residual: true,
    vocab_size: 50304,
  },
  "Phi-3.5-mini": {
    ...usual,
    ...sizes(3072, 8192, 32, 32, 32),
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    attention_bias: false,
    auto_map: { AutoConfig: "configuration_phi3.Phi3Config" },
    bos_token_id: 1,
    embd_pdrop: 0.0,
    eos_token_id: 32000,
    hidden_act: "silu",
    max_position_embeddings: 131072,
    original_max_position_embeddings: 4096,
    pad_token_id: 32000,
    resid_pdrop: 0.0,
    rms_norm_eps: 1e-5,
    rope_scaling: { type: "longrope", short_factor: pairs(48), long_factor: pairs(48, 9) },
    rope_theta: 10000.0,
    sliding_window: 262144,
    tie_word_embeddings: false,
    vocab_size: 32064,
  },
  "Phi-4-mini": {
    ...usual,
    ...sizes(3072, 8192, 32, 24, 8),
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    attention_bias: false,
    bos_token_id: 199999,
    embd_pdrop: 0.0,
    eos_token_id: 199999,
    full_attn_mod: 1,
    hidden_act: "silu",
    interpolate_factor: 1,
    lm_head_bias: false,
    max_position_embeddings: 131072,
    mlp_bias: false,
    original_max_position_embeddings: 4096,
    pad_token_id: 199999,
    partial_rotary_factor: 0.75,
    resid_pdrop: 0.0,
    rms_norm_eps: 1e-5,
    rope_scaling: { type: "longrope", short_factor: pairs(48), long_factor: pairs(48, 9) },
    rope_theta: 10000.0,
    sliding_window: 262144,
    tie_word_embeddings: true,
    vocab_size: 200064,
  },
  "gemma-2-2b": {
    ...usual,
    ...sizes(2304, 9216, 26, 8, 4),
    architectures: ["Gemma2ForCausalLM"],
    model_type: "gemma2",
    attention_bias: false,
    attn_logit_softcapping: 50.0,
    bos_token_id: 2,
    cache_implementation: "hybrid",
    eos_token_id: 1,
    final_logit_softcapping: 30.0,
    head_dim: 256,
    hidden_act: "gelu_pytorch_tanh",
    hidden_activation: "gelu_pytorch_tanh",
    max_position_embeddings: 8192,
    pad_token_id: 0,
    query_pre_attn_scalar: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000.0,
    sliding_window: 4096,
    vocab_size: 256000,
  },
  "gemma-3-1b": {
    ...usual,
    ...sizes(1152, 6912, 26, 4, 1),
    architectures: ["Gemma3ForCausalLM"],
    model_type: "gemma3_text",
    attention_bias: false,
    attn_logit_softcapping: null,
    bos_token_id: 2,
    cache_implementation: "hybrid",
    eos_token_id: [1, 106],
    final_logit_softcapping: null,
    head_dim: 256,
    hidden_activation: "gelu_pytorch_tanh",
    max_position_embeddings: 32768,
    pad_token_id: 0,
    query_pre_attn_scalar: 256,
    rms_norm_eps: 1e-6,
    rope_local_base_freq: 10000,
    rope_scaling: null,
    rope_theta: 1000000,
    sliding_window: 512,
    sliding_window_pattern: 6,
    vocab_size: 262144,
  },
};

describe("published configs of further families", () => {
  it.each(Object.entries(published))("%s is read without a word", (_, config) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const { config: read } = familyOf(config);
    expect(read.rotations.length).toBeGreaterThan(0);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it("mean what their classes take them for", () => {
    const read = (name: string, change = {}) => familyOf({ ...published[name], ...change }).config;
    expect(read("Qwen3-0.6B, with YaRN").contextLength).toBe(131072);
    expect(read("Qwen3-0.6B, with YaRN").rotations[0].amplitude).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
    expect(read("SmolLM3-3B").rotationOf!.filter((rotation) => rotation === "none").length).toBe(9);
    expect(read("Phi-3.5-mini")).toMatchObject({ contextLength: 4096, longer: { contextLength: 131072 } });
    expect(read("Phi-4-mini").rotations[0].frequencies.length).toBe(48);
    expect(read("Phi-4-mini").rotations[0].amplitude).toBeCloseTo(Math.sqrt(1 + Math.log(32) / Math.log(4096)), 12);
    expect(read("Phi-4-mini").window).toBeUndefined();
    expect(read("gemma-2-2b").windowed!.slice(0, 4)).toEqual([true, false, true, false]);
    expect(read("gemma-3-1b").rotationOf!.slice(0, 7)).toEqual([1, 1, 1, 1, 1, 0, 1]);
    expect(read("gemma-3-1b")).toMatchObject({ window: 512, tied: true, endTokens: [1, 106] });
    // Left out, and switched off, are two things for a cap.
    expect(read("gemma-2-2b", { attn_logit_softcapping: undefined }).variant!.attention!.cap).toBeUndefined();
    const { attn_logit_softcapping: _, ...without } = published["gemma-2-2b"] as Record<string, unknown>;
    expect(familyOf(without).config.variant!.attention!.cap).toBe(50);
    // Transformers 5 gives each kind of layer its own rotation.
    const {
      rope_theta: _theta,
      rope_local_base_freq: _base,
      ...rest
    } = published["gemma-3-1b"] as Record<string, unknown>;
    const rope_parameters = {
      full_attention: { rope_type: "default", rope_theta: 1000000 },
      sliding_attention: { rope_type: "default", rope_theta: 10000 },
    };
    expect(familyOf({ ...rest, rope_parameters }).config).toEqual(read("gemma-3-1b"));
  });

  it("take for a field that is left out what their classes take for it", () => {
    const plain = { ...llamaConfig, max_position_embeddings: undefined, model_type: undefined };
    const read = (kind: string, change = {}) =>
      familyOf({ ...plain, architectures: [`${kind}ForCausalLM`], ...change });
    expect(read("Mistral").config).toMatchObject({ contextLength: 131072, window: 4096 });
    expect(read("Mistral", { sliding_window: null }).config.window).toBeUndefined();
    for (const kind of ["Qwen2", "Qwen3"]) {
      expect(read(kind).config).toMatchObject({ contextLength: 32768, window: undefined });
      const switched = { use_sliding_window: true, max_window_layers: 1 };
      expect(read(kind, switched).config).toMatchObject({ window: 4096, windowed: [false, true] });
      expect(read(kind, { ...switched, sliding_window: null }).config.window).toBeUndefined();
    }
  });

  const linear = { rope_type: "linear", factor: 2 };
  it.each<[string, object, object]>([
    [
      "OLMo-2-1B",
      { rope_theta: undefined, rope_scaling: { ...linear, rope_theta: 7 } },
      { rope_theta: 7, rope_scaling: linear },
    ],
    [
      "OLMo-2-1B",
      { rope_theta: undefined, rope_parameters: { ...linear, rope_theta: 7 } },
      { rope_theta: 7, rope_scaling: linear },
    ],
    ["OLMo-2-1B", { rope_scaling: linear, rope_parameters: linear }, { rope_scaling: linear }],
    [
      "Phi-4-mini",
      { rope_scaling: { ...linear, partial_rotary_factor: 0.5 }, partial_rotary_factor: undefined },
      { rope_scaling: linear, partial_rotary_factor: 0.5 },
    ],
    [
      "pythia-70m",
      {
        rotary_emb_base: undefined,
        rotary_pct: undefined,
        rope_scaling: { ...linear, rope_theta: 7, partial_rotary_factor: 0.5 },
      },
      { rotary_emb_base: 7, rotary_pct: 0.5, rope_scaling: linear },
    ],
  ])("%s says of its rotation in one place what it says in another: %j", (name, one, other) => {
    const read = (change: object) => familyOf({ ...published[name], ...change }).config.rotations;
    expect(read(one)).toEqual(read(other));
    expect(read(one)).not.toEqual(read({}));
  });

  it.each<[string, object, RegExp]>([
    [
      "OLMo-2-1B",
      { rope_parameters: { rope_theta: 7 } },
      /rope_theta = 500000 contradicts rope_theta of the rope scaling = 7/,
    ],
    ["OLMo-2-1B", { rope_scaling: linear, rope_parameters: { ...linear, factor: 3 } }, /say different things/],
    ["OLMo-2-1B", { rope_scaling: { ...linear, partial_rotary_factor: 0.5 } }, /partial_rotary_factor = 0.5/],
    ["OLMo-2-1B", { rope_scaling: { ...linear, type: "yarn" } }, /rope_type = "linear" contradicts its type = "yarn"/],
    ["OLMo-2-1B", { rope_scaling: { rope_type: "yarn", factor: 1e300 } }, /more than 16777216 positions/],
    [
      "OLMo-2-1B",
      {
        rope_scaling: {
          rope_type: "llama3",
          factor: 8,
          low_freq_factor: 4,
          high_freq_factor: 4,
          original_max_position_embeddings: 1024,
        },
      },
      /high_freq_factor must be above/,
    ],
    ["Phi-3.5-mini", { original_max_position_embeddings: 1 }, /LongRoPE needs original_max_position_embeddings/],
    [
      "Phi-3.5-mini",
      {
        rope_scaling: {
          type: "longrope",
          short_factor: pairs(48),
          long_factor: pairs(48),
          original_max_position_embeddings: 8192,
        },
      },
      /4096 contradicts 8192/,
    ],
    ["pythia-70m", { rope_theta: 7 }, /rotary_emb_base = 10000 contradicts rope_theta = 7/],
    ["pythia-70m", { rope_parameters: { partial_rotary_factor: 0.5 } }, /rotary_pct = 0.25 contradicts/],
    [
      "gemma-3-1b",
      { rope_parameters: { sliding_attention: { rope_type: "default", rope_theta: 7 } } },
      /rope_local_base_freq = 10000 contradicts rope_theta of the rope scaling = 7/,
    ],
    ["granite-3.3-2b", { attention_multiplier: -1 }, /attention_multiplier must be a positive number/],
    ["granite-3.3-2b", { num_local_experts: 8 }, /num_local_experts/],
    ["OLMo-2-1B", { attention_bias: true }, /attention_bias = true/],
    ["OLMo-2-1B", { clip_qkv: 8 }, /clip_qkv/],
    ["OLMo-2-1B", { partial_rotary_factor: 0.5 }, /partial_rotary_factor = 0.5/],
    ["SmolLM3-3B", { no_rope_layers: [1, 0] }, /no_rope_layers must hold a 0 or 1 for each of the 36 layers/],
    ["SmolLM3-3B", { mlp_bias: true }, /mlp_bias/],
    ["SmolLM3-3B", { layer_types: ["full_attention"] }, /layer_types has 1 entries for 36 layers/],
    ["Qwen3-0.6B, with YaRN", { rope_scaling: { rope_type: "dynamic", factor: 2 } }, /type "dynamic"/],
    ["Qwen3-0.6B, with YaRN", { rope_scaling: { rope_type: "yarn", factor: 2, finetuned: true } }, /finetuned/],
    ["pythia-70m", { hidden_act: "relu" }, /hidden_act/],
    ["pythia-70m", { rotary_pct: 0.3 }, /pairs of dimensions/],
    [
      "Phi-3.5-mini",
      { rope_scaling: { type: "longrope", short_factor: pairs(48), long_factor: [1] } },
      /long_factor must be 48/,
    ],
    ["Phi-3.5-mini", { rope_scaling: { type: "longrope", short_mscale: 1.1 } }, /short_mscale/],
    ["Phi-4-mini", { full_attn_mod: 2 }, /full_attn_mod/],
    ["gemma-2-2b", { hidden_activation: "relu" }, /hidden_activation/],
    ["gemma-2-2b", { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ["gemma-3-1b", { rope_parameters: { full_attention: {}, chunked_attention: {} } }, /chunked_attention/],
    ["gemma-3-1b", { sliding_window_pattern: 0 }, /sliding_window_pattern/],
    ["gemma-3-1b", { architectures: ["Gemma3ForConditionalGeneration"], model_type: "gemma3" }, /Gemma3ForCausalLM/],
    ["gemma-3-1b", { architectures: ["MambaForCausalLM"], model_type: "mamba" }, /one state for all that was read/],
    ["gemma-3-1b", { architectures: ["MixtralForCausalLM"], model_type: "mixtral" }, /experts/],
  ])("%s with %j is refused", (name, change, message) => {
    expect(refusal({ ...published[name], ...change }).message).toMatch(message);
  });
});

describe("any config", () => {
  it("is read, or refused with our error, whatever a field holds", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(-1, 0, 1e308, 2 ** 53, 0.5, "", "x", true));
    const field = fc.oneof(
      fc.constantFrom(
        ...Object.keys({ ...llamaConfig, ...gpt2Config }),
        "rope_scaling",
        "rope_parameters",
        "sliding_window",
        "layer_types",
        "head_dim",
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(llamaConfig, gpt2Config),
        fc.dictionary(field, value, { maxKeys: 3 }),
        (base, fields) => {
          try {
            const { family, config } = familyOf({ ...base, ...fields });
            expect(config.layers).toBeGreaterThan(0);
            family.parameters({ ...config, layers: 1 });
          } catch (error) {
            expect(error).toBeInstanceOf(VentrisError);
          }
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.anything(), (config) => {
        expect(() => familyOf(config)).toThrow(VentrisError);
      }),
    );
    warn.mockRestore();
  });
});

describe("model_type", () => {
  it.each([
    ["LlamaForCausalLM", "llama"],
    ["Qwen2ForCausalLM", "qwen2"],
    ["MistralForCausalLM", undefined],
    ["LlamaForCausalLM", null],
  ])("agrees: %s and %s", (architecture, model_type) => {
    expect(familyOf({ ...llamaConfig, architectures: [architecture], model_type }).config.layers).toBe(2);
  });

  it.each([
    ["LlamaForCausalLM", "nosuch"],
    ["LlamaForCausalLM", "qwen2"],
    ["Qwen2ForCausalLM", "qwen3"],
    ["LlamaForCausalLM", ""],
    ["LlamaForCausalLM", 5],
  ])("contradicts: %s and %s", (architecture, model_type) => {
    expect(refusal({ ...llamaConfig, architectures: [architecture], model_type }).message).toMatch(/contradicts/);
  });
});
