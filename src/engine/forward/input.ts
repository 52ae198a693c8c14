/** What `forward` is given: sequences, what their rows see, and which rows are asked for. Checked and laid out as one padded batch. */

import { ensure, shown } from "../../errors.ts";
import { hidden } from "../../models/attention.ts";
import { type ModelConfig, reachesOf } from "../../models/family.ts";

/** Keys and values of rows, by layer: [key-value heads, length, head dimension] each, rotated. */
export interface KeptRows {
  readonly length: number;
  readonly keys: readonly Float32Array[];
  readonly values: readonly Float32Array[];
}

/** A sequence's rows: tokens or vectors, their positions, and which see which. */
export interface ForwardSequence {
  /** Tokens of the rows. Where a row has a vector, its token is not looked at. */
  readonly tokens: ArrayLike<number>;
  /**
   * Which rows a row sees: [rows, past + rows], those of `past` first, 1 where it looks. Default "causal": those before it and itself,
   * within the window in layers that have one; of diffusion models "bidirectional". A mask that is given holds in all layers.
   */
  readonly mask?: "causal" | "bidirectional" | ArrayLike<number>;
  /** Positions of the rows, below the context. Default: 0, 1, … after those of `past`. */
  readonly positions?: ArrayLike<number>;
  /** Input vectors instead of tokens' embeddings: [rows, width] for all rows, or those of some rows by number. */
  readonly embeddings?: Float32Array | ReadonlyMap<number, Float32Array>;
  /** Rows that stand before these and are not computed: the `kept` of another call, or those of several, one after the other. */
  readonly past?: KeptRows | readonly KeptRows[];
  /** Rows whose logits (and other values after the selection) are wanted. Default "all". */
  readonly logits?: "all" | "last" | "none" | readonly number[];
}

/** A sequence whose past is one. */
type LaidOut = ForwardSequence & { readonly past: KeptRows | undefined };

export interface Batch {
  readonly sequences: readonly LaidOut[];
  /** Rows of the longest sequence; the others are padded. */
  readonly length: number;
  readonly past: number;
  readonly tokens: BigInt64Array;
  readonly positions: number[];
  /** Additive [batch, 1, groups * length, past + length], one for each window that layers have. */
  readonly masks: readonly Float32Array[];
  /** Rows of the batch [batch * length] that are selected, and for each sequence how many. */
  readonly select: number[];
  readonly selected: readonly number[];
  /** Vectors by row of the batch. */
  readonly vectors: ReadonlyMap<number, Float32Array>;
}

/** Errors: `bad_option` and `bad_shape` naming the sequence and what does not fit. */
export function layOutBatch(config: ModelConfig, given: readonly ForwardSequence[]): Batch {
  ensure(given.length > 0, "bad_option", "forward: no sequence was given");
  const nameOf = (s: number): string => (given.length === 1 ? "forward" : `forward, sequence ${s}`);
  const sequences = given.map((sequence, s): LaidOut => ({ ...sequence, past: pastOf(config, sequence, nameOf(s)) }));
  const lengths = sequences.map(({ tokens }) => tokens.length);
  const [length, past] = [Math.max(...lengths), Math.max(...sequences.map((s) => s.past?.length ?? 0))];
  // Before room is made for masks, which take the square of the length.
  for (const [s, sequence] of sequences.entries()) {
    const name = nameOf(s);
    ensure(
      lengths[s] > 0,
      "bad_option",
      `${name}: it has no rows: tokens say how many, also where embeddings stand for them`,
    );
    checkRows(config, sequence, name);
  }
  const groups = config.heads / config.keyValueHeads;
  const columns = past + length;
  const tokens = new BigInt64Array(sequences.length * length);
  const positions = new Array<number>(sequences.length * length).fill(0);
  const { windows } = reachesOf(config);
  const masks = windows.map(() => new Float32Array(sequences.length * groups * length * columns).fill(hidden));
  const select: number[] = [];
  const vectors = new Map<number, Float32Array>();

  const selected = sequences.map((sequence, s) => {
    const name = nameOf(s);
    const rows = lengths[s];
    for (const [row, vector] of vectorsOf(config, sequence, name)) {
      ensure(
        vector.every(Number.isFinite),
        "bad_option",
        () => `${name}: the embedding of row ${row} has values that are not finite`,
      );
      vectors.set(s * length + row, vector);
    }
    const before = sequence.past?.length ?? 0;
    for (let row = 0; row < length; row++) {
      const at = s * length + row;
      if (row < rows) {
        tokens[at] = vectors.has(at) ? 0n : BigInt(sequence.tokens[row]);
        positions[at] = sequence.positions ? sequence.positions[row] : before + row;
      }
      for (let group = 0; group < groups; group++) {
        const start = ((s * groups + group) * length + row) * columns;
        masks.forEach((mask, kind) => {
          if (row >= rows)
            mask[start + past + row] = 0; // a row of nobody sees itself, for a softmax over nothing is NaN
          else look(mask.subarray(start, start + columns), sequence, row, past, config.diffusion, windows[kind]);
        });
      }
    }
    const wanted = selectedRows(sequence, rows, name);
    select.push(...wanted.map((row) => s * length + row));
    return wanted.length;
  });
  return { sequences, length, past, tokens, positions, masks, select, selected, vectors };
}

