import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createShaperChain } from "./shapers/chain.ts";
import { createStopper, minTokensStage } from "./stopping.ts";

/** What a person would do with the whole text: the match that ends first, and of those the longest. */
function reference(text: string, stops: readonly string[]): { text: string; stopped?: string } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found) return { text: text.slice(0, end - found.length), stopped: found };
  }
  return { text };
}

/** Streams the pieces and checks after each that nothing was shown that belongs to a later match. */
function stream(pieces: readonly string[], stops: readonly string[]): { text: string; stopped?: string } {
  const expected = reference(pieces.join(""), stops);
  const stopper = createStopper({ stop: [...stops] });
  let shown = "";
  let stopped: string | undefined;
  let taken = "";
  for (const piece of pieces) {
    const result = stopper.push(piece);
    shown += result.text;
    taken += piece;
    expect(expected.text.startsWith(shown)).toBe(true);
    stopped = result.stopped;
    if (stopped !== undefined) break;
    // No more is held back than could still become a stop.
    const held = taken.slice(shown.length);
    expect(held === "" || stops.some((stop) => stop.startsWith(held))).toBe(true);
  }
  shown += stopper.flush();
  return stopped === undefined ? { text: shown } : { text: shown, stopped };
}

function* splits(text: string): Generator<string[]> {
  for (let cuts = 0; cuts < 2 ** (text.length - 1); cuts++) {
    const pieces: string[] = [];
    let start = 0;
    for (let i = 1; i < text.length; i++) {
      if (!((cuts >> (i - 1)) & 1)) continue;
      pieces.push(text.slice(start, i));
      start = i;
    }
    yield [...pieces, text.slice(start)];
  }
}

describe("stop strings", () => {
  test.each([
    ["two\n\nthree", ["\n\n"]],
    ["aabaabaac!", ["aabaac"]],
    ["xabcdy", ["abcd", "bc"]],
    ["xabcdy", ["cd", "abcd", "d"]],
    ["ababac", ["abac", "abab!"]],
    ["no end ne", ["new"]],
    ["stop", ["stop", "stop"]],
    ["aaaa", ["aaaaa"]],
  ])("in %j at %j: the same in all splits", (text, stops) => {
    const expected = reference(text, stops);
    for (const pieces of splits(text)) expect(stream(pieces, stops)).toEqual(expected);
  });

  test("random texts in random pieces over a small alphabet", () => {
    const piece = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });
    const stop = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.array(stop, { maxLength: 5 }), (pieces, stops) => {
        expect(stream(pieces, stops)).toEqual(reference(pieces.join(""), stops));
      }),
      { numRuns: 500 },
    );
  });

  test("characters outside the basic plane stay whole", () => {
    const stopper = createStopper({ stop: ["😀!"] });
    expect(stopper.push("a😀")).toEqual({ text: "a" });
    expect(stopper.push("😁")).toEqual({ text: "😀😁" });
    expect(stopper.push("😀!")).toEqual({ text: "", stopped: "😀!" });
  });

  test("after a stop nothing follows", () => {
    const stopper = createStopper({ stop: ["."] });
    expect(stopper.push("a.b")).toEqual({ text: "a", stopped: "." });
    expect(stopper.push("c")).toEqual({ text: "", stopped: "." });
    expect(stopper.flush()).toBe("");
  });

  test("without stop strings everything passes", () => {
    const stopper = createStopper({});
    expect(stopper.push("abc")).toEqual({ text: "abc" });
    expect(stopper.flush()).toBe("");
  });
});

describe("tokens and limits", () => {
  test("stop tokens, end tokens and the longest output", () => {
    const stopper = createStopper({ stopTokens: [7], maxTokens: 3 }, [2]);
    expect(stopper.accept(5)).toBeUndefined();
    expect(stopper.accept(7)).toBe("stop");
    expect(createStopper({ stopTokens: [7] }, [2]).accept(2)).toBe("end");
    const limited = createStopper({ maxTokens: 2 }, [2]);
    expect([limited.accept(5), limited.accept(5)]).toEqual([undefined, "length"]);
    const both = createStopper({ maxTokens: 1 }, [2]);
    expect(both.accept(2)).toBe("end");
  });

  test("before the least number of tokens neither tokens nor strings stop", () => {
    const stopper = createStopper({ stop: ["ab"], stopTokens: [7], minTokens: 2 }, [2]);
    expect(stopper.accept(7)).toBeUndefined();
    expect(stopper.push("xaba")).toEqual({ text: "xaba" });
    expect(stopper.accept(2)).toBeUndefined();
    expect(stopper.push("b")).toEqual({ text: "b" });
    expect(stopper.push("ab")).toEqual({ text: "", stopped: "ab" });
    expect(stopper.accept(7)).toBe("stop");
  });

  test("the stage bans ending tokens until then", () => {
    const stage = minTokensStage(2, new Set([0]));
    const logits = Float32Array.of(9, 1, 2);
    const chain = createShaperChain({ temperature: 0 }, 3, undefined, { minTokens: stage });
    const context = { promptLength: 3, history: [], stream: { seed: 1, request: 1 } };
    expect(chain.stages).toEqual(["minTokens"]);
    expect(chain.needsHistory).toBe(false);
    expect(chain.choose(logits, { ...context, position: 4 })).toBe(2);
    expect(chain.choose(logits, { ...context, position: 5 })).toBe(0);
    expect(chain.choose(Float32Array.of(1, 9, 2), { ...context, position: 3 })).toBe(1);
  });
});

test.each([
  [{ stop: [""] }, /stop\[0\]/],
  [{ stop: ["a".repeat(1001)] }, /1000/],
  [{ stop: Array.from({ length: 65 }, (_, i) => `${i}`) }, /64/],
  [{ stop: ["\ud800"] }, /surrogate/],
  [{ maxTokens: 0 }, /maxTokens/],
  [{ minTokens: -1 }, /minTokens/],
  [{ stopTokens: [-1] }, /stopTokens\[0\]/],
  [{ stops: ["x"] } as object, /stops/],
])("refuses %j", (options, message) => {
  expect(() => createStopper(options)).toThrow(
    expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }),
  );
});
