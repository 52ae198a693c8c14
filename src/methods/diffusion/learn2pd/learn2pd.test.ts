/** Learn2PD: the filter, its training, end-of-text prediction, and the identities. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maskToken, type TinyDiffusion, writeTinyDiffusion } from "../../../../test/fixtures/tiny-diffusion.ts";
import { methodChoice } from "../../../calls.ts";
import type { CanvasView } from "../../../engine/canvas/policy.ts";
import { uniform } from "../../../engine/random.ts";
import { type Model, open } from "../../../index.ts";
import { createFilter, type Depth, filterShapes } from "./filter.ts";
import { endOfText, learnedPolicy } from "./index.ts";
import { collectRecords, type FilterRecords, joinRecords, readRecords, recordsOf, writeRecords } from "./records.ts";
import { trainFilter } from "./train.ts";

const [length, blockLength] = [16, 8];
const prompt = [0, 5, 9, 22, 14, 31];

const filled = (depth: Depth, size: number, make: (name: string, i: number) => number) =>
  new Map(
    [...filterShapes(depth, size)].map(([name, shape]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return [name, { shape, values: Float32Array.from({ length: count }, (_, i) => make(name, i)) }];
    }),
  );

describe("the filter", () => {
  test("has 2 (B² + B) numbers, and is W2 relu(W1 c + b1) + b2", () => {
    const wave = (name: string, i: number) => Math.sin(i * 1.7 + name.length + name.charCodeAt(0));
    expect(createFilter("2", 32, filled("2", 32, wave), "test").size).toBe(2112);
    const tensors = filled("2", 3, wave);
    const filter = createFilter("2", 3, tensors, "test");
    const c = [0.2, 0.9, 0.5].map(Math.fround);
    const at = (name: string) => tensors.get(name)!.values;
    const layer = (x: readonly number[], n: number) =>
      [0, 1, 2].map((row) => x.reduce((sum, xi, i) => sum + at(`${n}.weight`)[row * 3 + i] * xi, at(`${n}.bias`)[row]));
    const wanted = layer(
      layer(c, 0).map((x) => Math.max(0, x)),
      1,
    );
    [...filter.logits(c)].forEach((z, i) => {
      expect(z).toBeCloseTo(wanted[i], 10);
    });
    // A shorter block is padded with zeros on the right.
    expect([...filter.logits(c.slice(0, 2))]).toEqual([...filter.logits([...c.slice(0, 2), 0])].slice(0, 2));
  });

  test("what is no filter is refused", () => {
    const good = filled("2", 4, () => 0.1);
    const without = new Map([...good].filter(([name]) => name !== "1.bias"));
    expect(() => createFilter("2", 4, without, "file")).toThrow(/has 4 tensors/);
    expect(() => createFilter("2", 5, good, "file")).toThrow(/0.weight must be \[5,5\], not \[4,4\]/);
    const broken = filled("2", 4, (name, i) => (name === "1.weight" && i === 3 ? Number.NaN : 0.1));
    expect(() => createFilter("2", 4, broken, "file")).toThrow(/file: the filter's tensor 1.weight is not finite/);
  });
});

describe("end-of-text prediction", () => {
  const view = (
    tokens: Record<number, number>,
    confidences: Record<number, number>,
    masked: number[],
    later: number[],
  ) =>
    ({
      masked,
      later,
      token: (i: number) => tokens[i] ?? 7,
      confidence: (i: number) => confidences[i] ?? 0.5,
    }) satisfies Partial<CanvasView>;
  const ends = new Set([1, 2]);

  test("cuts at the first end that the filter accepts, else at the surest end anywhere behind, else not", () => {
    const some = view({ 4: 1, 6: 2, 12: 1 }, { 4: 0.3, 6: 0.9, 12: 0.95 }, [3, 4, 6], [11, 12]);
    expect(endOfText(some, [6, 3], "repo", ends)).toBe(6);
    expect(endOfText(some, [6, 4], "repo", ends)).toBe(4);
    expect(endOfText(some, [3], "repo", ends)).toBe(12);
    expect(endOfText(some, [], "repo", ends)).toBe(12);
    expect(endOfText(some, [3], "filter_only", ends)).toBe(undefined);
    expect(endOfText(some, [6], "filter_only", ends)).toBe(6);
    expect(endOfText(some, [6], "off", ends)).toBe(undefined);
    expect(endOfText(view({}, {}, [3], [4]), [3], "repo", ends)).toBe(undefined);
    expect(endOfText(some, [6], "repo", new Set())).toBe(undefined); // a model without an end token
  });

  test("all ends in the first pass: the cut is the surest of them, within the answer", () => {
    const everywhere = Array.from({ length: 8 }, (_, i) => 20 + i);
    const all = view(
      Object.fromEntries(everywhere.map((i) => [i, 1])),
      { 25: 0.8 },
      everywhere.slice(0, 4),
      everywhere.slice(4),
    );
    expect(endOfText(all, [], "repo", ends)).toBe(25);
  });
});

describe("on a model", () => {
  let tiny: TinyDiffusion;
  let model: Model;
  let folder: string;
  beforeAll(async () => {
    tiny = await writeTinyDiffusion();
    folder = await mkdtemp(join(tmpdir(), "ventris-learn2pd-"));
    model = await open(tiny.folder, { threads: 1 });
  });
  afterAll(async () => {
    await model.close();
    await rm(tiny.folder, { recursive: true, force: true });
    await rm(folder, { recursive: true, force: true });
  });
  const decode = async (name: string, options: object = {}, more: object = {}) =>
    model.decode(prompt, {
      maxTokens: length,
      method: methodChoice({ name, blockLength, earlyStop: false, ...options }),
      ...more,
    }).final;
  const writeFilter = async (
    name: string,
    tensors = filled("2", blockLength, () => 0.05),
    settings: object = { depth: "2", blockLength },
  ) => {
    const path = join(folder, name);
    await model.writePart(path, { kind: "learn2pd", settings: settings as Record<string, unknown>, tensors });
    return path;
  };

  test("a threshold of 1, which nothing exceeds, is one-token decoding; 0 takes a block a pass; between them passes fall with it", async () => {
    const filter = await writeFilter(
      "ladder",
      filled("2", blockLength, (name, i) => (/weight/.test(name) ? (i % 9 === 0 ? 3 : 0) : -1)),
    );
    const plain = await decode("low-confidence");
    const never = await decode("learn2pd", { filter, threshold: 1, eotp: "off" });
    expect(never.canvas).toEqual(plain.canvas);
    expect(never.counters.passes).toBe(plain.counters.passes);
    const always = await decode("learn2pd", { filter, threshold: 0, eotp: "off" });
    expect(always.counters.passes).toBe(length / blockLength);
    const passes: number[] = [];
    for (const threshold of [0.99, 0.9, 0.7, 0.4])
      passes.push((await decode("learn2pd", { filter, threshold, eotp: "off" })).counters.passes);
    for (let i = 1; i < passes.length; i++) expect(passes[i]).toBeLessThanOrEqual(passes[i - 1]);
    expect(passes.at(-1)).toBeLessThan(passes[0]);
    for (const cache of ["prefix", "dual", "delayed"]) {
      const cached = await decode("learn2pd", { filter, threshold: 0.9, eotp: "off", cache, refresh: 1 });
      expect(cached.canvas).toEqual((await decode("learn2pd", { filter, threshold: 0.9, eotp: "off" })).canvas);
    }
  });

  test("a filter that knows a threshold is that threshold", async () => {
    // One layer with z_j = 1000 (c_j - 0.3): its probability exceeds 1/2 where c_j > 0.3.
    const own = filled("1", blockLength, (name, i) =>
      /bias/.test(name) ? -300 : i % (blockLength + 1) === 0 ? 1000 : 0,
    );
    const filter = await writeFilter("threshold", own, { depth: "1", blockLength });
    const learned = await decode("learn2pd", { filter, threshold: 0.5, eotp: "off" });
    const fixed = await decode("threshold", { threshold: 0.3 });
    expect(learned.canvas).toEqual(fixed.canvas);
    expect(learned.counters.passes).toBe(fixed.counters.passes);
    // Of a request that says none the filter's own threshold is meant.
    const careful = await writeFilter("careful", own, { depth: "1", blockLength, threshold: 1 });
    expect((await decode("learn2pd", { filter: careful, eotp: "off" })).counters.passes).toBe(length);
    const told = await decode("learn2pd", { filter: careful, threshold: 0.5, eotp: "off" });
    expect(told.canvas).toEqual(fixed.canvas);
    const wrong = await writeFilter("wrong", own, { depth: "1", blockLength, threshold: 2 });
    await expect(decode("learn2pd", { filter: wrong })).rejects.toThrow(
      /threshold must be a number from 0 to 1, not 2/,
    );
  });

  test("an end that is predicted cuts the canvas, for good, and saves passes", async () => {
    const plain = await decode("low-confidence");
    const ending = plain.canvas![length - 2]; // a token that the model does predict, taken for an end
    const cut = await decode("learn2pd", { filter: "none" }, { stopTokens: [ending] });
    expect(cut.canvas!.length).toBeLessThan(length);
    expect(cut.canvas).not.toContain(maskToken);
    expect(cut.counters.passes).toBeLessThan(plain.counters.passes);
    const off = await decode("learn2pd", { filter: "none", eotp: "off" }, { stopTokens: [ending] });
    expect(off.canvas).toEqual(plain.canvas);
  });

  test("what does not fit is refused: another block length, another model's filter, another kind, a random order's template", async () => {
    const filter = await writeFilter("good");
    await expect(decode("learn2pd", { filter, blockLength: 4 })).rejects.toThrow(/blocks of 8, but blockLength is 4/);
    await expect(decode("learn2pd", { filter: "nowhere" })).rejects.toThrow(/no part "nowhere"/);
    await expect(decode("learn2pd", { filter, threshold: 1.5 })).rejects.toThrow(/threshold/);
    const other = await writeTinyDiffusion({ seed: 2 });
    await using stranger = await open(other.folder, { threads: 1 });
    const method = methodChoice({ name: "learn2pd", filter, blockLength });
    await expect(stranger.decode(prompt, { method, maxTokens: length }).final).rejects.toThrow(
      /trained on another model/,
    );
    await rm(other.folder, { recursive: true, force: true });
    const odd = join(folder, "odd");
    await model.writePart(odd, { kind: "something", tensors: filled("2", blockLength, () => 1) });
    await expect(decode("learn2pd", { filter: odd })).rejects.toThrow(/of the kind something, not learn2pd/);
    const empty = await writeFilter(
      "empty",
      filled("2", blockLength, () => 1),
      {},
    );
    await expect(decode("learn2pd", { filter: empty })).rejects.toThrow(/no depth and block length/);
  });

  test("records: what the oracle saw in each pass, and it ends with the model's own answer", async () => {
    const { confidences, labels, passesPerBlock } = await recordsOf(model, prompt, { length, blockLength });
    const plain = await decode("low-confidence");
    const oracle = await decode("oracle", { reference: plain.canvas });
    expect(confidences).toHaveLength(oracle.counters.passes);
    expect(passesPerBlock.reduce((a, b) => a + b, 0)).toBe(confidences.length);
    expect(confidences.flat().every((c) => c > 0 && c <= 1)).toBe(true);
    expect(labels.flat()).toContain(1);
    expect(labels.flat()).toContain(0);

    const both = await recordsOf(model, prompt, { length, blockLength, states: "both" });
    const own = both.labels.length - labels.length;
    expect(own).toBe(length); // one-token decoding has a pass for each position
    expect([both.labels.slice(own), both.confidences.slice(own)]).toEqual([labels, confidences]);
    for (const each of both.labels.slice(0, own)) expect(each).toContain(1); // what the pass filled
  });

  test("records survive a file; what is no file of records is refused", async () => {
    const records = await collectRecords(model, { prompts: [prompt, [0, 7, 8]], length, blockLength });
    const path = join(folder, "records.safetensors");
    await writeRecords(path, records);
    expect(await readRecords(path)).toEqual(records);
    expect(records.base).toBe(await model.fingerprint());
    const twice = joinRecords([records, records]);
    expect(twice.labels).toEqual(Uint8Array.from([...records.labels, ...records.labels]));
    expect(() => joinRecords([records, { ...records, base: "other" }])).toThrow(/different models/);
    await writeRecords(path, { ...records, labels: records.labels.map(() => 3) });
    await expect(readRecords(path)).rejects.toThrow(/labels are not all 0 or 1/);
    await writeRecords(path, { ...records, confidences: records.confidences.map(() => Number.NaN) });
    await expect(readRecords(path)).rejects.toThrow(/element 0 is NaN/);
    await writeRecords(path, { ...records, confidences: records.confidences.map(() => 2) });
    await expect(readRecords(path)).rejects.toThrow(/not all between 0 and 1/);
    await expect(readRecords(join(tiny.folder, "model.safetensors"))).rejects.toThrow(/no records of a filter/);
    await writeFile(path, "nonsense");
    await expect(readRecords(path)).rejects.toMatchObject({ code: "bad_file" });
    await expect(collectRecords(model, { prompts: [], length, blockLength })).rejects.toThrow(/no prompts/);
  });
});

describe("training", () => {
  /** Right where the confidence exceeds a bar of the position's own, which neighbours move. */
  const size = 12;
  const count = 400;
  const confidences = Float32Array.from({ length: count * size }, (_, i) =>
    uniform({ seed: 1, request: 0 }, i, "data"),
  );
  const labels = Uint8Array.from(confidences, (c, i) => (c > 0.3 + 0.03 * (i % size) ? 1 : 0));
  const records: FilterRecords = { blockLength: size, base: "", confidences, labels };

  test.each(["positions", "1", "2", "4"] as const)("depth %s finds a bar for each position", async (depth) => {
    const {
      filter,
      validation,
      test: held,
    } = await trainFilter(records, { depth, steps: 600, learningRate: 0.03, threads: 1 });
    expect(filter.depth).toBe(depth);
    expect([validation.records, held.records]).toEqual([40, 40]);
    expect(held.loss).toBeLessThan(0.45); // knowing nothing costs 0.69
    expect(held.falsePositives).toBeLessThan(0.1);
    if (depth === "4") return; // fits these few records in ways of its own
    for (let position = 0; position < size; position++) {
      const bar = 0.3 + 0.03 * position;
      const at = (c: number) =>
        filter.logits(Array.from({ length: size }, (_, i) => (i === position ? c : 0.5)))[position];
      expect(at(bar + 0.25)).toBeGreaterThan(at(bar - 0.25));
      if (depth === "2") continue;
      expect(at(bar + 0.25)).toBeGreaterThan(0);
      expect(at(bar - 0.25)).toBeLessThan(0);
    }
  });

  test("what a few records teach by heart is not kept: the step is that which validates best", async () => {
    // One in ten is wrong, whatever the confidences: nothing can be learned but that share, which costs 0.325 nats.
    const chance = Uint8Array.from({ length: 40 * size }, (_, i) =>
      uniform({ seed: 2, request: 0 }, i, "data") < 0.9 ? 1 : 0,
    );
    const few = { ...records, confidences: confidences.slice(0, 40 * size), labels: chance };
    const { step, validation } = await trainFilter(few, { depth: "2", steps: 400, learningRate: 0.03, threads: 1 });
    expect(step).toBeLessThan(200);
    expect(validation.loss).toBeLessThan(0.6); // by heart: more than 2
  });

  test("the same seed gives the same filter; too few records are refused", async () => {
    const options = { depth: "2", steps: 20, threads: 1 } as const;
    const [a, b] = [await trainFilter(records, options), await trainFilter(records, options)];
    const c = [0.1, 0.2, 0.3, 0.4];
    expect([...a.filter.logits(c)]).toEqual([...b.filter.logits(c)]);
    const few = { ...records, confidences: confidences.slice(0, 9 * size), labels: labels.slice(0, 9 * size) };
    await expect(trainFilter(few, options)).rejects.toThrow(/ten records/);
  });
});

