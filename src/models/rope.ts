/** Rotary position embedding (Su et al. 2021): what a layer turns by, and the tables of cosines and sines that programs read. */
import { input, type Tensor } from "../tensor/index.ts";

/** How positions turn queries and keys. */
export interface Rotation {
  /** [turned dimensions / 2]: fewer than half the head's where only its first dimensions turn. */
  readonly frequencies: Float64Array;
  /** Cosines and sines are multiplied by it: what turned scores are, squared. 1 but for YaRN and LongRoPE. */
  readonly amplitude: number;
}

/** theta^(-2i / dimension), as published. */
export const plainRotation = (dimension: number, theta: number): Rotation => ({
  frequencies: Float64Array.from({ length: dimension / 2 }, (_, i) => theta ** ((-2 * i) / dimension)),
  amplitude: 1,
});

/** The first positions of a rotation: cosines and sines [positions, turned dimensions / 2]. */
export function rotationTable(
  { frequencies, amplitude }: Rotation,
  positions: number,
): { readonly cosines: Float32Array; readonly sines: Float32Array } {
  const half = frequencies.length;
  const [cosines, sines] = [new Float32Array(positions * half), new Float32Array(positions * half)];
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      cosines[position * half + i] = amplitude * Math.cos(position * frequencies[i]);
      sines[position * half + i] = amplitude * Math.sin(position * frequencies[i]);
    }
  }
  return { cosines, sines };
}

/** A rotation's tables in a program, [positions, turned dimensions / 2]. */
export interface RotaryTables {
  readonly cosines: Tensor;
  readonly sines: Tensor;
}

interface Rotated {
  readonly rotations: readonly Rotation[];
}

const namesOf = (rotation: number): { cosines: string; sines: string } =>
  rotation === 0
    ? { cosines: "cosines", sines: "sines" }
    : { cosines: `cosines.${rotation}`, sines: `sines.${rotation}` };

/** The tables of a model as inputs of a program. */
export const rotaryInputs = ({ rotations }: Rotated): RotaryTables[] =>
  rotations.map(({ frequencies }, i) => {
    const [names, shape] = [namesOf(i), ["positions", frequencies.length]];
    return { cosines: input(names.cosines, shape), sines: input(names.sines, shape) };
  });

/** What the inputs are fed: tables that reach past the deepest of the positions asked for, the same object until they must grow. */
export function rotaryFeeds<Fed>(
  { rotations }: Rotated,
  feed: (data: Float32Array, dims: readonly number[]) => Fed,
): (positions: readonly number[]) => Readonly<Record<string, Fed>> {
  const build = (positions: number): Record<string, Fed> => {
    const feeds: Record<string, Fed> = {};
    rotations.forEach((rotation, i) => {
      const [names, dims] = [namesOf(i), [positions, rotation.frequencies.length]];
      const { cosines, sines } = rotationTable(rotation, positions);
      feeds[names.cosines] = feed(cosines, dims);
      feeds[names.sines] = feed(sines, dims);
    });
    return feeds;
  };
  let reach = 256;
  let feeds = build(reach);
  return (positions) => {
    let deepest = 0;
    for (const position of positions) if (position > deepest) deepest = position;
    if (deepest >= reach) {
      reach = 2 ** Math.ceil(Math.log2(deepest + 1));
      feeds = build(reach);
    }
    return feeds;
  };
}
