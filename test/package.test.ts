/**
 * The package as a stranger gets it: packed, installed into an empty folder where nothing but the registry can be reached, used by a
 * script of thirty lines, and compiled by old and new compilers without the types of a browser or of Node.
 */
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureBuilt, root } from "./build.ts";
import { undocumentedOptions, unnamedTypes } from "./public-types.ts";

const megabyte = 2 ** 20;
/** Compilers by the name they are installed under. */
const compilers = { "5.4": "5.4", "5.7": "5.7", "6.0": "6.0", "7": "7" };
const compilerName = (version: string): string => `typescript-${version}`;

interface Packed {
  filename: string;
  size: number;
  files: { path: string; size: number }[];
}

let folder: string;
let packed: Packed;
let tarball: string;
/** Why nothing can be installed here, where that is so. */
let unreachable: string | undefined;

function call(command: string, args: readonly string[], cwd: string, env: Record<string, string> = {}) {
  // The package manager's own settings of the test run (scripts off, this project's prefix) are not the stranger's.
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  return spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...Object.fromEntries(inherited), ...env },
    maxBuffer: 64 * megabyte,
  });
}

const npm = (args: readonly string[], cwd: string, env: Record<string, string> = {}) =>
  call("npm", [...args, "--no-audit", "--no-fund", "--prefer-offline"], cwd, env);

beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-package-"));
  // The files are built, and a second build beside other tests would take them from under those.
  const { stdout, stderr } = npm(["pack", "--ignore-scripts", "--json", "--pack-destination", folder], root);
  try {
    [packed] = Object.values(JSON.parse(stdout) as Packed[] | Record<string, Packed>);
  } catch {
    throw new Error(`npm pack: ${stdout}${stderr}`);
  }
  tarball = join(folder, packed.filename);
  const found = npm(["view", "zod", "version"], folder);
  if (found.status !== 0) unreachable = `the package registry cannot be reached: ${found.stderr.split("\n")[0]}`;
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

it("is small: under 40 MB with the shipped models, at most 3 MB without, and holds no sources or tests", async () => {
  expect(packed.size).toBeLessThan(40 * megabyte);
  const bare = join(folder, "bare");
  await mkdir(bare);
  expect(call("tar", ["-xzf", tarball, "-C", bare, "--exclude", "package/models/*"], folder).status).toBe(0);
  expect(call("tar", ["-czf", "bare.tgz", "bare"], folder).status).toBe(0);
  const { length } = await readFile(join(folder, "bare.tgz"));
  expect(length).toBeLessThan(3e6);
  const sources = /^(src|bench)\/.*(?<!README\.md)$|^(test|studio)\/|\.test\.|tsbuildinfo/;
  expect(packed.files.filter(({ path }) => sources.test(path))).toEqual([]);
});

it("holds nothing of what lies here alone: of models only what the repository has", () => {
  const { stdout } = call("git", ["ls-files", "models"], root);
  const kept = new Set(stdout.split("\n"));
  expect(packed.files.flatMap(({ path }) => (path.startsWith("models/") && !kept.has(path) ? [path] : []))).toEqual([]);
});

