/** What a model's weights become: the blocks that its matrices are multiplied in, and the file that the program reads them from. */
import { ensure, VentrisError } from "../errors.ts";
import { folderOf, storage, within } from "../files.ts";
import type { StoredParameter } from "../models/parameters.ts";
import type { CompileOptions } from "../runtime/program.ts";
import { type BlockFormat, type LoweredProgram, weightFileName } from "../tensor/index.ts";
import { warnOnce } from "../warnings.ts";
import {
  cacheKey,
  concatenateRows,
  openCached,
  ownFormats,
  type QuantizedMatrix,
  quantizeMatrix,
  sameFormat,
  writeFileAtomically,
} from "../weights/index.ts";

export const weightFormats = ["auto", "f32", "int8", "int4"] as const;
/** Precision of a model's matrices. */
export type WeightFormat = (typeof weightFormats)[number];

type Parameters = ReadonlyMap<string, StoredParameter>;

export interface WeightPlan {
  readonly parameterCount: number;
  /** Some matrix is multiplied in blocks. */
  readonly quantizes: boolean;
  /** What a matrix that is made of these parameters, one below the other, is multiplied in; undefined: float32. */
  blocks(names: readonly string[]): BlockFormat | undefined;
}

export function planWeights(parameters: Parameters, format: WeightFormat): WeightPlan {
  const matrices: string[] = [];
  let parameterCount = 0;
  for (const [name, { specification }] of parameters) {
    parameterCount += specification.shape.reduce((a, b) => a * b, 1);
    if (specification.shape.length === 2) matrices.push(name);
  }
  const fallback = parameterCount > 200e6 ? 8 : 32;
  const blocks: WeightPlan["blocks"] = (names) => {
    if (format === "f32") return undefined;
    const stored = names.map((name) => parameters.get(name)!.blocks);
    const same =
      stored[0] && stored.every((blocks) => blocks && sameFormat(blocks, stored[0]!)) ? stored[0] : undefined;
    const auto = stored.every((blocks) => blocks) ? Math.max(...stored.map((blocks) => blocks!.bits)) : fallback;
    const bits = format === "int8" ? 8 : format === "int4" ? 4 : (auto as 4 | 8 | 32);
    if (bits === 32) return undefined;
    return same?.bits === bits ? same : ownFormats[bits];
  };
  return { parameterCount, quantizes: matrices.some((name) => blocks([name])), blocks };
}

/** Counts changes of what the quantisers and the layout put into a prepared file, and with it of what was measured on a model. */
export const preparation = "weights 2";

/** Files below this size are prepared in memory; larger and quantised ones are prepared once, on disk. */
const smallBytes = 64 * 2 ** 20;
/** Where the cache folder cannot be written, these too, up to this size. */
const mostInMemory = 2 ** 31 - 1;

/** Told of weights that are converted: bytes done, and of how many. What it throws ends that. */
export type OnConvert = (done: number, total: number) => void;

/**
 * The program's weight file: read or converted tensor by tensor, so that memory peaks at one tensor above the result; what is
 * large or quantised goes to the cache folder of a disk, from where the runtime maps it.
 */
export async function prepareWeights(
  identity: string,
  parameters: Parameters,
  lowered: LoweredProgram,
  onConvert?: OnConvert,
): Promise<NonNullable<CompileOptions["weights"]>> {
  async function* pieces(): AsyncGenerator<{ offset: number; bytes: Uint8Array }> {
    for (const binding of lowered.weights) {
      const chosen = binding.parameters.map((name) => parameters.get(name)!);
      if (binding.bits === 32) {
        let offset = binding.values;
        for (const parameter of chosen) {
          const bytes = bytesOf(await parameter.read());
          yield { offset, bytes };
          offset += bytes.length;
        }
      } else {
        const matrices: QuantizedMatrix[] = [];
        for (const parameter of chosen) matrices.push(await quantized(parameter, binding));
        const { packed, scales, zeros } = concatenateRows(matrices);
        yield { offset: binding.packed, bytes: packed };
        yield { offset: binding.scales, bytes: bytesOf(scales) };
        if (binding.zeros !== undefined) yield { offset: binding.zeros, bytes: zeros };
      }
    }
  }
  const inMemory = async (): Promise<Uint8Array> => {
    const file = new Uint8Array(lowered.weightBytes);
    for await (const { offset, bytes } of pieces()) {
      file.set(bytes, offset);
      if (quantizes) onConvert?.(offset + bytes.length, file.length);
    }
    return file;
  };
  const quantizes = lowered.weights.some(({ bits }) => bits !== 32);
  const { keeping } = await storage();
  if ((!quantizes && lowered.weightBytes <= smallBytes) || !keeping?.onDisk) return inMemory();
  const key = await cacheKey(preparation, identity, JSON.stringify(lowered.weights));
  try {
    return {
      folder: await openCached(
        within("weights", key, weightFileName),
        (target) =>
          writeFileAtomically(target, async (write) => {
            let position = 0;
            for await (const { offset, bytes } of pieces()) {
              if (offset > position) await write(new Uint8Array(offset - position));
              await write(bytes);
              position = offset + bytes.length;
              onConvert?.(position, lowered.weightBytes);
            }
          }),
        async (file) => {
          const size = (await (await storage()).find(file))?.size;
          ensure(size === lowered.weightBytes, "bad_file", `${file}: ${size} bytes instead of ${lowered.weightBytes}`);
          return folderOf(file);
        },
      ),
    };
  } catch (error) {
    // A model can do without what only saves the next start some time and memory.
    const refused = error instanceof VentrisError && ["unavailable", "disk_full"].includes(error.code);
    if (!refused || lowered.weightBytes > mostInMemory) throw error;
    warnOnce(`the weights are prepared in memory, at every start anew: ${error.message}`);
    return inMemory();
  }
}

/** As it is stored where that is the form that is wanted, else in blocks of our own. */
async function quantized(parameter: StoredParameter, format: BlockFormat): Promise<QuantizedMatrix> {
  if (parameter.blocks && sameFormat(parameter.blocks, format)) return parameter.readBlocks();
  const [rows, columns] = parameter.specification.shape as readonly [number, number];
  return quantizeMatrix(await parameter.read(), rows, columns, format.bits);
}

const bytesOf = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
