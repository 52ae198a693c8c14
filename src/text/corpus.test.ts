import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { encodeCorpus } from "./corpus.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import { readTexts } from "./text-files.ts";

const knossos = () => openTokenizer(fileURLToPath(new URL("../../models/knossos", import.meta.url)));

async function collect(paths: string[]): Promise<string[]> {
  const texts: string[] = [];
  for await (const text of readTexts(paths)) texts.push(text);
  return texts;
}

describe("encoding a corpus", () => {
  it("puts each text between begin and end, in 16 bits", async () => {
    const tokenizer = await knossos();
    const texts = ["Once upon a time", "", "there was “a king”. ".repeat(10_000)];
    const seen: number[] = [];
    const { ids, ...counts } = await encodeCorpus(tokenizer, texts, {
      onProgress: (progress) => seen.push(progress.texts),
    });
    expect(ids).toBeInstanceOf(Uint16Array);
    expect(counts).toEqual({ texts: 3, characters: texts.join("").length });
    expect([...ids]).toEqual(texts.flatMap((text) => [...tokenizer.encode(text), 1]));
    expect(seen).toEqual([1, 2, 3]);
    const bare = await encodeCorpus(tokenizer, texts, { begin: false, end: false });
    expect(tokenizer.decode([...bare.ids])).toBe(texts.join(""));
  });

  it("widens for large vocabularies, and refuses tokens that do not exist", async () => {
    const large = { ...(await knossos()), vocabularySize: 70_000, endTokens: [] };
    expect((await encodeCorpus(large, ["a"], { end: false })).ids).toBeInstanceOf(Uint32Array);
    await expect(encodeCorpus(large, ["a"])).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringContaining("end"),
    });
    await expect(encodeCorpus(large, ["a"], { end: false, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "aborted",
    });
  });
});

describe("text files", () => {
  async function file(name: string, content: string | Uint8Array): Promise<string> {
    const path = join(await mkdtemp(join(tmpdir(), "ventris-texts-")), name);
    await writeFile(path, content);
    return path;
  }
  const long = "é".repeat(200_000);
  const lines = [{ text: "one" }, { text: long, title: "x" }, { text: "" }]
    .map((line) => JSON.stringify(line))
    .join("\n");

  it("reads lines of JSON and plain files, compressed or not, in order", async () => {
    const paths = await Promise.all([
      file("a.jsonl", `${lines}\n`),
      file("b.jsonl.gz", gzipSync(lines)),
      file("c.txt", "two\n"),
      file("d.txt.gz", gzipSync(long)),
    ]);
    expect(await collect(paths)).toEqual(["one", long, "", "one", long, "", "two\n", long]);
    expect(await collect([await file("empty.jsonl", "")])).toEqual([]);
  });

  it("names file and line of what it cannot read", async () => {
    const bad = [
      ["a.jsonl", '{"text":"x"}\n{"text"', /line 2/],
      ["a.jsonl", '{"title":"x"}', /line 1: no field "text"/],
      ["a.txt", Uint8Array.of(0x61, 0xc3), /a\.txt: .*encod/],
      ["a.jsonl.gz", gzipSync(lines).subarray(0, -20), /a\.jsonl\.gz: .*end of file/],
      ["a.txt.gz", "not gzip", /a\.txt\.gz: .*header/],
    ] as const;
    for (const [name, content, message] of bad) {
      await expect(collect([await file(name, content)])).rejects.toMatchObject({
        code: "bad_file",
        message: expect.stringMatching(message),
      });
    }
    await expect(collect(["/nowhere/a.jsonl.gz"])).rejects.toMatchObject({ code: "unavailable" });
    await expect(collect([await file("a.pdf", "x")])).rejects.toMatchObject({ code: "bad_option" });
  });
});
