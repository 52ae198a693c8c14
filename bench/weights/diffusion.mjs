// A masked diffusion model of another model's shape and weights, under LLaDA's names: for its speed, which does not ask what they say.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "../../dist/weights/safetensors.js";

const roles = new Map([
  ["input_layernorm", "attn_norm"],
  ["self_attn.q_proj", "q_proj"],
  ["self_attn.k_proj", "k_proj"],
  ["self_attn.v_proj", "v_proj"],
  ["self_attn.o_proj", "attn_out"],
  ["post_attention_layernorm", "ff_norm"],
  ["mlp.gate_proj", "ff_proj"],
  ["mlp.up_proj", "up_proj"],
  ["mlp.down_proj", "ff_out"],
]);

/** @param {string} name */
function renamed(name) {
  const [, layer, role] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  if (layer !== undefined) return `model.transformer.blocks.${layer}.${roles.get(role)}.weight`;
  return name === "model.norm.weight" ? "model.transformer.ln_f.weight" : "model.transformer.wte.weight";
}

/** @param {string} from a Llama checkpoint with tied embeddings @param {string} to an empty folder */
export async function asDiffusion(from, to) {
  const config = JSON.parse(readFileSync(join(from, "config.json"), "utf8"));
  const source = await openSafetensors(join(from, "model.safetensors"));
  const tensors = [];
  for (const [name, { shape }] of source.tensors)
    tensors.push({
      name: renamed(name),
      type: /** @type {const} */ ("F32"),
      shape,
      data: await source.readFloat32(name),
    });
  await source.close();
  await writeSafetensors(join(to, "model.safetensors"), tensors);
  const own = {
    architectures: ["LLaDAModelLM"],
    model_type: "llada",
    d_model: config.hidden_size,
    n_layers: config.num_hidden_layers,
    n_heads: config.num_attention_heads,
    n_kv_heads: config.num_key_value_heads,
    mlp_hidden_size: config.intermediate_size,
    activation_type: "silu",
    block_type: "llama",
    layer_norm_type: "rms",
    rope: true,
    rope_theta: config.rope_theta,
    rms_norm_eps: config.rms_norm_eps,
    vocab_size: config.vocab_size,
    max_sequence_length: config.max_position_embeddings,
    weight_tying: true,
    eos_token_id: 1,
    mask_token_id: 2,
  };
  writeFileSync(join(to, "config.json"), JSON.stringify(own));
}
