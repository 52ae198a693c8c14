/** Datastores: entries by definition, interrupted builds, and every way in which a file or a caller can be wrong. */
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSafetensors, writeSafetensors } from "../../weights/safetensors.ts";
import { baseOf, buildDatastore } from "./building.ts";
import { bytesInMemory, chunkFile, openDatastore } from "./datastore.ts";
import { type MemoryFixture, memoryFixture, tinyTexts } from "./memory.fixture.ts";

let fixture: MemoryFixture;
let whole: string;
beforeAll(async () => {
  fixture = await memoryFixture();
  whole = join(fixture.folder, "whole");
  await build(whole);
});
afterAll(() => fixture.remove());

const build = (folder: string, options: object = {}, texts: readonly string[] = tinyTexts) =>
  buildDatastore(fixture.model, texts, { folder, window: 16, overlap: 8, chunkEntries: 20, rows: 32, ...options });
const read = async (folder: string, options = {}) => openDatastore(folder, await baseOf(fixture.model), options);
const copy = async (name: string): Promise<string> => {
  const folder = join(fixture.folder, name);
  await cp(whole, folder, { recursive: true });
  return folder;
};

test("an entry is the input of the last feed-forward block after its norm, and the token that follows", async () => {
  const { keys, values, places, width, entries, norms, card } = await read(whole);
  const { tiny, model } = fixture;
  expect([card.keySite, card.inputSite, width]).toEqual(["layers.1.mlp.norm", "layers.1.mlp.norm", 32]);
  const documents = tinyTexts.map((text) => [
    ...(model.tokenizer!.beginToken === undefined ? [] : [model.tokenizer!.beginToken]),
    ...model.tokenizer!.encode(text, { special: false }),
    ...model.tokenizer!.endTokens.slice(0, 1),
  ]);
  expect([...values]).toEqual(documents.flatMap((tokens) => tokens.slice(1)));
  expect(Array.from({ length: entries }, (_, i) => documents[places[2 * i]][places[2 * i + 1]])).toEqual([...values]);
  // The first window of the first document, by plain loops in float64.
  const states: Float64Array[] = [];
  tiny.logits(documents[0].slice(0, 16), (site, position, value) => {
    if (site === "layers.1.mlp.norm") states[position] = Float64Array.from(value);
  });
  expect(states.length).toBe(16);
  states.forEach((state, i) => {
    for (const [j, x] of state.entries()) expect(Math.abs(keys[i * width + j] - x)).toBeLessThan(2e-3);
    expect(norms[i]).toBeCloseTo(
      state.reduce((sum, x) => sum + x * x, 0),
      1,
    );
  });
});

test("a build that died before its card was written begins anew, with the same files in the end", async () => {
  const folder = await copy("killed");
  const finished = await readFile(join(whole, "datastore.json"), "utf8");
  await rm(join(folder, "datastore.json"));
  await build(folder);
  expect(await readFile(join(folder, "datastore.json"), "utf8")).toBe(finished);
  expect(JSON.parse(finished).chunks.length).toBeGreaterThan(2);
});

test("a stop in the middle keeps what is done, and nothing is computed twice", async () => {
  const folder = join(fixture.folder, "stopped");
  const controller = new AbortController();
  async function* texts(): AsyncGenerator<string> {
    yield tinyTexts[0].repeat(40); // several passes
    controller.abort();
    yield* tinyTexts;
  }
  await expect(build(folder, { signal: controller.signal }, texts() as never)).rejects.toMatchObject({
    code: "aborted",
  });
  const card = JSON.parse(await readFile(join(folder, "datastore.json"), "utf8"));
  expect(card.entries).toBeGreaterThan(400);
  expect(card.complete).toBe(false);
  await expect(read(folder)).rejects.toThrow(/not finished/);
  const all = [tinyTexts[0].repeat(40), ...tinyTexts];
  const first: { entries: number; skipped: boolean }[] = [];
  await build(folder, { onProgress: (progress: { entries: number; skipped: boolean }) => first.push(progress) }, all);
  expect(first[0]).toMatchObject({ entries: card.entries, skipped: true });
  const once = join(fixture.folder, "once");
  await build(once, {}, all);
  const [a, b] = [await read(once), await read(folder)];
  expect(b.values).toEqual(a.values);
  expect(Math.max(...b.keys.map((x, i) => Math.abs(x - a.keys[i])))).toBeLessThan(2e-3); // other windows share a pass
});

