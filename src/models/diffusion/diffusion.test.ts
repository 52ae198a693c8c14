/** LLaDA and Dream: checkpoints under either naming against the definition in float64. */
import { rm } from "node:fs/promises";
import { afterAll, describe, expect, test } from "vitest";
import { maskToken, type TinyDiffusionOptions, writeTinyDiffusion } from "../../../test/fixtures/tiny-diffusion.ts";
import { vocabularySize } from "../../../test/fixtures/tiny-model.ts";
import type { Canvas } from "../../engine/canvas/canvas.ts";
import { type Model, open } from "../../open.ts";

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

async function write(options: TinyDiffusionOptions) {
  const tiny = await writeTinyDiffusion(options);
  folders.push(tiny.folder);
  return tiny;
}

const tokens = Array.from({ length: 21 }, (_, i) => (i % 3 === 2 ? maskToken : 3 + ((i * 11) % 40)));

/** Logits of all rows by the canvas, [rows, vocabulary]. */
async function scored(model: Model, ids: readonly number[]): Promise<Float32Array> {
  const sheet = model.ability<Canvas>("canvas").open();
  const all = ids.map((_, i) => i);
  const logits = (await sheet.compute({ tokens: ids, rows: "all", scored: all, keep: false })).slice();
  sheet.close();
  return logits;
}

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

describe.each(["llada", "dream"] as const)("%s", (naming) => {
  const shapes: [string, Record<string, unknown>][] = [
    ["two key-value heads", {}],
    ["as many as heads, tied", { num_key_value_heads: 4, tie_word_embeddings: true }],
  ];
  test.each(shapes)("logits are those of the definition, every row seeing every other: %s", async (_, shape) => {
    const tiny = await write({ naming, shape });
    await using model = await open(tiny.folder, { threads: 1 });
    expect([...model.capabilities]).toContain("canvas");
    expect([...model.capabilities]).not.toContain("forest");
    expect(model.config.diffusion).toMatchObject({ maskToken, shift: naming === "dream" });
    expect(model.config.endTokens).toEqual([1]);
    const wanted = tiny.logits(tokens).flatMap((row) => [...row]);
    expect(furthest(await scored(model, tokens), wanted)).toBeLessThan(1e-4);
    const { logits } = await model.forward(tokens); // a diffusion model's own mask
    expect(furthest(logits, wanted)).toBeLessThan(1e-4);
    // The check that a causal mask would not pass: a later token moves earlier rows.
    const causal = await model.forward(tokens, { mask: "causal" });
    expect(furthest(causal.logits, wanted)).toBeGreaterThan(0.01);
    const changed = [...tokens.slice(0, -1), 7];
    const before = (await scored(model, changed)).subarray(0, vocabularySize);
    expect(furthest(before, wanted.slice(0, vocabularySize))).toBeGreaterThan(1e-3);
  });

  test("matrices in 8 and 4 bits stay near", async () => {
    const wide = { hidden_size: 64, intermediate_size: 128 };
    const tiny = await write({ naming, shape: wide });
    const wanted = tiny.logits(tokens).flatMap((row) => [...row]);
    const size = Math.sqrt(wanted.reduce((sum, x) => sum + x * x, 0));
    for (const [weights, bound] of [
      ["int8", 0.03],
      ["int4", 0.4],
    ] as const) {
      await using model = await open(tiny.folder, { threads: 1, weights });
      const found = await scored(model, tokens);
      const error = Math.sqrt(wanted.reduce((sum, x, i) => sum + (x - found[i]) ** 2, 0)) / size;
      expect(error).toBeLessThan(bound);
      expect(error).toBeGreaterThan(0); // quantised indeed
    }
  });

  test("what is not growing to the right is no forest: methods of it are refused by name", async () => {
    const tiny = await write({ naming });
    await using model = await open(tiny.folder, { threads: 1 });
    expect(() => model.decode([3, 4], { method: "greedy" })).toThrow(
      /greedy needs of its model: forest;.*forest stands for a model that writes from left to right/,
    );
    expect(() => model.forest).toThrow(/no forest/);
  });

  const refusals: [string, object, RegExp][] = [
    ["no mask token", { mask_token_id: undefined }, /no mask_token_id/],
    ["a mask token outside of the vocabulary", { mask_token_id: vocabularySize }, /outside the vocabulary/],
    ["padding that is the mask", { pad_token_id: maskToken }, /pad_token_id and mask_token_id/],
    ["an end that is the mask", { eos_token_id: maskToken }, /is an end token, too/],
    ["a mask that is no number", { mask_token_id: "<mask>" }, /mask_token_id must be a token id/],
    ["several masks", { mask_token_id: [maskToken, 5] }, /mask_token_id must be one token id, not \[/],
    ["padding outside of the vocabulary", { pad_token_id: vocabularySize }, /pad_token_id \d+ is outside/],
    ["an end outside of the vocabulary", { eos_token_id: [1, vocabularySize] }, /eos_token_id \d+ is outside/],
  ];
  test.each(refusals)("refused: %s", async (_, config, message) => {
    const tiny = await write({ naming, config: config as Record<string, unknown> });
    await expect(open(tiny.folder, { threads: 1 })).rejects.toThrow(message);
  });
});

test.each([
  ["alibi", { alibi: true }],
  ["biases everywhere", { include_bias: true }],
  ["another block", { block_type: "sequential" }],
  ["another activation", { activation_type: "swiglu" }],
  ["norms of queries and keys", { attention_layer_norm: true }],
  ["scaled logits", { scale_logits: true }],
  ["a field of unknown mathematics", { attention_window: 8 }],
  ["heads that do not share the width", { n_heads: 5 }],
])("LLaDA refuses %s", async (_, config) => {
  const tiny = await write({ config: config as Record<string, unknown> });
  await expect(open(tiny.folder, { threads: 1 })).rejects.toMatchObject({ code: "bad_config" });
});

test("LLaDA's embedding says how many tokens there are, with the vocabulary's size and without it", async () => {
  for (const config of [
    { embedding_size: vocabularySize, vocab_size: undefined },
    { embedding_size: undefined },
    { embedding_size: vocabularySize, vocab_size: vocabularySize - 3 },
  ]) {
    const tiny = await write({ config });
    await using model = await open(tiny.folder, { threads: 1 });
    expect(model.config.vocabularySize).toBe(vocabularySize);
  }
  const neither = await write({ config: { vocab_size: undefined, embedding_size: undefined } });
  await expect(open(neither.folder, { threads: 1 })).rejects.toThrow(/vocab_size/);
});

test("a feed-forward size that contradicts the tensors names file and tensor", async () => {
  const tiny = await write({ config: { mlp_hidden_size: 48 } });
  await expect(open(tiny.folder, { threads: 1 })).rejects.toThrow(/ff_proj.weight has shape \[64,32\]/);
});
