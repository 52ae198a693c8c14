/**
 * Look-ahead rows in a training graph: behind each text of a batch stand blocks of rows, each block after one of the text's tokens (its
 * anchor). A block's row for step i stands i positions after the anchor, sees the text up to the anchor and the block's earlier rows of its own
 * ensemble, and is seen by no row of the text. It foretells what the text's own row at its position foretells, so that the model teaches
 * itself: the targets are the frozen model's distributions there.
 */
import { permutation } from "../engine/random.ts";
import { ensure } from "../errors.ts";
import type { Edit } from "../models/edits.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import type { Value } from "../runtime/program.ts";
import {
  concat,
  constant,
  crossEntropy,
  gather,
  input,
  logSoftmax,
  multiply,
  reduceMean,
  reshape,
  slice,
  stopGradient,
  type Tensor,
} from "../tensor/index.ts";
import { divergenceOf } from "./divergence.ts";
import type { TokenBatch } from "./objective.ts";
import { columns, int64 } from "./parts.ts";

export interface AheadTask {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly rows: number;
  readonly length: number;
  /** Tokens of each text that have a block behind them, and rows of a block: steps, each with so many equals. */
  readonly anchors: number;
  readonly steps: number;
  readonly ensemble?: number;
  /** What a step is worth beside the one before it. */
  readonly decay: number;
  /** Where in a text blocks stand: evenly spaced, or drawn for each text of each batch, by this seed. */
  readonly places: "random" | "even";
  readonly seed: number;
  /** What is learned: the frozen model's distributions, or the text's own tokens. */
  readonly targets: "model" | "texts";
}

/** Where the blocks of a batch stand; numbers are those of the flat batch, [rows * whole]. */
export interface AheadPlacement {
  /** The anchor of each row, itself where it is in no block. */
  readonly anchorOf: readonly number[];
  readonly positions: readonly number[];
  /** Additive [texts, 1, groups * whole, whole], of one text where all are alike. */
  readonly mask: Float32Array<ArrayBuffer>;
}

/** Which rows there are; numbers are those of the flat batch, [rows * whole]. */
export interface AheadLayout {
  /** Rows of a text with its blocks. */
  readonly whole: number;
  /** Rows of this step (from 1), by text, anchor and ensemble. */
  rowsOf(step: number): number[];
  /** The step of each row, 0 in texts. */
  readonly stepOf: readonly number[];
  readonly ensembleOf: readonly number[];
  /** Evenly spaced, in every text alike. */
  readonly even: AheadPlacement;
  /** At places that are drawn by the seed and the batch, for each text its own: a run that is taken up again draws the same. */
  drawn(batch: TokenBatch): AheadPlacement;
  /** `anchorOf` in the graph: a constant, or an input where places are drawn. */
  readonly anchors: Tensor;
}

const unseen = -1e9;

/** Errors: `bad_option` for texts that are shorter than what is foretold. */
export function aheadLayout(task: AheadTask): AheadLayout {
  const { config, rows, length, anchors, steps, ensemble = 1, places, seed } = task;
  const last = length - 1 - steps; // the last anchor: what its rows foretell is still in the batch
  ensure(last >= 0, "bad_option", `part: ${steps} tokens ahead need rows longer than ${length} tokens`);
  const count = Math.min(anchors, last + 1);
  ensure(length <= config.contextLength, "bad_option", `training length ${length} exceeds the context`);
  const size = steps * ensemble;
  const whole = length + count * size;
  const groups = config.heads / config.keyValueHeads;
  const every = <T>(of: (row: number, at: number) => T): T[] =>
    Array.from({ length: rows * whole }, (_, at) => of(at % whole, at));
  const stepOf = every((row) => (row < length ? 0 : 1 + Math.floor(((row - length) % size) / ensemble)));
  const ensembleOf = every((row) => (row < length ? 0 : (row - length) % ensemble));
  /** Anchors by text, or of every text. */
  const placed = (ofTexts: readonly (readonly number[])[]): AheadPlacement => {
    const mask = new Float32Array(ofTexts.length * groups * whole * whole).fill(unseen);
    for (const [text, own] of ofTexts.entries()) {
      for (let row = 0; row < whole; row++) {
        const block = Math.floor((row - length) / size);
        const seen: number[] = [row];
        for (let key = 0; key <= (block < 0 ? row : own[block]); key++) seen.push(key);
        for (let key = length + block * size; block >= 0 && key < row; key++)
          if (ensembleOf[key] === ensembleOf[row] && stepOf[key] < stepOf[row]) seen.push(key);
        for (let group = 0; group < groups; group++) {
          const start = ((text * groups + group) * whole + row) * whole;
          for (const key of seen) mask[start + key] = 0;
        }
      }
    }
    const anchor = (row: number, at: number): number =>
      ofTexts[Math.floor(at / whole) % ofTexts.length][Math.floor((row - length) / size)];
    return {
      mask,
      anchorOf: every((row, at) => (row < length ? at : at - row + anchor(row, at))),
      positions: every((row, at) => (row < length ? row : anchor(row, at) + stepOf[at])),
    };
  };
  const even = placed([Array.from({ length: count }, (_, i) => Math.floor(((i + 1) * (last + 1)) / count) - 1)]);
  return {
    whole,
    stepOf,
    ensembleOf,
    rowsOf: (step) => stepOf.flatMap((s, at) => (s === step ? [at] : [])),
    even,
    drawn: (batch) => placed(drawnPlaces(batch, rows, { count, last, seed })),
    anchors: places === "even" ? indices(even.anchorOf) : input("anchors", [rows * whole], "int64"),
  };
}

