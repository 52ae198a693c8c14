/**
 * Lexical units (Sun et al. 2024): spans of a text that a model is sure of, and further training of that model to say such a span in one pass. A span
 * is a maximal run of tokens that the model, as it was, gave more than alpha; behind the text stand placeholders for all but its first token,
 * which see what stands before the span and the placeholders before them, and learn the span's tokens. The text itself is learned along
 * with it, so that one token at a time stays what it was.
 */
import { ensure } from "../errors.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import { compile, valueMaker } from "../runtime/program.ts";
import { crossEntropy, input, lower, multiply, negate, reduceSum } from "../tensor/index.ts";
import { graphObjective, weightFile } from "./graph-objective.ts";
import { type LanguageModelObjective, modelParameters, type Values } from "./next-token.ts";
import type { TokenBatch } from "./objective.ts";

export interface UnitOptions {
  readonly rows: number;
  readonly length: number;
  readonly threads?: number;
  /** The placeholder token. */
  readonly pad: number;
  /** Alpha: a token belongs to a unit when the model gave it more than this. */
  readonly threshold: number;
  /** Tokens of a unit, at most; longer runs are several. */
  readonly longest: number;
  /** Share of the loss that units have. */
  readonly share: number;
  /** Units learned of each text, at most. */
  readonly units: number;
  /** The token that begins a document: no unit reaches over it. */
  readonly begin?: number;
}

/** From and, exclusive, to. */
export type Unit = readonly [number, number];

/** Maximal runs of entries above alpha, in parts of at most `longest`. Runs that begin at 0 have no token before them that could say them. */
export function identifyUnits(confidences: ArrayLike<number>, alpha: number, longest = Infinity): Unit[] {
  const units: Unit[] = [];
  let start = -1;
  for (let at = 0; at <= confidences.length; at++) {
    const inside = at < confidences.length && confidences[at] > alpha;
    if (inside && start < 0) start = at;
    const full = start >= 0 && at - start === longest;
    if (start < 0 || (inside && !full)) continue;
    units.push([start, at]);
    start = inside ? at : -1;
  }
  return units;
}

/** The packed form of a batch: texts, behind each its units' placeholders. */
export interface PackedUnits {
  /** Rows of a text with its placeholders. */
  readonly whole: number;
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  /** Additive [rows, 1, groups * whole, whole]. */
  readonly mask: Float32Array<ArrayBuffer>;
  readonly targets: Int32Array;
  /** What each row's target counts; their sum is 1. */
  readonly weights: Float32Array<ArrayBuffer>;
  /** Placeholders that learn something. */
  readonly learned: number;
}

const unseen = -1e9;

/**
 * `unitsOf` gives a text's units, as places among its `length + 1` tokens. The placeholder for token j of a unit that begins at s has the position
 * s + j - 1 and learns token s + j.
 */
export function packUnits(
  { tokens, rows, length }: TokenBatch,
  unitsOf: (row: number) => readonly Unit[],
  { pad, longest, share, units: most }: Pick<UnitOptions, "pad" | "longest" | "share" | "units">,
  groups: number,
): PackedUnits {
  const whole = length + most * (longest - 1);
  const size = rows * whole;
  const packed = {
    whole,
    tokens: new Int32Array(size).fill(pad),
    positions: new Int32Array(size),
    mask: new Float32Array(groups * whole * size).fill(unseen),
    targets: new Int32Array(size),
    weights: new Float32Array(size),
  };
  const learned: number[] = [];
  for (let row = 0; row < rows; row++) {
    const text = tokens.subarray(row * (length + 1), (row + 1) * (length + 1));
    const see = (at: number, key: number): void => {
      for (let group = 0; group < groups; group++) packed.mask[((row * groups + group) * whole + at) * whole + key] = 0;
    };
    for (let at = 0; at < whole; at++) see(at, at);
    for (let at = 0; at < length; at++) {
      const place = row * whole + at;
      packed.tokens[place] = text[at];
      packed.positions[place] = at;
      packed.targets[place] = text[at + 1];
      for (let key = 0; key < at; key++) see(at, key);
    }
    const usable = unitsOf(row).filter(([start, end]) => start > 0 && end - start >= 2);
    for (const [block, [start, end]] of usable.slice(0, most).entries()) {
      const first = length + block * (longest - 1);
      for (let j = 1; j < end - start; j++) {
        const at = first + j - 1;
        const place = row * whole + at;
        packed.positions[place] = start + j - 1;
        packed.targets[place] = text[start + j];
        learned.push(place);
        for (let key = 0; key < start; key++) see(at, key);
        for (let key = first; key < at; key++) see(at, key);
      }
    }
  }
  for (const place of learned) packed.weights[place] = share / learned.length;
  // Without units the text has all of the loss, as in plain training.
  const left = learned.length > 0 ? 1 - share : 1;
  for (let row = 0; row < rows; row++) packed.weights.fill(left / (rows * length), row * whole, row * whole + length);
  return { ...packed, learned: learned.length };
}

