/** The Llama family: Llama 2 and 3, Mistral, Qwen2, Qwen3, SmolLM. Names of parameters are those of Hugging Face checkpoints. */

import { ensure } from "../errors.ts";
import {
  add,
  concat,
  gather,
  linear,
  multiply,
  reshape,
  rmsNorm,
  rotary,
  silu,
  split,
  type Tensor,
  transpose,
} from "../tensor/index.ts";
import {
  ConfigReader,
  type Family,
  type MakeParameter,
  type ModelConfig,
  type ParameterSpecification,
} from "./family.ts";
import { rotaryFrequencies } from "./rope.ts";
import { perHeadSite } from "./sites.ts";

const layerName = (layer: number, rest: string): string => `model.layers.${layer}.${rest}`;

function readConfig(json: Readonly<Record<string, unknown>>): ModelConfig {
  const config = new ConfigReader(json);
  const architecture = (json.architectures as string[])[0];
  const hiddenSize = config.integer("hidden_size");
  const heads = config.integer("num_attention_heads");
  const keyValueHeads = config.integer("num_key_value_heads", heads);
  const headDimension = config.integer(
    "head_dim",
    architecture === "Qwen3ForCausalLM" ? 128 : Math.floor(hiddenSize / heads),
  );
  ensure(
    heads % keyValueHeads === 0,
    "bad_config",
    `config: ${heads} heads cannot share ${keyValueHeads} key-value heads evenly`,
  );
  ensure(
    headDimension % 2 === 0,
    "bad_config",
    `config: rotary embedding needs an even head dimension, not ${headDimension}`,
  );
  const qwen2 = architecture === "Qwen2ForCausalLM";
  config.only("hidden_act", "silu", undefined);
  config.only("mlp_bias", false, undefined);
  config.only("pretraining_tp", 1, undefined);
  config.only("partial_rotary_factor", 1, undefined);
  config.only("quantization_config", undefined);
  config.only("attention_multiplier", undefined);
  const attentionBias = config.boolean("attention_bias", false);
  // Attention biases of Llama and Qwen3 checkpoints also sit on the output projection, which Qwen2's do not.
  ensure(!attentionBias || qwen2, "bad_config", "config: attention_bias = true is not supported for this architecture");
  const mistral = architecture === "MistralForCausalLM";
  const usesWindow = config.boolean("use_sliding_window", mistral);
  const stated = config.raw("sliding_window") === undefined ? undefined : config.integer("sliding_window");
  const rope = config.raw("rope_parameters") as Record<string, unknown> | undefined;
  const theta = config.positive("rope_theta", (rope?.rope_theta as number | undefined) ?? 10000);
  const contextLength = config.integer("max_position_embeddings", 2048);
  const window = usesWindow && stated !== undefined && stated < contextLength ? stated : undefined;
  // One window serves all layers here; Qwen gives it to the layers from this number on.
  if (window !== undefined && !mistral) config.only("max_window_layers", 0);
  const kind = window === undefined ? "full_attention" : "sliding_attention";
  const kinds = config.raw("layer_types") ?? [];
  ensure(
    Array.isArray(kinds) && kinds.every((k) => k === kind),
    "bad_config",
    `config: layer_types must be ${kind} throughout, not ${JSON.stringify(kinds)}`,
  );
  const result: ModelConfig = {
    architecture,
    vocabularySize: config.integer("vocab_size"),
    contextLength,
    hiddenSize,
    layers: config.integer("num_hidden_layers", undefined, { maximum: 1024 }),
    heads,
    keyValueHeads,
    headDimension,
    feedForward: config.integer("intermediate_size"),
    epsilon: config.positive("rms_norm_eps", 1e-6),
    tied: config.boolean("tie_word_embeddings", false),
    frequencies: rotaryFrequencies(headDimension, theta, config.raw("rope_scaling") ?? rope),
    window,
    attentionBias: qwen2,
    queryKeyNorm: architecture === "Qwen3ForCausalLM",
    beginToken: config.tokens("bos_token_id")[0],
    endTokens: config.tokens("eos_token_id"),
  };
  config.finish();
  return result;
}

function parameters(config: ModelConfig): ParameterSpecification[] {
  const { hiddenSize, feedForward, headDimension, vocabularySize } = config;
  const queries = config.heads * headDimension;
  const keys = config.keyValueHeads * headDimension;
  const result: ParameterSpecification[] = [];
  const take = (name: string, shape: ParameterSpecification["shape"], deviation: number | undefined): void => {
    // Some exporters leave out the prefix of the inner model.
    result.push({ name, shape, sources: [name, name.replace(/^model\./, "")], deviation });
  };
  const deviation = 0.02;
  // Residual branches add up: their last matrices start smaller, by the number of branches (Radford et al. 2019).
  const branch = deviation / Math.sqrt(2 * config.layers);
  take("model.embed_tokens.weight", [vocabularySize, hiddenSize], deviation);
  for (let layer = 0; layer < config.layers; layer++) {
    const name = (rest: string): string => layerName(layer, rest);
    take(name("input_layernorm.weight"), [hiddenSize], undefined);
    take(name("self_attn.q_proj.weight"), [queries, hiddenSize], deviation);
    take(name("self_attn.k_proj.weight"), [keys, hiddenSize], deviation);
    take(name("self_attn.v_proj.weight"), [keys, hiddenSize], deviation);
    if (config.attentionBias) {
      take(name("self_attn.q_proj.bias"), [queries], 0);
      take(name("self_attn.k_proj.bias"), [keys], 0);
      take(name("self_attn.v_proj.bias"), [keys], 0);
    }
    if (config.queryKeyNorm) {
      take(name("self_attn.q_norm.weight"), [headDimension], undefined);
      take(name("self_attn.k_norm.weight"), [headDimension], undefined);
    }
    take(name("self_attn.o_proj.weight"), [hiddenSize, queries], branch);
    take(name("post_attention_layernorm.weight"), [hiddenSize], undefined);
    take(name("mlp.gate_proj.weight"), [feedForward, hiddenSize], deviation);
    take(name("mlp.up_proj.weight"), [feedForward, hiddenSize], deviation);
    take(name("mlp.down_proj.weight"), [hiddenSize, feedForward], branch);
  }
  take("model.norm.weight", [hiddenSize], undefined);
  if (!config.tied) take("lm_head.weight", [vocabularySize, hiddenSize], deviation);
  return result;
}

