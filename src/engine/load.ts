/** From a checkpoint to a compiled pass: config, weights in the wanted precision, tokenizer, forest. */
import { ensure, VentrisError } from "../errors.ts";
import { folderAt, storage } from "../files.ts";
import type { Instruments } from "../models/edits.ts";
import { familyOf } from "../models/families.ts";
import { type Family, type ModelConfig, withContext } from "../models/family.ts";
import { mergedParameters, readLora } from "../models/lora.ts";
import { findParameters } from "../models/parameters.ts";
import { fingerprintOf } from "../models/parts.ts";
import { deviceMemory } from "../runtime/device-memory.ts";
import { type CompileOptions, defaultThreads, valueMaker } from "../runtime/program.ts";
import type { LoweredProgram } from "../tensor/index.ts";
import { openTokenizer, type Tokenizer } from "../text/index.ts";
import { warnOnce } from "../warnings.ts";
import { type Checkpoint, cacheKey, openCheckpoint, openWeights } from "../weights/index.ts";
import { bytesPerToken, type StoredType } from "./arena.ts";
import { type CanvasOptions, createCanvas } from "./canvas/canvas.ts";
import { type CanvasPassParts, lowerCanvas, startCanvasPass } from "./canvas/pass.ts";
import { createForest, type ForestOptions } from "./forest.ts";
import { createForward } from "./forward/index.ts";
import { openLearnable } from "./learnable.ts";
import { createMemory } from "./memory.ts";
import type { TransformerParts } from "./model.ts";
import { lowerPass, type PassOptions, startPass } from "./pass.ts";
import type { LoweredPass } from "./sites/rows.ts";
import { withVariants } from "./sites/variants.ts";
import { createVision } from "./vision.ts";
import {
  type OnConvert,
  planWeights,
  preparation,
  prepareWeights,
  type WeightFormat,
  type WeightPlan,
  weightFormats,
} from "./weight-plan.ts";

export const cacheFormats = ["auto", "f32", "f16"] as const;

/** How a model is loaded: device, precision, memory, adapters, instruments. */
export interface LoadOptions extends Pick<CompileOptions, "device" | "threads" | "profile">, ForestOptions {
  /**
   * Precision of matrices. `auto`: as stored where the file is quantised, else float32 up to 200 million parameters and
   * 8 bits above. `int8` and `int4` are blocks of 64, but Q8_0 and Q4_0 of a GGUF file are used as they are stored. Default `auto`.
   */
  weights?: WeightFormat;
  /**
   * Precision of the keys and values that are kept. `auto`: halves where the weights are quantised, which costs more precision, and a
   * full context takes so much memory that its size decides about speed; else float32. Default `auto`.
   */
  keyValues?: (typeof cacheFormats)[number];
  /**
   * Positions to open the model for. Default: all that it has; of models with LongRoPE (Phi-3.5, Phi-4-mini), whose frequencies are others in
   * a longer context, the original ones.
   */
  contextLength?: number;
  /** Largest key-value arena, in bytes. Default 4 GiB. */
  memoryLimit?: number;
  /** Folder of a LoRA adapter in PEFT's format, merged into the weights as they are read. Default: none. */
  lora?: string;
  /** Read in every row of every request: `node.taps`. Default: none. */
  taps?: Instruments["taps"];
  /** Part of the model from now on: modules that act in every row of every request, and so take no inputs. Default: none. */
  edits?: Instruments["edits"];
}

/**
 * Opens a checkpoint folder or weight file. Errors: `bad_config`, `bad_file` (naming file and tensor), `unavailable`, `bad_option`,
 * `disk_full`.
 */
export async function loadModel(
  path: string,
  name: string,
  options: LoadOptions = {},
  onConvert?: OnConvert,
): Promise<TransformerParts> {
  const started = performance.now();
  const {
    weights: format = "auto",
    keyValues = "auto",
    memoryLimit = 4 * 2 ** 30,
    maxRows,
    cacheSlots,
    contextLength,
    taps = [],
    edits = [],
    lora,
    ...compileOptions
  } = options;
  for (const { name, inputs } of edits) {
    ensure(Object.keys(inputs ?? {}).length === 0, "bad_option", () => {
      return `open options: edits: the edit ${name} takes inputs, which a request gives: give it to decode`;
    });
  }
  requireFormat("weights", format, weightFormats);
  requireFormat("keyValues", keyValues, cacheFormats);
  const folder = await folderAt(path);
  const source = await openCheckpoint(path);
  try {
    const { family, config: stated } = familyOf(source.config);
    const config = withContext(stated, contextLength);
    const adapter = lora === undefined ? undefined : await readLora(lora, family, config);
    const found = findParameters(source, family, config);
    const parameters = adapter ? mergedParameters(found, adapter) : found;
    const identity = [source.identity, ...(adapter ? [adapter.fingerprint] : [])].join(" ");
    const plan = planWeights(parameters, format);
    const { blocks } = plan;
    const stored = storedType(keyValues, config, plan);
    const products = compileOptions.device === "webgpu" ? ("plain" as const) : ("fused" as const);
    const common = { always: { taps, edits }, blocks, products, stored };
    const forCanvas = { family, config, always: common.always, blocks, products };
    const lowered = config.diffusion ? lowerCanvas(forCanvas, false) : lowerPass(family, config, common);
    const prepared = await prepareWeights(identity, parameters, lowered, onConvert);
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
      forward: createForward({ family, config, always: common.always, blocks, products, layout: lowered, compiling }),
      tokenizer,
      ...grows,
      ...(config.vision && {
        abilities: { vision: createVision({ path, folder, identity }, family, config, compileOptions) },
      }),
      parameterCount: plan.parameterCount,
      identity: [
        identity,
        await cacheKey(JSON.stringify(config)),
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
        return adapter ? (await storage()).hash("sha256").update(base).update(adapter.fingerprint).hex() : base;
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
  common: PassOptions & { always: Instruments; stored: StoredType },
  lowered: LoweredPass,
  compiling: CompileOptions,
  { memoryLimit, ...options }: ForestOptions & { memoryLimit: number },
) {
  const [base, value] = await Promise.all([startPass(config, lowered, compiling), valueMaker()]);
  const device = await deviceMemory(compiling.device ?? "cpu");
  const pass = withVariants(base, async (asked) =>
    startPass(config, lowerPass(family, config, { ...common, asked, layout: lowered }), compiling),
  );
  return { forest: createForest(pass, createMemory(config, common.stored, value, memoryLimit, device), options) };
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

/** A context of fewer bytes stays in the processor's own memory, where halves would only add conversions. */
const largeContextBytes = 32 * 2 ** 20;

function storedType(keyValues: LoadOptions["keyValues"], config: ModelConfig, { quantizes }: WeightPlan): StoredType {
  if (keyValues !== "auto") return keyValues === "f16" ? "float16" : "float32";
  const large = bytesPerToken(config, "float32") * config.contextLength > largeContextBytes;
  return large && quantizes ? "float16" : "float32";
}