/** Opens a row's columns [past + length]: its own past stands at the beginning of the batch's. */
function look(
  columns: Float32Array,
  { tokens, positions, past: kept, mask: given }: LaidOut,
  row: number,
  past: number,
  diffusion: ModelConfig["diffusion"],
  window = Infinity,
): void {
  const mask = given ?? (diffusion ? "bidirectional" : "causal");
  const before = kept?.length ?? 0;
  const count = before + tokens.length;
  const positionOf = (own: number): number => (own >= 0 && positions ? positions[own] : before + own);
  for (let column = 0; column < count; column++) {
    const own = column - before;
    const causal = (): boolean => own <= row && positionOf(row) - positionOf(own) < window;
    const sees = mask === "bidirectional" || (mask === "causal" ? causal() : mask[row * count + column] !== 0);
    if (sees) columns[own < 0 ? column : past + own] = 0;
  }
}

function checkRows(config: ModelConfig, sequence: LaidOut, name: string): void {
  const { tokens, positions, mask, past, embeddings } = sequence;
  const { vocabularySize, contextLength } = config;
  const rows = tokens.length;
  const covered = embeddings instanceof Float32Array;
  const table = typeof embeddings === "object" && embeddings instanceof Map;
  ensure(embeddings === undefined || covered || table, "bad_option", () => {
    return `${name}: embeddings must be a Float32Array [rows, width] or a Map of rows to such arrays, not ${shown(embeddings)}`;
  });
  for (let row = 0; row < rows && !covered; row++) {
    const token = tokens[row];
    if (table && embeddings.has(row)) continue;
    const known = Number.isInteger(token) && token >= 0 && token < vocabularySize;
    ensure(known, "bad_option", () => `${name}: token ${shown(token)} is outside the vocabulary of ${vocabularySize}`);
  }
  const before = past?.length ?? 0;
  requireNumbers(positions, `${name}: positions`);
  ensure(!positions || positions.length === rows, "bad_shape", () => {
    return `${name}: ${positions!.length} positions for ${rows} rows`;
  });
  for (let row = 0; row < rows; row++) {
    const position = positions ? positions[row] : before + row;
    ensure(Number.isInteger(position), "bad_option", () => `${name}: position ${shown(position)} is no whole number`);
    const fits = position >= 0 && position < contextLength;
    ensure(fits, "context_full", () => `${name}: position ${position} is outside the context of ${contextLength}`);
  }
  if (typeof mask === "string") {
    ensure(mask === "causal" || mask === "bidirectional", "bad_option", () => {
      return `${name}: mask must be "causal", "bidirectional" or a table [rows, past + rows], not ${shown(mask)}`;
    });
  } else if (mask !== undefined) {
    requireNumbers(mask, `${name}: mask`);
    const wanted = rows * (before + rows);
    ensure(mask.length === wanted, "bad_shape", () => {
      return `${name}: the mask has ${mask.length} entries, and [${rows}, ${before + rows}] has ${wanted}, row after row`;
    });
    for (let row = 0; row < rows; row++) {
      let sees = false;
      for (let column = 0; column < before + rows; column++) {
        const looks = mask[row * (before + rows) + column];
        // An additive mask, or one of true and false, would be read the wrong way round.
        ensure(looks === 0 || looks === 1, "bad_option", () => {
          return `${name}: a mask has 1 where a row looks and 0 elsewhere, not ${String(looks)} (row ${row}, column ${column})`;
        });
        sees ||= looks === 1;
      }
      ensure(sees, "bad_option", () => `${name}: by its mask row ${row} sees nothing, not even itself`);
    }
  }
}

