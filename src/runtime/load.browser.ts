/** Finds ONNX Runtime in a page: WebAssembly, or its build with WebGPU where that is asked for. */
import { ensure, VentrisError } from "../errors.ts";
import type { Device } from "./program.ts";

type Runtime = typeof import("onnxruntime-common");

const scope = globalThis as unknown as { crossOriginIsolated?: boolean; navigator: { gpu?: object } };
let [plain, withGpu]: (Promise<Runtime> | undefined)[] = [];

/** The build with WebGPU is twice as large, and does all that the other does: once it is here, it serves both. Errors: `unavailable`. */
export async function findRuntime(
  device: Device = "cpu",
): Promise<{ ort: Runtime; native: boolean; devices: readonly Device[] }> {
  ensure(device !== "cuda", "unavailable", 'device "cuda" is not for pages: take "webgpu"');
  ensure(
    device === "cpu" || scope.navigator.gpu,
    "unavailable",
    'device "webgpu" is not offered by this browser here (WebGPU wants a secure page and a graphics card that the browser supports); leave the device out',
  );
  const devices: Device[] = scope.navigator.gpu ? ["cpu", "webgpu"] : ["cpu"];
  if (device === "webgpu") withGpu ??= prepared(import("onnxruntime-web/webgpu"), 1);
  else if (!withGpu) plain ??= prepared(import("onnxruntime-web/wasm"));
  return { ort: await (withGpu ?? plain)!, native: false, devices };
}

async function prepared(loading: Promise<unknown>, threads?: number): Promise<Runtime> {
  try {
    const ort = (await loading) as Runtime;
    // Threads share memory, which a page may only where it is isolated from others.
    if (threads || !scope.crossOriginIsolated) ort.env.wasm.numThreads = threads ?? 1;
    return ort;
  } catch (cause) {
    throw new VentrisError(
      "unavailable",
      `ONNX Runtime cannot be loaded in this page: ${(cause as Error).message}; its files (ort-wasm…) belong to the site`,
      { cause },
    );
  }
}

/** Errors: `unavailable`. */
export const loadRuntime = async (): Promise<Runtime> => (await findRuntime()).ort;

export const availableDevices = async (): Promise<Device[]> => [...(await findRuntime()).devices];
