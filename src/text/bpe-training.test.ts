import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tokenizerJson, trainBpe, trainTokenizer } from "./bpe-training.ts";
import { byteLevelWriting, forEachPreToken } from "./byte-level.ts";
import { openTokenizer } from "./open-tokenizer.ts";

const specialTokens = ["<|begin|>", "<|end|>"];
const letters = fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "é", "\n", "'"), maxLength: 200 });

describe("byte-level BPE training", () => {
  it("learns the merges of the plain algorithm that counts everything anew", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(letters, { minLength: 1, maxLength: 5 }), async (texts) => {
        const expected = plainMerges(texts, 20);
        if (expected.length === 0) return;
        const trained = await trainBpe({ texts, size: 258 + expected.length, specialTokens });
        expect(trained.merges).toEqual(expected);
      }),
    );
  });

  it("numbers special tokens first, then bytes, then merges, each the concatenation of its parts", async () => {
    const trained = await trainBpe({ texts: ["low lower lowest low low newest newer"], size: 264, specialTokens });
    expect(trained.tokens.slice(0, 4)).toEqual(["<|begin|>", "<|end|>", "!", '"']);
    expect(new Set(trained.tokens).size).toBe(264);
    expect(trained.tokens.slice(258)).toEqual(trained.merges.map(([left, right]) => left + right));
  });

  it("writes a folder that we and the library read alike", async () => {
    const out = await mkdtemp(join(tmpdir(), "ventris-bpe-"));
    const texts = [
      "Once upon a time there was a king. ".repeat(20),
      "The king's daughter wasn't there, naïve as “ever”. ".repeat(9),
    ];
    await trainTokenizer({ texts, size: 300, specialTokens, out });
    expect((await readdir(out)).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
    const json = JSON.parse(await readFile(join(out, "tokenizer.json"), "utf8"));
    const library = new LibraryTokenizer(json, JSON.parse(await readFile(join(out, "tokenizer_config.json"), "utf8")));
    const ours = await openTokenizer(out);
    expect(ours.beginToken).toBe(0);
    expect(ours.endTokens).toEqual([1]);
    const words = fc.array(fc.constantFrom(..."Once upon king's daughter the wasn't  naïve “ \n 42 😀 é".split(" ")), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "grapheme" }),
          words.map((list) => list.join(" ")),
        ),
        (text) => {
          expect(ours.encode(text)).toEqual(text === "" ? [0] : library.encode(text).ids);
        },
      ),
    );
  });

  it("refuses sizes without room or that the texts cannot fill, and says how far they reach", async () => {
    const train = (size: number, names = specialTokens) => trainBpe({ texts: ["abab"], size, specialTokens: names });
    await expect(train(100)).rejects.toMatchObject({ code: "bad_option", message: expect.stringContaining("258") });
    await expect(train(1000)).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/only give \d+ tokens/),
    });
    await expect(train(300.5)).rejects.toMatchObject({ code: "bad_option" });
    await expect(train(300, ["<s>"])).rejects.toMatchObject({ code: "bad_option" });
    await expect(train(300, ["<s>", "<s>"])).rejects.toMatchObject({ code: "bad_option" });
  });

  it("refuses what are no texts, naming the first", async () => {
    for (const [texts, message] of [
      [["ab", 5], /texts\[1\] must be a text, not 5/],
      [[null], /texts\[0\] must be a text, not null/],
      [{ [Symbol.iterator]: () => null }, /texts: its iterator gave null/],
    ] as const)
      await expect(trainBpe({ texts: texts as never, size: 300 })).rejects.toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(message),
      });
  });

  it("leaves nothing behind when aborted or when the folder is missing", async () => {
    const out = await mkdtemp(join(tmpdir(), "ventris-bpe-"));
    const controller = new AbortController();
    const texts = ["the cat and the hat and the bat ".repeat(5)];
    const aborted = trainTokenizer({
      texts,
      size: 260,
      specialTokens,
      out,
      signal: controller.signal,
      onProgress: ({ stage }) => stage === "merging" && controller.abort(),
    });
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    expect(await readdir(out)).toEqual([]);
    const missing = trainTokenizer({ texts, size: 260, specialTokens, out: join(out, "missing") });
    await expect(missing).rejects.toMatchObject({ code: "unavailable", message: expect.stringContaining("missing") });
  });

  it("is as large as the texts make it where that is asked", async () => {
    const texts = ["low lower lowest low low newest newer"];
    await expect(trainBpe({ texts, size: 400, specialTokens })).rejects.toThrow("the texts only give");
    const all = await trainBpe({ texts, size: 400, specialTokens, atMost: true });
    const exact = await trainBpe({ texts, size: all.tokens.length, specialTokens });
    expect(all).toEqual(exact);
    expect(all.merges.length).toBeGreaterThan(4);
  });

  it("takes a text that is a single endless word", async () => {
    const trained = await trainBpe({ texts: ["ab".repeat(50_000)], size: 262, specialTokens });
    expect(trained.merges[0]).toEqual(["a", "b"]);
    expect(JSON.stringify(tokenizerJson(trained))).toContain('"abab"');
  });
});

/** The textbook loop: count all pairs, take the most frequent (then the smallest ids), replace, repeat. */
function plainMerges(texts: readonly string[], most: number): [string, string][] {
  const words: string[][] = [];
  for (const text of texts) forEachPreToken(text, (word) => words.push([...byteLevelWriting(word)]));
  const order = [...Array(0x180).keys()].map((code) => String.fromCharCode(code));
  const merges: [string, string][] = [];
  while (merges.length < most) {
    const counts = new Map<string, { pair: [string, string]; count: number }>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const key = `${word[i - 1]} ${word[i]}`;
        const entry = counts.get(key) ?? { pair: [word[i - 1], word[i]], count: 0 };
        entry.count++;
        counts.set(key, entry);
      }
    }
    const rank = (token: string) => order.indexOf(token);
    const [best] = [...counts.values()].sort(
      (a, b) => b.count - a.count || rank(a.pair[0]) - rank(b.pair[0]) || rank(a.pair[1]) - rank(b.pair[1]),
    );
    if (!best || best.count < 2) break;
    merges.push(best.pair);
    order.push(best.pair.join(""));
    for (const [index, word] of words.entries()) {
      const merged: string[] = [];
      for (let i = 0; i < word.length; i++) {
        if (word[i] === best.pair[0] && word[i + 1] === best.pair[1]) merged.push(word[i] + word[++i]);
        else merged.push(word[i]);
      }
      words[index] = merged;
    }
  }
  return merges;
}
