/** Tests of the built package compile it first, which costs nothing when it is up to date. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

export function ensureBuilt(): void {
  const { status, stderr } = spawnSync(process.execPath, ["scripts/build.mjs"], { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(`the package does not build:\n${stderr}`);
}
