/** Rotations that are stretched to longer contexts than a model began with, as configs say it in `rope_scaling` or `rope_parameters`. */
import { ensure, shown } from "../errors.ts";
import type { ConfigReader } from "./family.ts";
import { plainRotation, type Rotation } from "./rope.ts";

export interface RotationShape {
  /** Dimensions of a head that turn. */
  readonly dimension: number;
  readonly theta: number;
  /** What the config gives as `max_position_embeddings`. */
  readonly contextLength: number;
  /** What it gives as `original_max_position_embeddings` beside it. */
  readonly originalLength?: number;
}

export interface ScaledRotation {
  readonly rotation: Rotation;
  /** Positions that it is made for. */
  readonly contextLength: number;
  /** What serves more positions. */
  readonly longer?: { readonly rotation: Rotation; readonly contextLength: number };
}

/** Dimensions of a head that turn, where only a part does. Errors: `bad_config` where they are no pairs. */
export function turnedDimensions(headDimension: number, share: number): number {
  const dimension = Math.floor(headDimension * share);
  ensure(dimension >= 2 && dimension % 2 === 0 && share <= 1, "bad_config", () => {
    return `config: rotary embedding turns pairs of dimensions, and ${share} of a head of ${headDimension} are ${dimension}`;
  });
  return dimension;
}

/** What a config says of one rotation, wherever it says it. */
export interface StatedRotation {
  readonly scheme: Readonly<Record<string, unknown>> | undefined;
  readonly theta: number | undefined;
  /** Of a head's dimensions, which turn. */
  readonly share: number | undefined;
}

/** Names under which an architecture's config has the base and the share, outside of a scheme. */
export interface RotationNames {
  readonly theta: readonly string[];
  readonly share: readonly string[];
}

/** The object that holds a config's scheme of rotation, given its `rope_parameters`. Errors: `bad_config` for two that are not the same. */
export function statedScheme(config: ConfigReader, parameters: StatedRotation["scheme"]): StatedRotation["scheme"] {
  const scaling = config.object("rope_scaling");
  const same = !scaling || !parameters || JSON.stringify(scaling) === JSON.stringify(parameters);
  ensure(same, "bad_config", "config: rope_scaling and rope_parameters are both there, and say different things");
  return scaling ?? parameters;
}

/** Errors: `bad_config` for values out of range, and for two places that say different things. */
export function statedRotation(
  config: ConfigReader,
  scheme: StatedRotation["scheme"],
  names: RotationNames,
): StatedRotation {
  const agreed = (fields: readonly string[], inScheme: string): number | undefined => {
    const places = fields.map((name): [string, unknown] => [name, config.raw(name)]);
    places.push([`${inScheme} of the rope scaling`, scheme?.[inScheme]]);
    const stated = places.filter(([, value]) => value !== undefined && value !== null);
    for (const [name, value] of stated) {
      const positive = typeof value === "number" && value > 0 && Number.isFinite(value);
      ensure(positive, "bad_config", () => `config: ${name} must be a positive number, not ${shown(value)}`);
      const [[first, wanted]] = stated;
      ensure(value === wanted, "bad_config", () => {
        return `config: ${first} = ${shown(wanted)} contradicts ${name} = ${shown(value)}; which of the two is it?`;
      });
    }
    return stated[0]?.[1] as number | undefined;
  };
  return {
    scheme,
    theta: agreed(names.theta, "rope_theta"),
    share: agreed(names.share, "partial_rotary_factor"),
  };
}

/** Fields that every scheme may have beside its own, and that `statedRotation` reads. */
const common = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];

