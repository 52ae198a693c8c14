/** Requests through the public face: repeatable whatever runs beside them, bounded, abortable, and clear about misuse. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../test/fixtures/tiny-model.ts";
import { type DecodeOptions, methodChoice } from "./calls.ts";
import { readChat } from "./chat.ts";
import { uniform } from "./engine/random.ts";
import type { VentrisError } from "./errors.ts";
import { type Model, open } from "./open.ts";
import { resolveModel } from "./references.ts";
import { multiply, scalar } from "./tensor/index.ts";
import { openTokenizer } from "./text/index.ts";

let tiny: TinyModel;
let bare: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel({ tokenizer: true });
  bare = await writeTinyModel();
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await Promise.all([tiny, bare].map(removeModel));
});

const failure = async (promise: Promise<unknown>): Promise<VentrisError> => {
  try {
    await promise;
  } catch (error) {
    return error as VentrisError;
  }
  throw new Error("did not fail");
};

const final = (prompt: string | readonly number[], options: DecodeOptions = {}) => model.decode(prompt, options).final;
/** The penalty keeps a random model from repeating one token. */
const greedy = { temperature: 0, frequencyPenalty: 2, maxTokens: 30 };
const prompt = "the cat and the hat";

describe("the same request gives the same output", () => {
  test("alone, among eight, with one and two threads, and after aborts in flight", async () => {
    const alone = (await final(prompt, greedy)).tokens;
    expect(new Set(alone).size).toBeGreaterThan(5);
    // What the model itself says, with no engine at all.
    const text = model.tokenizer!.encode(prompt);
    for (const token of (await final(prompt, { temperature: 0, maxTokens: 30 })).tokens) {
      const logits = tiny.logits(text).at(-1)!;
      expect(logits[token]).toBeGreaterThan(Math.max(...logits) - 1e-4);
      text.push(token);
    }
    const noise = (i: number): DecodeOptions => ({ temperature: 1, seed: i, maxTokens: 5 + 5 * i });
    const others = Array.from({ length: 7 }, (_, i) => model.decode(prompt.slice(0, 3 + 2 * i), noise(i)));
    expect((await final(prompt, greedy)).tokens).toEqual(alone);
    await Promise.all(others.map((run) => run.final));

    const aborted = Array.from({ length: 12 }, (_, i) => {
      const run = model.decode(prompt.slice(i % 5), { ...noise(i), maxTokens: 50 });
      setTimeout(() => run.abort(), 30 * uniform({ seed: 3, request: i }, 0, "data"));
      return run.final;
    });
    expect((await final(prompt, greedy)).tokens).toEqual(alone);
    await Promise.all(aborted);
    expect((await final(prompt, greedy)).tokens).toEqual(alone);
    expect(model.forest.held).toBe(0);

    await using two = await open(tiny.folder, { threads: 2 });
    expect((await two.decode(prompt, greedy).final).tokens).toEqual(alone);
  });
});

describe("a run ends", () => {
  test("at maxTokens, and at the end of the context with one token beyond the last that fits", async () => {
    expect(await final(prompt, { ...greedy, maxTokens: 3 })).toMatchObject({ finish: "length" });
    const long = Array.from({ length: 90 }, (_, i) => 2 + (i % 40));
    const full = await final(long, { temperature: 0, badTokens: [0, 1] });
    expect(full.finish).toBe("context");
    expect(full.tokens.length).toBe(96 - 90 + 1);
  });

  test("at a stop token and at an end token, which are no part of the text", async () => {
    const { tokens } = await final(prompt, greedy);
    const place = tokens.findIndex((token, i) => i > 2 && !tokens.slice(0, i).includes(token));
    expect(place).toBeGreaterThan(2);
    const stopped = await final(prompt, { ...greedy, stopTokens: [tokens[place]] });
    expect(stopped).toMatchObject({ finish: "stop", tokens: tokens.slice(0, place) });
    const ended = await final(prompt, { ...greedy, logitBias: { 1: 1000 } });
    expect(ended).toMatchObject({ finish: "end", tokens: [], text: "" });
  });

  test("not before minTokens: the ending tokens are banned until then", async () => {
    const { tokens } = await final(prompt, { ...greedy, logitBias: { 1: 1000 }, minTokens: 4 });
    expect(tokens.length).toBe(4);
    expect(tokens).not.toContain(1);
  });

  test("at a stop string across the borders of tokens, the text before it intact", async () => {
    const { text } = await final(prompt, greedy);
    for (const [from, length] of [
      [3, 1],
      [5, 4],
      [8, 7],
    ]) {
      const stop = text.slice(from, from + length);
      const run = model.decode(prompt, { ...greedy, stop: ["never this", stop] });
      let streamed = "";
      for await (const piece of run.text) streamed += piece;
      expect(streamed).toBe(text.slice(0, text.indexOf(stop)));
      expect(await run.final).toMatchObject({ finish: "stop", stop, text: streamed });
    }
  });
});