/** What stands before a sequence, as one. Errors: `bad_shape`. */
function pastOf(config: ModelConfig, { past }: ForwardSequence, name: string): KeptRows | undefined {
  if (past === undefined) return undefined;
  const { layers, keyValueHeads: heads, headDimension: dimension } = config;
  const parts = Array.isArray(past) ? (past as readonly KeptRows[]) : [past as KeptRows];
  for (const part of parts) {
    const size = heads * part?.length * dimension;
    const fits = [part?.keys, part?.values].every(
      (p) => Array.isArray(p) && p.length === layers && p.every((x) => x instanceof Float32Array && x.length === size),
    );
    ensure(fits, "bad_shape", () => {
      const given = typeof part === "object" && part !== null ? "" : `, not ${shown(part)}`;
      return `${name}: past must be { length, keys, values }, ${layers} layers of keys and values [${heads}, length, ${dimension}]${given}`;
    });
  }
  if (parts.length === 1) return parts[0];
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const joined = (kind: "keys" | "values"): Float32Array[] =>
    Array.from({ length: layers }, (_, layer) => {
      const plane = new Float32Array(heads * length * dimension);
      let before = 0;
      for (const part of parts) {
        const size = part.length * dimension;
        for (let head = 0; head < heads; head++) {
          const own = part[kind][layer].subarray(head * size, (head + 1) * size);
          plane.set(own, (head * length + before) * dimension);
        }
        before += part.length;
      }
      return plane;
    });
  return { length, keys: joined("keys"), values: joined("values") };
}

function requireNumbers(list: ArrayLike<number> | undefined, what: string): void {
  const fits = list === undefined || Array.isArray(list) || ArrayBuffer.isView(list);
  ensure(fits, "bad_option", () => `${what} must be a list of numbers, not ${shown(list)}`);
}

function vectorsOf(config: ModelConfig, { embeddings, tokens }: ForwardSequence, name: string) {
  if (!embeddings) return [];
  const width = config.hiddenSize;
  if (embeddings instanceof Float32Array) {
    ensure(embeddings.length === tokens.length * width, "bad_shape", () => {
      return `${name}: ${embeddings.length} numbers of embeddings do not fill [${tokens.length}, ${width}]`;
    });
    return Array.from(tokens, (_, row) => [row, embeddings.subarray(row * width, (row + 1) * width)] as const);
  }
  for (const [row, vector] of embeddings) {
    const known = Number.isInteger(row) && row >= 0 && row < tokens.length;
    ensure(known, "bad_option", () => `${name}: there is no row ${row} for an embedding`);
    ensure(vector instanceof Float32Array && vector.length === width, "bad_shape", () => {
      return `${name}: the embedding of row ${row} must be a Float32Array of ${width} numbers, the model's width`;
    });
  }
  return [...embeddings];
}

function selectedRows({ logits = "all" }: ForwardSequence, rows: number, name: string): readonly number[] {
  if (logits === "all") return Array.from({ length: rows }, (_, row) => row);
  if (logits === "last") return [rows - 1];
  if (logits === "none") return [];
  const wrong = Array.from(logits).findIndex((row) => !Number.isInteger(row) || row < 0 || row >= rows);
  ensure(wrong < 0, "bad_option", () => {
    return `${name}: logits are asked for of row ${shown(logits[wrong])}, and it has ${rows}`;
  });
  return logits;
}
