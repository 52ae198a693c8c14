/** Bottlenecks against the definition in float64, straight-through gradients, changes of codes under several methods, parts, bad input. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { normal } from "../../../engine/random.ts";
import { siteNamed } from "../../../models/sites.ts";
import { type Model, open } from "../../../open.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import { add, constant, gradients, input, lower, multiply, reduceSum, type Tensor } from "../../../tensor/index.ts";
import { adamwState, adamwUpdate } from "../../../training/adamw.ts";
import {
  automatonBatch,
  automatonEntropy,
  digitsOf,
  randomAutomaton,
  transitionAccuracy,
  walk,
  walkTokens,
} from "./automaton.ts";
import {
  type Bottleneck,
  type BottleneckParameters,
  bottleneckEdit,
  type CodebookLoss,
  idsReading,
} from "./bottleneck.ts";
import { finetuneCodebooks } from "./finetune.ts";
import { type Codebook, type CodeChange, codebookEdits, codebooksOf, partOfCodebooks } from "./index.ts";
import { codebookObjective, countCodes, initialCodebooks, replaceDeadCodes } from "./train.ts";

const draw = (seed: number, length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length }, (_, i) => normal({ seed, request: 0 }, i, "initialise"));

function made(bottleneck: Bottleneck, width: number, seed = 3): BottleneckParameters {
  const { groups, codes } = bottleneck;
  const dimension = width / groups;
  return {
    codes: { shape: [groups * codes, dimension], values: draw(seed, groups * codes * dimension) },
    gain: { shape: [groups, dimension], values: draw(seed + 1, width).map((x) => 1 + 0.3 * x) },
    bias: { shape: [groups, dimension], values: draw(seed + 2, width).map((x) => 0.2 * x) },
  };
}

/** One row by the definition: what is looked up, the fired codes best first, and what comes out. */
function reference(
  { groups, codes, k, similarity, aggregate }: Bottleneck,
  parameters: BottleneckParameters,
  row: number[],
) {
  const dimension = row.length / groups;
  const [x, ids, out]: number[][] = [[], [], []];
  for (let group = 0; group < groups; group++) {
    const slice = row.slice(group * dimension, (group + 1) * dimension);
    const mean = slice.reduce((a, b) => a + b, 0) / dimension;
    const variance = slice.reduce((sum, v) => sum + (v - mean) ** 2, 0) / dimension;
    const at = (values: Float32Array, i: number) => values[group * dimension + i];
    const own = slice.map(
      (v, i) =>
        ((v - mean) / Math.sqrt(variance + 1e-5)) * at(parameters.gain.values, i) + at(parameters.bias.values, i),
    );
    const code = (id: number): number[] =>
      Array.from({ length: dimension }, (_, i) => parameters.codes.values[(group * codes + id) * dimension + i]);
    const score = (id: number): number => {
      const e = code(id);
      if (similarity === "euclidean") return -e.reduce((sum, v, i) => sum + (v - own[i]) ** 2, 0);
      const length = Math.hypot(...e);
      return length === 0 ? 0 : e.reduce((sum, v, i) => sum + v * own[i], 0) / length / Math.hypot(...own);
    };
    const order = Array.from({ length: codes }, (_, id) => id).sort((a, b) => score(b) - score(a) || a - b);
    const fired = order.slice(0, k);
    x.push(...own);
    ids.push(...fired);
    for (let i = 0; i < dimension; i++) {
      const sum = fired.reduce((total, id) => total + code(id)[i], 0);
      out.push(aggregate === "sum" ? sum : sum / k);
    }
  }
  return { x, ids, out };
}

