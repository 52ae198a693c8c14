import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type CorpusOptions, drawBatch, evaluationBatches, loadCorpus } from "./data.ts";

const base = await mkdtemp(join(tmpdir(), "ventris-data-"));
afterAll(() => rm(base, { recursive: true, force: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(base, name);
  await writeFile(path, name.endsWith(".gz") && typeof content === "string" ? gzipSync(content) : content);
  return path;
}

const failure = (code: string, message = /./) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

/** One id a byte, then begin and end; `calls` counts encodings. */
function byteTokenizer(vocabularySize = 258) {
  const tokenizer = {
    vocabularySize,
    beginToken: 256 as number | undefined,
    endTokens: [257],
    fingerprint: `bytes ${vocabularySize}`,
    calls: 0,
    encode: (text: string) => {
      tokenizer.calls++;
      return [...new TextEncoder().encode(text)];
    },
    decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids.filter((id) => id < 256))),
    tokenBytes: (id: number) => Uint8Array.of(id),
  };
  return tokenizer satisfies Tokenizer;
}

describe("corpus", () => {
  let cache: string;
  beforeEach(async () => {
    cache = await mkdtemp(join(base, "cache-"));
    vi.stubEnv("VENTRIS_CACHE", cache);
  });
  afterEach(() => vi.unstubAllEnvs());
  const cached = async () => (await readdir(join(cache, "corpora"))).map((name) => join(cache, "corpora", name));

  it("puts documents between begin and end tokens, in order", async () => {
    const files = [
      { path: await file("one.jsonl", '{"text":"ab"}\n{"text":"c"}') },
      { path: await file("two.txt", "d") },
    ];
    const { train, heldOut } = await loadCorpus({ files, tokenizer: byteTokenizer(), heldOut: 0 });
    expect([...train.tokens]).toEqual([256, 97, 98, 257, 256, 99, 257, 256, 100, 257]);
    expect([train.documents, heldOut.documents, heldOut.tokens.length]).toEqual([3, 0, 0]);
    expect(train.tokens).toBeInstanceOf(Uint16Array);
    const wide = await loadCorpus({ files, tokenizer: byteTokenizer(70_000), heldOut: 0 });
    expect(wide.train.tokens).toBeInstanceOf(Uint32Array);
    expect([...wide.train.tokens]).toEqual([...train.tokens]);
  });

  it("is encoded once, and anew when file, tokenizer, split or the cached copy change", async () => {
    const path = await file("changing.txt", "some text\nmore text");
    const tokenizer = byteTokenizer();
    const load = async (change: Partial<CorpusOptions> = {}) => {
      const before = tokenizer.calls;
      const corpus = await loadCorpus({ files: [{ path }], tokenizer, heldOut: 0, ...change });
      return { encoded: tokenizer.calls - before, tokens: [...corpus.train.tokens] };
    };
    const first = await load();
    expect(first.encoded).toBe(1);
    expect(await load()).toEqual({ encoded: 0, tokens: first.tokens });

    const [copy] = await cached();
    const bytes = await readFile(copy);
    bytes[bytes.length - 3] ^= 1;
    await writeFile(copy, bytes);
    expect(await load()).toEqual(first);

    expect((await load({ heldOut: 0.5 })).encoded).toBe(1);
    expect((await load({ files: [{ path, separator: /\n/ }] })).encoded).toBe(2);
    expect((await load({ tokenizer: { ...tokenizer, fingerprint: "other" } })).encoded).toBe(1);
    await writeFile(path, "another text");
    expect((await load()).tokens).not.toEqual(first.tokens);
  });

  it("holds out a share of documents by their words, wherever and however often they stand", async () => {
    const texts = Array.from({ length: 600 }, (_, i) => `Story ${i}: the ${i * i}th King went out.`);
    const forwards = await file("forwards.txt", texts.join("\n"));
    const backwards = await file(
      "backwards.txt",
      texts
        .map((text) => text.toLowerCase().replace(":", " -"))
        .reverse()
        .join("\n"),
    );
    const tokenizer = byteTokenizer();
    const split = async (path: string) => {
      const { train, heldOut } = await loadCorpus({ files: [{ path, separator: /\n/ }], tokenizer, heldOut: 0.1 });
      const numbers = ({ tokens }: typeof train) =>
        tokenizer
          .decode([...tokens])
          .match(/story \d+/gi)!
          .map((match) => Number(match.slice(6)))
          .sort((a, b) => a - b);
      return { train: numbers(train), heldOut: numbers(heldOut) };
    };
    const once = await split(forwards);
    expect(once.train.length + once.heldOut.length).toBe(600);
    expect(once.heldOut.length).toBeGreaterThan(35);
    expect(once.heldOut.length).toBeLessThan(90);
    expect(await split(backwards)).toEqual(once);
  });

  it("leaves nothing behind when aborted or refused", async () => {
    const files = [{ path: await file("plain.txt", "text") }];
    const tokenizer = byteTokenizer();
    const load = (options: Partial<CorpusOptions>) => loadCorpus({ files, tokenizer, ...options });
    await expect(load({ signal: AbortSignal.abort() })).rejects.toEqual(failure("aborted"));
    const bare = { ...tokenizer, beginToken: undefined, endTokens: [] };
    await expect(load({ tokenizer: bare })).rejects.toEqual(failure("bad_option"));
    await expect(load({ heldOut: 1 })).rejects.toEqual(failure("bad_option"));
    await expect(load({ files: [] })).rejects.toEqual(failure("bad_option"));
    await expect(load({ files: [{ path: join(base, "absent.txt") }] })).rejects.toEqual(failure("unavailable"));
    expect(await cached()).toEqual([]);
  });

  const fables = dataPath("childrens-books", "aesop-fables.jsonl.gz");
  it.skipIf(!fables)(`reads real texts (${fables ? "Aesop" : noData})`, async () => {
    const tokenizer = byteTokenizer();
    const { train, heldOut } = await loadCorpus({ files: [{ path: fables! }], tokenizer, heldOut: 0.1 });
    expect(train.documents + heldOut.documents).toBe(146);
    expect(heldOut.documents).toBeGreaterThan(4);
    expect(tokenizer.decode([...train.tokens])).toContain("Fox");
  });
});

