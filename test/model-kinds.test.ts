/** Models that are no key-value transformer are opened like all others; what they lack is refused by name. */
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createVentris } from "../src/ai-sdk/index.ts";
import { openDecoder, openGraph, parametersOfModel } from "../src/engine/encoder-decoder/search.ts";
import { saveTextModel, type TextModel, wordCodec } from "../src/engine/encoder-decoder/text-model.ts";
import { storage } from "../src/files.ts";
import { type Model, methods, open } from "../src/index.ts";
import { openPointing, point, shippedNetwork } from "../src/methods/pointing/index.ts";
import { findFilter, fitFilter, matrix, openFilter, saveFilter, smoothAll } from "../src/methods/signals.ts";
import { parameterMaker } from "../src/models/parameters.ts";
import { masked, readT5Config, t5Decoder, t5Encoder, t5Parameters } from "../src/models/t5.ts";
import { input } from "../src/tensor/index.ts";
import { ggufBytes } from "../src/weights/gguf.fixture.ts";
import { type Codes, gptqTensors, valuesOf } from "../src/weights/packed-integers.fixture.ts";
import { openSafetensors, writeSafetensors } from "../src/weights/safetensors.ts";

type WrittenTensor = Parameters<typeof writeSafetensors>[1] extends Iterable<infer Tensor> ? Tensor : never;

import { ensureBuilt, root } from "./build.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-kinds-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const words = ["<pad>", "</s>", "<unk>", "the", "fox", "king", "saw", "a", "harbour", "slept"];
const config = readT5Config({
  ...{ model_type: "t5", is_encoder_decoder: true, vocab_size: words.length, d_model: 12, d_kv: 4, d_ff: 24 },
  ...{ num_layers: 2, num_heads: 3, feed_forward_proj: "gated-gelu", tie_word_embeddings: false },
});
const weights = new Map(
  t5Parameters(config).map(({ name, shape }, p) => [
    name,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
      shape.length === 1 ? 1 : 0.6 * Math.sin(1.3 * i * i + p * 7.7),
    ),
  ]),
);
const text: TextModel = { config, weights, codec: wordCodec(words), vocabulary: words };

/** Two hidden dimensions that turn slowly, seen through three channels. */
const bins = 200;
const states = matrix(bins, 2);
const observations = matrix(bins, 3);
for (let t = 0; t < bins; t++) {
  const [x, y] = [Math.cos(t / 9), Math.sin(t / 9)];
  states.data.set([x, y], 2 * t);
  observations.data.set([x + 0.1 * Math.sin(7 * t), y - 0.1 * Math.cos(5 * t), x - y], 3 * t);
}

const cli = (words: readonly string[]): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, [join(root, "dist", "cli", "main.js"), ...words], { cwd: folder }).catch(
    (error) => error,
  );

const places = { pointing: shippedNetwork("hull"), filter: join(folder, "arm.filter"), text: join(folder, "t5") };
const opened = {} as Record<"pointing" | "filter" | "text", Model>;
beforeAll(async () => {
  ensureBuilt();
  await saveFilter(places.filter, await fitFilter(findFilter("kalman"), { states, observations }));
  await saveTextModel(places.text, text);
  for (const kind of ["pointing", "filter", "text"] as const) opened[kind] = await open(places[kind]);
}, 300_000);
afterAll(async () => {
  for (const model of Object.values(opened)) await model.close();
});

