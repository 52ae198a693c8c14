/** The draft of models that see: its rows against a calculation in float64, what they depend on, its training, and the output with pictures. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { someNumbers } from "../../../../test/conformance/entries.ts";
import { type ReferenceTensor, referenceLogits } from "../../../../test/fixtures/reference.ts";
import { type TinySeeing, writeTinySeeing } from "../../../../test/fixtures/tiny-seeing.ts";
import { methodChoice, type Prompt } from "../../../calls.ts";
import { engineModel, type Model, open } from "../../../open.ts";
import { openEagle } from "../eagle/draft.ts";
import { layerParameters } from "../eagle/layer.ts";
import type { NetworkRow } from "../row-program.ts";
import { openMultimodal } from "./draft.ts";
import { draftBatch, type Example, examplesOf } from "./examples.ts";
import { readExamples, writeExamples } from "./examples-file.ts";
import type { DraftForm } from "./layer.ts";
import { drawsPicture, pictureShare } from "./schedule.ts";
import { draftObjective } from "./training.ts";

vi.setConfig({ testTimeout: 180_000 });

const width = 32;
let tiny: TinySeeing;
let model: Model;
type Tensors = Map<string, { shape: number[]; values: Float32Array<ArrayBuffer> }>;
let tensors: Tensors;
beforeAll(async () => {
  tiny = await writeTinySeeing("siglip", { changes: {} });
  model = await open(tiny.folder, { threads: 1 });
  const fresh = (shape: readonly number[], seed: number): Float32Array<ArrayBuffer> =>
    someNumbers(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ).map((x) => x * 0.3);
  tensors = new Map([
    ["fc.weight", { shape: [width, 2 * width], values: fresh([width, 2 * width], 0.2) }],
    ["fc.bias", { shape: [width], values: fresh([width], 0.3) }],
    ...layerParameters(model.family, model.config).map(
      ({ name, shape }, i): [string, { shape: number[]; values: Float32Array<ArrayBuffer> }] => [
        name,
        { shape: [...shape], values: fresh(shape, 0.4 + i / 20) },
      ],
    ),
  ]);
  const write = (name: string, kind: string, form?: string) =>
    model.writePart(join(tiny.folder, "parts", name), {
      kind,
      sites: ["final"],
      settings: form ? { form } : {},
      tensors,
    });
  await write("multimodal", "multimodal", "decoupled");
  await write("coupled", "multimodal", "coupled");
  await write("text-only", "multimodal", "text-only");
  await write("eagle", "eagle");
});
afterAll(async () => {
  await model.close();
  await rm(tiny.folder, { recursive: true, force: true });
});

const host = () => engineModel(model);
const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

/** Logits and states in float64 of rows whose inputs and states are given. */
function reference(form: "decoupled" | "coupled", rows: readonly NetworkRow[]) {
  const weights = new Map<string, ReferenceTensor>([...tiny.weights].filter(([name]) => !name.includes("layers.")));
  for (const [name, { shape, values }] of tensors)
    if (!name.startsWith("fc.")) weights.set(name, { shape, data: values });
  weights.set("model.layers.0.input_layernorm.weight", { shape: [width], data: new Float32Array(width).fill(1) });
  const [fused, bias] = ["fc.weight", "fc.bias"].map((name) => tensors.get(name)!.values);
  const begun: Float64Array[] = [];
  const ended: Float64Array[] = [];
  const logits = referenceLogits(
    { ...tiny.text, num_hidden_layers: 1 },
    weights,
    rows.map(({ token }) => token),
    (site, at, value) => {
      const { vector, state } = rows[at];
      if (site === "embed.tokens") {
        if (vector) value.set(vector);
        if (!vector || form === "coupled") {
          const both = [...value, ...state!];
          for (let i = 0; i < width; i++)
            value[i] = both.reduce((sum, x, j) => sum + fused[i * 2 * width + j] * x, bias[i]);
        }
        begun[at] = value.slice();
      }
      if (site === "layers.0.attention.norm") value.set(begun[at]);
      if (site === "layers.0.residual") ended[at] = value.slice();
      if (site === "final") value.set(ended[at]);
    },
  );
  return { logits, states: ended };
}

