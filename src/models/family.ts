/**
 * What an architecture family is: a reader of its config, the weights it needs, and its program. One definition serves
 * inference, where attention reads the key-value arena, and training, where it is causal over whole texts.
 */
import { ensure, nearest, VentrisError } from "../errors.ts";
import type { Tensor } from "../tensor/index.ts";

export interface ModelConfig {
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDimension: number;
  readonly feedForward: number;
  readonly epsilon: number;
  /** Output matrix is the embedding matrix. */
  readonly tied: boolean;
  /** Rotary frequencies [headDimension / 2], or undefined for learned positions. */
  readonly frequencies: Float64Array | undefined;
  /** A position sees at most this many positions, itself included. */
  readonly window: number | undefined;
  readonly attentionBias: boolean;
  readonly queryKeyNorm: boolean;
  readonly beginToken: number | undefined;
  readonly endTokens: readonly number[];
}

/** A parameter of a program and where a checkpoint keeps it. */
export interface ParameterSpecification {
  readonly name: string;
  readonly shape: readonly [number] | readonly [number, number];
  /** Names the checkpoint may use for it, best first. */
  readonly sources: readonly string[];
  /** The checkpoint stores the transposed matrix. */
  readonly transposed?: boolean;
  /** Initial values of training: normal with this standard deviation; undefined: ones (norms); 0: zeros (biases). */
  readonly deviation: number | undefined;
}

/** Queries [batch, heads, length, dimension], keys and values [batch, key-value heads, length, dimension]; result [rows, heads * dimension]. */
export type Attention = (layer: number, queries: Tensor, keys: Tensor, values: Tensor) => Tensor;

export type MakeParameter = (name: string, shape: readonly number[]) => Tensor;
export type SiteHook = (name: string, value: Tensor) => Tensor;

/** What a program is connected to. */
export interface Ports {
  /** int64 [batch, length]; rows = batch * length. */
  readonly tokens: Tensor;
  /** int64 [batch, length]: rows of the rotary tables, or positions themselves where they are learned. */
  readonly positions: Tensor;
  /** Cosines and sines [positions, headDimension / 2]. */
  readonly rotary?: { readonly cosines: Tensor; readonly sines: Tensor };
  readonly attention: Attention;
  /** A parameter by its name: where a graph runs a model twice, or two models, they are shared or kept apart here. */
  readonly parameter: MakeParameter;
  /** Called at every named place with its value [rows, width]; returns the value to go on with. See `sites.ts`. */
  readonly site: SiteHook;
  /** Rows whose logits are wanted, applied before the output product. */
  readonly select: (hidden: Tensor) => Tensor;
}

export interface Family {
  readonly architectures: readonly string[];
  readConfig(json: Readonly<Record<string, unknown>>): ModelConfig;
  parameters(config: ModelConfig): ParameterSpecification[];
  /** Logits [selected rows, vocabulary]. */
  build(config: ModelConfig, ports: Ports): Tensor;
  /** The last step on its own: logits [rows, vocabulary] of values [rows, width] of the residual stream, after any layer. */
  readout(config: ModelConfig, parameter: MakeParameter, residual: Tensor): Tensor;
}

/**
 * Reads a config's fields one by one, then refuses what was not read: a field that changes the mathematics must never be
 * passed over. Fields in `harmless` say nothing about the mathematics of inference.
 */
export class ConfigReader {
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(json: Readonly<Record<string, unknown>>) {
    this.#json = json;
  }

  /** The raw value; null counts as absent. */
  raw(name: string): unknown {
    this.#read.add(name);
    return this.#json[name] ?? undefined;
  }

  integer(name: string, fallback?: number, { minimum = 1, maximum = 2 ** 24 } = {}): number {
    const value = this.raw(name) ?? fallback;
    const valid = Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
    ensure(
      valid,
      "bad_config",
      () => `config: ${name} must be a whole number from ${minimum} to ${maximum}, not ${JSON.stringify(value)}`,
    );
    return value as number;
  }

  positive(name: string, fallback?: number): number {
    const value = this.raw(name) ?? fallback;
    ensure(
      typeof value === "number" && value > 0 && Number.isFinite(value),
      "bad_config",
      () => `config: ${name} must be a positive number, not ${JSON.stringify(value)}`,
    );
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    ensure(
      typeof value === "boolean",
      "bad_config",
      () => `config: ${name} must be true or false, not ${JSON.stringify(value)}`,
    );
    return value;
  }

  /** Refuses every value but those listed (undefined stands for an absent field). */
  only(name: string, ...allowed: unknown[]): void {
    const value = this.raw(name);
    const shown = allowed.map((a) => JSON.stringify(a) ?? "nothing").join(" or ");
    ensure(
      allowed.includes(value),
      "bad_config",
      () => `config: ${name} = ${JSON.stringify(value)} is not supported (only ${shown})`,
    );
  }

  tokens(name: string): number[] {
    const value = this.raw(name);
    const list = value === undefined ? [] : Array.isArray(value) ? value : [value];
    ensure(
      list.every((id) => Number.isInteger(id) && id >= 0),
      "bad_config",
      `config: ${name} must be a token id or a list of them`,
    );
    return list as number[];
  }

  finish(): void {
    const unknown = Object.entries(this.#json).filter(
      ([name, value]) =>
        !this.#read.has(name) && !harmless.has(name) && !name.startsWith("_") && value !== null && value !== false,
    );
    ensure(unknown.length === 0, "bad_config", () => {
      const [name, value] = unknown[0];
      const meant = nearest(name, [...this.#read]);
      return `config: the field ${name} = ${JSON.stringify(value)} is not known to this architecture${meant ? ` (did you mean ${meant}?)` : ""}; running without it could give wrong results`;
    });
  }
}

const harmless = new Set(
  `architectures model_type torch_dtype dtype transformers_version use_cache initializer_range attention_dropout hidden_dropout
  resid_pdrop embd_pdrop attn_pdrop pad_token_id unk_token_id output_attentions output_hidden_states return_dict name_or_path
  is_llama_config rope_interleaved transformers.js_config task_specific_params summary_type summary_use_proj summary_activation
  summary_first_dropout summary_proj_to_labels gradient_checkpointing auto_map max_window_layers layer_types n_ctx
  description license`.split(/\s+/),
);

export function unsupportedArchitecture(architecture: unknown, known: readonly string[]): VentrisError {
  const meant = typeof architecture === "string" ? nearest(architecture, known) : undefined;
  const hint = meant ? ` Did you mean ${meant}?` : "";
  return new VentrisError(
    "bad_config",
    `config: the architecture ${JSON.stringify(architecture)} is not supported.${hint} Supported: ${known.join(", ")}`,
  );
}