test("a pointer network answers as its function does", async () => {
  const points = [
    [0.1, 0.2],
    [0.9, 0.1],
    [0.5, 0.5],
    [0.4, 0.9],
  ] as const;
  const pointer = opened.pointing.ability("pointing");
  expect(pointer.task).toBe("hull");
  for (const options of [new Set(["beams"]), new Date(), Promise.resolve({ beams: 2 }), { beems: 2 }] as never[])
    await expect(pointer.point(points, options)).rejects.toThrow(
      /^point(: options must be an object, not| options: there is no op)/,
    );
  const failing = Object.defineProperty({}, "beams", { enumerable: true, get: () => expect.fail("mine") });
  await expect(pointer.point(points, failing)).rejects.toThrow(/^point options: beams failed: mine$/);
  expect(await pointer.point(points)).toEqual(await point(await openPointing(places.pointing), points));
  await expect(pointer.point(points.slice(0, 2))).rejects.toThrow(/3/);
  for (const [given, options, said] of [
    [null, {}, /points are a list of \[x, y\], not null/],
    ["abc", {}, /not "abc"/],
    [[...points, [1, 1, 1]], {}, /point 5 is \(1, 1, 1\), not two numbers/],
    [[...points, [1e300, -1e300]], {}, /point 5 .* of at most 1e\+100/],
    [points, { beam: 3 }, /no option "beam"; did you mean "beams"/],
    [points, { rule: "toString" }, /rule must be "none"/],
    [points, { signal: {} }, /signal must be an AbortSignal/],
    [points, null, /must be an object/],
  ] as const)
    await expect(pointer.point(given as never, options as never)).rejects.toThrow(said);
  expect([...opened.pointing.capabilities]).toEqual(["pointing"]);
  expect(opened.pointing.parameterCount).toBeGreaterThan(100_000);
});

test("a filter follows bin by bin, whole, and smoothed", async () => {
  const filter = opened.filter.ability("filter");
  const method = findFilter("kalman");
  const whole = filter.follow(observations);
  const running = filter.start();
  const reference = openFilter(method, filter.model);
  for (let t = 0; t < bins; t++) {
    const bin = observations.data.subarray(3 * t, 3 * t + 3);
    const { mean } = running.step(bin);
    expect(mean).toEqual(reference.step(bin).mean);
    expect(whole.means.data.subarray(2 * t, 2 * t + 2)).toEqual(mean);
  }
  expect(filter.smooth(observations)).toEqual(smoothAll(method, filter.model, observations));
  expect(filter.smooth(observations).means.data).not.toEqual(whole.means.data);
  expect(() => filter.follow(matrix(4, 2))).toThrow(/2 channels.*fitted to 3/);
  const lists = { rows: 1, columns: 3, data: [1, 2, 3] };
  for (const given of [null, [[1, 2, 3]], lists, { ...matrix(9, 3), rows: 99 }]) {
    expect(() => filter.follow(given as never)).toThrow(/a recording is a matrix/);
    expect(() => filter.smooth(given as never)).toThrow(/a recording is a matrix/);
  }
  for (const given of [null, "abc"]) expect(() => running.step(given as never)).toThrow(/a list of 3 numbers/);
  await expect(fitFilter(method, { states, observations }, { stateNames: ["only one"] })).rejects.toThrow(
    /stateNames are 1, and there are 2/,
  );
});

