/** What is wrong with a request over a canvas, a model or a filter: clear errors, or what the published programs do, case by case. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maskToken, type TinyDiffusion, writeTinyDiffusion } from "../../../test/fixtures/tiny-diffusion.ts";
import { methodChoice } from "../../calls.ts";
import type { TraceEvent } from "../../engine/trace.ts";
import { type DecodeOptions, type Model, open } from "../../index.ts";
import { diffusionMethods } from "./index.ts";
import { filterShapes } from "./learn2pd/filter.ts";

const prompt = [0, 5, 9, 22, 14, 31];
const [length, blockLength] = [16, 8];

let tiny: TinyDiffusion;
let model: Model;
let answer: readonly number[];
beforeAll(async () => {
  tiny = await writeTinyDiffusion();
  model = await open(tiny.folder, { threads: 1 });
  answer = (await decode("low-confidence")).canvas!;
});
afterAll(async () => {
  await model.close();
  await rm(tiny.folder, { recursive: true, force: true });
});

const decode = (name: string, options: object = {}, more: DecodeOptions & { prompt?: readonly number[] } = {}) => {
  const { prompt: given = prompt, ...request } = more;
  const method = methodChoice({ name, blockLength, ...options });
  return model.decode(given, { maxTokens: length, method, ...request }).final;
};
/** A filter beside the model whose numbers are all `value`. */
const writeFilter = async (name: string, value: number, size = blockLength) => {
  const path = join(tiny.folder, "parts", name);
  const tensors = new Map(
    [...filterShapes("2", size)].map(([tensor, shape]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return [tensor, { shape, values: new Float32Array(count).fill(value) }] as const;
    }),
  );
  await model.writePart(path, { kind: "learn2pd", settings: { depth: "2", blockLength: size }, tensors });
  return path;
};

describe("a model without a mask token", () => {
  test("cannot be opened as a diffusion model", async () => {
    const without = await writeTinyDiffusion({ config: { mask_token_id: undefined } });
    await expect(open(without.folder, { threads: 1 })).rejects.toMatchObject({ code: "bad_config" });
    await rm(without.folder, { recursive: true, force: true });
  });

  test.each(diffusionMethods.map(({ name }) => name))("is refused by %s, which names what is missing", async (name) => {
    await using knossos = await open("knossos", { threads: 1 });
    expect(() => knossos.decode("The", { method: methodChoice({ name }), maxTokens: 32 })).toThrow(
      new RegExp(`${name} needs of its model: canvas; the model knossos has: forest`),
    );
    expect(() => knossos.decode({ fill: "The ___." })).toThrow(/canvas/);
  });
});

describe("lengths", () => {
  test("an answer that is no multiple of its blocks", async () => {
    await expect(decode("threshold", {}, { maxTokens: 20 })).rejects.toThrow(
      /20 positions.*blocks of 8: give 16 or 24/,
    );
    await expect(decode("threshold", { blockLength: 32 }, { maxTokens: 4 })).rejects.toThrow(/blocks of 32: give 32/);
    for (const size of [0, -8, 2.5, 1e9])
      expect(() => decode("threshold", { blockLength: size })).toThrow(/blockLength/);
  });

  test("steps that the blocks cannot share, and fewer than there are blocks", async () => {
    for (const name of ["low-confidence", "entropy", "margin", "random"])
      for (const steps of [1, 3]) await expect(decode(name, { steps })).rejects.toThrow(/multiple of 2/);
    for (const schedule of ["time", "flip"])
      for (const steps of [1, 3]) await expect(decode("random", { steps, schedule })).rejects.toThrow(/multiple of 2/);
    await expect(decode("learn2pd", { filter: "none", steps: 3 })).rejects.toThrow(/multiple of 2/);
  });

  test("an answer that is longer than the context", async () => {
    const context = model.config.contextLength;
    const long = decode("low-confidence", {}, { maxTokens: context });
    await expect(long).rejects.toMatchObject({ code: "context_full", message: expect.stringContaining(`${context}`) });
    const fits = decode("threshold", { threshold: 0 }, { maxTokens: context, prompt: [] });
    expect((await fits).canvas).toHaveLength(context); // to the last position
  });

  test("one that nobody gave is the usual one, or as many whole blocks as there is room for", async () => {
    const context = model.config.contextLength;
    const run = (given: number, options: object = {}) => {
      const method = methodChoice({ name: "threshold", threshold: 0, earlyStop: false, ...options });
      return model.decode(prompt.concat(Array(given - prompt.length).fill(5)), { method }).final;
    };
    expect(context).toBeLessThan(256);
    for (const [given, options, positions] of [
      [6, {}, 32 * Math.floor((context - 6) / 32)],
      [6, { blockLength: 24 }, 24 * Math.floor((context - 6) / 24)],
      [context - 20, {}, 20], // less than a block, which then is one
      [context - 20, { blockLength: 12 }, 12],
    ] as const) {
      const { canvas, finish } = await run(given, options);
      expect([canvas!.length, finish]).toEqual([positions, "context"]);
    }
    await expect(run(context)).rejects.toMatchObject({ code: "context_full" });
    await expect(run(context - 20, { blockLength: 24 })).rejects.toThrow(/^a block of 24 positions behind/);
    const asked = await decode("threshold", { threshold: 0, earlyStop: false });
    expect([asked.canvas!.length, asked.finish]).toEqual([length, "length"]);
    const chat = decode("threshold", {}, { maxTokens: context });
    await expect(chat).rejects.toThrow(new RegExp(`give maxTokens of at most ${context - prompt.length}$`));
  });

  test("an empty prompt is allowed", async () => {
    const { canvas } = await decode("low-confidence", {}, { prompt: [] });
    expect(canvas).toHaveLength(length);
  });
});

