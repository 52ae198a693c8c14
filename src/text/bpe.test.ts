import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createHeap } from "../heap.ts";
import { createWordEncoder, type MergeRule, mergeRules, mergeSymbols } from "./bpe.ts";
import { byteCharacters, byteLevelWriting, bytesOfToken, forEachPreToken } from "./byte-level.ts";

describe("heap", () => {
  it("gives values back in order, whether they came at once or one by one", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.array(fc.integer()), (initial, later) => {
        const heap = createHeap<number>((a, b) => a < b, initial);
        for (const value of later) heap.push(value);
        const popped = Array.from({ length: heap.size }, () => heap.pop());
        expect(popped).toEqual([...initial, ...later].sort((a, b) => a - b));
        expect(heap.pop()).toBeUndefined();
      }),
    );
  });
});

describe("byte-level writing", () => {
  it("has one character for every byte and reads back", () => {
    expect(new Set(byteCharacters).size).toBe(256);
    expect(byteLevelWriting(" é\n")).toBe("ĠÃ©Ċ");
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(bytesOfToken(Array.from(bytes, (byte) => byteCharacters[byte]).join(""))).toEqual(bytes);
      }),
    );
    expect(bytesOfToken("a b")).toBeUndefined();
  });

  it("cuts any text into pre-tokens without loss", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const words: string[] = [];
        forEachPreToken(text, (word) => words.push(word));
        expect(words.join("")).toBe(text);
        expect(words).not.toContain("");
      }),
    );
    const words: string[] = [];
    forEachPreToken("I'll  see 12 cats!\n\n", (word) => words.push(word));
    expect(words).toEqual(["I", "'ll", " ", " see", " 12", " cats", "!", "\n\n"]);
  });
});

describe("merging", () => {
  // Symbols 0..3, and a random table of which pairs merge into which new symbol.
  const table = fc.uniqueArray(fc.tuple(fc.nat(9), fc.nat(9)), { selector: String, maxLength: 12 });
  const ruleOf = (pairs: readonly (readonly [number, number])[]): MergeRule => {
    return (left, right) => {
      const rank = pairs.findIndex((pair) => pair[0] === left && pair[1] === right);
      return rank < 0 ? undefined : { rank, id: 4 + (rank % 6) };
    };
  };

  it("does what scanning for the lowest rank does", () => {
    fc.assert(
      fc.property(table, fc.array(fc.nat(3), { maxLength: 40 }), (pairs, symbols) => {
        const rule = ruleOf(pairs);
        const expected = [...symbols];
        for (;;) {
          const ranks = expected.slice(1).map((right, i) => rule(expected[i], right)?.rank ?? Number.POSITIVE_INFINITY);
          const best = Math.min(...ranks);
          if (best === Number.POSITIVE_INFINITY || ranks.length === 0) break;
          const at = ranks.indexOf(best);
          expected.splice(at, 2, rule(expected[at], expected[at + 1])!.id);
        }
        expect(mergeSymbols(symbols, rule)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it("takes a word of 131072 symbols", () => {
    const rule: MergeRule = (left, right) => (left === right && left < 20 ? { rank: left, id: left + 1 } : undefined);
    expect(mergeSymbols(new Array(2 ** 17).fill(0), rule)).toEqual([17]);
  });

  it("never merges into a reserved token, and names a merge outside the vocabulary", () => {
    const ids = new Map([
      ["a", 0],
      ["b", 1],
      ["ab", 2],
    ]);
    const vocabulary = { origin: "x.json", ids, reserved: new Set([2]), unknownToken: undefined };
    expect(mergeRules(vocabulary, [["a", "b"]])(0, 1)).toBeUndefined();
    expect(mergeRules({ ...vocabulary, reserved: new Set() }, [["a", "b"]])(0, 1)).toEqual({ rank: 0, id: 2 });
    expect(() => mergeRules(vocabulary, [["b", "a"]])).toThrow(/x\.json: merge 0 \("b" and "a"\)/);
  });

  it("gives up on an endless word before it takes it apart or merges it", () => {
    const never = (): never => expect.unreachable();
    const encoder = (fuses: boolean, symbolsOf: (word: string) => number[]) =>
      createWordEncoder({ symbolsOf, rule: never, longest: 4, fuses });
    const tooLong = { code: "context_full" };
    expect(() => encoder(false, never)("a".repeat(2000), [], 200)).toThrow(expect.objectContaining(tooLong));
    // Unknown neighbours may be one symbol: only the symbols tell.
    const ids: number[] = [];
    encoder(true, () => [0])("a".repeat(2000), ids, 200);
    expect(ids).toEqual([0]);
    const many = encoder(true, (word) => Array.from(word, () => 0));
    expect(() => many("a".repeat(2000), [], 200)).toThrow(expect.objectContaining(tooLong));
  });

  it("remembers words without mixing them up, also once the memory was full", () => {
    let calls = 0;
    const encode = createWordEncoder({
      symbolsOf: (word) => {
        calls++;
        return [Number(word)];
      },
      rule: () => undefined,
      longest: 1,
    });
    const ids: number[] = [];
    for (const word of [7, 8, 7]) encode(String(word), ids);
    expect([ids, calls]).toEqual([[7, 8, 7], 2]);
    for (let i = 0; i < 300_000; i++) encode(String(i), ids);
    expect(ids.slice(3)).toEqual([...Array(300_000).keys()]);
  });
});
