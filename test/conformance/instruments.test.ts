/**
 * What every method owes to requests that look into the model or change it: the same text with and without taps, and under an edit the text of
 * plain decoding under that edit, in full precision and in 8 and 4 bits, beside requests that have neither.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decode, methodChoice } from "../../src/calls.ts";
import { createModel } from "../../src/engine/model.ts";
import { type DecodeOptions, type Model, methods, open } from "../../src/index.ts";
import type { Edit } from "../../src/models/edits.ts";
import { linear, maximum, minimum } from "../../src/tensor/index.ts";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../fixtures/tiny-model.ts";
import { entries } from "./entries.ts";

let files: TinyModel[];
let draft: string;
const models = new Map<string, Model>();
beforeAll(async () => {
  const smaller = { num_hidden_layers: 1, intermediate_size: 32 };
  files = await Promise.all([
    writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } }),
    writeTinyModel({ tokenizer: true, config: { ...smaller, eos_token_id: undefined } }),
  ]);
  draft = files[1].folder;
  for (const weights of ["f32", "int8", "int4"] as const)
    models.set(weights, await open(files[0].folder, { threads: 1, weights }));
  for (const { prepare } of Object.values(entries)) await prepare?.(models.get("f32")!, files[0].folder);
});
afterAll(async () => {
  for (const model of models.values()) await model.close();
  await Promise.all(files.map(removeModel));
});

const prompt = "the cat sat on the mat, the cat sat";
const site = "layers.0.residual";
const clamp = { site, clamp: { min: -0.6, max: 0.6 } };
const weight = Float32Array.from({ length: vocabularySize * 32 }, (_, i) => 0.1 * Math.sin(3 * i));
/** A head that reads, with parameters of its own. */
const head: Edit = {
  name: "head",
  site: "final",
  parameters: { weight: { shape: [vocabularySize, 32], values: weight } },
  apply: (value, { parameters }) => ({ readings: { logits: linear(value, parameters.weight) } }),
};
const soft = [0, 1].map((i) => ({
  id: `soft ${i}`,
  values: Float32Array.from({ length: 32 }, (_, j) => 0.5 * Math.cos(5 * i + j)),
}));

const settings = (temperature: number): DecodeOptions => ({
  temperature,
  seed: 4,
  maxTokens: 16,
  ...(temperature === 0 && { frequencyPenalty: 2 }), // or a random model repeats one token
});

