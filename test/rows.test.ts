/** Rows that are not tokens: vectors that are stored and shared like tokens, and look-ahead rows that nobody sees. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../src/calls.ts";
import type { Extension, ForestNode } from "../src/engine/forest.ts";
import type { LoadOptions } from "../src/engine/load.ts";
import { leaseSites } from "../src/engine/sites/request.ts";
import type { AppliedEdit } from "../src/engine/sites/rows.ts";
import type { Edit } from "../src/models/edits.ts";
import { lensReading, logitLens } from "../src/models/lens.ts";
import { type Model, open } from "../src/open.ts";
import { gather, linear, reshape } from "../src/tensor/index.ts";
import { gpt2Config, removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

let tiny: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel({ config: { eos_token_id: undefined } });
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});

const vector = (seed: number): Float32Array =>
  Float32Array.from({ length: 32 }, (_, i) => 0.6 * Math.sin(seed * 7 + i));
const soft = [
  { id: "first", values: vector(1) },
  { id: "second", values: vector(2) },
];
const tokens = [5, 9, 2, 33, 14, 7];
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

/** The reference with vectors in place of the first tokens' embeddings. */
const withSoft = (text: readonly number[], of: TinyModel = tiny): Float64Array[] =>
  of.logits([0, 0, ...text], (site, row, value) => {
    if (site === "embed.tokens" && row < 2) value.set(soft[row].values);
  });

describe("vectors in a prompt", () => {
  test("are the reference's, shared by their ids, and told apart from tokens and other vectors", async () => {
    const [first, second, other] = [model.forest.lease(), model.forest.lease(), model.forest.lease()];
    const a = await first.prefill([...soft, ...tokens]);
    expect(difference(a.node.logits!, withSoft(tokens).at(-1)!)).toBeLessThan(1e-4);
    expect([a.computed, a.cached]).toEqual([8, 0]);
    const b = await second.prefill([...soft, ...tokens.slice(0, 4), 50]);
    expect([b.computed, b.cached]).toEqual([1, 6]);
    expect(difference(b.node.logits!, withSoft([...tokens.slice(0, 4), 50]).at(-1)!)).toBeLessThan(1e-4);
    const c = await other.prefill([soft[0], { id: "third", values: vector(3) }, ...tokens]);
    expect([c.computed, c.cached]).toEqual([7, 1]);
    const renamed = model.forest.lease();
    const d = await renamed.prefill([{ ...soft[0], values: vector(3) }, ...tokens]);
    expect(d.cached).toBe(0); // its id was that of other values
    for (const lease of [first, second, other, renamed]) lease.close();
    expect(model.forest.held).toBe(0);
  });

  test("work in every method that reads the model's own tokens, and in GPT-2", async () => {
    const wanted = [...tokens];
    while (wanted.length < tokens.length + 10) {
      const logits = withSoft(wanted).at(-1)!;
      wanted.push(logits.indexOf(Math.max(...logits)));
    }
    for (const method of ["greedy", "prompt-lookup", "aded"]) {
      const options = { method: methodChoice(method), temperature: 0, maxTokens: 10, repetitionPenalty: 1 };
      expect((await model.decode([...soft, ...tokens], options).final).tokens).toEqual(wanted.slice(tokens.length));
    }
    const penalised = { temperature: 0, maxTokens: 4, repetitionPenalty: 1.3, frequencyPenalty: 0.4 };
    expect((await model.decode([...soft, ...tokens], penalised).final).tokens.length).toBe(4);
    const gpt2 = await writeTinyModel({ config: gpt2Config });
    await using second = await open(gpt2.folder, { threads: 1 });
    const lease = second.forest.lease();
    const { node } = await lease.prefill([...soft, ...tokens]);
    expect(difference(node.logits!, withSoft(tokens, gpt2).at(-1)!)).toBeLessThan(1e-4);
    lease.close();
    await removeModel(gpt2);
  });

  test.each([
    [[{ id: "short", values: new Float32Array(3) }], /the vector short has 3 numbers, not 32/],
    [[{ id: "nan", values: new Float32Array(32).fill(Number.NaN) }], /nan has values that are not finite/],
    [
      [{ values: new Float32Array(32) }],
      /prompt\[0\]: id is missing: a row is a token id, or a vector \{ id, values \}/,
    ],
    [[-1], /-1 is not a token id/],
  ])("bad ones are refused", (prompt, message) => {
    expect(() => model.decode(prompt as never)).toThrow(message);
  });
});