describe("batches", () => {
  const tokens = Uint16Array.from({ length: 1000 }, (_, i) => i);
  const shape = { rows: 4, length: 16 };

  it("are windows of the text, a pure function of seed and number", () => {
    const later = drawBatch(tokens, shape, 7, 12);
    for (let index = 0; index < 12; index++) drawBatch(tokens, shape, 7, index);
    expect(drawBatch(tokens, shape, 7, 12)).toEqual(later);
    expect(drawBatch(tokens, shape, 7, 13)).not.toEqual(later);
    expect(drawBatch(tokens, shape, 8, 12)).not.toEqual(later);
    expect([later.rows, later.length, later.tokens.length]).toEqual([4, 16, 68]);
    for (let row = 0; row < 4; row++) {
      const ids = later.tokens.subarray(row * 17, (row + 1) * 17);
      expect([...ids]).toEqual(Array.from({ length: 17 }, (_, i) => ids[0] + i));
    }
  });

  it("reach every part of the text, first and last window included", () => {
    const few = tokens.subarray(0, 20);
    const starts = Array.from(
      { length: 100 },
      (_, index) => drawBatch(few, { rows: 1, length: 16 }, 1, index).tokens[0],
    );
    expect([...new Set(starts)].sort()).toEqual([0, 1, 2, 3]);
  });

  it("for evaluation spread over the text without overlap", () => {
    const batches = evaluationBatches(tokens, shape, 3);
    const starts = batches.flatMap((batch) => [0, 1, 2, 3].map((row) => batch.tokens[row * 17]));
    expect(starts).toEqual(Array.from({ length: 12 }, (_, i) => Math.floor((i * 999) / 12)));
    expect(evaluationBatches(tokens.subarray(0, 193), shape, 3)[2].tokens.at(-1)).toBe(192);
    expect(() => evaluationBatches(tokens.subarray(0, 192), shape, 3)).toThrow(failure("bad_option"));
    for (const wrong of [Number.NaN, 1.5, -1, Number.POSITIVE_INFINITY]) {
      expect(() => evaluationBatches(tokens, shape, wrong)).toThrow(/batches: count must be a whole number/);
      expect(() => drawBatch(tokens, { ...shape, rows: wrong }, 7, 0)).toThrow(/batches: shape.rows must be/);
      expect(() => drawBatch(tokens, { ...shape, length: wrong }, 7, 0)).toThrow(/batches: shape.length must be/);
      expect(() => drawBatch(tokens, shape, wrong, 0)).toThrow(/batches: seed must be/);
      expect(() => drawBatch(tokens, shape, 7, wrong)).toThrow(/batches: index must be/);
    }
    expect(() => drawBatch(tokens.subarray(0, 16), shape, 1, 0)).toThrow(failure("bad_option"));
  });
});