/** Runs an edit's graph on rows. */
async function applied(
  edit: ReturnType<typeof bottleneckEdit>,
  rows: Float32Array,
  width: number,
  outputs: (value: Tensor, readings: Record<string, Tensor>, from: Tensor) => Record<string, Tensor>,
) {
  const from = input("from", [rows.length / width, width]);
  const parameters = Object.fromEntries(
    Object.entries(edit.parameters!).map(([name, { shape }]) => [name, input(name, shape)]),
  );
  const { value, readings = {} } = edit.apply(from, { parameters, inputs: {} } as never);
  const program = await compile(lower(outputs(value!, readings, from), { parameters: "inputs" }), { threads: 1 });
  const make = await valueMaker();
  const given = Object.entries(edit.parameters!).map(([name, { shape, values }]) => [
    name,
    make("float32", values, shape),
  ]);
  const result = await program.run({
    from: make("float32", rows, [rows.length / width, width]),
    ...Object.fromEntries(given),
  });
  await program.release();
  return Object.fromEntries(
    Object.entries(result).map(([name, { data }]) => [name, Array.from(data as Float32Array, Number)]),
  );
}

const close = (a: readonly number[], b: readonly number[], tolerance = 1e-5): void => {
  expect(a.length).toBe(b.length);
  for (const [i, x] of a.entries()) expect(Math.abs(x - b[i]), `entry ${i}`).toBeLessThan(tolerance);
};

const shapes: Bottleneck[] = [
  { site: "layers.0.attention.heads", groups: 4, codes: 12, k: 1, similarity: "inner", aggregate: "sum" },
  { site: "layers.0.attention.heads", groups: 4, codes: 12, k: 3, similarity: "inner", aggregate: "mean" },
  { site: "layers.0.mlp.output", groups: 1, codes: 20, k: 5, similarity: "euclidean", aggregate: "sum" },
];
const width = 32;

