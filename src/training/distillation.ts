/**
 * Distillation at recorded positions: a student learns a teacher's next-token distributions where, and only where, they were written
 * down. The teacher's distribution is its most likely tokens and the mass of all others, compared as one class more.
 */
import { ensure } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import { compile, type OnnxValue, type ValueMaker, valueMaker } from "../runtime/program.ts";
import {
  concat,
  expand,
  gather,
  gatherLast,
  gradients,
  input,
  logSoftmax,
  logSumExp,
  lower,
  multiply,
  parametersOf,
  reduceSum,
  reshape,
  scalar,
  scatterLast,
  subtract,
  type Tensor,
} from "../tensor/index.ts";
import { type Divergence, divergenceOf } from "./divergence.ts";

import type { Objective, Parameter } from "./objective.ts";

export { type Divergence, divergences } from "./divergence.ts";

export interface DistillationOptions {
  /** Tokens of a text, and recorded positions in it; shorter ones are padded. */
  length: number;
  positions: number;
  /** Tokens of the teacher's distribution that are listed one by one; all of the vocabulary: no further class. */
  listed: number;
  divergence: Divergence;
  threads?: number;
}

export interface DistillationBatch {
  /** The text, [at most length]. */
  readonly tokens: ArrayLike<number>;
  /** Indices into `tokens`, [n]: what follows the token at that index is compared. */
  readonly positions: ArrayLike<number>;
  /** [n, listed]: tokens in any order, without repetition. */
  readonly listed: Int32Array;
  /** [n, classes]: the teacher's log-probabilities of the listed tokens, then of all others together. */
  readonly logs: Float32Array;
  /** Factor on every position's divergence; the loss is their sum. */
  readonly weight: number;
}

export interface Distillation {
  /** The loss of these parameters, which a run reads as they then are. */
  objective(parameters: readonly Parameter[]): Objective<DistillationBatch>;
  release(): Promise<void>;
}

/** Classes of a recorded distribution. */
export const classCount = (listed: number, vocabularySize: number): number =>
  listed === vocabularySize ? listed : listed + 1;

/** Compiles the loss and its gradients for one padded shape. Errors: `bad_option`, `runtime_failed`. */
export async function compileDistillation(
  family: Family,
  config: ModelConfig,
  { length, positions, listed, divergence, threads }: DistillationOptions,
): Promise<Distillation> {
  const { vocabularySize } = config;
  ensure(
    length <= config.contextLength,
    "bad_option",
    `training length ${length} exceeds the context of ${config.contextLength}`,
  );
  ensure(listed <= vocabularySize, "bad_option", `${listed} listed tokens exceed the vocabulary of ${vocabularySize}`);
  const classes = classCount(listed, vocabularySize);
  const select = input("positions", [positions], "int64");
  const chosen = input("listed", [positions, listed], "int64");
  const teacher = input("teacher", [positions, classes]);
  const weights = input("weights", [positions]);
  const { logits } = textGraph(family, config, {
    rows: 1,
    length,
    select: (hidden) => gather(hidden, select),
  });
  const student = classLogs(logits, chosen, classes);
  const loss = reduceSum(multiply(divergenceOf(divergence, teacher, student), weights));
  const graph = parametersOf(loss);
  const specifications = family.parameters(config);
  const wrt = specifications.map(({ name }) => graph.get(name)!);
  const outputs = Object.fromEntries(gradients(loss, wrt).map((g, i) => [`g${i}`, g]));
  const program = await compile(lower({ loss, ...outputs }, { parameters: "inputs" }), { threads });
  const value = await valueMaker();

  return {
    objective(parameters) {
      const fed = Object.fromEntries(
        parameters.map(({ name, shape, values }) => [name, value("float32", values, shape)]),
      );
      const run = (batch: DistillationBatch) =>
        program.run({ ...fed, ...feeds(value, batch, length, positions, listed, classes) });
      return {
        parameters,
        async gradients(batch) {
          const result = await run(batch);
          return {
            loss: result.loss.data[0] as number,
            gradients: parameters.map((_, i) => result[`g${i}`].data as Float32Array),
          };
        },
        loss: async (batch) => (await run(batch)).loss.data[0] as number,
      };
    },
    release: () => program.release(),
  };
}

/** Log-probabilities [positions, classes] of the listed tokens and, unless they are all, of the others together. */
function classLogs(logits: Tensor, chosen: Tensor, classes: number): Tensor {
  const logs = gatherLast(logSoftmax(logits), chosen);
  const [positions, listed] = chosen.shape as number[];
  if (classes === listed) return logs;
  // log(1 - sum) would lose the small masses; the others' own sum keeps them.
  const others = scatterLast(logits, chosen, expand(scalar(-1e9), [positions, listed]));
  const rest = subtract(logSumExp(others), logSumExp(logits));
  return concat([logs, reshape(rest, [positions, 1])], 1);
}

function feeds(
  value: ValueMaker,
  batch: DistillationBatch,
  length: number,
  positions: number,
  listed: number,
  classes: number,
): Record<string, OnnxValue> {
  const count = batch.positions.length;
  const fits = batch.tokens.length <= length && count <= positions;
  ensure(
    fits && batch.listed.length === count * listed && batch.logs.length === count * classes,
    "bad_shape",
    () => `distillation: ${batch.tokens.length} tokens and ${count} positions do not fit ${length} and ${positions}`,
  );
  // Padding after the text changes nothing before it; padded positions have weight 0 and any distribution.
  const tokens = new BigInt64Array(length);
  for (let i = 0; i < batch.tokens.length; i++) tokens[i] = BigInt(batch.tokens[i]);
  const select = new BigInt64Array(positions);
  const weights = new Float32Array(positions);
  for (let i = 0; i < count; i++) {
    select[i] = BigInt(batch.positions[i]);
    weights[i] = batch.weight;
  }
  const chosen = new BigInt64Array(positions * listed);
  for (let i = 0; i < chosen.length; i++) chosen[i] = BigInt(i < count * listed ? batch.listed[i] : i % listed);
  const teacher = new Float32Array(positions * classes).fill(-Math.log(classes));
  teacher.set(batch.logs);
  return {
    tokens: value("int64", tokens, [1, length]),
    positions: value("int64", select, [positions]),
    listed: value("int64", chosen, [positions, listed]),
    teacher: value("float32", teacher, [positions, classes]),
    weights: value("float32", weights, [positions]),
  };
}
