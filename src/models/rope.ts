import { ensure } from "../errors.ts";

/**
 * Rotary frequencies [dimension / 2], scaled as the config says: `linear` (Chen et al. 2023) divides all by the factor; `llama3`
 * divides the long wavelengths, keeps the short, and blends between. Errors: `bad_config` for a scheme that is not known.
 */
export function rotaryFrequencies(dimension: number, theta: number, scaling: unknown): Float64Array {
  const plain = Float64Array.from({ length: dimension / 2 }, (_, i) => theta ** ((-2 * i) / dimension));
  if (scaling === undefined || scaling === null) return plain;
  ensure(typeof scaling === "object", "bad_config", "config: rope_scaling must be an object");
  const options = scaling as Record<string, unknown>;
  const type = options.rope_type ?? options.type ?? "default";
  const number = (name: string): number => {
    const value = options[name];
    ensure(
      typeof value === "number" && value > 0,
      "bad_config",
      `config: rope_scaling.${name} must be a positive number`,
    );
    return value;
  };
  if (type === "default") return plain;
  if (type === "linear") return plain.map((f) => f / number("factor"));
  ensure(
    type === "llama3",
    "bad_config",
    `config: rope scaling of type ${JSON.stringify(type)} is not supported (default, linear, llama3)`,
  );
  const factor = number("factor");
  const [low, high] = [number("low_freq_factor"), number("high_freq_factor")];
  const original = number("original_max_position_embeddings");
  return plain.map((frequency) => {
    const turns = (original * frequency) / (2 * Math.PI);
    if (turns < low) return frequency / factor;
    if (turns > high) return frequency;
    const blend = (turns - low) / (high - low);
    return (1 - blend) * (frequency / factor) + blend * frequency;
  });
}

/** Cosines and sines of one position, written at row `row` of the tables [rows, dimension / 2]. */
export function writeRotation(
  frequencies: Float64Array,
  position: number,
  row: number,
  cosines: Float32Array,
  sines: Float32Array,
): void {
  const at = row * frequencies.length;
  for (let i = 0; i < frequencies.length; i++) {
    cosines[at + i] = Math.cos(position * frequencies[i]);
    sines[at + i] = Math.sin(position * frequencies[i]);
  }
}

export interface RotationTables {
  readonly positions: number;
  /** [positions, dimension / 2]. */
  readonly cosines: Float32Array;
  readonly sines: Float32Array;
}

/** Tables that reach past the deepest of the positions asked for: the same object until they must grow. */
export function rotationTables(frequencies: Float64Array): (positions: readonly number[]) => RotationTables {
  const build = (positions: number): RotationTables => {
    const size = positions * frequencies.length;
    const tables = { positions, cosines: new Float32Array(size), sines: new Float32Array(size) };
    for (let p = 0; p < positions; p++) writeRotation(frequencies, p, p, tables.cosines, tables.sines);
    return tables;
  };
  let tables = build(256);
  return (positions) => {
    let deepest = 0;
    for (const position of positions) if (position > deepest) deepest = position;
    if (deepest >= tables.positions) tables = build(2 ** Math.ceil(Math.log2(deepest + 1)));
    return tables;
  };
}
