/** Unsound checkpoints are refused with an error of ours that names what is wrong; nothing crashes and nothing is guessed. */
import { mkdir, mkdtemp, open as openFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadForest } from "../../test/fixtures/load-forest.ts";
import {
  configOf,
  type Json,
  llamaConfig,
  removeModel,
  type TinyModel,
  type TinyOptions,
  writeTinyModel,
} from "../../test/fixtures/tiny-model.ts";
import { type ErrorCode, VentrisError } from "../errors.ts";
import { familyOf } from "../models/families.ts";
import { weightFileName } from "../tensor/index.ts";
import { cacheFolder, cacheKey, fileIdentity, ownFormats } from "../weights/index.ts";
import { type LoadOptions, loadModel } from "./load.ts";
import { lowerPass } from "./pass.ts";

let tiny: TinyModel;
beforeAll(async () => {
  tiny = await writeTinyModel();
});
afterAll(() => removeModel(tiny));

async function failure(start: () => unknown): Promise<VentrisError> {
  try {
    await start();
  } catch (error) {
    expect(error).toBeInstanceOf(VentrisError);
    return error as VentrisError;
  }
  throw new Error("was accepted");
}

async function refused(options: TinyOptions, load: LoadOptions = {}): Promise<VentrisError> {
  const broken = await writeTinyModel(options);
  try {
    return await failure(() => loadModel(broken.folder, "broken", { threads: 1, ...load }));
  } finally {
    await removeModel(broken);
  }
}

describe("tensors that do not fit the config", () => {
  const up = "model.layers.1.mlp.up_proj.weight";
  test.each<[string, TinyOptions, RegExp]>([
    ["a missing one", { tensors: (all) => void all.delete(up) }, /up_proj\.weight is missing/],
    [
      "one of another shape",
      { tensors: (all) => void all.set(up, { shape: [32, 64], data: all.get(up)!.data }) },
      /up_proj\.weight has shape \[32,64\], but the config asks for \[64,32\]/,
    ],
    [
      "one too many",
      { tensors: (all) => void all.set("model.layers.2.mlp.up_proj.weight", all.get(up)!) },
      /model\.layers\.2\.mlp\.up_proj\.weight has no place/,
    ],
    [
      "a bias the architecture has not",
      { tensors: (all) => void all.set("lm_head.bias", { shape: [64], data: new Float32Array(64) }) },
      /lm_head\.bias has no place/,
    ],
    ["NaN", { tensors: (all) => void (all.get(up)!.data as Float32Array).fill(Number.NaN, 7, 8) }, /up_proj\.weight/],
    [
      "infinity",
      { tensors: (all) => void (all.get(up)!.data as Float32Array).fill(Infinity, 7, 8) },
      /up_proj\.weight/,
    ],
  ])("%s", async (_, options, message) => {
    for (const weights of ["f32", "int8"] as const) {
      const error = await refused(options, { weights });
      expect(error.code).toBe("bad_file");
      expect(error.message).toMatch(message);
    }
  });

  test("a config that contradicts them", async () => {
    for (const change of [{ num_hidden_layers: 3 }, { num_hidden_layers: 1 }, { vocab_size: 65 }, { head_dim: 4 }]) {
      const broken = await writeTinyModel();
      await writeFile(join(broken.folder, "config.json"), JSON.stringify({ ...broken.config, ...change }));
      expect((await failure(() => loadModel(broken.folder, "broken"))).code).toBe("bad_file");
      await removeModel(broken);
    }
  });
});

test("a file that is cut off anywhere", async () => {
  const broken = await writeTinyModel();
  const path = join(broken.folder, "model.safetensors");
  const file = await openFile(path, "r+");
  const { size } = await file.stat();
  for (const length of [size - 1, size >> 1, 100, 8, 3, 0]) {
    await file.truncate(length);
    expect((await failure(() => loadModel(broken.folder, "broken"))).code).toBe("bad_file");
  }
  await file.close();
  await removeModel(broken);
});

