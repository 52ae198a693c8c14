/** Finds a program's parameters in a checkpoint and checks that they fit the config. */
import { ensure, nearest, VentrisError } from "../errors.ts";
import { parameter, type Tensor } from "../tensor/index.ts";
import type { WeightSource } from "../weights/source.ts";
import type { Family, MakeParameter, ModelConfig, ParameterSpecification } from "./family.ts";

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

/** The checkpoint's name of a parameter. Errors: `bad_file` when it is missing or has another shape. */
export function locateParameter(
  source: WeightSource,
  { name, shape, sources, transposed }: ParameterSpecification,
): string {
  const found = sources.find((candidate) => source.tensors.has(candidate));
  if (!found) {
    const meant = nearest(sources[0], [...source.tensors.keys()]);
    throw new VentrisError(
      "bad_file",
      `${source.origin}: the tensor ${name} is missing${meant ? ` (the closest name is ${meant})` : ""}`,
    );
  }
  const stored = source.tensors.get(found)!.shape;
  const wanted = transposed ? [...shape].reverse() : shape;
  const fits = stored.length === wanted.length && stored.every((d, i) => d === wanted[i]);
  ensure(fits, "bad_file", `${source.origin}: ${found} has shape [${stored}], but the config asks for [${wanted}]`);
  return found;
}

/** Refuses tensors that the program would pass over: the checkpoint is of another model than its config says. */
export function refuseUnusedTensors(source: WeightSource, family: Family, config: ModelConfig): void {
  const used = new Set(family.parameters(config).flatMap(({ sources }) => sources));
  const ignored = /rotary_emb\.inv_freq$|attn\.(masked_)?bias$|^lm_head\.weight$/;
  const unused = [...source.tensors.keys()].find((name) => !used.has(name) && !ignored.test(name));
  ensure(
    unused === undefined,
    "bad_file",
    `${source.origin}: the tensor ${unused} has no place in the model that config.json describes`,
  );
}

export async function readParameter(
  source: WeightSource,
  specification: ParameterSpecification,
): Promise<Float32Array<ArrayBuffer>> {
  const values = await source.readFloat32(locateParameter(source, specification));
  return specification.transposed ? transposed(values, specification.shape as readonly [number, number]) : values;
}

/** All parameters as float32, by program name: for training. */
export async function readParameters(
  source: WeightSource,
  family: Family,
  config: ModelConfig,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  refuseUnusedTensors(source, family, config);
  const result = new Map<string, Float32Array<ArrayBuffer>>();
  for (const specification of family.parameters(config))
    result.set(specification.name, await readParameter(source, specification));
  return result;
}

/** values [columns, rows] to [rows, columns]. */
function transposed(values: Float32Array, [rows, columns]: readonly [number, number]): Float32Array<ArrayBuffer> {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[row * columns + column] = values[column * rows + row];
  }
  return result;
}
