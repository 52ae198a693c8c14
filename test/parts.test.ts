/** Parts: trained on a frozen base, written, read, refused for another; and used while decoding. The base is stories260K. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Edit, EditParameter } from "../src/models/edits.ts";
import { textGraph } from "../src/models/graph.ts";
import { loraSites, writeLora } from "../src/models/lora.ts";
import { parameterMaker, readParameters } from "../src/models/parameters.ts";
import { type Model, open } from "../src/open.ts";
import {
  add,
  constant,
  crossEntropy,
  gather,
  greater,
  input,
  linear,
  parameter,
  parametersOf,
  reduceMean,
  reshape,
  type Tensor,
  where,
} from "../src/tensor/index.ts";
import {
  adamwState,
  adamwUpdate,
  editParameters,
  type GraphObjective,
  graphObjective,
  type Parameter,
} from "../src/training/index.ts";
import { initialLora } from "../src/training/lora.ts";
import { openWeights } from "../src/weights/index.ts";
import { dataPath, noData } from "./data.ts";
import { removeModel, writeTinyModel } from "./fixtures/tiny-model.ts";

const stories = dataPath("stories260k");

describe.skipIf(!stories)(`on stories260K${stories ? "" : `: ${noData}`}`, () => {
  let model: Model;
  let values: Map<string, Float32Array<ArrayBuffer>>;
  let texts: number[][];
  let folder: string;
  const [rows, length] = [8, 48];
  const hash = (): string => {
    const digest = createHash("sha256");
    for (const array of values.values()) digest.update(array);
    return digest.digest("hex");
  };

  beforeAll(async () => {
    model = await open(stories!, { threads: 1 });
    folder = await mkdtemp(join(tmpdir(), "ventris-part-"));
    const source = await openWeights(stories!);
    values = await readParameters(source, model.family, model.config);
    await source.close();
    // What the model itself writes: a part of it can learn to see further ahead in that.
    const begin = model.tokenizer!.encode("Once upon a time");
    const runs = Array.from(
      { length: 72 },
      (_, request) => model.decode(begin, { seed: 5, request, temperature: 0.7, maxTokens: 60 }).final,
    );
    texts = (await Promise.all(runs))
      .map(({ tokens }) => [...begin, ...tokens])
      .filter((text) => text.length > length + 2);
    expect(texts.length).toBeGreaterThan(48);
  }, 120_000);
  afterAll(async () => {
    await model?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  /** Batch number `step`: texts of the training part in turn; -1: texts that are held out. */
  const batchOf = (step: number): number[][] => {
    const [held, trained] = [texts.slice(0, rows), texts.slice(rows)];
    return step < 0 ? held : Array.from({ length: rows }, (_, i) => trained[(step * rows + i) % trained.length]);
  };
  const int64 = (data: number[], dims: number[]) => ({ data: BigInt64Array.from(data, BigInt), dims });
  const tokensOf = (batch: number[][]) =>
    int64(
      batch.flatMap((text) => text.slice(0, length)),
      [rows, length],
    );
  const ahead = (batch: number[][], distance: number): number[] =>
    batch.flatMap((text) => text.slice(distance, length + distance));

  async function train(objective: GraphObjective<number[][]>, steps: number, rate: number): Promise<[number, number]> {
    const before = await objective.loss(batchOf(-1));
    const state = adamwState(objective.parameters);
    for (let step = 0; step < steps; step++) {
      const { gradients } = await objective.gradients(batchOf(step));
      adamwUpdate(objective.parameters, gradients, state, rate, { weightDecay: 0 });
    }
    return [before, await objective.loss(batchOf(-1))];
  }

  test("a linear probe on a frozen site tells what it should, the base being what it was", async () => {
    const { family, config } = model;
    const before = hash();
    const site = "layers.0.residual";
    const graph = textGraph(family, config, { rows, length, instruments: { taps: [site], edits: [] } });
    const weight: Parameter = { name: "probe.weight", shape: [2, 64], values: new Float32Array(128), decay: false };
    const logits = linear(graph.readings[site], parameter("probe.weight", [2, 64]));
    const loss = reduceMean(crossEntropy(logits, input("labels", [rows * length], "int64")));
    // Whether the token is one that begins a word.
    const begins = (token: number): number => (/^\s/.test(model.tokenizer!.decode([1, token]).slice(0)) ? 1 : 0);
    const labels = new Map(Array.from({ length: config.vocabularySize }, (_, token) => [token, begins(token)]));
    const objective = await graphObjective<number[][]>({
      loss,
      trained: [weight],
      fixed: values,
      feeds: (batch) => ({
        tokens: tokensOf(batch),
        labels: int64(
          ahead(batch, 0).map((token) => labels.get(token)!),
          [rows * length],
        ),
      }),
      outputs: { logits },
    });
    const [start, end] = await train(objective, 60, 0.02);
    expect(start).toBeCloseTo(Math.LN2, 5);
    expect(end).toBeLessThan(0.25);
    // The same numbers without the graph: the site as it is traced, times the weights.
    const held = batchOf(-1);
    const got = (await objective.evaluate(held)).outputs.logits.data as Float32Array;
    const traced = await model.forward(held[2].slice(0, length), { taps: [site], logits: "none" });
    for (const position of [0, 17, 47]) {
      const row = traced.taps[site].values.subarray(position * 64, (position + 1) * 64);
      for (const k of [0, 1]) {
        const wanted = row.reduce((sum, x, i) => sum + x * weight.values[k * 64 + i], 0);
        expect(Math.abs(got[(2 * length + position) * 2 + k] - wanted)).toBeLessThan(1e-3);
      }
    }
    await objective.release();
    expect(hash()).toBe(before);
  });

  test("a head for the token after the next, as Medusa's, is trained, written, read, and reads while decoding", async () => {
    const { family, config } = model;
    const [width, vocabulary] = [config.hiddenSize, config.vocabularySize];
    const before = [hash(), await model.fingerprint()];
    const headOf = (weight: EditParameter): Edit => ({
      name: "medusa",
      site: "final",
      parameters: { weight },
      apply: (value, { parameters }) => ({ readings: { logits: linear(value, parameters.weight) } }),
    });
    const head = headOf({ shape: [vocabulary, width], values: new Float32Array(vocabulary * width) });
    const instruments = { taps: ["medusa.logits"], edits: [head] };
    const { readings } = textGraph(family, config, { rows, length, instruments });
    const loss = reduceMean(crossEntropy(readings["medusa.logits"], input("targets", [rows * length], "int64")));
    const feeds = (batch: number[][]) => ({
      tokens: tokensOf(batch),
      targets: int64(ahead(batch, 2), [rows * length]),
    });
    const objective = await graphObjective({ loss, trained: editParameters(head), fixed: values, feeds });
    const [start, end] = await train(objective, 70, 0.015);
    expect(start).toBeCloseTo(Math.log(vocabulary), 4);
    expect(end).toBeLessThan(start - 2);
    await objective.release();
    expect([hash(), await model.fingerprint()]).toEqual(before);

    const at = join(folder, "medusa");
    const tensors = new Map(Object.entries(head.parameters!));
    await model.writePart(at, { kind: "medusa", sites: ["final"], settings: { distance: 2 }, tensors });
    const part = await model.part(at, "medusa");
    expect(part.card).toMatchObject({ kind: "medusa", name: "medusa", settings: { distance: 2 }, sites: ["final"] });
    expect(part.card.base.name).toBe("stories260k"); // not where it lies on this machine
    const read = headOf(part.tensors.get("weight")!);
    const text = texts[3].slice(0, 20);
    const options = { temperature: 0, maxTokens: 4, taps: ["medusa.logits", "final"] };
    const { taps } = await model.decode(text, { ...options, edits: [{ edit: read, key: "" }] }).final;
    const { values: logits } = taps!["medusa.logits"];
    const row = taps!.final.values.subarray(19 * width, 20 * width);
    const wanted = row.reduce((sum, x, i) => sum + x * part.tensors.get("weight")!.values[7 * width + i], 0);
    expect(Math.abs(logits[19 * vocabulary + 7] - wanted)).toBeLessThan(1e-3);
  });

  test("a prompt vector that stands for an unknown token is trained through the frozen base", async () => {
    const { family, config } = model;
    const width = config.hiddenSize;
    const before = hash();
    const mean = new Float32Array(width);
    const prompt: Edit = {
      name: "prompt",
      site: "embed.tokens",
      parameters: { vector: { shape: [1, width], values: mean } },
      inputs: { on: { shape: [1] } },
      apply: (value, { parameters, inputs }) => ({ value: where(greater(inputs.on, 0), parameters.vector, value) }),
    };
    // The last row of each text is the vector; what it predicts is the token after the next.
    const last = (batch: number[][]): number[] => batch.map((text) => text[length]);
    const chosen = constant(
      BigInt64Array.from({ length: rows }, (_, i) => BigInt(i * length + length - 1)),
      [rows],
    );
    const select = (hidden: Tensor): Tensor => gather(hidden, chosen);
    const { logits } = textGraph(family, config, { rows, length, select, instruments: { taps: [], edits: [prompt] } });
    const loss = reduceMean(crossEntropy(logits, input("targets", [rows], "int64")));
    const on = {
      data: Float32Array.from({ length: rows * length }, (_, i) => (i % length === length - 1 ? 1 : 0)),
      dims: [rows * length, 1],
    };
    const feeds = (batch: number[][]) => ({
      tokens: tokensOf(batch),
      targets: int64(last(batch), [rows]),
      "prompt.on": on,
    });
    const objective = await graphObjective({ loss, trained: editParameters(prompt), fixed: values, feeds });
    let [first, final] = [0, 0];
    for (let i = 0; i < 6; i++) first += (await objective.loss(batchOf(i))) / 6;
    await train(objective, 40, 0.05);
    for (let i = 0; i < 6; i++) final += (await objective.loss(batchOf(i))) / 6;
    expect(final).toBeLessThan(first - 0.5);
    await objective.release();
    expect(hash()).toBe(before);
  });

  test("in a graph of one's own, parameters of edits go by their names, which must be nobody else's", () => {
    const { family, config } = model;
    const edit = (name: string, key: string): Edit => ({
      name,
      site: "final",
      parameters: { [key]: { shape: [64], values: new Float32Array(64) } },
      apply: (value, { parameters }) => ({ value: add(value, parameters[key]) }),
    });
    const graph = (...edits: Edit[]) => textGraph(family, config, { rows, length, instruments: { taps: [], edits } });
    expect(() => graph(edit("model.norm", "weight"))).toThrow(
      /the edit model\.norm: its parameter would be called model\.norm\.weight, as one of the model's is/,
    );
    expect(() => graph(edit("a", "b.c"), edit("a.b", "c"))).toThrow(
      /the edit a\.b: its parameter would be called a\.b\.c, as another edit's is/,
    );
    expect(parametersOf(graph(edit("a", "b"), edit("a.b", "c")).logits).has("a.b.c")).toBe(true);
  });

  test("two models in one graph have weights of their own, and one that runs twice has them once", async () => {
    const { family, config } = model;
    const own = parameterMaker();
    const first = textGraph(family, config, { rows: 1, length: 6, parameter: own });
    const again = textGraph(family, config, {
      rows: 1,
      length: 6,
      parameter: own,
      tokens: first.tokens,
      mask: "bidirectional",
    });
    const other = textGraph(family, config, {
      rows: 1,
      length: 6,
      parameter: parameterMaker("other/"),
      tokens: first.tokens,
    });
    const trained: Parameter = {
      name: "model.norm.weight",
      shape: [64],
      values: values.get("model.norm.weight")!.slice(),
      decay: false,
    };
    const zeros = [...values].map(([name, array]) => [`other/${name}`, new Float32Array(array.length)] as const);
    const loss = reduceMean(add(add(first.logits, again.logits), other.logits));
    const objective = await graphObjective<number[]>({
      loss,
      trained: [trained],
      fixed: new Map([...values, ...zeros]),
      feeds: (tokens) => ({ tokens: int64(tokens, [1, 6]) }),
      outputs: { first: first.logits, again: again.logits, other: other.logits },
    });
    const { outputs } = await objective.evaluate(texts[0].slice(0, 6));
    const causal = (await model.forward(texts[0].slice(0, 6))).logits;
    const both = (await model.forward(texts[0].slice(0, 6), { mask: "bidirectional" })).logits;
    const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Array.from(a).reduce((w, x, i) => Math.max(w, Math.abs(x - b[i])), 0);
    expect(far(outputs.first.data as Float32Array, causal)).toBeLessThan(1e-3);
    expect(far(outputs.again.data as Float32Array, both)).toBeLessThan(1e-3);
    expect((outputs.other.data as Float32Array).every((x) => x === 0)).toBe(true);
    expect((await objective.gradients(texts[0].slice(0, 6))).gradients[0].some((x) => x !== 0)).toBe(true);
    await objective.release();
  });

  describe("bad parts and bad training", () => {
    const tensor = { shape: [2], values: Float32Array.of(1, 2) };
    const tensors = new Map([["a", tensor]]);

    test("a part of another model, of another kind, and one that is not there", async () => {
      const at = join(folder, "mine");
      await model.writePart(at, { kind: "probe", tensors });
      await expect(model.part(at, "medusa")).rejects.toThrow(/of the kind probe, not medusa/);
      await expect(model.part(join(folder, "none"))).rejects.toThrow(
        /no part .*: the model has .*, and no folder of this name holds one/,
      );
      const tiny = await writeTinyModel();
      await using other = await open(tiny.folder, { threads: 1 });
      await expect(other.part(at)).rejects.toThrow(/trained on another model .*stories260k.*the weights differ/);
      await removeModel(tiny);
    });

    test("a model with a LoRA adapter is another base: its parts and the bare model's are kept apart", async () => {
      const { family, config } = model;
      const lora = { rank: 1, alpha: 1, targets: ["q_proj"] };
      const sites = loraSites(family, config, lora);
      const adapter = join(folder, "adapter");
      await writeLora(adapter, { config: lora, sites, values: initialLora(sites, 1, 1) }, stories!);
      await using adapted = await open(stories!, { threads: 1, lora: adapter });
      const [bare, own] = [join(folder, "of-bare"), join(folder, "of-adapted")];
      await model.writePart(bare, { kind: "probe", tensors });
      await adapted.writePart(own, { kind: "probe", tensors });
      expect((await adapted.part(own)).tensors.get("a")).toEqual(tensor);
      await expect(adapted.part(bare)).rejects.toThrow(/the weights differ/);
      await expect(model.part(own)).rejects.toThrow(/the weights differ/);
    });

    test("tensors that are missing, of another shape, unknown, or not finite; a damaged card", async () => {
      const at = join(folder, "damaged");
      await model.writePart(at, { kind: "probe", tensors });
      const card = JSON.parse(await readFile(join(at, "part.json"), "utf8"));
      const withTensors = (shapes: unknown) =>
        writeFile(join(at, "part.json"), JSON.stringify({ ...card, tensors: shapes }));
      await withTensors({ a: [2], b: [3] });
      await expect(model.part(at)).rejects.toThrow(/tensor b is missing/);
      await withTensors({ a: [1, 2] });
      await expect(model.part(at)).rejects.toThrow(/tensor a has shape \[2\], but the card says \[1,2\]/);
      await withTensors({});
      await expect(model.part(at)).rejects.toThrow(/tensor a is not on the card/);
      await withTensors({ a: ["x"] });
      await expect(model.part(at)).rejects.toThrow(/part.json: tensors.a\[0\] must be a number, not "x"/);
      await writeFile(join(at, "part.json"), "{");
      await expect(model.part(at)).rejects.toThrow(/part.json/);
      const nan = new Map([["a", { shape: [1], values: Float32Array.of(Number.NaN) }]]);
      await expect(model.writePart(at, { kind: "probe", tensors: nan })).rejects.toThrow(/not finite/);
      const none = new Map([["a", { shape: [0, 2], values: new Float32Array() }]]);
      await expect(model.writePart(at, { kind: "probe", tensors: none })).rejects.toThrow(/a is \[0,2\]: every length/);
      await expect(model.writePart(at, { kind: "probe", tensors, sites: ["layers.9.mlp.up"] })).rejects.toThrow(
        /no site/,
      );
    });

    test("a graph that trains nothing, trains what it has not, or lacks a value", async () => {
      const { family, config } = model;
      const graph = textGraph(family, config, { rows: 1, length: 2 });
      const loss = reduceMean(reshape(graph.logits, [-1]));
      const feeds = () => ({});
      const probe: Parameter = { name: "model.norm.weigh", shape: [64], values: new Float32Array(64), decay: false };
      await expect(graphObjective({ loss, trained: [], fixed: values, feeds })).rejects.toThrow(/trains nothing/);
      await expect(graphObjective({ loss, trained: [probe], fixed: values, feeds })).rejects.toThrow(
        /did you mean "model.norm.weight/,
      );
      const norm = { ...probe, name: "model.norm.weight" };
      await expect(graphObjective({ loss, trained: [norm], fixed: new Map(), feeds })).rejects.toThrow(
        /neither trained nor given/,
      );
      const objective = await graphObjective({ loss, trained: [norm], fixed: values, feeds });
      await expect(objective.gradients([])).rejects.toThrow(/feeds gives nothing for the graph's input tokens/);
      await objective.release();
    });
  });
});
