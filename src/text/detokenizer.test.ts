import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { createDetokenizer } from "./detokenizer.ts";
import { openTok512 } from "./llama2c.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

const tok512 = dataPath("stories260k", "tok512.bin");
const tokenizers: [name: string, open: (() => Promise<Tokenizer>) | undefined][] = [
  ["knossos (byte-level)", () => openTokenizer(fileURLToPath(new URL("../../models/knossos", import.meta.url)))],
  [
    `tok512 (byte fallback, leading space)${tok512 ? "" : `: ${noData}`}`,
    tok512 ? () => openTok512(tok512) : undefined,
  ],
];

describe.each(tokenizers)("streaming text of %s", (_, open) => {
  it.skipIf(!open)("adds up to decode, for any ids", async () => {
    const tokenizer = await open!();
    fc.assert(
      fc.property(fc.array(fc.nat(tokenizer.vocabularySize - 1), { maxLength: 60 }), fc.boolean(), (ids, continued) => {
        const detokenizer = createDetokenizer(tokenizer, { continued });
        const streamed = ids.map(detokenizer.push).join("") + detokenizer.flush();
        expect(streamed).toBe(tokenizer.decode(ids, { continued }));
      }),
      { numRuns: 500 },
    );
  });

  it.skipIf(!open)("never splits a character nor marks an unfinished one", async () => {
    const tokenizer = await open!();
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (raw) => {
        const text = raw.replaceAll("\u{fffd}", "");
        const detokenizer = createDetokenizer(tokenizer);
        const pushed = tokenizer.encode(text).map(detokenizer.push);
        for (const piece of pushed) expect(piece).not.toMatch(/\p{Surrogate}|\u{fffd}/u);
        expect(pushed.join("")).toBe(text);
        expect(detokenizer.flush()).toBe("");
      }),
    );
  });

  it.skipIf(!open)("holds a character back until its last byte", async () => {
    const tokenizer = await open!();
    const ids = tokenizer.encode("😀", { special: false });
    const detokenizer = createDetokenizer(tokenizer);
    const pushed = ids.map(detokenizer.push);
    expect(ids.length).toBeGreaterThan(1);
    expect(pushed.filter((piece) => piece !== "")).toEqual(["😀"]);
    for (const id of ids.slice(0, -1)) detokenizer.push(id);
    expect(detokenizer.flush()).toBe("\u{fffd}");
    expect(ids.map(detokenizer.push).join("")).toBe("😀");
  });
});

describe.skipIf(!tok512)("leading space", () => {
  it("is dropped at the start of a text and kept where a text goes on", async () => {
    const tokenizer = await openTok512(tok512!);
    const ids = tokenizer.encode("Once upon", { special: false });
    expect(tokenizer.decode(ids)).toBe("Once upon");
    expect(tokenizer.decode(ids, { continued: true })).toBe(" Once upon");
  });
});
