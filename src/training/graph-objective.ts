/**
 * Any loss over a graph as a training objective. Its parameters are split in two: those that are trained are inputs and get gradients; the
 * others are constants of the compiled program, copied when it is compiled, so that nothing can change them.
 */

import { ensure, requireAnswer, requireOptions } from "../errors.ts";
import { isObject } from "../json.ts";
import { suggestion } from "../names.ts";
import { compile, type Program, type Value, valueMaker } from "../runtime/program.ts";
import { elementTypeOf, gradients, type LoweredProgram, lower, parametersOf, type Tensor } from "../tensor/index.ts";
import { concatenateRows, quantizeMatrix } from "../weights/index.ts";
import type { Objective, Parameter } from "./objective.ts";

/** A loss as a tensor program, what of it is trained, and what its inputs are. */
export interface GraphObjectiveOptions<Batch> {
  /** One number. */
  readonly loss: Tensor;
  /** What is trained, by the names of the graph's parameters. */
  readonly trained: readonly Parameter[];
  /** Values of the graph's other parameters, by name. */
  readonly fixed: ReadonlyMap<string, Float32Array>;
  /** The graph's inputs for a batch, by name; those that are not in `wanted` are left aside. */
  readonly feeds: (
    batch: Batch,
    wanted: ReadonlySet<string>,
  ) => Readonly<Record<string, Value>> | Promise<Readonly<Record<string, Value>>>;
  /** What is measured on held-out batches; default: the loss. */
  readonly measured?: Tensor;
  /** Tensors whose values are kept from the forward pass rather than computed again, as of `gradients`. Default: none. */
  readonly keep?: readonly Tensor[];
  /** Further tensors of the graph to compute with `evaluate`. Default: none. */
  readonly outputs?: Readonly<Record<string, Tensor>>;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
  /** See `CompileOptions.profile`; of the training step. Default: none is written. */
  readonly profile?: string;
}

export interface GraphObjective<Batch> extends Objective<Batch> {
  /** What is measured and the further outputs of a batch. */
  evaluate(batch: Batch): Promise<{ readonly loss: number; readonly outputs: Readonly<Record<string, Value>> }>;
  release(): Promise<void>;
}

/**
 * Errors: `bad_option` where nothing is trained, a trained parameter is not in the graph, or a parameter of the graph has no value or
 * values of another size; those of compiling.
 */
