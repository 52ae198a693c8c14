/** Models that see, loaded by published names: rows of a picture and next-token logits against a calculation of their own in float64. */
import { rm } from "node:fs/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { someNumbers } from "../../test/conformance/entries.ts";
import { referenceLogits } from "../../test/fixtures/reference.ts";
import { imageToken, type TinySeeing, towers, writeTinySeeing } from "../../test/fixtures/tiny-seeing.ts";
import type { Vision } from "../engine/vision.ts";
import { prepared, readPreparation } from "../images/index.ts";
import { open } from "../open.ts";
import { familyOf } from "./families.ts";

vi.setConfig({ testTimeout: 120_000 });

const made: TinySeeing[] = [];
const tiny = async (...given: Parameters<typeof writeTinySeeing>) => {
  const model = await writeTinySeeing(...given);
  made.push(model);
  return model;
};
afterAll(async () => {
  for (const { folder } of made) await rm(folder, { recursive: true, force: true });
});

const picture = (width: number, height: number, seed = 1) => ({
  width,
  height,
  pixels: Uint8Array.from(someNumbers(3 * width * height, seed), (x) => Math.round(127 + 90 * x)),
});
const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

describe.each([
  ["clip", false],
  ["siglip", false],
  ["clip", true],
] as const)("%s, newer names %s", (kind, newer) => {
  test("a picture's rows and the logits behind them", async () => {
    const { folder, text, weights, rows } = await tiny(kind, { newer });
    await using model = await open(folder, { threads: 1 });
    const vision = model.ability<Vision>("vision");
    const size = towers[kind].image_size as number;
    const seen = await vision.see(picture(20, 17));
    const pixels = prepared(picture(20, 17), await readPreparation(folder, size));
    const wanted = rows(pixels);
    expect(seen.length).toBe(9);
    for (const [i, { values }] of seen.entries()) expect(furthest(values, wanted[i])).toBeLessThan(2e-5);

    const tokens = [0, ...seen.map(() => 0), 7, 9];
    const logits = referenceLogits(text, weights, tokens, (site, row, value) => {
      if (site === "embed.tokens" && row >= 1 && row <= 9) value.set(wanted[row - 1]);
    });
    const taken: Float32Array[] = [];
    const lease = model.forest.lease();
    const { node } = await lease.prefill([0, ...seen, 7, 9]);
    taken.push(node.logits!);
    lease.close();
    expect(furthest(taken[0], logits.at(-1)!)).toBeLessThan(2e-4);
  });
});

test("the same picture has the same rows, another one has others", async () => {
  const { folder } = await tiny("siglip");
  await using model = await open(folder, { threads: 1 });
  const vision = model.ability<Vision>("vision");
  const [a, again, b] = [
    await vision.see(picture(12, 12)),
    await vision.see(picture(12, 12)),
    await vision.see(picture(12, 12, 2)),
  ];
  expect(a[3].id).toBe(again[3].id);
  expect(a[3].id).not.toBe(b[3].id);
  const run = { temperature: 0, maxTokens: 6 };
  const texts = await Promise.all(
    [a, again, b].map((rows) =>
      model.generate([0, ...rows, 5, 6], run).then(({ counters, tokens }) => ({ tokens, counters })),
    ),
  );
  expect(texts[1].tokens).toEqual(texts[0].tokens);
  const later = await model.generate([0, ...a, 5, 6], run);
  expect(later.counters.cachedTokens).toBeGreaterThan(9); // a shared picture is computed once
  expect(later.tokens).toEqual(texts[0].tokens);
});

describe("a config", () => {
  const config = {
    architectures: ["LlavaForConditionalGeneration"],
    model_type: "llava",
    image_token_index: imageToken,
    text_config: {
      vocab_size: 64,
      hidden_size: 32,
      num_attention_heads: 4,
      num_hidden_layers: 2,
      intermediate_size: 64,
    },
    vision_config: towers.clip,
  };
  const read = (changes: object) => familyOf({ ...config, ...changes }).config;

  test("of LLaVA-1.5 7B, as published, is read with what it leaves out", () => {
    const { vision, layers, hiddenSize } = read({
      image_token_index: 32000,
      ignore_index: -100,
      projector_hidden_act: "gelu",
      text_config: {
        _name_or_path: "lmsys/vicuna-7b-v1.5",
        architectures: ["LlamaForCausalLM"],
        max_position_embeddings: 4096,
        model_type: "llama",
        rms_norm_eps: 1e-5,
        torch_dtype: "float16",
        vocab_size: 32064,
      },
      vision_config: {
        hidden_size: 1024,
        image_size: 336,
        intermediate_size: 4096,
        model_type: "clip_vision_model",
        num_attention_heads: 16,
        num_hidden_layers: 24,
        patch_size: 14,
        projection_dim: 768,
        vocab_size: 32000,
      },
      vision_feature_layer: -2,
      vision_feature_select_strategy: "default",
      tie_word_embeddings: false,
    });
    expect([layers, hiddenSize, vision?.rows, vision?.used, vision?.activation]).toEqual([
      32,
      4096,
      576,
      23,
      "quick_gelu",
    ]);
  });

  test.each([
    [{ vision_config: { ...towers.clip, model_type: "swin" } }, /vision_config\.model_type.*not "swin"/],
    [{ vision_config: undefined }, /vision_config must be an object/],
    [{ text_config: { ...config.text_config, model_type: "gemma" } }, /text_config\.model_type must be one of llama/],
    [{ vision_feature_layer: [-2, -5] }, /features of several layers/],
    [{ vision_feature_layer: 9 }, /none of the tower's 3/],
    [{ image_seq_length: 10 }, /image_seq_length is 10, but the vision tower gives 9 rows/],
    [{ image_token_index: 64 }, /none of the text model's 64 tokens/],
    [{ projector_hidden_act: "mish" }, /projector_hidden_act must be one of/],
    [{ vision_config: { ...towers.clip, patch_size: 14 } }, /larger than the picture/],
    [{ vision_config: { ...towers.clip, image_size: 4096, patch_size: 1 } }, /rows is not supported/],
  ])("%j is refused", (changes, message) => {
    expect(() => read(changes)).toThrow(message);
  });
});
