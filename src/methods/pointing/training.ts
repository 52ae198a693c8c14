/**
 * Training: teacher forcing and cross entropy on generated examples. A batch holds examples of one size, so that nothing is padded on
 * the encoder's side; a program is compiled for each size and length of answers, and kept.
 */
import { compile, type Program, valueMaker } from "../../runtime/program.ts";
import {
  add,
  concat,
  constant,
  crossEntropy,
  divide,
  expand,
  gradients,
  input,
  type LstmState,
  linear,
  lower,
  lstm,
  lstmCell,
  multiply,
  parameter,
  reduceSum,
  reshape,
  slice,
  softmax,
  type Tensor,
  tanh,
} from "../../tensor/index.ts";
import type { Objective, Parameter } from "../../training/objective.ts";
import type { Point } from "./geometry.ts";
import type { NetworkShape, Weight } from "./network.ts";
import { drawPoints, type PointingTask } from "./tasks.ts";

export interface PointingBatch {
  readonly size: number;
  readonly examples: readonly { readonly points: readonly Point[]; readonly answer: readonly number[] }[];
}

/**
 * Examples of one size between `low` and `high`, chosen by the batch's number. Errors: `bad_option` for points that have no answer; such as
 * are drawn uniformly hardly ever lie on one line.
 */
export function drawBatch(
  task: PointingTask,
  sizes: readonly [low: number, high: number],
  rows: number,
  seed: number,
  index: number,
): PointingBatch {
  const [low, high] = sizes;
  const size = low + (index % (high - low + 1));
  const examples = Array.from({ length: rows }, (_, row) => {
    const points = drawPoints(size, seed, index * rows + row);
    return { points, answer: task.solve(points) };
  });
  return { size, examples };
}

export type PointingObjective = Objective<PointingBatch> & { release(): Promise<void> };

/** Mean loss in nats an answered place. `weights` are what the optimiser updates in place. */
export async function pointingObjective(
  shape: NetworkShape,
  task: PointingTask,
  weights: ReadonlyMap<string, Weight>,
  { rows, threads }: { rows: number; threads?: number },
): Promise<PointingObjective> {
  const parameters: Parameter[] = Array.from(weights.values(), ({ name, shape: dimensions, values }) => ({
    name,
    shape: dimensions,
    values,
    decay: dimensions.length > 1,
  }));
  const value = await valueMaker();
  const stored = Object.fromEntries(parameters.map((p) => [p.name, value("float32", p.values, p.shape)]));
  const programs = new Map<string, Promise<Program>>();

  const programFor = (size: number, steps: number, training: boolean): Promise<Program> => {
    const key = `${size} ${steps} ${training}`;
    let program = programs.get(key);
    if (!program) {
      const { loss, parameters: tensors } = lossGraph(shape, steps, rows, size, parameters);
      const outputs = training ? Object.fromEntries(gradients(loss, tensors).map((g, i) => [`g${i}`, g])) : {};
      program = compile(lower({ loss, ...outputs }, { parameters: "inputs" }), { threads });
      programs.set(key, program);
    }
    return program;
  };

  const run = async ({ size, examples }: PointingBatch, training: boolean) => {
    // Answers end long before the longest that there may be; a few lengths, so that few programs are compiled.
    const longest = Math.max(...examples.map(({ answer }) => answer.length)) + 1;
    const steps = Math.min(task.steps(size), 4 * Math.ceil(longest / 4));
    const points = new Float32Array(rows * size * 2);
    const fed = new Float32Array(rows * steps * 2);
    const targets = new BigInt64Array(rows * steps);
    const weight = new Float32Array(rows * steps);
    for (const [row, example] of examples.entries()) {
      for (const [j, point] of example.points.entries()) points.set(point, (row * size + j) * 2);
      for (let step = 0; step < steps && step <= example.answer.length; step++) {
        const at = row * steps + step;
        const place = example.answer[step];
        const stop = shape.kind === "pointer" ? size : (shape.largest as number);
        targets[at] = BigInt(place ?? stop);
        weight[at] = 1;
        if (step > 0) fed.set(example.points[example.answer[step - 1]], at * 2);
      }
    }
    const program = await programFor(size, steps, training);
    return program.run({
      ...stored,
      points: value("float32", points, [rows, size, 2]),
      fed: value("float32", fed, [rows, steps, 2]),
      targets: value("int64", targets, [rows * steps]),
      weight: value("float32", weight, [rows * steps]),
    });
  };

  return {
    parameters,
    async gradients(batch) {
      const result = await run(batch, true);
      return {
        loss: result.loss.data[0] as number,
        gradients: parameters.map((_, i) => result[`g${i}`].data as Float32Array),
      };
    },
    loss: async (batch) => (await run(batch, false)).loss.data[0] as number,
    async release() {
      for (const program of programs.values()) await (await program).release();
      programs.clear();
    },
  };
}