export async function graphObjective<Batch>(options: GraphObjectiveOptions<Batch>): Promise<GraphObjective<Batch>> {
  requireOptions(options, "training");
  const { loss, measured = loss, trained, fixed, feeds, outputs = {}, threads, profile } = options;
  const graph = parametersOf(loss, measured, ...Object.values(outputs));
  const reached = parametersOf(loss);
  ensure(trained.length > 0, "bad_option", "training: the graph trains nothing: name the parameters to be trained");
  for (const { name } of trained) {
    ensure(reached.has(name), "bad_option", () => {
      return `training: the loss does not depend on ${name}${suggestion(name.slice(0, 200), [...reached.keys()])}`;
    });
  }
  const names = new Set(trained.map(({ name }) => name));
  for (const [name, { shape }] of graph) {
    const size = (shape as number[]).reduce((a, b) => a * b, 1);
    const given = names.has(name) ? trained.find((p) => p.name === name)!.values : fixed.get(name);
    ensure(given, "bad_option", `training: the graph's parameter ${name} is neither trained nor given a value`);
    ensure(given.length === size, "bad_option", `training: ${name} is [${shape}], but has ${given.length} values`);
  }
  const place = (name: string) => (names.has(name) ? "inputs" : "weights");
  const start = async (
    wanted: Record<string, Tensor>,
    prefix?: string,
  ): Promise<{ program: Program; inputs: ReadonlySet<string> }> => {
    const lowered = lower(wanted, { parameters: place });
    const program = await compile(lowered, { threads, weights: weightFile(lowered, fixed), profile: prefix });
    return { program, inputs: new Set(lowered.inputs.map(({ name }) => name)) };
  };
  const wrt = trained.map(({ name }) => reached.get(name)!);
  const steps = Object.fromEntries(gradients(loss, wrt, options).map((gradient, i) => [`g${i}`, gradient]));
  const step = await start({ loss, ...steps }, profile);
  let forward: ReturnType<typeof start> | undefined;
  const make = await valueMaker();
  const weights = Object.fromEntries(trained.map((p) => [p.name, make("float32", p.values, p.shape)]));

  async function run({ program, inputs }: Awaited<ReturnType<typeof start>>, batch: Batch) {
    const answer = await feeds(batch, inputs);
    requireAnswer(isObject(answer), answer, "training: feeds", "values by the names of the graph's inputs");
    const given = Object.entries(answer).filter(([name]) => inputs.has(name));
    for (const [name, value] of given)
      requireAnswer(
        isValue(value),
        value,
        `training: feeds, for the graph's input ${name},`,
        "{ data, dims } that fit",
      );
    for (const name of inputs) {
      const isGiven = names.has(name) || given.some(([key]) => key === name);
      ensure(isGiven, "bad_option", () => `training: feeds gives nothing for the graph's input ${name}`);
    }
    const values = given.map(([name, { data, dims }]) => [name, make(elementTypeOf(data), data, dims)]);
    return program.run({ ...weights, ...Object.fromEntries(values) });
  }
  async function evaluate(batch: Batch) {
    forward ??= start({ loss: measured, ...outputs });
    const { loss: value, ...rest } = await run(await forward, batch);
    return { loss: value.data[0] as number, outputs: rest };
  }
  return {
    parameters: trained,
    async gradients(batch) {
      const results = await run(step, batch);
      return {
        loss: results.loss.data[0] as number,
        gradients: trained.map((_, i) => results[`g${i}`].data as Float32Array),
      };
    },
    loss: async (batch) => (await evaluate(batch)).loss,
    evaluate,
    async release() {
      await step.program.release();
      await (await forward)?.program.release();
    },
  };
}

const isValue = (value: unknown): boolean =>
  isObject(value) &&
  ArrayBuffer.isView(value.data) &&
  Array.isArray(value.dims) &&
  value.dims.reduce((product, size) => product * size, 1) === (value.data as Float32Array).length;

/** The bytes of a program's weights, matrices in blocks where it was lowered with some; undefined when it has none. */
export function weightFile(
  { weights, weightBytes }: LoweredProgram,
  values: ReadonlyMap<string, Float32Array>,
): Uint8Array | undefined {
  if (weights.length === 0) return undefined;
  const file = new Uint8Array(weightBytes);
  const put = (offset: number, { buffer, byteOffset, byteLength }: ArrayBufferView): number => {
    file.set(new Uint8Array(buffer, byteOffset, byteLength), offset);
    return offset + byteLength;
  };
  for (const binding of weights) {
    const parts = binding.parameters.map((name) => values.get(name)!);
    if (binding.bits === 32) {
      parts.reduce(put, binding.values);
      continue;
    }
    const columns = binding.shape[1];
    const { packed, scales, zeros } = concatenateRows(
      parts.map((part) => quantizeMatrix(part, part.length / columns, columns, binding.bits)),
    );
    put(binding.packed, packed);
    put(binding.scales, scales);
    if (binding.zeros !== undefined) put(binding.zeros, zeros);
  }
  return file;
}

/** The parameters that an edit brings, as what the optimiser trains. Matrices decay, vectors do not. */
export const editParameters = (edit: {
  readonly name: string;
  readonly parameters?: Readonly<Record<string, { shape: readonly number[]; values: Float32Array<ArrayBuffer> }>>;
}): Parameter[] =>
  Object.entries(edit.parameters ?? {}).map(([key, { shape, values }]) => ({
    name: `${edit.name}.${key}`,
    shape,
    values,
    decay: shape.length > 1,
  }));
