// Runs a benchmark of bench/, a package of its own: its peers (hundreds of MB) are installed here, on first use, and never
// by the root's `npm ci`. All talk goes to stderr: stdout is the benchmark's result.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "./build.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const bench = join(root, "bench");

build();
// A slip is told before anything is installed: with words of the package, hence after building.
const { readArguments } = await import("../bench/arguments.mjs");
const { name } = readArguments();
// Only these measure against llama.cpp; the others need no peer.
if (name === "engine" || name === "speculation") installPeers();
const { status } = spawnSync(process.execPath, [join(bench, "run.mjs"), ...process.argv.slice(2)], {
  stdio: "inherit",
});
process.exit(status ?? 1);

/**
 * Installs what the lock file pins, where something else is installed. Not by `npm ci`: that refuses a lock file without
 * the optional packages of other systems, which a registry mirror need not have.
 */
function installPeers() {
  const { packages } = JSON.parse(readFileSync(join(bench, "package-lock.json"), "utf8"));
  const missing = Object.keys(packages[""].dependencies).filter((name) => {
    const path = `node_modules/${name}`;
    const manifest = join(bench, path, "package.json");
    return !existsSync(manifest) || JSON.parse(readFileSync(manifest, "utf8")).version !== packages[path].version;
  });
  if (missing.length === 0) return;
  console.error(`installing ${missing.join(", ")} into bench/`);
  // Optional packages are the CUDA and Vulkan builds; scripts would compile or download llama.cpp.
  const install = ["install", "--no-save", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
  const { status, error } = spawnSync("npm", install, {
    cwd: bench,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (status !== 0) {
    console.error(`bench: npm install failed in ${bench}${error ? `: ${error.message}` : ""}`);
    process.exit(1);
  }
}
