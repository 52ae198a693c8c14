/** What the studio's page computes without a browser: constraints as they are typed, and where tokens came from. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createConstraint } from "../src/constraints/index.ts";
import type { TraceEvent } from "../src/engine/trace.ts";
import { papers } from "../src/papers/index.ts";
import { constraintKinds, readConstraint, writtenConstraint } from "../studio/src/lib/constraint.ts";
import { strange } from "../studio/src/lib/errors.ts";
import { grid, kinds, measuredKinds, parseReports } from "../studio/src/lib/layers.ts";
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

it("a name in the address that is not here is said, once it is known what is here", () => {
  expect(strange("model", "nope", ["knossos"])).toBe("The address names the model “nope”, which is not here.");
  for (const [name, known] of [
    ["knossos", ["knossos"]],
    ["nope", []],
    [null, ["a"]],
    [undefined, ["a"]],
  ] as const)
    expect(strange("model", name, known)).toBe("");
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

it("a canvas has its width and what is given before the first pass, and each pass is a step", () => {
  const { reading, add } = createReader();
  add([
    { type: "start", method: "random", model: "m", prompt: [1], seed: 0, options: {}, at: 0 },
    { type: "lengths", blank: 0, tried: [1, 2], scores: [-2, -1], chosen: 2, passes: 3, at: 0 },
    { type: "canvas", length: 4, positions: [0, 3], tokens: [7, 8], at: 0 },
    { type: "tokens", tokens: [7], text: "a", at: 0 },
    { type: "unmask", pass: 1, positions: [], tokens: [], at: 0 },
    { type: "unmask", pass: 2, positions: [1, 2], tokens: [5, 6], at: 0 },
    { type: "tokens", tokens: [5, 6, 8], text: "bcd", at: 0 },
  ]);
  expect([reading.canvas, reading.text]).toEqual([4, "abcd"]);
  expect(reading.tokens.map(({ token, origin }) => [token, origin])).toEqual([
    [7, "given"],
    [5, "unmasked"],
    [6, "unmasked"],
    [8, "given"],
  ]);
  expect(reading.steps.map((step) => (step.kind === "unmask" ? step.unmask.pass : step.kind))).toEqual([
    "other",
    0,
    1,
    2,
  ]);
  const [first] = reading.steps;
  expect(first.kind === "other" && wordsOf(first.event)).toMatch(
    /^Blank 1 is 2 tokens long: of 2 lengths, tried in 3 passes/,
  );
});

describe("a trace of a stranger", () => {
  const begin = { type: "start", method: "m", model: "m", prompt: [], seed: 0, options: {} };
  const parse =
    (...events: object[]) =>
    () =>
      parseTrace(events.map((event) => JSON.stringify(event)).join("\n"));
  const numbers = (length: number) => Array.from({ length }, () => 0);
  const counted = {
    ...{ passes: 1, rows: 1, prefillTokens: 1, cachedTokens: 0, generated: 1, tokensPerPass: 1 },
    ...{ drafted: 0, accepted: 0, draftPasses: 0, constraintChecks: 0 },
  };
  const lists = { tokens: [1], before: [1], memory: [1], after: [1] };

  it.each([
    [
      "a canvas of a thousand million",
      { type: "unmask", pass: 0, positions: [1], tokens: [1], length: 1e9 },
      '"length"',
    ],
    ["a position far away", { type: "unmask", pass: 0, positions: [5e8], tokens: [1] }, '"positions"'],
    ["a cut before the beginning", { type: "truncate", pass: 0, length: -1 }, '"length"'],
    [
      "a tree of 100,000 nodes",
      { type: "draft", tokens: numbers(1e5), parents: numbers(1e5), passes: 1, seconds: 0 },
      "65,536",
    ],
    [
      "lists of different lengths",
      { type: "contrast", position: 0, token: 1, tokens: [1, 2], before: [0.5], after: [1, 0] },
      "differ in length",
    ],
    ["readings that are none", { type: "taps", position: 0, rows: 1, values: { final: "much" } }, '"values"'],
    ["readings by the million", { type: "taps", position: 0, rows: 1, values: { final: numbers(1e5) } }, '"values"'],
    ["an acceptance that is none", { type: "learn", updates: 1, acceptance: 5 }, '"acceptance"'],
    [
      "counters that are none",
      { type: "finish", reason: "length", counters: {}, seconds: { prefill: 0, decode: 1 } },
      '"counters"',
    ],
    ["a time of no length", { type: "finish", reason: "end", counters: counted, seconds: {} }, '"seconds"'],
    ["log-probabilities that are none", { type: "tokens", tokens: [1], text: "a", logprobs: [{}] }, '"logprobs"'],
    [
      "alternatives that are none",
      { type: "tokens", tokens: [1], text: "a", logprobs: [{ raw: -1, shaped: -1, top: [{}] }] },
      '"logprobs"',
    ],
    ["a moment that is none", { type: "refresh", pass: 1, positions: 1, at: "soon" }, '"at"'],
    [
      "passages that are none",
      { type: "memory", ...{ name: "a", position: 0, token: 1, lambda: 0.5, passages: [{}] }, ...lists },
      '"passages"',
    ],
    ["a version", { type: "refresh", pass: 1, positions: 1, version: 99 }, "version 99"],
    ["points that are none", { type: "point", chosen: 0, inputs: [1, 2] }, '"inputs"'],
    [
      "samples that are none",
      { type: "regions", task: 0, side: 2, classes: [0, 0, 0, 0], samples: [null] },
      '"samples"',
    ],
  ])("with %s is refused by line and reason", (_, event, says) => {
    expect(parse(begin, event)).toThrow(new RegExp(`^line 2: .*${says}`));
  });

  it("of more events or bytes than a page can hold is refused", () => {
    expect(() => parseTrace(`${JSON.stringify(begin)}\n${"{}\n".repeat(200_001)}`)).toThrow(/200,000 events/);
    expect(() => parseTrace(" ".repeat(2 ** 26 + 1))).toThrow(/64 MiB/);
  });

  it("that was cut is read up to there", () => {
    const { events, warnings } = parseTrace(`${JSON.stringify(begin)}\n{"type":"tokens","tokens":[1],"te`);
    expect(events).toHaveLength(1);
    expect(warnings).toContainEqual(expect.stringContaining("cut off"));
  });
});

it("marks the output of particles: what was refused before a token, what was copied, and what others took", () => {
  const { reading, add } = createReader();
  const particles = (tokens: number[], weights: number[], parents?: number[]) =>
    ({ type: "particles", tokens, weights, ...(parents && { parents }), logEvidence: -1 }) as const;
  const said = (token: number, rejected: number[]): TraceEvent[] => [
    { type: "constraint", rejected, token, checks: 1 },
    { type: "tokens", tokens: [token], text: "x" },
  ];
  add([
    particles([5, 6, 5], [0.1, 0.8, 0.1], [1, 1, 0]),
    particles([7, 8, 9], [0.2, 0.6, 0.2]),
    particles([0, 3, 0], [0.2, 0.6, 0.2]),
    particles([-1, 0, -1], [0.2, 0.6, 0.2]),
    ...said(6, []),
    ...said(8, [7, 2]),
    ...said(3, []),
  ]);
  expect(reading.tokens.map(({ origin }) => origin)).toEqual(["copied", "turned", "plain"]);
  expect(reading.tokens.map(({ rejected }) => rejected.map(({ token, reason }) => `${token} ${reason}`))).toEqual([
    ["5 taken by another particle"],
    ["7 refused by the constraint", "2 refused by the constraint", "9 taken by another particle"],
    ["0 taken by another particle"],
  ]);
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

it("every system that was measured has a picture: a trace, or a curve of its record", () => {
  const measured = papers.filter(({ name }) => existsSync(new URL(`${name}.json`, records)));
  expect(measured.length).toBeGreaterThan(20);
  const curve = (name: string): boolean =>
    JSON.parse(readFileSync(new URL(`${name}.json`, records), "utf8")).measurements.some(
      ({ plot }: { plot?: object }) => plot,
    );
  const blank = measured.filter(({ name }) => !traces.includes(`${name}.trace.jsonl`) && !curve(name));
  expect(blank.map(({ name }) => name)).toEqual([]);
});

it("every system that was measured and can show a run has a trace that is kept", () => {
  const showing = papers.filter(({ name, reproduction, showcase, lives }) => {
    if (!existsSync(new URL(`../reproductions/${name}.json`, import.meta.url))) return false;
    const source = new URL(`../src/${lives.folder}/reproduce.ts`, import.meta.url);
    return (
      reproduction &&
      ((showcase && "prompt" in showcase) || /^ {2}(async )?trace\b/m.test(readFileSync(source, "utf8")))
    );
  });
  expect(showing.length).toBeGreaterThan(12);
  expect(showing.map(({ name }) => `${name}.trace.jsonl`).filter((file) => !traces.includes(file))).toEqual([]);
});

describe("reports of layers", () => {
  const layer = (at: number, loss: number) => ({
    layer: at,
    loss,
    alignment: { captured: 0.5, overlap: { 8: 0.2 }, similarity: 0.1 },
  });
  const report = { contexts: 10, documents: 2, vocabulary: 4, layers: [layer(0, 3), layer(1, 2)] };
  const written = (models: unknown) => JSON.stringify({ models });

  it("are read as the command writes them, and say what was measured", () => {
    const reports = parseReports(
      written([
        { model: "a/step-1", report },
        { model: "a/step-2", report },
      ]),
    );
    expect(measuredKinds(reports).map(({ name }) => name)).toEqual(["captured", "overlap", "similarity", "loss"]);
    expect(grid(reports, kinds.find(({ name }) => name === "loss")!)).toEqual([
      [3, 2],
      [3, 2],
    ]);
  });

  it.each([
    ["no JSON", "{", /not JSON/],
    ["another file", "[1]", /no report/],
    ["nothing", written([]), /no report/],
    ["no layers", written([{ model: "a", report: { layers: [] } }]), /no report/],
    ["a layer that is none", written([{ model: "a", report: { layers: [null] } }]), /no report/],
    [
      "a loss that is no number",
      written([{ model: "a", report: { layers: [{ layer: 0, loss: "low" }] } }]),
      /loss is no number/,
    ],
    [
      "an alignment that is none",
      written([{ model: "a", report: { layers: [{ layer: 0, alignment: {} }] } }]),
      /no number/,
    ],
    ["too many checkpoints", written(Array.from({ length: 257 }, () => ({ model: "a", report }))), /too large/],
  ])("%s is refused", (_, text, message) => {
    expect(() => parseReports(text)).toThrow(message);
  });
});
