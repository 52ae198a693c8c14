/** Configs of the Llama family: what its members have in common, and the fields that each has of its own. */
import { ensure, shown } from "../errors.ts";
import { ConfigReader, type LlamaVariant, type ModelConfig } from "./family.ts";
import { scaledRotation } from "./rope-scaling.ts";

/** Sizes that were read before a member reads its own fields. */
interface Shape {
  readonly layers: number;
  readonly headDimension: number;
}

/** What is particular to an architecture: what its published class takes for fields that are left out, and its own fields. */
interface Member {
  readonly epsilon?: number;
  readonly theta?: number;
  readonly contextLength?: number;
  readonly tied?: boolean;
  /** Undefined: the width shared by the heads. */
  readonly headDimension?: number;
  readonly attentionBias?: true;
  readonly queryKeyNorm?: ModelConfig["queryKeyNorm"];
  /** Whether `sliding_window` holds: always, or only with `use_sliding_window`. */
  readonly window?: "stated" | "switched";
  /** Layers that see the window where `layer_types` does not say it. Default: all. */
  readonly windowed?: (config: ConfigReader, shape: Shape) => (layer: number) => boolean;
  readonly variant?: (config: ConfigReader, shape: Shape) => LlamaVariant;
  /** Layers whose queries and keys turn. Default: all. */
  readonly turns?: (config: ConfigReader, shape: Shape) => readonly boolean[];
}

const members: Readonly<Record<string, Member>> = {
  LlamaForCausalLM: {},
  MistralForCausalLM: { window: "stated" },
  Qwen2ForCausalLM: { attentionBias: true, window: "switched", windowed: fromLayer },
  Qwen3ForCausalLM: { headDimension: 128, queryKeyNorm: "heads", window: "switched", windowed: fromLayer },
  GraniteForCausalLM: {
    variant: (config) => ({
      embeddingScale: config.positive("embedding_multiplier", 1),
      residualScale: config.positive("residual_multiplier", 1),
      logitScale: 1 / config.positive("logits_scaling", 1),
      attention: { scale: config.positive("attention_multiplier", 1) },
    }),
  },
  Olmo2ForCausalLM: { epsilon: 1e-5, queryKeyNorm: "width", variant: () => ({ norms: "after" }) },
  SmolLM3ForCausalLM: {
    theta: 2e6,
    contextLength: 32768,
    tied: true,
    window: "switched",
    // What does not turn is what sees a window, where there is one.
    windowed: (config, shape) => (layer) => !rotatedLayers(config, shape)[layer],
    turns: rotatedLayers,
  },
};

export const llamaArchitectures: readonly string[] = Object.keys(members);

/** Qwen's layers see a window from one of them on. */
function fromLayer(config: ConfigReader): (layer: number) => boolean {
  const first = config.integer("max_window_layers", 28, { minimum: 0 });
  return (layer) => layer >= first;
}

/** 1 in `no_rope_layers` for layers that turn; without the list all but every `no_rope_layer_interval`th. */
function rotatedLayers(config: ConfigReader, { layers }: Shape): boolean[] {
  const interval = config.integer("no_rope_layer_interval", 4);
  const list = config.raw("no_rope_layers");
  if (list === undefined) return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
  ensure(
    Array.isArray(list) && list.length >= layers && list.every((turns) => turns === 0 || turns === 1),
    "bad_config",
    () => `config: no_rope_layers must hold a 0 or 1 for each of the ${layers} layers, not ${shown(list)}`,
  );
  return list.slice(0, layers).map((turns) => turns === 1);
}

