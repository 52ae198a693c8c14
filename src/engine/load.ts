/** From a checkpoint to a compiled pass: config, weights in the wanted precision, tokenizer, forest. */
import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ensure, VentrisError } from "../errors.ts";
import { folderOf, storage } from "../files.ts";
import type { Instruments } from "../models/edits.ts";
import { familyOf } from "../models/families.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { mergedParameters, readLora } from "../models/lora.ts";
import { findParameters, type StoredParameter } from "../models/parameters.ts";
import { fingerprintOf } from "../models/parts.ts";
import { type CompileOptions, defaultThreads, valueMaker } from "../runtime/program.ts";
import { type BlockFormat, type LoweredProgram, type LoweringOptions, weightFileName } from "../tensor/index.ts";
import { openTokenizer, type Tokenizer } from "../text/index.ts";
import { warnOnce } from "../warnings.ts";
import {
  type Checkpoint,
  cacheKey,
  concatenateRows,
  openCached,
  openCheckpoint,
  openWeights,
  ownFormats,
  type QuantizedMatrix,
  quantizeMatrix,
  sameFormat,
  writeFileAtomically,
} from "../weights/index.ts";
import { bytesPerToken, type StoredType } from "./arena.ts";
import { type CanvasOptions, createCanvas } from "./canvas/canvas.ts";
import { type CanvasPassParts, lowerCanvas, startCanvasPass } from "./canvas/pass.ts";
import { createForest, type ForestOptions } from "./forest.ts";
import { createForward } from "./forward/index.ts";
import { openLearnable } from "./learnable.ts";
import { createMemory } from "./memory.ts";
import type { TransformerParts } from "./model.ts";
import { lowerPass, startPass } from "./pass.ts";
import type { LoweredPass } from "./sites/rows.ts";
import { withVariants } from "./sites/variants.ts";

export const weightFormats = ["auto", "f32", "int8", "int4"] as const;
export const cacheFormats = ["auto", "f32", "f16"] as const;

export interface LoadOptions extends Pick<CompileOptions, "device" | "threads" | "profile">, ForestOptions {
  /**
   * Precision of matrices. `auto`: as stored where the file is quantised, else float32 up to 200 million parameters and
   * 8 bits above. `int8` and `int4` are blocks of 64, but Q8_0 and Q4_0 of a GGUF file are used as they are stored.
   */
  weights?: (typeof weightFormats)[number];
  /**
   * Precision of the keys and values that are kept. `auto`: halves where the weights are quantised, which costs more precision, and a
   * full context takes so much memory that its size decides about speed; else float32.
   */
  keyValues?: (typeof cacheFormats)[number];
  /** Largest key-value arena, in bytes. Default 4 GiB. */
  memoryLimit?: number;
  /** Folder of a LoRA adapter in PEFT's format, merged into the weights as they are read. */
  lora?: string;
  /** Read in every row of every request: `node.taps`. */
  taps?: Instruments["taps"];
  /** Part of the model from now on: modules that act in every row of every request, and so take no inputs. */
  edits?: Instruments["edits"];
}

/** Counts changes of what the quantisers and the layout put into a prepared file, and with it of what was measured on a model. */
const preparation = "weights 2";

/** Files below this size are prepared in memory; larger and quantised ones are prepared once, on disk. */
const smallBytes = 64 * 2 ** 20;
/** Where the cache folder cannot be written, these too, up to this size. */
const mostInMemory = 2 ** 31 - 1;

/**
 * Opens a checkpoint folder or weight file. Errors: `bad_config`, `bad_file` (naming file and tensor), `unavailable`, `bad_option`,
 * `disk_full`.
 */