/** A row for each letter: t a token, p a picture's row. */
const rowsOf = (kinds: string, seed = 0): NetworkRow[] =>
  [...kinds].map((kind, i) => ({
    token: kind === "t" ? 5 + i : 0,
    ...(kind === "p" && { vector: someNumbers(width, 1 + i / 7 + seed) }),
    state: someNumbers(width, 0.5 + i / 9),
    position: i,
    parent: i - 1,
  }));

describe.each(["decoupled", "coupled"] as const)("rows of a draft, %s", (form) => {
  const part = form === "decoupled" ? "multimodal" : "coupled";
  test.each(["ttpppttt", "pppttt", "tttppp", "tpptppt", "pppppt", "tttt"])("of a text %s", async (kinds) => {
    const cache = (await openMultimodal(host(), part)).cache();
    const rows = rowsOf(kinds);
    const wanted = reference(form, rows);
    const { logits, states } = await cache.run(rows);
    for (const i of rows.keys()) {
      expect(furthest(logits[i], wanted.logits[i])).toBeLessThan(1e-3);
      expect(furthest(states[i], wanted.states[i])).toBeLessThan(1e-3);
    }
    // Built row by row, what is kept is that of a draft that begins anew.
    const slow = (await openMultimodal(host(), part)).cache();
    for (const [i, row] of rows.entries()) {
      const { logits: one } = await slow.run([row]);
      expect(furthest(one[0], logits[i])).toBeLessThan(1e-4);
    }
  });
});

test("rows of pictures take nothing of the model's states, but where they are coupled", async () => {
  const rows = rowsOf("ttppptt");
  const others = rows.map((row) => (row.vector ? { ...row, state: someNumbers(width, 9) } : row));
  const of = async (part: string, given: NetworkRow[]) => (await openMultimodal(host(), part)).cache().run(given);
  const [a, b] = [await of("multimodal", rows), await of("multimodal", others)];
  for (const i of rows.keys()) expect(b.logits[i]).toEqual(a.logits[i]);
  const [c, d] = [await of("coupled", rows), await of("coupled", others)];
  expect(furthest(c.logits[6], d.logits[6])).toBeGreaterThan(1e-4);
});

test("a picture changes nothing before the row that it bypasses", async () => {
  const cache = async (seed: number) =>
    (await openMultimodal(host(), "multimodal")).cache().run(rowsOf("tttppt", seed));
  const [a, b] = [await cache(0), await cache(3)];
  for (const i of [0, 1, 2]) expect(b.logits[i]).toEqual(a.logits[i]);
  expect(furthest(a.logits[5], b.logits[5])).toBeGreaterThan(1e-4);
});

test("of a text alone the draft is EAGLE's, bit for bit", async () => {
  const rows = rowsOf("tttttt");
  const eagle = await (await openEagle(host(), "eagle")).cache().run(rows);
  const own = await (await openMultimodal(host(), "multimodal")).cache().run(rows);
  for (const i of rows.keys()) {
    expect(own.logits[i]).toEqual(eagle.logits[i]);
    expect(own.states[i]).toEqual(eagle.states[i]);
  }
});

describe("the output is the model's own", () => {
  const picture = (seed: number) => ({
    width: 12,
    height: 12,
    pixels: Uint8Array.from(someNumbers(432, seed), (x) => Math.round(127 + 90 * x)),
  });
  test.each(["multimodal", "coupled", "text-only"])(
    "with the part %s, greedy and by the seed, with pictures and without",
    async (layer) => {
      const prompts: Prompt[] = [
        ...[1, 2, 3, 4, 5].map((seed): Prompt => [{ image: picture(seed) }, "what is it"]),
        [{ image: picture(1) }, "and", { image: picture(2) }, "then"],
        ["so", { image: picture(3) }],
        "the thing",
      ];
      for (const temperature of [0, 0.7, 1]) {
        for (const [request, prompt] of prompts.entries()) {
          const run = { temperature, maxTokens: 14, seed: 3, request };
          const { tokens, counters } = await model.generate(prompt, {
            ...run,
            method: methodChoice({ name: "multimodal", layer, budget: 5, width: 2 }),
          });
          expect(tokens).toEqual((await model.generate(prompt, run)).tokens);
          if (tokens.length > 3) expect(counters.drafted).toBeGreaterThan(0);
        }
      }
    },
  );

  test("eagle, which knows tokens alone, refuses pictures", async () => {
    const method = methodChoice({ name: "eagle", budget: 4 });
    const run = model.generate([{ image: picture(1) }, "what"], { maxTokens: 4, method });
    await expect(run).rejects.toThrow(
      /the prompt has rows that are vectors; for pictures there is the method multimodal/,
    );
  });

  test("a draft of another model, kind or shape is refused by name", async () => {
    const decode = (layer: string) =>
      model.generate("the", { maxTokens: 4, method: methodChoice({ name: "multimodal", layer, budget: 4 }) });
    await expect(decode("eagle")).rejects.toThrow(/is of the kind eagle, not multimodal/);
    await expect(decode("nobody")).rejects.toThrow(/no part "nobody"/);
    await model.writePart(join(tiny.folder, "parts", "formless"), {
      kind: "multimodal",
      sites: ["final"],
      settings: { form: "loose" },
      tensors,
    });
    await expect(decode("formless")).rejects.toThrow(/settings: .*decoupled/);
    const narrow = new Map(tensors).set("fc.bias", { shape: [3], values: new Float32Array(3) });
    await model.writePart(join(tiny.folder, "parts", "narrow"), {
      kind: "multimodal",
      sites: ["final"],
      settings: { form: "decoupled" },
      tensors: narrow,
    });
    await expect(decode("narrow")).rejects.toThrow(/fc\.bias has shape \[3\]/);
  });
});

