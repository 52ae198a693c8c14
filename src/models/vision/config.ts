/** What a LLaVA config says of its eyes: the vision tower (CLIP or SigLIP), which of its states are read, and the projector to the text model. */
import { ensure, shown } from "../../errors.ts";
import { ConfigReader } from "../family.ts";

/** Sizes of a tower that sees. */
export interface VisionConfig {
  readonly kind: "clip" | "siglip";
  /** Pixels of a side of the square picture, and of a patch; patches in a row of the picture. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly side: number;
  readonly channels: number;
  readonly hiddenSize: number;
  /** Layers of the tower, and how many of them are computed: the projector reads what the last of these gives. */
  readonly layers: number;
  readonly used: number;
  readonly heads: number;
  readonly feedForward: number;
  readonly activation: Activation;
  readonly epsilon: number;
  /** The first state of the tower, CLIP's class token, is left out. */
  readonly dropsFirst: boolean;
  /** Rows that a picture takes in a text. */
  readonly rows: number;
  /** Width of the text model. */
  readonly width: number;
  readonly projectorActivation: Activation;
  readonly projectorBias: boolean;
  /** Stands for a picture in texts that a template makes. */
  readonly imageToken: number;
}

const activations = ["quick_gelu", "gelu", "gelu_pytorch_tanh", "relu", "silu"] as const;
/** Function between the two products of a feed-forward block. */
export type Activation = (typeof activations)[number];

/** Values that transformers leaves out of a config which has them (`CLIPVisionConfig`, `SiglipVisionConfig`). */
const defaults = {
  clip: { image_size: 224, patch_size: 32, hidden_act: "quick_gelu", layer_norm_eps: 1e-5 },
  siglip: { image_size: 224, patch_size: 16, hidden_act: "gelu_pytorch_tanh", layer_norm_eps: 1e-6 },
};
const base = { hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12 };

/** A picture has at most so many rows, and a tower so many numbers in a state: what a config asks for has to be affordable. */
const mostRows = 4096;

const activationOf = (name: string, value: unknown): Activation => {
  const known = activations.includes(value as Activation);
  ensure(known, "bad_config", () => `config: ${name} must be one of ${activations.join(", ")}, not ${shown(value)}`);
  return value as Activation;
};

/** `config` is that of the whole model; its fields about seeing are read here. Errors: `bad_config`. */
export function readVision(config: ConfigReader, width: number): VisionConfig {
  const given = config.raw("vision_config");
  const isObject = typeof given === "object" && given !== null && !Array.isArray(given);
  ensure(isObject, "bad_config", () => `config: vision_config must be an object, not ${shown(given)}`);
  const stated = (given as { model_type?: unknown }).model_type ?? "clip_vision_model";
  const kind = stated === "clip_vision_model" ? "clip" : stated === "siglip_vision_model" ? "siglip" : undefined;
  ensure(kind, "bad_config", () => {
    return `config: vision_config.model_type must be clip_vision_model or siglip_vision_model, not ${shown(stated)}`;
  });
  const tower = new ConfigReader({ ...base, ...defaults[kind], ...(given as object) });
  for (const name of ["projection_dim", "vocab_size", "vision_use_head", "architectures"]) tower.raw(name);
  const imageSize = tower.integer("image_size", undefined, { maximum: 4096 });
  const patchSize = tower.integer("patch_size", undefined, { maximum: 4096 });
  const hiddenSize = tower.integer("hidden_size", undefined, { maximum: 2 ** 16 });
  const layers = tower.integer("num_hidden_layers", undefined, { maximum: 1024 });
  const heads = tower.integer("num_attention_heads");
  ensure(
    hiddenSize % heads === 0,
    "bad_config",
    `config: vision_config: ${heads} heads cannot share ${hiddenSize} numbers`,
  );
  const side = Math.floor(imageSize / patchSize);
  ensure(side >= 1, "bad_config", `config: vision_config: a patch of ${patchSize} pixels is larger than the picture`);

  const layer = config.raw("vision_feature_layer") ?? -2;
  ensure(Number.isInteger(layer), "bad_config", () => {
    return `config: vision_feature_layer must be a whole number, not ${shown(layer)}: features of several layers are not supported`;
  });
  const used = (layer as number) < 0 ? layers + 1 + (layer as number) : (layer as number);
  ensure(
    used >= 0 && used <= layers,
    "bad_config",
    `config: vision_feature_layer ${layer} is none of the tower's ${layers}`,
  );
  config.only("vision_feature_select_strategy", "default", "full", undefined);
  const dropsFirst = (config.raw("vision_feature_select_strategy") ?? "default") === "default";
  const states = side * side + (kind === "clip" ? 1 : 0);
  const rows = states - (dropsFirst ? 1 : 0);
  ensure(
    rows >= 1 && rows <= mostRows,
    "bad_config",
    `config: a picture of ${rows} rows is not supported (1 to ${mostRows})`,
  );
  const length = config.raw("image_seq_length");
  ensure(length === undefined || length === rows, "bad_config", () => {
    return `config: image_seq_length is ${shown(length)}, but the vision tower gives ${rows} rows`;
  });
  const imageToken = config.raw("image_token_index") ?? config.raw("image_token_id") ?? 32000;
  config.raw("image_token_id");
  ensure(Number.isInteger(imageToken) && (imageToken as number) >= 0, "bad_config", () => {
    return `config: image_token_index must be a token id, not ${shown(imageToken)}`;
  });
  const result: VisionConfig = {
    kind,
    imageSize,
    patchSize,
    side,
    channels: tower.integer("num_channels", 3, { maximum: 4 }),
    hiddenSize,
    layers,
    used,
    heads,
    feedForward: tower.integer("intermediate_size"),
    activation: activationOf("vision_config.hidden_act", tower.raw("hidden_act")),
    epsilon: tower.positive("layer_norm_eps"),
    dropsFirst,
    rows,
    width,
    projectorActivation: activationOf("projector_hidden_act", config.raw("projector_hidden_act") ?? "gelu"),
    projectorBias: config.boolean("multimodal_projector_bias", true),
    imageToken: imageToken as number,
  };
  ensure(result.channels === 3, "bad_config", `config: vision_config.num_channels must be 3, not ${result.channels}`);
  tower.finish();
  return result;
}
