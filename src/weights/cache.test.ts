import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import ts from "typescript";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { VentrisError } from "../errors.ts";
import { isSaid } from "../wrong.fixture.ts";
import { cacheFolder, cacheKey, fileIdentity, openCached, withFileLock, writeFileAtomically } from "./cache.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-cache-"));
  await compileForChildren();
});
afterAll(() => rm(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

/** Plain JavaScript of cache.ts and what it imports, which child processes can import. */
async function compileForChildren(): Promise<void> {
  const compilerOptions = {
    module: ts.ModuleKind.ESNext,
    target: ts.ScriptTarget.ES2022,
    rewriteRelativeImportExtensions: true,
  };
  const sources = new URL("../", import.meta.url);
  const made = new Set<string>();
  async function make(file: URL): Promise<void> {
    if (made.has(file.href)) return;
    made.add(file.href);
    const text = await readFile(file, "utf8");
    const out = join(folder, "js", file.href.slice(sources.href.length).replace(/\.ts$/, ".js"));
    await mkdir(dirname(out), { recursive: true });
    await writeFile(out, ts.transpileModule(text, { compilerOptions }).outputText);
    for (const { fileName } of ts.preProcessFile(text).importedFiles)
      if (fileName.startsWith(".")) await make(new URL(fileName, file));
  }
  await mkdir(join(folder, "js"), { recursive: true });
  await writeFile(join(folder, "js", "package.json"), '{"type":"module"}');
  await make(new URL("weights/cache.ts", sources));
}

/** A process that runs `body` with everything in cache.ts at hand, as `cache`. */
function child(body: string): ChildProcess & { exited: Promise<number | null> } {
  const script = `import * as cache from "./weights/cache.js"; import fs from "node:fs";\n${body}`;
  const process_ = spawn(process.execPath, ["--input-type=module", "-e", script], {
    cwd: join(folder, "js"),
    stdio: "inherit",
  });
  const exited = new Promise<number | null>((resolve) => process_.on("exit", resolve));
  return Object.assign(process_, { exited });
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("waited 10 s in vain");
    await delay(10);
  }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error) => (error instanceof VentrisError ? error.code : error),
  );

test("the cache folder follows the environment", async () => {
  vi.stubEnv("VENTRIS_CACHE", "/somewhere");
  expect(await cacheFolder()).toBe("/somewhere");
  vi.stubEnv("VENTRIS_CACHE", "");
  vi.stubEnv("XDG_CACHE_HOME", "/xdg");
  expect(await cacheFolder()).toBe(join("/xdg", "ventris"));
});

test("keys tell parts apart", async () => {
  expect(await cacheKey("a", 1)).toBe(await cacheKey("a", 1));
  expect(await cacheKey("a", "b")).not.toBe(await cacheKey("ab"));
  const path = join(folder, "identity");
  await writeFile(path, "1");
  const before = await fileIdentity(path);
  await appendFile(path, "2");
  expect(await fileIdentity(path)).not.toBe(before);
});