describe("refused by name", () => {
  test("other texts, other settings, nothing to read", async () => {
    const folder = await copy("other");
    await expect(build(folder, {}, [...tinyTexts, "more"])).rejects.toThrow(/finished with fewer texts/);
    await expect(build(folder, {}, tinyTexts.slice(0, 2))).rejects.toThrow(/begun with more texts/);
    await expect(build(folder, {}, ["ten", ...tinyTexts.slice(1), tinyTexts[0]])).rejects.toThrow(
      /begun with other texts/,
    );
    await expect(build(folder, { window: 12 })).rejects.toThrow(/begun with window 16, not 12/);
    await expect(build(join(fixture.folder, "none"), {}, [])).rejects.toThrow(/hold nothing/);
    for (const empty of [[""], ["", " \n "]])
      await expect(build(join(fixture.folder, "none"), {}, empty)).rejects.toThrow(/hold nothing/);
    await expect(build(join(fixture.folder, "none"), {}, ["ten", 5] as never)).rejects.toThrow(
      /buildDatastore: texts\[1\] must be a text, not 5/,
    );
    await expect(build(join(fixture.folder, "none"), { window: 16.5 })).rejects.toThrow(
      /window must be a whole number/,
    );
    await expect(build(join(fixture.folder, "none"), { window: 97 })).rejects.toThrow(/window must be .*, not 97/);
    await expect(build(join(fixture.folder, "none"), { chunkEntries: 0 })).rejects.toThrow(/chunkEntries must be/);
    await expect(build(join(fixture.folder, "none"), { rows: 0.5 })).rejects.toThrow(/rows must be/);
    await expect(build(join(fixture.folder, "none"), { keySite: "layers.1.mlp.nrom" })).rejects.toThrow(/mlp.norm/);
    await expect(build(join(fixture.folder, "none"), { keySite: "final" })).rejects.toThrow(/no row for every token/);
    // Folders made for nothing are gone again, and those of others are there.
    await expect(build(join(fixture.folder, "fresh", "datastore"), {}, [])).rejects.toThrow(/hold nothing/);
    const left = await readdir(fixture.folder);
    expect(left).not.toContain("none");
    expect(left).not.toContain("fresh");
    expect(await read(folder)).toMatchObject({ entries: (await read(whole)).entries });
  });

  test("too little room on disk or in memory, with what is done kept", async () => {
    const folder = join(fixture.folder, "full");
    await expect(
      build(
        folder,
        { maxBytes: 2000 },
        tinyTexts.map((text) => text.repeat(30)),
      ),
    ).rejects.toMatchObject({
      code: "disk_full",
      message: expect.stringMatching(/more than the 2000 given/),
    });
    const { card } = await read(whole);
    const limit = bytesInMemory(card);
    // Without a limit of one's own, the machine's: a card may count what no memory holds.
    const vast = await copy("vast");
    const entries = 2 ** 24;
    const chunks = Array.from({ length: 1000 }, (_, i) => ({ ...card.chunks[0], file: chunkFile(i), entries }));
    await writeFile(join(vast, "datastore.json"), JSON.stringify({ ...card, chunks, entries: 1000 * entries }));
    await expect(read(vast)).rejects.toMatchObject({ code: "out_of_memory" });
    await expect(read(whole, { memoryLimit: limit - 1 })).rejects.toMatchObject({ code: "out_of_memory" });
    expect(await read(whole, { memoryLimit: limit })).toBeDefined();
  });

  test("another model, another tokenizer, a folder that is none", async () => {
    const base = await baseOf(fixture.model);
    await expect(openDatastore(whole, { ...base, fingerprint: "0".repeat(64), name: "b" })).rejects.toThrow(
      /built with another model .* b/,
    );
    await expect(openDatastore(whole, { ...base, tokenizer: "other" })).rejects.toThrow(/another tokenizer/);
    await expect(read(fixture.folder)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/is no datastore: .*give the one in it, .+\/\w+\)/),
    });
    await expect(
      buildDatastore({ ...fixture.model, fingerprint: async () => "1".repeat(64) } as never, tinyTexts, {
        folder: whole,
        window: 16,
      }),
    ).rejects.toThrow(/another model/);
  });

  test("a truncated chunk, values that are not finite or no tokens, and cards that lie", async () => {
    const chunk = "chunk-00001.safetensors";
    const short = await copy("short");
    await truncate(join(short, chunk), 500);
    await expect(read(short)).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining(chunk) });

    const missing = await copy("missing");
    await rm(join(missing, chunk));
    await expect(read(missing)).rejects.toThrow(chunk);

    const rewritten = async (
      name: string,
      change: (data: { keys: Float32Array; values: Int32Array; places: Int32Array }) => void,
    ) => {
      const folder = await copy(name);
      const source = await openSafetensors(join(whole, chunk));
      const ints = async (tensor: string) => new Int32Array((await source.readBytes(tensor)).slice().buffer);
      const data = {
        keys: await source.readFloat32("keys"),
        values: await ints("values"),
        places: await ints("places"),
      };
      await source.close();
      change(data);
      const entries = data.values.length;
      await writeSafetensors(join(folder, chunk), [
        { name: "keys", type: "F16", shape: [entries, 32], data: data.keys },
        { name: "values", type: "I32", shape: [entries], data: data.values },
        { name: "places", type: "I32", shape: [entries, 2], data: data.places },
      ]);
      return folder;
    };
    await expect(read(await rewritten("nan", ({ keys }) => (keys[5] = Number.NaN)))).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(/keys/),
    });
    await expect(read(await rewritten("swapped", ({ values }) => (values[3] = 60)))).rejects.toThrow(
      /not those that the card/,
    );

    await expect(read(await rewritten("placeless", ({ places }) => (places[2] = -7)))).rejects.toThrow(
      /chunk-00001\.safetensors: entry 1 has no place/,
    );

    const card = JSON.parse(await readFile(join(whole, "datastore.json"), "utf8"));
    const carded = async (name: string, change: object | string) => {
      const folder = await copy(name);
      await writeFile(
        join(folder, "datastore.json"),
        typeof change === "string" ? change : JSON.stringify({ ...card, ...change }),
      );
      return read(folder);
    };
    await expect(carded("json", "{")).rejects.toMatchObject({ code: "bad_file" });
    await expect(carded("count", { entries: 3 })).rejects.toThrow(/chunks have/);
    await expect(carded("path", { chunks: [{ ...card.chunks[0], file: "../x.safetensors" }] })).rejects.toThrow(
      /chunks\[0\]\.file must be a text like \/\^chunk.*, not "\.\.\/x/,
    );
    const twice = { chunks: [card.chunks[0], card.chunks[0]], entries: 2 * card.chunks[0].entries };
    await expect(carded("twice", twice)).rejects.toThrow(/chunk 1 is chunk-00000\.safetensors, not chunk-00001/);
    const folder = join(fixture.folder, "card-a-folder");
    await mkdir(join(folder, "datastore.json"), { recursive: true });
    await expect(openDatastore(folder, await baseOf(fixture.model))).rejects.toThrow(
      /datastore\.json: it is not a file|cannot read .*datastore\.json/,
    );
    await expect(carded("vocabulary", { vocabularySize: 3 })).rejects.toThrow(/which the model has not/);
    await expect(carded("width", { keyWidth: 8 })).rejects.toThrow(/8 wide/);
    await expect(carded("empty", { entries: 0, chunks: [] })).rejects.toThrow(/is empty/);
  });
});