/** The network of network.ts as tensors, for `rows` examples of `size` points and answers of `steps` places. */
function lossGraph(shape: NetworkShape, steps: number, rows: number, size: number, parameters: readonly Parameter[]) {
  const { kind, hidden: h } = shape;
  const tensors = parameters.map(({ name, shape: dimensions }) => parameter(name, dimensions));
  const of = (name: string): Tensor => tensors[parameters.findIndex((p) => p.name === name)];
  const cell = (name: string) => ({
    input: of(`${name}.input`),
    hidden: of(`${name}.hidden`),
    bias: of(`${name}.bias`),
  });
  const zeros = constant(new Float32Array(rows * h), [rows, h]);
  const pick = (x: Tensor, at: number): Tensor => reshape(slice(x, 1, at, at + 1), [rows, 2]);

  const points = input("points", [rows, size, 2]);
  const encoded = lstm(
    Array.from({ length: size }, (_, j) => pick(points, j)),
    { hidden: zeros, cell: zeros },
    cell("encoder"),
  );
  const column = (x: Tensor): Tensor => reshape(x, [rows, 1, h]);
  const states = (): Tensor =>
    concat([...encoded.map(({ hidden }) => column(hidden)), expand(reshape(of("stop"), [1, 1, h]), [rows, 1, h])], 1);
  const places = kind === "plain" ? undefined : states();
  const keys = places && linear(places, of("keys"));

  const fed = input("fed", [rows, steps, 2]);
  const go = expand(reshape(of("go"), [1, of("go").shape[0]]), [rows, of("go").shape[0]]);
  let state: LstmState = encoded[encoded.length - 1];
  let both: Tensor | undefined;
  const scores: Tensor[] = [];
  for (let step = 0; step < steps; step++) {
    const last = pick(fed, step);
    const x = step === 0 ? go : both ? concat([last, both], 1) : last;
    state = lstmCell(x, state, cell("decoder"));
    if (kind === "plain") {
      scores.push(linear(state.hidden, of("output"), of("outputBias")));
      continue;
    }
    const query = column(linear(state.hidden, of("query")));
    const pointed = reshape(linear(tanh(add(keys as Tensor, query)), reshape(of("v"), [1, h])), [rows, size + 1]);
    if (kind === "pointer") {
      scores.push(pointed);
      continue;
    }
    const blend = reduceSum(multiply(reshape(softmax(pointed), [rows, size + 1, 1]), places as Tensor), [1]);
    both = concat([state.hidden, reshape(blend, [rows, h])], 1);
    scores.push(linear(both, of("output"), of("outputBias")));
  }
  const choices = scores[0].shape[1];
  const all = reshape(
    concat(
      scores.map((one) => reshape(one, [rows, 1, choices])),
      1,
    ),
    [rows * steps, choices],
  );
  const weight = input("weight", [rows * steps]);
  const loss = divide(
    reduceSum(multiply(crossEntropy(all, input("targets", [rows * steps], "int64")), weight)),
    reduceSum(weight),
  );
  return { loss, parameters: tensors };
}
