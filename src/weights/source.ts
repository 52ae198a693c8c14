/** What every weight file looks like to a model: named tensors that are read one at a time. */
import type { BlockFormat } from "../tensor/index.ts";

/** How a tensor is stored. */
export type WeightType = "F64" | "F32" | "F16" | "BF16" | "I8" | "U8" | "I32" | "I64" | "BOOL" | GgufBlockType;
/** Block formats of GGUF files. */
export type GgufBlockType =
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  | "IQ4_NL"
  | "IQ4_XS";

/** A stored tensor's name, type and shape. */
export interface WeightInfo {
  readonly name: string;
  readonly type: WeightType;
  /** Row-major, outermost first (GGUF's reversed order is already undone). */
  readonly shape: readonly number[];
  /** The blocks of a matrix that can be used as it is stored: `readBlocks` gives them. */
  readonly blocks?: BlockFormat;
  /** Nothing but zeros, which were written for every model: one that has no place for them does without. */
  readonly spare?: true;
}

/**
 * An open checkpoint. Reading is per tensor, so that loading peaks at one tensor above the result.
 * Errors: `bad_file` naming file and tensor.
 */
export interface WeightSource {
  /** For messages: the file or folder. */
  readonly origin: string;
  /** Names every file that is read, and the state it was in when it was opened: what is derived from the source depends on it. */
  readonly identity: string;
  readonly tensors: ReadonlyMap<string, WeightInfo>;
  /** Values as float32, whatever the stored type. Refuses NaN and infinities unless `allowNonFinite`. */
  readFloat32(name: string, options?: { allowNonFinite?: boolean }): Promise<Float32Array<ArrayBuffer>>;
  /**
   * Values of rows `from` (inclusive) to `to` (exclusive) of a matrix alone: what is too large to be held is read in pieces. Absent where a
   * source can only give whole tensors.
   */
  readRows?(name: string, from: number, to: number): Promise<Float32Array<ArrayBuffer>>;
  /** The stored bytes as they are (for quantised blocks and integer tensors). */
  readBytes(name: string): Promise<Uint8Array<ArrayBuffer>>;
  /** A matrix in the blocks that its `blocks` says it has: no code changes. Errors: `bad_option` for one that has none. */
  readBlocks(name: string): Promise<QuantizedMatrix>;
  close(): Promise<void>;
}

/**
 * A matrix [rows, columns] in the form that ONNX Runtime's MatMulNBits takes: blocks along the columns, the input dimension;
 * blocks = ceil(columns / blockSize) in a row. `packed` is [rows, blocks, blockSize * bits / 8] bytes, low nibble first for
 * 4 bits; `scales` is [rows, blocks] float32; `zeros` is [rows, ceil(blocks * bits / 8)] bytes packed in the same way, and
 * empty in a format without zero points. value = (code - zero) * scale, with zero 8 (4 bits) or 128 (8 bits) where there
 * are no zero points.
 */
export interface QuantizedMatrix extends BlockFormat {
  readonly rows: number;
  readonly columns: number;
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly scales: Float32Array<ArrayBuffer>;
  readonly zeros: Uint8Array<ArrayBuffer>;
}