/** The final norm, on its own: rows are selected between it and the output product. */
const finalNorm = ({ hiddenSize, epsilon }: ModelConfig, parameter: MakeParameter, residual: Tensor): Tensor =>
  rmsNorm(residual, parameter("model.norm.weight", [hiddenSize]), epsilon);

const outputMatrix = ({ tied, vocabularySize, hiddenSize }: ModelConfig, parameter: MakeParameter): Tensor =>
  parameter(tied ? "model.embed_tokens.weight" : "lm_head.weight", [vocabularySize, hiddenSize]);

const readout: Family["readout"] = (config, parameter, residual) =>
  linear(finalNorm(config, parameter, residual), outputMatrix(config, parameter));

const build: Family["build"] = (config, ports) => {
  const { tokens, rotary: tables, attention, parameter, site, select } = ports;
  const { hiddenSize, feedForward, headDimension, heads, keyValueHeads, epsilon, vocabularySize } = config;
  const queryWidth = heads * headDimension;
  const keyWidth = keyValueHeads * headDimension;
  const embeddings = parameter("model.embed_tokens.weight", [vocabularySize, hiddenSize]);

  const vectors = site("embed.tokens", reshape(gather(embeddings, tokens), [-1, hiddenSize]));
  let residual = site("embed", vectors);
  let { positions } = ports;
  for (let layer = 0; layer < config.layers; layer++) {
    const [batch, length] = positions.shape;
    const weight = (rest: string, ...shape: number[]): Tensor => parameter(layerName(layer, rest), shape);
    const place = (name: string, value: Tensor): Tensor => site(`layers.${layer}.${name}`, value);

    const normal = place("attention.norm", rmsNorm(residual, weight("input_layernorm.weight", hiddenSize), epsilon));
    // One product for queries, keys and values; their order lets one rotation serve queries and keys.
    const matrices = concat(
      [
        weight("self_attn.q_proj.weight", queryWidth, hiddenSize),
        weight("self_attn.k_proj.weight", keyWidth, hiddenSize),
        weight("self_attn.v_proj.weight", keyWidth, hiddenSize),
      ],
      0,
    );
    const biases = config.attentionBias
      ? concat(
          [
            weight("self_attn.q_proj.bias", queryWidth),
            weight("self_attn.k_proj.bias", keyWidth),
            weight("self_attn.v_proj.bias", keyWidth),
          ],
          0,
        )
      : undefined;
    const perHead = transpose(
      reshape(linear(normal, matrices, biases), [batch, length, heads + 2 * keyValueHeads, headDimension]),
      [0, 2, 1, 3],
    );
    let [turning, values] = split(perHead, [heads + keyValueHeads, keyValueHeads], 1);
    if (config.queryKeyNorm) {
      const [q, k] = split(turning, [heads, keyValueHeads], 1);
      turning = concat(
        [
          rmsNorm(q, weight("self_attn.q_norm.weight", headDimension), epsilon),
          rmsNorm(k, weight("self_attn.k_norm.weight", headDimension), epsilon),
        ],
        1,
      );
    }
    const [queries, keys] = split(
      rotary(turning, positions, tables!.cosines, tables!.sines),
      [heads, keyValueHeads],
      1,
    );
    const attended = place(
      "attention.heads",
      attention(
        layer,
        perHeadSite(place, "attention.queries", queries),
        perHeadSite(place, "attention.keys", keys),
        perHeadSite(place, "attention.values", values),
      ),
    );
    const attentionOut = place(
      "attention.output",
      linear(attended, weight("self_attn.o_proj.weight", hiddenSize, queryWidth)),
    );
    residual = place("attention.residual", add(residual, attentionOut));

    const second = place("mlp.norm", rmsNorm(residual, weight("post_attention_layernorm.weight", hiddenSize), epsilon));
    const gateAndUp = concat(
      [weight("mlp.gate_proj.weight", feedForward, hiddenSize), weight("mlp.up_proj.weight", feedForward, hiddenSize)],
      0,
    );
    const [gate, up] = split(linear(second, gateAndUp), [feedForward, feedForward], 1);
    const neurons = place("mlp.neurons", multiply(silu(place("mlp.gate", gate)), place("mlp.up", up)));
    const mlpOut = place("mlp.output", linear(neurons, weight("mlp.down_proj.weight", hiddenSize, feedForward)));
    residual = place("residual", add(residual, mlpOut));
    positions = ports.positionsAfter?.(layer) ?? positions;
  }
  const final = site("final", select(finalNorm(config, parameter, residual)));
  return site("logits", linear(final, config.tied ? embeddings : outputMatrix(config, parameter)));
};

export const llama: Family = {
  architectures: ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"],
  readConfig,
  parameters,
  build,
  readout,
};
