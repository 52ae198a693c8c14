/** Compiled programs on ONNX Runtime: compile once, run many times with typed arrays. */

import type { InferenceSession, Tensor } from "onnxruntime-common";
import { ensure, VentrisError } from "../errors.ts";
import { readWhole, within } from "../files.ts";
import { processors } from "../machine.ts";
import { requireWhole } from "../numbers.ts";
import { type ElementType, type LoweredProgram, planInput, type TensorData, weightFileName } from "../tensor/index.ts";
import { findRuntime, loadRuntime } from "./load.ts";
import { createPlanChoice } from "./plans.ts";

/** What programs run on. */
export type Device = "cpu" | "webgpu" | "cuda";

/** An argument or result: row-major data and its shape. Reuse an argument object between runs: it is prepared only once. */
export interface Value {
  readonly data: TensorData;
  readonly dims: readonly number[];
}

/** A value of the runtime. Declared here, so that our types name none of the runtime's, which want a browser's. */
export interface OnnxValue {
  readonly type: string;
  readonly data: unknown;
  readonly dims: readonly number[];
  dispose(): void;
}

/** Where a program runs, and with how many threads. */
export interface CompileOptions {
  /** Where the program runs. Default "cpu". */
  device?: Device;
  /** Threads within an operator; default: all cores, at most 8. */
  threads?: number;
  /** The program's weight file: its bytes, or the folder that holds it. Needed where the program has weights; no default. */
  weights?:
    | Uint8Array
    | {
        /** It holds the file under the name `weightFileName`. */
        folder: string;
      };
  /** Writes ONNX Runtime's profile to files that start with this prefix. Default: none is written. */
  profile?: string;
}

export interface Program {
  /** Inputs by name; returns the outputs by name. One run at a time. Errors: `runtime_failed`, `bad_shape`. */
  run(inputs: Readonly<Record<string, OnnxValue>>): Promise<Record<string, Value>>;
  release(): Promise<void>;
}

/**
 * How long a thread without work looks for some before it sleeps: longer than from one pass to the next. The runtime's own time is much longer,
 * and until it has gone by, the threads of a program that ran last take the processors from those of another.
 */
const spinMicroseconds = 300;

/** All cores, at most 8. */
export function defaultThreads(): number {
  return Math.min(8, processors());
}

/** Errors: `unavailable` for a device this machine has not, `bad_option`, `runtime_failed`. */
export async function compile(lowered: LoweredProgram, options: CompileOptions = {}): Promise<Program> {
  const { device = "cpu", threads = defaultThreads(), weights, profile } = options;
  requireWhole({ threads }, 1, 256);
  const { ort, native } = await findRuntime(device);
  if (!native) ort.env.wasm.numThreads ??= threads; // those of the process: the first program decides
  const bytes =
    !weights || weights instanceof Uint8Array ? weights : native ? undefined : await readWeights(weights.folder);
  ensure(lowered.weights.length === 0 || weights, "internal", "the program has weights, but none were given");
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: [native || device !== "cpu" ? device : "wasm"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    enableMemPattern: true,
    logSeverityLevel: 3,
    ...(bytes && bytes.length > 0 && { externalData: [{ path: weightFileName, data: bytes }] }),
    extra: {
      session: {
        intra_op: { spin_duration_us: `${spinMicroseconds}` },
        ...(!bytes &&
          weights &&
          "folder" in weights && { model_external_initializers_file_folder_path: weights.folder }),
      },
    },
    ...(profile ? { enableProfiling: true, profileFilePrefix: profile } : {}),
  };
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(lowered.model, sessionOptions);
  } catch (cause) {
    const message = (cause as Error).message;
    if (device !== "cpu") {
      // Where in its source it found that out helps nobody.
      const words = message
        .replace(/\s+/g, " ")
        .trim()
        .replace(/^\S+\/onnxruntime\/.* was false\. /, "");
      throw new VentrisError(
        "unavailable",
        `device "${device}" cannot be used on this machine: leave it out to use the processor; ventris doctor says what it needs. ONNX Runtime: ${words}`,
        { cause },
      );
    }
    throw new VentrisError("runtime_failed", `ONNX Runtime refused a program: ${message}`, { cause });
  }
  const choosePlan = lowered.varies ? createPlanChoice(lowered.inputs) : undefined;
  const nothing = new Uint8Array(0);
  return {
    async run(inputs) {
      let results: InferenceSession.OnnxValueMapType;
      const plan = choosePlan && { [planInput]: new ort.Tensor("uint8", nothing, choosePlan(inputs)) };
      try {
        results = await session.run({ ...inputs, ...plan } as Readonly<Record<string, Tensor>>);
      } catch (cause) {
        throw new VentrisError(
          "runtime_failed",
          `ONNX Runtime failed while running a program: ${(cause as Error).message}`,
          { cause },
        );
      }
      const values: Record<string, Value> = {};
      for (const name of session.outputNames) {
        const result = results[name];
        values[name] = { data: dataOf(result), dims: result.dims };
      }
      return values;
    },
    async release() {
      if (profile) session.endProfiling();
      await session.release();
    },
  };
}

/** WebAssembly has no files: the whole weight file is read. Errors: `bad_file`. */
async function readWeights(folder: string): Promise<Uint8Array> {
  const path = within(folder, weightFileName);
  try {
    return (await readWhole(path, Number.MAX_SAFE_INTEGER))!;
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Halves as their 16 bits, also where the language has an array type of them. */
function dataOf({ type, data }: OnnxValue): TensorData {
  if (type !== "float16" || data instanceof Uint16Array) return data as unknown as TensorData;
  const { buffer, byteOffset, length } = data as unknown as Uint16Array;
  return new Uint16Array(buffer, byteOffset, length);
}

/** Wraps typed data as an argument; nothing is copied. */
export type ValueMaker = (type: ElementType, data: Value["data"], dims: readonly number[]) => OnnxValue;

export async function valueMaker(): Promise<ValueMaker> {
  const { Tensor } = await loadRuntime();
  return (type, data, dims) => new Tensor(type as "float32", data as Float32Array, dims);
}
