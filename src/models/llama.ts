/**
 * The Llama family: one graph for Llama 2 and 3, Mistral, Qwen2, Qwen3, SmolLM, and for those that differ from them by named options
 * (`LlamaVariant`): Granite, OLMo 2, SmolLM3, Phi-3, Gemma 1 to 3. Names of parameters are those of Hugging Face checkpoints.
 */
import {
  add,
  concat,
  type GradientRule,
  gather,
  geluTanh,
  linear,
  multiply,
  reshape,
  rmsNorm,
  rotary,
  sigmoid,
  silu,
  split,
  subtract,
  type Tensor,
  tanh,
  transpose,
  withGradient,
} from "../tensor/index.ts";
import type { Family, MakeParameter, ModelConfig, ParameterSpecification } from "./family.ts";
import { llamaArchitectures, readLlamaConfig } from "./llama-config.ts";
import { perHeadSite } from "./sites.ts";

const layerName = (layer: number, rest: string): string => `model.layers.${layer}.${rest}`;

/** Norms of the two branches by where they stand. */
const normsOf = {
  before: { attention: { before: "input_layernorm" }, mlp: { before: "post_attention_layernorm" } },
  after: { attention: { after: "post_attention_layernorm" }, mlp: { after: "post_feedforward_layernorm" } },
  both: {
    attention: { before: "input_layernorm", after: "post_attention_layernorm" },
    mlp: { before: "pre_feedforward_layernorm", after: "post_feedforward_layernorm" },
  },
} as const;

interface Around {
  readonly before?: string;
  readonly after?: string;
}

const norms = ({ variant }: ModelConfig): { attention: Around; mlp: Around } => normsOf[variant?.norms ?? "before"];

