import { expect, test } from "vitest";
import type { RunResult } from "../engine/run.ts";
import { findMethod } from "../methods/index.ts";
import { type Again, suggestions, wordsFor } from "./start.ts";

const result = (decode: number, passes: number): RunResult =>
  ({ text: "a story", seconds: { decode }, counters: { generated: 200, passes } }) as RunResult;

const again = (decode: number): Again => ({
  method: findMethod("dyspec"),
  candidates: 14,
  plain: result(1, 200),
  fast: result(decode, 90),
});

test("a method that was faster is named as the fastest, and is the first to try", () => {
  expect(wordsFor(result(1, 200), again(0.5), "knossos")).toBe(
    "Decoded again by dyspec, the fastest here of 14 methods that change nothing but the speed: the same text, token for token, at 400 tokens/s beside 200 of plain decoding (2.00×), with 90 passes instead of 200.",
  );
  expect(suggestions(again(0.5), "knossos")).toMatch(/^.*run --method dyspec "The fox said"/);
});

test("one that was not is said to be none with its figure, and is not recommended", () => {
  for (const decode of [0.97, 1.3]) {
    const words = wordsFor(result(1, 200), again(decode), "knossos");
    expect(words).toMatch(/^None of 14 methods that change nothing but the speed was clearly faster here and now\. /);
    expect(words).toContain(`(${(1 / decode).toFixed(2)}×)`);
    expect(words).not.toContain("fastest");
    expect(suggestions(again(decode), "knossos")).not.toContain("--method");
    expect(suggestions(again(decode), "knossos")).toMatch(/ compare [\s\S]* doctor --model knossos\n/);
  }
  expect(suggestions(undefined, "knossos")).not.toContain("--method");
});