describe("aborting", () => {
  test("by a signal, before and during", async () => {
    const controller = new AbortController();
    const run = model.decode(prompt, { ...greedy, maxTokens: 70, badTokens: [1], signal: controller.signal });
    for await (const event of run) if (event.type === "tokens") controller.abort();
    const result = await run.final;
    expect(result.finish).toBe("aborted");
    expect(result.tokens.length).toBeGreaterThan(0);
    expect(result.tokens.length).toBeLessThan(70);
    expect(await final(prompt, { signal: AbortSignal.abort() })).toMatchObject({ finish: "aborted", tokens: [] });
    expect(model.forest.held).toBe(0);
  });

  test("of one request leaves another with the same prompt alone", async () => {
    const wanted = (await final([5, 6, 7, 8], greedy)).tokens;
    for (let i = 0; i < 20; i++) {
      const first = model.decode([5, 6, 7, 8, 9 + i], greedy);
      if (i % 2) await new Promise(setImmediate);
      first.abort();
      expect((await final([5, 6, 7, 8, 9 + i], greedy)).finish).not.toBe("aborted");
      await first.final;
    }
    expect((await final([5, 6, 7, 8], greedy)).tokens).toEqual(wanted);
  });

  test("closing waits for runs under way, and refuses new ones", async () => {
    const own = await open(tiny.folder, { threads: 1 });
    const run = own.decode(prompt, greedy);
    const closed = own.close();
    expect((await run.final).tokens.length).toBe(30);
    await closed;
    expect(() => own.decode(prompt, greedy)).toThrow(expect.objectContaining({ code: "aborted" }));
    await own.close();
  });
});

describe("misuse is refused", () => {
  test.each<[string, () => unknown, string, RegExp]>([
    ["an unknown option", () => model.decode("a", { temprature: 1 } as DecodeOptions), "bad_option", /temprature/],
    ["an option out of range", () => model.decode("a", { topP: 1.5 }), "bad_option", /topP/],
    [
      "an unknown method",
      () => model.decode("a", { method: methodChoice("greedi") }),
      "bad_option",
      /did you mean "greedy"/,
    ],
    [
      "an unknown method option",
      () => model.decode("a", { method: methodChoice({ name: "sample", k: 1 }) }),
      "bad_option",
      /k/,
    ],
    ["an empty prompt", () => model.decode(""), "bad_option", /empty/],
    ["no tokens", () => model.decode([]), "bad_option", /empty/],
    ["a token that is none", () => model.decode([1, vocabularySize]), "bad_option", /64 is not a token id.*0 to 63/],
  ])("%s", (_, start, code, message) => {
    try {
      start();
    } catch (error) {
      expect((error as VentrisError).code).toBe(code);
      expect((error as VentrisError).message).toMatch(message);
      return;
    }
    throw new Error("was accepted");
  });

  test("errors after the start reject `final` and end the iteration and the text alike", async () => {
    const start = () => model.decode(Array(97).fill(3), greedy);
    expect(await failure(start().final)).toMatchObject({ code: "context_full" });
    for (const part of [(run: ReturnType<typeof start>) => run, (run: ReturnType<typeof start>) => run.text]) {
      const iteration = (async () => {
        for await (const _ of part(start()));
      })();
      expect(await failure(iteration)).toMatchObject({ code: "context_full" });
    }
    expect(model.forest.held).toBe(0);
  });

  test("greedy with a temperature", async () => {
    expect(await failure(final("a", { method: "greedy", temperature: 1 }))).toMatchObject({ code: "bad_option" });
  });

  test("an unknown model, with the nearest name", async () => {
    expect(await failure(open("knosos"))).toMatchObject({ code: "unavailable" });
  });

  test("a model without a tokenizer decodes ids, and refuses texts and stop strings", async () => {
    await using own = await open(bare.folder, { threads: 1 });
    expect((await own.decode([2, 3, 4], greedy).final).text).toBe("");
    expect(() => own.decode("a")).toThrow(/has no tokenizer/);
    expect((await failure(own.decode([2], { stop: "a" }).final)).message).toMatch(/stop/);
  });
});

