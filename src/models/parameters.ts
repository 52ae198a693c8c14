/** Finds a program's parameters in a checkpoint and checks that they fit the config. */

import { ensure, VentrisError } from "../errors.ts";
import { suggestion } from "../names.ts";
import { type BlockFormat, parameter, type Tensor } from "../tensor/index.ts";
import type { QuantizedMatrix, WeightInfo, WeightSource, WeightType } from "../weights/source.ts";
import type { Family, MakeParameter, ModelConfig, ParameterSpecification } from "./family.ts";
import { unreadByVision } from "./vision/tower.ts";

/**
 * Makes each parameter once, so that a graph may run a model twice over the same weights. `scope` goes before the names: two models in
 * one graph have one each.
 */
export function parameterMaker(scope = ""): MakeParameter {
  const made = new Map<string, Tensor>();
  return (name, shape) => {
    const known = made.get(name);
    if (known) return known;
    const tensor = parameter(scope + name, shape);
    made.set(name, tensor);
    return tensor;
  };
}

/** A program's parameter in a checkpoint. */
export interface StoredParameter {
  readonly specification: ParameterSpecification;
  /** The blocks it is stored in, where they can be used as they are. */
  readonly blocks: BlockFormat | undefined;
  /** Its values as the program has them. */
  read(): Promise<Float32Array<ArrayBuffer>>;
  /** Rows `from` to `to` of a matrix as the program has it; the others are not read where the checkpoint allows it. */
  readRows(from: number, to: number): Promise<Float32Array<ArrayBuffer>>;
  /** Its blocks; only where it has some. */
  readBlocks(): Promise<QuantizedMatrix>;
}

/**
 * The parameters of a model by their program names, all found and of the right shape. Errors: `bad_file` when one is missing or has
 * another shape, or a tensor has no place: the checkpoint is of another model than its config says.
 */
export function findParameters(
  source: WeightSource,
  family: Family,
  config: ModelConfig,
): ReadonlyMap<string, StoredParameter> {
  const specifications = family.parameters(config);
  refuseUnusedTensors(source, specifications, config.vision && unreadByVision(config.vision));
  return new Map(specifications.map((specification) => [specification.name, findParameter(source, specification)]));
}

function findParameter(source: WeightSource, specification: ParameterSpecification): StoredParameter {
  const { name, shape, sources, transposed, shift = 0 } = specification;
  const found = sources.find((candidate) => source.tensors.has(candidate));
  if (!found) {
    throw new VentrisError(
      "bad_file",
      `${source.origin}: the tensor ${name} is missing${suggestion(sources[0], [...source.tensors.keys()])}`,
    );
  }
  const stored = requireParameter(source, found, transposed ? [...shape].reverse() : shape);
  const read = async () => {
    const stored = await source.readFloat32(found);
    const values = shift === 0 ? stored : stored.map((x) => x + shift);
    return transposed ? transposedValues(values, shape as readonly [number, number]) : values;
  };
  return {
    specification,
    blocks: transposed || shift !== 0 ? undefined : stored.blocks,
    read,
    async readRows(from, to) {
      if (!transposed && shift === 0 && source.readRows) return source.readRows(found, from, to);
      const columns = shape[1] ?? 1;
      return (await read()).slice(from * columns, to * columns);
    },
    readBlocks: () => source.readBlocks(found),
  };
}

/** Types that say how large numbers are; whole numbers without a scale are what is left of somebody's quantisation. */
const wholeTypes: readonly WeightType[] = ["I8", "U8", "I32", "I64", "BOOL"];

/** A tensor that is there, fit to be a parameter of this shape. Errors: `bad_file`. */
export function requireParameter(source: WeightSource, name: string, wanted: readonly number[]): WeightInfo {
  const stored = source.tensors.get(name)!;
  const fits = stored.shape.length === wanted.length && stored.shape.every((d, i) => d === wanted[i]);
  ensure(fits, "bad_file", () => {
    return `${source.origin}: ${name} has shape [${stored.shape}], but the config asks for [${wanted}]`;
  });
  ensure(!wholeTypes.includes(stored.type), "bad_file", () => {
    return `${source.origin}: ${name} is stored as whole numbers (${stored.type}), and no quantization_config says what they stand for`;
  });
  return stored;
}

function refuseUnusedTensors(
  source: WeightSource,
  specifications: readonly ParameterSpecification[],
  unread: (name: string) => boolean = () => false,
): void {
  const used = new Set(specifications.flatMap(({ sources }) => sources));
  const ignored = /rotary_emb\.inv_freq$|(attn|attention)\.(masked_)?bias$|^(language_model\.)?lm_head\.weight$/;
  const [unused] =
    [...source.tensors].find(
      ([name, { spare }]) => !spare && !used.has(name) && !ignored.test(name) && !unread(name),
    ) ?? [];
  ensure(
    unused === undefined,
    "bad_file",
    `${source.origin}: the tensor ${unused} has no place in the model that config.json describes`,
  );
}

/** All parameters as float32, by program name: for training. Errors: as `findParameters`. */
export async function readParameters(
  source: WeightSource,
  family: Family,
  config: ModelConfig,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const result = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [name, parameter] of findParameters(source, family, config)) result.set(name, await parameter.read());
  return result;
}

/** values [columns, rows] to [rows, columns]. */
export function transposedValues(
  values: Float32Array,
  [rows, columns]: readonly [number, number],
): Float32Array<ArrayBuffer> {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[row * columns + column] = values[column * rows + row];
  }
  return result;
}