/** Errors: `bad_config` naming the field. */
export function readLlamaConfig(json: Readonly<Record<string, unknown>>): ModelConfig {
  const config = new ConfigReader(json);
  const architecture = (json.architectures as string[])[0];
  const member = members[architecture];
  const hiddenSize = config.integer("hidden_size");
  const heads = config.integer("num_attention_heads");
  const keyValueHeads = config.integer("num_key_value_heads", heads);
  const headDimension = config.integer("head_dim", member.headDimension ?? Math.floor(hiddenSize / heads));
  const layers = config.integer("num_hidden_layers", undefined, { maximum: 1024 });
  const shape: Shape = { layers, headDimension };
  ensure(
    heads % keyValueHeads === 0,
    "bad_config",
    `config: ${heads} heads cannot share ${keyValueHeads} key-value heads evenly`,
  );
  config.only("hidden_act", "silu", undefined);
  for (const off of ["mlp_bias", "lm_head_bias"]) config.only(off, false, undefined);
  config.integer("pretraining_tp", 1); // how products were divided among machines
  config.only("partial_rotary_factor", 1, undefined);
  config.only("quantization_config", undefined);
  const attentionBias = config.boolean("attention_bias", false);
  // Attention biases of the others' checkpoints also sit on the output projection, which Qwen2's do not.
  const biased = member.attentionBias === true;
  ensure(
    !attentionBias || biased,
    "bad_config",
    "config: attention_bias = true is not supported for this architecture",
  );
  const { rotation, contextLength } = readRotation(config, member, shape);
  const turns = member.turns?.(config, shape);
  const result: ModelConfig = {
    architecture,
    vocabularySize: config.integer("vocab_size"),
    contextLength,
    hiddenSize,
    layers,
    heads,
    keyValueHeads,
    headDimension,
    feedForward: config.integer("intermediate_size"),
    epsilon: config.positive("rms_norm_eps", member.epsilon ?? 1e-6),
    tied: config.boolean("tie_word_embeddings", member.tied ?? false),
    rotations: [rotation],
    ...(turns?.includes(false) && { rotationOf: turns.map((turn) => (turn ? 0 : "none")) }),
    ...readReach(config, member, shape, contextLength),
    attentionBias: biased,
    queryKeyNorm: member.queryKeyNorm ?? false,
    ...(member.variant && { variant: member.variant(config, shape) }),
    beginToken: config.tokens("bos_token_id")[0],
    endTokens: config.tokens("eos_token_id"),
  };
  config.finish();
  return result;
}

function readRotation(config: ConfigReader, member: Member, { headDimension }: Shape) {
  ensure(
    headDimension % 2 === 0,
    "bad_config",
    `config: rotary embedding needs an even head dimension, not ${headDimension}`,
  );
  const rope = config.raw("rope_parameters") as Record<string, unknown> | undefined;
  const theta = config.positive("rope_theta", (rope?.rope_theta as number | undefined) ?? member.theta ?? 10000);
  const contextLength = config.integer("max_position_embeddings", member.contextLength ?? 2048);
  return scaledRotation(config.raw("rope_scaling") ?? rope, { dimension: headDimension, theta, contextLength });
}

/** The window, and the layers that see it. Errors: `bad_config` for layers with a window that is not there. */
function readReach(config: ConfigReader, member: Member, shape: Shape, contextLength: number) {
  const { layers } = shape;
  const switchedOn = config.boolean("use_sliding_window", member.window === "stated");
  const stated = config.raw("sliding_window") === undefined ? undefined : config.integer("sliding_window");
  const size = member.window !== undefined && switchedOn ? stated : undefined;
  const kinds = config.raw("layer_types");
  const known = ["full_attention", "sliding_attention"];
  ensure(
    kinds === undefined || (Array.isArray(kinds) && kinds.every((kind) => known.includes(kind))),
    "bad_config",
    () => `config: layer_types must name ${known.join(" or ")} for each layer, not ${shown(kinds)}`,
  );
  const listed = kinds as string[] | undefined;
  ensure(!listed || listed.length === layers, "bad_config", () => {
    return `config: layer_types has ${listed!.length} entries for ${layers} layers`;
  });
  ensure(size !== undefined || !listed?.includes("sliding_attention"), "bad_config", () => {
    return `config: layer_types has layers of sliding_attention, but no window is stated and in use (sliding_window, use_sliding_window)`;
  });
  const sees = size === undefined ? undefined : member.windowed?.(config, shape);
  const windowed = Array.from({ length: layers }, (_, layer) => {
    return listed ? listed[layer] === "sliding_attention" : (sees?.(layer) ?? true);
  });
  // A window as wide as the context hides nothing.
  const window = size !== undefined && size < contextLength && windowed.includes(true) ? size : undefined;
  return { window, ...(window !== undefined && windowed.includes(false) && { windowed }) };
}
