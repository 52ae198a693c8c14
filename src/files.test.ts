/** Models from a storage that is no disk, as a page has it. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { loadForest } from "../test/fixtures/load-forest.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../test/fixtures/tiny-model.ts";
import { type Files, folderOf, readWhole, useFiles, within } from "./files.ts";
import { nodeFiles } from "./node-files.ts";
import { openTokenizer } from "./text/index.ts";
import { openWeights } from "./weights/index.ts";

/** Files by path. A read gives a few bytes at a time, as storages may. */
function inMemory(contents: ReadonlyMap<string, Uint8Array>): Files & { opened: number } {
  const storage = {
    opened: 0,
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
});
