/** Configs of the Llama family: what its members have in common, and the fields that each has of its own. */
import { ensure, shown } from "../errors.ts";
import { ConfigReader, type LlamaVariant, type ModelConfig } from "./family.ts";
import { scaledRotation, statedRotation, statedScheme, turnedDimensions } from "./rope-scaling.ts";

/** Sizes that were read before a member reads its own fields. */
interface Shape {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly headDimension: number;
}

/** What is particular to an architecture: what its published class takes for fields that are left out, and its own fields. */
interface Member {
  readonly epsilon?: number;
  readonly theta?: number;
  /** Base of the rotation of layers that see a window, where it is one of their own. */
  readonly windowTheta?: number;
  readonly contextLength?: number;
  readonly tied?: boolean;
  /** Undefined: the width shared by the heads. */
  readonly headDimension?: number;
  readonly attentionBias?: true;
  readonly queryKeyNorm?: ModelConfig["queryKeyNorm"];
  /** Only the first dimensions of a head may turn. */
  readonly partial?: true;
  /** That `sliding_window` holds: with this size if none is stated, and only with `use_sliding_window` where that switches it. */
  readonly window?: { readonly size?: number; readonly switched?: true };
  /** Layers that see the window where `layer_types` does not say it. Default: all. */
  readonly windowed?: (config: ConfigReader, shape: Shape) => (layer: number) => boolean;
  /** Default: silu. */
  readonly activation?: (config: ConfigReader) => void;
  readonly variant?: (config: ConfigReader, shape: Shape) => LlamaVariant;
  /** Layers whose queries and keys turn. Default: all. */
  readonly turns?: (config: ConfigReader, shape: Shape) => readonly boolean[];
}

const qwenWindow = { size: 4096, switched: true } as const;

const members: Readonly<Record<string, Member>> = {
  LlamaForCausalLM: {},
  MistralForCausalLM: { contextLength: 131072, window: { size: 4096 } },
  Qwen2ForCausalLM: { contextLength: 32768, attentionBias: true, window: qwenWindow, windowed: fromLayer },
  Qwen3ForCausalLM: {
    contextLength: 32768,
    headDimension: 128,
    queryKeyNorm: "heads",
    window: qwenWindow,
    windowed: fromLayer,
  },
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
    window: { switched: true },
    // What does not turn is what sees a window, where there is one.
    windowed: (config, shape) => (layer) => !rotatedLayers(config, shape)[layer],
    turns: rotatedLayers,
  },
  Phi3ForCausalLM: {
    epsilon: 1e-5,
    contextLength: 4096,
    partial: true,
    window: {},
    variant: (config) => {
      for (const neutral of ["full_attn_mod", "interpolate_factor"]) config.only(neutral, 1, undefined);
      return { fused: true };
    },
  },
  GemmaForCausalLM: {
    contextLength: 8192,
    tied: true,
    headDimension: 256,
    activation: geluActivation,
    variant: (_, shape) => scaledByWidth(shape),
  },
  Gemma2ForCausalLM: {
    contextLength: 8192,
    tied: true,
    headDimension: 256,
    window: { size: 4096 },
    windowed: () => (layer) => layer % 2 === 0,
    activation: geluActivation,
    variant: (config, shape) => gemma(config, shape, { attention: 50, logits: 30 }),
  },
  Gemma3ForCausalLM: {
    theta: 1e6,
    windowTheta: 10000,
    contextLength: 131072,
    tied: true,
    headDimension: 256,
    queryKeyNorm: "heads",
    window: { size: 4096 },
    windowed: gemmaPattern,
    activation: geluActivation,
    variant: (config, shape) => gemma(config, shape, {}),
  },
};

/** A field with a default of its own, which null switches off. */
function cap(config: ConfigReader, name: string, fallback: number | undefined): number | undefined {
  if (!config.states(name)) return fallback;
  return config.raw(name) === undefined ? undefined : config.positive(name);
}