const fields: Readonly<Record<string, readonly string[]>> = {
  default: [],
  linear: ["factor"],
  longrope: ["factor", "short_factor", "long_factor", "attention_factor", "original_max_position_embeddings"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
  yarn: [
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
  ],
};

/** The options of a scheme, each checked when it is asked for. */
interface Options {
  number(name: string): number;
  optional(name: string): number | undefined;
  /** A number of positions. */
  length(name: string): number | undefined;
  flag(name: string, fallback: boolean): boolean;
  /** One positive number for each of so many pairs of dimensions. */
  list(name: string, pairs: number): readonly number[];
}

/**
 * The rotation that a config asks for. Errors: `bad_config` for a scheme that is not known, a field that the scheme does not have, or
 * a value out of range.
 */
export function scaledRotation(scaling: unknown, shape: RotationShape): ScaledRotation {
  const plain = plainRotation(shape.dimension, shape.theta);
  const { contextLength } = shape;
  if (scaling === undefined || scaling === null) return { rotation: plain, contextLength };
  ensure(
    typeof scaling === "object" && !Array.isArray(scaling),
    "bad_config",
    () => `config: rope_scaling must be an object, not ${shown(scaling)}`,
  );
  const given = scaling as Readonly<Record<string, unknown>>;
  const [type, older] = [given.rope_type ?? given.type ?? "default", given.type ?? given.rope_type ?? "default"].map(
    (stated) => (stated === "su" ? "longrope" : stated), // its name at first
  );
  ensure(type === older, "bad_config", () => {
    return `config: rope_scaling.rope_type = ${shown(type)} contradicts its type = ${shown(older)}`;
  });
  ensure(
    typeof type === "string" && Object.hasOwn(fields, type),
    "bad_config",
    () => `config: rope scaling of type ${shown(type)} is not supported (${Object.keys(fields).join(", ")} are)`,
  );
  for (const name of Object.keys(given)) {
    const known = common.includes(name) || fields[type].includes(name) || (given[name] ?? undefined) === undefined;
    ensure(known, "bad_config", () => {
      return `config: rope_scaling.${name.slice(0, 100)} is not known to the scheme ${type} (${fields[type].join(", ") || "which has no fields"})`;
    });
  }
  const optional = (name: string): number | undefined => {
    const value = given[name] ?? undefined;
    ensure(
      value === undefined || (typeof value === "number" && value > 0 && Number.isFinite(value)),
      "bad_config",
      () => `config: rope_scaling.${name} must be a positive number, not ${shown(value)}`,
    );
    return value as number | undefined;
  };
  const options: Options = {
    optional,
    number(name) {
      const value = optional(name);
      ensure(value !== undefined, "bad_config", `config: rope_scaling.${name} must be a positive number`);
      return value;
    },
    length(name) {
      const value = optional(name);
      const whole = value === undefined || (Number.isInteger(value) && value <= mostPositions);
      ensure(whole, "bad_config", `config: rope_scaling.${name} must be a whole number up to ${mostPositions}`);
      return value;
    },
    flag(name, fallback) {
      const value = given[name] ?? fallback;
      ensure(typeof value === "boolean", "bad_config", `config: rope_scaling.${name} must be true or false`);
      return value;
    },
    list(name, pairs) {
      const value = given[name];
      const valid = Array.isArray(value) && value.length === pairs && value.every((x) => x > 0 && Number.isFinite(x));
      ensure(
        valid,
        "bad_config",
        () => `config: rope_scaling.${name} must be ${pairs} positive numbers, not ${shown(value)}`,
      );
      return value;
    },
  };
  if (type === "longrope") return longRope(plain, options, shape);
  if (type === "default") return { rotation: plain, contextLength };
  if (type === "yarn") return yarn(plain, options, shape);
  const frequencies = type === "linear" ? linear(plain, options) : llama3(plain, options);
  return { rotation: { ...plain, frequencies }, contextLength };
}

/** What a config's whole numbers go up to. */
const mostPositions = 2 ** 24;

/** All frequencies divided by the factor (Chen et al. 2023). */
function linear({ frequencies }: Rotation, { number }: Options): Float64Array {
  const factor = number("factor");
  return frequencies.map((f) => f / factor);
}

/** Long waves are divided, short ones kept, and those between blended by how often they turn in the original context. */
function llama3({ frequencies }: Rotation, { number }: Options): Float64Array {
  const factor = number("factor");
  const [low, high] = [number("low_freq_factor"), number("high_freq_factor")];
  ensure(low < high, "bad_config", `config: rope_scaling.high_freq_factor must be above its low_freq_factor, ${low}`);
  const original = number("original_max_position_embeddings");
  return frequencies.map((frequency) => {
    const turns = (original * frequency) / (2 * Math.PI);
    if (turns < low) return frequency / factor;
    if (turns > high) return frequency;
    const blend = (turns - low) / (high - low);
    return (1 - blend) * (frequency / factor) + blend * frequency;
  });
}

/**
 * YaRN (Peng et al. 2023, arXiv 2309.00071): frequencies that turn more than `beta_fast` times in the original context stay, those that turn
 * less than `beta_slow` times are divided by the factor s, and between them a ramp over the dimensions blends (section 3.2). Scores are
 * divided by a temperature, as cosines and sines times 0.1 ln(s) + 1 (section 3.4), or what `attention_factor` or the two `mscale` say.
 * Without a factor it is the ratio of the contexts; `truncate` (default) rounds the ends of the ramp to whole dimensions.
 */
function yarn({ frequencies }: Rotation, options: Options, { dimension, theta, contextLength }: RotationShape) {
  const { number, optional, length, flag } = options;
  ensure(theta > 1, "bad_config", `config: YaRN needs a rope_theta above 1, not ${theta}`);
  if (optional("factor") === undefined) number("original_max_position_embeddings");
  const original = length("original_max_position_embeddings") ?? contextLength;
  const factor = optional("factor") ?? contextLength / original;
  const temperature = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const [scale, allDimensions] = [optional("mscale"), optional("mscale_all_dim")];
  const ofScales = scale && allDimensions ? temperature(scale) / temperature(allDimensions) : temperature(1);
  const amplitude = optional("attention_factor") ?? ofScales;
  /** The dimension, as a fraction of the pairs, that turns so often in the original context. */
  const turning = (turns: number): number =>
    (dimension * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const ends = [turning(optional("beta_fast") ?? 32), turning(optional("beta_slow") ?? 1)];
  const [first, last] = flag("truncate", true) ? [Math.floor(ends[0]), Math.ceil(ends[1])] : ends;
  const low = Math.max(first, 0);
  const high = Math.min(last, dimension - 1);
  const width = high === low ? 0.001 : high - low;
  const stretched = frequencies.map((frequency, i) => {
    const share = Math.min(1, Math.max(0, (i - low) / width));
    return share * (frequency / factor) + (1 - share) * frequency;
  });
  const reach = Math.floor(factor * original);
  ensure(reach <= mostPositions, "bad_config", () => {
    return `config: rope_scaling.factor = ${factor} makes more than ${mostPositions} positions of ${original}`;
  });
  return { rotation: { frequencies: stretched, amplitude }, contextLength: Math.max(contextLength, reach) };
}

/**
 * LongRoPE (Ding et al. 2024, arXiv 2402.13753): every pair of dimensions has a divisor of its own, one for texts within the original context
 * and one for longer ones. Which it is depends on the length of the text, and with it on every key that is kept: a context is opened with one
 * or the other. Scores are divided by a temperature as published: cosines and sines times sqrt(1 + ln(s) / ln(L)).
 */
function longRope({ frequencies }: Rotation, options: Options, { contextLength, originalLength }: RotationShape) {
  const { optional, length, list } = options;
  const within = length("original_max_position_embeddings");
  ensure(within === undefined || originalLength === undefined || within === originalLength, "bad_config", () => {
    return `config: original_max_position_embeddings = ${originalLength} contradicts ${within} of its rope_scaling`;
  });
  const original = originalLength ?? within ?? 0;
  ensure(original > 1, "bad_config", "config: LongRoPE needs original_max_position_embeddings, above 1");
  const ratio =
    originalLength === undefined ? (optional("factor") ?? contextLength / original) : contextLength / original;
  const published = ratio <= 1 ? 1 : Math.sqrt(1 + Math.log(ratio) / Math.log(original));
  const amplitude = optional("attention_factor") ?? published;
  const divided = (name: string): Rotation => {
    const divisors = list(name, frequencies.length);
    return { frequencies: frequencies.map((f, i) => f / divisors[i]), amplitude };
  };
  const [short, long] = [divided("short_factor"), divided("long_factor")];
  if (contextLength <= original) return { rotation: short, contextLength };
  return { rotation: short, contextLength: original, longer: { rotation: long, contextLength } };
}
