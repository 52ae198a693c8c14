/** What the studio's page computes without a browser: constraints as they are typed, and where tokens came from. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createConstraint } from "../src/constraints/index.ts";
import { papers } from "../src/papers/index.ts";
import { constraintKinds, readConstraint, writtenConstraint } from "../studio/src/lib/constraint.ts";
import { createReader, parseTrace, pictureOf, wordsOf } from "../studio/src/lib/trace.ts";

describe("constraints as they are typed", () => {
  it.each(constraintKinds.map(({ name, example = "" }) => [name, example]))(
    "%s: its example is one",
    (kind, example) => {
      const { value, problem } = readConstraint(kind, example);
      expect(problem).toBeUndefined();
      expect(() => createConstraint(value as never)).not.toThrow();
      const written = writtenConstraint(value);
      expect(written.kind).toBe(kind);
      expect(readConstraint(kind, written.text).value).toEqual(value);
    },
  );

  it("nothing typed is nothing, or is said", () => {
    expect(readConstraint("", "left over")).toEqual({});
    expect(readConstraint("regex", " ")).toEqual({ problem: "needed" });
    expect(readConstraint("jsonSchema", "{").problem).toMatch(/^not JSON/);
    expect(writtenConstraint(undefined)).toEqual({ kind: "", text: "" });
  });
});

it("a forced token is one, whatever drafted it", () => {
  const { reading, add } = createReader();
  add([
    { type: "start", method: "dyspec", model: "m", prompt: [1], seed: 0, options: {}, at: 0 },
    { type: "draft", tokens: [5, 6], parents: [0, 1], passes: 1, seconds: 0, at: 0 },
    { type: "verify", path: [1, 2], token: 7, reasons: ["a", "b", "c"], seconds: 0, at: 0 },
    { type: "tokens", tokens: [5, 6, 7], text: "abc", forced: [1], at: 0 },
  ]);
  expect(reading.tokens.map(({ origin }) => origin)).toEqual(["accepted", "forced", "own"]);
});

const records = new URL("../reproductions/", import.meta.url);
const traces = readdirSync(records).filter((name) => name.endsWith(".trace.jsonl"));

it.each(traces)("%s is read whole, and all of its steps have a picture or words", (file) => {
  expect(papers.map(({ name }) => `${name}.trace.jsonl`)).toContain(file);
  const { events, warnings } = parseTrace(readFileSync(new URL(file, records), "utf8"));
  expect(warnings).toEqual([]);
  const { reading, add } = createReader();
  add(events);
  expect(reading.steps.length).toBeGreaterThan(0);
  for (const step of reading.steps) if (step.kind === "other") expect(wordsOf(step.event)).toMatch(/^[A-Z].*\.$/);
  expect(pictureOf(reading.steps)).toBeDefined();
  for (let i = 1; i < events.length; i++) expect(events[i].at ?? 0).toBeGreaterThanOrEqual(events[i - 1].at ?? 0);
});

it("every system that can show a run has a trace that is kept", { timeout: 120_000 }, async () => {
  const showing: string[] = [];
  for (const { name, reproduction, showcase, lives } of papers) {
    const shown = (showcase && lives.method) || (await reproduction?.())?.trace;
    if (reproduction && shown) showing.push(`${name}.trace.jsonl`);
  }
  expect(showing.filter((file) => !traces.includes(file))).toEqual([]);
});
