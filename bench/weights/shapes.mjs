/** The Llama shapes of the benchmarks, as Hugging Face configs. Random weights have no end-of-text token: runs go to their length. */

/**
 * @typedef {object} LlamaConfig
 * @property {number} hidden_size
 * @property {number} intermediate_size
 * @property {number} num_hidden_layers
 * @property {number} num_attention_heads
 * @property {number} num_key_value_heads
 * @property {number} vocab_size
 * @property {number} max_position_embeddings
 * @property {number} rms_norm_eps
 * @property {number} rope_theta
 * @property {boolean} tie_word_embeddings
 * @property {number} [head_dim]
 * @property {unknown} [rope_scaling]
 * @property {number | null} [bos_token_id]
 * @property {number | number[] | null} [eos_token_id]
 */

const common = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  bos_token_id: null,
  eos_token_id: null,
};

export const shapes = {
  "135m": {
    ...common,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    max_position_embeddings: 8192,
    rope_theta: 100000,
  },
  "1b": {
    ...common,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    vocab_size: 128256,
    max_position_embeddings: 8192,
    rope_theta: 500000,
  },
  knossos: {
    ...common,
    hidden_size: 256,
    intermediate_size: 768,
    num_hidden_layers: 8,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    vocab_size: 4096,
    max_position_embeddings: 1024,
    rope_theta: 10000,
  },
  small: {
    ...common,
    hidden_size: 64,
    intermediate_size: 160,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 512,
    max_position_embeddings: 128,
    rope_theta: 10000,
  },
};

/**
 * Hugging Face's tensor names with their shapes [outputs, inputs], in file order.
 * @param {LlamaConfig} config
 * @returns {{ name: string, shape: number[] }[]}
 */
export function llamaTensors(config) {
  const { hidden_size: width, intermediate_size: inner, vocab_size: vocabulary } = config;
  const head = headWidth(config);
  const queries = config.num_attention_heads * head;
  const keys = config.num_key_value_heads * head;
  const layers = Array.from({ length: config.num_hidden_layers }, (_, index) =>
    [
      { name: "input_layernorm", shape: [width] },
      { name: "self_attn.q_proj", shape: [queries, width] },
      { name: "self_attn.k_proj", shape: [keys, width] },
      { name: "self_attn.v_proj", shape: [keys, width] },
      { name: "self_attn.o_proj", shape: [width, queries] },
      { name: "post_attention_layernorm", shape: [width] },
      { name: "mlp.gate_proj", shape: [inner, width] },
      { name: "mlp.up_proj", shape: [inner, width] },
      { name: "mlp.down_proj", shape: [width, inner] },
    ].map(({ name, shape }) => ({ name: `model.layers.${index}.${name}.weight`, shape })),
  );
  return [
    { name: "model.embed_tokens.weight", shape: [vocabulary, width] },
    ...layers.flat(),
    { name: "model.norm.weight", shape: [width] },
    ...(config.tie_word_embeddings ? [] : [{ name: "lm_head.weight", shape: [vocabulary, width] }]),
  ];
}

/** @param {LlamaConfig} config */
export const headWidth = (config) => config.head_dim ?? config.hidden_size / config.num_attention_heads;
