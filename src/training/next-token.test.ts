import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { familyOf } from "../models/families.ts";
import {
  type Lora,
  loraFiles,
  loraScale,
  loraSites,
  mergedParameters,
  mergeLora,
  readLora,
  writeLora,
} from "../models/lora.ts";
import { findParameters } from "../models/parameters.ts";
import { openSafetensors, openWeights } from "../weights/index.ts";
import { adamwState, adamwUpdate } from "./adamw.ts";
import { type TrainedModel, writeModel } from "./export.ts";
import { initialLora } from "./lora.ts";
import { type NextTokenOptions, nextTokenObjective, type Values } from "./next-token.ts";
import type { Parameter } from "./objective.ts";
import { initialValues } from "./recipe.ts";

const llama = familyOf({
  architectures: ["LlamaForCausalLM"],
  vocab_size: 40,
  hidden_size: 16,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 24,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
});
const gpt2 = familyOf({
  architectures: ["GPT2LMHeadModel"],
  vocab_size: 40,
  n_embd: 16,
  n_head: 4,
  n_layer: 2,
  n_positions: 64,
});

const trainedModel = ({ family, config }: typeof llama, values: Values) => ({
  recipe: { config: {} } as TrainedModel["recipe"],
  family,
  config,
  values,
  tokenizer: "",
  base: undefined,
});

const [rows, length] = [2, 12];
const begin = 0;
const batch = (seed = 5) => ({
  tokens: Int32Array.from({ length: rows * (length + 1) }, (_, i) => 1 + ((i * i * seed + 3 * i) % 39)),
  rows,
  length,
});

async function evaluate(
  { family, config }: typeof llama,
  values: Values,
  options: Partial<NextTokenOptions> = {},
  given = batch(),
) {
  const objective = await nextTokenObjective(family, config, values, { rows, length, threads: 1, ...options });
  const { loss, gradients } = await objective.gradients(given);
  const heldOut = await objective.loss(given);
  await objective.release();
  return { loss, heldOut, gradients, parameters: objective.parameters };
}

/** Differences of the loss, of fourth order, at some entries of every parameter. */
async function differences(
  model: typeof llama,
  values: Values,
  options: Partial<NextTokenOptions>,
  parameters: readonly Parameter[],
): Promise<number[][]> {
  const { family, config } = model;
  const objective = await nextTokenObjective(family, config, values, { rows, length, threads: 1, ...options });
  const step = 1e-2;
  const result: number[][] = [];
  for (const { values: stored } of parameters) {
    const found: number[] = [];
    for (const at of [0, stored.length >> 1, stored.length - 1]) {
      const before = stored[at];
      const losses: number[] = [];
      for (const side of [step, -step, 2 * step, -2 * step]) {
        stored[at] = before + side;
        losses.push((await objective.gradients(batch())).loss);
      }
      stored[at] = before;
      found.push((8 * (losses[0] - losses[1]) - (losses[2] - losses[3])) / (12 * step));
    }
    result.push(found);
  }
  await objective.release();
  return result;
}

/** Larger than training's initial values, so that gradients are. */
const lively = (model: typeof llama, seed: number): Map<string, Float32Array<ArrayBuffer>> => {
  const values = initialValues(model.family, model.config, seed);
  for (const [name, stored] of values) {
    const gain = /norm|ln_/.test(name) ? 1 : 6;
    for (let i = 0; i < stored.length; i++) stored[i] = stored[i] * gain + 0.02 * Math.sin(i);
  }
  return values;
};

function adapter(model: typeof llama, targets: string[], live = true): Lora {
  const config = { rank: 2, alpha: 6, targets };
  const sites = loraSites(model.family, model.config, config);
  const values = initialLora(sites, config.rank, 1);
  if (live)
    for (const { up } of sites)
      values.set(
        up,
        values.get(up)!.map((_, i) => 0.3 * Math.cos(i)),
      );
  return { config, sites, values };
}

