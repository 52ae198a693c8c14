/** Checkpoints as they are found: padded, larger, replaced in place, with a tokenizer of their own. */
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { open } from "../src/open.ts";
import { awqTensors, type Codes, gptqTensors, valuesOf } from "../src/weights/packed-integers.fixture.ts";
import { type TensorToWrite, writeSafetensors } from "../src/weights/safetensors.ts";
import { dataPath, noData } from "./data.ts";
import { removeModel, writeTinyModel } from "./fixtures/tiny-model.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-published-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(() => {
  vi.stubEnv("VENTRIS_CACHE", join(folder, "cache"));
  vi.spyOn(process, "emitWarning").mockImplementation(() => {});
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const casePath = (name: string) => dataPath("..", "cases", name);
const skipped = (name: string) => `${name}${casePath(name) ? "" : `: ${noData}`}`;

describe.skipIf(!casePath("padded-vocabulary"))(skipped("padded-vocabulary"), () => {
  it("ids without a piece are empty text, drawn or asked for", async () => {
    await using model = await open(casePath("padded-vocabulary")!);
    for (const seed of [1, 2, 3]) {
      const { tokens, text } = await model.decode("hello", { temperature: 1, seed, maxTokens: 40 }).final;
      expect(tokens.length).toBeGreaterThan(0);
      expect(text).toBe(model.tokenizer!.decode(tokens, { continued: true }));
    }
    const biased = { temperature: 0, logitBias: { 300: 1000 }, maxTokens: 4 };
    expect(await model.decode("hello", biased).final).toMatchObject({ tokens: [300, 300, 300, 300], text: "" });
    const dry = { temperature: 1, seed: 1, maxTokens: 20, dry: { multiplier: 1 } };
    expect((await model.decode("hello hello", dry).final).tokens.length).toBeGreaterThan(0);
  });
});

describe.skipIf(!casePath("tokenizer-larger"))(skipped("tokenizer-larger"), () => {
  it("loads with a warning; an id beyond the model is refused where it is used", async () => {
    await using model = await open(casePath("tokenizer-larger")!);
    expect(vi.mocked(process.emitWarning).mock.calls.join()).toMatch(/259 tokens, the model only 258/);
    expect((await model.decode("hello", { temperature: 0, maxTokens: 3 }).final).tokens).toHaveLength(3);
    expect(() => model.decode([258], { maxTokens: 1 })).toThrow(expect.objectContaining({ code: "bad_option" }));
  });
});

describe.skipIf(!casePath("gguf-own-tokenizer"))(skipped("gguf-own-tokenizer"), () => {
  it("another tokenizer beside the file is refused; alone it speaks for itself", async () => {
    await expect(open(casePath("gguf-own-tokenizer")!)).rejects.toMatchObject({ code: "bad_file" });
    const alone = await mkdtemp(join(folder, "alone-"));
    await cp(join(casePath("gguf-own-tokenizer")!, "model.gguf"), join(alone, "model.gguf"));
    for (const path of [alone, join(alone, "model.gguf")]) {
      await using model = await open(path);
      expect(model.tokenizer!.vocabularySize).toBe(258);
      expect((await model.decode("hello", { temperature: 0, maxTokens: 3 }).final).tokens.length).toBeGreaterThan(0);
    }
  });
});

describe("packed integers", () => {
  const methods = {
    gptq: { write: gptqTensors, config: { quant_method: "gptq", bits: 4, group_size: 32 } },
    awq: { write: awqTensors, config: { quant_method: "awq", bits: 4, group_size: 32 } },
    "gptq of 8 bits": { write: gptqTensors, config: { quant_method: "gptq", bits: 8, group_size: 32 } },
  } as const;
  it.each(Object.entries(methods))("%s runs as the matrices it stands for", async (_, { write, config }) => {
    const plain = await writeTinyModel({ config: { hidden_size: 64, head_dim: 16 } });
    const packed = await mkdtemp(join(folder, "packed-"));
    const tensors: TensorToWrite[] = [];
    const values: TensorToWrite[] = [];
    for (const [name, { shape, data }] of plain.weights) {
      const whole = { name, type: "F32" as const, shape, data: Float32Array.from(data) };
      if (!name.endsWith("_proj.weight")) {
        tensors.push(whole);
        values.push(whole);
        continue;
      }
      const [outputs, inputs] = shape;
      const middle = 2 ** (config.bits - 1);
      const scale = 1 / 4 / Math.sqrt(inputs) / (middle / 8);
      const codes: Codes = {
        outputs,
        inputs,
        bits: config.bits,
        groupSize: 32,
        zero: (output, group) => middle - 1 + ((output + group) % 3),
        scale: () => scale,
        code: (output, input) =>
          Math.max(0, Math.min(2 * middle - 1, Math.round(data[output * inputs + input] / scale) + middle)),
      };
      tensors.push(...write(name.replace(".weight", ""), codes));
      values.push({ ...whole, data: valuesOf(codes) });
    }
    await writeSafetensors(join(packed, "model.safetensors"), tensors);
    await writeFile(join(packed, "config.json"), JSON.stringify({ ...plain.config, quantization_config: config }));
    await writeSafetensors(join(plain.folder, "model.safetensors"), values);
    const answer = async (path: string, weights: "f32" | "auto") => {
      await using model = await open(path, { weights });
      const { tokens, logprobs } = await model.decode([1, 2, 3], { temperature: 0, maxTokens: 8, logprobs: 1 }).final;
      return { tokens, logprobs: logprobs!.map(({ raw }) => raw) };
    };
    const expected = await answer(plain.folder, "f32");
    expect(await answer(packed, "f32")).toEqual(expected);
    // As they are: activations are rounded to 8 bits, and nothing else is.
    const close = await answer(packed, "auto");
    expect(Math.abs(close.logprobs[0] - expected.logprobs[0])).toBeLessThan(0.2);
    expect(close.logprobs[0]).not.toBe(expected.logprobs[0]);
    await removeModel(plain);
  });
});

