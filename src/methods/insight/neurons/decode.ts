/**
 * Vectors through the output matrix, in tiles of the vocabulary: for each vector its highest-scoring tokens and the sum of all exponentials
 * are kept, never the scores themselves (of all neurons of an 8B model they would be 235 GB).
 */
import { ensure } from "../../../errors.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import { input, logSumExp, lower, matmul, topK } from "../../../tensor/index.ts";
import { checkTokens } from "../layers.ts";
import type { NeuronCheckpoint } from "./checkpoint.ts";

export const metrics = ["softmax", "cosine"] as const;

export interface VectorDecoderOptions {
  /** Tokens kept for each vector, best first. */
  readonly top: number;
  /** `softmax`: scores are logits U·w, which come with the logarithm of their sum of exponentials. `cosine`: scores are cosines. */
  readonly metric: (typeof metrics)[number];
  /** Tokens whose score is kept for every vector, wherever it stands. Default: none. */
  readonly wanted?: readonly number[];
  /** Tokens of the output matrix that are scored at once. Default 4096. */
  readonly tile?: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
}

/** What `count` vectors decode to. */
export interface DecodedVectors {
  /** [count, top], best first; of equal scores the lowest id first. */
  readonly tokens: Int32Array;
  readonly scores: Float32Array;
  /** [count]: log of the sum of the exponentials of all scores; zeros with cosines. */
  readonly normaliser: Float64Array;
  /** [count, wanted]. */
  readonly wanted: Float32Array;
}

/** A layer of a large model takes minutes. */
export interface DecodingWatch {
  readonly signal?: AbortSignal;
  /** What is done of the work, from 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

export interface VectorDecoder {
  readonly top: number;
  /** `vectors` is [count, width]. Errors: `bad_shape` where it does not fill rows; `aborted`. */
  decode(vectors: Float32Array, watch?: DecodingWatch): Promise<DecodedVectors>;
  /** Multiplications and additions of one vector. */
  readonly operations: number;
  close(): Promise<void>;
}

/** Vectors scored at once: times the tokens of a tile, as many numbers are in memory, some of them twice. */
const vectorsOfBlock = 2048;
/** An output matrix up to this many bytes is read once; larger ones are read again for each call. */
const keptBytes = 512 * 2 ** 20;

