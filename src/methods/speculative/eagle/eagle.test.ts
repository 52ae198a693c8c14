/** EAGLE drafts, our own and published ones, against a calculation in float64; and drafting with a shortened model. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { someNumbers } from "../../../../test/conformance/entries.ts";
import { type ReferenceTensor, referenceLogits } from "../../../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import { type Model, open } from "../../../open.ts";
import { writeSafetensors } from "../../../weights/index.ts";
import { openEagle } from "./draft.ts";

vi.setConfig({ testTimeout: 180_000 }); // seconds of work at most, but the machine may be busy

const width = 32;
let tiny: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } });
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});

const text = [5, 9, 2, 33, 14, 7];
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);
};

const layerShapes: Record<string, number[]> = {
  "self_attn.q_proj.weight": [32, 32],
  "self_attn.k_proj.weight": [16, 32],
  "self_attn.v_proj.weight": [16, 32],
  "self_attn.o_proj.weight": [32, 32],
  "post_attention_layernorm.weight": [32],
  "mlp.gate_proj.weight": [64, 32],
  "mlp.up_proj.weight": [64, 32],
  "mlp.down_proj.weight": [32, 64],
};
const numbersOf = (name: string, shape: number[]): Float32Array<ArrayBuffer> =>
  someNumbers(
    shape.reduce((a, b) => a * b, 1),
    0.15 + name.length / 400,
  );
/** As SafeAILab/EAGLE writes a draft: `fc`, one layer without the norm before its attention, and embeddings that are the model's. */
function publishedTensors({ bias = true, norm = false } = {}) {
  const shapes: Record<string, number[]> = {
    "embed_tokens.weight": [vocabularySize, width],
    "fc.weight": [width, 2 * width],
    ...(bias && { "fc.bias": [width] }),
    ...Object.fromEntries(Object.entries(layerShapes).map(([name, shape]) => [`layers.0.${name}`, shape])),
    ...(norm && { "layers.0.input_layernorm.weight": [width] }),
  };
  return Object.entries(shapes).map(([name, shape]) => ({
    name,
    type: "F32" as const,
    shape,
    data: numbersOf(name, shape),
  }));
}
type Tensors = ReturnType<typeof publishedTensors>;
async function writePublished(name: string, tensors: Tensors): Promise<string> {
  const folder = join(tiny.folder, name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify({ architectures: ["LlamaForCausalLM"], bias: true }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return folder;
}

/** Logits and states of every row, in float64: row i has token i + 1 of a text and the state that goes before it. */
function reference(tensors: Tensors, tokens: readonly number[], states: readonly Float32Array[]) {
  const of = (name: string): ArrayLike<number> | undefined => tensors.find((tensor) => tensor.name === name)?.data;
  const weights = new Map<string, ReferenceTensor>([...tiny.weights].filter(([name]) => !name.includes("layers.")));
  for (const { name, shape, data } of tensors)
    if (name.startsWith("layers.")) weights.set(`model.${name}`, { shape, data });
  const norm = "model.layers.0.input_layernorm.weight";
  const normed = weights.has(norm);
  if (!normed) weights.set(norm, { shape: [width], data: new Float32Array(width).fill(1) });
  const [fused, bias] = [of("fc.weight")!, of("fc.bias")];
  const begun: Float64Array[] = [];
  const ended: Float64Array[] = [];
  const config = { ...tiny.config, num_hidden_layers: 1 };
  const logits = referenceLogits(config, weights, tokens, (site, row, value) => {
    if (site === "embed.tokens") {
      const both = [...value, ...states[row]];
      for (let i = 0; i < width; i++) {
        value[i] = both.reduce((sum, x, j) => sum + fused[i * 2 * width + j] * x, bias?.[i] ?? 0);
      }
      begun[row] = value.slice();
    }
    if (site === "layers.0.attention.norm" && !normed) value.set(begun[row]);
    if (site === "layers.0.residual") ended[row] = value.slice();
    if (site === "final") value.set(ended[row]);
  });
  return { logits, states: ended };
}

describe("a draft", () => {
  test.each([{}, { bias: false }, { norm: true }])("as published loads by its names: %j", async (form) => {
    const tensors = publishedTensors(form);
    const draft = await openEagle(model, await writePublished(`published ${JSON.stringify(form)}`, tensors));
    const states = text.map((_, i) => someNumbers(width, 0.4 + i / 10));
    const cache = draft.cache();
    const row = (i: number, parent = i - 1) => ({ token: text[i], state: states[i], position: i, parent });
    const wanted = reference(tensors, text, states);
    const first = await cache.run([row(0), row(1), row(2)]);
    const second = await cache.run([row(3), row(4), row(5)]);
    const [logits, own] = [
      [...first.logits, ...second.logits],
      [...first.states, ...second.states],
    ];
    for (const i of text.keys()) {
      expect(difference(logits[i], wanted.logits[i])).toBeLessThan(1e-3);
      expect(difference(own[i], wanted.states[i])).toBeLessThan(1e-3);
    }
    // A branch below the third row sees nothing of the other one.
    cache.cut(5);
    const { logits: branch } = await cache.run([{ ...row(5), position: 3, parent: 2 }]);
    const other = reference(tensors, [...text.slice(0, 3), text[5]], [...states.slice(0, 3), states[5]]);
    expect(difference(branch[0], other.logits[3])).toBeLessThan(1e-3);
  });

  test("is refused where it does not fit", async () => {
    const decode = (layer: string) =>
      model.decode(text, { maxTokens: 4, method: methodChoice({ name: "eagle", layer, budget: 4 }) }).final;
    const tensors = publishedTensors();
    const without = await writePublished(
      "no fc",
      tensors.filter(({ name }) => name !== "fc.weight"),
    );
    await expect(decode(without)).rejects.toThrow(/fc\.weight is missing: this is no EAGLE draft/);
    const wide = tensors.map((tensor) =>
      tensor.name === "layers.0.mlp.up_proj.weight"
        ? { ...tensor, shape: [65, 32], data: someNumbers(65 * 32, 1) }
        : tensor,
    );
    await expect(decode(await writePublished("wide", wide))).rejects.toThrow(
      /up_proj\.weight has shape \[65,32\].*\[64,32\]/,
    );
    await expect(decode("nobody")).rejects.toThrow(/no part "nobody"/);
    // A folder of the working directory is no part: the model's own of that name comes first.
    const path = join(tiny.folder, "parts", "other");
    await model.writePart(path, {
      kind: "prompt-tokens",
      name: "src",
      tensors: new Map([["x", { shape: [1], values: someNumbers(1, 1) }]]),
    });
    await expect(decode("src")).rejects.toThrow(/is a part of the kind|prompt-tokens/);
    const pickled = join(tiny.folder, "pickled");
    await mkdir(pickled);
    await writeFile(join(pickled, "pytorch_model.bin"), "x");
    await expect(decode(pickled)).rejects.toThrow(/pytorch_model\.bin is not read, .*: model\.safetensors is wanted/);
  });

  test("whose numbers are not finite is left aside for the round", async () => {
    const huge = publishedTensors().map((tensor) =>
      tensor.name === "fc.weight" ? { ...tensor, data: tensor.data.map((x) => x * 1e30) } : tensor,
    );
    const layer = await writePublished("huge", huge);
    const run = model.decode(text, {
      temperature: 0,
      maxTokens: 8,
      method: methodChoice({ name: "eagle", layer, budget: 4 }),
    });
    const notes: string[] = [];
    for await (const event of run) if (event.type === "draft" && event.note) notes.push(event.note);
    const { tokens, counters } = await run.final;
    expect(tokens).toEqual((await model.decode(text, { temperature: 0, maxTokens: 8 }).final).tokens);
    expect(notes[0]).toMatch(/not finite/);
    expect(counters.failedDrafts).toBeGreaterThan(3);
  });
});

describe("self-speculation", () => {
  const method = (more: object = {}) => methodChoice({ name: "self-speculative", budget: 6, ...more });

  test("with nothing left out accepts everything", async () => {
    for (const temperature of [0, 0.8]) {
      const run = { temperature, maxTokens: 30, seed: 2 };
      const { tokens, counters } = await model.decode(text, { ...run, method: method({ skip: [] }) }).final;
      expect(tokens).toEqual((await model.decode(text, run).final).tokens);
      expect(counters.tokensPerPass).toBeGreaterThan(temperature === 0 ? 3 : 2);
    }
  });

  test("drafts what the model says without the blocks that are left out", async () => {
    const skip = ["mlp.0", "attention.1"];
    const run = model.decode(text, { temperature: 0, maxTokens: 3, method: method({ skip, budget: 1 }) });
    let drafted: number | undefined;
    for await (const event of run) if (event.type === "draft") drafted ??= event.tokens[0];
    const { tokens } = await run.final;
    /** What each row adds to: a block that is left out hands it on. */
    const before: Float64Array[] = [];
    const without = tiny.logits([...text, tokens[0]], (site, row, value) => {
      if (site === "layers.0.residual" || site === "layers.1.attention.residual") value.set(before[row]);
      else if (site === "embed" || site.endsWith("residual")) before[row] = value.slice();
    });
    const last = Array.from(without.at(-1)!);
    expect(drafted).toBe(last.indexOf(Math.max(...last)));
  });

  test("chooses what to leave out by itself, and refuses what is not there", async () => {
    const { tokens } = await model.decode(text, { temperature: 0, maxTokens: 12, method: method() }).final;
    expect(tokens).toEqual((await model.decode(text, { temperature: 0, maxTokens: 12 }).final).tokens);
    const decode = (skip: string[]) => model.decode(text, { maxTokens: 4, method: method({ skip }) }).final;
    await expect(decode(["mlp.7"])).rejects.toThrow(
      /skip: mlp\.7 is no block; there are attention\.0, mlp\.0 … mlp\.1/,
    );
    await expect(decode(["attention.0", "mlp.0", "attention.1", "mlp.1"])).rejects.toThrow(/nothing is left/);
  });
});