describe("an encoder–decoder", () => {
  const given = "the fox saw a king";
  const ids = [...text.codec.encode(given), config.eos_token_id];

  test("encodes as its graph without padding does", async () => {
    const stack = { config, make: parameterMaker() };
    const graph = await openGraph(
      { states: t5Encoder(stack, input("source", [1, ids.length], "int64"), input("mask", [1, 1, 1, ids.length])) },
      parametersOfModel(text),
    );
    const { states: expected } = await graph.run({
      source: { data: BigInt64Array.from(ids, BigInt), dims: [1, ids.length] },
      mask: { data: new Float32Array(ids.length), dims: [1, 1, 1, ids.length] },
    });
    await graph.release();
    const { states, tokens } = await opened.text.ability("encoder-decoder").encode(given);
    expect(tokens).toEqual(ids);
    expect(states.length).toBe(ids.length * config.d_model);
    for (const [i, value] of states.entries()) expect(value).toBeCloseTo((expected.data as Float32Array)[i], 5);
  });

  test("writes what the likeliest token at each step makes; more beams find a text at least as likely", async () => {
    const writer = opened.text.ability("encoder-decoder");
    const { states } = await writer.encode(given);
    const length = 6;
    const graph = await openGraph(
      {
        logits: t5Decoder(
          { config, make: parameterMaker() },
          input("tokens", [1, length], "int64"),
          input("states", [1, ids.length, config.d_model]),
        ),
      },
      parametersOfModel(text),
    );
    const expected: number[] = [];
    let logprob = 0;
    while (expected.length < length && expected.at(-1) !== config.eos_token_id) {
      const tokens = BigInt64Array.from({ length }, (_, i) => BigInt(i === 0 ? 0 : (expected[i - 1] ?? 0)));
      const { logits } = await graph.run({
        tokens: { data: tokens, dims: [1, length] },
        states: { data: states, dims: [1, ids.length, config.d_model] },
      });
      const from = expected.length * words.length;
      const line = Array.from((logits.data as Float32Array).subarray(from, from + words.length));
      const largest = Math.max(...line);
      logprob -= Math.log(line.reduce((sum, value) => sum + Math.exp(value - largest), 0));
      expected.push(line.indexOf(largest));
    }
    await graph.release();
    const one = await writer.write(given, { maxTokens: length });
    expect(one.tokens).toEqual(expected);
    expect(one.logprob).toBeCloseTo(logprob, 4);
    expect(one.text).toBe(text.codec.decode(expected));
    const many = await writer.write(given, { maxTokens: length, beams: 4 });
    const score = ({ logprob, tokens }: typeof one): number => logprob / tokens.length;
    expect(score(many)).toBeGreaterThanOrEqual(score(one) - 1e-6);
    expect(await writer.write(given, { maxTokens: length, beams: 4 })).toEqual(many);
  });

  test("holds calls at once apart, and can be aborted", async () => {
    const writer = opened.text.ability("encoder-decoder");
    const texts = ["the fox", "a king slept", "the harbour", "a", "the king saw the harbour"];
    const alone = [];
    for (const one of texts) alone.push(await writer.write(one, { maxTokens: 5 }));
    // Sizes of their own: graphs are forgotten meanwhile.
    const together = await Promise.all(texts.map((one) => writer.write(one, { maxTokens: 5 })));
    const others = await Promise.all([7, 8, 9, 10, 11, 12].map((maxTokens) => writer.write("a fox", { maxTokens })));
    expect(together).toEqual(alone);
    expect(others.length).toBe(6);
    await expect(writer.write("a", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
    await expect(writer.write("a", { beams: 0 })).rejects.toThrow(/beams/);
    await expect(writer.write("a", { beams: 64, maxTokens: 1024 })).rejects.toThrow(
      /beams: 64 of 1024 tokens are 65536/,
    );
    await expect(writer.write("a", { tokens: 3 } as never)).rejects.toThrow(/tokens/);
    await expect(writer.write("fox ".repeat(3000))).rejects.toMatchObject({ code: "context_full" });
    await expect(writer.write("x".repeat(10_000_000))).rejects.toMatchObject({ code: "context_full" });
  });

  test("says what is wrong with its files", async () => {
    const json = JSON.parse(await readFile(join(places.text, "config.json"), "utf8"));
    const broken = join(folder, "broken");
    await saveTextModel(broken, text);
    await writeFile(join(broken, "config.json"), JSON.stringify({ ...json, num_layers: 3 }));
    await expect(open(broken)).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(/encoder\.block\.2/),
    });
    await writeFile(
      join(broken, "config.json"),
      JSON.stringify({ ...json, model_type: "bart", architectures: ["Bart"] }),
    );
    await expect(open(broken)).rejects.toMatchObject({
      code: "bad_config",
      message: expect.stringMatching(/Bart.*T5ForConditionalGeneration/),
    });
  });

  test("is opened by its weight file, too", async () => {
    const own = await open(join(places.text, "model.safetensors"));
    const [found, expected] = await Promise.all(
      [own, opened.text].map((model) => model.ability("encoder-decoder").write(given, { maxTokens: 4 })),
    );
    expect(found).toEqual(expected);
    await own.close();
    // A file of another kind beside it is that kind.
    await copyFile(places.filter, join(places.text, "arm.filter"));
    await using filter = await open(join(places.text, "arm.filter"));
    expect([...filter.capabilities]).toEqual(["filter"]);
  });

  test("may be stored in packed integers; whole numbers without a scale, and GGUF, are refused by name", async () => {
    const place = join(folder, "quantised");
    const wide = readT5Config({ ...config, model_type: "t5", d_model: 32, d_kv: 8, d_ff: 64 });
    const codes: Codes = {
      ...{ outputs: 32, inputs: 64, bits: 4, groupSize: 32 },
      code: (output, input) => (7 * output + 3 * input) % 16,
      zero: (output, group) => 7 + ((output + group) % 2),
      scale: (output) => 2 ** -(5 + (output % 2)),
    };
    const matrices = t5Parameters(wide).flatMap(({ name, shape }) => (shape.join() === "32,64" ? [name] : []));
    expect(matrices.length).toBe(4);
    const values = new Map(
      t5Parameters(wide).map(({ name, shape }, p) => [
        name,
        matrices.includes(name)
          ? valuesOf(codes)
          : Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
              shape.length === 1 ? 1 : 0.4 * Math.sin(1.3 * i * i + p * 7.7),
            ),
      ]),
    );
    await saveTextModel(place, { config: wide, weights: values, codec: text.codec, vocabulary: words });
    const written = async () => {
      await using model = await open(place);
      return model.ability("encoder-decoder").write(given, { maxTokens: 6 });
    };
    const expected = await written();
    const file = join(place, "model.safetensors");
    const store = async (as: (name: string) => WrittenTensor[]): Promise<void> => {
      const plain = t5Parameters(wide).map(({ name, shape }) => ({
        ...{ name, shape },
        type: "F32" as const,
        data: values.get(name)!,
      }));
      await writeSafetensors(
        file,
        plain.flatMap((tensor) => (matrices.includes(tensor.name) ? as(tensor.name) : [tensor])),
        { format: "pt" },
      );
    };
    const said = JSON.parse(await readFile(join(place, "config.json"), "utf8"));
    const quantization_config = { quant_method: "gptq", bits: 4, group_size: 32, desc_act: false, sym: false };
    await writeFile(join(place, "config.json"), JSON.stringify({ ...said, quantization_config }));
    await store((name) => gptqTensors(name.replace(/\.weight$/, ""), codes));
    expect(await written()).toEqual(expected);

    await writeFile(join(place, "config.json"), JSON.stringify(said));
    await store((name) => [{ name, type: "I8", shape: [32, 64], data: new Int8Array(2048).fill(3) } as WrittenTensor]);
    await expect(open(place)).rejects.toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(/DenseReluDense\.wo\.weight is stored as whole numbers \(I8\)/),
    });
    await writeFile(join(place, "t5.gguf"), ggufBytes({ "general.architecture": "t5" }, []));
    await expect(open(join(place, "t5.gguf"))).rejects.toMatchObject({
      code: "bad_config",
      message: expect.stringMatching(/t5\.gguf: architecture "t5" is not supported/),
    });
  });

  test("refuses tokens that its weights do not know, and calls after it was closed", async () => {
    const other = join(folder, "other-tokens");
    await saveTextModel(other, text);
    await rm(join(other, "words.json"));
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      await copyFile(join(root, "models", "pylos", name), join(other, name));
    const model = await open(other);
    const writer = model.ability("encoder-decoder");
    await expect(writer.write("The old king was")).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/the token \d+, and the model knows 10 alone/),
    });
    await model.close();

    const closing = await open(places.text);
    const late = closing.ability("encoder-decoder");
    const before = late.write(given, { maxTokens: 5 });
    await closing.close();
    expect((await before).tokens.length).toBeGreaterThan(0);
    await expect(late.write(given)).rejects.toMatchObject({
      code: "aborted",
      message: expect.stringMatching(/closed/),
    });
    await closing.close();
  });

  test("sees the padding of neither texts nor beams", async () => {
    const size = { rows: 1, slots: ids.length, length: 4, beams: 3 };
    const { states } = await opened.text.ability("encoder-decoder").encode(given);
    const bare = await openDecoder(text, size);
    const padded = await openDecoder(text, { ...size, slots: 9, masks: true });
    const wider = new Float32Array(9 * config.d_model).fill(3);
    wider.set(states);
    const [expected] = await bare.find(states);
    const [found] = await padded.find(wider, new Float32Array(9).fill(masked, ids.length));
    expect(found.tokens).toEqual(expected.tokens);
    expect(found.logprob).toBeCloseTo(expected.logprob, 4);
    await bare.release();
    await padded.release();
  });
});