test("a prompt that contains the mask token", async () => {
  for (const { name } of diffusionMethods) {
    const options = name === "oracle" ? { reference: answer } : name === "learn2pd" ? { filter: "none" } : {};
    await expect(decode(name, options, { prompt: [0, maskToken, 5] })).rejects.toThrow(/contains the mask token/);
  }
});

describe("ends everywhere in the first pass", () => {
  /** The surest token of the first pass at every position is an end. */
  const all = () => ({ stopTokens: Array.from({ length: maskToken }, (_, token) => token) });

  test.each(["repo", "filter_only"] as const)(
    "end-of-text prediction (%s) cuts within the answer and ends",
    async (eotp) => {
      const filter = await writeFilter("sure", 5);
      for (const given of [filter, "none"]) {
        const method = methodChoice({ name: "learn2pd", blockLength, filter: given, eotp, earlyStop: false });
        const events: TraceEvent[] = [];
        const run = model.decode(prompt, { maxTokens: length, method, ...all() });
        for await (const event of run) events.push(event);
        const { canvas, tokens, text } = await run.final;
        const cuts = events.flatMap((event) => (event.type === "truncate" ? [event.length] : []));
        expect(cuts.every((at) => at >= 1 && at < length)).toBe(true);
        expect(canvas).not.toContain(maskToken);
        expect(canvas!.length).toBe(Math.min(length, ...cuts));
        expect([tokens.length, text]).toEqual([0, ""]); // nothing stands before the end
        if (given === filter) expect(canvas).toHaveLength(1); // the filter is sure at once
      }
    },
  );

  test("without it the whole canvas is filled, or the run ends at once", async () => {
    const whole = await decode("low-confidence", { earlyStop: false }, all());
    expect([whole.canvas!.length, whole.tokens.length]).toEqual([length, 0]);
    const early = await decode("threshold", { threshold: 0 }, all());
    expect(early.counters.passes).toBe(1);
  });
});

describe("a filter", () => {
  test("of another block length", async () => {
    const filter = await writeFilter("four", 0.1, 4);
    const message = /trained on blocks of 4, but blockLength is 8: give blockLength 4, or train a filter/;
    await expect(decode("learn2pd", { filter })).rejects.toThrow(message);
    expect((await decode("learn2pd", { filter, blockLength: 4, earlyStop: false, eotp: "off" })).canvas).toHaveLength(
      length,
    );
  });

  test("of longer blocks than the answer, where another block length would not help", async () => {
    const filter = await writeFilter("long", 0.1, 32);
    await expect(decode("learn2pd", { filter, blockLength: undefined })).rejects.toThrow(
      /^maxTokens: 16 positions cannot be cut into blocks of 32, on which the filter .*long was trained: give 32, or train a filter for it$/,
    );
  });

  test("of another model", async () => {
    const filter = await writeFilter("own", 0.1);
    const other = await writeTinyDiffusion({ seed: 9 });
    await using stranger = await open(other.folder, { threads: 1 });
    const method = methodChoice({ name: "learn2pd", filter, blockLength });
    await expect(stranger.decode(prompt, { method, maxTokens: length }).final).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringContaining("trained on another model"),
    });
    await rm(other.folder, { recursive: true, force: true });
  });

  /** Changes the tensors' file of a filter. */
  const damaged = async (name: string, change: (bytes: Buffer<ArrayBuffer>) => Buffer<ArrayBuffer>) => {
    const filter = await writeFilter(name, 0.1);
    const path = join(filter, "part.safetensors");
    await writeFile(path, change(await readFile(path)));
    return decode("learn2pd", { filter });
  };

  test("with NaN, with an infinity, cut short, and that is no filter at all", async () => {
    for (const [name, value] of [
      ["nan", Number.NaN],
      ["infinite", Number.POSITIVE_INFINITY],
    ] as const) {
      const broken = damaged(name, (bytes) => {
        bytes.writeFloatLE(value, bytes.length - 4);
        return bytes;
      });
      await expect(broken).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining(name) });
    }
    const short = damaged("short", (bytes) => bytes.subarray(0, bytes.length - 8));
    await expect(short).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining("short") });
    const empty = damaged("empty", () => Buffer.alloc(0));
    await expect(empty).rejects.toMatchObject({ code: "bad_file" });
  });

  test("whose card claims an enormous block", async () => {
    const filter = await writeFilter("huge", 0.1);
    const card = join(filter, "part.json");
    const stated = JSON.parse(await readFile(card, "utf8"));
    for (const size of [1e9, -1, "8", null]) {
      stated.settings.blockLength = size;
      await writeFile(card, JSON.stringify(stated));
      await expect(decode("learn2pd", { filter })).rejects.toMatchObject({ code: "bad_file" });
    }
  });

  test("with thresholds that are no probabilities", () => {
    for (const threshold of [-0.1, 1.1, Number.NaN])
      expect(() => decode("learn2pd", { filter: "none", threshold })).toThrow(/threshold/);
  });
});

