import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { documents, readTexts, type TextFile } from "./text-files.ts";

const base = await mkdtemp(join(tmpdir(), "ventris-texts-"));
afterAll(() => rm(base, { recursive: true, force: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(base, name);
  await writeFile(path, name.endsWith(".gz") && typeof content === "string" ? gzipSync(content) : content);
  return path;
}

async function all(text: TextFile): Promise<string[]> {
  const result: string[] = [];
  for await (const document of documents(text)) result.push(document);
  return result;
}

const failure = (code: string, message = /./) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

describe("documents", () => {
  it("come from plain and zipped text, split where asked", async () => {
    const text = "one\n\nstill one\ntwo — ü\n \nthree";
    for (const name of ["a.txt", "a.txt.gz"]) {
      const path = await file(name, text);
      expect(await all({ path })).toEqual([text]);
      expect(await all({ path, separator: /(?<!\n)\n(?!\n)/ })).toEqual(["one\n\nstill one", "two — ü", "three"]);
    }
  });

  it("come apart at blank lines, however many there are and however lines end", async () => {
    const path = await file("blank.txt", "one\nstill one\n\ntwo\r\n\r\n  three\n \t\n\n\nfour\n");
    expect(await all({ path, separator: "\n\n" })).toEqual(["one\nstill one", "two", "  three", "four\n"]);
    expect(await all({ path, separator: "\n\n\n" })).toEqual(["one\nstill one\n\ntwo\r\n\r\n  three", "four\n"]);
    expect(await all({ path, separator: "\n" })).toEqual(["one", "still one", "two", "  three", "four"]);
  });

  it("come from JSON lines, also when characters and lines straddle the chunks that are read", async () => {
    const long = "é€😀".repeat(60_000);
    const lines = ["first", long, "  ", "last"].map((text, i) => JSON.stringify({ text, other: `o${i}` }));
    for (const name of ["b.jsonl", "b.jsonl.gz"]) {
      const path = await file(name, `${lines.join("\n")}\n\n`);
      expect(await all({ path })).toEqual(["first", long, "last"]);
      expect(await all({ path, field: "other" })).toEqual(["o0", "o1", "o2", "o3"]);
    }
  });

  it("are refused with file and line when the file is broken", async () => {
    const zipped = gzipSync("text ".repeat(1000));
    const cases: [TextFile, string, RegExp][] = [
      [{ path: join(base, "absent.txt") }, "unavailable", /absent\.txt: there is no such file$/],
      [{ path: join(base, "absent.txt.gz") }, "unavailable", /absent\.txt\.gz/],
      [{ path: await file("c.csv", "a") }, "bad_option", /c\.csv/],
      [{ path: await file("c.txt", "a"), field: "text" }, "bad_option", /field/],
      [{ path: await file("c.jsonl", '{"text":"a"}\n{"text":') }, "bad_file", /c\.jsonl, line 2/],
      [
        { path: await file("d.jsonl", '{"text":"a"}\n\n{"txt":"a"}') },
        "bad_file",
        /line 3: no text in the field "text" \(the line has txt\): call "txt" "text", or give field: "txt" in a recipe, or for documents$/,
      ],
      [{ path: await file("e.jsonl", "null") }, "bad_file", /line 1/],
      [{ path: await file("f.txt", Uint8Array.of(97, 0xff)) }, "bad_file", /f\.txt: it is no text in UTF-8$/],
      [{ path: await file("g.txt", Uint8Array.of(97, 0xe2, 0x82)) }, "bad_file", /g\.txt: it is no text in UTF-8$/],
      [{ path: await file("h.txt.gz", zipped.subarray(0, zipped.length - 9)) }, "bad_file", /h\.txt\.gz/],
      [{ path: await file("i.txt.gz", Buffer.from("not gzip")) }, "bad_file", /i\.txt\.gz: it cannot be unzipped: /],
    ];
    for (const [text, code, message] of cases) await expect(all(text)).rejects.toEqual(failure(code, message));
  });
});

describe("texts", () => {
  it("come from several files in order, blank lines and blank texts left out everywhere", async () => {
    const paths = await Promise.all([
      file("e.jsonl", '{"text":"call me"}\n{"text":"please"}\n\n'),
      file("f.jsonl.gz", '\r\n{"text":"now"}\r\n{"text":""}\n  \n'),
      file("g.txt", "two\n"),
      file("h.txt.gz", ""),
      file("i.jsonl", ""),
    ]);
    const texts: string[] = [];
    for await (const text of readTexts(paths)) texts.push(text);
    expect(texts).toEqual(["call me", "please", "now", "two\n"]);
  });
});

describe("bytes of any kind", () => {
  it("are documents, or our error", async () => {
    const line = fc.oneof(fc.json(), fc.string(), fc.constant('{"text":"a"}'), fc.constant(""));
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(line, { maxLength: 6 }).map((lines) => new TextEncoder().encode(lines.join("\n"))),
    );
    await fc.assert(
      fc.asyncProperty(
        bytes,
        fc.constantFrom("j.txt", "j.jsonl", "j.txt.gz", "j.jsonl.gz"),
        fc.boolean(),
        async (content, name, zip) => {
          const path = join(base, name);
          await writeFile(path, zip && name.endsWith(".gz") ? gzipSync(content) : content);
          try {
            for (const text of await all({ path })) expect(text).toMatch(/\S/);
          } catch (error) {
            expect(error).toEqual(failure("bad_file"));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