describe("the bottleneck", () => {
  test.each(shapes)(
    "$groups codebooks, $k of $codes by $similarity, $aggregate: ids and result are the definition's",
    async (shape) => {
      const parameters = made(shape, width);
      const rows = draw(8, 6 * width);
      const result = await applied(bottleneckEdit(shape, parameters), rows, width, (value, { ids }) => ({
        value,
        ids,
      }));
      for (let row = 0; row < 6; row++) {
        const wanted = reference(shape, parameters, Array.from(rows.subarray(row * width, (row + 1) * width)));
        const fired = shape.groups * shape.k;
        expect(result.ids.slice(row * fired, (row + 1) * fired)).toEqual(wanted.ids);
        close(result.value.slice(row * width, (row + 1) * width), wanted.out);
      }
    },
  );

  test("ids do not change with the length of the input or of a code; equal ids give equal bits", async () => {
    const [shape] = shapes;
    const parameters = made(shape, width);
    parameters.bias.values.fill(0);
    const rows = draw(8, 2 * width);
    rows.copyWithin(width, 0, width);
    for (let i = width; i < 2 * width; i++) rows[i] *= 3;
    const run = (edit: ReturnType<typeof bottleneckEdit>) =>
      applied(edit, rows, width, (value, { ids }) => ({ value, ids }));
    const { ids, value } = await run(bottleneckEdit(shape, parameters));
    expect(ids.slice(4)).toEqual(ids.slice(0, 4));
    expect(value.slice(width)).toEqual(value.slice(0, width));
    const longer = {
      ...parameters,
      codes: { ...parameters.codes, values: parameters.codes.values.map((x, i) => x * (1 + (Math.floor(i / 8) % 5))) },
    };
    expect((await run(bottleneckEdit(shape, longer))).ids).toEqual(ids);
  });

  test("a code of zeros divides nothing by zero", async () => {
    const [shape] = shapes;
    const parameters = made(shape, width);
    parameters.codes.values.fill(0, 0, 8);
    const rows = draw(5, 3 * width);
    const { value } = await applied(bottleneckEdit(shape, parameters), rows, width, (value) => ({ value }));
    close(value.slice(0, width), reference(shape, parameters, Array.from(rows.subarray(0, width))).out);
  });

  test.each(["base", "aeloss", "vqvae", "fullaeloss"] as CodebookLoss[])("gradients with %s", async (loss) => {
    const [, shape] = shapes;
    const parameters = made(shape, width);
    const rows = draw(8, 2 * width);
    const weights = draw(77, 2 * width);
    const beta = 0.25;
    const edit = bottleneckEdit(shape, parameters, { training: { loss, beta } });
    const result = await applied(edit, rows, width, (value, { reconstruction }, from) => {
      const target = reduceSum(multiply(value, multiplier(weights)));
      const total = loss === "base" ? target : add(target, reduceSum(reconstruction));
      // The graph's inputs stand for parameters here: gradients are asked for like any other tensor's.
      const codes = inputNamed(value, "codes");
      const [g, c] = gradients(total, [from, codes]);
      return { value, slope: g, codeSlope: c };
    });
    // Straight through: as if the result were x, pushed through the norm. Checked by differences of Σ w · x (and of the pull).
    const pull = loss === "vqvae" || loss === "fullaeloss" ? beta : 0;
    const objective = (given: Float32Array): number => {
      let sum = 0;
      for (let row = 0; row < 2; row++) {
        const { x } = reference(shape, parameters, Array.from(given.subarray(row * width, (row + 1) * width)));
        const { out } = reference(shape, parameters, Array.from(rows.subarray(row * width, (row + 1) * width)));
        for (let i = 0; i < width; i++) sum += weights[row * width + i] * x[i] + pull * (out[i] - x[i]) ** 2;
      }
      return sum;
    };
    for (const at of [0, 5, 31, 40, 63]) {
      const step = 1e-3;
      const moved = [step, -step].map((by) => objective(Float32Array.from(rows, (v, i) => (i === at ? v + by : v))));
      expect(Math.abs(result.slope[at] - (moved[0] - moved[1]) / (2 * step))).toBeLessThan(2e-2);
    }
    // Codes: of the loss where they fired, over k for a mean, and of the reconstruction 2 (out - x) / k.
    const expected = new Float64Array(parameters.codes.values.length);
    for (let row = 0; row < 2; row++) {
      const { ids, out, x } = reference(shape, parameters, Array.from(rows.subarray(row * width, (row + 1) * width)));
      const dimension = width / shape.groups;
      for (const [i, id] of ids.entries()) {
        const group = Math.floor(i / shape.k);
        for (let d = 0; d < dimension; d++) {
          const place = group * dimension + d;
          const own = loss === "vqvae" ? 0 : weights[row * width + place];
          const rebuilt = loss === "base" ? 0 : 2 * (out[place] - x[place]);
          expected[(group * shape.codes + id) * dimension + d] += (own + rebuilt) / shape.k;
        }
      }
    }
    close(result.codeSlope, Array.from(expected), 1e-4);
  });
});

/** The input of this name that a tensor depends on. */
function inputNamed(tensor: Tensor, name: string): Tensor {
  const stack = [tensor];
  const seen = new Set<Tensor>();
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (next.operation === "input" && next.attributes.name === name) return next;
    for (const one of next.inputs) if (!seen.has(one)) stack.push(one);
    seen.add(next);
  }
  throw new Error(name);
}

const multiplier = (weights: Float32Array<ArrayBuffer>): Tensor => constant(weights, [2, width]);