test("a pass that fills nothing is told like every other", async () => {
  const events: TraceEvent[] = [];
  const method = methodChoice({ name: "random", schedule: "flip", blockLength, steps: 4 * length });
  const run = model.decode(prompt, { maxTokens: length, method, seed: 2 });
  for await (const event of run) events.push(event);
  const passes = events.flatMap((event) => (event.type === "unmask" ? [event] : []));
  expect(passes.map(({ pass }) => pass)).toEqual(passes.map((_, i) => i + 1));
  expect(passes.length).toBe((await run.final).counters.passes);
  expect(passes.some(({ positions }) => positions.length === 0)).toBe(true);
});

describe("the oracle", () => {
  test("with a temperature", async () => {
    await expect(decode("oracle", { reference: answer }, { temperature: 0.7 })).rejects.toThrow(/temperature is 0.7/);
  });

  test("without an answer, with one of another length, and with tokens that are none", async () => {
    await expect(decode("oracle")).rejects.toThrow(/needs the answer/);
    await expect(decode("oracle", { reference: answer.slice(1) })).rejects.toThrow(/15 tokens, but the canvas 16/);
    const foreign = decode("oracle", { reference: answer.with(3, model.config.vocabularySize) });
    await expect(foreign).rejects.toThrow(/which the model has not/);
  });

  test("with what a run left that ended early: it is told which run leaves no masks", async () => {
    const ends = { stopTokens: [answer[0]] };
    const early = (await decode("low-confidence", {}, ends)).canvas!;
    expect(early).toContain(maskToken);
    const whole = (await decode("low-confidence", { earlyStop: false }, ends)).canvas!;
    expect((await decode("oracle", { reference: whole, earlyStop: false })).canvas).toEqual(whole);
    await expect(decode("oracle", { reference: early })).rejects.toThrow(/has masks.*earlyStop: false/);
    await expect(decode("oracle")).rejects.toThrow(/earlyStop: false/);
  });
});

test("LocalLeap's bars the wrong way round, and radii that are none", async () => {
  await expect(decode("localleap", { anchor: 0.5, relaxed: 0.6 })).rejects.toThrow(/relaxed 0.6 is above anchor 0.5/);
  for (const radius of [-1, 1.5]) expect(() => decode("localleap", { radius })).toThrow(/radius/);
  for (const anchor of [-0.1, 2.1]) expect(() => decode("localleap", { anchor })).toThrow(/anchor/);
  // An anchor above 1 turns anchors off; a bar above 1 that is lowered would say nothing.
  for (const relaxed of [-0.1, 1.1]) expect(() => decode("localleap", { anchor: 2, relaxed })).toThrow(/relaxed/);
});

test("a cache beyond the memory limit is told in units that show both, and no cache needs none", async () => {
  await using small = await open(tiny.folder, { threads: 1, memoryLimit: 2000 });
  const run = (cache: string) => {
    const method = methodChoice({ name: "threshold", blockLength, cache });
    return small.decode(prompt, { maxTokens: length, method }).final;
  };
  await expect(run("dual")).rejects.toMatchObject({
    code: "out_of_memory",
    message: expect.stringMatching(/keep [1-9]\d*\.\d kB of keys and values, more than its limit of 2\.0 kB/),
  });
  expect((await run("none")).canvas).toHaveLength(length);
});

test("weights that give NaN", async () => {
  const broken = await writeTinyDiffusion();
  const path = join(broken.folder, "model.safetensors");
  const bytes = await readFile(path);
  // Finite by themselves, not in what follows from them.
  for (let at = bytes.length - 4 * 64; at < bytes.length; at += 8) {
    bytes.writeFloatLE(3e38, at);
    bytes.writeFloatLE(-3e38, at + 4);
  }
  await writeFile(path, bytes);
  await using odd = await open(broken.folder, { threads: 1 });
  const method = methodChoice({ name: "threshold", blockLength });
  await expect(odd.decode(prompt, { method, maxTokens: length }).final).rejects.toMatchObject({
    code: "runtime_failed",
    message: expect.stringContaining("NaN"),
  });
  await rm(broken.folder, { recursive: true, force: true });
});