describe.each([
  ["Llama", llama, ["q_proj", "v_proj", "down_proj"]],
  ["GPT-2", gpt2, ["c_attn", "mlp.c_proj"]],
] as const)("%s", (_, model, targets) => {
  test.each([
    ["plain", {}],
    ["smoothed", { smoothing: 0.1 }],
    [
      "reverse-kl",
      { teacher: { share: 0.7, divergence: "reverse-kl", config: model.config, values: lively(model, 9) } },
    ],
    ["jsd", { teacher: { share: 1, divergence: "jsd", config: model.config, values: lively(model, 9) } }],
    ["LoRA", { lora: adapter(model, [...targets]) }],
  ] as [string, Partial<NextTokenOptions>][])(
    "the gradient agrees with finite differences: %s",
    async (_name, options) => {
      const values = lively(model, 3);
      const { gradients, parameters } = await evaluate(model, values, options);
      const wanted = await differences(model, values, options, parameters);
      for (const [i, { name, values: stored }] of parameters.entries()) {
        const found = [0, stored.length >> 1, stored.length - 1].map((at) => gradients[i][at]);
        const scale = Math.max(0.1, ...gradients[i].map(Math.abs));
        found.forEach((x, k) => {
          expect(Math.abs(x - wanted[i][k]) / scale, `${name}, ${k}`).toBeLessThan(2e-3);
        });
      }
    },
  );

  test("recomputation changes nothing but memory", async () => {
    const values = lively(model, 3);
    const kept = await evaluate(model, values);
    const again = await evaluate(model, values, { recompute: true });
    expect(again.loss).toBe(kept.loss);
    for (const [i, gradient] of again.gradients.entries()) {
      gradient.forEach((x, k) => {
        expect(Math.abs(x - kept.gradients[i][k])).toBeLessThan(1e-6);
      });
    }
  });

  test("documents that are kept apart are those of texts of their own", async () => {
    const values = lively(model, 3);
    const tokens = batch().tokens.slice();
    const border = 5; // the first row becomes two documents, of 5 and of 7 tokens
    tokens[0] = begin;
    tokens[border] = begin;
    tokens[length + 1] = begin;
    const whole = await evaluate(model, values, { documents: begin }, { tokens, rows, length });
    const lossOf = async (part: Int32Array<ArrayBuffer>) => {
      const shape = { rows: 1, length: part.length - 1 };
      const { loss } = await evaluate(model, values, shape, { tokens: part, ...shape });
      return loss * shape.length;
    };
    const parts = [tokens.slice(0, border + 1), tokens.slice(border, length + 1), tokens.slice(length + 1)];
    const sums = [await lossOf(parts[0]), await lossOf(parts[1]), await lossOf(parts[2])];
    expect(Math.abs(whole.loss - sums.reduce((a, b) => a + b) / (rows * length))).toBeLessThan(1e-5);
    const together = await evaluate(model, values, {}, { tokens, rows, length });
    expect(Math.abs(together.loss - whole.loss)).toBeGreaterThan(1e-3);
  });

  test("an adapter is the merged model, begins as the base, and trains alone", async () => {
    const values = lively(model, 3);
    const lora = adapter(model, [...targets]);
    const { loss } = await evaluate(model, values, { lora });
    const merged = await evaluate(model, mergeLora(values, lora.sites, lora.values, loraScale(lora.config)));
    expect(Math.abs(loss - merged.loss)).toBeLessThan(1e-5);
    const base = await evaluate(model, values);
    const fresh = adapter(model, [...targets], false);
    expect((await evaluate(model, values, { lora: fresh })).loss).toBeCloseTo(base.loss, 6);
    expect(Math.abs(loss - base.loss)).toBeGreaterThan(1e-3);

    const before = new Map([...values].map(([name, stored]) => [name, stored.slice()]));
    const { family, config } = model;
    const objective = await nextTokenObjective(family, config, values, { rows, length, threads: 1, lora: fresh });
    const state = adamwState(objective.parameters);
    for (let step = 0; step < 30; step++) {
      const { gradients } = await objective.gradients(batch());
      adamwUpdate(objective.parameters, gradients, state, 0.03);
    }
    expect(await objective.loss(batch())).toBeLessThan(base.loss - 0.2);
    await objective.release();
    expect(values).toEqual(before);
  });

  test("an adapter is written and read as PEFT names it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-lora-"));
    const lora = adapter(model, [...targets]);
    await writeLora(folder, lora, "base");
    const file = await openSafetensors(join(folder, loraFiles.weights));
    const first = model === llama ? "model.layers.0.self_attn.q_proj" : "transformer.h.0.attn.c_attn";
    expect(file.tensors.get(`base_model.model.${first}.lora_A.weight`)?.shape).toEqual([2, 16]);
    expect(file.tensors.get(`base_model.model.${first}.lora_B.weight`)?.shape).toEqual([model === llama ? 16 : 48, 2]);
    await file.close();
    const read = await readLora(folder, model.family, model.config);
    expect(read.values).toEqual(lora.values);
    expect(loraScale(read.config)).toBe(3);

    const values = lively(model, 3);
    await writeModel({ ...trainedModel(model, values), lora: undefined }, folder);
    const source = await openWeights(folder);
    const merged = mergedParameters(findParameters(source, model.family, model.config), read);
    const wanted = mergeLora(values, lora.sites, lora.values, loraScale(lora.config));
    for (const [name, parameter] of merged) {
      const found = await parameter.read();
      wanted.get(name)!.forEach((x, i) => {
        expect(Math.abs(found[i] - x), name).toBeLessThan(1e-3); // stored as halves
      });
    }
    await source.close();

    const path = join(folder, loraFiles.config);
    const json = JSON.parse(await readFile(path, "utf8"));
    const refused: [object, RegExp][] = [
      [{ use_dora: true }, /use_dora/],
      [{ bias: "all" }, /bias/],
      [{ peft_type: "IA3" }, /peft_type/],
      [{ rank_pattern: { q_proj: 4 } }, /rank_pattern/],
      [{ r: 3 }, /lora_A.weight is \[2,16\], but must be \[3,16\]/],
    ];
    for (const [change, message] of refused) {
      await writeFile(path, JSON.stringify({ ...json, ...change }));
      await expect(readLora(folder, model.family, model.config)).rejects.toMatchObject({
        code: "bad_file",
        message: expect.stringMatching(message),
      });
    }
    await rm(folder, { recursive: true });
  });

  test("an adapter on a site that does not exist is refused", () => {
    const site = (config: object) => () =>
      loraSites(model.family, model.config, { rank: 2, alpha: 4, targets: [], ...config });
    expect(site({ targets: ["k_prj"] })).toThrow(/no matrix "k_prj" to adapt .*all-linear/);
    expect(site({})).toThrow(/no targets/);
    expect(site({ targets: ["all-linear"], rank: 17 })).toThrow(/rank 17/);
  });
});