describe("biases of zeros, which writers of packed integers give every matrix", () => {
  const codes: Codes = {
    ...{ outputs: 64, inputs: 64, bits: 4, groupSize: 32, zero: () => 8, scale: () => 1 / 64 },
    code: (output, input) => (output * 5 + input * 3) % 16,
  };
  it.each(["LlamaForCausalLM", "Qwen2ForCausalLM"])(
    "are taken by a model that has a place for them alone: %s",
    async (architecture) => {
      const kind = { architectures: [architecture], model_type: architecture.slice(0, 5).toLowerCase() };
      const tiny = await writeTinyModel({ config: { ...kind, hidden_size: 64, head_dim: 16 } });
      const packed = await mkdtemp(join(folder, "biased-"));
      const whole = (name: string, shape: readonly number[], data: ArrayLike<number>): TensorToWrite => ({
        ...{ name, type: "F32", shape, data: Float32Array.from(data) },
      });
      const zeros = (name: string) => whole(name, [64], new Float32Array(64));
      const tensors = [...tiny.weights]
        .filter(([name]) => !/q_proj/.test(name))
        .map(([name, { shape, data }]) => whole(name, shape, data));
      for (let layer = 0; layer < 2; layer++) {
        const stem = `model.layers.${layer}.self_attn.q_proj`;
        tensors.push(...gptqTensors(stem, codes), zeros(`${stem}.bias`));
      }
      await writeSafetensors(join(packed, "model.safetensors"), tensors);
      const quantization_config = { quant_method: "gptq", bits: 4, group_size: 32 };
      await writeFile(join(packed, "config.json"), JSON.stringify({ ...tiny.config, quantization_config }));
      await using model = await open(packed);
      expect((await model.decode([1, 2, 3], { temperature: 0, maxTokens: 4 }).final).tokens).toHaveLength(4);
      await removeModel(tiny);
    },
  );
});

describe("a checkpoint that is replaced in place", () => {
  it("is prepared anew, shards and all", async () => {
    const [first, second] = await Promise.all([1, 2].map((seed) => writeTinyModel({ seed, shards: 2 })));
    const place = await mkdtemp(join(folder, "place-"));
    const answer = async (path: string) => {
      await using model = await open(path, { weights: "int8" });
      const { tokens } = await model.decode([1, 2, 3], { temperature: 0, maxTokens: 12 }).final;
      return tokens;
    };
    await cp(first.folder, place, { recursive: true });
    const before = await answer(place);
    expect(before).toEqual(await answer(first.folder));
    // The index stays as it is: its time, its size and its contents.
    for (const name of await readdir(second.folder)) {
      if (name.endsWith(".safetensors")) {
        await cp(join(second.folder, name), join(place, name), { preserveTimestamps: true });
      }
    }
    const after = await answer(place);
    expect(after).toEqual(await answer(second.folder));
    expect(after).not.toEqual(before);
    await Promise.all([first, second].map(removeModel));
  });

  it("has another identity when its config changes what is computed", async () => {
    const tiny = await writeTinyModel();
    const identities: string[] = [];
    for (const rope_theta of [10000, 20000]) {
      await writeFile(join(tiny.folder, "config.json"), JSON.stringify({ ...tiny.config, rope_theta }));
      await using model = await open(tiny.folder);
      identities.push(model.identity);
    }
    expect(identities[0]).not.toBe(identities[1]);
    await removeModel(tiny);
  });
});
