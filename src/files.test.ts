/** Models from a storage that is no disk, as a page has it. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { serveModel } from "../test/fixtures/hub.ts";
import { loadForest } from "../test/fixtures/load-forest.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../test/fixtures/tiny-model.ts";
import { type Files, folderOf, type Keeping, readWhole, useFiles, within } from "./files.ts";
import { nodeFiles } from "./node-files.ts";
import { makeFolder } from "./node-folders.ts";
import { openTokenizer } from "./text/index.ts";
import { downloadModel, openCached, openWeights, writeFileAtomically } from "./weights/index.ts";

/** Files by path. A read gives a few bytes at a time, as storages may. It keeps files only where it may. */
function inMemory(contents: Map<string, Uint8Array>, keeps = false): Files & { opened: number } {
  const locked = new Map<string, Promise<unknown>>();
  const keeping: Keeping = {
    onDisk: false,
    cacheFolder: () => "cache",
    free: async () => undefined,
    makeFolder: async () => {},
    async replace(path, content) {
      const parts: Uint8Array[] = [];
      await content(async (bytes) => void parts.push(bytes.slice()));
      contents.set(path, Buffer.concat(parts));
    },
    async write(path, { keep }) {
      if (!keep) contents.set(path, new Uint8Array());
      return {
        async write(bytes, position) {
          const before = contents.get(path)!;
          const after = new Uint8Array(Math.max(before.length, position + bytes.length));
          after.set(before);
          after.set(bytes, position);
          contents.set(path, after);
        },
        sync: async () => {},
        close: async () => {},
      };
    },
    async rename(from, to) {
      contents.set(to, contents.get(from)!);
      contents.delete(from);
    },
    async remove(path) {
      for (const name of [...contents.keys()]) if (name === path || name.startsWith(`${path}/`)) contents.delete(name);
    },
    lock(path, action) {
      const result = (locked.get(path) ?? Promise.resolve()).then(action);
      locked.set(
        path,
        result.catch(() => {}),
      );
      return result;
    },
  };
  const storage = {
    opened: 0,
    hash: nodeFiles.hash,
    absolute: (path: string) => path,
    ...(keeps && { keeping }),
    async find(path: string) {
      const bytes = contents.get(path);
      if (bytes) return { kind: "file" as const, size: bytes.length };
      const holds = [...contents.keys()].some((name) => name.startsWith(`${path}/`));
      return holds ? { kind: "folder" as const, size: 0 } : undefined;
    },
    list: async (folder: string) =>
      [...contents.keys()].filter((name) => folderOf(name) === folder).map((name) => name.slice(folder.length + 1)),
    async open(path: string) {
      const bytes = contents.get(path);
      if (!bytes) throw new Error("nothing of that name");
      storage.opened += 1;
      return {
        size: bytes.length,
        identity: `memory ${path} ${bytes.length}`,
        async read(into: Uint8Array, offset: number) {
          const part = bytes.subarray(offset, offset + Math.min(into.length, 1000));
          into.set(part);
          return part.length;
        },
        async close() {
          storage.opened -= 1;
        },
      };
    },
  };
  return storage;
}

let tiny: TinyModel;
beforeAll(async () => {
  tiny = await writeTinyModel({ tokenizer: true });
});
afterEach(() => useFiles(nodeFiles));
afterAll(() => removeModel(tiny));

const contentsOf = async (folder: string): Promise<Map<string, Uint8Array>> =>
  new Map(
    await Promise.all(
      (await readdir(folder)).map(async (name) => [`models/tiny/${name}`, await readFile(join(folder, name))] as const),
    ),
  );

test("a model, its weights, config and tokenizer come from whatever storage was given", async () => {
  const memory = inMemory(await contentsOf(tiny.folder));
  useFiles(memory);
  const { forest, tokenizer, folder } = await loadForest("models/tiny", "tiny", { threads: 1 });
  expect(folder).toBe("models/tiny");
  const ids = tokenizer!.encode("the cat");
  const { node } = await forest.lease().prefill(ids);
  const wanted = tiny.logits(ids).at(-1)!;
  for (const [i, x] of wanted.entries()) expect(Math.abs(node.logits![i] - x)).toBeLessThan(1e-4);
  await forest.close();
  expect(memory.opened).toBe(0);
  await expect(openWeights(tiny.folder)).rejects.toThrow(/no weights at .*there is no such file or folder/);
});

