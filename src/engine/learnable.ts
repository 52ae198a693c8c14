/** A model seen by a method that trains it while it serves: its parameters, and forests on other values of them. */
import type { Family, ModelConfig } from "../models/family.ts";
import { readParameters } from "../models/parameters.ts";
import { type CompileOptions, valueMaker } from "../runtime/program.ts";
import { openCheckpoint } from "../weights/index.ts";
import { createForest, type Forest, type ForestOptions } from "./forest.ts";
import { createMemory } from "./memory.ts";
import { lowerPass, startOpenPass } from "./pass.ts";

/** Parameters by the program's names, row-major. */
export type ParameterValues = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

/** A forest whose weights can be exchanged. */
export interface OpenForest {
  readonly forest: Forest;
  /** New weights from the next pass on. What is cached stays, and was computed with the old ones. */
  setWeights(values: ParameterValues): void;
}

/** A model's parameters in float32, and forests on other values of them. */
export interface Learnable {
  readonly family: Family;
  /** As stored in the checkpoint, in float32. */
  readonly values: ParameterValues;
  /** A forest on these weights, which are only read. All forests share one program. */
  grow(values: ParameterValues): OpenForest;
  /** Call when no forest is in use any more. */
  release(): Promise<void>;
}

export interface LearnableOptions extends ForestOptions, Pick<CompileOptions, "device" | "threads"> {
  memoryLimit: number;
}

/** Reads the checkpoint anew. Errors: those of reading weights and of compiling. */
export async function openLearnable(
  path: string,
  family: Family,
  config: ModelConfig,
  { memoryLimit, device, threads, ...forestOptions }: LearnableOptions,
): Promise<Learnable> {
  const source = await openCheckpoint(path);
  try {
    const values = await readParameters(source, family, config);
    const lowered = lowerPass(family, config, { parameters: "inputs" });
    const pass = await startOpenPass(config, lowered, { device, threads });
    const value = await valueMaker();
    return {
      family,
      values,
      grow(weights) {
        const own = pass.withWeights(weights);
        const memory = createMemory(config, "float32", value, memoryLimit);
        return {
          forest: createForest(own, memory, forestOptions),
          setWeights: own.setWeights,
        };
      },
      release: pass.release,
    };
  } finally {
    await source.close();
  }
}