describe.each(["pointing", "filter", "text"] as const)("%s", (kind) => {
  test("is refused by name where it lacks what is asked for", async () => {
    const model = opened[kind];
    const capability = kind === "text" ? "encoder-decoder" : kind;
    expect([...model.capabilities]).toEqual([capability]);
    for (const { name, needs = ["forest"] } of methods)
      expect(() => model.decode([1, 2], { method: name } as never), name).toThrow(
        new RegExp(`the method ${name} needs of its model: ${needs.join(", ")}; .* has: ${capability}`),
      );
    const lacking = {
      code: expect.stringMatching(/unavailable|bad_option/),
      message: expect.stringMatching(capability),
    };
    expect(() => model.sites()).toThrow(/has no sites/);
    expect({ ...model }.name).toBe(model.name);
    expect(() => model.forest).toThrow(/has no forest/);
    await expect(model.forward([1, 2])).rejects.toMatchObject(lacking);
    await expect(model.score([1, 2])).rejects.toMatchObject(lacking);
    await expect(model.embed([1, 2])).rejects.toMatchObject(lacking);
    expect(() => model.ability("canvas")).toThrow(/has no canvas; what it has: /);
    for (const name of ["toString", "__proto__"]) expect(() => model.ability<object>(name)).toThrow(/has no /);
    const untold = {
      code: "unavailable",
      message: expect.stringMatching(`has no tokenizer; what it has: ${capability}`),
    };
    await expect(model.score("a")).rejects.toMatchObject(untold);
    await expect(model.embed("a")).rejects.toMatchObject(untold);
    await expect(model.forward("a")).rejects.toMatchObject(untold);
    await expect(open(places[kind], { weights: "int8" })).rejects.toThrow(
      /weights: it means nothing to .*, which is a/,
    );
    await expect(open(places[kind], { contextLength: 64 })).rejects.toThrow(/contextLength: it means nothing to/);
  });
});