test("converting weights is told, can be aborted, and is done once", async () => {
  const cache = await mkdtemp(join(tmpdir(), "ventris-converted-"));
  vi.stubEnv("VENTRIS_CACHE", cache);
  try {
    const told: { stage: string; done?: number; total?: number }[] = [];
    const options = { weights: "int8", threads: 1 } as const;
    const controller = new AbortController();
    const opening = open(tiny.folder, {
      ...options,
      signal: controller.signal,
      onProgress: ({ stage }) => stage === "convert" && controller.abort(),
    });
    expect(await failure(opening)).toMatchObject({ code: "aborted", message: `opening ${tiny.folder} was aborted` });
    await (await open(tiny.folder, { ...options, onProgress: (progress) => told.push(progress) })).close();
    const converted = told.filter(({ stage }) => stage === "convert");
    expect(told.map(({ stage }) => stage)).toEqual(["load", ...converted.map(() => "convert")]);
    const done = converted.map((progress) => progress.done!);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(done.at(-1)).toBe(converted[0].total);
    const again: string[] = [];
    await (await open(tiny.folder, { ...options, onProgress: ({ stage }) => again.push(stage) })).close();
    expect(again).toEqual(["load"]);
  } finally {
    vi.unstubAllEnvs();
    await rm(cache, { recursive: true, force: true });
  }
});

describe("taps and edits", () => {
  const tokens = [5, 9, 2, 33, 14];

  test("a tap gives the reference's value at every site", async () => {
    const sites = model.sites().map(({ name }) => name);
    await using own = await open(tiny.folder, { threads: 1, taps: sites });
    const wanted = new Map<string, Float64Array>();
    tiny.logits(tokens, (site, position, value) => {
      if (position === tokens.length - 1) wanted.set(site, value.slice());
    });
    const lease = own.forest.lease();
    const { node } = await lease.prefill(tokens);
    for (const site of sites) {
      const got = node.taps![site];
      expect(got.length).toBe(wanted.get(site)!.length);
      expect(Math.max(...got.map((x, i) => Math.abs(x - wanted.get(site)![i])))).toBeLessThan(1e-4);
    }
    lease.close();
  });

  test("an edit changes what the reference says it changes", async () => {
    const keep = new Float32Array(64).fill(1);
    keep[17] = 0;
    const { constant } = await import("./tensor/index.ts");
    await using own = await open(tiny.folder, {
      threads: 1,
      edits: [
        {
          name: "silence",
          site: "layers.0.mlp.neurons",
          apply: (value) => ({ value: multiply(value, constant(keep, [64])) }),
        },
      ],
    });
    const wanted = tiny
      .logits(tokens, (site, _, value) => {
        if (site === "layers.0.mlp.neurons") value[17] = 0;
      })
      .at(-1)!;
    const lease = own.forest.lease();
    const { logits } = (await lease.prefill(tokens)).node;
    expect(Math.max(...logits!.map((x, i) => Math.abs(x - wanted[i])))).toBeLessThan(1e-4);
    const plain = tiny.logits(tokens).at(-1)!;
    expect(Math.max(...logits!.map((x, i) => Math.abs(x - plain[i])))).toBeGreaterThan(1e-2);
    lease.close();
  });

  test("an unknown site is refused with the nearest name", async () => {
    const tap = await failure(open(tiny.folder, { taps: ["layers.0.mlp.neuron"] }));
    expect(tap).toMatchObject({ code: "bad_option" });
    expect(tap.message).toMatch(/did you mean "layers.0.mlp.neurons/);
    const edits = [{ name: "nothing", site: "finale", apply: () => ({ value: scalar(0) }) }];
    expect((await failure(open(tiny.folder, { edits }))).message).toMatch(/did you mean "final/);
  });
});

test("two hundred generations with random aborts leave neither slots nor capacity behind", async () => {
  const round = async (first: number): Promise<void> => {
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const draw = (index: number): number => uniform({ seed: 9, request: first + i }, index, "data");
        const start = Array.from({ length: 3 + Math.floor(10 * draw(0)) }, (_, j) => Math.floor(64 * draw(j + 2)));
        const run = model.decode(start, { temperature: 1, seed: first + i, maxTokens: 12 });
        if (draw(1) < 0.5) setTimeout(() => run.abort(), 20 * draw(1));
        await run.final;
      }),
    );
  };
  for (let i = 0; i < 100; i += 20) await round(i);
  const [capacity, heap] = [model.forest.capacity, process.memoryUsage().heapUsed];
  for (let i = 100; i < 200; i += 20) await round(i);
  expect(model.forest.held).toBe(0);
  expect(model.forest.capacity).toBeLessThanOrEqual(Math.max(capacity, 512));
  expect(model.forest.size).toBeLessThanOrEqual(512);
  expect(process.memoryUsage().heapUsed - heap).toBeLessThan(40e6);
});

