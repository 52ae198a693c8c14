/** Next-token prediction of a language model as a training objective: cross entropy, or distillation; of all weights, or of a LoRA. */
import { ensure } from "../errors.ts";
import { familyNamed } from "../models/families.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { type TextGraph, type TextGraphOptions, textGraph } from "../models/graph.ts";
import type { Lora } from "../models/lora.ts";
import { compile, type Value, valueMaker } from "../runtime/program.ts";
import {
  add,
  crossEntropy,
  elementTypeOf,
  input,
  logSoftmax,
  lower,
  multiply,
  reduceMean,
  type Tensor,
} from "../tensor/index.ts";
import { type Divergence, divergenceOf } from "./divergence.ts";
import { graphObjective, weightFile } from "./graph-objective.ts";
import { adaptGraph, loraParameters } from "./lora.ts";
import type { Objective, Parameter, TokenBatch } from "./objective.ts";

/** Weights by name. */
export type Values = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

/** Plain data, but for the arrays: a replica in another thread is made of a copy. */
export interface NextTokenOptions {
  /** Texts in a batch, and tokens of each that are predicted. */
  rows: number;
  length: number;
  threads?: number;
  /** See `CompileOptions.profile`. */
  profile?: string;
  /**
   * Distillation: the loss becomes `share` times the divergence from the teacher's distribution (default: forward KL), plus the rest of
   * cross entropy. The teacher is a model of the same vocabulary, with its parameters by name.
   */
  teacher?: { share: number; divergence?: Divergence; config: ModelConfig; values: Values };
  /** Train this adapter alone; the model's own weights are baked into the program. */
  lora?: Lora;
  /** The token that begins a document: what follows it does not see what stands before it, and counts its positions from it. */
  documents?: number;
  /** Batches say how much each target counts (`TokenBatch.weights`); default: all the same. */
  weighted?: boolean;
  /** Keep only what passes between layers, and compute the rest again for the gradient. */
  recompute?: boolean;
  /** Share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016); default 0. Training alone. */
  smoothing?: number;
}

export type LanguageModelObjective = Objective & { release(): Promise<void> };

/** Every parameter as what the optimiser trains. Matrices decay, vectors do not. */
export const modelParameters = (family: Family, config: ModelConfig, values: Values): Parameter[] =>
  family.parameters(config).map(({ name, shape }) => {
    const stored = values.get(name);
    ensure(stored, "internal", `no values for ${name}`);
    return { name, shape, values: stored, decay: shape.length > 1 };
  });

/**
 * `values` gives every parameter's storage, which the optimiser updates in place. Programs are compiled for one batch shape. What is
 * measured on held-out batches is the cross entropy alone. Errors: `bad_option`, and those of compiling.
 */
