/** `ventris doctor`: what this machine can do, what is missing, and how to get it. */
import { existsSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import type { Command } from "commander";
import { knownPassCurves, type PassCurve } from "../engine/pass-curve.ts";
import { VentrisError } from "../errors.ts";
import { shippedModels } from "../open.ts";
import { compile, type Device, defaultThreads, loadRuntime } from "../runtime/program.ts";
import { add, input, lower, scalar } from "../tensor/index.ts";
import { cacheFolder } from "../weights/index.ts";
import { folderSize } from "./models.ts";
import { print, printJson } from "./output.ts";
import { formatBytes } from "./table.ts";

const remedies: Readonly<Record<Device, string>> = {
  cpu: "reinstall with `npm ci`: onnxruntime-node has no library for this platform here",
  webgpu:
    "onnxruntime-node brings it on Windows, macOS and Linux x64; it needs a GPU with a Vulkan, Metal or Direct3D 12 driver",
  cuda: "Linux x64 with an NVIDIA GPU, CUDA 12 and cuDNN 9: run `node node_modules/onnxruntime-node/script/install` once",
};

const expectedModels = ["knossos", "pylos"];

interface Check {
  what: string;
  ok: boolean;
  found: string;
  /** What to do about it. */
  remedy?: string;
}

export function define(command: Command): void {
  command.option("--json", "print one JSON object").action(async ({ json }: { json?: true }) => {
    const checks = await examine();
    if (json) printJson({ checks });
    else print(checks.map(describe).join("\n"));
    // Other devices and data are optional; without these nothing decodes.
    const broken = checks.some(
      ({ what, ok }) => !ok && ["node", "ONNX Runtime", "device cpu", "models"].includes(what),
    );
    if (broken) process.exitCode = 1;
  });
}

function describe({ what, ok, found, remedy }: Check): string {
  return `${ok ? "✓" : "✗"} ${what.padEnd(14)} ${found}${ok || !remedy ? "" : `\n  ${"".padEnd(14)} ${remedy}`}`;
}

/** What draft budgets are chosen by: milliseconds of a pass over so many rows, as measured when a method first needed it. */
function describeCurve({ model, rows, seconds }: PassCurve): Check {
  const times = rows.map((count, i) => `${count}: ${(seconds[i] * 1000).toFixed(2)}`).join(", ");
  return { what: "pass times", ok: true, found: `${model}\n  ${"".padEnd(14)} rows: ms  ${times}` };
}

async function examine(): Promise<Check[]> {
  const cache = cacheFolder();
  const data = process.env.VENTRIS_DATA;
  const shipped = await shippedModels();
  const missing = expectedModels.filter((name) => !shipped.includes(name));
  return [
    {
      what: "node",
      ok: Number(process.versions.node.split(".")[0]) >= 20,
      found: `${process.versions.node} on ${process.platform} ${process.arch}`,
      remedy: "Ventris needs Node 20 or newer",
    },
    {
      what: "processor",
      ok: true,
      found: `${cpus()[0]?.model.trim() ?? "unknown"}, ${availableParallelism()} cores, ${defaultThreads()} threads by default`,
    },
    {
      what: "memory",
      ok: true,
      found: `${formatBytes(totalmem())}, ${formatBytes(freemem())} free`,
    },
    ...(await examineRuntime()),
    {
      what: "models",
      ok: missing.length === 0,
      found: missing.length === 0 ? shipped.join(", ") : `not here: ${missing.join(", ")}`,
      remedy: "reinstall the package: the shipped models are part of it",
    },
    {
      what: "cache",
      ok: true,
      found: `${cache}, ${formatBytes(await folderSize(cache))} (VENTRIS_CACHE moves it; it may be deleted at any time)`,
    },
    ...(await knownPassCurves()).map(describeCurve),
    {
      what: "data",
      ok: data !== undefined && existsSync(data),
      found: data === undefined ? "VENTRIS_DATA is not set" : existsSync(data) ? data : `${data} does not exist`,
      remedy: "needed for training and for tests on real data only: set VENTRIS_DATA to the folder of the texts",
    },
  ];
}

async function examineRuntime(): Promise<Check[]> {
  try {
    const { env } = await loadRuntime();
    const version = { what: "ONNX Runtime", ok: true, found: env.versions.node ?? env.versions.common };
    const devices = await Promise.all((["cpu", "webgpu", "cuda"] as const).map(examineDevice));
    return [version, ...devices];
  } catch (error) {
    return [{ what: "ONNX Runtime", ok: false, found: (error as Error).message, remedy: remedies.cpu }];
  }
}

/** Tries it: that ONNX Runtime was built for a device does not mean that this machine has one. */
async function examineDevice(device: Device): Promise<Check> {
  const what = `device ${device}`;
  const program = lower({ sum: add(input("x", [1]), scalar(1)) }, { parameters: "weights" });
  try {
    await (await compile(program, { device, threads: 1 })).release();
    return { what, ok: true, found: "works" };
  } catch (error) {
    if (!(error instanceof VentrisError)) throw error;
    return { what, ok: false, found: error.message.replace(/\s+/g, " ").trim(), remedy: remedies[device] };
  }
}