/** The approximation by a hyperbolic tangent, whatever an older field says. */
function geluActivation(config: ConfigReader): void {
  config.only("hidden_activation", "gelu_pytorch_tanh", undefined);
  config.only("hidden_act", "gelu_pytorch_tanh", "gelu", undefined);
}

const scaledByWidth = ({ hiddenSize }: Shape): LlamaVariant => ({
  embeddingScale: Math.sqrt(hiddenSize),
  shiftedNorms: true,
  activation: "geluTanh",
});

/** Gemma 2 and 3 (Gemma Team 2024, arXiv 2408.00118, section 2; 2025, arXiv 2503.19786, section 2). */
function gemma(config: ConfigReader, shape: Shape, caps: { attention?: number; logits?: number }): LlamaVariant {
  config.only("use_bidirectional_attention", false, undefined);
  const attentionCap = cap(config, "attn_logit_softcapping", caps.attention);
  const logitCap = cap(config, "final_logit_softcapping", caps.logits);
  return {
    ...scaledByWidth(shape),
    norms: "both",
    attention: {
      scale: config.positive("query_pre_attn_scalar", 256) ** -0.5,
      ...(attentionCap !== undefined && { cap: attentionCap }),
    },
    ...(logitCap !== undefined && { logitCap }),
  };
}

export const llamaArchitectures: readonly string[] = Object.keys(members);

/** Qwen's layers see a window from one of them on. */
function fromLayer(config: ConfigReader): (layer: number) => boolean {
  const first = config.integer("max_window_layers", 28, { minimum: 0 });
  return (layer) => layer >= first;
}

/** All but every so manieth layer see a window. */
function gemmaPattern(config: ConfigReader): (layer: number) => boolean {
  const every = config.integer("sliding_window_pattern", config.integer("_sliding_window_pattern", 6));
  return (layer) => (layer + 1) % every !== 0;
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
  const shape: Shape = { hiddenSize, layers, headDimension };
  ensure(
    heads % keyValueHeads === 0,
    "bad_config",
    `config: ${heads} heads cannot share ${keyValueHeads} key-value heads evenly`,
  );
  if (member.activation) member.activation(config);
  else config.only("hidden_act", "silu", undefined);
  for (const off of ["mlp_bias", "lm_head_bias"]) config.only(off, false, undefined);
  config.integer("pretraining_tp", 1); // how products were divided among machines
  config.only("quantization_config", undefined);
  const attentionBias = config.boolean("attention_bias", false);
  // Attention biases of the others' checkpoints also sit on the output projection, which Qwen2's do not.
  const biased = member.attentionBias === true;
  ensure(
    !attentionBias || biased,
    "bad_config",
    "config: attention_bias = true is not supported for this architecture",
  );
  const { size, windowed } = readWindow(config, member, shape);
  const { contextLength, ...rotations } = readRotations(config, member, shape, windowed);
  // A window as wide as the context hides nothing.
  const window = size !== undefined && size < contextLength && windowed.includes(true) ? size : undefined;
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
    ...rotations,
    window,
    ...(window !== undefined && windowed.includes(false) && { windowed }),
    attentionBias: biased,
    queryKeyNorm: member.queryKeyNorm ?? false,
    ...(member.variant && { variant: member.variant(config, shape) }),
    beginToken: config.token("bos_token_id"),
    endTokens: config.tokens("eos_token_id"),
  };
  config.finish();
  return result;
}

