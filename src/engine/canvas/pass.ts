/**
 * The compiled pass of a canvas: rows of several sequences, each of which sees every position of its own sequence. Keys and values of
 * positions that are not computed come from planes, in which those of the rows take their places, so that a column is a position in
 * every pass, whatever is computed in it and whatever shares it.
 */
import { groupQueries, hidden, joinHeads, scoresOf } from "../../models/attention.ts";
import { calledByNumber, createHooks, type Instruments, noInstruments } from "../../models/edits.ts";
import type { Attention, Family, ModelConfig } from "../../models/family.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { rotaryFeeds, rotaryInputs } from "../../models/rope.ts";
import { selectedRows } from "../../models/sites.ts";
import { type CompileOptions, compile, type OnnxValue, type Program, valueMaker } from "../../runtime/program.ts";
import {
  add,
  gather,
  input,
  type LoweredProgram,
  type LoweringOptions,
  lower,
  matmul,
  scatterNd,
  softmax,
  type Tensor,
} from "../../tensor/index.ts";
import { createSiteInputs } from "../sites/rows.ts";

/** Columns come in so many, and rows in pairs: kernels then add up in the same order, whatever the sizes. */
export const columnStep = 64;

export interface CanvasPassParts {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly always: Instruments;
  readonly blocks: LoweringOptions["blocks"];
  readonly products?: LoweringOptions["products"];
}

/** Keys and values by layer: [key-value heads, columns, head dimension] each. */
export interface Planes {
  readonly columns: number;
  readonly keys: readonly Float32Array[];
  readonly values: readonly Float32Array[];
}

export interface CanvasRows {
  /** Positions to compute, and the tokens there. */
  readonly positions: readonly number[];
  readonly tokens: readonly number[];
  /** Which of the rows are scored, by number. */
  readonly scored: readonly number[];
  /** Positions of the sequence: what lies behind is not seen. */
  readonly length: number;
  /** Of the positions that are not computed; left out where all are. */
  readonly planes: Planes | undefined;
  /** Where to put the rows' keys and values. */
  readonly keep: Planes | undefined;
}

export interface CanvasPass {
  /** Logits [scored rows, vocabulary] of each sequence. Errors: `runtime_failed`. */
  run(sequences: readonly CanvasRows[]): Promise<Float32Array[]>;
  release(): Promise<void>;
}

export const columnsFor = (length: number): number => Math.ceil(length / columnStep) * columnStep;

/** The pass as a program. `keep`: whether it returns the rows' keys and values. */
export function lowerCanvas(
  { family, config, always, blocks, products }: CanvasPassParts,
  keep: boolean,
  layout?: LoweredProgram,
): LoweredProgram {
  const { keyValueHeads: heads, headDimension: dimension } = config;
  const parameter = parameterMaker();
  const selection = input("select", [selectedRows], "int64");
  const select = (rows: Tensor): Tensor => gather(rows, selection);
  const hooks = createHooks(family, config, always, { parameter, select, called: calledByNumber(always.edits) });
  const kept: Record<string, Tensor> = {};
  const plane = (name: string): Tensor => input(name, ["batch", heads, "columns", dimension]);
  const places = input("places", ["batch", heads, "rows", 3], "int64");
  const mask = input("mask", ["batch", 1, 1, "columns"]);
  const attention: Attention = (layer, queries, newKeys, newValues, style) => {
    if (keep) Object.assign(kept, { [`kept.keys.${layer}`]: newKeys, [`kept.values.${layer}`]: newValues });
    const keys = scatterNd(plane(`keys.${layer}`), places, newKeys);
    const values = scatterNd(plane(`values.${layer}`), places, newValues);
    const grouped = groupQueries(queries, heads);
    const scores = scoresOf(grouped, keys, style);
    return joinHeads(matmul(softmax(add(scores, mask)), values), queries);
  };
  const logits = family.build(config, {
    tokens: input("tokens", ["batch", "rows"], "int64"),
    positions: input("positions", ["batch", "rows"], "int64"),
    rotary: rotaryInputs(config),
    attention,
    parameter,
    site: hooks.site,
    select,
  });
  const ofModel = new Set(family.parameters(config).map(({ name }) => name));
  const place = (name: string) => (ofModel.has(name) ? "weights" : "inputs");
  return lower({ logits, ...kept, ...hooks.outputs }, { parameters: place, blocks, products, layout });
}

