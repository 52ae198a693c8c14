/** Finds ONNX Runtime: the native library where it is installed, WebAssembly elsewhere. */
import { ensure, VentrisError } from "../errors.ts";
import { warnOnce } from "../warnings.ts";
import type { Device } from "./program.ts";

type Runtime = typeof import("onnxruntime-common");
let runtime: Promise<{ ort: Runtime; native: boolean }> | undefined;

/**
 * ONNX Runtime, loaded when first needed: its native library, or where that is not installed (it is an optional dependency) or
 * `VENTRIS_RUNTIME=wasm` asks for it, WebAssembly, which is slower. Errors: `unavailable` when neither can be loaded, or has no such device.
 */
export async function findRuntime(device: Device = "cpu"): Promise<{ ort: Runtime; native: boolean }> {
  runtime ??= (async () => {
    const wanted = process.env.VENTRIS_RUNTIME || "native";
    ensure(
      wanted === "native" || wanted === "wasm",
      "bad_option",
      `VENTRIS_RUNTIME must be "native" or "wasm", not "${wanted}"`,
    );
    let reason: unknown;
    if (wanted === "native") {
      try {
        return { ort: exportsOf(await import("onnxruntime-node")), native: true };
      } catch (cause) {
        reason = cause;
      }
    }
    try {
      const ort = exportsOf(await import("onnxruntime-web"));
      if (reason) {
        warnOnce(
          "ONNX Runtime's native library cannot be loaded, so models run on WebAssembly, which is slower; " +
            `\`npm install --ignore-scripts\` installs it without its download of GPU files (${firstLine(reason)})`,
        );
      }
      return { ort, native: false };
    } catch (cause) {
      const why = [reason, cause].filter(Boolean).map(firstLine).join("; ");
      throw new VentrisError("unavailable", `ONNX Runtime cannot be loaded on this machine: ${why}`, { cause });
    }
  })();
  const found = await runtime;
  ensure(
    found.native || device === "cpu",
    "unavailable",
    `device "${device}" needs ONNX Runtime's native library (onnxruntime-node), which is not in use here`,
  );
  return found;
}

function exportsOf(module: object): Runtime {
  const runtime = ("default" in module ? (module as { default: Runtime }).default : module) as Runtime;
  // What goes wrong it throws, too, and an error of ours says it: in its log it is many lines more, for who made the runtime.
  runtime.env.logLevel = "fatal";
  return runtime;
}

const firstLine = (error: unknown): string => (error as Error).message.split("\n", 1)[0];

/** Errors: `unavailable`. */
export const loadRuntime = async (): Promise<Runtime> => (await findRuntime()).ort;

/** Devices this machine can run programs on, of those ONNX Runtime was built with. */
export async function availableDevices(): Promise<Device[]> {
  if (!(await findRuntime()).native) return ["cpu"];
  const backends = (await import("onnxruntime-node")).listSupportedBackends?.() ?? [];
  const names = backends.map((backend) => backend.name);
  return (["cpu", "webgpu", "cuda"] as const).filter((device) => names.includes(device));
}