test.each<[string, string | undefined, ErrorCode]>([
  ["no config", undefined, "unavailable"],
  ["a config that is no JSON", "{", "bad_config"],
  ["a config that is a list", "[]", "bad_config"],
  ["a config without architecture", "{}", "bad_config"],
])("%s", async (_, text, code) => {
  const broken = await writeTinyModel();
  const path = join(broken.folder, "config.json");
  if (text === undefined) await (await import("node:fs/promises")).rm(path);
  else await writeFile(path, text);
  expect((await failure(() => loadModel(broken.folder, "broken"))).code).toBe(code);
  await removeModel(broken);
});

describe("config.json", () => {
  const bad: [string, Json, RegExp][] = [
    ["another architecture", { architectures: ["LlamaForCausalM"] }, /did you mean "LlamaForCausalLM"/],
    ["a field nobody knows", { logit_softcap: 30 }, /logit_softcap = 30 is not known/],
    ["another activation", { hidden_act: "gelu" }, /hidden_act = "gelu" is not supported/],
    ["heads that cannot share", { num_key_value_heads: 3 }, /4 heads cannot share 3/],
    ["an odd head dimension", { head_dim: 7 }, /even head dimension, not 7/],
    ["half a layer", { num_hidden_layers: 1.5 }, /num_hidden_layers must be a whole number/],
    ["a number too large", { hidden_size: 2 ** 40 }, /hidden_size must be a whole number from 1 to/],
    ["dynamic scaling", { rope_scaling: { rope_type: "dynamic", factor: 2 } }, /type "dynamic" is not supported/],
    ["a field of another scheme", { rope_scaling: { rope_type: "linear", factor: 2, beta_fast: 3 } }, /beta_fast/],
    ["rope scaling without factor", { rope_scaling: { rope_type: "linear" } }, /rope_scaling.factor/],
    ["a quantised checkpoint", { quantization_config: { bits: 4 } }, /quantization_config/],
    [
      "a window below one",
      { architectures: ["MistralForCausalLM"], model_type: "mistral", sliding_window: -5 },
      /sliding_window/,
    ],
    [
      "a window of words",
      { architectures: ["MistralForCausalLM"], model_type: "mistral", sliding_window: "wide" },
      /sliding_window/,
    ],
    [
      "a window from no layer on",
      {
        architectures: ["Qwen2ForCausalLM"],
        model_type: "qwen2",
        use_sliding_window: true,
        sliding_window: 8,
        max_window_layers: "the last",
      },
      /max_window_layers/,
    ],
    ["layers of two kinds", { layer_types: ["full_attention", "sliding_attention"] }, /layer_types/],
    ["biases everywhere", { attention_bias: true }, /attention_bias/],
    ["an end token that is none", { eos_token_id: "</s>" }, /eos_token_id/],
  ];
  test.each(bad)("%s is refused", async (_, change, message) => {
    const error = await failure(() => familyOf(configOf(change)));
    expect(error.code).toBe("bad_config");
    expect(error.message).toMatch(message);
  });

  test("whatever stands in a field, the answer is a config or an error of ours", () => {
    const field = fc.constantFrom(
      ...Object.keys(llamaConfig),
      "rope_scaling",
      "rope_parameters",
      "head_dim",
      "layer_types",
    );
    const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.integer(), fc.double(), fc.constant(undefined));
    fc.assert(
      fc.property(
        fc.dictionary(field, value, { maxKeys: 3 }),
        fc.constantFrom("Llama", "Mistral", "Qwen2", "Qwen3"),
        (changes, kind) => {
          try {
            const { config } = familyOf(configOf({ architectures: [`${kind}ForCausalLM`], ...changes }));
            for (const size of [config.layers, config.heads, config.hiddenSize, config.headDimension / 2])
              expect(Number.isInteger(size) && size >= 1).toBe(true);
            expect(config.window === undefined || config.window >= 1).toBe(true);
            expect(config.rotations.every(({ frequencies }) => frequencies.every(Number.isFinite))).toBe(true);
          } catch (error) {
            if (!(error instanceof VentrisError)) throw error;
            expect(error.code).toBe("bad_config");
          }
        },
      ),
      { numRuns: 400, seed: 5 },
    );
  });

  test("a folder with any of them loads or fails with an error of ours", async () => {
    const path = join(tiny.folder, "config.json");
    const numbers = fc.constantFrom(
      "vocab_size",
      "hidden_size",
      "num_attention_heads",
      "head_dim",
      "intermediate_size",
    );
    const size = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constant(2 ** 20));
    try {
      await fc.assert(
        fc.asyncProperty(numbers, size, async (name, value) => {
          await writeFile(path, JSON.stringify({ ...tiny.config, [name]: value }));
          try {
            await (await loadForest(tiny.folder, "tiny", { threads: 1 })).forest.close();
          } catch (error) {
            expect(error).toBeInstanceOf(VentrisError);
          }
        }),
        { numRuns: 30, seed: 5 },
      );
    } finally {
      await writeFile(path, JSON.stringify(tiny.config));
    }
  });
});

