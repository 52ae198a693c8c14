/** Devices as the command line tries them: in a process of its own, since what their libraries write to stderr is for their makers. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { ensure, VentrisError } from "../errors.ts";
import { compile, type Device } from "../runtime/program.ts";
import { add, input, lower, scalar } from "../tensor/index.ts";

export const devices = ["cpu", "webgpu", "cuda"] as const satisfies readonly Device[];

/** What to do where a device does not work. */
export const remedies: Readonly<Record<Device, string>> = {
  cpu: "install again with npm ci: onnxruntime-node has no library for this platform here",
  webgpu: "needs a GPU with a Vulkan, Metal or DirectX 12 driver",
  cuda: existsSync("/proc/driver/nvidia")
    ? "install CUDA 12, cuDNN 9, then run node node_modules/onnxruntime-node/script/install"
    : "needs an NVIDIA GPU, CUDA 12 and cuDNN 9 on Linux x64",
};

/** Whether programs run on the device: that ONNX Runtime was built for one does not mean that this machine has it. */
export function deviceWorks(device: Device): boolean {
  const words = [process.argv[1], "doctor", "--probe", device];
  const { stdout, status } = spawnSync(process.execPath, words, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
  });
  try {
    return status === 0 && JSON.parse(stdout.trim().split("\n").at(-1)!).works === true;
  } catch {
    return false; // it ended before it could say so
  }
}

/** What the process of `deviceWorks` does. */
export async function probe(device: Device): Promise<{ works: boolean; reason?: string }> {
  const program = lower({ sum: add(input("x", [1]), scalar(1)) }, { parameters: "weights" });
  try {
    await (await compile(program, { device, threads: 1 })).release();
    return { works: true };
  } catch (error) {
    if (!(error instanceof VentrisError)) throw error;
    return { works: false, reason: error.message.replace(/\s+/g, " ").trim() };
  }
}

/** Errors: `unavailable` for a device that a flag names and this machine has not, in a line of ours. */
export function ensureDevice(device: Device | undefined): void {
  // WebAssembly has no devices, and says so itself.
  if (device === undefined || device === "cpu" || process.env.VENTRIS_RUNTIME === "wasm") return;
  ensure(deviceWorks(device), "unavailable", `--device ${device} does not work on this machine: ${remedies[device]}`);
}