describe("writeFileAtomically", () => {
  test("tells of what its content throws by its name, at the entrance", async () => {
    const { writeFileAtomically } = await import("../entrances/weights.ts");
    const boo = new Error("boo");
    const fail = (): never => {
      throw boo;
    };
    await expect(writeFileAtomically(join(folder, "none"), fail)).rejects.toThrow(
      isSaid("bad_option", /^writeFileAtomically: content failed: boo$/, boo),
    );
  });

  test("creates folders, replaces, and writes in pieces", async () => {
    const path = join(folder, "new", "deep", "file");
    await writeFileAtomically(path, "first");
    await writeFileAtomically(path, async (write) => {
      await write(Uint8Array.of(65, 66));
      expect(await readFile(path, "utf8")).toBe("first");
      await write(Uint8Array.of(67));
    });
    expect(await readFile(path, "utf8")).toBe("ABC");
    expect(await readdir(join(folder, "new", "deep"))).toEqual(["file"]);
  });

  test.skipIf(!existsSync("/dev/full"))("a full disk is disk_full, keeps the old file and leaves nothing", async () => {
    const own = join(folder, "full");
    const path = join(own, "file");
    await writeFileAtomically(path, "old");
    const fill = async (write: (bytes: Uint8Array) => Promise<void>) => {
      await write(Uint8Array.of(1, 2, 3));
      await writeFile("/dev/full", "x"); // a real ENOSPC
    };
    expect(await codeOf(writeFileAtomically(path, fill))).toBe("disk_full");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(own)).toEqual(["file"]);
  });

  test("what is written must be bytes, and what should be written must not be given back", async () => {
    const path = join(folder, "odd");
    for (const bytes of [null, "text", [1], undefined])
      await expect(writeFileAtomically(path, (write) => write(bytes as never))).rejects.toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(/content gave .*, and must give a Uint8Array to write/),
      });
    for (const answer of ["text", Uint8Array.of(1), null])
      await expect(writeFileAtomically(path, async () => answer as never)).rejects.toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(/content gave .*, and must give what it has to the function that writes/),
      });
    expect(existsSync(path)).toBe(false);
  });

  test("writes that nobody waits for are in the file, in their order", async () => {
    const path = join(folder, "unwaited");
    const pieces = Array.from({ length: 20 }, (_, i) => new Uint8Array(2 ** 16).fill(i));
    await writeFileAtomically(path, async (write) => {
      for (const piece of pieces) void write(piece);
    });
    expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(Buffer.concat(pieces)));
  });

  test("a folder that cannot be written is unavailable; an error of the content passes through", async () => {
    await writeFile(join(folder, "a-file"), "");
    expect(await codeOf(writeFileAtomically(join(folder, "a-file", "below"), "x"))).toBe("unavailable");
    const own = new TypeError("mine");
    expect(await codeOf(writeFileAtomically(join(folder, "never"), () => Promise.reject(own)))).toBe(own);
    expect(existsSync(join(folder, "never"))).toBe(false);
  });

  test("removes what a killed writer left, but not what a living one writes", async () => {
    const own = join(folder, "abandoned");
    await mkdir(own);
    for (const name of [".file.old.partial", ".file.young.partial", ".other.old.partial"])
      await writeFile(join(own, name), "");
    const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
    for (const name of [".file.old.partial", ".other.old.partial"]) await utimes(join(own, name), longAgo, longAgo);
    await writeFileAtomically(join(own, "file"), "x");
    expect((await readdir(own)).sort()).toEqual([".file.young.partial", ".other.old.partial", "file"]);
  });
});