export async function nextTokenObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: NextTokenOptions,
): Promise<LanguageModelObjective> {
  const { rows, length, threads, profile, teacher, lora, documents, recompute = false } = options;
  const { weighted = false, smoothing = 0 } = options;
  ensure(
    length <= config.contextLength,
    "bad_option",
    `training length ${length} exceeds the context of ${config.contextLength}`,
  );
  const size = rows * length;
  const between = recompute
    ? ["embed", ...Array.from({ length: config.layers }, (_, i) => `layers.${i}.residual`)]
    : [];
  const graph = graphOf(family, config, options, { instruments: { taps: between, edits: [] } });
  const kept = between.map((name) => graph.readings[name]);
  const [logits, ...keep] = lora ? adaptGraph([graph.logits, ...kept], lora) : [graph.logits, ...kept];
  const counted = weighted ? input("weights", [size]) : undefined;
  const mean = (each: Tensor): Tensor => reduceMean(counted ? multiply(each, counted) : each);
  const hard = mean(crossEntropy(logits, input("targets", [size], "int64")));
  let loss = smoothing > 0 ? smoothed(hard, mean(evenCrossEntropy(logits)), smoothing) : hard;
  if (teacher) {
    const [wanted, found] = [input("teacher", logits.shape), logits].map(logSoftmax);
    const soft = mean(divergenceOf(teacher.divergence ?? "forward-kl", wanted, found));
    loss = add(multiply(soft, teacher.share), multiply(loss, 1 - teacher.share));
  }
  const taught = teacher && (await compileTeacher(teacher.config, teacher.values, options));

  const feeds = async (
    { tokens, weights }: TokenBatch,
    wanted: ReadonlySet<string>,
  ): Promise<Record<string, Value>> => {
    ensure(
      tokens.length === rows * (length + 1),
      "bad_shape",
      `a batch must hold ${rows} x ${length + 1} tokens, not ${tokens.length}`,
    );
    ensure(!weighted || weights?.length === size, "bad_shape", `a batch must hold ${size} weights of its targets`);
    const [inputs, targets] = [new BigInt64Array(size), new BigInt64Array(size)];
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < length; i++) {
        inputs[row * length + i] = BigInt(tokens[row * (length + 1) + i]);
        targets[row * length + i] = BigInt(tokens[row * (length + 1) + i + 1]);
      }
    }
    const given: Record<string, Value> = {
      tokens: { data: inputs, dims: [rows, length] },
      ...(documents !== undefined && documentFeeds(inputs, documents, rows, length)),
    };
    if (taught && wanted.has("teacher")) given.teacher = await taught.logits(given);
    return {
      ...given,
      targets: { data: targets, dims: [size] },
      ...(weighted && { weights: { data: weights!, dims: [size] } }),
    };
  };
  const objective = await graphObjective({
    loss,
    measured: hard,
    trained: lora ? loraParameters(lora) : modelParameters(family, config, values),
    fixed: lora ? values : new Map(),
    feeds,
    keep,
    threads,
    profile,
  });
  return {
    ...objective,
    async release() {
      await objective.release();
      await taught?.release();
    },
  };
}

const graphOf = (
  family: Family,
  config: ModelConfig,
  { rows, length, documents }: NextTokenOptions,
  more: Partial<TextGraphOptions> = {},
): TextGraph =>
  textGraph(family, config, {
    rows,
    length,
    ...(documents !== undefined && {
      documents: input("documents", [rows, length]),
      positions: input("positions", [rows, length], "int64"),
    }),
    ...more,
  });

/** The number of each token's document within its row, and its position there. */
function documentFeeds(tokens: BigInt64Array, begin: number, rows: number, length: number) {
  const [numbers, positions] = [new Float32Array(tokens.length), new BigInt64Array(tokens.length)];
  for (let row = 0; row < rows; row++) {
    let [number, position] = [0, 0];
    for (let i = row * length; i < (row + 1) * length; i++) {
      if (tokens[i] === BigInt(begin)) {
        number++;
        position = 0;
      }
      numbers[i] = number;
      positions[i] = BigInt(position++);
    }
  }
  return {
    documents: { data: numbers, dims: [rows, length] },
    positions: { data: positions, dims: [rows, length] },
  };
}

/** (1 - share) · cross entropy + share · the same against the even distribution. */
const smoothed = (hard: Tensor, even: Tensor, share: number): Tensor =>
  add(multiply(hard, 1 - share), multiply(even, share));

/** Cross entropy of each row with the even distribution. */
const evenCrossEntropy = (logits: Tensor): Tensor => multiply(reduceMean(logSoftmax(logits), -1), -1);

/** A teacher's logits [rows * length, vocabulary] for what a batch feeds. */
async function compileTeacher(config: ModelConfig, values: Values, options: NextTokenOptions) {
  const { logits } = graphOf(familyNamed(config.architecture), config, options);
  const lowered = lower({ logits }, { parameters: "weights" });
  const program = await compile(lowered, { threads: options.threads, weights: weightFile(lowered, values) });
  const make = await valueMaker();
  return {
    async logits(given: Readonly<Record<string, Value>>): Promise<Value> {
      const fed = Object.entries(given).map(([name, { data, dims }]) => [name, make(elementTypeOf(data), data, dims)]);
      return (await program.run(Object.fromEntries(fed))).logits;
    },
    release: () => program.release(),
  };
}
