/** The README's library example, run as it stands against the built package. */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { beforeAll, expect, it } from "vitest";
import { ensureBuilt, root } from "./build.ts";

beforeAll(ensureBuilt, 300_000);

it("runs the library example", { timeout: 120_000 }, async () => {
  const readme = await readFile(join(root, "README.md"), "utf8");
  const [, example] = /```ts\n([\s\S]*?)```/.exec(readme)!;
  const folder = await mkdtemp(join(tmpdir(), "ventris-readme-"));
  try {
    await mkdir(join(folder, "node_modules"));
    await symlink(root, join(folder, "node_modules", "ventris"), "junction");
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    await writeFile(join(folder, "example.mjs"), ts.transpile(example, options));
    const { status, stdout, stderr } = spawnSync(process.execPath, ["example.mjs"], { cwd: folder, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/\n(length|end): \d+ tokens in \d+ passes, \d+\.\d\d s\n$/);
    expect(status).toBe(0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