test.each(["pointing", "filter", "text"] as const)("a worker says of %s that it writes no texts", async (kind) => {
  // The thread's script speaks through the globals of a worker.
  const told: { id: number; type: string; code?: string; message?: string }[] = [];
  const scope = globalThis as unknown as { name?: string; postMessage?: unknown; onmessage?: unknown };
  Object.assign(scope, { name: "", postMessage: (answer: (typeof told)[number]) => told.push(answer) });
  try {
    await import("../src/worker/thread.ts");
    hearing ??= scope.onmessage as typeof hearing;
    const page = "http://localhost/";
    await hearing!({
      data: { id: 7, type: "open", reference: places[kind], options: {}, page, models: undefined, life: "one" },
    });
  } finally {
    for (const name of ["name", "postMessage", "onmessage"] as const) delete scope[name];
  }
  const has = kind === "text" ? "encoder-decoder" : kind;
  const message = `the model ${places[kind]} has: ${has}; what runs in a worker writes texts token by token`;
  expect(told.filter(({ type }) => type !== "progress")).toEqual([
    { id: 7, type: "error", code: "bad_option", message },
  ]);
});
let hearing: ((message: { data: unknown }) => Promise<void>) | undefined;

test("the list of models has those in a folder, and says what they are", async () => {
  const listed = JSON.parse((await cli(["models", folder, "--json"])).stdout) as {
    path: string;
    architecture: string;
  }[];
  const found = Object.fromEntries(listed.map(({ path, architecture }) => [path, architecture]));
  expect(found[places.filter]).toBe("filter of signals");
  expect(found[places.text]).toBe("T5ForConditionalGeneration");
  const served = await cli(["serve", "--port", "0", "--model", places.text]);
  expect(served.stderr).toMatch(/has: encoder-decoder; what is served writes texts/);
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "Hi" }] }];
  for (const kind of ["text", "pointing"] as const)
    await expect(createVentris()(places[kind]).doGenerate({ prompt })).rejects.toThrow(
      /has no tokenizer; what it has: /,
    );
  expect((await cli(["models", places.filter])).stderr).toMatch(/is a file: name the folder/);
  const compared = await cli(["compare", "--model", places.pointing, "Hi"]);
  expect(compared.stderr).toMatch(/no decoding method works with .*, which has: pointing; ventris point answers/);
});

