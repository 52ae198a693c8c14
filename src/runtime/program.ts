/** Compiled programs on ONNX Runtime: compile once, run many times with typed arrays. */
import { availableParallelism } from "node:os";
import type { InferenceSession, Tensor as OnnxValue } from "onnxruntime-common";
import { ensure, VentrisError } from "../errors.ts";
import { type ElementType, type LoweredProgram, type TensorData, weightFileName } from "../tensor/index.ts";

export type Device = "cpu" | "webgpu" | "cuda";

/** An argument or result: row-major data and its shape. Reuse an argument object between runs: it is prepared only once. */
export interface Value {
  readonly data: TensorData;
  readonly dims: readonly number[];
}

export interface CompileOptions {
  device?: Device;
  /** Threads within an operator; default: all cores, at most 8. */
  threads?: number;
  /** The program's weight file: its bytes, or the folder that holds it under the name `weightFileName`. */
  weights?: Uint8Array | { folder: string };
  /** Writes ONNX Runtime's profile to files that start with this prefix. */
  profile?: string;
}

export interface Program {
  /** Inputs by name; returns the outputs by name. One run at a time. Errors: `runtime_failed`, `bad_shape`. */
  run(inputs: Readonly<Record<string, OnnxValue>>): Promise<Record<string, Value>>;
  release(): Promise<void>;
}

type Runtime = typeof import("onnxruntime-common");
let runtime: Promise<Runtime> | undefined;

/** ONNX Runtime, loaded when first needed. Errors: `unavailable` when the native library cannot be loaded. */
export function loadRuntime(): Promise<Runtime> {
  runtime ??= import("onnxruntime-node").then(
    (module) => ("default" in module ? (module as { default: Runtime }).default : module) as Runtime,
    (cause) => {
      throw new VentrisError(
        "unavailable",
        `ONNX Runtime cannot be loaded on this machine: ${(cause as Error).message}`,
        { cause },
      );
    },
  );
  return runtime;
}

export const defaultThreads = (): number => Math.min(8, availableParallelism());

/** Devices this machine can run programs on, of those ONNX Runtime was built with. */
export async function availableDevices(): Promise<Device[]> {
  const backends = (await import("onnxruntime-node")).listSupportedBackends?.() ?? [];
  const names = backends.map((backend) => backend.name);
  return (["cpu", "webgpu", "cuda"] as const).filter((device) => names.includes(device));
}

/** Errors: `unavailable` for a device this machine has not, `bad_option`, `runtime_failed`. */
export async function compile(lowered: LoweredProgram, options: CompileOptions = {}): Promise<Program> {
  const { device = "cpu", threads = defaultThreads(), weights, profile } = options;
  ensure(
    Number.isInteger(threads) && threads >= 1 && threads <= 256,
    "bad_option",
    `threads must be a whole number from 1 to 256, not ${threads}`,
  );
  const ort = await loadRuntime();
  ensure(lowered.weights.length === 0 || weights, "internal", "the program has weights, but none were given");
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: [device],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    // The runtime plans memory for every combination of shapes that it has seen, and keeps the plans: passes have many.
    enableMemPattern: !lowered.inputs.some(({ shape }) => shape.some((dimension) => typeof dimension === "string")),
    logSeverityLevel: 3,
    ...(weights instanceof Uint8Array &&
      weights.length > 0 && { externalData: [{ path: weightFileName, data: weights }] }),
    ...(weights &&
      "folder" in weights && { extra: { session: { model_external_initializers_file_folder_path: weights.folder } } }),
    ...(profile ? { enableProfiling: true, profileFilePrefix: profile } : {}),
  };
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(lowered.model, sessionOptions);
  } catch (cause) {
    const message = (cause as Error).message;
    if (device !== "cpu") {
      throw new VentrisError("unavailable", `device "${device}" cannot be used on this machine: ${message}`, { cause });
    }
    throw new VentrisError("runtime_failed", `ONNX Runtime refused a program: ${message}`, { cause });
  }
  return {
    async run(inputs) {
      let results: InferenceSession.OnnxValueMapType;
      try {
        results = await session.run(inputs);
      } catch (cause) {
        throw new VentrisError(
          "runtime_failed",
          `ONNX Runtime failed while running a program: ${(cause as Error).message}`,
          { cause },
        );
      }
      const values: Record<string, Value> = {};
      for (const name of session.outputNames) {
        const result = results[name] as OnnxValue;
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

/** Halves as their 16 bits, also where the language has an array type of them. */
function dataOf({ type, data }: OnnxValue): TensorData {
  if (type !== "float16" || data instanceof Uint16Array) return data as TensorData;
  const { buffer, byteOffset, length } = data as unknown as Uint16Array;
  return new Uint16Array(buffer, byteOffset, length);
}

/** Wraps typed data as an argument; nothing is copied. */
export type ValueMaker = (type: ElementType, data: Value["data"], dims: readonly number[]) => OnnxValue;

export async function valueMaker(): Promise<ValueMaker> {
  const { Tensor } = await loadRuntime();
  return (type, data, dims) => new Tensor(type as "float32", data as Float32Array, dims);
}