/** So many different anchors for each text, by the seed and the tokens of the batch up to it (a hash as FNV's). */
function drawnPlaces(
  { tokens }: TokenBatch,
  rows: number,
  { count, last, seed }: { count: number; last: number; seed: number },
): number[][] {
  let hash = 0x811c9dc5;
  let at = 0;
  return Array.from({ length: rows }, (_, row) => {
    for (const end = ((row + 1) * tokens.length) / rows; at < end; at++)
      hash = Math.imul(hash ^ tokens[at], 0x01000193);
    return permutation(last + 1, { seed, request: hash >>> 0 })
      .slice(0, count)
      .sort((a, b) => a - b);
  });
}

export const indices = (values: readonly number[]): Tensor =>
  constant(BigInt64Array.from(values, BigInt), [values.length]);

/** The rows of a batch for which something holds, as ones [rows, 1]. */
export const onesWhere = (holds: readonly boolean[]): Tensor =>
  constant(
    Float32Array.from(holds, (one) => (one ? 1 : 0)),
    [holds.length, 1],
  );

/** The loss of a batch under edits that make look-ahead rows what they are, and what it feeds. */
export function aheadGraph(task: AheadTask, layout: AheadLayout, edits: readonly Edit[]) {
  const { family, config, rows, length, steps, ensemble = 1, decay, targets, places } = task;
  const { whole, stepOf, even } = layout;
  const guesses = Array.from({ length: steps }, (_, i) => layout.rowsOf(i + 1)).flat();
  const size = guesses.length / ensemble;
  // What an ensemble's rows foretell, the text's own row at their position does, too.
  const ownOf = ({ anchorOf }: AheadPlacement): number[] =>
    guesses.filter((_, i) => i % ensemble === 0).map((at) => anchorOf[at] + stepOf[at]);
  const fixed = places === "even";
  const own = fixed ? indices(ownOf(even)) : input("own", [size], "int64");
  const groups = config.heads / config.keyValueHeads;
  const { logits } = textGraph(family, config, {
    rows,
    length: whole,
    positions: fixed
      ? constant(BigInt64Array.from(even.positions, BigInt), [rows, whole])
      : input("positions", [rows, whole], "int64"),
    mask: fixed ? constant(even.mask, [1, 1, groups * whole, whole]) : input("mask", [rows, 1, groups * whole, whole]),
    instruments: { taps: [], edits },
    select: (hidden) => gather(hidden, targets === "model" ? concat([indices(guesses), own], 0) : indices(guesses)),
  });
  const of = (from: number, count: number): Tensor => slice(logits, 0, from, from + count);
  const each = of(0, guesses.length);
  const guessed = ensemble === 1 ? each : reduceMean(reshape(each, [size, ensemble, config.vocabularySize]), 1, false);
  const losses =
    targets === "model"
      ? divergenceOf("forward-kl", logSoftmax(stopGradient(of(guesses.length, size))), logSoftmax(guessed))
      : crossEntropy(guessed, input("targets", [size], "int64"));
  const perStep = size / steps;
  const weights = Float32Array.from({ length: size }, (_, i) => decay ** Math.floor(i / perStep));
  return {
    loss: reduceMean(multiply(losses, constant(weights, [size]))),
    /** [steps], each step's own. */
    ofSteps: reduceMean(reshape(losses, [steps, perStep]), 1, false),
    feeds(batch: TokenBatch): Record<string, Value> {
      const texts = columns(batch, 0, length);
      const tokens = Array.from({ length: rows * whole }, (_, at) => {
        const row = at % whole;
        return row < length ? texts[Math.floor(at / whole) * length + row] : 0;
      });
      const next = columns(batch, 1, length);
      const placement = fixed ? even : layout.drawn(batch);
      const ownRows = ownOf(placement);
      return {
        tokens: int64(tokens, [rows, whole]),
        targets: int64(
          ownRows.map((at) => next[Math.floor(at / whole) * length + (at % whole)]),
          [size],
        ),
        ...(!fixed && {
          own: int64(ownRows, [size]),
          anchors: int64(placement.anchorOf, [rows * whole]),
          positions: int64(placement.positions, [rows, whole]),
          mask: { data: placement.mask, dims: [rows, 1, groups * whole, whole] },
        }),
      };
    },
  };
}