/** Of all weights of a model, which are updated in place; `learned` counts the placeholders that have had something to learn. Errors: `bad_option`, and those of compiling. */
export async function lexicalUnitsObjective(
  family: Family,
  config: ModelConfig,
  values: Values,
  options: UnitOptions,
): Promise<LanguageModelObjective & { readonly learned: number }> {
  const { rows, length, threads, pad, threshold, longest, units: most, begin } = options;
  ensure(length > longest, "bad_option", `units: texts of ${length} tokens are shorter than units of ${longest}`);
  ensure(length + 1 <= config.contextLength, "bad_option", `training length ${length} exceeds the context`);
  ensure(pad < config.vocabularySize, "bad_option", `units: the placeholder ${pad} is outside the vocabulary`);
  ensure(
    !config.endTokens.includes(pad),
    "bad_option",
    "units: the placeholder must not be an end token: it is what the model reads, not what it says",
  );
  const groups = config.heads / config.keyValueHeads;
  const whole = length + most * (longest - 1);
  const size = rows * whole;
  const graph = textGraph(family, config, {
    rows,
    length: whole,
    positions: input("positions", [rows, whole], "int64"),
    mask: input("mask", [rows, 1, groups * whole, whole]),
  });
  const losses = crossEntropy(graph.logits, input("targets", [size], "int64"));
  let learned = 0;
  const judge = await confidencesOf(family, config, values, { rows, length, threads });
  const objective = await graphObjective<TokenBatch>({
    loss: reduceSum(multiply(losses, input("weights", [size]))),
    trained: modelParameters(family, config, values),
    fixed: new Map(),
    threads,
    async feeds(batch) {
      ensure(
        batch.tokens.length === rows * (length + 1),
        "bad_shape",
        `a batch must hold ${rows} x ${length + 1} tokens`,
      );
      const confidences = await judge.of(batch);
      const packed = packUnits(
        batch,
        (row) => {
          // Entry t is how sure the model was of token t of the text; of the first it cannot say.
          const sure = [0, ...confidences.subarray(row * length, (row + 1) * length)];
          const text = batch.tokens.subarray(row * (length + 1), (row + 1) * (length + 1));
          const own = sure.map((p, at) => (begin !== undefined && text[at] === begin ? 0 : p));
          return identifyUnits(own, threshold, longest);
        },
        options,
        groups,
      );
      learned += packed.learned;
      const int64 = (data: Int32Array, dims: number[]) => ({ data: BigInt64Array.from(data, BigInt), dims });
      return {
        tokens: int64(packed.tokens, [rows, whole]),
        positions: int64(packed.positions, [rows, whole]),
        mask: { data: packed.mask, dims: [rows, 1, groups * whole, whole] },
        targets: int64(packed.targets, [size]),
        weights: { data: packed.weights, dims: [size] },
      };
    },
  });
  return {
    ...objective,
    get learned() {
      return learned;
    },
    async release() {
      await objective.release();
      await judge.release();
    },
  };
}

/** Probabilities [rows * length] that the model, as it is now, gives the tokens of a batch. */
async function confidencesOf(
  family: Family,
  config: ModelConfig,
  values: Values,
  { rows, length, threads }: Pick<UnitOptions, "rows" | "length" | "threads">,
) {
  const { logits } = textGraph(family, config, { rows, length });
  const logs = negate(crossEntropy(logits, input("targets", [rows * length], "int64")));
  const lowered = lower({ logs }, { parameters: "weights" });
  const program = await compile(lowered, { threads, weights: weightFile(lowered, values) });
  const make = await valueMaker();
  return {
    async of({ tokens }: TokenBatch): Promise<Float32Array> {
      const from = (first: number): BigInt64Array =>
        BigInt64Array.from({ length: rows * length }, (_, i) =>
          BigInt(tokens[Math.floor(i / length) * (length + 1) + first + (i % length)]),
        );
      const results = await program.run({
        tokens: make("int64", from(0), [rows, length]),
        targets: make("int64", from(1), [rows * length]),
      });
      return (results.logs.data as Float32Array).map(Math.exp);
    },
    release: () => program.release(),
  };
}
