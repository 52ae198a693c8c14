/** Next-token cross entropy of a language model as a training objective. */
import type { Tensor as OnnxValue } from "onnxruntime-common";
import { ensure } from "../errors.ts";
import { familyNamed } from "../models/families.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import { compile, type Program, valueMaker } from "../runtime/program.ts";
import {
  add,
  crossEntropy,
  exp,
  gradients,
  input,
  logSoftmax,
  lower,
  multiply,
  parametersOf,
  reduceMean,
  reduceSum,
  subtract,
  type Tensor,
} from "../tensor/index.ts";
import type { Objective, Parameter, TokenBatch } from "./objective.ts";

export interface NextTokenOptions {
  /** Texts in a batch, and tokens of each that are predicted. */
  rows: number;
  length: number;
  threads?: number;
  /** See `CompileOptions.profile`. */
  profile?: string;
  /**
   * Distillation: the loss becomes `share` times the forward KL divergence from the teacher's distribution, plus the rest of cross
   * entropy. The teacher is a model of the same vocabulary, with its parameters by name.
   */
  teacher?: { share: number; config: ModelConfig; values: ReadonlyMap<string, Float32Array<ArrayBuffer>> };
}

export type LanguageModelObjective = Objective & { release(): Promise<void> };

/** The graph of a whole-text forward pass. `select` picks the rows whose logits are wanted; default: all. */
export const trainingGraph = (
  family: Family,
  config: ModelConfig,
  rows: number,
  length: number,
  select?: (hidden: Tensor) => Tensor,
): { tokens: Tensor; logits: Tensor } => textGraph(family, config, { rows, length, select });

/**
 * `values` gives every parameter's storage, which the optimiser updates in place. Programs are compiled for one batch shape.
 */
export async function nextTokenObjective(
  family: Family,
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  { rows, length, threads, profile, teacher }: NextTokenOptions,
): Promise<LanguageModelObjective> {
  ensure(
    length <= config.contextLength,
    "bad_option",
    `training length ${length} exceeds the context of ${config.contextLength}`,
  );
  const parameters: Parameter[] = family.parameters(config).map(({ name, shape }) => {
    const stored = values.get(name);
    ensure(stored, "internal", `no values for ${name}`);
    return { name, shape, values: stored, decay: shape.length > 1 };
  });
  const { logits } = trainingGraph(family, config, rows, length);
  const targets = input("targets", [rows * length], "int64");
  const teacherLogits = input("teacher", [rows * length, config.vocabularySize]);
  const hard = reduceMean(crossEntropy(logits, targets));
  const loss = teacher ? distillation(logits, teacherLogits, hard, teacher.share) : hard;
  const value = await valueMaker();
  const weights = Object.fromEntries(parameters.map((p) => [p.name, value("float32", p.values, p.shape)]));

  const graph = parametersOf(loss);
  const wrt = parameters.map(({ name }) => {
    const tensor = graph.get(name);
    ensure(tensor, "internal", `the program does not use ${name}`);
    return tensor;
  });
  const stepOutputs = Object.fromEntries(gradients(loss, wrt).map((g, i) => [`g${i}`, g]));
  const step = await compile(lower({ loss, ...stepOutputs }, { parameters: "inputs" }), { threads, profile });
  const taught = teacher && (await compileTeacher(teacher.config, teacher.values, { rows, length, threads }));
  let forward: Promise<Program> | undefined;

  const feeds = async ({ tokens }: TokenBatch): Promise<Record<string, OnnxValue>> => {
    const size = rows * length;
    ensure(
      tokens.length === rows * (length + 1),
      "bad_shape",
      `a batch must hold ${rows} x ${length + 1} tokens, not ${tokens.length}`,
    );
    const [inputs, wanted] = [new BigInt64Array(size), new BigInt64Array(size)];
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < length; i++) {
        inputs[row * length + i] = BigInt(tokens[row * (length + 1) + i]);
        wanted[row * length + i] = BigInt(tokens[row * (length + 1) + i + 1]);
      }
    }
    return {
      ...weights,
      tokens: value("int64", inputs, [rows, length]),
      targets: value("int64", wanted, [size]),
      ...(taught && { teacher: value("float32", await taught.logits(inputs), [size, config.vocabularySize]) }),
    };
  };
  return {
    parameters,
    async gradients(batch) {
      const result = await step.run(await feeds(batch));
      return {
        loss: result.loss.data[0] as number,
        gradients: parameters.map((_, i) => result[`g${i}`].data as Float32Array),
      };
    },
    async loss(batch) {
      forward ??= compile(lower({ loss: hard }, { parameters: "inputs" }), { threads });
      const { teacher: _, ...inputs } = await feeds(batch);
      return (await (await forward).run(inputs)).loss.data[0] as number;
    },
    async release() {
      for (const program of [step, await forward, taught]) await program?.release();
    },
  };
}

/** A teacher's logits [rows * length, vocabulary] for input tokens [rows, length]. */
async function compileTeacher(
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  { rows, length, threads }: NextTokenOptions,
) {
  const family = familyNamed(config.architecture);
  const { logits } = trainingGraph(family, config, rows, length);
  const program = await compile(lower({ logits }, { parameters: "inputs" }), { threads });
  const value = await valueMaker();
  const weights = Object.fromEntries(
    family.parameters(config).map(({ name, shape }) => [name, value("float32", values.get(name)!, shape)]),
  );
  return {
    async logits(tokens: BigInt64Array): Promise<Float32Array> {
      const results = await program.run({ ...weights, tokens: value("int64", tokens, [rows, length]) });
      return results.logits.data as Float32Array;
    },
    release: () => program.release(),
  };
}

/** share * KL(teacher || student) + (1 - share) * cross entropy, mean over positions. */
function distillation(student: Tensor, teacher: Tensor, hard: Tensor, share: number): Tensor {
  const [own, wanted] = [logSoftmax(student), logSoftmax(teacher)];
  const divergence = reduceMean(reduceSum(multiply(exp(wanted), subtract(wanted, own)), -1));
  return add(multiply(divergence, share), multiply(hard, 1 - share));
}
