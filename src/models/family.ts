/**
 * What an architecture family is: a reader of its config, the weights it needs, and its program. One definition serves
 * inference, where attention reads the key-value arena, and training, where it is causal over whole texts.
 */

import { ensure, shown, VentrisError } from "../errors.ts";
import { didYouMean, hint, meantField } from "../names.ts";
import type { Tensor } from "../tensor/index.ts";
import { warnOnce } from "../warnings.ts";
import { judgeField } from "./config-fields.ts";
import type { RotaryTables, Rotation } from "./rope.ts";
import type { VisionConfig } from "./vision/config.ts";

/** A model's sizes and what else its mathematics depends on, checked. */
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
  /** How positions turn queries and keys; none: positions are learned. */
  readonly rotations: readonly Rotation[];
  /** Which of them each layer has; "none": its queries and keys are not turned. Default: the first. */
  readonly rotationOf?: readonly (number | "none")[];
  /** A longer context that the model can be opened with, which turns by other frequencies (LongRoPE): see `withContext`. */
  readonly longer?: { readonly contextLength: number; readonly rotations: readonly Rotation[] };
  /** A position sees at most this many positions, itself included: in the layers of `windowed`, or, without it, in all. */
  readonly window: number | undefined;
  readonly windowed?: readonly boolean[];
  readonly attentionBias: boolean;
  /** Queries and keys are normalised before they turn: each head by itself, or all heads of a row together. */
  readonly queryKeyNorm: false | "heads" | "width";
  /** What members of the Llama family do differently from Llama. */
  readonly variant?: LlamaVariant;
  readonly beginToken: number | undefined;
  readonly endTokens: readonly number[];
  /** Of masked diffusion models, in which every position sees every other. */
  readonly diffusion?: MaskedDiffusion;
  /** Of models that see. */
  readonly vision?: VisionConfig;
}

export interface LlamaVariant {
  /** Embeddings, and what each branch adds to the residual stream, times these. */
  readonly embeddingScale?: number;
  readonly residualScale?: number;
  /** Logits times this, then capped: cap * tanh(x / cap). */
  readonly logitScale?: number;
  readonly logitCap?: number;
  readonly attention?: AttentionStyle;
  /** Where the norms of a branch stand: before it (default), after it, or both. */
  readonly norms?: "before" | "after" | "both";
  /** Norms store their weights less one. */
  readonly shiftedNorms?: true;
  /** Of the feed-forward. Default "silu". */
  readonly activation?: "silu" | "gelu" | "geluTanh";
  /** Both branches read what goes into the layer (GPT-NeoX). */
  readonly parallel?: true;
  /** Queries, keys and values are one matrix in the checkpoint, and so are gate and up. */
  readonly fused?: true;
}

/** How scores come from queries and keys. */
export interface AttentionStyle {
  /** Products are multiplied by it. Default 1 / sqrt(dimension). */
  readonly scale?: number;
  /** Scores become cap * tanh(score / cap), before anything is masked. */
  readonly cap?: number;
}

/**
 * The config for so many positions; undefined: its own. Of LongRoPE's two sets of frequencies the short serve the original context, and the
 * long all positions of a longer one. Errors: `bad_option` for more than there are.
 */
export function withContext(config: ModelConfig, positions: number | undefined): ModelConfig {
  if (positions === undefined) return config;
  const { contextLength, longer, rotations } = config;
  const most = longer?.contextLength ?? contextLength;
  const valid = Number.isInteger(positions) && positions >= 1 && positions <= most;
  ensure(
    valid,
    "bad_option",
    () => `contextLength must be a whole number from 1 to the model's ${most}, not ${shown(positions)}`,
  );
  if (positions > contextLength) return { ...config, rotations: longer!.rotations, contextLength: positions };
  // Learned positions are a matrix of so many rows.
  return rotations.length === 0 ? config : { ...config, contextLength: positions };
}

/** The layers' ways of looking back, as windows; and which of them a layer has. */
export function reachesOf({ window, windowed }: Pick<ModelConfig, "window" | "windowed">): {
  readonly windows: readonly (number | undefined)[];
  readonly of: (layer: number) => number;
} {
  if (window === undefined || !windowed || windowed.every((local) => local)) return { windows: [window], of: () => 0 };
  if (!windowed.includes(true)) return { windows: [undefined], of: () => 0 };
  return { windows: [undefined, window], of: (layer) => (windowed[layer] ? 1 : 0) };
}

/** What makes a model one of masked diffusion. */
export interface MaskedDiffusion {
  /** Stands where nothing has been filled in yet. */
  readonly maskToken: number;
  readonly padToken: number | undefined;
  /** The prediction for a position is read one row before it, as in the autoregressive model that it began as. */
  readonly shift: boolean;
}

/** A parameter of a program and where a checkpoint keeps it. */
export interface ParameterSpecification {
  readonly name: string;
  readonly shape: readonly number[];
  /** Names the checkpoint may use for it, best first. */
  readonly sources: readonly string[];
  /** The checkpoint stores the transposed matrix. */
  readonly transposed?: boolean;
  /** Added to what the checkpoint stores. */
  readonly shift?: number;
  /** Initial values of training: normal with this standard deviation; undefined: ones (norms); 0: zeros (biases). */
  readonly deviation: number | undefined;
}