test("a block that was cut short keeps the schedule of a whole one", () => {
  const options = { filter: "", threshold: undefined, eotp: "off", steps: 16 } as const;
  const policy = learnedPolicy({ length: 32, blocks: 1, endTokens: new Set() }, undefined, options);
  const view = {
    ...{ pass: 0, step: 0, block: { index: 0, start: 0, end: 10 } },
    ...{ masked: Array.from({ length: 10 }, (_, i) => i), later: [] },
    ...{ token: () => 7, confidence: (i: number) => 0.5 + i / 100, margin: () => 0, negentropy: () => 0 },
  };
  // 32 positions in 16 steps are two a pass, of the ten that are left, too.
  expect(policy.decide(view).positions).toEqual([8, 9]);
});

test("the schedule's own positions come beside the filter's, not instead", () => {
  const filter = createFilter(
    "1",
    4,
    filled("1", 4, (name, i) => (/bias/.test(name) ? -10 : i === 0 ? 100 : 0)),
    "test",
  );
  const policy = learnedPolicy({ length: 4, blocks: 1, endTokens: new Set() }, filter, {
    filter: "",
    threshold: 0.5,
    eotp: "off",
    steps: undefined,
  });
  const confidences = [0.5, 0.1, 0.9, 0.2];
  const view = {
    pass: 0,
    step: 0,
    block: { index: 0, start: 0, end: 4 },
    masked: [0, 1, 2, 3],
    later: [],
    token: () => 7,
    confidence: (i: number) => confidences[i],
    margin: () => 0,
    negentropy: () => 0,
  };
  expect(policy.decide(view)).toMatchObject({ positions: [0, 2], reasons: ["final", "best"] });
});
