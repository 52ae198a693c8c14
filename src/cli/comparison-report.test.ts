import { expect, test } from "vitest";
import { findMethod } from "../methods/index.ts";
import type { Comparison, Entry } from "./comparison.ts";
import { comparisonPage } from "./comparison-page.ts";
import { columnsNote, hopeless, notesOf, rowsOf } from "./comparison-report.ts";

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

test("that runs are too few to judge by is said once, below the table, which has no column for it", () => {
  const of = (runs: number) => {
    const times = { secondsPerToken: Array(runs).fill(0.01) };
    const entries = ["greedy", "chain", "dyspec"].map((name) => entry(name, 0.01, times));
    return { prompts: ["a"], entries, skipped: [], differences: [], repetitions: runs };
  };
  const { header, rows } = rowsOf(of(1));
  expect(header.at(-1)).toBe("speed against plain");
  for (const row of rows) expect([row.length, row.at(-1)]).toEqual([header.length, "1.00×"]);
  expect(notesOf(of(1))).toEqual([expect.stringMatching(/^1 run of each method: too few to say/)]);
  expect(rowsOf(of(4)).header.slice(-2)).toEqual(["speed", "against plain"]);
  expect(notesOf(of(4))).toEqual([]);
});

test("what cannot gain, what is not expected to, and what pass times of a busy machine do not tell are told apart", () => {
  const said = (most: number, speedUp?: number, disturbed?: boolean) =>
    hopeless("chain", { most, speedUp, disturbed, because: "a pass takes 2 ms", advice: "a faster draft would help" });
  expect(said(0.9, 0.5)).toBe("chain cannot gain here: a pass takes 2 ms; a faster draft would help");
  expect(said(2.79, 0.56)).toBe(
    "chain is not expected to gain here (expected 0.56×, at best 2.79×): a pass takes 2 ms; a faster draft would help",
  );
  expect(said(1.02)).toMatch(/^chain is not expected to gain here \(at best 1\.02×\): /);
  expect(said(2.79, 0.56, true)).toMatch(
    /^chain may gain here or not, .* busy machine .*: a pass takes 2 ms; .*--measure/,
  );
  expect(said(0.9, 0.5, true)).toMatch(/^chain may gain here or not/);
  expect(said(0.4, 0.3, true)).toMatch(/^chain cannot gain here: /);
  expect(said(2.79, 1.3, true)).toBeUndefined();
});

test("the columns of speed are told in a line, and a page breaks no option at its hyphen", () => {
  const comparison: Comparison = {
    prompts: ["a"],
    entries: [entry("greedy", 0.01), entry("chain", 0.005)],
    skipped: [{ label: "eagle", flag: "--model MODEL", reason: "it needs more; --model knossos has it, or -n 32" }],
    differences: [],
    repetitions: 3,
  };
  expect(columnsNote(comparison)).toMatch(/^tokens\/s: .*; speed: how many times as fast as plain decoding it was/);
  expect(columnsNote({ entries: [entry("low-confidence", 0.01)] })).toContain("as fast as low-confidence it was");
  const page = comparisonPage({ title: "two", comparison, notes: [], request: {}, trees: [] });
  expect(page).toContain('<span class="option">--model</span> knossos has it, or <span class="option">-n</span> 32');
  expect(page).toMatch(/\.option \{ white-space: nowrap; \}/);
  expect(page).toContain(columnsNote(comparison));
});