describe("training", () => {
  const [rows, length] = [2, 15];
  const example = (seed: number, pictures: number, says = true): Example => {
    const tokens = length + 1;
    return {
      tokens: Int32Array.from({ length: tokens }, (_, i) => 5 + ((i * 7 + seed) % 40)),
      places: Int32Array.from({ length: tokens }, (_, i) => (i >= 2 && i < 2 + pictures ? i - 2 : -1)),
      said: Uint8Array.from({ length: tokens }, (_, i) => (says && i >= 12 ? 1 : 0)),
      pictures: someNumbers(pictures * width, seed),
      states: someNumbers(tokens * width, seed + 1),
    };
  };
  const batchOf = (says: boolean, form: DraftForm = "decoupled") =>
    draftBatch([example(2, 9, says), example(3, 0, says)], { form, length, width });
  const objectiveOf = async (form: DraftForm = "decoupled") => {
    const { family, config } = model;
    const values = await model.parameterValues();
    return draftObjective(family, config, values as never, { rows, length, form, seed: 1, noise: 0, threads: 1 });
  };

  test("learns: the loss falls, and only rows that say an answer count", async () => {
    const objective = await objectiveOf();
    const { loss, gradients } = await objective.gradients(batchOf(true));
    expect(gradients.some((gradient) => gradient.some((x) => x !== 0))).toBe(true);
    const kept = gradients.map((gradient) => gradient.slice());
    for (const [i, { values }] of objective.parameters.entries())
      for (let j = 0; j < values.length; j++) values[j] -= 0.02 * kept[i][j];
    expect((await objective.gradients(batchOf(true))).loss).toBeLessThan(loss);
    const none = await objective.gradients(batchOf(false));
    expect(none.loss).toBe(0);
    for (const gradient of none.gradients) expect(gradient.every((x) => x === 0)).toBe(true);
    await objective.release();
  });

  test("has the gradients of its loss", async () => {
    const objective = await objectiveOf();
    const batch = batchOf(true);
    const { gradients } = await objective.gradients(batch);
    const kept = gradients.map((gradient) => gradient.slice());
    for (const [i, { values }] of objective.parameters.entries()) {
      const at = kept[i].reduce((best, x, j) => (Math.abs(x) > Math.abs(kept[i][best]) ? j : best), 0);
      const before = values[at];
      const step = 2e-2;
      const lossAt = async (x: number) => {
        values[at] = x;
        return objective.loss(batch);
      };
      const slope = ((await lossAt(before + step)) - (await lossAt(before - step))) / (2 * step);
      values[at] = before;
      expect(Math.abs(slope - kept[i][at])).toBeLessThan(0.03 * Math.abs(kept[i][at]) + 2e-3);
    }
    await objective.release();
  });

  test("rows pair what comes next with the state before it, and count where the state that they foretell says a word", () => {
    const one = example(2, 9);
    const { next, places, given, wanted, counted, pictures } = draftBatch([one], { form: "decoupled", length, width });
    for (let i = 0; i < length; i++) {
      const seen = one.places[i + 1];
      expect([next[i], places[i]]).toEqual(seen >= 0 ? [0, seen] : [one.tokens[i + 1], -1]);
      expect(given.slice(i * width, (i + 1) * width)).toEqual(one.states.slice(i * width, (i + 1) * width));
      expect(wanted.slice(i * width, (i + 1) * width)).toEqual(one.states.slice((i + 1) * width, (i + 2) * width));
      expect(counted[i] > 0).toBe(i + 2 >= 12 && i + 2 <= length);
    }
    expect(counted.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
    expect(pictures).toEqual(one.pictures);
    // Without the picture's rows the first word after it still has the state of the last of them.
    const words = draftBatch([one], { form: "text-only", length, width });
    expect([...words.next.slice(0, 4)]).toEqual([1, 11, 12, 13].map((i) => one.tokens[i]));
    expect(words.given.slice(width, 2 * width)).toEqual(one.states.slice(10 * width, 11 * width));
    expect(words.places.every((place) => place === -1)).toBe(true);
  });

  test("noise on the states is even, as wide as it says, and of training alone", async () => {
    const { family, config } = model;
    const values = (await model.parameterValues()) as never;
    const objective = await draftObjective(family, config, values, {
      rows,
      length,
      form: "decoupled",
      seed: 1,
      threads: 1,
    });
    const batch = batchOf(true);
    const numbered = async (number?: number) => objective.loss({ ...batch, ...(number !== undefined && { number }) });
    expect(await numbered(1)).toBe(await numbered(1));
    expect(await numbered(1)).not.toBe(await numbered(2));
    expect(await numbered()).toBe(await (await objectiveOf()).loss(batch));
    await objective.release();
  });

  test("examples have the model's own rows and states, and are the same from a file", async () => {
    const turns = [{ question: "what is it", answer: "a cat" }];
    const picture = { width: 12, height: 12, pixels: new Uint8Array(432).fill(90) };
    const specialTokens = new Map([
      ["<|user|>", 3],
      ["<|assistant|>", 4],
    ]);
    const tokenizer = Object.create(model.tokenizer!, { specialTokens: { value: specialTokens } });
    const talking = Object.create(model, { tokenizer: { value: tokenizer } }) as Model;
    const [seen, read] = await examplesOf(talking, [{ picture, turns }, { turns }], 40);
    expect(seen.places.filter((place) => place >= 0).length).toBe(9);
    expect(read.places.every((place) => place === -1)).toBe(true);
    const words = model.tokenizer!.encode("a cat", { special: false });
    expect([...read.said].filter(Boolean).length).toBe(words.length + 1); // and an end
    const alone = await model.forward([...read.tokens], { taps: ["final"] });
    expect(furthest(alone.taps!.final.values, read.states)).toBeLessThan(1e-4);
    const path = join(tiny.folder, "examples.safetensors");
    await writeExamples(path, [seen, read], width);
    const again = await readExamples(path);
    for (const [i, one] of [seen, read].entries()) {
      expect(again[i].tokens).toEqual(one.tokens);
      expect(again[i].places).toEqual(one.places);
      expect(again[i].said).toEqual(one.said);
      expect(furthest(again[i].states, one.states)).toBeLessThan(5e-3);
      expect(furthest(again[i].pictures, one.pictures)).toBeLessThan(5e-3);
    }
  });

  test("takes texts first, then pictures on a ramp", () => {
    const shares = Array.from({ length: 40 }, (_, i) => pictureShare("two-stage", i + 1, 40));
    expect(shares.slice(0, 20)).toEqual(new Array(20).fill(0));
    for (let e = 21; e < 40; e++) expect(shares[e - 1]).toBeCloseTo((e - 20) / 20, 12);
    expect(shares[39]).toBe(1);
    expect([20, 21].map((e) => pictureShare("abrupt", e, 40))).toEqual([0, 1]);
    expect([1, 40].map((e) => pictureShare("constant", e, 40))).toEqual([0.5, 0.5]);
    expect([1, 40].map((e) => pictureShare("pictures", e, 40))).toEqual([1, 1]);
    expect([1, 40].map((e) => pictureShare("texts", e, 40))).toEqual([0, 0]);
    const drawn = Array.from({ length: 4000 }, (_, i) => drawsPicture(0.35, 7, i)).filter(Boolean).length;
    expect(Math.abs(drawn / 4000 - 0.35)).toBeLessThan(4 * Math.sqrt((0.35 * 0.65) / 4000));
  });
});