test("what the storage says goes with our errors, and nothing stays open", async () => {
  const contents = await contentsOf(tiny.folder);
  contents.set("models/tiny/model.safetensors", contents.get("models/tiny/model.safetensors")!.subarray(0, 5000));
  const memory = inMemory(contents);
  useFiles(memory);
  await expect(openWeights("models/tiny")).rejects.toMatchObject({ code: "bad_file" });
  contents.delete("models/tiny/tokenizer.json");
  await expect(openTokenizer("models/tiny")).rejects.toMatchObject({ code: "unavailable" });
  useFiles({
    ...memory,
    find: async () => {
      throw new Error("the storage is locked");
    },
  });
  await expect(openWeights("models/tiny")).rejects.toThrow(/no weights at models.tiny: the storage is locked/);
  expect(memory.opened).toBe(0);
});

test("downloads, caches and locks are kept there, too, and a storage that keeps nothing does without or says so", async () => {
  const hub = createServer(serveModel(tiny.folder)).listen(0, "127.0.0.1");
  await once(hub, "listening");
  const endpoint = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
  try {
    const contents = new Map<string, Uint8Array>();
    const memory = inMemory(contents, true);
    useFiles(memory);
    const folder = await downloadModel("somebody/tiny", { endpoint });
    expect(folder).toMatch(/^cache\/hub\/somebody\/tiny\/[0-9a-f]{40}$/);
    expect([...contents.keys()].filter((name) => !name.startsWith("cache/hub/"))).toEqual([]);
    const { forest, tokenizer } = await loadForest(folder, "tiny", { threads: 1, weights: "int8" });
    expect((await forest.lease().prefill(tokenizer!.encode("the cat"))).node.logits).toHaveLength(
      Number(tiny.config.vocab_size),
    );
    await forest.close();
    let made = 0;
    const write = (path: string) => writeFileAtomically(path, String(++made));
    const read = async (path: string) => new TextDecoder().decode(await readWhole(path, 10));
    expect(await Promise.all([1, 2].map(() => openCached("a/b", write, read)))).toEqual(["1", "1"]);
    expect(contents.has("cache/a/b")).toBe(true);
    expect(memory.opened).toBe(0);

    useFiles(inMemory(contents));
    const again = await loadForest(folder, "tiny", { threads: 1, weights: "int8" });
    await again.forest.close();
    await expect(downloadModel("somebody/tiny", { endpoint })).rejects.toMatchObject({
      code: "unavailable",
      message: "the storage in use keeps no files",
    });
  } finally {
    hub.close();
  }
});

describe("paths", () => {
  test("have folders and names", () => {
    expect(["a/b/c", "a", "/a", "a/"].map(folderOf)).toEqual(["a/b", ".", "/", "a"]);
    expect([within("a", "b"), within("a/", "b"), within("", "b"), within("/", "b")]).toEqual(["a/b", "a/b", "b", "/b"]);
  });

  test("of a disk are read whole, up to a length", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-files-"));
    const path = join(folder, "x");
    await writeFile(path, "hello");
    expect(await readWhole(path, 5)).toEqual(new TextEncoder().encode("hello"));
    expect(await readWhole(path, 4)).toBeUndefined();
    await expect(readWhole(folder, 4)).rejects.toThrow(/not a file|EISDIR/);
    expect(await nodeFiles.find(join(path, "y"))).toBeUndefined();
    await rm(folder, { recursive: true });
  });

  test("of a disk are written where a file can be, and nowhere else; nothing is waited for", {
    timeout: 5000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-files-"));
    const write = (...names: string[]) => writeFileAtomically(join(folder, ...names), "x");
    await Promise.all([write("a", "b", "c"), write("a", "b", "d")]);
    expect(await readdir(join(folder, "a", "b"))).toEqual(["c", "d"]);
    expect(await makeFolder(join(folder, "e", "f"))).toBe(join(folder, "e"));
    expect(await makeFolder(join(folder, "e", "f"))).toBeUndefined();
    await expect(write("a", "b", "c", "d", "e")).rejects.toMatchObject({ code: "unavailable" });
    await expect(write("a", "b")).rejects.toThrow(/it is a folder, not a file/);
    expect(await readdir(join(folder, "a"))).toEqual(["b"]);
    if (process.platform === "linux") {
      await expect(writeFileAtomically("/proc/nowhere/x/y", "x")).rejects.toThrow(/cannot write .*ENOENT/);
      execFileSync("mkfifo", [join(folder, "pipe")]);
      await expect(write("pipe")).rejects.toThrow(/it is a device or pipe, not a file/);
      await expect(readWhole(join(folder, "pipe"), 4)).rejects.toThrow(/not a file/);
    }
    await rm(folder, { recursive: true });
  });
});
