/**
 * Look-ahead rows in a training graph: behind each text of a batch stand blocks of rows, each block after one of the text's tokens (its
 * anchor). A block's row for step i stands i positions after the anchor, sees the text up to the anchor and the block's earlier rows of its own
 * ensemble, and is seen by no row of the text. It foretells what the text's own row at its position foretells, so that the model teaches
 * itself: the targets are the frozen model's distributions there.
 */
import { ensure } from "../errors.ts";
import type { Edit } from "../models/edits.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import {
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
  /** What is learned: the frozen model's distributions, or the text's own tokens. */
  readonly targets: "model" | "texts";
}

/** Where rows stand; numbers are those of the flat batch, [rows * whole]. */
export interface AheadLayout {
  /** Rows of a text with its blocks. */
  readonly whole: number;
  /** Rows of this step (from 1), by text, anchor and ensemble. */
  rowsOf(step: number): number[];
  /** The anchor of each row, itself where it is in no block; and its step, 0 in texts. */
  readonly anchorOf: readonly number[];
  readonly stepOf: readonly number[];
  readonly ensembleOf: readonly number[];
  readonly positions: readonly number[];
  /** Additive [1, 1, groups * whole, whole]. */
  readonly mask: Float32Array<ArrayBuffer>;
}

const unseen = -1e9;

/** Errors: `bad_option` for texts that are shorter than what is foretold. */
export function aheadLayout({ config, rows, length, anchors, steps, ensemble = 1 }: AheadTask): AheadLayout {
  const last = length - 1 - steps; // the last anchor: what its rows foretell is still in the batch
  ensure(last >= 0, "bad_option", `part: ${steps} tokens ahead need rows longer than ${length} tokens`);
  const count = Math.min(anchors, last + 1);
  ensure(length <= config.contextLength, "bad_option", `training length ${length} exceeds the context`);
  const places = Array.from({ length: count }, (_, i) => Math.floor(((i + 1) * (last + 1)) / count) - 1);
  const blocks = places.flatMap((anchor) =>
    Array.from({ length: steps * ensemble }, (_, i) => ({
      anchor,
      step: 1 + Math.floor(i / ensemble),
      equal: i % ensemble,
    })),
  );
  const whole = length + blocks.length;
  const groups = config.heads / config.keyValueHeads;
  const mask = new Float32Array(groups * whole * whole).fill(unseen);
  for (let row = 0; row < whole; row++) {
    const block = blocks[row - length];
    const seen: number[] = [row];
    for (let key = 0; key <= (block ? block.anchor : row); key++) seen.push(key);
    for (let key = length; block && key < whole; key++) {
      const other = blocks[key - length];
      if (other.anchor === block.anchor && other.equal === block.equal && other.step < block.step) seen.push(key);
    }
    for (let group = 0; group < groups; group++) for (const key of seen) mask[(group * whole + row) * whole + key] = 0;
  }
  const every = <T>(of: (row: number, at: number, base: number) => T): T[] =>
    Array.from({ length: rows * whole }, (_, at) => of(at % whole, at, at - (at % whole)));
  const stepOf = every((row) => blocks[row - length]?.step ?? 0);
  return {
    whole,
    mask,
    stepOf,
    ensembleOf: every((row) => blocks[row - length]?.equal ?? 0),
    anchorOf: every((row, at, base) => (row < length ? at : base + blocks[row - length].anchor)),
    positions: every((row) => (row < length ? row : blocks[row - length].anchor + blocks[row - length].step)),
    rowsOf: (step) => stepOf.flatMap((s, at) => (s === step ? [at] : [])),
  };
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
  const { family, config, rows, length, steps, ensemble = 1, decay, targets } = task;
  const { whole, anchorOf, stepOf } = layout;
  const guesses = Array.from({ length: steps }, (_, i) => layout.rowsOf(i + 1)).flat();
  const size = guesses.length / ensemble;
  // What an ensemble's rows foretell, the text's own row at their position does, too.
  const own = guesses.filter((_, i) => i % ensemble === 0).map((at) => anchorOf[at] + stepOf[at]);
  const { logits } = textGraph(family, config, {
    rows,
    length: whole,
    positions: constant(BigInt64Array.from(layout.positions, BigInt), [rows, whole]),
    mask: constant(layout.mask, [1, 1, layout.mask.length / whole, whole]),
    instruments: { taps: [], edits },
    select: (hidden) => gather(hidden, indices([...guesses, ...(targets === "model" ? own : [])])),
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
    feeds(batch: TokenBatch) {
      const texts = columns(batch, 0, length);
      const tokens = Array.from({ length: rows * whole }, (_, at) => {
        const row = at % whole;
        return row < length ? texts[Math.floor(at / whole) * length + row] : 0;
      });
      const next = columns(batch, 1, length);
      return {
        tokens: int64(tokens, [rows, whole]),
        targets: int64(
          own.map((at) => next[Math.floor(at / whole) * length + (at % whole)]),
          [size],
        ),
      };
    },
  };
}
