/** docs/serving.md: its scripts and its calls, run as they stand against a server of their own. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt, root } from "./build.ts";

let server: Listening;
let folder: string;
let page: string;
beforeAll(async () => {
  ensureBuilt();
  server = await listen({ port: 0, groups: serveGroups(false) });
  page = (await readFile(join(root, "docs", "serving.md"), "utf8")).replaceAll("http://127.0.0.1:8080/", server.url);
  folder = await mkdtemp(join(tmpdir(), "ventris-serving-"));
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules", "ventris"), "junction");
  for (const name of ["openai", "ai", "zod"])
    await symlink(join(root, "node_modules", name), join(folder, "node_modules", name), "junction");
}, 300_000);
afterAll(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, code]) => code);

/** Not awaited in place: this very process serves. */
function run(file: string): Promise<{ stdout: string; stderr: string; failed: boolean }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [file], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ stdout, stderr, failed: error !== null }),
    ),
  );
}

it("runs its scripts", { timeout: 180_000 }, async () => {
  const scripts = blocks("ts");
  expect(scripts).toHaveLength(3);
  const said: string[] = [];
  for (const [i, script] of scripts.entries()) {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    await writeFile(join(folder, `script${i}.mjs`), ts.transpile(script, options));
    const { stdout, stderr, failed } = await run(`script${i}.mjs`);
    expect(failed, stderr).toBe(false);
    said.push(stdout);
  }
  expect(said[0]).toContain("22");
  expect(said[1]).toMatch(/\S+[\s\S]*\ntrue\n$/);
  expect(said[2]).toContain("Answer: 61");
});

it("makes its calls", { timeout: 120_000 }, async () => {
  const calls = [...page.matchAll(/^curl (\S+) -d '(.*)'$/gm)];
  expect(calls.length).toBeGreaterThanOrEqual(3);
  const texts: string[] = [];
  for (const [, url, body] of calls) {
    const response = await fetch(url, { method: "POST", body });
    const answer = (await response.json()) as { choices: { text?: string; message?: { content: string } }[] };
    expect(response.status, JSON.stringify(answer)).toBe(200);
    texts.push(answer.choices[0].text ?? answer.choices[0].message!.content);
  }
  expect(texts[0]).toContain("61");
  expect(texts.at(-1)).toMatch(/^[0-9]{4}$/);
});