/** A file with another card or other tensors, whose fingerprint fits them where there is one. */
async function forged(
  from: string,
  change: (card: Record<string, never>, tensors: WrittenTensor[]) => void,
): Promise<string> {
  const source = await openSafetensors(from);
  const tensors: WrittenTensor[] = [];
  for (const [name, { type, shape }] of source.tensors) {
    const { buffer } = await source.readBytes(name);
    const data = type === "F64" ? new Float64Array(buffer) : await source.readFloat32(name);
    tensors.push({ name, type: type as "F16", shape, data: data as never });
  }
  await source.close();
  const card = JSON.parse(source.metadata.card);
  change(card, tensors);
  const hash = (await storage()).hash("sha256").update(JSON.stringify([card.method, card.options, card.features]));
  for (const { name, shape, data } of tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    hash.update(`${name} ${shape[0]} ${shape[1]}`).update(new Uint8Array((data as Float64Array<ArrayBuffer>).buffer));
  const path = join(folder, "forged.safetensors");
  await writeSafetensors(path, tensors, {
    ...source.metadata,
    card: JSON.stringify(card),
    ...(source.metadata.fingerprint && { fingerprint: hash.hex() }),
  });
  return path;
}

test.each([
  ["pointing", { shape: { kind: "pointer", hidden: 0 } }, /shape\.hidden must be at least 1/],
  ["pointing", { shape: { kind: "pointer", hidden: 4096 } }, /encoder\.input is \[512,2\], expected \[16384,2\]/],
  ["pointing", { shape: { kind: "pointer", hidden: 128, more: 1 } }, /no option "more" in shape/],
  ["pointing", { task: "__proto__" }, /task must be "hull"/],
  ["pointing", { trained: { sizes: [5], steps: "x", seed: {} } }, /trained\.sizes.*trained\.steps.*trained\.seed/],
  ["filter", { method: "particle", options: { particles: 1e9 } }, /particles must be at most/],
  ["filter", { options: { ridge: 0, more: 1 } }, /no option "more"/],
  ["filter", { observationDimension: 65_536 }, /2 states of 65536 channels, and its arrays are for 2 of 3/],
  ["filter", { stateDimension: 5 }, /5 states of 3 channels/],
  ["filter", { stateNames: ["one"] }, /stateNames must name each state/],
] as const)("a forged %s file with %j is refused", async (kind, card, said) => {
  const path = await forged(places[kind], (found) => Object.assign(found, card));
  await expect(open(path)).rejects.toMatchObject({ code: "bad_file", message: expect.stringMatching(said) });
});

test("a pointer network's file with a tensor that has no place in it is refused", async () => {
  const more = { name: "more", type: "F32" as const, shape: [1], data: new Float32Array(1) };
  const path = await forged(places.pointing, (_, tensors) => tensors.push(more));
  await expect(open(path)).rejects.toThrow(/the tensor more has no place in a pointer network/);
});

test("a file of a kind that this version does not know is said to be one", async () => {
  const later = join(folder, "later.safetensors");
  await writeSafetensors(later, [], { format: "ventris pointing 9" });
  await expect(open(later)).rejects.toThrow(/says that it holds "ventris pointing 9", which is no model/);
});

test("a file that only looks like one of these is refused", async () => {
  const other = join(folder, "other.safetensors");
  await copyFile(places.filter, other);
  const bytes = await readFile(other);
  await writeFile(other, bytes.subarray(0, bytes.length - 16));
  await expect(open(other)).rejects.toMatchObject({ code: "bad_file" });
});