export async function loadModel(path: string, name: string, options: LoadOptions = {}): Promise<TransformerParts> {
  const started = performance.now();
  const {
    weights: format = "auto",
    keyValues = "auto",
    memoryLimit = 4 * 2 ** 30,
    maxRows,
    cacheSlots,
    taps = [],
    edits = [],
    lora,
    ...compileOptions
  } = options;
  requireFormat("weights", format, weightFormats);
  requireFormat("keyValues", keyValues, cacheFormats);
  const folder = (await (await storage()).find(path).catch(() => undefined))?.kind === "folder" ? path : folderOf(path);
  const source = await openCheckpoint(path);
  try {
    const { family, config } = familyOf(source.config);
    const adapter = lora === undefined ? undefined : await readLora(lora, family, config);
    const found = findParameters(source, family, config);
    const parameters = adapter ? mergedParameters(found, adapter) : found;
    const identity = [source.identity, ...(adapter ? [adapter.fingerprint] : [])].join(" ");
    const parameterCount = [...parameters.values()].reduce((sum, { specification }) => sum + sizeOf(specification), 0);
    const blocks = blocksOf(parameters, parameterCount, format);
    const stored = storedType(keyValues, config, parameters, blocks);
    const common = { always: { taps, edits }, blocks, stored };
    const forCanvas = { family, config, always: common.always, blocks };
    const lowered = config.diffusion ? lowerCanvas(forCanvas, false) : lowerPass(family, config, common);
    const prepared = await prepareWeights(identity, parameters, lowered);
    const compiling = { ...compileOptions, weights: prepared };
    const [tokenizer, grows] = await Promise.all([
      tokenizerOf(path, config, source.metadata),
      config.diffusion
        ? startCanvas(forCanvas, lowered, compiling, { memoryLimit, maxRows })
        : startForest(family, config, common, lowered as LoweredPass, compiling, { memoryLimit, maxRows, cacheSlots }),
    ]);
    return {
      name,
      folder,
      config,
      family,
      forward: createForward({ family, config, always: common.always, blocks, layout: lowered, compiling }),
      tokenizer,
      ...grows,
      parameterCount,
      identity: [
        identity,
        cacheKey(JSON.stringify(config)),
        tokenizer?.fingerprint,
        preparation,
        format,
        stored,
        compileOptions.device ?? "cpu",
        compileOptions.threads ?? defaultThreads(),
      ].join(" "),
      secondsToLoad: (performance.now() - started) / 1000,
      async fingerprint() {
        const opened = await openWeights(path);
        const base = await fingerprintOf(opened).finally(() => opened.close());
        return adapter ? createHash("sha256").update(base).update(adapter.fingerprint).digest("hex") : base;
      },
      async parameterValues(wanted = () => true) {
        const opened = await openCheckpoint(path);
        try {
          const found = findParameters(opened, family, config);
          const all = adapter ? mergedParameters(found, adapter) : found;
          const values = new Map<string, Float32Array<ArrayBuffer>>();
          for (const [name, parameter] of all) if (wanted(name)) values.set(name, await parameter.read());
          return values;
        } finally {
          await opened.close();
        }
      },
      learnable: async () => {
        ensure(
          !config.diffusion,
          "unavailable",
          "what learns while it serves drafts for a forest, which this model has not",
        );
        const advice = "what learns while it serves needs the model without a LoRA: merge it into a folder first";
        ensure(!adapter, "bad_option", advice);
        return openLearnable(path, family, config, { ...compileOptions, memoryLimit, maxRows, cacheSlots });
      },
    };
  } finally {
    await source.close();
  }
}

async function startForest(
  family: Family,
  config: ModelConfig,
  common: { always: Instruments; blocks: LoweringOptions["blocks"]; stored: StoredType },
  lowered: LoweredPass,
  compiling: CompileOptions,
  { memoryLimit, ...options }: ForestOptions & { memoryLimit: number },
) {
  const [base, value] = await Promise.all([startPass(config, lowered, compiling), valueMaker()]);
  const pass = withVariants(base, async (asked) =>
    startPass(config, lowerPass(family, config, { ...common, asked, layout: lowered }), compiling),
  );
  return { forest: createForest(pass, createMemory(config, common.stored, value, memoryLimit), options) };
}

/** Of a masked diffusion model, in which nothing grows to the right alone. */
async function startCanvas(
  parts: CanvasPassParts,
  lowered: LoweredProgram,
  compiling: CompileOptions,
  options: CanvasOptions,
) {
  const pass = await startCanvasPass(parts, lowered, compiling);
  return { abilities: { canvas: createCanvas(parts.config, pass, options) } };
}