describe("in a model", () => {
  let tiny: TinyModel;
  let model: Model;
  let codebooks: Codebook[];
  let folder: string;
  const heads = "layers.1.attention.heads";
  const mlp = "layers.0.mlp.output";
  const tokens = [3, 17, 5, 40, 9, 33];

  beforeAll(async () => {
    tiny = await writeTinyModel();
    model = await open(tiny.folder, { threads: 1 });
    folder = await mkdtemp(join(tmpdir(), "ventris-codes-"));
    const shape = { codes: 16, k: 2, similarity: "inner", aggregate: "sum" } as const;
    const sites = [
      { site: heads, groups: 4 },
      { site: mlp, groups: 1 },
    ];
    codebooks = initialCodebooks(model.family, model.config, { ...shape, sites }, { seed: 4, deviation: 0.3 });
    await model.writePart(join(folder, "codebook"), partOfCodebooks(codebooks));
  });
  afterAll(async () => {
    await model.close();
    await removeModel(tiny);
    await rm(folder, { recursive: true, force: true });
  });

  /** The reference model with the bottlenecks in it; `set` may change what fires. */
  function referenceLogits(
    text: readonly number[],
    set: (site: string, position: number, ids: number[]) => number[] = (_s, _p, ids) => ids,
  ) {
    return tiny.logits(text, (site, position, value) => {
      const found = codebooks.find(({ bottleneck }) => bottleneck.site === site);
      if (!found) return;
      const { bottleneck, parameters } = found;
      const { ids } = reference(bottleneck, parameters, Array.from(value));
      const fired = set(site, position, ids);
      const dimension = value.length / bottleneck.groups;
      value.fill(0);
      for (const [i, id] of fired.entries()) {
        const group = Math.floor(i / bottleneck.k);
        if (id < 0) continue;
        for (let d = 0; d < dimension; d++)
          value[group * dimension + d] += parameters.codes.values[(group * bottleneck.codes + id) * dimension + d];
      }
    });
  }

  const logitsWith = async (changes: CodeChange[]) => {
    const { tokens: _, ...result } = await model.generate(tokens, {
      maxTokens: 1,
      temperature: 0,
      taps: ["logits"],
      edits: codebookEdits(codebooks, changes),
    });
    return Array.from(result.taps!.logits.values.slice(-64));
  };

  test("the model runs through its codes, and the codes are read", async () => {
    const result = await model.generate(tokens, {
      maxTokens: 2,
      temperature: 0,
      taps: ["logits", idsReading(heads), idsReading(mlp)],
      edits: codebookEdits(codebooks),
    });
    const seen: Record<string, number[][]> = {};
    const wanted = referenceLogits([...tokens, result.tokens[0]], (site, position, ids) => {
      seen[site] ??= [];
      seen[site][position] = ids;
      return ids;
    });
    const { width: perRow, values, rows } = result.taps![idsReading(heads)];
    expect(perRow).toBe(8);
    for (let row = 0; row < rows; row++)
      expect(Array.from(values.slice(8 * row, 8 * row + 8))).toEqual(seen[heads][row]);
    const logits = result.taps!.logits;
    close(
      Array.from(logits.values.slice((tokens.length - 1) * 64, tokens.length * 64)),
      Array.from(wanted[tokens.length - 1]),
      1e-3,
    );
  });

  test.each([
    [
      "the weakest slot is replaced",
      { site: heads, group: 2, patch: 7 },
      (ids: number[]) => ids.map((id, i) => (i === 5 ? 7 : id)),
    ],
    [
      "a slot by number",
      { site: heads, group: 0, patch: 7, slot: 0 },
      (ids: number[]) => ids.map((id, i) => (i === 0 ? 7 : id)),
    ],
    ["the state of another run", { site: heads, group: 3, ids: [1, 2] }, (ids: number[]) => [...ids.slice(0, 6), 1, 2]],
  ] as [string, CodeChange, (ids: number[]) => number[]][])(
    "%s, at one position and at all",
    async (_, change, set) => {
      for (const at of ["all" as const, [2, 5]]) {
        const wanted = referenceLogits(tokens, (site, position, ids) =>
          site === heads && (at === "all" || at.includes(position)) ? set(ids) : ids,
        );
        close(await logitsWith([{ ...change, at }]), Array.from(wanted.at(-1)!), 1e-3);
      }
    },
  );

  test("a further code is added; one is forbidden and another fires; one is silenced and none does", async () => {
    const { bottleneck, parameters } = codebooks[1];
    const probe = async (changes: CodeChange[]) => {
      const { taps } = await model.forward(tokens, {
        edits: codebookEdits(codebooks, changes),
        taps: [mlp, idsReading(mlp)],
      });
      return {
        value: Array.from(taps[mlp].values.slice(-width)),
        ids: Array.from(taps[idsReading(mlp)].values.slice(-2)),
      };
    };
    const code = (id: number): number[] => Array.from(parameters.codes.values.slice(id * width, (id + 1) * width));
    const sum = (...ids: number[]) => code(0).map((_, i) => ids.reduce((total, id) => total + code(id)[i], 0));
    const plain = await probe([]);
    close(plain.value, sum(...plain.ids));
    close((await probe([{ site: mlp, add: 11 }])).value, sum(...plain.ids, 11));
    close((await probe([{ site: mlp, disable: plain.ids[0], how: "silence" }])).value, sum(plain.ids[1]));
    const forbidden = await probe([{ site: mlp, disable: plain.ids[0] }]);
    expect(forbidden.ids[0]).toBe(plain.ids[1]);
    expect(forbidden.ids[1]).not.toBe(plain.ids[0]);
    close(forbidden.value, sum(...forbidden.ids));
    expect(bottleneck.k).toBe(2);
  });

  test("as a shaper of a part, under every kind of method the same greedy text", async () => {
    const shapers = [
      { name: "codebook" as const, part: join(folder, "codebook"), changes: [{ site: heads, group: 1, patch: 3 }] },
    ];
    const texts: number[][] = [];
    for (const method of ["greedy", "prompt-lookup", "aded"] as const) {
      const result = await model.generate(tokens, { method, temperature: 0, maxTokens: 8, shapers });
      texts.push([...result.tokens]);
    }
    expect(texts[1]).toEqual(texts[0]);
    expect(texts[2]).toEqual(texts[0]);
    const plain = await model.generate(tokens, { temperature: 0, maxTokens: 8 });
    const text = [...tokens];
    for (let i = 0; i < 8; i++) {
      const logits = Array.from(
        referenceLogits(text, (site, _p, ids) =>
          site === heads ? ids.map((id, slot) => (slot === 3 ? 3 : id)) : ids,
        ).at(-1)!,
      );
      text.push(logits.indexOf(Math.max(...logits)));
    }
    expect(texts[0]).toEqual(text.slice(tokens.length));
    expect((await model.generate(tokens, { temperature: 0, maxTokens: 8 })).tokens).toEqual(plain.tokens);
  });

  test("what does not fit is refused by name", async () => {
    const refuse = (change: CodeChange, message: RegExp) =>
      expect(() => codebookEdits(codebooks, [change])).toThrow(message);
    refuse({ site: "", patch: 0 }, /no codebook at an empty site; there are layers/);
    refuse({ site: "layers.1.attention.head", patch: 0 }, /no codebook at .*did you mean "layers.1.attention.heads/);
    refuse({ site: heads, group: 4, patch: 0 }, /4 codebooks: there is no codebook 4/);
    refuse({ site: heads, patch: 16 }, /codes 0 to 15: there is no code 16/);
    refuse({ site: heads, patch: 1, slot: 2 }, /2 codes fire: there is no slot 2/);
    refuse({ site: heads, ids: [1] }, /2 codes fire, but given are 1/);
    refuse({ site: heads, group: -1, patch: 0 }, /^codes: changes\[0\]\.group must be at least 0, not -1$/);
    refuse({ site: heads, patch: Number.NaN }, /codes: changes\[0\]\.patch must be a number, not NaN/);
    const many = Array.from({ length: 9 }, (_, i) => ({ site: mlp, add: i }));
    expect(() => codebookEdits(codebooks, many)).toThrow(/more than 8 codes are added/);
    const far: CodeChange = { site: heads, patch: 1, at: [3, 64] };
    expect(() => codebookEdits(codebooks, [far], 64)).toThrow(/position 64 is outside the context of 64/);
    expect(codebookEdits(codebooks, [far], 65)).toHaveLength(codebooks.length);
    const run = (shapers: unknown) => model.generate(tokens, { maxTokens: 1, shapers: shapers as never });
    await expect(async () => run([{ name: "codebook", part: "codebok" }])).rejects.toThrow(/no part "codebok"/);
    await expect(async () => run([{ name: "codebook", changes: [{ site: heads, patch: -1 }] }])).rejects.toThrow(
      /changes/,
    );
  });

  test("a part of another model, of another width, with no codes, or of zeros alone", async () => {
    // The folder around a part is none, and the error says which one is.
    await expect(model.part(folder)).rejects.toThrow(
      /no folder of this name holds one; give the part in it, \S+\/codebook$/,
    );
    const other = await writeTinyModel({ seed: 2 });
    const second = await open(other.folder, { threads: 1 });
    await expect(second.part(join(folder, "codebook"), "codebook")).rejects.toThrow(/trained on another model/);
    await second.close();
    await removeModel(other);

    const part = await model.part(join(folder, "codebook"), "codebook");
    const { sites: stated } = part.card.settings as { sites: { site: string }[] };
    const changed = (change: object) => {
      const settings = { ...part.card.settings, sites: [{ ...stated[0], ...change }, stated[1]] };
      return () => codebooksOf({ ...part, card: { ...part.card, settings } }, model.sites());
    };
    expect(changed({ codes: 0 })).toThrow(/it has 0 codes; it needs one at least/);
    expect(changed({ groups: 3 })).toThrow(/32 numbers cannot be shared by 3 codebooks/);
    expect(changed({ groups: 8 })).toThrow(/codes is \[64,8\], but must be \[128,4\]/);
    expect(changed({ k: 17 })).toThrow(/17 of 16 codes cannot fire/);
    expect(changed({ site: "layers.7.attention.heads" })).toThrow(/no site layers.7.attention.heads: it has \d layers/);
    expect(changed({ codes: 2 ** 21, groups: 4000 })).toThrow(/more than/);
    expect(() =>
      codebooksOf({ ...part, card: { ...part.card, settings: { similarity: "cosin" } } }, model.sites()),
    ).toThrow(/similarity/);
    const zeros = new Map(part.tensors);
    zeros.set(`${mlp}.codes`, { shape: [16, 32], values: new Float32Array(512) });
    expect(() => codebooksOf({ ...part, tensors: zeros }, model.sites())).toThrow(/all codes of codebook 0 are zero/);

    const card = join(folder, "codebook", "part.json");
    const text = await readFile(card, "utf8");
    await writeFile(card, text.replace('"codebook"', '"heads"').replace('"kind": "codebook"', '"kind": "heads"'));
    await expect(
      open(tiny.folder, { threads: 1 }).then((m) => m.part(join(folder, "codebook"), "codebook")),
    ).rejects.toThrow(/of the kind heads, not codebook/);
    await writeFile(card, text);
  });

  test("codes that are not finite end the run by the site's name", async () => {
    const { bottleneck, parameters } = codebooks[0];
    const broken: Codebook = {
      bottleneck,
      parameters: {
        ...parameters,
        codes: { ...parameters.codes, values: parameters.codes.values.map(() => Number.NaN) },
      },
    };
    const run = model.generate(tokens, { maxTokens: 2, edits: codebookEdits([broken]) });
    await expect(run).rejects.toThrow(/codebook@layers\.1\.attention\.heads.*not finite/);
  });

  test("training lowers the loss through the bottleneck; what is frozen keeps its bits", async () => {
    const { family, config } = model;
    const { values: stored } = await model.learnable();
    const values = new Map([...stored].map(([name, array]) => [name, array.slice()]));
    const fresh = initialCodebooks(
      family,
      config,
      { sites: "both", codes: 16, k: 2, similarity: "inner", aggregate: "sum" },
      { seed: 1, deviation: 0.2 },
    );
    const objective = await codebookObjective({
      family,
      config,
      values,
      codebooks: fresh,
      train: "codes",
      rows: 2,
      length: 8,
      threads: 1,
    });
    const batch = { tokens: Int32Array.from({ length: 18 }, (_, i) => (i * 7) % 60), rows: 2, length: 8 };
    const before = await objective.codes(batch);
    expect(before.ids[siteNamed(model.sites(), "layers.0.mlp.output").name]).toHaveLength(16 * 2);
    const state = adamwState(objective.parameters);
    for (let step = 0; step < 60; step++) {
      const { gradients: found } = await objective.gradients(batch);
      adamwUpdate(objective.parameters, found, state, 0.02, { weightDecay: 0 });
    }
    expect((await objective.loss(batch)) + 0.2).toBeLessThan(before.loss);
    await objective.release();
    for (const [name, array] of stored) expect(values.get(name)).toEqual(array);
  });

  test.each(["codes", "model"] as const)("fine-tuning %s: interrupted and resumed as without a stop", async (train) => {
    const { family, config } = model;
    const { values: stored } = await model.learnable();
    const copied = () => new Map([...stored].map(([name, array]) => [name, array.slice()]));
    const text = (length: number, by: number) => Uint16Array.from({ length }, (_, i) => (i * i * by) % 60);
    const shape = { sites: "both", codes: 8, k: 2, similarity: "inner", aggregate: "sum" } as const;
    const options = { family, config, shape, train, rows: 2, length: 8, steps: 6, rate: 0.01, threads: 1 };
    const texts = { tokens: text(300, 7), heldOut: text(60, 11) };
    const whole = { ...options, ...texts, values: copied() };
    const expected = await finetuneCodebooks(whole);

    const kept = join(folder, `run-${train}`);
    const controller = new AbortController();
    const onProgress = ({ step }: { step: number }) => step === 3 && controller.abort();
    const parted = { ...options, ...texts, values: copied(), folder: kept };
    const stopped = await finetuneCodebooks({ ...parted, signal: controller.signal, onProgress });
    expect(stopped.result).toMatchObject({ reason: "aborted", step: 3 });
    // The model of the checkpoint's own middle, and the one of its beginning: both go on.
    const copyOfKept = join(folder, `again-${train}`);
    await cp(kept, copyOfKept, { recursive: true });
    for (const again of [parted, { ...parted, values: copied(), folder: copyOfKept }]) {
      const { codebooks: found, plain, loss, result } = await finetuneCodebooks(again);
      expect({ plain, loss, resumedFrom: result.resumedFrom }).toEqual({
        plain: expected.plain,
        loss: expected.loss,
        resumedFrom: 3,
      });
      expect(found).toEqual(expected.codebooks);
      expect(again.values).toEqual(whole.values);
    }
    const other = copied();
    for (const array of other.values()) array[0] += 1;
    for (const [changed, what] of [
      [{ values: other }, /another model/],
      [{ heldOut: text(60, 13) }, /another heldOut/],
      [{ rows: 0.5 }, /rows must be a whole number/],
      [{ length: -1 }, /length must be/],
      [{ steps: Number.NaN }, /steps must be/],
      [{ rate: Number.NaN }, /rate must be a number above 0/],
      [{ seed: -1 }, /seed must be/],
    ] as const) {
      await expect(finetuneCodebooks({ ...parted, ...changed })).rejects.toThrow(what);
    }
  });

  test("dead codes become states of the batch", () => {
    const [{ bottleneck }] = codebooks;
    const copy: Codebook = { bottleneck, parameters: made(bottleneck, width) };
    const ids = Array.from({ length: 8 * 5 }, (_, i) => i % 3);
    const counts = countCodes(bottleneck, ids);
    expect(counts.reduce((a, b) => a + b, 0)).toBe(40);
    const before = copy.parameters.codes.values.slice();
    const replaced = replaceDeadCodes(copy, counts, draw(1, 4 * width), 5);
    expect(replaced).toBe(counts.filter((count) => count === 0).length);
    for (let id = 0; id < 64; id++) {
      const same = before.subarray(id * 8, id * 8 + 8).every((x, i) => x === copy.parameters.codes.values[id * 8 + i]);
      expect(same).toBe(counts[id] > 0);
    }
  });
});

describe("the automaton", () => {
  const automaton = randomAutomaton({ states: 20, branches: 4, seed: 1 });
  test("states have distinct successors, walks follow them, and texts are judged", () => {
    for (const next of automaton.successors) expect(new Set(next).size).toBe(4);
    const text = walkTokens(automaton, 64, 0, 3);
    expect(text).toHaveLength(64);
    expect(text[0]).toBe(10);
    expect(transitionAccuracy(automaton, [text])).toBe(1);
    const wrong = [
      10,
      ...digitsOf(0),
      ...digitsOf([...Array(20).keys()].find((s) => !automaton.successors[0].includes(s))!),
    ];
    expect(transitionAccuracy(automaton, [wrong])).toBe(0);
    expect(walkTokens(automaton, 64, 0, 3)).toEqual(text);
    expect(walkTokens(automaton, 64, 1, 3)).not.toEqual(text);
  });
  test("the entropy is what the true law scores", () => {
    const { tokens } = automatonBatch(automaton, { rows: 200, length: 40 }, 0, 0);
    let [nats, count] = [0, 0];
    for (let row = 0; row < 200; row++) {
      const digits = Array.from(tokens.subarray(row * 41 + 1, (row + 1) * 41));
      for (let i = 0; i < 40; i += 2) {
        nats += i === 0 ? Math.log(20) : Math.log(4);
        count += 2;
        expect(10 * digits[i] + digits[i + 1]).toBeLessThan(20);
      }
    }
    expect(nats / count).toBeCloseTo(automatonEntropy(automaton, 40));
    expect(automatonEntropy(randomAutomaton(), 128)).toBeCloseTo(1.17, 2);
  });
  test("what cannot be is refused", () => {
    expect(() => randomAutomaton({ states: 101 })).toThrow(/2 to 100 states, not 101/);
    expect(() => randomAutomaton({ states: 5, branches: 6 })).toThrow(/6 distinct successors/);
  });
  test.each<[name: string, call: () => unknown, message: RegExp]>([
    ["randomAutomaton", () => randomAutomaton({ branches: Number.NaN }), /NaN distinct successors/],
    ["randomAutomaton", () => randomAutomaton({ branches: 1.5 }), /1\.5 distinct successors/],
    ["randomAutomaton", () => randomAutomaton({ seed: Number.NaN }), /seed must be a whole number from 0 on, not NaN/],
    ["walk", () => walk({ ...automaton, states: Number.NaN }, 3, 0, 0), /states must be .* from 1 to 100, not NaN/],
    ["walk", () => walk({ ...automaton, states: 19 }, 3, 0, 0), /successors has 20 entries, and there are 19 states/],
    ["walk", () => walk({ states: 2, successors: [[1], []] }, 3, 0, 0), /successors\[1\] is empty/],
    ["walk", () => walk({ states: 2, successors: [[1], [9]] }, 3, 0, 0), /successors\[1\]\[0\] is 9/],
    ["walk", () => walk(automaton, Number.POSITIVE_INFINITY, 0, 0), /length must be .* not Infinity/],
    ["walk", () => walk(automaton, 3, 0.5, 0), /seed must be/],
    ["walk", () => walk(automaton, 3, 0, -1), /index must be/],
    ["walkTokens", () => walkTokens(automaton, 1, 0, 0), /length must be a whole number from 2 to 1000000, not 1/],
    ["digitsOf", () => digitsOf(Number.NaN), /state must be a whole number from 0 to 99, not NaN/],
    ["digitsOf", () => digitsOf(100), /not 100/],
    ["transitionAccuracy", () => transitionAccuracy(automaton, [[10, 77]]), /texts\[0\]\[1\] is 77/],
    ["automatonEntropy", () => automatonEntropy(automaton, 0), /length must be a whole number from 1 on, not 0/],
  ])("%s refuses a number that is none of its own (%#)", (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
  });
});