describe("a closed model", () => {
  test("says so at once, whatever it is asked for", async () => {
    const closed = await open(tiny.folder, { threads: 1 });
    const chat = closed.chat({ transcript: true });
    await closed.close();
    await closed.close(); // a second time is nothing
    const calls: readonly (() => unknown)[] = [
      () => closed.decode("the"),
      () => closed.chat({ transcript: true }),
      () => chat.send("the"),
      () => chat.retry(),
      () => closed.tokenizer,
      () => closed.trace("the", { taps: ["final"] }),
      () => closed.generate("the"),
      () => closed.score("the cat"),
      () => closed.continuations({ context: [1], options: [[2]] }),
      () => closed.embed("the"),
      () => closed.forward([1, 2]),
      () => closed.writeTrace(join(tmpdir(), "trace"), "the", { taps: ["final"] }),
    ];
    const message = `the model ${tiny.folder} was closed`;
    for (const [i, call] of calls.entries()) {
      if (i < 6) expect(call).toThrow(expect.objectContaining({ code: "aborted", message }));
      else await expect(call()).rejects.toMatchObject({ code: "aborted", message });
    }
  });
});

describe("an address where a name or path is due", () => {
  test.each([
    [
      pathToFileURL("/some/where"),
      /not a URL: as a path it is "\/some\/where", and fileURLToPath of "node:url" makes it/,
    ],
    [pathToFileURL("/some/where").href, /: as a path it is "\/some\/where"/],
    [new URL("http://127.0.0.1:1/v1"), /: its text is "http:\/\/127\.0\.0\.1:1\/v1"/],
  ])("%s", async (address, told) => {
    for (const call of [open, openTokenizer, readChat, resolveModel])
      expect(await failure(call(address as string))).toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(told),
      });
  });

  test("a shipped model's name where a folder is due, a folder where its name is due, and a name of the hub behind others' words", async () => {
    expect(await failure(openTokenizer("knossos"))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(
        /there is no folder knossos here, .*models\/knossos", and open\("knossos"\) gives it/,
      ),
    });
    expect(await failure(openTokenizer("no/where"))).toMatchObject({
      message: expect.stringContaining("(await open(name)).tokenizer"),
    });
    expect(await failure(open("./knossos"))).toMatchObject({
      message: expect.stringContaining('did you mean "knossos"?'),
    });
    expect(await failure(open("hf:org/name"))).toMatchObject({
      message: expect.stringContaining('did you mean "org/name"?'),
    });
    expect(await failure(open("~/models"))).toMatchObject({ message: expect.stringContaining("write the whole path") });
    expect(await failure(open({ model: "knossos" } as never))).toMatchObject({
      message: expect.stringContaining('as in open("knossos", { … })'),
    });
  });
});