describe("withFileLock", () => {
  test("one at a time within a process, and released after a failure", async () => {
    const path = join(folder, "shared");
    let inside = 0;
    const action = async () => {
      expect(++inside).toBe(1);
      await delay(5);
      inside--;
    };
    await Promise.all(Array.from({ length: 8 }, () => withFileLock(path, action)));
    await expect(withFileLock(path, () => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
    for (const timeout of [Number.NaN, -1])
      await expect(withFileLock(path, async () => {}, { timeout })).rejects.toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(`timeout is ${timeout}`),
      });
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("four processes that add to one counter lose nothing", async () => {
    const counter = join(folder, "counter");
    await writeFile(counter, "0");
    const body = `for (let i = 0; i < 25; i++) await cache.withFileLock(${JSON.stringify(counter)}, async () => {
      const value = Number(fs.readFileSync(${JSON.stringify(counter)}, "utf8"));
      await new Promise((resolve) => setTimeout(resolve, 1));
      fs.writeFileSync(${JSON.stringify(counter)}, String(value + 1));
    });`;
    const codes = await Promise.all(Array.from({ length: 4 }, () => child(body).exited));
    expect(codes).toEqual([0, 0, 0, 0]);
    expect(await readFile(counter, "utf8")).toBe("100");
  }, 60_000);

  test("the lock of a killed process is taken over, once, by one of many waiters", async () => {
    const path = join(folder, "killed");
    const held = child(`await cache.withFileLock(${JSON.stringify(path)}, async () => {
      fs.writeFileSync(${JSON.stringify(`${path}.held`)}, "");
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`);
    await until(() => existsSync(`${path}.held`));
    expect(await codeOf(withFileLock(path, async () => {}, { timeout: 50 }))).toBe("unavailable");
    held.kill("SIGKILL");
    await held.exited;
    let inside = 0;
    const action = async () => {
      expect(++inside).toBe(1);
      await delay(2);
      inside--;
    };
    await Promise.all(Array.from({ length: 8 }, () => withFileLock(path, action)));
  }, 30_000);

  test.each([
    ["an earlier process that had this process's number", { pid: process.pid, host: hostname(), started: 0 }, 0, true],
    [
      "this very process",
      { pid: process.pid, host: hostname(), started: Date.now() - process.uptime() * 1000 },
      600,
      false,
    ],
    [
      "a silent process whose number another one may have",
      { pid: process.ppid, host: hostname(), started: 0 },
      600,
      true,
    ],
    ["a living process that does not tell its start", { pid: process.ppid, host: hostname(), started: 0 }, 60, false],
    ["a silent process elsewhere", { pid: 1, host: "elsewhere", started: 0 }, 600, true],
    ["a living process elsewhere", { pid: 1, host: "elsewhere", started: 0 }, 60, false],
    ["a process that died before it wrote its name", undefined, 60, true],
    ["a process about to write its name", undefined, 0, false],
  ])("a lock left by %s", async (_, holder, ageSeconds, free) => {
    const path = join(folder, "left");
    writeFileSync(`${path}.lock`, holder ? JSON.stringify({ token: "t", ...holder }) : "");
    const then = new Date(Date.now() - ageSeconds * 1000);
    await utimes(`${path}.lock`, then, then);
    expect(await codeOf(withFileLock(path, async () => {}, { timeout: 50 }))).toBe(free ? "no error" : "unavailable");
    await rm(`${path}.lock`, { force: true });
  });

  test.runIf(process.platform === "linux")(
    "of two processes with one number, the living one keeps its lock",
    async () => {
      const path = join(folder, "numbers");
      const stat = await readFile(`/proc/${process.ppid}/stat`, "utf8");
      const birth = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
      for (const [offset, free] of [
        [0, false],
        [-1, true],
      ] as const) {
        const holder = { token: "t", pid: process.ppid, host: hostname(), started: 0, birth: birth + offset };
        writeFileSync(`${path}.lock`, JSON.stringify(holder));
        expect(await codeOf(withFileLock(path, async () => {}, { timeout: 50 }))).toBe(
          free ? "no error" : "unavailable",
        );
        await rm(`${path}.lock`, { force: true });
      }
    },
  );

  test("waiting can be aborted", async () => {
    const path = join(folder, "aborted");
    await withFileLock(path, async () => {
      const controller = new AbortController();
      const waiting = codeOf(withFileLock(path, async () => {}, { signal: controller.signal }));
      controller.abort();
      expect(await waiting).toBe("aborted");
    });
  });
});

describe("openCached", () => {
  const read = async (path: string) => {
    const text = await readFile(path, "utf8");
    if (!text.startsWith("sound")) throw new VentrisError("bad_file", `${path} is damaged`);
    return text;
  };

  test("makes a file once, and anew when it is damaged", async () => {
    vi.stubEnv("VENTRIS_CACHE", join(folder, "own"));
    let made = 0;
    const write = (path: string) => writeFileAtomically(path, `sound ${++made}`);
    expect(await Promise.all([1, 2, 3].map(() => openCached("a/b", write, read)))).toEqual([
      "sound 1",
      "sound 1",
      "sound 1",
    ]);
    await writeFile(join(folder, "own", "a", "b"), "rubbish");
    expect(await openCached("a/b", write, read)).toBe("sound 2");
    const nothing = openCached("nothing", async () => {}, read);
    await expect(nothing).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(/gave no file/) });
    const broken = (path: string) => writeFileAtomically(path, "rubbish");
    expect(await codeOf(openCached("c", broken, read))).toBe("bad_file");
  });

  test("two processes that race make it once", async () => {
    const log = join(folder, "makers");
    const body = `process.env.VENTRIS_CACHE = ${JSON.stringify(join(folder, "raced"))};
      await cache.openCached("x", async (path) => {
        fs.appendFileSync(${JSON.stringify(log)}, "made\\n");
        await new Promise((resolve) => setTimeout(resolve, 100));
        await cache.writeFileAtomically(path, "x".repeat(100_000));
      }, async (path) => { if (fs.statSync(path).size !== 100_000) process.exit(3); });`;
    expect(await Promise.all([child(body).exited, child(body).exited])).toEqual([0, 0]);
    expect(await readFile(log, "utf8")).toBe("made\n");
    expect(await readdir(join(folder, "raced"))).toEqual(["x"]);
  }, 30_000);
});