function parameters(config: ModelConfig): ParameterSpecification[] {
  const { hiddenSize, feedForward, headDimension, vocabularySize } = config;
  const queries = config.heads * headDimension;
  const keys = config.keyValueHeads * headDimension;
  const result: ParameterSpecification[] = [];
  const take = (name: string, shape: ParameterSpecification["shape"], deviation: number | undefined): void => {
    const shifted = config.variant?.shiftedNorms && deviation === undefined;
    // Some exporters leave out the prefix of the inner model.
    const sources = [name, name.replace(/^model\./, "")];
    result.push({ name, shape, sources, deviation, ...(shifted && { shift: 1 }) });
  };
  const fused = config.variant?.fused;
  const around = norms(config);
  const deviation = 0.02;
  // Residual branches add up: their last matrices start smaller, by the number of branches (Radford et al. 2019).
  const branch = deviation / Math.sqrt(2 * config.layers);
  take("model.embed_tokens.weight", [vocabularySize, hiddenSize], deviation);
  for (let layer = 0; layer < config.layers; layer++) {
    const name = (rest: string): string => layerName(layer, rest);
    const norm = (which: string | undefined): void => {
      if (which) take(name(`${which}.weight`), [hiddenSize], undefined);
    };
    norm(around.attention.before);
    if (fused) take(name("self_attn.qkv_proj.weight"), [queries + 2 * keys, hiddenSize], deviation);
    else {
      take(name("self_attn.q_proj.weight"), [queries, hiddenSize], deviation);
      take(name("self_attn.k_proj.weight"), [keys, hiddenSize], deviation);
      take(name("self_attn.v_proj.weight"), [keys, hiddenSize], deviation);
    }
    if (config.attentionBias) {
      take(name("self_attn.q_proj.bias"), [queries], 0);
      take(name("self_attn.k_proj.bias"), [keys], 0);
      take(name("self_attn.v_proj.bias"), [keys], 0);
    }
    if (config.queryKeyNorm) {
      const whole = config.queryKeyNorm === "width";
      take(name("self_attn.q_norm.weight"), [whole ? queries : headDimension], undefined);
      take(name("self_attn.k_norm.weight"), [whole ? keys : headDimension], undefined);
    }
    take(name("self_attn.o_proj.weight"), [hiddenSize, queries], branch);
    norm(around.attention.after);
    norm(around.mlp.before);
    if (fused) take(name("mlp.gate_up_proj.weight"), [2 * feedForward, hiddenSize], deviation);
    else {
      take(name("mlp.gate_proj.weight"), [feedForward, hiddenSize], deviation);
      take(name("mlp.up_proj.weight"), [feedForward, hiddenSize], deviation);
    }
    take(name("mlp.down_proj.weight"), [hiddenSize, feedForward], branch);
    norm(around.mlp.after);
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

const scaled = (x: Tensor, factor = 1): Tensor => (factor === 1 ? x : multiply(x, factor));

const logitsOf = ({ variant: { logitScale, logitCap: cap } = {} }: ModelConfig, hidden: Tensor, matrix: Tensor) => {
  const logits = scaled(linear(hidden, matrix), logitScale);
  return cap === undefined ? logits : multiply(tanh(multiply(logits, 1 / cap)), cap);
};

const readout: Family["readout"] = (config, parameter, residual) =>
  logitsOf(config, finalNorm(config, parameter, residual), outputMatrix(config, parameter));

type Weight = (rest: string, ...shape: number[]) => Tensor;

/** One product for queries, keys and values, side by side in a row; their order lets one rotation serve queries and keys. */
function projected(config: ModelConfig, weight: Weight, normal: Tensor): Tensor {
  const { hiddenSize, headDimension, heads, keyValueHeads, epsilon } = config;
  const [queryWidth, keyWidth] = [heads * headDimension, keyValueHeads * headDimension];
  const matrices = config.variant?.fused
    ? weight("self_attn.qkv_proj.weight", queryWidth + 2 * keyWidth, hiddenSize)
    : concat(
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
  const all = linear(normal, matrices, biases);
  if (config.queryKeyNorm !== "width") return all;
  const [queries, keys, values] = split(all, [queryWidth, keyWidth, keyWidth], 1);
  const normed = [
    rmsNorm(queries, weight("self_attn.q_norm.weight", queryWidth), epsilon),
    rmsNorm(keys, weight("self_attn.k_norm.weight", keyWidth), epsilon),
  ];
  return concat([...normed, values], 1);
}

/** Queries and keys above one another, [batch, heads + key-value heads, length, dimension], each head normalised by itself. */
function normedHeads({ heads, keyValueHeads, headDimension, epsilon }: ModelConfig, weight: Weight, both: Tensor) {
  const [q, k] = split(both, [heads, keyValueHeads], 1);
  return concat(
    [
      rmsNorm(q, weight("self_attn.q_norm.weight", headDimension), epsilon),
      rmsNorm(k, weight("self_attn.k_norm.weight", headDimension), epsilon),
    ],
    1,
  );
}

/** silu(gate) · up (Shazeer 2020). With h the value and s the sigmoid of the gate, its derivative by the gate is h + s · (up - h). */
const swiglu = (gate: Tensor, up: Tensor): Tensor => {
  const rule: GradientRule = (g, { value, sources: [gate, up], saved: [activated] }) => [
    multiply(g, add(value, multiply(sigmoid(gate), subtract(up, value)))),
    multiply(g, activated),
  ];
  const activated = silu(gate);
  return withGradient(multiply(activated, up), [gate, up], rule, [activated]);
};

const build: Family["build"] = (config, ports) => {
  const { tokens, rotary: tables, attention, parameter, site, select } = ports;
  const { hiddenSize, feedForward, headDimension, heads, keyValueHeads, epsilon, vocabularySize } = config;
  const { variant = {} } = config;
  const queryWidth = heads * headDimension;
  const embeddings = parameter("model.embed_tokens.weight", [vocabularySize, hiddenSize]);
  const gated = variant.activation === "geluTanh" ? (gate: Tensor, up: Tensor) => multiply(geluTanh(gate), up) : swiglu;
  const around = norms(config);

  const vectors = site("embed.tokens", reshape(gather(embeddings, tokens), [-1, hiddenSize]));
  let residual = site("embed", scaled(vectors, variant.embeddingScale));
  let { positions } = ports;
  for (let layer = 0; layer < config.layers; layer++) {
    const [batch, length] = positions.shape;
    const weight: Weight = (rest, ...shape) => parameter(layerName(layer, rest), shape);
    const place = (name: string, value: Tensor): Tensor => site(`layers.${layer}.${name}`, value);
    const norm = (x: Tensor, which: string | undefined): Tensor =>
      which ? rmsNorm(x, weight(`${which}.weight`, hiddenSize), epsilon) : x;

    const normal = place("attention.norm", norm(residual, around.attention.before));
    const perHead = transpose(
      reshape(projected(config, weight, normal), [batch, length, heads + 2 * keyValueHeads, headDimension]),
      [0, 2, 1, 3],
    );
    const [both, values] = split(perHead, [heads + keyValueHeads, keyValueHeads], 1);
    const turning = config.queryKeyNorm === "heads" ? normedHeads(config, weight, both) : both;
    const rotation = config.rotationOf?.[layer] ?? 0;
    const turned =
      rotation === "none" ? turning : rotary(turning, positions, tables[rotation].cosines, tables[rotation].sines);
    const [queries, keys] = split(turned, [heads, keyValueHeads], 1);
    const attended = place(
      "attention.heads",
      attention(
        layer,
        perHeadSite(place, "attention.queries", queries),
        perHeadSite(place, "attention.keys", keys),
        perHeadSite(place, "attention.values", values),
        variant.attention,
      ),
    );
    const mixed = linear(attended, weight("self_attn.o_proj.weight", hiddenSize, queryWidth));
    const attentionOut = place("attention.output", scaled(norm(mixed, around.attention.after), variant.residualScale));
    residual = place("attention.residual", add(residual, attentionOut));

    const second = place("mlp.norm", norm(residual, around.mlp.before));
    const gateAndUp = variant.fused
      ? weight("mlp.gate_up_proj.weight", 2 * feedForward, hiddenSize)
      : concat(
          [
            weight("mlp.gate_proj.weight", feedForward, hiddenSize),
            weight("mlp.up_proj.weight", feedForward, hiddenSize),
          ],
          0,
        );
    const [gate, up] = split(linear(second, gateAndUp), [feedForward, feedForward], 1);
    const neurons = place("mlp.neurons", gated(place("mlp.gate", gate), place("mlp.up", up)));
    const down = linear(neurons, weight("mlp.down_proj.weight", hiddenSize, feedForward));
    const mlpOut = place("mlp.output", scaled(norm(down, around.mlp.after), variant.residualScale));
    residual = place("residual", add(residual, mlpOut));
    positions = ports.positionsAfter?.(layer) ?? positions;
  }
  const final = site("final", select(finalNorm(config, parameter, residual)));
  return site("logits", logitsOf(config, final, config.tied ? embeddings : outputMatrix(config, parameter)));
};

export const llama: Family = {
  architectures: llamaArchitectures,
  readConfig: readLlamaConfig,
  parameters,
  build,
  readout,
};
