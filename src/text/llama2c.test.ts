import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { VentrisError } from "../errors.ts";
import { openTok512, readLlama2cTokenizer } from "./llama2c.ts";

const path = dataPath("stories260k", "tok512.bin");

describe.skipIf(!path)(`llama2.c tokenizer${path ? "" : `: ${noData}`}`, () => {
  it("encodes and decodes what llama2.c did", async () => {
    const tokenizer = await openTok512(path!);
    const expected = JSON.parse(await readFile(dataPath("stories260k", "expected.json")!, "utf8"));
    expect(tokenizer.vocabularySize).toBe(512);
    expect(tokenizer.encode(expected.greedy_200.text)).toEqual(expected.greedy_200.ids);
    expect(tokenizer.decode(expected.greedy_200.ids)).toBe(expected.greedy_200.text);
    for (const { prompt, prompt_ids, greedy_ids, greedy_text } of expected.cases) {
      expect(tokenizer.encode(prompt)).toEqual(prompt_ids);
      expect(tokenizer.decode(greedy_ids)).toBe(greedy_text);
    }
  });

  it("gives back any well-formed text, falling back to bytes", async () => {
    const tokenizer = await openTok512(path!);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
    );
    const spoken = tokenizer.encode("<s> <unk> <0x41> \n</s>\n", { special: false });
    expect(spoken.filter((id) => id < 3 || tokenizer.tokenBytes(id).length === 0)).toEqual([]);
    expect(tokenizer.encode("a<s>b", { allowSpecial: true, special: false })).toContain(1);
  });

  it("refuses every truncation and says where it stopped", async () => {
    const bytes = await readFile(path!);
    for (let length = 0; length < bytes.length; length += 7) {
      const cut = bytes.subarray(0, length);
      const error = caught(() => readLlama2cTokenizer(cut, "tok512.bin"));
      // The file states no number of tokens: a cut at a token border is a smaller vocabulary, valid if it holds all bytes.
      if (error === undefined) expect(readLlama2cTokenizer(cut, "").vocabularySize).toBeGreaterThanOrEqual(259);
      else
        expect(error).toMatchObject({
          code: "bad_file",
          message: expect.stringMatching(/tok512\.bin: .*(token|room|short)/),
        });
    }
    expect(caught(() => readLlama2cTokenizer(bytes.subarray(0, -1), "tok512.bin"))).toMatchObject({
      message: "tok512.bin: truncated in token 511",
    });
  });

  it("answers random bytes with bad_file or a tokenizer, in bounded time", async () => {
    const good = await readFile(path!);
    const damaged = fc
      .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 })
      .map((edits) => {
        const bytes = Uint8Array.from(good);
        for (const [at, value] of edits) bytes[at] = value;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 500 }), damaged), (bytes) => {
        const error = caught(() => readLlama2cTokenizer(bytes, "random.bin").encode("Once upon a time"));
        expect(error === undefined || (error instanceof VentrisError && error.code === "bad_file")).toBe(true);
      }),
    );
  });

  it("says when there is no file", async () => {
    await expect(openTok512("/nowhere/tok512.bin")).rejects.toMatchObject({ code: "unavailable" });
  });
});

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
}