/** Errors: `bad_option` for a top beyond the vocabulary or an unknown token; those of compiling. */
export async function vectorDecoder(
  checkpoint: Pick<NeuronCheckpoint, "config" | "vocabulary" | "output">,
  { top, metric, wanted = [], tile: tokensOfTile = 4096, threads }: VectorDecoderOptions,
): Promise<VectorDecoder> {
  requireCounts({ tile: tokensOfTile });
  const { vocabulary, config } = checkpoint;
  const width = config.hiddenSize;
  const tiles = Math.ceil(vocabulary / tokensOfTile);
  const tileSize = Math.ceil(vocabulary / tiles);
  requireWhole({ top }, 1, Math.min(256, tileSize));
  checkTokens(wanted, vocabulary);

  const vectors = input("vectors", ["count", width]);
  const scores = matmul(vectors, input("tile", ["size", width]), { transposeB: true });
  const best = topK(scores, top);
  const outputs = {
    values: best.values,
    indices: best.indices,
    ...(metric === "softmax" && { normaliser: logSumExp(scores) }),
  };
  const start = (wantedOutputs: Parameters<typeof lower>[0]) =>
    compile(lower(wantedOutputs, { parameters: "inputs" }), { threads });
  const [program, products] = await Promise.all([start(outputs), start({ scores })]);
  const make = await valueMaker();
  const matrix = (data: Float32Array, rows: number) => make("float32", data, [rows, width]);

  const read = async (from: number, to: number): Promise<Float32Array> => {
    const rows = await checkpoint.output(from, to);
    return metric === "cosine" ? unitRows(rows, width) : rows;
  };
  const kept = new Map<number, Promise<Float32Array>>();
  const tile = (index: number): Promise<Float32Array> => {
    const [from, to] = [index * tileSize, Math.min(vocabulary, (index + 1) * tileSize)];
    if (4 * vocabulary * width > keptBytes) return read(from, to);
    if (!kept.has(index)) kept.set(index, read(from, to));
    return kept.get(index)!;
  };
  const concept = new Float32Array(wanted.length * width);
  for (const [i, token] of wanted.entries()) concept.set(await read(token, token + 1), i * width);

  return {
    top,
    operations: 2 * width * vocabulary,
    async decode(given, { signal, onProgress } = {}) {
      const count = given.length / width;
      ensure(Number.isInteger(count), "bad_shape", `vectors: ${given.length} numbers do not fill rows of ${width}`);
      const rows = metric === "cosine" ? unitRows(given, width) : given;
      const result = {
        tokens: new Int32Array(count * top),
        scores: new Float32Array(count * top).fill(Number.NEGATIVE_INFINITY),
        normaliser: new Float64Array(count).fill(metric === "softmax" ? Number.NEGATIVE_INFINITY : 0),
        wanted: new Float32Array(count * wanted.length),
      };
      const blocks = Array.from({ length: Math.ceil(count / vectorsOfBlock) }, (_, i) => {
        const [from, to] = [i * vectorsOfBlock, Math.min(count, (i + 1) * vectorsOfBlock)];
        return { from, value: matrix(rows.subarray(from * width, to * width), to - from) };
      });
      for (let index = 0; index < tiles; index++) {
        const values = await tile(index);
        const tileValue = matrix(values, values.length / width);
        for (const [done, { from, value }] of blocks.entries()) {
          ensure(!signal?.aborted, "aborted", "decoding the neurons was aborted");
          const found = await program.run({ vectors: value, tile: tileValue });
          onProgress?.((index + (done + 1) / blocks.length) / tiles);
          merge(result, from, top, index * tileSize, {
            values: found.values.data as Float32Array,
            indices: found.indices.data as BigInt64Array,
            normaliser: found.normaliser?.data as Float32Array | undefined,
          });
        }
      }
      if (wanted.length > 0) {
        const tileValue = matrix(concept, wanted.length);
        for (const { from, value } of blocks) {
          const found = await products.run({ vectors: value, tile: tileValue });
          result.wanted.set(found.scores.data as Float32Array, from * wanted.length);
        }
      }
      return result;
    },
    async close() {
      await Promise.all([program.release(), products.release()]);
    },
  };
}

/** Takes what a tile found for vectors from `from` on into what earlier tiles, of lower ids, had. */
function merge(
  { tokens, scores, normaliser }: DecodedVectors,
  from: number,
  top: number,
  firstToken: number,
  found: { values: Float32Array; indices: BigInt64Array; normaliser: Float32Array | undefined },
): void {
  const count = found.values.length / top;
  const [oldTokens, oldScores] = [new Int32Array(top), new Float32Array(top)];
  for (let row = 0; row < count; row++) {
    const at = (from + row) * top;
    oldTokens.set(tokens.subarray(at, at + top));
    oldScores.set(scores.subarray(at, at + top));
    let [old, fresh] = [0, row * top];
    for (let i = 0; i < top; i++) {
      if (oldScores[old] >= found.values[fresh]) {
        tokens[at + i] = oldTokens[old];
        scores[at + i] = oldScores[old++];
      } else {
        tokens[at + i] = firstToken + Number(found.indices[fresh]);
        scores[at + i] = found.values[fresh++];
      }
    }
    if (found.normaliser) normaliser[from + row] = logAdd(normaliser[from + row], found.normaliser[row]);
  }
}

function logAdd(a: number, b: number): number {
  const [most, least] = a > b ? [a, b] : [b, a];
  return least === Number.NEGATIVE_INFINITY ? most : most + Math.log1p(Math.exp(least - most));
}

/** Rows scaled to length 1; a row of zeros stays one, whose cosines are 0. */
export function unitRows(rows: Float32Array, width: number): Float32Array {
  const result = new Float32Array(rows.length);
  for (let at = 0; at < rows.length; at += width) {
    const length = Math.sqrt(squared(rows, at, width));
    for (let i = at; i < at + width; i++) result[i] = length > 0 ? rows[i] / length : 0;
  }
  return result;
}

/** Sum of the squares of a row. */
export function squared(rows: Float32Array, at: number, width: number): number {
  let sum = 0;
  for (let i = at; i < at + width; i++) sum += rows[i] * rows[i];
  return sum;
}