/** Queries [batch, heads, length, dimension], keys and values [batch, key-value heads, length, dimension]; result [rows, heads * dimension]. */
export type Attention = (
  layer: number,
  queries: Tensor,
  keys: Tensor,
  values: Tensor,
  style?: AttentionStyle,
) => Tensor;

/** Makes or finds the parameter of a name and shape. */
export type MakeParameter = (name: string, shape: readonly number[]) => Tensor;
/** Is given what a site holds and returns what stands there from now on. */
export type SiteHook = (name: string, value: Tensor) => Tensor;

/** What a program is connected to. */
export interface Ports {
  /** int64 [batch, length]; rows = batch * length. */
  readonly tokens: Tensor;
  /** int64 [batch, length]: rows of the rotary tables, or positions themselves where they are learned. */
  readonly positions: Tensor;
  /** Positions [batch, length] of the rows that go on after a layer, where others have joined them. */
  readonly positionsAfter?: (layer: number) => Tensor | undefined;
  /** Tables of the config's rotations. */
  readonly rotary: readonly RotaryTables[];
  readonly attention: Attention;
  /** A parameter by its name: where a graph runs a model twice, or two models, they are shared or kept apart here. */
  readonly parameter: MakeParameter;
  /** Called at every named place with its value [rows, width]; returns the value to go on with. See `sites.ts`. */
  readonly site: SiteHook;
  /** Rows whose logits are wanted, applied before the output product. */
  readonly select: (hidden: Tensor) => Tensor;
}

/** An architecture: how its configuration is read, its parameters are named, and its rows are computed. */
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
 * Reads a config's fields one by one, then judges what was not read: a field that changes the mathematics must never be
 * passed over.
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

  /** Whether the field is there, be it null. */
  states(name: string): boolean {
    return Object.hasOwn(this.#json, name);
  }

  object(name: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.raw(name);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    ensure(
      value === undefined || isObject,
      "bad_config",
      () => `config: ${name} must be an object, not ${shown(value)}`,
    );
    return value as Readonly<Record<string, unknown>> | undefined;
  }

  integer(name: string, fallback?: number, { minimum = 1, maximum = 2 ** 24 } = {}): number {
    const value = this.raw(name) ?? fallback;
    const valid = Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
    ensure(valid, "bad_config", () => this.#told(name, value, `a whole number from ${minimum} to ${maximum}`));
    return value as number;
  }

  positive(name: string, fallback?: number): number {
    const value = this.raw(name) ?? fallback;
    ensure(typeof value === "number" && value > 0 && Number.isFinite(value), "bad_config", () =>
      this.#told(name, value, "a positive number"),
    );
    return value;
  }

  /** What a field must be. Of one that is missing: another that it may be by a slip. */
  #told(name: string, value: unknown, wanted: string): string {
    return value === undefined
      ? `config: ${name} is missing: it must be ${wanted}${meantField(this.#json, [name]) ?? ""}`
      : `config: ${name} must be ${wanted}, not ${shown(value)}`;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    ensure(
      typeof value === "boolean",
      "bad_config",
      () => `config: ${name} must be true or false, not ${shown(value)}`,
    );
    return value;
  }

  /** Refuses every value but those listed (undefined stands for an absent field). */
  only(name: string, ...allowed: unknown[]): void {
    const value = this.raw(name);
    const wanted = allowed.map((a) => JSON.stringify(a) ?? "nothing").join(" or ");
    ensure(
      allowed.includes(value),
      "bad_config",
      () => `config: ${name} = ${shown(value)} is not supported (only ${wanted})`,
    );
  }

  /** One token, or none. Errors: `bad_config` for a list of several, of which it would not be known which is meant. */
  token(name: string): number | undefined {
    const list = this.tokens(name);
    ensure(list.length <= 1, "bad_config", () => `config: ${name} must be one token id, not ${shown(list)}`);
    return list[0];
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

  /** Looks at what was not read. A field that may change the mathematics is refused, one that is merely unknown is told once. */
  finish(): void {
    const unread = Object.entries(this.#json).filter(([name]) => !this.#read.has(name));
    ensure(unread.length <= mostFields, "bad_config", `config: ${unread.length} unknown fields are no config`);
    const told: string[] = [];
    for (const [name, value] of unread) {
      const { verdict, meant } = judgeField(name, value, [...this.#read]);
      ensure(
        verdict !== "refuse",
        "bad_config",
        () =>
          `config: the field ${name.slice(0, 100)} = ${shown(value)} is not known to this architecture, and running without it could give wrong results${hint(meant)}`,
      );
      if (verdict === "warn") told.push(name);
    }
    if (told.length > 0)
      warnOnce(
        `config: passed over ${told.slice(0, 20).map(shown).join(", ")}: not known here, and their names say nothing of the mathematics`,
      );
  }
}

const mostFields = 10_000;

export function unsupportedArchitecture(architecture: unknown, known: readonly string[]): VentrisError {
  const meant = typeof architecture === "string" ? didYouMean(architecture, known) : ".";
  return new VentrisError(
    "bad_config",
    `config: the architecture ${shown(architecture)} is not supported${meant} Supported: ${known.join(", ")}`,
  );
}