export async function startCanvasPass(
  parts: CanvasPassParts,
  lowered: LoweredProgram,
  compiling: CompileOptions,
): Promise<CanvasPass> {
  const { config } = parts;
  const { layers, keyValueHeads: heads, headDimension: dimension, vocabularySize } = config;
  const value = await valueMaker();
  const plain = await compile(lowered, compiling);
  let keeping: Promise<Program> | undefined;
  const programFor = (keep: boolean): Promise<Program> | Program => {
    if (!keep) return plain;
    keeping ??= compile(lowerCanvas(parts, true, lowered), compiling);
    return keeping;
  };
  const rotations = rotaryFeeds(config, (data, dims) => value("float32", data, dims));
  const { always } = parts;
  const ofEdits = createSiteInputs({ ...lowered, always, asked: noInstruments }, value);
  let nothing = new Float32Array(0);

  /** Planes of the batch: a sequence's own, or copies side by side where there are several. */
  function planesOf(sequences: readonly CanvasRows[], columns: number): Record<string, OnnxValue> {
    const dims = [sequences.length, heads, columns, dimension];
    const size = dims.reduce((a, b) => a * b, 1);
    const [first] = sequences;
    const result: Record<string, OnnxValue> = {};
    const empty = sequences.every(({ planes }) => !planes);
    if (empty && nothing.length < size) nothing = new Float32Array(size);
    const blank = empty ? value("float32", nothing.subarray(0, size), dims) : undefined;
    for (let layer = 0; layer < layers; layer++) {
      for (const kind of ["keys", "values"] as const) {
        const name = `${kind}.${layer}`;
        if (blank) result[name] = blank;
        else if (sequences.length === 1 && first.planes!.columns === columns)
          result[name] = value("float32", first.planes![kind][layer], dims);
        else {
          const joined = new Float32Array(size);
          sequences.forEach(({ planes }, s) => {
            for (let head = 0; planes && head < heads; head++) {
              const own = planes.columns * dimension;
              const rows = planes[kind][layer].subarray(head * own, (head + 1) * own);
              joined.set(rows, (s * heads + head) * columns * dimension);
            }
          });
          result[name] = value("float32", joined, dims);
        }
      }
    }
    return result;
  }

  return {
    async run(sequences) {
      const batch = sequences.length;
      const longest = Math.max(...sequences.map(({ positions }) => positions.length));
      const rows = longest + (longest % 2);
      const columns = Math.max(...sequences.map(({ length, planes }) => planes?.columns ?? columnsFor(length)));
      const tokens = new BigInt64Array(batch * rows);
      const positions = new Array<number>(batch * rows).fill(0);
      const places = new BigInt64Array(batch * heads * rows * 3);
      const mask = new Float32Array(batch * columns).fill(hidden);
      const select: number[] = [];
      sequences.forEach((sequence, s) => {
        mask.fill(0, s * columns, s * columns + sequence.length);
        for (let row = 0; row < rows; row++) {
          const at = s * rows + row;
          const own = Math.min(row, sequence.positions.length - 1); // padding is the last row once more, into the same place
          tokens[at] = BigInt(sequence.tokens[own]);
          positions[at] = sequence.positions[own];
          for (let head = 0; head < heads; head++) {
            const place = 3 * ((s * heads + head) * rows + row);
            places[place] = BigInt(s);
            places[place + 1] = BigInt(head);
            places[place + 2] = BigInt(positions[at]);
          }
        }
        for (const row of sequence.scored) select.push(s * rows + row);
      });
      const scored = select.length;
      if (scored % 2 === 1 || scored === 0) select.push(select[0] ?? 0);
      if (scored === 0) select.push(0);
      const keep = sequences.some((sequence) => sequence.keep);
      const feeds: Record<string, OnnxValue> = {
        ...planesOf(sequences, columns),
        ...ofEdits(undefined, { lanes: batch, rows: [rows] }, select),
        tokens: value("int64", tokens, [batch, rows]),
        positions: value("int64", BigInt64Array.from(positions, BigInt), [batch, rows]),
        places: value("int64", places, [batch, heads, rows, 3]),
        mask: value("float32", mask, [batch, 1, 1, columns]),
        select: value("int64", BigInt64Array.from(select, BigInt), [select.length]),
        ...rotations([...positions, rows - 1]),
      };
      const outputs = await (await programFor(keep)).run(feeds);
      sequences.forEach((sequence, s) => {
        if (!sequence.keep) return;
        for (let layer = 0; layer < layers; layer++)
          for (const kind of ["keys", "values"] as const)
            store(sequence.keep, kind, layer, sequence, outputs[`kept.${kind}.${layer}`].data as Float32Array, s, rows);
      });
      let from = 0;
      const logits = outputs.logits.data as Float32Array;
      return sequences.map(({ scored: own }) => {
        const start = from;
        from += own.length;
        return logits.subarray(start * vocabularySize, from * vocabularySize);
      });
    },
    async release() {
      await plain.release();
      await keeping?.then((program) => program.release()).catch(() => {});
    },
  };

  /** Writes the rows of sequence `s` of an output [batch, heads, rows, dimension] into its planes. */
  function store(
    planes: Planes,
    kind: "keys" | "values",
    layer: number,
    { positions }: CanvasRows,
    data: Float32Array,
    s: number,
    rows: number,
  ): void {
    const plane = planes[kind][layer];
    for (let head = 0; head < heads; head++) {
      const source = (s * heads + head) * rows * dimension;
      for (let row = 0; row < positions.length; row++) {
        const from = source + row * dimension;
        const to = (head * planes.columns + positions[row]) * dimension;
        plane.set(data.subarray(from, from + dimension), to);
      }
    }
  }
}
