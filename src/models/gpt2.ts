/** GPT-2 (Radford et al. 2019): learned positions, layer norm, fused query-key-value matrix stored transposed. */
import { ensure } from "../errors.ts";
import { add, gather, geluTanh, layerNorm, linear, reshape, split, type Tensor, transpose } from "../tensor/index.ts";
import {
  ConfigReader,
  type Family,
  type MakeParameter,
  type ModelConfig,
  type ParameterSpecification,
} from "./family.ts";
import { perHeadSite } from "./sites.ts";

function readConfig(json: Readonly<Record<string, unknown>>): ModelConfig {
  const config = new ConfigReader(json);
  const hiddenSize = config.integer("n_embd");
  const heads = config.integer("n_head");
  ensure(hiddenSize % heads === 0, "bad_config", `config: ${heads} heads do not divide a width of ${hiddenSize}`);
  config.only("activation_function", "gelu_new", "gelu_pytorch_tanh", undefined);
  config.only("scale_attn_weights", true, undefined);
  config.only("scale_attn_by_inverse_layer_idx", false, undefined);
  config.only("reorder_and_upcast_attn", false, undefined);
  config.only("add_cross_attention", false, undefined);
  config.only("tie_word_embeddings", true, undefined);
  config.only("quantization_config", undefined);
  const result: ModelConfig = {
    architecture: "GPT2LMHeadModel",
    vocabularySize: config.integer("vocab_size"),
    contextLength: config.integer("n_positions", 1024),
    hiddenSize,
    layers: config.integer("n_layer", undefined, { maximum: 1024 }),
    heads,
    keyValueHeads: heads,
    headDimension: hiddenSize / heads,
    feedForward: config.integer("n_inner", 4 * hiddenSize),
    epsilon: config.positive("layer_norm_epsilon", 1e-5),
    tied: true,
    rotations: [],
    window: undefined,
    attentionBias: true,
    queryKeyNorm: false,
    beginToken: config.token("bos_token_id"),
    endTokens: config.tokens("eos_token_id"),
  };
  config.finish();
  return result;
}

function parameters(config: ModelConfig): ParameterSpecification[] {
  const { hiddenSize, feedForward, vocabularySize, contextLength, layers } = config;
  const result: ParameterSpecification[] = [];
  const take = (
    name: string,
    shape: ParameterSpecification["shape"],
    deviation: number | undefined,
    transposed = false,
  ): void => {
    result.push({ name, shape, sources: [`transformer.${name}`, name], transposed, deviation });
  };
  const norm = (name: string): void => {
    take(`${name}.weight`, [hiddenSize], undefined);
    take(`${name}.bias`, [hiddenSize], 0);
  };
  const affine = (name: string, out: number, inner: number, deviation = 0.02): void => {
    take(`${name}.weight`, [out, inner], deviation, true);
    take(`${name}.bias`, [out], 0);
  };
  take("wte.weight", [vocabularySize, hiddenSize], 0.02);
  take("wpe.weight", [contextLength, hiddenSize], 0.01);
  for (let layer = 0; layer < layers; layer++) {
    norm(`h.${layer}.ln_1`);
    affine(`h.${layer}.attn.c_attn`, 3 * hiddenSize, hiddenSize);
    affine(`h.${layer}.attn.c_proj`, hiddenSize, hiddenSize, 0.02 / Math.sqrt(2 * layers));
    norm(`h.${layer}.ln_2`);
    affine(`h.${layer}.mlp.c_fc`, feedForward, hiddenSize);
    affine(`h.${layer}.mlp.c_proj`, hiddenSize, feedForward, 0.02 / Math.sqrt(2 * layers));
  }
  norm("ln_f");
  return result;
}

/** The final norm, on its own: rows are selected between it and the output product. */
function finalNorm(config: ModelConfig, parameter: MakeParameter, residual: Tensor): Tensor {
  const { hiddenSize, epsilon } = config;
  const [weight, bias] = [parameter("ln_f.weight", [hiddenSize]), parameter("ln_f.bias", [hiddenSize])];
  return layerNorm(residual, weight, bias, epsilon);
}

const outputMatrix = ({ vocabularySize, hiddenSize }: ModelConfig, parameter: MakeParameter): Tensor =>
  parameter("wte.weight", [vocabularySize, hiddenSize]);

const readout: Family["readout"] = (config, parameter, residual) =>
  linear(finalNorm(config, parameter, residual), outputMatrix(config, parameter));

const build: Family["build"] = (config, ports) => {
  const { tokens, attention, parameter, site, select } = ports;
  const { hiddenSize, feedForward, heads, headDimension, epsilon, contextLength } = config;
  const embeddings = outputMatrix(config, parameter);
  const places = parameter("wpe.weight", [contextLength, hiddenSize]);
  const norm = (x: Tensor, name: string): Tensor =>
    layerNorm(x, parameter(`${name}.weight`, [hiddenSize]), parameter(`${name}.bias`, [hiddenSize]), epsilon);
  const affine = (x: Tensor, name: string, out: number, inner: number): Tensor =>
    linear(x, parameter(`${name}.weight`, [out, inner]), parameter(`${name}.bias`, [out]));

  const looked = gather(embeddings, tokens);
  const flat = reshape(looked, [-1, hiddenSize]);
  const vectors = site("embed.tokens", flat);
  const placed = gather(places, ports.positions);
  let residual = site(
    "embed",
    vectors === flat ? reshape(add(looked, placed), [-1, hiddenSize]) : add(vectors, reshape(placed, [-1, hiddenSize])),
  );
  let { positions } = ports;
  for (let layer = 0; layer < config.layers; layer++) {
    const [batch, length] = positions.shape;
    const name = (rest: string): string => `h.${layer}.${rest}`;
    const place = (at: string, value: Tensor): Tensor => site(`layers.${layer}.${at}`, value);
    const normal = place("attention.norm", norm(residual, name("ln_1")));
    const projected = affine(normal, name("attn.c_attn"), 3 * hiddenSize, hiddenSize);
    const perHead = transpose(reshape(projected, [batch, length, 3 * heads, headDimension]), [0, 2, 1, 3]);
    const [queries, keys, values] = split(perHead, [heads, heads, heads], 1);
    const attended = place(
      "attention.heads",
      attention(
        layer,
        perHeadSite(place, "attention.queries", queries),
        perHeadSite(place, "attention.keys", keys),
        perHeadSite(place, "attention.values", values),
      ),
    );
    const attentionOut = place("attention.output", affine(attended, name("attn.c_proj"), hiddenSize, hiddenSize));
    residual = place("attention.residual", add(residual, attentionOut));
    const second = place("mlp.norm", norm(residual, name("ln_2")));
    const up = place("mlp.up", affine(second, name("mlp.c_fc"), feedForward, hiddenSize));
    const neurons = place("mlp.neurons", geluTanh(up));
    const mlpOut = place("mlp.output", affine(neurons, name("mlp.c_proj"), hiddenSize, feedForward));
    residual = place("residual", add(residual, mlpOut));
    positions = ports.positionsAfter?.(layer) ?? positions;
  }
  const final = site("final", select(finalNorm(config, parameter, residual)));
  return site("logits", linear(final, embeddings));
};

export const gpt2: Family = { architectures: ["GPT2LMHeadModel"], readConfig, parameters, build, readout };