describe.each(["f32", "int8", "int4"])("%s", (weights) => {
  for (const [name, { options = () => ({}), greedyOnly }] of Object.entries(entries)) {
    const temperatures = greedyOnly ? [0] : name === "awrs" ? [0.8] : [0, 0.8];
    test.each(temperatures)(`${name}: taps, edits, heads and vectors (temperature %d)`, async (temperature) => {
      const model = models.get(weights)!;
      const method = methodChoice({ name, ...options(draft) });
      const plain = methodChoice(temperature === 0 ? "greedy" : "sample");
      const given = settings(temperature);
      const text = async (more: DecodeOptions, start: Parameters<Model["decode"]>[0] = prompt) =>
        (await model.decode(start, { ...given, ...more }).final).tokens;

      const clean = await text({ method: plain });
      const editedPlainly = await text({ method: plain, edits: [clamp] });
      expect(editedPlainly).not.toEqual(clean);
      const [beside, tapped, edited, headed] = await Promise.all([
        model.decode(prompt, { ...given, method }).final,
        model.decode(prompt, { ...given, method, taps: [site, "final"] }).final,
        model.decode(prompt, { ...given, method, edits: [clamp], taps: [site] }).final,
        model.decode(prompt, { ...given, method, edits: [{ edit: head, key: "" }], taps: ["head.logits", "final"] })
          .final,
      ]);
      expect(beside.tokens).toEqual(clean);
      expect(tapped.tokens).toEqual(clean);
      expect(edited.tokens).toEqual(editedPlainly);
      expect(headed.tokens).toEqual(clean);
      expect(await text({ method })).toEqual(clean); // and once they are gone

      const ids = model.tokenizer!.encode(prompt);
      const all = [...ids, ...clean];
      const { rows, width, values } = tapped.taps![site];
      expect(rows).toBeGreaterThanOrEqual(all.length - 1);
      if (weights === "f32") {
        files[0].logits(all, (at, row, value) => {
          if (at !== site || row >= rows) return;
          for (let i = 0; i < width; i++) expect(Math.abs(value[i] - values[row * width + i])).toBeLessThan(1e-3);
        });
      }
      for (const value of edited.taps![site].values) expect(Math.abs(value)).toBeLessThanOrEqual(0.6 + 1e-6);
      const { final, "head.logits": read } = headed.taps!;
      for (const row of [0, ids.length - 1, read.rows - 1]) {
        const own = final.values.subarray(row * 32, (row + 1) * 32);
        const wanted = own.reduce((sum, x, i) => sum + x * weight[7 * 32 + i], 0);
        expect(Math.abs(read.values[row * vocabularySize + 7] - wanted)).toBeLessThan(1e-3);
      }

      const withVectors = [...soft, ...ids];
      // A draft that learns from the texts takes tokens alone; others read the tokens that there are, or the model's states.
      const refusals: Record<string, RegExp> = {
        online: /online: a row that is a vector cannot be given to a draft/,
        eagle: /rows that are vectors/,
      };
      const refusal = refusals[name];
      if (refusal) await expect(text({ method }, withVectors)).rejects.toThrow(refusal);
      else expect(await text({ method }, withVectors)).toEqual(await text({ method: plain }, withVectors));
      expect(model.forest.held).toBe(0);
    });
  }
});

describe.each([
  { name: "beam", beams: 3 },
  { name: "diverse-beam", beams: 4, groups: 2 },
  { name: "smc", particles: 4 },
] as const)("$name", (method) => {
  test("under an edit writes what it writes on a model opened with that edit, alone and beside requests without", async () => {
    const model = models.get("f32")!;
    const bounds: Edit = { name: "bounds", site, apply: (value) => ({ value: minimum(maximum(value, -0.6), 0.6) }) };
    await using bounded = await open(files[0].folder, { threads: 1, weights: "f32", edits: [bounds] });
    const given: DecodeOptions = {
      ...{ method, temperature: 1, seed: 4, maxTokens: 8, logprobs: 3, taps: [site] },
      constraint: { regex: "[a-z ]*" },
    };
    const of = async (one: Model, more: DecodeOptions = {}) => {
      const { tokens, logprobs, taps } = await one.generate(prompt, { ...given, ...more });
      return { tokens, logprobs, rows: taps![site] };
    };
    const clean = await of(model);
    const wanted = await of(bounded);
    expect(wanted).not.toEqual(clean);
    // Another program, whose last bits may differ; those of one program may not.
    const edited = await of(model, { edits: [bounds] });
    expect(edited.tokens).toEqual(wanted.tokens);
    for (const [i, value] of wanted.rows.values.entries()) expect(edited.rows.values[i]).toBeCloseTo(value, 3);
    expect(await of(model)).toEqual(clean);
    expect(await Promise.all([of(model), of(model, { edits: [bounds] }), of(model)])).toEqual([clean, edited, clean]);
    expect(model.forest.held).toBe(0);
  });
});

test("every method is refused by name where the model lacks what it needs, and nothing is begun", () => {
  const model = createModel({
    name: "a filter",
    folder: ".",
    tokenizer: undefined,
    secondsToLoad: 0,
    parameterCount: 0,
    identity: "a test's",
    abilities: { filter: {} },
    openCompanion: () => Promise.reject(new Error("not asked for")),
  });
  for (const { name, needs = ["forest"] } of methods) {
    const start = () => decode(model, [1, 2], { method: methodChoice({ name, ...entries[name]?.options?.("x") }) });
    expect(start).toThrow(`the method ${name} needs of its model: ${needs.join(", ")}; the model a filter has: filter`);
  }
});