it("holds whatever its pages point to", async () => {
  const paths = packed.files.map(({ path }) => path);
  const there = (path: string) => paths.some((one) => one === path || one.startsWith(`${path}/`));
  const missing: string[] = [];
  for (const page of paths.filter((path) => path.endsWith(".md"))) {
    const text = await readFile(join(root, page), "utf8");
    for (const [, to] of text.matchAll(/\]\((?![a-z]+:)([^)#\s]+)/g)) {
      const path = posix.normalize(posix.join(posix.dirname(page), to)).replace(/\/$/, "");
      if (!there(path)) missing.push(`${page}: ${to}`);
    }
  }
  expect(missing).toEqual([]);
});

it("has manifest and types in order, for publint and for attw", { timeout: 300_000 }, () => {
  const run = (tool: string, args: readonly string[]) => {
    const { status, stdout, stderr } = call(process.execPath, [join(root, "node_modules", tool), ...args], root);
    expect(stdout + stderr).not.toMatch(/^(Warnings|Errors|Suggestions):/m);
    expect(status, stdout + stderr).toBe(0);
  };
  run("publint/src/cli.js", ["run", tarball, "--strict"]);
  run("@arethetypeswrong/cli/dist/index.js", [tarball, "--profile", "esm-only", "--no-emoji"]);
});

it("exports every type that a user meets", { timeout: 120_000 }, () => {
  expect(unnamedTypes(root)).toEqual([]);
});

it("says of every option what it does", { timeout: 120_000 }, () => {
  expect(undocumentedOptions(root)).toEqual([]);
});

describe("in an empty folder, where only the registry can be reached", () => {
  let empty: string;
  beforeAll(async () => {
    if (unreachable) return;
    empty = join(folder, "empty");
    await mkdir(empty);
    await writeFile(join(empty, "package.json"), JSON.stringify({ name: "stranger", private: true, type: "module" }));
    // The runtime's install script, which downloads GPU files, goes through this proxy, and nothing is there.
    const nowhere = { GLOBAL_AGENT_HTTPS_PROXY: "http://127.0.0.1:9", GLOBAL_AGENT_HTTP_PROXY: "http://127.0.0.1:9" };
    const installed = npm(["install", tarball], empty, nowhere);
    expect(installed.stdout + installed.stderr).toContain("added");
    expect(installed.status, installed.stderr).toBe(0);
    const names = Object.keys(compilers).map((v) => `${compilerName(v)}@npm:typescript@~${compilers[v as "7"]}`);
    const tools = join(folder, "tools");
    await mkdir(tools);
    await writeFile(join(tools, "package.json"), JSON.stringify({ name: "tools", private: true }));
    const fetched = npm(["install", "--ignore-scripts", ...names], tools);
    expect(fetched.status, fetched.stderr).toBe(0);
    await cp(join(root, "examples", "story.ts"), join(empty, "story.ts"));
    await cp(join(root, "test", "fixtures", "every-entry.ts.txt"), join(empty, "entries.ts"));
  }, 600_000);

  const settings = {
    strict: true,
    skipLibCheck: false,
    target: "es2022",
    lib: ["es2022"],
    module: "nodenext",
    moduleResolution: "nodenext",
  };
  const compile = async (version: string, compilerOptions: object, file: string) => {
    const config = join(empty, `${file}.json`);
    await writeFile(config, JSON.stringify({ compilerOptions, files: [`${file}.ts`] }));
    const compiler = join(folder, "tools", "node_modules", compilerName(version), "bin", "tsc");
    return call(process.execPath, [compiler, "-p", config], empty);
  };

  it.for(Object.keys(compilers))(
    "TypeScript %s compiles every entry without other types",
    {
      timeout: 300_000,
    },
    async (version, { skip }) => {
      if (unreachable) skip(unreachable);
      const { stdout, status } = await compile(version, { ...settings, noEmit: true, types: [] }, "entries");
      expect(stdout).toBe("");
      expect(status).toBe(0);
    },
  );

  it.for(["5.4", "7"])(
    "TypeScript %s compiles await using without a setting of lib, and with one that has no such globals",
    { timeout: 300_000 },
    async (version, { skip }) => {
      if (unreachable) skip(unreachable);
      await cp(join(root, "test", "fixtures", "disposal.ts.txt"), join(empty, "disposal.ts"));
      const { lib, ...others } = settings;
      for (const given of [{}, { lib }]) {
        const options = { ...others, ...given, noEmit: true, types: [] };
        const { stdout, status } = await compile(version, options, "disposal");
        expect([given, stdout, status]).toEqual([given, "", 0]);
      }
    },
  );

  it("ventris/ai-sdk compiles with the oldest and the newest TypeScript beside the types that it names", {
    timeout: 300_000,
  }, async ({ skip }) => {
    if (unreachable) skip(unreachable);
    const named = npm(["install", "--ignore-scripts", "@ai-sdk/provider@3", "@types/json-schema"], empty);
    expect(named.status, named.stderr).toBe(0);
    await cp(join(root, "test", "fixtures", "ai-sdk-entry.ts.txt"), join(empty, "sdk.ts"));
    const options = { ...settings, lib: ["es2022", "dom"], noEmit: true, types: [] };
    for (const version of ["5.4", "7"]) {
      const { stdout, status } = await compile(version, options, "sdk");
      expect([version, stdout, status]).toEqual([version, "", 0]);
    }
  });

  it("comes without a Redis client, and says how to get it when it is asked to share", { timeout: 120_000 }, ({
    skip,
  }) => {
    if (unreachable) skip(unreachable);
    const main = join(empty, "node_modules", "ventris", "dist", "cli", "main.js");
    const { status, stderr } = call(
      process.execPath,
      [main, "serve", "--port", "0", "--model", "knossos", "--share", "redis://127.0.0.1:9"],
      empty,
    );
    expect(stderr).toContain("npm install @redis/client");
    expect(status).not.toBe(0);
  });

  it("a script of thirty lines compiles and runs, on WebAssembly where the native runtime is missing", {
    timeout: 300_000,
  }, async ({ skip }) => {
    if (unreachable) skip(unreachable);
    const story = await readFile(join(empty, "story.ts"), "utf8");
    expect(story.trimEnd().split("\n").length).toBeLessThan(45);
    // Node's types came with a dependency.
    const node = { ...settings, lib: ["es2022", "esnext.disposable"], types: ["node"] };
    const { stdout, status } = await compile("6.0", node, "story");
    expect(stdout).toBe("");
    expect(status).toBe(0);
    const run = call(process.execPath, ["story.js"], empty);
    expect(run.status, run.stderr).toBe(0);
    expect(run.stdout).toMatch(/(length|end): \d+ tokens in \d+ passes\nthe same text without drafts\n/);
    expect(run.stdout).toMatch(/\nevents: start prefill .*draft.*finish\n\d+ tokens at perplexity \d/);
    expect(run.stdout).toContain("unavailable: the model knossos has no chat template");
    const [, wasm] = /VentrisWarning: (.*)/.exec(run.stderr) ?? [];
    // The same with the native runtime, which says nothing and decodes the same text.
    await rm(join(empty, "node_modules", "onnxruntime-node"), { recursive: true, force: true });
    await symlink(
      join(root, "node_modules", "onnxruntime-node"),
      join(empty, "node_modules", "onnxruntime-node"),
      "junction",
    );
    const native = call(process.execPath, ["story.js"], empty);
    expect(native.stderr).not.toContain("VentrisWarning");
    expect(native.stdout.split("\n")[0]).toBe(run.stdout.split("\n")[0]);
    if (wasm) expect(wasm).toMatch(/WebAssembly.*npm install --ignore-scripts/);
  });
});
