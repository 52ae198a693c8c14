/** WebGPU on a software driver, Chromium's: the very text of the processor. Slow, and no speed is claimed. Skipped where it is not installed. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { ensureBuilt, root } from "./build.ts";

const driver = "/usr/lib/chromium/vk_swiftshader_icd.json";
const loader = ["/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "/usr/lib/aarch64-linux-gnu/libvulkan.so.1"];
const there = process.platform === "linux" && existsSync(driver) && loader.some((path) => existsSync(path));

it.skipIf(!there)(
  `pylos on WebGPU writes what it writes on the processor${there ? "" : " (apt-get install chromium libvulkan1)"}`,
  { timeout: 300_000 },
  () => {
    ensureBuilt();
    const run = (...device: string[]) => {
      const args = [
        "dist/cli/main.js",
        "run",
        "--json",
        "--model",
        "pylos",
        "--max-tokens",
        "8",
        "--temperature",
        "0.8",
        "--seed",
        "7",
      ];
      const { stdout, stderr, status } = spawnSync(process.execPath, [...args, ...device, "Once upon a time"], {
        cwd: root,
        encoding: "utf8",
        env: { ...process.env, VK_ICD_FILENAMES: driver },
      });
      expect(status, stderr).toBe(0);
      return (JSON.parse(stdout) as { text: string }).text;
    };
    expect(run("--device", "webgpu")).toBe(run());
  },
);