test("a prepared file of an earlier layout is not taken for one of this layout", async () => {
  const previous = process.env.VENTRIS_CACHE;
  process.env.VENTRIS_CACHE = await mkdtemp(join(tmpdir(), "ventris-load-"));
  try {
    const { family, config } = familyOf(tiny.config);
    const lowered = lowerPass(family, config, { blocks: () => ownFormats[4] });
    const identity = await fileIdentity(join(tiny.folder, "model.safetensors"));
    const key = await cacheKey("weights 1", identity, JSON.stringify(lowered.weights));
    const folder = join(await cacheFolder(), "weights", key);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, weightFileName), new Uint8Array(lowered.weightBytes));
    const { forest } = await loadForest(tiny.folder, "tiny", { threads: 1, weights: "int4" });
    const { node } = await forest.lease().prefill([3, 1, 2]);
    expect(Math.max(...node.logits!)).toBeGreaterThan(0.1); // all are 0 with weights of zero
    await forest.close();
  } finally {
    await rm(await cacheFolder(), { recursive: true, force: true });
    if (previous === undefined) delete process.env.VENTRIS_CACHE;
    else process.env.VENTRIS_CACHE = previous;
  }
});

test("an unknown precision, device or number of threads", async () => {
  const load = (options: object) => failure(() => loadModel(tiny.folder, "tiny", options));
  expect(await load({ weights: "int3" })).toMatchObject({ code: "bad_option" });
  expect(await load({ keyValues: "f64" })).toMatchObject({ code: "bad_option" });
  expect(await load({ device: "abacus" })).toMatchObject({ code: "unavailable" });
  expect(await load({ threads: 0 })).toMatchObject({ code: "bad_option" });
});

test.each(["a file where the cache folder should be", "a file in the way of its folder of weights"])(
  "a model in 8 bits opens although nothing can be prepared on disk: %s",
  async (kind) => {
    const place = await mkdtemp(join(tmpdir(), "ventris-blocked-"));
    const cache = join(place, "cache");
    if (kind.endsWith("be")) await writeFile(cache, "a file");
    else {
      await mkdir(cache);
      await writeFile(join(cache, "weights"), "a file");
    }
    const logits: Float32Array[] = [];
    for (const folder of [cache, join(place, "other")]) {
      vi.stubEnv("VENTRIS_CACHE", folder);
      const { forest } = await loadForest(tiny.folder, "tiny", { weights: "int8", threads: 1 });
      const { node } = await forest.lease().prefill([1, 2, 3]);
      logits.push(node.logits!.slice());
      await forest.close();
    }
    vi.unstubAllEnvs();
    expect(logits[0]).toEqual(logits[1]);
    await rm(place, { recursive: true, force: true });
  },
);
