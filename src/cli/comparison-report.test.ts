import { expect, test } from "vitest";
import { findMethod } from "../methods/index.ts";
import type { Comparison, Entry } from "./comparison.ts";
import { notesOf, rowsOf } from "./comparison-report.ts";

const entry = (name: string, secondsPerToken: number, more: Partial<Entry> = {}): Entry => ({
  label: name,
  chosen: { method: findMethod(name), options: {} },
  lossless: true,
  repeats: true,
  results: [],
  events: [],
  secondsPerToken: [secondsPerToken, secondsPerToken, secondsPerToken],
  ...more,
});

test("that a method cannot gain here is said where it has not gained, and never beside a gain that was measured", () => {
  const outlook = { most: 0.9, because: "the draft is slow", advice: "a faster one would help" };
  const noted = (seconds: number) => {
    const entries = [entry("greedy", 0.01), entry("chain", seconds, { outlook })];
    const comparison: Comparison = { prompts: ["a"], entries, skipped: [], differences: [], repetitions: 3 };
    return notesOf(comparison);
  };
  expect(noted(0.012)).toEqual(["chain cannot gain here: the draft is slow; a faster one would help"]);
  expect(noted(0.006)).toEqual([]);
});

test("the same text is said of what was compared, and not of a method alone", () => {
  const of = (...entries: Entry[]) =>
    rowsOf({ prompts: ["a"], entries, skipped: [], differences: [], repetitions: 3 }).rows.map(([, same]) => same);
  expect(of(entry("aded", 0.01))).toEqual(["-"]);
  expect(of(entry("aded", 0.01), entry("beam", 0.01, { lossless: false }))).toEqual(["-", "not promised"]);
  expect(of(entry("sample", 0.01), entry("aded", 0.01))).toEqual(["✓", "✓"]);
});