/** The rotations of a model, and which layers have which. */
function readRotations(
  config: ConfigReader,
  member: Member,
  shape: Shape,
  windowed: readonly boolean[],
): Pick<ModelConfig, "rotations" | "rotationOf" | "contextLength" | "longer"> {
  const { headDimension } = shape;
  ensure(
    headDimension % 2 === 0,
    "bad_config",
    `config: rotary embedding needs an even head dimension, not ${headDimension}`,
  );
  const given = config.object("rope_parameters");
  // Where kinds of layers differ in it, each has its own.
  const byKind =
    given !== undefined && member.windowTheta !== undefined && layerKinds.some((k) => Object.hasOwn(given, k));
  const stray = byKind ? Object.keys(given).find((kind) => !layerKinds.includes(kind)) : undefined;
  ensure(stray === undefined, "bad_config", `config: rope_parameters.${stray} is no kind of layer`);
  const ofKind = (kind: string) => (byKind ? new ConfigReader(given).object(kind) : undefined);
  const scheme = statedScheme(config, byKind ? ofKind("full_attention") : given);
  const stated = statedRotation(config, scheme, { theta: ["rope_theta"], share: ["partial_rotary_factor"] });
  const { theta = member.theta ?? 10000, share = 1 } = stated;
  ensure(
    share === 1 || member.partial,
    "bad_config",
    `config: partial_rotary_factor = ${share} is not supported (only 1)`,
  );
  const length = config.integer("max_position_embeddings", member.contextLength ?? 2048);
  const within = scheme?.original_max_position_embeddings !== undefined;
  const beside = member.partial && (!within || config.states("original_max_position_embeddings"));
  const original = beside ? config.integer("original_max_position_embeddings", 4096) : undefined;
  const common = {
    dimension: turnedDimensions(headDimension, share),
    contextLength: length,
    ...(original && { originalLength: original }),
  };
  const { rotation, contextLength, longer } = scaledRotation(scheme, { ...common, theta });
  const result = {
    rotations: [rotation],
    contextLength,
    ...(longer && { longer: { contextLength: longer.contextLength, rotations: [longer.rotation] } }),
  };
  if (member.windowTheta !== undefined) {
    const own = statedRotation(config, ofKind("sliding_attention"), { theta: ["rope_local_base_freq"], share: [] });
    ensure(own.share === undefined || own.share === 1, "bad_config", () => {
      return `config: partial_rotary_factor = ${own.share} of sliding_attention is not supported (only 1)`;
    });
    const local = scaledRotation(own.scheme, { ...common, theta: own.theta ?? member.windowTheta });
    return { ...result, rotations: [rotation, local.rotation], rotationOf: windowed.map((sees) => (sees ? 1 : 0)) };
  }
  const turns = member.turns?.(config, shape);
  return turns?.includes(false) ? { ...result, rotationOf: turns.map((turn) => (turn ? 0 : "none")) } : result;
}

const layerKinds = ["full_attention", "sliding_attention"];

/** The window's size, where one is in use, and the layers that see it. Errors: `bad_config` for layers with a window that is not there. */
function readWindow(config: ConfigReader, member: Member, shape: Shape): { size?: number; windowed: boolean[] } {
  const { layers } = shape;
  if (member.window === undefined) {
    for (const field of ["use_sliding_window", "sliding_window"]) config.only(field, false, undefined);
  }
  const switchedOn = config.boolean("use_sliding_window", !member.window?.switched);
  const fallback = config.states("sliding_window") ? undefined : member.window?.size;
  const stated = config.raw("sliding_window") === undefined ? fallback : config.integer("sliding_window");
  const size = member.window !== undefined && switchedOn ? stated : undefined;
  const kinds = config.raw("layer_types");
  ensure(
    kinds === undefined || (Array.isArray(kinds) && kinds.every((kind) => layerKinds.includes(kind))),
    "bad_config",
    () => `config: layer_types must name ${layerKinds.join(" or ")} for each layer, not ${shown(kinds)}`,
  );
  const listed = kinds as string[] | undefined;
  ensure(!listed || listed.length === layers, "bad_config", () => {
    return `config: layer_types has ${listed!.length} entries for ${layers} layers`;
  });
  ensure(size !== undefined || !listed?.includes("sliding_attention"), "bad_config", () => {
    return "config: layer_types has layers of sliding_attention, but no window is stated and in use (sliding_window, use_sliding_window)";
  });
  // Read even where the list says it: the field is known.
  const sees = size === undefined ? undefined : member.windowed?.(config, shape);
  const windowed = Array.from({ length: layers }, (_, layer) => {
    if (size === undefined) return false;
    return listed ? listed[layer] === "sliding_attention" : (sees?.(layer) ?? true);
  });
  return { size, windowed };
}