/** Checkpoints without a tokenizer still decode token ids. */
async function tokenizerOf(
  path: string,
  { vocabularySize }: ModelConfig,
  metadata: Checkpoint["metadata"],
): Promise<Tokenizer | undefined> {
  try {
    const tokenizer = await openTokenizer(path, { outputs: vocabularySize, metadata });
    if (tokenizer.vocabularySize > vocabularySize) {
      warnOnce(
        `${path}: the tokenizer has ${tokenizer.vocabularySize} tokens, the model only ${vocabularySize}: a text with one of the others is refused`,
      );
    }
    return tokenizer;
  } catch (error) {
    if (error instanceof VentrisError && error.code === "unavailable") return undefined;
    throw error;
  }
}

function requireFormat(option: string, format: string, formats: readonly string[]): void {
  ensure(
    formats.includes(format),
    "bad_option",
    `${option} must be one of ${formats.join(", ")}, not ${JSON.stringify(format)}`,
  );
}

const sizeOf = ({ shape }: StoredParameter["specification"]): number => shape.reduce((a, b) => a * b, 1);

type Parameters = ReadonlyMap<string, StoredParameter>;

/** What a matrix that is made of these parameters, one below the other, is multiplied in; undefined: float32. */
function blocksOf(parameters: Parameters, parameterCount: number, format: LoadOptions["weights"]) {
  const fallback = parameterCount > 200e6 ? 8 : 32;
  return (names: readonly string[]): BlockFormat | undefined => {
    if (format === "f32") return undefined;
    const stored = names.map((name) => parameters.get(name)!.blocks);
    const same =
      stored[0] && stored.every((blocks) => blocks && sameFormat(blocks, stored[0]!)) ? stored[0] : undefined;
    const auto = stored.every((blocks) => blocks) ? Math.max(...stored.map((blocks) => blocks!.bits)) : fallback;
    const bits = format === "int8" ? 8 : format === "int4" ? 4 : (auto as 4 | 8 | 32);
    if (bits === 32) return undefined;
    return same?.bits === bits ? same : ownFormats[bits];
  };
}

/** A context of fewer bytes stays in the processor's own memory, where halves would only add conversions. */
const largeContextBytes = 32 * 2 ** 20;

function storedType(
  keyValues: LoadOptions["keyValues"],
  config: ModelConfig,
  parameters: Parameters,
  blocks: (parameters: readonly string[]) => BlockFormat | undefined,
): StoredType {
  if (keyValues !== "auto") return keyValues === "f16" ? "float16" : "float32";
  const large = bytesPerToken(config, "float32") * config.contextLength > largeContextBytes;
  const quantizes = [...parameters].some(
    ([name, { specification }]) => specification.shape.length === 2 && blocks([name]),
  );
  return large && quantizes ? "float16" : "float32";
}

/**
 * The program's weight file: read or converted tensor by tensor, so that memory peaks at one tensor above the result; what is
 * large or quantised goes to the cache folder, from where the runtime maps it.
 */
async function prepareWeights(
  identity: string,
  parameters: Parameters,
  lowered: LoweredProgram,
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
    for await (const { offset, bytes } of pieces()) file.set(bytes, offset);
    return file;
  };
  const quantizes = lowered.weights.some(({ bits }) => bits !== 32);
  if (!quantizes && lowered.weightBytes <= smallBytes) return inMemory();
  const key = cacheKey(preparation, identity, JSON.stringify(lowered.weights));
  try {
    return {
      folder: await openCached(
        join("weights", key, weightFileName),
        async (target) => {
          await mkdir(dirname(target), { recursive: true });
          await writeFileAtomically(target, async (write) => {
            let position = 0;
            for await (const { offset, bytes } of pieces()) {
              if (offset > position) await write(new Uint8Array(offset - position));
              await write(bytes);
              position = offset + bytes.length;
            }
          });
        },
        async (file) => {
          const { size } = await stat(file);
          ensure(size === lowered.weightBytes, "bad_file", `${file}: ${size} bytes instead of ${lowered.weightBytes}`);
          return dirname(file);
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