describe("look-ahead rows", () => {
  const ahead = (parent: Extension["parent"], seed: number, position?: number): Extension => ({
    parent,
    token: 0,
    ahead: { vector: vector(seed), position },
  });

  test("see their text and those before them in their chain; real rows have the same bits with and without them", async () => {
    const size = model.forest.size;
    const lease = model.forest.lease();
    const { node } = await lease.prefill([40, ...tokens, 20]);
    const nodes = await lease.extend([
      { parent: node, token: 3 },
      ahead(0, 5), // 1
      ahead(1, 6), // 2: sees 1
      ahead(0, 6, 9), // 3: alone below 0, at the position of 2
      { parent: node, token: 4 }, // 4
      ahead(4, 5), // 5
      { parent: 0, token: 8 }, // 6
    ]);
    const check = (index: number, text: number[], vectors: number[], positions?: number[]): void => {
      const all = [...text, ...vectors.map(() => 0)];
      const wanted = tiny.logits(
        all,
        (site, row, value) => {
          if (site === "embed.tokens" && row >= text.length) value.set(vector(vectors[row - text.length]));
        },
        positions && { positions: [...text.map((_, i) => i), ...positions] },
      );
      expect(difference(nodes[index].logits!, wanted.at(-1)!)).toBeLessThan(1e-4);
    };
    const text = [40, ...tokens, 20];
    check(0, [...text, 3], []);
    check(1, [...text, 3], [5]);
    check(2, [...text, 3], [5, 6]);
    check(3, [...text, 3], [6], [9]);
    check(5, [...text, 4], [5]);
    check(6, [...text, 3, 8], []);
    const fresh = model.forest.lease();
    const { node: base } = await fresh.prefill([42, ...tokens, 20]);
    const noisy = await fresh.extend([{ parent: base, token: 3 }, ahead(0, 5), ahead(1, 6), { parent: 0, token: 8 }]);
    const after = (await fresh.extend([{ parent: noisy[3], token: 11 }]))[0].logits!.slice();
    const clean = await open(tiny.folder, { threads: 1 });
    const lone = clean.forest.lease();
    const { node: root } = await lone.prefill([42, ...tokens, 20]);
    const quiet = await lone.extend([
      { parent: root, token: 3 },
      { parent: 0, token: 8 },
    ]);
    expect(noisy[0].logits).toEqual(quiet[0].logits);
    expect(noisy[3].logits).toEqual(quiet[1].logits);
    expect(after).toEqual((await lone.extend([{ parent: quiet[1], token: 11 }]))[0].logits);
    lone.close();
    await clean.close();
    lease.close();
    fresh.close();
    expect(model.forest.held).toBe(0);
    expect(model.forest.size).toBeLessThanOrEqual(size + 40); // only texts are stored
  });

  const weight = Float32Array.from({ length: 32 * 32 }, (_, i) => 0.3 * Math.cos(i * 1.7) + (i % 33 === 0 ? 0.5 : 0));
  /** The state of another row after a layer, turned. */
  const transferAt = (site: string, more: Partial<Edit> = {}): Edit => ({
    name: `transfer ${site}`,
    site,
    parameters: { weight: { shape: [32, 32], values: weight } },
    inputs: { source: { type: "int64", shape: [1] } },
    apply: (value, { parameters, inputs }) => ({
      value: linear(gather(value, reshape(inputs.source, [-1])), parameters.weight),
    }),
    ...more,
  });
  const turned = (state: Float64Array): Float64Array =>
    Float64Array.from({ length: 32 }, (_, i) => state.reduce((sum, x, j) => sum + weight[i * 32 + j] * x, 0));
  /** A row that begins with the state of the row so many above it. */
  const transferred = (parent: Extension["parent"], edit: Edit, above: number): Extension => ({
    parent,
    token: 0,
    ahead: {
      edits: [
        {
          edit,
          inputs({ node, placeOf }) {
            let at: ForestNode = node!;
            for (let i = 0; i < above; i++) at = at.parent!;
            return { source: [placeOf(at)!] };
          },
        },
      ],
    },
  });

  test.each<[string, Partial<Edit>]>([
    ["computed in every layer", {}],
    ["in no layer below", { begins: true }],
  ])("begin after a layer from another row's state: %s", async (_, more) => {
    const site = "layers.0.residual";
    const transfer = transferAt(site, more);
    const lease = model.forest.lease(leaseSites(model.sites(), [site, "layers.0.mlp.up", "layers.1.mlp.up"]));
    const { node } = await lease.prefill([30, ...tokens]);
    // The state that it begins with is made of its parent's.
    const nodes = await lease.extend([
      { parent: node, token: 12 },
      {
        parent: 0,
        token: 0,
        ahead: { edits: [{ edit: transfer, inputs: (row) => ({ source: [row.placeOf(row.node!.parent!)!] }) }] },
      },
    ]);
    const text = [30, ...tokens, 12];
    let state = new Float64Array(32);
    const wanted = tiny
      .logits([...text, 0], (name, row, value) => {
        if (name !== site) return;
        if (row === text.length - 1) state = value.slice();
        if (row === text.length) value.set(turned(state));
      })
      .at(-1)!;
    expect(difference(nodes[1].logits!, wanted)).toBeLessThan(1e-4);
    expect(difference(nodes[0].taps![site], state)).toBeLessThan(1e-4);
    expect(difference(nodes[1].taps![site], turned(state))).toBeLessThan(1e-4);
    expect(difference(nodes[0].logits!, tiny.logits(text).at(-1)!)).toBeLessThan(1e-4);
    // What it costs: a row in the layers that it has, and none in the others.
    const sitesOfRow = ["layers.0.mlp.up", "layers.1.mlp.up"].map((name) => nodes[1].taps![name] !== undefined);
    expect(sitesOfRow).toEqual([!more.begins, true]);
    lease.close();
  });

  // Whatever the edit is called: a site or a reading that begins like its name is none of its own.
  test.each(["begin", "lens", "layers.0"])(
    "that begin after a layer by %s leave readings of earlier sites alone",
    async (name) => {
      const lens = logitLens("layers.0.residual");
      const [reading, site] = [lensReading("layers.0.residual"), "layers.0.mlp.up"];
      const begin = { ...transferAt("layers.1.residual", { begins: true }), name };
      // Under keys of their own neither finds the other's nodes.
      const leased = (key: string) => {
        const edit = { edit: lens, key: `${key} ${name}` };
        return model.forest.lease(leaseSites(model.sites(), [reading, site], [edit]));
      };
      const [lease, plain] = [leased("with"), leased("without")];
      const { node } = await lease.prefill([31, ...tokens]);
      const inputs: AppliedEdit["inputs"] = (row) => ({ source: [row.placeOf(row.node!.parent!)!] });
      const [real, ahead, other] = await lease.extend([
        { parent: node, token: 12 },
        { parent: 0, token: 0, ahead: { edits: [{ edit: begin, inputs }] } },
        { parent: node, token: 13 },
      ]);
      expect(ahead.logits).toBeDefined();
      expect(ahead.taps?.[reading]).toBeUndefined();
      expect(ahead.taps?.[site]).toBeUndefined();
      const { node: top } = await plain.prefill([31, ...tokens]);
      const wanted = await plain.extend([12, 13].map((token) => ({ parent: top, token })));
      for (const tap of [reading, site])
        expect([real, other].map((one) => one.taps![tap])).toEqual(wanted.map((one) => one.taps![tap]));
      for (const one of [lease, plain]) one.close();
    },
  );

  test.each<[string, LoadOptions]>([
    ["float32", { weights: "f32" }],
    ["8 bits, halves", { weights: "int8", keyValues: "f16" }],
    ["4 bits", { weights: "int4" }],
  ])(
    "that begin after layers, several at once and beside other requests, leave real rows their bits: %s",
    async (_, load) => {
      const three = await writeTinyModel({
        config: { num_hidden_layers: 3, eos_token_id: undefined, max_position_embeddings: 256 },
      });
      const own = await open(three.folder, { threads: 1, ...load });
      const early = transferAt("layers.0.residual", { begins: true });
      const late = transferAt("layers.1.residual", { begins: true });
      // Full pages, so that requests side by side have lanes.
      const long = Array.from({ length: 150 }, (_, i) => (i * i + 3 * i) % 64);
      /** Logits of the text's rows, and of look-ahead rows when there are some, in the order of the call. */
      async function grow(first: number, steps: number, aheadOf: (step: number) => number) {
        const lease = own.forest.lease();
        const real: Float32Array[] = [];
        const guesses: Float32Array[] = [];
        let { node } = await lease.prefill([first, ...long]);
        for (let step = 0; step < steps; step++) {
          const chain = [transferred(0, early, 1), transferred(1, late, 2), transferred(2, late, 3)];
          const child = { parent: node, token: (first + step) % 64 };
          const nodes = await lease.extend([child, ...chain.slice(0, aheadOf(step))]);
          real.push(nodes[0].logits!.slice());
          guesses.push(...nodes.slice(1).map(({ logits }) => logits!.slice()));
          node = nodes[0];
        }
        lease.close();
        return { real, guesses };
      }
      const quiet = await grow(40, 6, () => 0);
      const alone = await grow(41, 6, () => 0);
      const [a, b] = await Promise.all([grow(40, 6, (step) => step % 4), grow(41, 6, (step) => (step + 2) % 4)]);
      expect(a.guesses.length + b.guesses.length).toBeGreaterThan(10);
      expect(a.real).toEqual(quiet.real);
      expect(b.real).toEqual(alone.real);
      const together = await grow(40, 6, (step) => step % 4);
      for (const [i, logits] of together.guesses.entries()) expect(difference(logits, a.guesses[i])).toBeLessThan(0.3);
      await own.close();
      await removeModel(three);
    },
  );

  test("that begin after a layer are refused where they cannot", async () => {
    const begins = transferAt("layers.0.residual", { begins: true });
    const further = transferAt("layers.1.residual", { begins: true });
    const lease = model.forest.lease();
    const { node } = await lease.prefill([31, ...tokens]);
    const inputs = () => ({ source: [0] });
    const row = (parent: Extension["parent"], ...edits: Edit[]): Extension => ({
      parent,
      token: 0,
      ahead: { edits: edits.map((edit) => ({ edit, inputs })) },
    });
    await expect(lease.extend([row(node, begins, further)])).rejects.toThrow(/begins once/);
    await expect(lease.extend([row(node, further), row(0, begins)])).rejects.toThrow(
      /begins after 1 layers cannot stand below one that begins after 2/,
    );
    const both: Extension = { ...row(node, begins), ahead: { vector: vector(1), edits: [{ edit: begins, inputs }] } };
    await expect(lease.extend([both])).rejects.toThrow(/as a vector or after a layer/);
    const elsewhere = transferAt("layers.0.mlp.up", { begins: true });
    expect(() => leaseSites(model.sites(), [], [{ edit: elsewhere, key: "" }])).toThrow(/layers.N.residual, not at/);
    expect(() => model.forest.lease(leaseSites(model.sites(), [], [{ edit: begins, key: "" }]))).toThrow(
      /a whole request cannot have it/,
    );
    // And a call of nothing else works.
    const [only] = await lease.extend([row(node, begins)]);
    expect(only.logits).toHaveLength(64);
    lease.close();
    expect(model.forest.held).toBe(0);
  });

  test("below a real row only, and within the context", async () => {
    const lease = model.forest.lease();
    await expect(lease.extend([ahead(undefined, 1, 96)])).rejects.toThrow(/context of 96 tokens is full/);
    await expect(lease.extend([ahead(undefined, 1), { parent: 0, token: 3 }])).rejects.toThrow(
      /extensions\[1\]\.parent is a look-ahead row, and only such rows can stand below it/,
    );
    lease.close();
    expect(model.forest.held).toBe(0);
  });
});
