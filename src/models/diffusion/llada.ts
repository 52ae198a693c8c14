/**
 * LLaDA (Nie et al. 2025, arXiv 2502.09992): the program of Llama without a causal mask, under names of its own. The prediction for a
 * position is read at that position.
 */
import { ensure } from "../../errors.ts";
import { ConfigReader, type Family, type ModelConfig } from "../family.ts";
import { llama } from "../llama.ts";
import { plainRotation } from "../rope.ts";
import { readTokens } from "./tokens.ts";

function readConfig(json: Readonly<Record<string, unknown>>): ModelConfig {
  const config = new ConfigReader(json);
  const hiddenSize = config.integer("d_model");
  const heads = config.integer("n_heads");
  const keyValueHeads = config.integer("n_kv_heads", heads);
  ensure(hiddenSize % (2 * heads) === 0, "bad_config", () => {
    return `config: d_model ${hiddenSize} cannot be shared by ${heads} heads of even width`;
  });
  ensure(heads % keyValueHeads === 0, "bad_config", () => {
    return `config: ${heads} heads cannot share ${keyValueHeads} key-value heads evenly`;
  });
  config.only("block_type", "llama");
  config.only("activation_type", "silu");
  config.only("layer_norm_type", "rms");
  config.only("rope", true);
  for (const off of ["alibi", "attention_layer_norm", "input_emb_norm", "scale_logits", "multi_query_attention"])
    config.only(off, false, undefined);
  for (const off of ["include_bias", "bias_for_layer_norm"]) config.only(off, false, undefined);
  config.only("layer_norm_with_affine", true, undefined);
  config.only("block_group_size", 1, undefined);
  config.only("clip_qkv", undefined);
  // What is switched off above, how training began, and how precisely others compute.
  for (const unused of [
    "alibi_bias_max",
    "attention_layer_norm_with_affine",
    "embedding_dropout",
    "residual_dropout",
    "flash_attention",
    "rope_full_precision",
    "precision",
    "init_device",
    "init_fn",
    "init_std",
    "init_cutoff_factor",
  ])
    config.raw(unused);
  const ratio = config.positive("mlp_ratio", 4); // of no meaning beside a size
  // The embedding's rows may be more than there are tokens; where they are said, vocab_size has no say.
  config.raw("vocab_size");
  const vocabularySize = config.integer(config.raw("embedding_size") === undefined ? "vocab_size" : "embedding_size");
  const result: ModelConfig = {
    architecture: "LLaDAModelLM",
    vocabularySize,
    contextLength: config.integer("max_sequence_length"),
    hiddenSize,
    layers: config.integer("n_layers", undefined, { maximum: 1024 }),
    heads,
    keyValueHeads,
    headDimension: hiddenSize / heads,
    feedForward: config.integer("mlp_hidden_size", Math.round(ratio * hiddenSize)),
    epsilon: config.positive("rms_norm_eps", 1e-5),
    tied: config.boolean("weight_tying", false),
    rotations: [plainRotation(hiddenSize / heads, config.positive("rope_theta", 10000))],
    window: undefined,
    attentionBias: config.boolean("include_qkv_bias", false),
    queryKeyNorm: false,
    beginToken: config.token("bos_token_id"),
    endTokens: config.tokens("eos_token_id"),
    diffusion: { ...readTokens(config, vocabularySize), shift: false },
  };
  config.finish();
  return result;
}

/** Roles in a block, by the names of Llama's. The block's `ff_out` goes down again; the model's own is the output matrix. */
const roles: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "q_proj",
  "self_attn.k_proj": "k_proj",
  "self_attn.v_proj": "v_proj",
  "self_attn.o_proj": "attn_out",
  post_attention_layernorm: "ff_norm",
  "mlp.gate_proj": "ff_proj",
  "mlp.up_proj": "up_proj",
  "mlp.down_proj": "ff_out",
};
const outside: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "wte.weight",
  "model.norm.weight": "ln_f.weight",
  "lm_head.weight": "ff_out.weight",
};

/** Errors: `internal` for a parameter that LLaDA has no name for. */
function nameInCheckpoint(name: string): string {
  const [, layer, role, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  const own = layer === undefined ? outside[name] : roles[role] && `blocks.${layer}.${roles[role]}.${kind}`;
  ensure(own, "internal", () => `LLaDA has no name for ${name}`);
  return `model.transformer.${own}`;
}

export const llada: Family = {
  ...llama,
  architectures: ["LLaDAModelLM"],
  readConfig,
  parameters: (config) =>
    llama.parameters(config).map((specification) => {
      const name = nameInCheckpoint(specification.name);
      return { ...specification, sources: [name, name.replace(/^model\./, "")] };
    }),
};
