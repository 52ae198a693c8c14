/**
 * GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023): layer norms with biases, one matrix for queries, keys and values whose rows lie
 * head by head, rotation of a head's first dimensions, and two branches that read the same residual stream where `use_parallel_residual` says so.
 */
import { ensure } from "../errors.ts";
import {
  add,
  gather,
  gelu,
  geluTanh,
  layerNorm,
  linear,
  reshape,
  rotary,
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
import { scaledRotation, statedRotation, statedScheme, turnedDimensions } from "./rope-scaling.ts";
import { perHeadSite } from "./sites.ts";

function readConfig(json: Readonly<Record<string, unknown>>): ModelConfig {
  const config = new ConfigReader(json);
  const hiddenSize = config.integer("hidden_size");
  const heads = config.integer("num_attention_heads");
  ensure(hiddenSize % heads === 0, "bad_config", `config: ${heads} heads do not divide a width of ${hiddenSize}`);
  const headDimension = hiddenSize / heads;
  config.only("quantization_config", undefined);
  config.only("is_decoder", false, true, undefined);
  // gelu_fast and gelu_new are two spellings of the approximation by a hyperbolic tangent.
  config.only("hidden_act", "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", undefined);
  const {
    scheme,
    theta = 10000,
    share = 0.25,
  } = statedRotation(config, statedScheme(config, config.object("rope_parameters")), {
    theta: ["rotary_emb_base", "rope_theta"],
    share: ["rotary_pct", "partial_rotary_factor"],
  });
  const { rotation, contextLength } = scaledRotation(scheme, {
    dimension: turnedDimensions(headDimension, share),
    theta,
    contextLength: config.integer("max_position_embeddings", 2048),
  });
  const result: ModelConfig = {
    architecture: "GPTNeoXForCausalLM",
    vocabularySize: config.integer("vocab_size"),
    contextLength,
    hiddenSize,
    layers: config.integer("num_hidden_layers", undefined, { maximum: 1024 }),
    heads,
    keyValueHeads: heads,
    headDimension,
    feedForward: config.integer("intermediate_size"),
    epsilon: config.positive("layer_norm_eps", 1e-5),
    tied: config.boolean("tie_word_embeddings", false),
    rotations: [rotation],
    window: undefined,
    attentionBias: config.boolean("attention_bias", true),
    queryKeyNorm: false,
    variant: {
      activation: (config.raw("hidden_act") ?? "gelu") === "gelu" ? "gelu" : "geluTanh",
      ...(config.boolean("use_parallel_residual", true) && { parallel: true }),
    },
    beginToken: config.token("bos_token_id"),
    endTokens: config.tokens("eos_token_id"),
  };
  config.finish();
  return result;
}

function parameters(config: ModelConfig): ParameterSpecification[] {
  const { hiddenSize, feedForward, vocabularySize, layers, attentionBias } = config;
  const result: ParameterSpecification[] = [];
  const take = (name: string, shape: ParameterSpecification["shape"], deviation: number | undefined): void => {
    result.push({ name, shape, sources: [name, name.replace(/^gpt_neox\./, "")], deviation });
  };
  const norm = (name: string): void => {
    take(`${name}.weight`, [hiddenSize], undefined);
    take(`${name}.bias`, [hiddenSize], 0);
  };
  const affine = (name: string, out: number, inner: number, bias = true, deviation = 0.02): void => {
    take(`${name}.weight`, [out, inner], deviation);
    if (bias) take(`${name}.bias`, [out], 0);
  };
  const branch = 0.02 / Math.sqrt(2 * layers);
  take("gpt_neox.embed_in.weight", [vocabularySize, hiddenSize], 0.02);
  for (let layer = 0; layer < layers; layer++) {
    const at = `gpt_neox.layers.${layer}`;
    norm(`${at}.input_layernorm`);
    affine(`${at}.attention.query_key_value`, 3 * hiddenSize, hiddenSize, attentionBias);
    affine(`${at}.attention.dense`, hiddenSize, hiddenSize, attentionBias, branch);
    norm(`${at}.post_attention_layernorm`);
    affine(`${at}.mlp.dense_h_to_4h`, feedForward, hiddenSize);
    affine(`${at}.mlp.dense_4h_to_h`, hiddenSize, feedForward, true, branch);
  }
  norm("gpt_neox.final_layer_norm");
  if (!config.tied) take("embed_out.weight", [vocabularySize, hiddenSize], 0.02);
  return result;
}

const normed = ({ hiddenSize, epsilon }: ModelConfig, parameter: MakeParameter, x: Tensor, name: string): Tensor =>
  layerNorm(x, parameter(`${name}.weight`, [hiddenSize]), parameter(`${name}.bias`, [hiddenSize]), epsilon);

/** The final norm, on its own: rows are selected between it and the output product. */
const finalNorm = (config: ModelConfig, parameter: MakeParameter, residual: Tensor): Tensor =>
  normed(config, parameter, residual, "gpt_neox.final_layer_norm");

const outputMatrix = ({ tied, vocabularySize, hiddenSize }: ModelConfig, parameter: MakeParameter): Tensor =>
  parameter(tied ? "gpt_neox.embed_in.weight" : "embed_out.weight", [vocabularySize, hiddenSize]);

const readout: Family["readout"] = (config, parameter, residual) =>
  linear(finalNorm(config, parameter, residual), outputMatrix(config, parameter));

const build: Family["build"] = (config, ports) => {
  const { tokens, rotary: tables, attention, parameter, site, select } = ports;
  const { hiddenSize, feedForward, heads, headDimension, vocabularySize, attentionBias, variant = {} } = config;
  const activation = variant.activation === "gelu" ? gelu : geluTanh;
  const affine = (x: Tensor, name: string, out: number, inner: number, bias = true): Tensor =>
    linear(x, parameter(`${name}.weight`, [out, inner]), bias ? parameter(`${name}.bias`, [out]) : undefined);

  const embeddings = parameter("gpt_neox.embed_in.weight", [vocabularySize, hiddenSize]);
  let residual = site("embed", site("embed.tokens", reshape(gather(embeddings, tokens), [-1, hiddenSize])));
  let { positions } = ports;
  for (let layer = 0; layer < config.layers; layer++) {
    const [batch, length] = positions.shape;
    const name = (rest: string): string => `gpt_neox.layers.${layer}.${rest}`;
    const place = (at: string, value: Tensor): Tensor => site(`layers.${layer}.${at}`, value);
    const turned = (x: Tensor): Tensor => rotary(x, positions, tables[0].cosines, tables[0].sines);

    const normal = place("attention.norm", normed(config, parameter, residual, name("input_layernorm")));
    const all = affine(normal, name("attention.query_key_value"), 3 * hiddenSize, hiddenSize, attentionBias);
    // A head's query, key and value are neighbours.
    const perHead = transpose(reshape(all, [batch, length, heads, 3 * headDimension]), [0, 2, 1, 3]);
    const [queries, keys, values] = split(perHead, [headDimension, headDimension, headDimension], 3);
    const attended = place(
      "attention.heads",
      attention(
        layer,
        perHeadSite(place, "attention.queries", turned(queries)),
        perHeadSite(place, "attention.keys", turned(keys)),
        perHeadSite(place, "attention.values", values),
      ),
    );
    const mixed = affine(attended, name("attention.dense"), hiddenSize, hiddenSize, attentionBias);
    const before = residual;
    residual = place("attention.residual", add(residual, place("attention.output", mixed)));
    const read = variant.parallel ? before : residual;
    const second = place("mlp.norm", normed(config, parameter, read, name("post_attention_layernorm")));
    const up = place("mlp.up", affine(second, name("mlp.dense_h_to_4h"), feedForward, hiddenSize));
    const neurons = place("mlp.neurons", activation(up));
    const mlpOut = place("mlp.output", affine(neurons, name("mlp.dense_4h_to_h"), hiddenSize, feedForward));
    residual = place("residual", add(residual, mlpOut));
    positions = ports.positionsAfter?.(layer) ?? positions;
  }
  const final = site("final", select(finalNorm(config, parameter, residual)));
  return site("logits", linear(final, config.tied ? embeddings : outputMatrix(config, parameter)));
};

export const gptNeoX: Family = { architectures: ["GPTNeoXForCausalLM"], readConfig, parameters, build, readout };
